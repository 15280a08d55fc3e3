import assert from 'node:assert/strict';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { certificates, requestOf } from '../../test/support/authorities-fixture.ts';
import { leafgate, newSite, outputOf } from '../../test/support/cli-fixture.ts';
import {
  buildPem,
  extKeyUsageExtension,
  nameFromString,
  oid,
  parseCertificate,
  parseCertificationRequest,
  parseCrl,
  parsePem,
  subjectAltNameExtension,
} from '../codec/index.ts';
import { parseConfig } from '../config.ts';
import { PkiError } from '../errors.ts';
import { openAuthorities } from '../parts/authorities.ts';
import { openLog, systemClock } from '../telemetry.ts';
import { printError, printFacts, printRows } from './output.ts';

let folder: string;
let config: string;

before(async () => {
  ({ folder, config } = await newSite());
});
after(() => rm(folder, { recursive: true, force: true }));

/** The same with the configuration of the test. */
const withConfig = (...words: string[]) => leafgate(...words, '--config', config);

const rejectsWith = (code: string, message: RegExp) => (thrown: unknown) =>
  thrown instanceof PkiError && thrown.code === code && message.test(thrown.message);

describe('leafgate config', () => {
  test('check says what is configured', async () => {
    assert.equal(await withConfig('config', 'check'), 'valid: server\n');
  });

  test('check refuses with the key and what it takes', async () => {
    const bad = join(folder, 'bad.yaml');
    writeFileSync(bad, readFileSync(config, 'utf8').replace('"dataFolder"', '"dataFolde"'));
    await assert.rejects(
      leafgate('config', 'check', '--config', bad),
      rejectsWith('config_invalid', /unknown key “dataFolde” in server; did you mean “dataFolder”\?/),
    );
    await assert.rejects(
      leafgate('config', 'check', '--config', join(folder, 'absent.yaml')),
      rejectsWith('config_invalid', /cannot read .*absent\.yaml/),
    );
  });

  test('explain tells one key, with and without the marks of lists', async () => {
    const line =
      'server.issuers[].crlPeriod? (default 7d)  How long a CRL is the current one. AD CS: one week.\n';
    assert.equal(await leafgate('config', 'explain', 'server.issuers.crlPeriod'), line);
    assert.equal(await leafgate('config', 'explain', 'server.issuers[].crlPeriod'), line);
  });

  test('explain tells a part and everything in it', async () => {
    const lines = (await leafgate('config', 'explain', 'server.issuers')).trimEnd().split('\n');
    assert.match(lines[0] ?? '', /^server\.issuers\[\]/);
    assert.ok(lines.length > 8);
    assert.ok(lines.every((line) => line.startsWith('server.issuers[]')));
    assert.ok((await leafgate('config', 'explain')).split('\n').length > 60);
  });

  test('explain does not guess', async () => {
    for (const absent of ['server.issuer', 'serve', 'server.', 'server.issuers.crl', 'x']) {
      await assert.rejects(
        leafgate('config', 'explain', absent),
        rejectsWith('command_invalid', /there is no key/),
      );
    }
    await assert.rejects(
      leafgate('config', 'explain', 'server.limits'),
      rejectsWith('command_invalid', /did you mean server\.endpoints\[\]\.limits\?$/),
    );
  });
});

describe('leafgate ca, audit, challenge', () => {
  const csrFile = () => join(folder, 'request.pem');
  const certificateFile = () => join(folder, 'certificate.pem');
  let serialNumber = '';

  test('an empty list says none, or is an empty JSON list', async () => {
    assert.equal(await withConfig('ca', 'list'), 'none\n');
    assert.equal(await withConfig('audit', 'list'), 'none\n');
    assert.deepEqual(JSON.parse(await withConfig('ca', 'list', '--json')), []);
  });

  test('issue writes the certificate with its issuers', async () => {
    const subject = nameFromString('CN=scep.test,O=Test');
    const csr = await requestOf({
      subject: 'CN=scep.test,O=Test',
      extensions: [subjectAltNameExtension([{ type: 'dNSName', value: 'scep.test' }], subject)],
    });
    writeFileSync(csrFile(), buildPem('CERTIFICATE REQUEST', csr));
    const out = await withConfig('ca', 'issue', 'web-server', csrFile(), certificateFile());
    const chain = parsePem(readFileSync(certificateFile(), 'utf8'), 'CERTIFICATE');
    ({ serialNumber } = parseCertificate(chain[0]));
    assert.equal(out, `${certificateFile()}: serial number ${serialNumber}\n`);
    assert.deepEqual(Buffer.from(chain[1] ?? []), Buffer.from(certificates.issuing.raw));
    await assert.rejects(
      withConfig('ca', 'issue', 'web-server', csrFile(), certificateFile(), '--issuer', 'absent'),
      rejectsWith('template_denied', /no issuing CA “absent”/),
    );
    await assert.rejects(
      withConfig('ca', 'issue', 'absent', csrFile(), certificateFile()),
      rejectsWith('template_denied', /no template “absent”/),
    );
  });

  test('list is a table for people and JSON for machines', async () => {
    const [header = '', row = '', ...more] = (await withConfig('ca', 'list')).trimEnd().split('\n');
    assert.deepEqual(more, []);
    assert.match(
      header,
      /^Request ID +Serial number +Status +Certificate template +Requester name +Device +Subject +Expires$/,
    );
    const at = (title: string) => row.slice(header.indexOf(title)).split(/ {2,}/)[0];
    assert.equal(at('Serial number'), serialNumber);
    assert.equal(at('Status'), 'issued');
    assert.equal(at('Certificate template'), 'web-server');
    assert.match(at('Requester name') ?? '', /^operator /);
    assert.equal(at('Subject'), 'CN=scep.test,O=Test');
    assert.match(at('Expires') ?? '', /^\d{4}-\d\d-\d\d \d\d:\d\dZ$/);

    const [record, ...others] = JSON.parse(await withConfig('ca', 'list', '--json')) as object[];
    assert.deepEqual(others, []);
    assert.partialDeepStrictEqual(record, {
      serialNumber,
      status: 'issued',
      issuer: 'issuing',
      subjectAltName: 'DNS:scep.test',
    });
    assert.ok(!('certificate' in (record ?? {})));
    assert.equal(await withConfig('ca', 'list', 'revoked'), 'none\n');
    assert.equal(await withConfig('ca', 'list', '--template', 'ra-signing'), 'none\n');
  });

  test('show tells one certificate, however its number is written', async () => {
    const spaced = serialNumber.toUpperCase().replaceAll(/..(?=.)/g, '$&:');
    const out = await withConfig('ca', 'show', spaced);
    assert.match(out, new RegExp(`^serialNumber: +${serialNumber}$`, 'm'));
    const pem = parsePem(out, 'CERTIFICATE');
    assert.equal(parseCertificate(pem[0]).serialNumber, serialNumber);
    assert.partialDeepStrictEqual(JSON.parse(await withConfig('ca', 'show', serialNumber, '--json')), {
      serialNumber,
    });
    await assert.rejects(withConfig('ca', 'show', 'aa'), rejectsWith('certificate_unknown', /number aa$/));
  });

  test('list finds by what is asked for, and turns pages', async () => {
    const [record] = JSON.parse(await withConfig('ca', 'list', '--json')) as [
      { readonly id: number; readonly thumbprint: string },
    ];
    const rows: readonly (readonly [words: readonly string[], found: number])[] = [
      [['issued'], 1],
      [['unfinished'], 0],
      [['abandoned'], 0],
      [['--serial', serialNumber.toUpperCase()], 1],
      [['--thumbprint', record.thumbprint.toLowerCase()], 1],
      [['--thumbprint', 'AA'], 0],
      [['--subject', 'SCEP.'], 1],
      [['--subject', 'absent'], 0],
      [['--issuer', 'issuing', '--issued-from', '2020-01-01'], 1],
      [['--issued-before', '2020-01-01T12:00Z'], 0],
      [['--expires-before', '2020-01-01'], 0],
      [['--after', String(record.id)], 0],
      [['--after', String(record.id + 1)], 1],
    ];
    for (const [words, found] of rows)
      assert.equal(
        JSON.parse(await withConfig('ca', 'list', ...words, '--json')).length,
        found,
        words.join(' '),
      );
    assert.match(await withConfig('ca', 'list', 'templates'), /^ra-signing /m);
    await assert.rejects(
      withConfig('ca', 'list', 'templates', '--device', 'x'),
      rejectsWith('command_invalid', /takes no search/),
    );
    await assert.rejects(withConfig('ca', 'list', '--issued-from', 'yesterday'), /a date/);
  });

  test('a certificate on hold is released', async () => {
    assert.match(
      await withConfig('ca', 'revoke', serialNumber, '--reason', 'certificateHold', '--dry-run'),
      /issued/,
    );
    assert.equal(
      await withConfig('ca', 'revoke', serialNumber, '--reason', 'certificateHold'),
      `${serialNumber}: revoked; CRL number 1\n`,
    );
    assert.match(await withConfig('ca', 'list', 'revoked'), /certificateHold/);
    assert.equal(
      await withConfig('ca', 'release', serialNumber),
      `${serialNumber}: released; CRL number 2\n`,
    );
    assert.equal(
      await withConfig('ca', 'release', serialNumber),
      `${serialNumber}: not-held; CRL number 2\n`,
    );
    assert.equal(await withConfig('ca', 'list', 'revoked'), 'none\n');
  });

  test('revoke of many says how many first, and asks', async () => {
    const many = ['ca', 'revoke', '--template', 'web-server'];
    for (const words of [
      ['ca', 'revoke'],
      [...many, serialNumber],
    ])
      await assert.rejects(withConfig(...words), rejectsWith('command_invalid', /name one certificate/));
    const search = ['ca', 'revoke', '--issued-from', '2020-01-01'];
    assert.match(
      await withConfig(...search, '--dry-run'),
      /^1 certificate issued and not revoked\nRequest ID /,
    );
    await assert.rejects(withConfig(...search), rejectsWith('command_invalid', /add --yes/));
    assert.equal(await withConfig('ca', 'list', 'revoked'), 'none\n');
    assert.equal(
      await withConfig('ca', 'revoke', '--subject', 'absent', '--yes'),
      '0 certificates issued and not revoked\n',
    );
    const out = await withConfig(...search, '--yes', '--reason', 'certificateHold');
    assert.match(out, /^1 of 1 revoked\nissuing: full CRL of partition 0: number 3\n/m);
    assert.match(
      await withConfig('ca', 'release', serialNumber, '--issuer', 'issuing'),
      /released; CRL number 4/,
    );
  });

  test('revoke revokes and publishes; crl writes what counts', async () => {
    const file = join(folder, 'issuing.crl');
    assert.match(await withConfig('ca', 'crl', 'issuing', file), /: CRL number 4, next update \d{4}-/);
    assert.deepEqual(parseCrl(readFileSync(file)).revoked, []);
    assert.equal(
      await withConfig('ca', 'revoke', serialNumber, '--reason', 'keyCompromise'),
      `${serialNumber}: revoked; CRL number 5\n`,
    );
    assert.equal(await withConfig('ca', 'revoke', serialNumber), `${serialNumber}: already; CRL number 5\n`);
    await withConfig('ca', 'crl', 'issuing', file);
    assert.deepEqual(
      parseCrl(readFileSync(file)).revoked.map((entry) => [entry.serialNumber, entry.reason]),
      [[serialNumber, 'keyCompromise']],
    );
    await assert.rejects(
      withConfig('ca', 'crl', 'absent', join(folder, 'absent.crl')),
      rejectsWith('template_denied', /no issuing CA “absent”/),
    );
    assert.ok(!existsSync(join(folder, 'absent.crl')));
  });

  test('endpoint list shows where devices enrol, with what, and until when', async () => {
    const [header = '', row = '', ...more] = (await withConfig('endpoint', 'list')).trimEnd().split('\n');
    assert.match(header, /^Endpoint +URL +Issuing CA +Template +Validators +Client +RA +RA ends +Next CA$/);
    assert.match(row, /http:\/\/127\.0\.0\.1:.* +standard +explicit +\d{4}-\d\d-\d\d \d\d:\d\dZ$/);
    const rows = JSON.parse(await withConfig('endpoint', 'list', '--json'));
    assert.equal(rows.length, 1 + more.length);
    assert.ok(rows[0].capabilities.includes('SCEPStandard'));
  });

  test('audit list tells it, newest first', async () => {
    const [header = '', ...rows] = (await withConfig('audit', 'list')).trimEnd().split('\n');
    assert.match(header, /^Time +Event +Reason +Reference +Actor +Text +Detail$/);
    const events = rows.map((row) => row.slice(header.indexOf('Event')).split(' ')[0]);
    assert.deepEqual(events, [
      'certificate.revoked',
      ...['certificate.released', 'certificate.revoked', 'certificate.released', 'certificate.revoked'],
      'certificate.issued',
    ]);
    const entries = JSON.parse(await withConfig('audit', 'list', '--event', 'certificate.revoked', '--json'));
    assert.equal(entries.length, 3);
    assert.partialDeepStrictEqual(entries[0], {
      event: 'certificate.revoked',
      detail: { serialNumber, reason: 'keyCompromise' },
    });
    assert.equal(await withConfig('audit', 'list', '--reference', 'LG-ABSENT'), 'none\n');
    assert.equal((await withConfig('audit', 'list', '--limit', '1')).trimEnd().split('\n').length, 2);
  });

  for (const [name, words] of [
    ['ca', ['ca', 'list']],
    ['audit', ['audit', 'list']],
  ] as const) {
    for (const limit of ['0', '-1', '1.5', 'x', '', 'Infinity', '1e99']) {
      test(`${name} list refuses the limit “${limit}”`, async () => {
        await assert.rejects(withConfig(...words, '--limit', limit), /a positive whole number/);
      });
    }
  }

  test('a wrong word is no command', async () => {
    await assert.rejects(withConfig('ca', 'list', 'valid'), /choices/);
    await assert.rejects(withConfig('ca', 'revoke', serialNumber, '--reason', 'removeFromCRL'), /choices/);
    await assert.rejects(leafgate('ca', 'lsit'), /unknown command/);
  });

  test('challenge create makes one that a request with the pinned names can use', async () => {
    const made = JSON.parse(
      await withConfig(
        'challenge',
        'create',
        'one-time',
        '--device',
        'printer-7',
        '--subject',
        'CN=printer-7, O=Test',
        '--san',
        'DNS:printer-7.test,URI:urn:printer:7',
        '--eku',
        'clientAuth',
        '--json',
      ),
    ) as { readonly challenge: string; readonly expires: string };
    assert.match(made.challenge, /^[0-9A-F]{40}$/);
    const lifetimeMs = Date.parse(made.expires) - Date.now();
    assert.ok(lifetimeMs > 59 * 60_000 && lifetimeMs <= 3_600_000);
    const { server } = parseConfig(readFileSync(config, 'utf8'), folder);
    assert.ok(server !== undefined);
    const authorities = await openAuthorities(server, openLog('silent', 'test'), systemClock);
    try {
      const subject = nameFromString('CN=printer-7,O=Test');
      const csr = parseCertificationRequest(
        await requestOf({
          subject: 'CN=printer-7,O=Test',
          challengePassword: made.challenge,
          extensions: [
            subjectAltNameExtension(
              [
                { type: 'dNSName', value: 'printer-7.test' },
                { type: 'uniformResourceIdentifier', value: 'urn:printer:7' },
              ],
              subject,
            ),
            extKeyUsageExtension([oid.clientAuth]),
          ],
        }),
      );
      const [entry] = await authorities.store.auditEntries({ event: 'challenge.', limit: 2 });
      assert.match(entry?.actor ?? '', /^operator /);
      assert.partialDeepStrictEqual(entry?.detail, { device: 'printer-7', extKeyUsage: oid.clientAuth });
      assert.ok(!JSON.stringify(entry).includes(made.challenge));
      const outcome = await authorities.ra.enrol({
        endpoint: 'one-time',
        transactionID: 't',
        csr,
        challengePassword: made.challenge,
        source: 'test',
        receivedAt: new Date(),
      });
      assert.equal(outcome.outcome, 'issued', JSON.stringify(outcome));
    } finally {
      await authorities.close();
    }
  });

  test('challenge create refuses what could never be used', async () => {
    const refused: readonly (readonly [words: string[], message: RegExp])[] = [
      [['static'], /no one-time challenge is taken by the endpoint “static”/],
      [['absent'], /no endpoint “absent”/],
      [['one-time', '--minutes', '0'], /a positive whole number/],
      [['one-time', '--minutes', 'Infinity'], /a positive whole number/],
      [['one-time', '--minutes', '99999999'], /at most a year/],
      [['one-time', '--sid', 'S-1-5-x'], /not a security identifier/],
      [['one-time', '--eku', 'clientauth'], /neither an object identifier nor one of clientAuth/],
      [['one-time', '--subject', 'printer'], /expected an attribute such as CN=/],
      [['one-time', '--san', 'printer.test'], /expected DNS:, email:, URI:, IP: or UPN:/],
      [['one-time', '--san', 'DNS:a.test,,DNS:b.test'], /expected DNS:/],
    ];
    for (const [words, message] of refused)
      await assert.rejects(withConfig('challenge', 'create', ...words), message, words.join(' '));
  });
});

describe('output', () => {
  // A name that clears the screen, colours what follows and ends the line.
  const hostile = 'CN=\u001b[2J\u001b[31mred\u009b0m\r\n\u0007';

  test('what a device wrote does not steer the terminal', async () => {
    const row = { subject: hostile, detail: { transactionID: hostile }, at: new Date(0), none: undefined };
    const columns = { subject: 'Subject', detail: 'Detail', at: 'Time', none: 'None' };
    const table = (await outputOf(() => printRows([row], columns, {}))).out;
    const facts = (await outputOf(() => printFacts(row, {}))).out;
    for (const text of [table, facts]) {
      assert.doesNotMatch(text.replaceAll('\n', ''), /\p{Cc}/u);
      assert.match(text, /CN=\\x1b\[2J\\x1b\[31mred\\x9b0m\\x0d\\x0a\\x07/);
    }
    assert.equal(table.trimEnd().split('\n').length, 2);
    assert.match(table, /1970-01-01 00:00Z/);
    const json = (await outputOf(() => printRows([row], columns, { json: true }))).out;
    assert.equal(JSON.parse(json)[0].subject, hostile);
  });

  test('lists and details are words, and no JSON', async () => {
    const row = { roles: ['auditor', 'administrator'], detail: { source: '192.0.2.1', code: 7 } };
    const { out } = await outputOf(() => printFacts(row, {}));
    assert.equal(out, 'roles:  auditor, administrator\ndetail: source=192.0.2.1; code=7\n');
  });

  test('columns are aligned, and nothing follows the last', async () => {
    const { out } = await outputOf(() =>
      printRows([{ a: 'long value', b: 'x' }, { a: 'y' }], { a: 'A', b: 'B' }, {}),
    );
    assert.equal(out, 'A           B\nlong value  x\ny\n');
  });

  test('an error has a hint if we know one, and never a stack', async () => {
    const known = await outputOf(() => printError(new PkiError('store_locked', 'another server runs')));
    assert.equal(known.out, '');
    assert.equal(
      known.error,
      'error: another server runs\nhint: Stop the other server, or give this one a data folder of its own.\n',
    );
    const unknown = await outputOf(() => printError(new Error('broken')));
    assert.equal(unknown.error, 'error: broken\n');
    const said = await outputOf(() => printError(new Error('the server said\n\u001b[2J\rfine')));
    assert.equal(said.error, 'error: the server said\n\\x1b[2J\\x0dfine\n');
    assert.equal(printErrorStatus(), 1);
  });

  function printErrorStatus(): number {
    const errorLog = console.error;
    console.error = () => {};
    try {
      return printError('text');
    } finally {
      console.error = errorLog;
    }
  }
});
