/** A certificate manager at the command line, beside a server's RA. */
import assert from 'node:assert/strict';
import { readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { keys, requestOf } from '../../test/support/authorities-fixture.ts';
import { leafgate, newSite } from '../../test/support/cli-fixture.ts';
import { parseCertificate, parseCertificationRequest } from '../codec/index.ts';
import { readConfig } from '../config.ts';
import { PkiError } from '../errors.ts';
import { type Authorities, openAuthorities } from '../parts/authorities.ts';
import type { Outcome } from '../ra/index.ts';
import { openLog, systemClock } from '../telemetry.ts';

let folder: string;
let config: string;
let authorities: Authorities;

before(async () => {
  ({ folder, config } = await newSite());
  const { server } = JSON.parse(readFileSync(config, 'utf8'));
  server.endpoints.push({
    name: 'manual',
    paths: ['/scep/manual'],
    issuer: 'issuing',
    template: 'client-authentication',
    validators: [{ manualApproval: {} }],
  });
  writeFileSync(config, JSON.stringify({ server }));
  const read = readConfig(config).server;
  assert.ok(read !== undefined);
  authorities = await openAuthorities(read, openLog('silent', 'test'), systemClock);
});
after(async () => {
  await authorities.close();
  await rm(folder, { recursive: true, force: true });
});

const withConfig = (...words: string[]) => leafgate(...words, '--config', config);
const json = async (...words: string[]) => JSON.parse(await withConfig(...words, '--json'));
const rejectsWith = (code: string, message: RegExp) => (thrown: unknown) =>
  thrown instanceof PkiError && thrown.code === code && message.test(thrown.message);

/** A device's request; each name is a device and a transaction of its own. */
async function enrol(name: string): Promise<Outcome> {
  return await authorities.ra.enrol({
    endpoint: 'manual',
    transactionID: name,
    csr: parseCertificationRequest(await requestOf({ subject: `CN=${name}` })),
    challengePassword: '',
    source: '192.0.2.1',
    receivedAt: new Date(),
  });
}
const poll = (name: string) =>
  authorities.ra.poll({
    endpoint: 'manual',
    transactionID: name,
    signerSpki: keys.device.spki,
    source: '192.0.2.1',
  });

describe('a certificate manager', () => {
  test('sees nothing where nothing waits, and cannot decide about it', async () => {
    assert.equal(await withConfig('ca', 'pending'), 'none\n');
    assert.equal(await withConfig('ca', 'failed'), 'none\n');
    // certsrv.msc has views of these names beside the others.
    await assert.rejects(withConfig('ca', 'list', 'pending'), /leafgate ca pending/);
    await assert.rejects(withConfig('ca', 'list', 'failed'), /leafgate ca failed/);
    await assert.rejects(withConfig('ca', 'list', 'denied'), /Allowed choices are all, issued, revoked/);
    await assert.rejects(withConfig('ca', 'pending', '1'), rejectsWith('request_unknown', /no request 1/));
    await assert.rejects(withConfig('ca', 'approve', '1'), rejectsWith('request_unknown', /no request 1/));
    await assert.rejects(
      withConfig('ca', 'deny', '1', '--reason', 'x'),
      rejectsWith('request_unknown', /no request 1/),
    );
  });

  test('sees who waits, in a table, one by one, and as JSON, and no secret', async () => {
    for (const name of ['printer-1', 'printer-2', 'printer-3'])
      assert.equal((await enrol(name)).outcome, 'pending');
    const [header = '', ...rows] = (await withConfig('ca', 'pending')).trimEnd().split('\n');
    assert.match(
      header,
      /^ID +Status +Received +Endpoint +Certificate template +Device +Subject +Subject alternative name +Waits until$/,
    );
    assert.deepEqual(
      rows.map((row) => row.split(/ {2,}/)[0]),
      ['3', '2', '1'],
    );
    assert.match(rows[0] ?? '', /^3 +pending +.* manual +client-authentication +printer-3 +CN=printer-3 /);
    const [first, ...more] = await json('ca', 'pending', '--limit', '1');
    assert.deepEqual(more, []);
    assert.partialDeepStrictEqual(first, { id: 3, status: 'pending', subject: 'CN=printer-3' });
    assert.deepEqual(
      Object.keys(first).filter((key) => /sealed|replay|requestHash/.test(key)),
      [],
    );
    assert.deepEqual(
      (await json('ca', 'pending', '--after', '3')).map(({ id }: { id: number }) => id),
      [2, 1],
    );
    assert.match(await withConfig('ca', 'pending', '2'), /^subject: +CN=printer-2$/m);
    assert.equal(await withConfig('ca', 'pending', '--endpoint', 'static'), 'none\n');
    await assert.rejects(withConfig('ca', 'pending', '--status', 'maybe'), /one of pending/);
    await assert.rejects(withConfig('ca', 'pending', 'x'), /positive whole number/);
  });

  test('approves without any key, and the server issues when the device asks', async () => {
    // The commands must not need what they do not use: the key of the CA is gone while they run.
    const key = join(folder, 'issuing.key.pem');
    renameSync(key, `${key}.away`);
    try {
      const out = await withConfig('ca', 'approve', '1', '--comment', 'seen in the hall');
      assert.match(out, /^request 1: +approved$/m);
      assert.match(out, /^for: +CN=printer-1$/m);
      assert.partialDeepStrictEqual(await json('ca', 'pending', '1'), {
        status: 'approved',
        comment: 'seen in the hall',
      });
    } finally {
      renameSync(`${key}.away`, key);
    }
    await assert.rejects(
      withConfig('ca', 'deny', '1', '--reason', 'a second thought'),
      rejectsWith('request_decided', /is approved, by operator /),
    );
    const outcome = await poll('printer-1');
    assert.equal(outcome.outcome, 'issued');
    const { serialNumber } = parseCertificate(
      outcome.outcome === 'issued' ? outcome.certificate : Uint8Array.of(),
    );
    assert.partialDeepStrictEqual(await json('ca', 'list'), [{ serialNumber, device: 'printer-1' }]);
    assert.partialDeepStrictEqual(await json('ca', 'pending', '--status', 'issued'), [
      { id: 1, status: 'issued' },
    ]);
    const [entry] = await json('audit', 'list', '--event', 'enrolment.approved');
    assert.match(entry.actor, /^operator /);
    assert.match(entry.text, /: seen in the hall$/);
  });

  test('denies with a reason, which stands among the failed requests', async () => {
    await assert.rejects(withConfig('ca', 'deny', '2'), /--reason/);
    await assert.rejects(withConfig('ca', 'deny', '2', '--reason', ' '), /say why/);
    assert.equal((await poll('printer-2')).outcome, 'pending');
    assert.equal((await json('ca', 'deny', '2', '--reason', 'not ours')).status, 'denied');
    const outcome = await poll('printer-2');
    assert.equal(outcome.outcome === 'refused' && outcome.code, 'approval_denied');
    const [refused, denied, ...more] = await json('ca', 'failed');
    assert.deepEqual(more, []);
    assert.partialDeepStrictEqual(refused, {
      code: 'approval_denied',
      reference: outcome.outcome === 'refused' ? outcome.reference : '',
    });
    assert.partialDeepStrictEqual(denied, { event: 'enrolment.denied', device: 'printer-2' });
    assert.match(denied.text, /: not ours$/);
    const [header = ''] = (await withConfig('ca', 'failed', '--limit', '1')).split('\n');
    assert.match(header, /^Number +Time +Reason +Reference +Device +Text$/);
    assert.deepEqual(await json('ca', 'failed', '--after', String(denied.number)), []);
  });

  test('cannot decide about what has expired', async () => {
    const { server } = JSON.parse(readFileSync(config, 'utf8'));
    const short = join(folder, 'short.yaml');
    writeFileSync(short, JSON.stringify({ server: { ...server, approval: { expiresAfter: '1ms' } } }));
    const read = readConfig(short).server;
    assert.ok(read !== undefined);
    const brief = await openAuthorities(read, openLog('silent', 'test'), systemClock);
    await brief.ra.enrol({
      endpoint: 'manual',
      transactionID: 'late',
      csr: parseCertificationRequest(await requestOf({ subject: 'CN=late' })),
      challengePassword: '',
      source: '192.0.2.1',
      receivedAt: new Date(),
    });
    await brief.close();
    const expiresAt = (await authorities.store.heldRequest({ id: 4 }))?.expiresAt ?? new Date(Number.NaN);
    assert.ok(Number.isFinite(expiresAt.getTime()));
    while (new Date() <= expiresAt) await new Promise((resolve) => setTimeout(resolve, 2));
    assert.deepEqual(
      (await json('ca', 'pending')).map(({ id }: { id: number }) => id),
      [3],
    );
    assert.partialDeepStrictEqual(await json('ca', 'pending', '--status', 'expired'), [
      { id: 4, status: 'expired', subject: 'CN=late' },
    ]);
    await assert.rejects(withConfig('ca', 'approve', '4'), rejectsWith('request_decided', /expired at/));
    rmSync(short);
  });
});
