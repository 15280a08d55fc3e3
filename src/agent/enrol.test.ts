import assert from 'node:assert/strict';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { certificates, keys, rsaKey, temporaryFolder } from '../../test/support/mdm-fixture.ts';
import {
  type Holder,
  issue,
  issuing,
  openTestScepServer,
  ra,
  root,
  type ScepAnswer,
  type TestScepServer,
} from '../../test/support/scep-fixture.ts';
import {
  type Certificate,
  commonNameOf,
  extKeyUsageOf,
  generalNamesToString,
  keyUsageOf,
  nameToString,
  oid,
  parseCertificationRequest,
  parsePublicKeyInfo,
  parseSignedData,
  sameOctets,
  subjectAltNameOf,
  thumbprintOf,
  verifyCertificationRequest,
} from '../codec/index.ts';
import { readPkiMessage, verifyPkiMessage } from '../scep/index.ts';
import { systemClock } from '../telemetry.ts';
import { type EnrolmentOptions, type EnrolmentResult, enrol } from './enrol.ts';
import { EventLog } from './event-log.ts';
import { hResults } from './h-result.ts';
import { HttpClient } from './http-client.ts';
import type { ScepProfile } from './mdm-client.ts';
import type { RetryPolicy } from './retry.ts';
import { DeviceFolder } from './state.ts';

const CHALLENGE = 'challenge-of-this-device';
/** Quick, and with no more than two further attempts. */
const retry: RetryPolicy = { retryCount: 2, firstDelayMs: 1, delayMsMax: 5, durationMsMax: 60_000 };

/** A device with the root, the profile and all that an enrolment needs; and a server. */
interface Bench {
  readonly server: TestScepServer;
  readonly folder: DeviceFolder;
  readonly profile: ScepProfile;
  readonly events: EventLog;
  /** Enrols with what is left under way, and with these changes. */
  readonly enrol: (changes?: Partial<EnrolmentOptions>) => Promise<EnrolmentResult>;
  readonly eventIds: () => Promise<number[]>;
}

const trust = { ca: issuing.certificate, roots: [root.certificate], intermediates: [issuing.certificate] };

async function withBench(run: (bench: Bench) => Promise<void>): Promise<void> {
  const parent = await temporaryFolder();
  const server = await openTestScepServer();
  const http = new HttpClient({ timeoutMs: 10_000 });
  try {
    await DeviceFolder.prepare(parent.path);
    const folder = await DeviceFolder.create(parent.path, {
      identity: {
        deviceId: 'a0a0a0a0-0000-4000-8000-000000000001',
        azureADDeviceId: 'a0a0a0a0-0000-4000-8000-000000000002',
        deviceName: 'laptop',
        platform: 'linux',
        serialNumber: 'S1',
        mdmUrl: 'https://127.0.0.1:1',
        joinedAt: new Date(),
      },
      deviceToken: 'token-token-token',
    });
    const profile: ScepProfile = {
      kind: 'scep',
      profileId: 'device-certificate',
      version: 1,
      displayName: 'Device certificate',
      subject: 'CN=laptop,O=Test',
      subjectAltName: [
        { type: 'dNSName', value: 'laptop.example.com' },
        { type: 'uniformResourceIdentifier', value: 'IntuneDeviceId://1' },
      ],
      keyUsage: ['digitalSignature', 'keyEncipherment'],
      extKeyUsage: [oid.clientAuth],
      keyLength: 2048,
      renewalThresholdPercentage: 20,
      scepServerUrls: [server.url],
      rootCertificate: 'intermediate',
      caThumbprint: thumbprintOf(issuing.certificate.raw),
      challenge: CHALLENGE,
    };
    const events = new EventLog(folder.path, systemClock);
    await run({
      server,
      folder,
      profile,
      events,
      enrol: async (changes) =>
        enrol({
          folder,
          profile,
          trust,
          pending: (await folder.requests())[0],
          http,
          events,
          retry,
          clock: systemClock,
          ...changes,
        }),
      eventIds: async () => (await events.read()).map(({ id }) => id),
    });
  } finally {
    http.close();
    await server.close();
    await parent.remove();
  }
}

const failed = (result: EnrolmentResult) => {
  assert.notEqual(result.outcome, 'installed');
  if (result.outcome === 'installed') throw new Error('unreachable');
  return result;
};

/** Nothing of a certificate, a record or a request is left. */
async function assertNothingLeft({ folder }: Bench): Promise<void> {
  assert.deepEqual(await folder.profiles(), []);
  assert.deepEqual(await folder.requests(), []);
  assert.deepEqual(await readdir(join(folder.path, 'certificates', 'my')), []);
  await folder.sweep();
  assert.deepEqual(await readdir(join(folder.path, 'keys')), [], 'the key goes with its request');
}

const strangerKey = rsaKey();
/** A CA that nobody trusts, with the issuing CA's name. */
const stranger: Holder = {
  key: strangerKey,
  certificate: await issue({
    subject: 'CN=Test Issuing CA,O=Test',
    spki: strangerKey.spki,
    issuer: { certificate: certificates.issuing, key: strangerKey },
    ca: {},
    keyUsage: ['keyCertSign', 'digitalSignature', 'keyEncipherment'],
  }),
};
const strangerRa: Holder = {
  key: keys.other,
  certificate: await issue({
    subject: 'CN=Test RA,O=Test',
    spki: keys.other.spki,
    issuer: stranger,
    extKeyUsage: [oid.certificateRequestAgent],
  }),
};
/** Another device's certificate, from the right CA. */
const otherDevice: Holder = {
  key: keys.other,
  certificate: await issue({
    subject: 'CN=other device,O=Test',
    spki: keys.other.spki,
    issuer: issuing,
    extKeyUsage: [oid.clientAuth],
  }),
};
const expiredRa = await issue({
  subject: 'CN=Test RA,O=Test',
  spki: ra.key.spki,
  issuer: issuing,
  extKeyUsage: [oid.certificateRequestAgent],
  notBefore: new Date(Date.now() - 100_000_000),
  notAfter: new Date(Date.now() - 60_000),
});

// --- whom a request goes to ------------------------------------------------------------------------------------------------

const authorities: readonly {
  readonly name: string;
  readonly served?: readonly Certificate[];
  readonly changes?: (profile: ScepProfile) => Partial<EnrolmentOptions>;
  readonly hResult: keyof typeof hResults;
  readonly message: RegExp;
}[] = [
  {
    name: 'the CA of the profile is not served',
    served: [ra.certificate, root.certificate],
    hResult: 'CRYPT_E_HASH_VALUE',
    message:
      /^SCEP: Certificate enroll failed\. Result: \(The hash value is not correct\. \(0x80091007\)\) The profile wants [0-9A-F]{40}; GetCACert served [0-9A-F]{40}, /,
  },
  {
    name: 'the profile’s thumbprint is not that of its trusted certificate',
    changes: (profile) => ({ profile: { ...profile, caThumbprint: thumbprintOf(root.certificate.raw) } }),
    hResult: 'CRYPT_E_HASH_VALUE',
    message: /The hash value is not correct/,
  },
  {
    name: 'the trusted certificate is not on the device',
    changes: () => ({ trust: undefined }),
    hResult: 'CERT_E_UNTRUSTEDROOT',
    message: /the trusted certificate of profile intermediate, .* is not on the device/i,
  },
  {
    name: 'an RA of a CA that only looks like ours',
    served: [strangerRa.certificate, issuing.certificate, root.certificate],
    hResult: 'CERT_E_UNTRUSTEDROOT',
    message: /CN=Test RA,O=Test is not signed by CN=Test Issuing CA/,
  },
  {
    name: 'another device’s certificate as RA',
    served: [otherDevice.certificate, issuing.certificate, root.certificate],
    hResult: 'SCARD_E_NO_SUCH_CERTIFICATE',
    message: /CN=other device,O=Test, .* has neither the purpose Certificate Request Agent nor cA TRUE/,
  },
  {
    name: 'an RA that has expired',
    served: [expiredRa, issuing.certificate, root.certificate],
    hResult: 'CERT_E_EXPIRED',
    message: /CN=Test RA,O=Test is valid from/,
  },
  {
    name: 'the root was not installed',
    changes: () => ({ trust: { ...trust, roots: [] } }),
    hResult: 'CERT_E_UNTRUSTEDROOT',
    message: /the root CN=Test Root,O=Test is not trusted here/i,
  },
  {
    name: 'no challenge',
    changes: ({ challenge: _, ...profile }) => ({ profile }),
    hResult: 'E_FAIL',
    message: /the check-in brought no challenge/i,
  },
];

for (const { name, served, changes, hResult, message } of authorities) {
  test(`no request is made: ${name} (event 32)`, () =>
    withBench(async (bench) => {
      if (served !== undefined) bench.server.behaviour.served = served;
      const result = failed(await bench.enrol(changes?.(bench.profile) ?? {}));
      assert.equal(result.outcome, 'failed');
      assert.equal(result.hResult, hResults[hResult].value);
      assert.equal(result.issuanceState, 'requestCreationFailed');
      assert.deepEqual(await bench.eventIds(), [306, 32]);
      assert.match((await bench.events.read()).at(-1)?.message ?? '', message);
      assert.equal(bench.server.pkiOperations().length, 0, 'the challenge went nowhere');
      await assertNothingLeft(bench);
    }));
}

test('no server that answers: event 307, and no key was made', () =>
  withBench(async (bench) => {
    const { profile } = bench;
    const url = 'http://127.0.0.1:9/certsrv/mscep/mscep.dll';
    const result = failed(await bench.enrol({ profile: { ...profile, scepServerUrls: [url] } }));
    assert.equal(result.outcome, 'failed');
    assert.equal(result.issuanceState, 'requestSubmitFailed');
    assert.deepEqual(await bench.eventIds(), [306, 40006, 40006, 307]);
    const event = (await bench.events.read()).at(-1);
    assert.match(
      event?.message ?? '',
      /^SCEP: Failed to Initialize SCEP enrollment with NDES Server\. Result: \(/,
    );
    assert.equal(event?.detail.url, `${url}/pkiclient.exe`);
    await assertNothingLeft(bench);
  }));

test('a web page in place of GetCACert is explained, at once', () =>
  withBench(async (bench) => {
    bench.server.behaviour.getCaCert = {
      answer: 'http',
      status: 200,
      headers: { 'content-type': 'text/html' },
      body: '<title>Hotel Wi-Fi</title>',
    };
    const result = failed(await bench.enrol());
    assert.match(result.detail, /a web page titled “Hotel Wi-Fi”/);
    assert.deepEqual(await bench.eventIds(), [306, 307]);
  }));

test('a URL that is none is named', () =>
  withBench(async (bench) => {
    const result = failed(
      await bench.enrol({ profile: { ...bench.profile, scepServerUrls: ['mscep.dll'] } }),
    );
    assert.match(result.detail, /mscep\.dll is no http or https URL/);
    assert.deepEqual(await bench.eventIds(), [306, 307]);
  }));

// --- what comes back ---------------------------------------------------------------------------------------------------------

const answers: readonly {
  readonly name: string;
  readonly answer: ScepAnswer;
  readonly hResult: number;
  readonly issuanceState: string;
  readonly message: RegExp;
}[] = [
  {
    name: 'FAILURE, with the reference that the operator can look up',
    answer: {
      answer: 'failure',
      failInfo: 'badRequest',
      failInfoText: 'the challenge has expired (LG-K7Q2M4XA)',
    },
    hResult: hResults.E_FAIL.value,
    issuanceState: 'requestSubmitFailed',
    message:
      /^SCEP: Certificate enroll failed\. Result: \(.*\) The SCEP server answered FAILURE, badRequest: the challenge has expired \(LG-K7Q2M4XA\)/,
  },
  {
    name: 'FAILURE without a text',
    answer: { answer: 'failure', failInfo: 'badMessageCheck' },
    hResult: hResults.E_FAIL.value,
    issuanceState: 'requestSubmitFailed',
    message: /FAILURE, badMessageCheck: the server gave no text/,
  },
  {
    name: 'signed by a stranger with the RA’s name',
    answer: { answer: 'signed by', signer: strangerRa },
    hResult: hResults.TRUST_E_CERT_SIGNATURE.value,
    issuanceState: 'responseProcessingFailed',
    message: /not signed by a certificate of GetCACert/,
  },
  {
    name: 'signed by another device',
    answer: { answer: 'signed by', signer: otherDevice },
    hResult: hResults.TRUST_E_CERT_SIGNATURE.value,
    issuanceState: 'responseProcessingFailed',
    message: /not signed by a certificate of GetCACert/,
  },
  {
    name: 'a leaf for another key',
    answer: { answer: 'wrong', certificate: () => otherDevice.certificate },
    hResult: hResults.NTE_BAD_PUBLIC_KEY.value,
    issuanceState: 'responseProcessingFailed',
    message: /no certificate of the answer is for the key of the request: CN=other device/i,
  },
  {
    name: 'a leaf of a CA that only looks like ours',
    answer: {
      answer: 'wrong',
      certificate: ({ csr }) => issue({ subject: 'CN=laptop', spki: csr.spki, issuer: stranger }),
    },
    hResult: hResults.CERT_E_UNTRUSTEDROOT.value,
    issuanceState: 'responseProcessingFailed',
    message: /CN=laptop is not signed by CN=Test Issuing CA/,
  },
  {
    name: 'a leaf of the root, past the CA of the profile',
    answer: {
      answer: 'wrong',
      certificate: ({ csr }) => issue({ subject: 'CN=laptop', spki: csr.spki, issuer: root }),
    },
    hResult: hResults.CERT_E_UNTRUSTEDROOT.value,
    issuanceState: 'responseProcessingFailed',
    message: /does not lead through CN=Test Issuing CA,O=Test/,
  },
  {
    name: 'a leaf that begins in the future',
    answer: {
      answer: 'wrong',
      certificate: ({ csr }) =>
        issue({
          subject: 'CN=laptop',
          spki: csr.spki,
          issuer: issuing,
          notBefore: new Date(Date.now() + 3_600_000),
        }),
    },
    hResult: hResults.CERT_E_EXPIRED.value,
    issuanceState: 'responseProcessingFailed',
    message: /CN=laptop is valid from/,
  },
  {
    name: 'a CA certificate',
    answer: {
      answer: 'wrong',
      certificate: ({ csr }) =>
        issue({ subject: 'CN=laptop', spki: csr.spki, issuer: issuing, ca: {}, keyUsage: ['keyCertSign'] }),
    },
    hResult: hResults.E_FAIL.value,
    issuanceState: 'responseProcessingFailed',
    message: /holds a CA certificate for the key of the request/,
  },
  {
    name: 'a web page',
    answer: {
      answer: 'http',
      status: 200,
      headers: { 'content-type': 'text/html' },
      body: '<title>Blocked</title>',
    },
    hResult: hResults.ERROR_WINHTTP_INVALID_SERVER_RESPONSE.value,
    issuanceState: 'requestSubmitFailed',
    message: /a web page titled “Blocked”/,
  },
  {
    name: 'no CMS',
    answer: {
      answer: 'http',
      status: 200,
      headers: { 'content-type': 'application/x-pki-message' },
      body: 'hello',
    },
    hResult: hResults.CRYPT_E_ASN1_BADTAG.value,
    issuanceState: 'responseProcessingFailed',
    message: /could not be decoded/,
  },
  {
    name: 'not found',
    answer: { answer: 'http', status: 404 },
    hResult: 0x80190194,
    issuanceState: 'requestSubmitFailed',
    message: /HTTP status 404\. \(0x80190194\)/,
  },
];

for (const { name, answer, hResult, issuanceState, message } of answers) {
  test(`the answer is refused: ${name} (event 32)`, () =>
    withBench(async (bench) => {
      bench.server.behaviour.pkiOperation = () => answer;
      const result = failed(await bench.enrol());
      assert.deepEqual(
        [result.outcome, result.hResult, result.issuanceState, result.eventId],
        ['failed', hResult, issuanceState, 32],
      );
      assert.deepEqual(await bench.eventIds(), [306, 36, 32]);
      assert.match((await bench.events.read()).at(-1)?.message ?? '', message);
      assert.equal(bench.server.pkiOperations().length, 1, 'a final answer is not asked for again');
      await assertNothingLeft(bench);
    }));
}

test('to be served by GetCACert does not make a device’s certificate a signer', () =>
  withBench(async (bench) => {
    const { behaviour } = bench.server;
    behaviour.served = [...behaviour.served, otherDevice.certificate];
    behaviour.pkiOperation = () => ({ answer: 'signed by', signer: otherDevice });
    const result = failed(await bench.enrol());
    assert.equal(result.hResult, hResults.TRUST_E_CERT_SIGNATURE.value);
    await assertNothingLeft(bench);
  }));

test('an answer to another transaction is refused', () =>
  withBench(async (bench) => {
    const { behaviour } = bench.server;
    behaviour.pkiOperation = () => ({ answer: 'issue' });
    assert.equal((await bench.enrol()).outcome, 'installed');
    // What the first enrolment was answered is played back to the second.
    const answer = await fetch(`${bench.server.url}/pkiclient.exe?operation=PKIOperation`, {
      method: 'POST',
      body: Buffer.from(bench.server.pkiOperations()[0]?.message ?? []),
    });
    const first = new Uint8Array(await answer.arrayBuffer());
    assert.equal(parseSignedData(first).signerInfos.length, 1);
    behaviour.pkiOperation = () => ({
      answer: 'http',
      status: 200,
      headers: { 'content-type': 'application/x-pki-message' },
      body: first,
    });
    const result = failed(await bench.enrol());
    assert.match(result.detail, /belongs to another transaction/);
  }));

// --- what goes out -----------------------------------------------------------------------------------------------------------

test('installs leaf and chain, with the events 306, 36, 39', () =>
  withBench(async (bench) => {
    const { server, folder, profile, events } = bench;
    const steps: string[] = [];
    const result = await bench.enrol({ onStep: (step) => steps.push(step) });
    assert.equal(result.outcome, 'installed', JSON.stringify(result));
    if (result.outcome !== 'installed') return;

    // The request says what the profile asks for, and is signed by its own key.
    const [transaction] = server.transactions;
    assert.ok(transaction !== undefined);
    const csr = parseCertificationRequest(transaction.csr);
    assert.ok(verifyCertificationRequest(csr));
    assert.equal(nameToString(csr.subject), profile.subject);
    assert.equal(
      generalNamesToString(subjectAltNameOf(csr)),
      'DNS:laptop.example.com, URI:IntuneDeviceId://1',
    );
    assert.deepEqual(keyUsageOf(csr), profile.keyUsage);
    assert.deepEqual(extKeyUsageOf(csr), profile.extKeyUsage);
    assert.equal(csr.challengePassword, CHALLENGE);
    const info = parsePublicKeyInfo(csr.spki);
    assert.equal(info.type === 'rsa' && info.bits, 2048);
    assert.deepEqual([transaction.cipher, transaction.digest], ['aes-128-cbc', 'sha256']);

    // The message is signed with the same key, under Windows' name.
    const [signer] = parseSignedData(server.pkiOperations()[0]?.message ?? Uint8Array.of()).certificates;
    assert.equal(signer === undefined ? '' : commonNameOf(signer.subject), 'SCEP Protocol Certificate');
    assert.ok(signer !== undefined && sameOctets(signer.spki, csr.spki));

    // The stores.
    assert.deepEqual(result.certificate.spki, csr.spki);
    assert.deepEqual(
      result.chain.map((each) => each.raw),
      [issuing.certificate.raw, root.certificate.raw],
    );
    assert.deepEqual(
      (await folder.certificate('my', thumbprintOf(result.certificate.raw)))?.raw,
      result.certificate.raw,
    );
    assert.ok((await folder.certificate('intermediate', profile.caThumbprint)) !== undefined);
    const [record] = await folder.profiles();
    assert.ok(record?.kind === 'scep');
    assert.equal(record.transactionID, transaction.transactionID);
    assert.deepEqual(record.chain, [
      thumbprintOf(issuing.certificate.raw),
      thumbprintOf(root.certificate.raw),
    ]);
    assert.deepEqual((await folder.openKey(record.keyFile)).spki, csr.spki);
    assert.deepEqual(await folder.requests(), [], 'nothing is under way any more');

    // The log and the timings.
    assert.deepEqual(await bench.eventIds(), [306, 36, 39]);
    const [exec, generated, installed] = await events.read();
    assert.match(
      exec?.message ?? '',
      /^SCEP: CspExecute for UniqueId: \(device-certificate\) .*\(0x2ab0003\)\.$/,
    );
    assert.match(
      generated?.message ?? '',
      /^SCEP: Certificate request generated successfully\. Enhanced Key Usage: \(1\.3\.6\.1\.5\.5\.7\.3\.2\), NDES URL: \(http:\/\/127\.0\.0\.1:\d+\/certsrv\/mscep\/mscep\.dll\/pkiclient\.exe\)/,
    );
    assert.match(installed?.message ?? '', /^SCEP: Certificate installed successfully\./);
    assert.equal(installed?.detail.thumbprint, record.thumbprint);
    assert.deepEqual(steps, ['GetCACert', 'key', 'request', 'install']);
    assert.deepEqual(Object.keys(result.durationsMs), steps);
    assert.ok(Object.values(result.durationsMs).every((ms) => ms >= 0));
  }));

test('the challenge is in no file of the device', () =>
  withBench(async (bench) => {
    bench.server.behaviour.pkiOperation = () => ({ answer: 'http', status: 503 });
    assert.equal((await bench.enrol()).outcome, 'pending');
    for (const entry of await readdir(bench.folder.path, { recursive: true, withFileTypes: true })) {
      if (!entry.isFile()) continue;
      const content = await readFile(join(entry.parentPath, entry.name), 'latin1');
      assert.ok(!content.includes(CHALLENGE), entry.name);
      assert.ok(!content.includes(Buffer.from(CHALLENGE).toString('base64').slice(0, 20)), entry.name);
    }
  }));

test('an old server gets 3DES, SHA-1 and GET, and still nothing weaker', () =>
  withBench(async (bench) => {
    bench.server.behaviour.capabilities = 404;
    const result = await bench.enrol();
    assert.equal(result.outcome, 'installed', JSON.stringify(result));
    assert.deepEqual(
      bench.server.transactions.map(({ cipher, digest }) => [cipher, digest]),
      [['des-ede3-cbc', 'sha1']],
    );
    assert.deepEqual(
      bench.server.pkiOperations().map(({ method }) => method),
      ['GET'],
    );
  }));

test('of several servers, one that answers is enough', () =>
  withBench(async (bench) => {
    const dead = 'http://127.0.0.1:9/scep';
    const urls = [dead, `${dead}/2`, bench.server.url, `${dead}/3`];
    const result = await bench.enrol({ profile: { ...bench.profile, scepServerUrls: urls } });
    assert.equal(result.outcome, 'installed');
    assert.deepEqual(await bench.eventIds(), [306, 36, 39], 'no pause was made');
  }));

// --- once more, and after a crash ------------------------------------------------------------------------------------------

const transient: readonly { readonly name: string; readonly answer: ScepAnswer }[] = [
  { name: '503', answer: { answer: 'http', status: 503, headers: { 'retry-after': '0' } } },
  { name: '429', answer: { answer: 'http', status: 429 } },
  { name: 'an answer that is lost on its way', answer: { answer: 'lose' } },
];

for (const { name, answer } of transient) {
  test(`${name}, then success: the very same octets go out again`, () =>
    withBench(async (bench) => {
      bench.server.behaviour.pkiOperation = (count) => (count < 3 ? answer : { answer: 'issue' });
      const result = await bench.enrol();
      assert.equal(result.outcome, 'installed', JSON.stringify(result));
      assert.equal(result.outcome === 'installed' && result.attempts, 3);
      const [first, ...others] = bench.server.pkiOperations();
      assert.equal(others.length, 2);
      for (const other of others)
        assert.deepEqual(Buffer.from(other.message), Buffer.from(first?.message ?? []));
      assert.deepEqual(await bench.eventIds(), [306, 36, 40006, 40006, 39]);
    }));
}

test('too long without an answer: the request is kept, and the next run sends the same one', () =>
  withBench(async (bench) => {
    bench.server.behaviour.pkiOperation = () => ({ answer: 'http', status: 503 });
    const result = failed(await bench.enrol());
    assert.deepEqual(
      [result.outcome, result.issuanceState, result.eventId],
      ['pending', 'requestSubmitFailed', 32],
    );
    assert.equal(bench.server.pkiOperations().length, 3);
    const [pending] = await bench.folder.requests();
    assert.ok(pending !== undefined);
    bench.server.behaviour.pkiOperation = () => ({ answer: 'issue' });
    // The MDM has given a fresh challenge since; the old request goes first.
    const again = await bench.enrol({ profile: { ...bench.profile, challenge: 'another-challenge' } });
    assert.equal(again.outcome, 'installed');
    assert.equal(again.outcome === 'installed' && again.transactionID, pending.transactionID);
    const messages = bench.server.pkiOperations().map(({ message }) => Buffer.from(message).toString('hex'));
    assert.equal(new Set(messages).size, 1);
    assert.deepEqual((await bench.eventIds()).slice(-3), [306, 40008, 39]);
  }));

/** Types of the messages that the server got, and the transactions and nonces of them. */
function sentTo(server: TestScepServer) {
  const messages = server.pkiOperations().map(({ message }) => verifyPkiMessage(readPkiMessage(message)));
  return {
    types: messages.map(({ messageType }) => messageType),
    transactions: new Set(messages.map(({ transactionID }) => transactionID)).size,
    nonces: new Set(messages.map(({ senderNonce }) => Buffer.from(senderNonce ?? []).toString('hex'))).size,
  };
}

test('PENDING, then success: asked for by CertPoll, with a nonce of its own each time', () =>
  withBench(async (bench) => {
    bench.server.behaviour.pkiOperation = (count) => ({ answer: count < 3 ? 'pending' : 'issue' });
    assert.equal((await bench.enrol()).outcome, 'installed');
    const sent = sentTo(bench.server);
    assert.deepEqual(sent, { types: ['PKCSReq', 'CertPoll', 'CertPoll'], transactions: 1, nonces: 3 });
    assert.deepEqual(await bench.eventIds(), [306, 36, 40006, 40006, 39]);
  }));

test('a server that finds nothing by CertPoll gets the request again', () =>
  withBench(async (bench) => {
    bench.server.behaviour.polls = false;
    bench.server.behaviour.pkiOperation = (count) => ({ answer: count < 2 ? 'pending' : 'issue' });
    assert.equal((await bench.enrol()).outcome, 'installed');
    assert.deepEqual(sentTo(bench.server).types, ['PKCSReq', 'CertPoll', 'PKCSReq']);
  }));

test('a request that was denied meanwhile is over', () =>
  withBench(async (bench) => {
    bench.server.behaviour.pkiOperation = (count) =>
      count < 2 ? { answer: 'pending' } : { answer: 'failure', failInfo: 'badRequest' };
    assert.equal(failed(await bench.enrol()).outcome, 'failed');
    assert.deepEqual(sentTo(bench.server).types, ['PKCSReq', 'CertPoll']);
    assert.deepEqual(await bench.folder.requests(), []);
  }));

test('PENDING for too long: not an error, and asked again with the same request', () =>
  withBench(async (bench) => {
    bench.server.behaviour.pkiOperation = () => ({ answer: 'pending' });
    const result = failed(await bench.enrol());
    assert.deepEqual(
      [result.outcome, result.issuanceState, result.eventId],
      ['pending', 'responsePending', 40006],
    );
    bench.server.behaviour.pkiOperation = () => ({ answer: 'issue' });
    const { challenge: _, ...profile } = bench.profile;
    assert.equal((await bench.enrol({ profile })).outcome, 'installed', 'no challenge is needed');
    assert.equal(new Set(bench.server.transactions.map(({ transactionID }) => transactionID)).size, 1);
  }));

test('Retry-After beyond the policy ends the run, and says when', () =>
  withBench(async (bench) => {
    bench.server.behaviour.pkiOperation = () => ({
      answer: 'http',
      status: 503,
      headers: { 'retry-after': '3600' },
    });
    const result = failed(await bench.enrol());
    assert.equal(bench.server.pkiOperations().length, 1);
    const inMs = (result.retryAt?.getTime() ?? 0) - Date.now();
    assert.ok(inMs > 3_500_000 && inMs <= 3_600_000, String(inMs));
  }));

test('a crash between send and answer: the same key, the same transaction, the same certificate', () =>
  withBench(async (bench) => {
    const { server, folder } = bench;
    // The process dies, as an abort makes it, when the server has issued and nothing has come back.
    const crash = new AbortController();
    server.behaviour.pkiOperation = () => {
      setImmediate(() => crash.abort(new Error('the process died')));
      return { answer: 'lose' };
    };
    await assert.rejects(bench.enrol({ signal: crash.signal }), /the process died/);
    const [pending] = await folder.requests();
    assert.ok(pending !== undefined, 'the request was on the disk before it was sent');
    const keySpki = (await folder.openKey(pending.keyFile)).spki;
    assert.deepEqual(await folder.profiles(), []);
    await folder.sweep();
    server.behaviour.pkiOperation = () => ({ answer: 'issue' });

    const after = await DeviceFolder.open(folder.path);
    const [request] = await after.requests();
    const result = await bench.enrol({ folder: after, pending: request });
    assert.equal(result.outcome, 'installed', JSON.stringify(result));
    assert.equal(result.outcome === 'installed' && result.transactionID, pending.transactionID);
    assert.deepEqual(result.outcome === 'installed' && result.certificate.spki, keySpki);
    assert.equal(server.transactions.length, 2);
    const [before, later] = server.transactions;
    assert.equal(before?.transactionID, later?.transactionID);
    assert.deepEqual(before?.spki, later?.spki);
    assert.deepEqual(before?.csr, later?.csr);
  }));

const discarded: readonly {
  readonly name: string;
  readonly spoil: (bench: Bench) => Promise<Partial<EnrolmentOptions>>;
  /** Whether the old request is sent once more before the new one. */
  readonly sentAgain: boolean;
}[] = [
  {
    name: 'the profile has changed',
    spoil: async ({ profile }) => ({ profile: { ...profile, version: 2 } }),
    sentAgain: false,
  },
  {
    name: 'its signer has expired',
    spoil: async () => ({ clock: { now: () => new Date(Date.now() + 31 * 24 * 60 * 60 * 1000) } }),
    sentAgain: false,
  },
  {
    name: 'its key is gone',
    spoil: async ({ folder }) => {
      const [pending] = await folder.requests();
      return pending === undefined ? {} : { pending: { ...pending, keyFile: `${'0'.repeat(32)}.pem` } };
    },
    sentAgain: false,
  },
  {
    name: 'the server refuses it now',
    spoil: async ({ server }) => {
      server.behaviour.pkiOperation = (count) =>
        count === 4 ? { answer: 'failure', failInfo: 'badRequest' } : { answer: 'issue' };
      return {};
    },
    sentAgain: true,
  },
];

for (const { name, spoil, sentAgain } of discarded) {
  test(`a request from before gives way to a new one: ${name}`, () =>
    withBench(async (bench) => {
      const { server, folder } = bench;
      server.behaviour.pkiOperation = () => ({ answer: 'http', status: 503 });
      assert.equal((await bench.enrol()).outcome, 'pending');
      const [old] = await folder.requests();
      assert.ok(old !== undefined);
      server.behaviour.pkiOperation = () => ({ answer: 'issue' });
      const changes = await spoil(bench);
      const result = await bench.enrol(changes);
      if (changes.clock !== undefined) {
        // The test's CA is past its end by that clock; what counts is that the old request is gone.
        assert.equal(result.outcome, 'failed');
      } else {
        assert.equal(result.outcome, 'installed', JSON.stringify(result));
        assert.notEqual(result.outcome === 'installed' && result.transactionID, old.transactionID);
      }
      const repeated = server
        .pkiOperations()
        .filter(({ message }) => Buffer.from(message).equals(old.message));
      assert.equal(repeated.length, sentAgain ? 4 : 3);
      assert.ok(!(await folder.requests()).some(({ transactionID }) => transactionID === old.transactionID));
    }));
}

test('a request from before is kept while the server cannot be reached', () =>
  withBench(async (bench) => {
    bench.server.behaviour.pkiOperation = () => ({ answer: 'http', status: 503 });
    await bench.enrol();
    const before = await bench.folder.requests();
    bench.server.behaviour.capabilities = 503;
    const result = failed(await bench.enrol());
    assert.deepEqual([result.outcome, result.eventId], ['pending', 307]);
    assert.deepEqual(await bench.folder.requests(), before);
  }));

test('each enrolment has a key, a transaction and a nonce of its own', () =>
  withBench(async (bench) => {
    for (let n = 0; n < 3; n += 1) assert.equal((await bench.enrol()).outcome, 'installed');
    const { transactions } = bench.server;
    assert.equal(new Set(transactions.map(({ transactionID }) => transactionID)).size, 3);
    assert.equal(new Set(transactions.map(({ spki }) => Buffer.from(spki).toString('hex'))).size, 3);
  }));
