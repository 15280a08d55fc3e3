import assert from 'node:assert/strict';
import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, test } from 'node:test';
import { pino } from 'pino';
import {
  certificates,
  FixtureClock,
  type FixtureOptions,
  issuer,
  keys,
  openTestAuthorities,
  requestOf,
  type TestAuthorities,
} from '../../test/support/authorities-fixture.ts';
import { StoreFailures } from '../../test/support/failing-store.ts';
import { builtInTemplates } from '../ca/index.ts';
import {
  buildCertID,
  buildOcspRequest,
  buildPem,
  parseCertificationRequest,
  parseOcspResponse,
  verifyOcspResponse,
} from '../codec/index.ts';
import { parseConfig } from '../config.ts';
import { generateKeyFile, type KeyAlgorithm } from '../keys/index.ts';
import { type Ocsp, openOcsp } from './ocsp.ts';

const log = pino({ level: 'silent' });

let opened: TestAuthorities | undefined;
afterEach(async () => {
  await opened?.close();
  opened = undefined;
});

/** OCSP over authorities in a temporary folder; `ocsp` is its part of the configuration. */
async function open(
  ocsp: object | undefined,
  options: FixtureOptions = {},
): Promise<{ readonly authorities: TestAuthorities; readonly ocsp: Ocsp | undefined }> {
  const authorities = await openTestAuthorities({ clock: new FixtureClock(), ...options });
  opened = authorities;
  const { folder } = authorities;
  await writeFile(join(folder, 'ocsp.passphrase'), 'a passphrase\n', { mode: 0o600 });
  const key = { file: 'x.key.pem', passphrase: 'file:x.passphrase' };
  const identity = { certificate: 'x.pem', key };
  const server = {
    listen: '127.0.0.1:0',
    dataFolder: 'data',
    issuers: [
      {
        name: 'issuing',
        certificate: 'chain.pem',
        key,
        crlUrls: ['http://pki.test/crl/issuing.crl'],
        caIssuersUrls: ['http://pki.test/aia/issuing.crt'],
      },
    ],
    ra: { signing: identity, encryption: identity, challengeHashKey: 'env:HASH_KEY' },
    endpoints: [
      {
        name: 'one-time',
        paths: ['/scep/one-time'],
        issuer: 'issuing',
        template: 'client-authentication',
        validators: [{ oneTime: {} }],
      },
    ],
    ...(ocsp === undefined ? {} : { ocsp }),
  };
  const config = parseConfig(JSON.stringify({ server }), folder).server;
  assert.ok(config !== undefined);
  return {
    authorities,
    ocsp: await openOcsp(config, { ...authorities, issuers: [issuer] }, log, authorities.clock),
  };
}

/** What is said of a fresh certificate, and of a serial number that was never issued. */
async function told(authorities: TestAuthorities, ocsp: Ocsp | undefined): Promise<string[]> {
  const { serialNumber } = await authorities.ra.enrolService({
    issuer: 'issuing',
    template: 'client-authentication',
    csr: parseCertificationRequest(await requestOf({})),
    operator: 'test',
  });
  const certIDs = [serialNumber, '0badc0de'].map((serial) =>
    buildCertID(certificates.issuing, serial, 'sha1'),
  );
  const answer = await ocsp?.responder.respond(buildOcspRequest({ certIDs }));
  const response = parseOcspResponse(answer?.response ?? Uint8Array.of());
  if (response.responseStatus !== 'successful') return [response.responseStatus];
  assert.ok(verifyOcspResponse(response.basic, certificates.issuing, authorities.clock.now()));
  return response.basic.responses.map(({ certStatus }) => certStatus.status);
}

describe('openOcsp', () => {
  test('is nothing where nothing is configured', async () => {
    assert.equal((await open(undefined)).ocsp, undefined);
  });
  test('answers as configured once the signers are there', async () => {
    for (const [neverIssued, want] of [
      ['unknown', 'unknown'],
      ['revoked', 'revoked'],
    ] as const) {
      const { authorities, ocsp } = await open({ passphrase: 'file:ocsp.passphrase', neverIssued });
      assert.deepEqual(await told(authorities, ocsp), ['tryLater']);
      await ocsp?.renewSigners();
      authorities.clock.offsetMs += 3_000;
      assert.deepEqual(await told(authorities, ocsp), ['good', want]);
      await authorities.close();
      opened = undefined;
    }
  });
  test('wants a passphrase that can be read', async () => {
    await assert.rejects(open({ passphrase: 'file:absent.passphrase' }), { code: 'key_locked' });
  });
  describe('with a key that the configuration names', () => {
    const own = async (folder: string, name: string, algorithm: KeyAlgorithm = 'p-256') => {
      await generateKeyFile({ path: join(folder, `${name}.key.pem`), passphrase: 'a passphrase', algorithm });
      return { file: `${name}.key.pem`, passphrase: 'file:ocsp.passphrase' };
    };
    let folder: string;
    beforeEach(async () => {
      folder = await mkdtemp(join(tmpdir(), 'leafgate-ocsp-'));
    });
    afterEach(() => rm(folder, { recursive: true, force: true }));

    test('has its certificate issued, needs no passphrase, and answers', async () => {
      const key = await own(folder, 'responder');
      const { authorities, ocsp } = await open({ signers: [{ issuer: 'issuing', key }] }, { folder });
      assert.deepEqual(await told(authorities, ocsp), ['tryLater']);
      await ocsp?.renewSigners();
      authorities.clock.offsetMs += 3_000;
      assert.deepEqual(await told(authorities, ocsp), ['good', 'unknown']);
      assert.deepEqual(
        (await readdir(join(folder, 'data', 'ocsp'))).map((name) => name.replace(/[0-9a-f]{16}/, '#')),
        ['issuing.#.placed.crt.pem'],
      );
    });

    test('refuses the CA’s own key, and one that its template does not take', async () => {
      const pem = keys.issuing.keyObject.export({
        type: 'pkcs8',
        format: 'pem',
        cipher: 'aes-256-cbc',
        passphrase: 'a passphrase',
      });
      await writeFile(join(folder, 'ca.key.pem'), pem, { mode: 0o600 });
      const ca = { file: 'ca.key.pem', passphrase: 'file:ocsp.passphrase' };
      await assert.rejects(open({ signers: [{ issuer: 'issuing', key: ca }] }, { folder }), {
        code: 'key_capability',
        message: /give its responder a key of its own/,
      });
      await opened?.close();
      const templates = builtInTemplates.map((template) =>
        template.name === 'ocsp-signing' ? { ...template, keyAlgorithms: ['rsa' as const] } : template,
      );
      const key = await own(folder, 'p-256');
      await assert.rejects(open({ signers: [{ issuer: 'issuing', key }] }, { folder, templates }), {
        code: 'key_capability',
        message: /use RSA 2048, P-256 or P-384/,
      });
    });

    test('refuses a certificate of an operator that is not for it, when it starts', async () => {
      const key = await own(folder, 'responder');
      await writeFile(join(folder, 'foreign.pem'), buildPem('CERTIFICATE', certificates.raSigning.raw));
      const signer = { issuer: 'issuing', key, certificate: 'foreign.pem' };
      await assert.rejects(open({ signers: [signer] }, { folder }), {
        code: 'key_capability',
        message: /belongs to another key/,
      });
    });
  });

  test('survives a store that is out of reach, and tries again', async () => {
    const failures = new StoreFailures();
    const { authorities, ocsp } = await open(
      { passphrase: 'file:ocsp.passphrase' },
      { storeOf: failures.wrap },
    );
    failures.plan('reserveSerial', 'not persisted');
    await ocsp?.renewSigners();
    assert.equal(failures.pending, 0);
    authorities.clock.offsetMs += 61_000;
    assert.deepEqual(await told(authorities, ocsp), ['tryLater']);
    await ocsp?.renewSigners();
    authorities.clock.offsetMs += 3_000;
    assert.deepEqual(await told(authorities, ocsp), ['good', 'unknown']);
  });
  test('refuses a template of which relying parties would take nothing', async () => {
    const templates = builtInTemplates.map((template) =>
      template.name === 'ocsp-signing' ? { ...template, ocspNoCheck: false } : template,
    );
    const { ocsp } = await open({ passphrase: 'file:ocsp.passphrase' }, { templates });
    await assert.rejects(async () => ocsp?.renewSigners(), { code: 'key_capability' });
  });
});
