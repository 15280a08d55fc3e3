import assert from 'node:assert/strict';
import { createHash, createPrivateKey, X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { mkdtemp, readdir, rm, stat } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, afterEach, before, beforeEach, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import {
  auditIn,
  certificates,
  keys,
  openTestServer,
  publishedCrl,
  recordsIn,
  staticSecret,
  type TestServer,
} from '../../test/support/authorities-fixture.ts';
import { leafgate } from '../../test/support/cli-fixture.ts';
import { builtInTemplates } from '../ca/index.ts';
import { buildPem, nameToString, parseCrl, parsePem, verifyCrlSignature } from '../codec/index.ts';
import { type ErrorCode, PkiError } from '../errors.ts';
import { decideAbout } from '../ra/index.ts';
import { buildNextCaCertificates } from '../scep/index.ts';

const fingerprint = createHash('sha256').update(certificates.issuing.raw).digest('hex');

let server: TestServer;
let folder: string;
let secretFile: string;
let rootFile: string;
let clients = 0;
let client: string;

before(async () => {
  const templates = builtInTemplates.map((template) => ({
    ...template,
    keyAlgorithms: ['rsa', 'P-256', 'P-384'] as const,
  }));
  server = await openTestServer({
    templates,
    renewal: { windowMs: 10_000 * 86_400_000, challenge: 'notNeeded', key: 'changed', names: 'asBefore' },
  });
  folder = await mkdtemp(join(tmpdir(), 'leafgate-scep-'));
  secretFile = join(folder, 'secret');
  writeFileSync(secretFile, `${staticSecret}\n`, { mode: 0o600 });
  rootFile = join(folder, 'root.pem');
  writeFileSync(rootFile, buildPem('CERTIFICATE', certificates.root.raw));
});
beforeEach(() => {
  clients += 1;
  client = join(folder, `client-${clients}`);
});
after(async () => {
  await server.close();
  await rm(folder, { recursive: true, force: true });
});

const facts = async (...words: string[]) => JSON.parse(await leafgate('scep', ...words, '--json'));

const enrolWords = (...more: string[]) => [
  ...['enrol', server.url('static'), '--subject', 'CN=device-1,O=Test', '--folder', client],
  ...['--challenge', `file:${secretFile}`, ...more],
];
const enrol = (...more: string[]) => facts(...enrolWords('--root', rootFile, ...more));

async function rejected(code: ErrorCode, act: Promise<unknown>, message = /./): Promise<void> {
  await assert.rejects(act, (thrown) => {
    assert.ok(thrown instanceof PkiError, String(thrown));
    assert.equal(thrown.code, code, thrown.message);
    assert.match(thrown.message, message);
    return true;
  });
}

/** The certificate of the folder, which its key must fit and the root must have made. */
function installed(): X509Certificate {
  const read = (name: string) => readFileSync(join(client, name), 'utf8');
  const certificate = new X509Certificate(read('certificate.pem'));
  const key = createPrivateKey({ key: read('key.pem'), passphrase: read('key-passphrase').trim() });
  assert.ok(certificate.checkPrivateKey(key), 'the certificate is not for the key');
  assert.ok(certificate.verify(new X509Certificate(certificates.issuing.raw).publicKey));
  return certificate;
}

describe('whom it believes', () => {
  test('nobody, unless a fingerprint or a root is given', async () => {
    const before = (await recordsIn(server)).length;
    await rejected('ca_unverified', facts(...enrolWords()), new RegExp(`${fingerprint} CN=`));
    await rejected(
      'ca_unverified',
      facts(...enrolWords('--ca-fingerprint', 'ab'.repeat(32))),
      /no certificate of the server has this fingerprint/,
    );
    await rejected('command_invalid', facts(...enrolWords('--ca-fingerprint', 'abcd')), /64 hexadecimal/);
    const foreign = join(folder, 'foreign.pem');
    writeFileSync(foreign, buildPem('CERTIFICATE', certificates.raSigning.raw));
    await rejected('ca_unverified', facts(...enrolWords('--root', foreign)));
    assert.equal((await recordsIn(server)).length, before);
    assert.ok(!existsSync(client), 'a folder was made for a server that nobody vouches for');
    await rejected('ca_unverified', leafgate('scep', 'ca', server.url('static'), '--out', join(folder, 'x')));
    assert.ok(!existsSync(join(folder, 'x')));
  });

  test('not the fingerprint of an RA: it vouches for no certificate that it gets', async () => {
    const ofRa = createHash('sha256').update(certificates.raEncryption.raw).digest('hex');
    const before = (await recordsIn(server)).length;
    await rejected(
      'ca_unverified',
      facts(...enrolWords('--ca-fingerprint', ofRa)),
      /of the RA’s certificate/,
    );
    assert.equal((await recordsIn(server)).length, before);
  });

  test('an RA that is shown by itself, if the CAs above it are given', async () => {
    const alone = createServer((_request, response) => {
      response.writeHead(200, { 'content-type': 'application/x-x509-ca-cert' });
      response.end(certificates.raEncryption.raw);
    });
    alone.listen(0, '127.0.0.1');
    await once(alone, 'listening');
    try {
      const url = `http://127.0.0.1:${(alone.address() as AddressInfo).port}/scep`;
      await rejected('ca_unverified', facts('ca', url, '--root', rootFile), /is not at hand/);
      const chainFile = join(folder, 'chain.pem');
      const chain = [certificates.issuing, certificates.root];
      writeFileSync(chainFile, chain.map(({ raw }) => buildPem('CERTIFICATE', raw)).join(''));
      assert.deepEqual(
        (await facts('ca', url, '--root', chainFile)).map(({ role }: { role: string }) => role),
        ['RA encryption'],
      );
    } finally {
      alone.closeAllConnections();
      alone.close();
    }
  });

  test('the fingerprint of the CA, with colons and capitals as people write it', async () => {
    const written = (fingerprint.match(/../g) ?? []).join(':').toUpperCase();
    await facts(...enrolWords('--ca-fingerprint', written));
    installed();
  });
});

describe('leafgate scep', () => {
  test('caps and ca say what the server says', async () => {
    const caps = await facts('caps', server.url('static'));
    assert.match(caps.capabilities, /AES.*Renewal.*SHA-256/);
    assert.deepEqual([caps.cipher, caps.digest], ['aes-128-cbc', 'sha256']);
    const out = join(folder, 'ca.pem');
    const rows = await facts('ca', server.url('static'), '--root', rootFile, '--out', out);
    assert.deepEqual(
      rows.map(({ role }: { role: string }) => role),
      ['RA signing', 'RA encryption', 'CA', 'CA'],
    );
    assert.equal(rows[2].fingerprint, fingerprint);
    assert.equal(parsePem(readFileSync(out, 'utf8'), 'CERTIFICATE').length, 4);
  });

  const manners: readonly string[][] = [
    [],
    ['--key', 'rsa-3072', '--digest', 'sha512', '--cipher', 'aes-256-cbc', '--key-transport', 'oaep-sha256'],
    ['--digest', 'sha1', '--cipher', 'des-ede3-cbc'],
    ['--key', 'p-256'],
    ['--key', 'p-384', '--digest', 'sha384', '--cipher', 'aes-192-cbc', '--key-transport', 'oaep-sha1'],
  ];
  for (const words of manners) {
    test(`enrols and renews with ${words.join(' ') || 'what the server offers'}`, async () => {
      const first = await enrol('--san', 'DNS:device-1.test, DNS:two.test', ...words);
      assert.equal(first.outcome, 'issued');
      const certificate = installed();
      assert.equal(certificate.subject, 'O=Test\nCN=device-1');
      assert.equal(certificate.subjectAltName, 'DNS:device-1.test, DNS:two.test');
      assert.deepEqual((await readdir(client)).sort(), [
        ...['certificate.pem', 'chain.pem', 'key-passphrase', 'key.pem', 'server.json', 'trust.pem'],
      ]);
      for (const name of await readdir(client))
        assert.equal((await stat(join(client, name))).mode & 0o777, 0o600, name);

      const key = words.includes('p-384')
        ? ['--key', 'p-384']
        : words.includes('p-256')
          ? ['--key', 'p-256']
          : [];
      for (const dialect of key.length > 0 ? ['auto', 'RenewalReq'] : ['auto', 'PKCSReq']) {
        const before = installed();
        const renewed = await facts('renew', '--folder', client, '--dialect', dialect, ...key);
        assert.equal(renewed.outcome, 'issued');
        const now = installed();
        assert.equal(now.subject, before.subject);
        assert.equal(now.subjectAltName, before.subjectAltName);
        assert.notEqual(now.serialNumber, before.serialNumber);
        assert.ok(!now.publicKey.equals(before.publicKey), 'the key was not renewed');
      }
    });
  }

  test('a refusal brings the reference, and leaves a folder that can be used again', async () => {
    process.env.LEAFGATE_TEST_CHALLENGE = 'not the secret';
    const wrong = [...enrolWords('--root', rootFile)].map((word) =>
      word.startsWith('file:') ? 'env:LEAFGATE_TEST_CHALLENGE' : word,
    );
    await rejected('scep_refused', facts(...wrong), /badRequest: .*\(LG-[A-Z2-7]{8}\)/);
    assert.ok(!existsSync(join(client, 'request.json')) && !existsSync(join(client, 'request-key.pem')));
    await enrol();
    installed();
    await rejected('scep_folder', enrol(), /holds a certificate: leafgate scep renew/);
  });

  test('an elliptic-curve key without a challenge is not even sent', async () => {
    const before = (await auditIn(server)).length;
    const words = ['enrol', server.url('static'), '--subject', 'CN=x', '--folder', client, '--key', 'p-256'];
    await rejected('answer_unencryptable', facts(...words, '--root', rootFile), /--challenge/);
    assert.equal((await auditIn(server)).length, before);
  });

  test('a single-DES server, a text and silence are told apart', async () => {
    await rejected('server_unreachable', facts('caps', 'http://127.0.0.1:1/scep'), /ECONNREFUSED/);
    await rejected('server_answer', facts('ca', `http://127.0.0.1:${server.port}/healthz`), /HTTP 200/);
    await rejected('server_answer', facts('caps', 'ftp://example.test/'));
  });

  test('cert and crl fetch what the CA made; what does not exist is refused', async () => {
    await publishedCrl(server.ca);
    await enrol();
    const { serialNumber } = installed();
    const out = join(client, 'fetched.pem');
    const found = await facts('cert', serialNumber, '--folder', client, '--out', out);
    assert.equal(found.serialNumber, serialNumber.toLowerCase());
    assert.ok(!('role' in found), 'a device’s certificate has no role at the server');
    assert.equal(new X509Certificate(readFileSync(out)).serialNumber, serialNumber);
    await rejected('scep_refused', facts('cert', 'abcdef', '--folder', client), /badCertId/);
    await rejected('command_invalid', facts('cert', 'xyz', '--folder', client));
    const crlFile = join(client, 'crl.pem');
    await facts('crl', '--folder', client, '--out', crlFile);
    const [crl] = parsePem(readFileSync(crlFile, 'utf8'), 'X509 CRL');
    assert.ok(verifyCrlSignature(parseCrl(crl), certificates.issuing.spki));
  });

  test('next-ca says that there is none, or brings the next CA under the present one’s signature', async () => {
    await enrol();
    assert.deepEqual(await facts('next-ca', '--folder', client), []);
    const next = [certificates.raSigning, certificates.root].map(({ raw }) => raw);
    for (const [name, sign, isBelieved] of [
      ['its own', keys.issuing.signs, true],
      ['another', keys.other.signs, false],
    ] as const) {
      const current = { certificate: certificates.issuing, sign };
      const succeeded = await openTestServer({
        nextCaCertificates: await buildNextCaCertificates(next, current),
      });
      try {
        const own = join(client, name);
        const words = enrolWords('--root', rootFile).map((word) =>
          word === client ? own : word === server.url('static') ? succeeded.url('static') : word,
        );
        await facts(...words);
        const out = join(own, 'next.pem');
        const asked = facts('next-ca', '--folder', own, '--out', out);
        if (isBelieved) {
          assert.deepEqual(
            (await asked).map(({ subject }: { subject: string }) => subject),
            [certificates.raSigning, certificates.root].map(({ subject }) => nameToString(subject)),
          );
          assert.deepEqual(parsePem(readFileSync(out, 'utf8'), 'CERTIFICATE').map(String), next.map(String));
        } else {
          await rejected('scep_signature', asked);
          assert.ok(!existsSync(out));
        }
      } finally {
        await succeeded.close();
      }
    }
  });

  test('a challenge in the place of its reference is not taken, and not repeated', async () => {
    const wrong = enrolWords('--root', rootFile).map((word) => (word.startsWith('file:') ? 'h0rse' : word));
    await rejected('command_invalid', facts(...wrong), /^--challenge takes file:PATH, (?!.*h0rse)/);
    assert.ok(!existsSync(client));
  });

  test('a certificate on a curve cannot ask for others, and says why', async () => {
    await enrol('--key', 'p-256');
    await rejected('answer_unencryptable', facts('crl', '--folder', client), /RSA/);
  });

  test('a folder without a server has no answer to poll, renew and the others', async () => {
    for (const command of ['poll', 'renew', 'crl', 'next-ca'])
      await rejected('scep_folder', facts(command, '--folder', client), /leafgate scep enrol/);
  });
});

describe('a request that a person has to approve', () => {
  const words = (...more: string[]) => [
    ...['enrol', server.url('manual'), '--subject', 'CN=device-1,O=Test', '--folder', client],
    ...['--root', rootFile, '--challenge', `file:${secretFile}`, ...more],
  ];
  const decide = async (status: 'approved' | 'denied') => {
    const [held] = await server.store.heldRequests({ status: 'pending', limit: 1 });
    assert.ok(held !== undefined, 'nothing waits');
    const at = server.clock.now();
    await decideAbout(server.store, { id: held.id, status, by: 'EXAMPLE\\manager', comment: '', at });
  };
  afterEach(() => {
    process.exitCode = 0;
  });

  for (const key of ['rsa-2048', 'p-256']) {
    test(`${key}: waits, is asked for, and comes once it is approved`, async () => {
      const first = await facts(...words('--key', key));
      assert.deepEqual([first.outcome, process.exitCode], ['pending', 3]);
      assert.equal((await facts('poll', '--folder', client)).outcome, 'pending');
      await rejected('scep_folder', facts(...words()), /a request that waits: leafgate scep poll/);
      for (const name of await readdir(client))
        assert.equal((await stat(join(client, name))).mode & 0o777, 0o600, name);
      await decide('approved');
      assert.equal((await facts('poll', '--folder', client)).outcome, 'issued');
      installed();
      assert.ok(!existsSync(join(client, 'request.json')));
      await rejected('scep_folder', facts('poll', '--folder', client), /no request that waits/);
    });
  }

  test('is waited for as long as it is told', async () => {
    const enrolled = facts(...words('--wait', '1', '--poll-interval', '1'));
    for (let tries = 0; tries < 100; tries += 1) {
      if ((await server.store.heldRequests({ status: 'pending', limit: 1 })).length > 0) break;
      await sleep(50);
    }
    await decide('approved');
    assert.equal((await enrolled).outcome, 'issued');
    installed();
  });

  test('is dropped once it is denied', async () => {
    await facts(...words());
    await decide('denied');
    await rejected('scep_refused', facts('poll', '--folder', client));
    assert.ok(!existsSync(join(client, 'request.json')) && !existsSync(join(client, 'request-key.pem')));
  });
});
