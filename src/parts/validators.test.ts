/** Validators as a configuration names them, at work in an RA. */
import assert from 'node:assert/strict';
import { createPrivateKey } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { after, before, test } from 'node:test';
import type { TLSSocket } from 'node:tls';
import { requestOf } from '../../test/support/authorities-fixture.ts';
import { newSite } from '../../test/support/cli-fixture.ts';
import { ecKey, rootPem, testCertificate, tlsServer } from '../../test/support/mdm-fixture.ts';
import { buildPem, parseCertificate, parseCertificationRequest } from '../codec/index.ts';
import { parseConfig } from '../config.ts';
import { hashStaticSecret } from '../ra/index.ts';
import { openLog, systemClock } from '../telemetry.ts';
import { type Authorities, openAuthorities } from './authorities.ts';

const log = openLog('silent', 'test');

let folder: string;
let config: string;
before(async () => {
  ({ folder, config } = await newSite());
});
after(() => rm(folder, { recursive: true, force: true }));

/** The authorities of the site, with these endpoints alone and a data folder of their own. */
async function authoritiesWith(
  validators: Readonly<Record<string, readonly object[]>>,
): Promise<Authorities> {
  const changed = JSON.parse(readFileSync(config, 'utf8')) as {
    server: { dataFolder: string; endpoints: Record<string, unknown>[] };
  };
  const [first] = changed.server.endpoints;
  changed.server.dataFolder = `data-${Object.keys(validators).join('-')}`;
  changed.server.endpoints = Object.entries(validators).map(([name, list]) => ({
    ...first,
    name,
    paths: [`/scep/${name}`],
    validators: list,
  }));
  const { server } = parseConfig(JSON.stringify(changed), folder);
  assert.ok(server);
  return await openAuthorities(server, log, systemClock);
}

async function enrol(authorities: Authorities, endpoint: string, challengePassword: string) {
  const csr = parseCertificationRequest(await requestOf({ challengePassword }));
  return await authorities.ra.enrol({
    endpoint,
    transactionID: `${endpoint} ${challengePassword}`,
    csr,
    challengePassword,
    source: 'test',
    receivedAt: new Date(),
  });
}

test('two endpoints have secrets of their own, of which one is being replaced', async () => {
  const secrets = { LG_ONE: 'the secret of one', LG_TWO: 'the secret of two', LG_OLD: 'the old one of two' };
  for (const [name, secret] of Object.entries(secrets)) process.env[name] = await hashStaticSecret(secret);
  const authorities = await authoritiesWith({
    one: [{ staticSecret: { hash: 'env:LG_ONE' } }],
    two: [{ staticSecret: { hash: 'env:LG_TWO', previousHash: 'env:LG_OLD' } }],
  });
  try {
    const rows = [
      ['one', secrets.LG_TWO, 'refused'],
      ['one', secrets.LG_OLD, 'refused'],
      ['two', secrets.LG_ONE, 'refused'],
      ['one', secrets.LG_ONE, 'issued'],
      ['two', secrets.LG_TWO, 'issued'],
      ['two', secrets.LG_OLD, 'issued'],
    ] as const;
    for (const [endpoint, secret, want] of rows)
      assert.equal((await enrol(authorities, endpoint, secret)).outcome, want, `${endpoint}: ${secret}`);
  } finally {
    await authorities.close();
    for (const name of Object.keys(secrets)) delete process.env[name];
  }
});

test('a webhook is asked with its client certificate; what it does not take is withheld', async () => {
  const clientKey = ecKey();
  const passphrase = 'passphrase of the client';
  const certificate = await testCertificate({ subject: 'CN=leafgate', key: clientKey, kind: 'other' });
  const write = (name: string, content: string) =>
    writeFileSync(join(folder, name), content, { mode: 0o600 });
  write('root.pem', rootPem);
  write('webhook.secret', 'a webhook secret of 32 characters or more');
  write('client.pem', buildPem('CERTIFICATE', certificate.raw));
  write(
    'client.key.pem',
    String(
      createPrivateKey(clientKey.pem).export({
        type: 'pkcs8',
        format: 'pem',
        cipher: 'aes-256-cbc',
        passphrase,
      }),
    ),
  );
  write('client.passphrase', passphrase);
  const asked: { readonly type: string; readonly challenge?: string; readonly client: string }[] = [];
  let isTaken = true;
  const server = createServer(
    { ...tlsServer, requestCert: true, rejectUnauthorized: false },
    async (request, response) => {
      const { id, type, challenge } = JSON.parse(await text(request)) as Record<string, string>;
      const client = String((request.socket as TLSSocket).getPeerCertificate()?.subject?.CN);
      asked.push({ type: String(type), client, ...(challenge === undefined ? {} : { challenge }) });
      const decision =
        type === 'notify' ? (isTaken ? 'noted' : 'no') : challenge === 'wrong' ? 'refuse' : 'accept';
      response
        .writeHead(200, { 'content-type': 'application/json' })
        .end(JSON.stringify({ id, decision, ...(decision === 'accept' ? { device: 'mac-7' } : {}) }));
    },
  );
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const authorities = await authoritiesWith({
    hook: [
      {
        webhook: {
          url: `https://127.0.0.1:${(server.address() as AddressInfo).port}/`,
          secret: 'file:webhook.secret',
          extraCa: 'root.pem',
          notifications: 'outcome',
          clientCertificate: {
            certificate: 'client.pem',
            key: { file: 'client.key.pem', passphrase: 'file:client.passphrase' },
          },
        },
      },
    ],
  });
  try {
    assert.partialDeepStrictEqual(await enrol(authorities, 'hook', 'wrong'), {
      outcome: 'refused',
      code: 'validator_refused',
    });
    const issued = await enrol(authorities, 'hook', 'right');
    assert.ok(issued.outcome === 'issued', JSON.stringify(issued));
    assert.deepEqual(asked, [
      { type: 'validate', challenge: 'wrong', client: 'leafgate' },
      { type: 'validate', challenge: 'right', client: 'leafgate' },
      { type: 'notify', client: 'leafgate' },
    ]);
    const { serialNumber } = parseCertificate(issued.certificate);
    const record = await authorities.ca.certificate('issuing', serialNumber);
    assert.partialDeepStrictEqual(record, { status: 'issued', device: 'mac-7' });

    isTaken = false;
    assert.partialDeepStrictEqual(await enrol(authorities, 'hook', 'another'), {
      outcome: 'unavailable',
      code: 'notification_failed',
    });
    const [withheld] = await authorities.store.certificates({ limit: 1 });
    // An answer that is none: it is told again, and revoked if nobody takes it within an hour.
    assert.equal(withheld?.status, 'issued');
    assert.equal(
      (await authorities.store.notificationsDue({ at: new Date(Date.now() + 120_000), limit: 9 })).length,
      1,
    );

    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
    assert.partialDeepStrictEqual(await enrol(authorities, 'hook', 'later'), {
      outcome: 'unavailable',
      code: 'validator_unreachable',
    });
  } finally {
    await authorities.close();
    server.closeAllConnections();
    server.close();
  }
});
