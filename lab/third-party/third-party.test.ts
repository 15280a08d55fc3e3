import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { parseCertmongerState } from './certmonger.ts';
import { ClientSession } from './client-session.ts';
import { parseMirror, parsePackageStatus } from './debian.ts';
import { chooseScepCertificates, parseServedCertificate, type ServedCertificate } from './strongswan.ts';
import { parseLintReport } from './zlint.ts';

describe('zlint', () => {
  test('separates faults from remarks and counts what applied', () => {
    const report = parseLintReport(
      JSON.stringify({
        e_a: { result: 'error', details: 'why' },
        e_b: { result: 'fatal' },
        w_a: { result: 'warn' },
        n_a: { result: 'notice', details: 'note' },
        n_b: { result: 'info' },
        p: { result: 'pass' },
        q: { result: 'NA' },
        r: { result: 'NE' },
      }),
    );
    assert.deepEqual(report, {
      rulesApplied: 6,
      faults: [
        { name: 'e_a', result: 'error', details: 'why' },
        { name: 'e_b', result: 'fatal', details: '' },
      ],
      remarks: [
        { name: 'w_a', result: 'warn', details: '' },
        { name: 'n_a', result: 'notice', details: 'note' },
        { name: 'n_b', result: 'notice', details: '' },
      ],
    });
  });

  for (const [name, json] of [
    ['nothing', ''],
    ['no object', '3'],
    ['a verdict that is not known', '{"a":{"result":"maybe"}}'],
    ['a rule without a verdict', '{"a":{}}'],
  ] as const) {
    test(`${name} is an exception`, () => assert.throws(() => parseLintReport(json)));
  }
});

describe('certmonger', () => {
  for (const [name, list, state] of [
    ['no request', 'Number of certificates and requests being tracked: 0.\n', 'working'],
    ['generating', "Request ID 'e':\n\tstatus: GENERATING_CSR\n\tstuck: no\n", 'working'],
    ['submitting', "Request ID 'e':\n\tstatus: SUBMITTING\n\tstuck: no\n", 'working'],
    ['refused', "Request ID 'e':\n\tstatus: CA_REJECTED\n\tca-error: no\n\tstuck: yes\n", 'failed'],
    ['unreachable', "Request ID 'e':\n\tstatus: CA_UNREACHABLE\n\tca-error: no\n\tstuck: no\n", 'failed'],
    ['not understood', "Request ID 'e':\n\tstatus: NEED_GUIDANCE\n\tstuck: yes\n", 'failed'],
    ['issued', "Request ID 'e':\n\tstatus: MONITORING\n\tstuck: no\n", 'issued'],
  ] as const) {
    test(`${name}: ${state}`, () => assert.equal(parseCertmongerState(list), state));
  }
});

describe('strongSwan', () => {
  const served = (file: string, kind: 'root' | 'ca' | 'ra', ...keyUsage: string[]): ServedCertificate => ({
    file,
    isCa: kind !== 'ra',
    isSelfIssued: kind === 'root',
    keyUsage,
  });
  const root = served('ca.der', 'root', 'Certificate Sign', 'CRL Sign');
  const issuing = served('ca-1.der', 'ca', 'Digital Signature', 'Certificate Sign');

  test('an empty answer has no certificates', () => assert.equal(chooseScepCertificates([]), undefined));

  for (const [name, files, encryption, signature] of [
    ['a root alone', [root], 'ca.der', 'ca.der'],
    ['an issuing CA below a root', [root, issuing], 'ca-1.der', 'ca-1.der'],
    [
      'an RA for both',
      [root, served('ra.der', 'ra', 'Digital Signature', 'Key Encipherment')],
      'ra.der',
      'ra.der',
    ],
    [
      'an RA of two certificates',
      [issuing, served('ra-2.der', 'ra', 'Digital Signature'), served('ra.der', 'ra', 'Key Encipherment')],
      'ra.der',
      'ra-2.der',
    ],
    ['an RA that signs only', [issuing, served('ra.der', 'ra', 'Digital Signature')], 'ca-1.der', 'ra.der'],
  ] as const) {
    test(name, () => assert.deepEqual(chooseScepCertificates(files), { encryption, signature }));
  }

  test('reads what openssl says of a certificate', () => {
    const text =
      'subject=CN = RA\nissuer=CN = CA\nX509v3 Key Usage: critical\n    Digital Signature, Key Encipherment\n' +
      'X509v3 Basic Constraints: critical\n    CA:FALSE\n';
    assert.deepEqual(parseServedCertificate('ra.der', text), {
      file: 'ra.der',
      isCa: false,
      isSelfIssued: false,
      keyUsage: ['Digital Signature', 'Key Encipherment'],
    });
    const own = 'subject=CN = CA\nissuer=CN = CA\nX509v3 Basic Constraints: critical\n    CA:TRUE\n';
    assert.deepEqual(parseServedCertificate('ca.der', own), {
      file: 'ca.der',
      isCa: true,
      isSelfIssued: true,
      keyUsage: [],
    });
  });
});

describe('Debian', () => {
  test('the mirror is that of the main archive of Debian 12', () => {
    const lines =
      'bookworm contrib file:/a\nbookworm-security main file:/b\n\nbookworm main file:/c/\nbookworm main file:/d/\n';
    assert.equal(parseMirror(lines), 'file:/c/');
    assert.equal(parseMirror('trixie main file:/a\n'), undefined);
    assert.equal(parseMirror(''), undefined);
  });

  test('only a package that is installed entirely counts', () => {
    const stanzas =
      'Package: a\nStatus: install ok installed\nVersion: 1-1\n\n' +
      'Package: b\nStatus: deinstall ok config-files\nVersion: 1\n\n' +
      'Package: c\nStatus: install ok half-configured\nVersion: 1\n';
    assert.deepEqual([...parsePackageStatus(stanzas)], [['a', '1-1']]);
    assert.equal(parsePackageStatus('').size, 0);
  });
});

describe('a client', () => {
  const key = (name: string) => `-----BEGIN ${name}-----\nAAAA\n-----END ${name}-----\n`;

  test('that ends without a certificate or a key has not enrolled', async () => {
    const workFolder = await mkdtemp(join(tmpdir(), 'leafgate-client-'));
    try {
      const session = await ClientSession.open({
        url: 'http://127.0.0.1:1/scep',
        workFolder,
        challenge: 'c',
        commonName: 'd',
        caCertificatesPem: [],
      });
      assert.equal(session.finished('', key('PRIVATE KEY')).ok, false);
      assert.equal(session.finished('prose', key('PRIVATE KEY')).ok, false);
      assert.equal(session.finished(key('CERTIFICATE'), '').ok, false);
      const failed = session.failed('because');
      assert.equal(failed.ok, false);
      assert.match(failed.log, /without a certificate[\s\S]*without a key[\s\S]*because/);
    } finally {
      await rm(workFolder, { recursive: true, force: true });
    }
  });

  test('that talks past its deadline is stopped', async () => {
    const workFolder = await mkdtemp(join(tmpdir(), 'leafgate-client-'));
    try {
      const session = await ClientSession.open({
        url: 'http://127.0.0.1:1/scep',
        workFolder,
        challenge: 'c',
        commonName: 'd',
        caCertificatesPem: [],
        timeoutMs: 400,
      });
      assert.equal(await session.until(async () => false), false);
      const late = await session.run(process.execPath, ['-e', 'setInterval(() => {}, 1000)']);
      assert.equal(late.timedOut, true);
      assert.match(session.failed().log, /time limit/);
    } finally {
      await rm(workFolder, { recursive: true, force: true });
    }
  });
});
