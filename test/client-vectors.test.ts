/** The exchanges in test/vectors/clients, each sent over a socket to a server that stands on the vectors' RA key. */
import assert from 'node:assert/strict';
import { createHash, createPrivateKey } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { connect } from 'node:net';
import { after, before, describe, test } from 'node:test';
import { pino } from 'pino';
import { builtInTemplates, createIssuing } from '../src/ca/index.ts';
import {
  buildCertificate,
  buildCertsOnly,
  digestOf,
  endEntityBasicConstraintsExtension,
  extKeyUsageExtension,
  hex,
  keyIdentifier,
  keyUsageExtension,
  nameFromString,
  nameToString,
  oid,
  openEnvelopedData,
  parseCertificate,
  parseEnvelopedData,
  parseSignedData,
  sameOctets,
  subjectKeyIdentifierExtension,
  thumbprintOf,
  verifyCertificateSignature,
  verifySigner,
} from '../src/codec/index.ts';
import { addScepDoor, type HttpServer, openHttpServer } from '../src/http/index.ts';
import { explainScep } from '../src/scep/explain/index.ts';
import {
  capabilitiesOf,
  clientProfiles,
  contentTypes,
  decodeMessageParameter,
  failInfoOf,
  nonceOf,
  parseScepQuery,
  pkiStatusOf,
  readPkiMessage,
  refusedByDefault,
  transactionIDOf,
} from '../src/scep/index.ts';
import { repositoryText } from '../tools/repository.ts';
import {
  auditIn,
  certificates,
  clientTemplate,
  DAY_MS,
  fixtureKey,
  inDays,
  issuer,
  keys,
  openTestAuthorities,
  staticSecret,
  type TestAuthorities,
} from './support/authorities-fixture.ts';
import {
  CHALLENGE,
  type Exchange,
  exchangeFiles,
  heldCertificates,
  keyOf,
  PATHS,
  textOf,
} from './vectors/clients/generate.ts';

const folder = new URL('./vectors/clients/', import.meta.url);
const vectorKey = (name: Parameters<typeof keyOf>[0]) => fixtureKey(createPrivateKey(keyOf(name)));
const [deviceKey, raKey, earlierCaKey] = [vectorKey('device'), vectorKey('ra'), vectorKey('issuing')];
/** Whom answers are encrypted to. */
const deviceKeys = [deviceKey, vectorKey('throwAway'), vectorKey('old')];

/** The RA's certificate as the vectors name it; its own issuer's name is not asked by who opens envelopes. */
const raEncryption = parseCertificate(
  await buildCertificate(
    {
      serialNumber: '1f5a',
      signatureAlgorithm: 'rsa-sha256',
      issuer: nameFromString('CN=Lab Issuing CA,O=Example Lab,C=CH'),
      notBefore: inDays(-1),
      notAfter: inDays(365),
      subject: nameFromString('CN=Lab RA Encryption'),
      spki: raKey.spki,
      extensions: [
        endEntityBasicConstraintsExtension(),
        keyUsageExtension(['keyEncipherment']),
        extKeyUsageExtension([oid.certificateRequestAgent]),
        subjectKeyIdentifierExtension(keyIdentifier(raKey.spki)),
      ],
    },
    keys.issuing.signs,
  ),
);
/** As AD CS does it. */
const BACKDATED_MS = 10 * 60_000;

/** The endpoint's CA as it was before it had the key that it has now. */
const earlierCa = await createIssuing(
  { certificate: certificates.root, key: keys.root },
  earlierCaKey.spki,
  certificates.issuing.subject,
  { notBefore: inDays(-30), notAfter: inDays(1825) },
  { crlUrls: ['http://pki.test/crl/root.crl'], caIssuersUrls: ['http://pki.test/aia/root.crt'] },
);
const EARLIER = 'issuing-1';
/** The certificates of the vectors were issued in 2025 and end in 2049. */
const RENEWAL_WINDOW_MS = 30 * 365 * DAY_MS;

/** Puts the devices' certificates on record, as if the CA had issued them under its earlier key. */
async function recordHeld({ store, clock }: TestAuthorities): Promise<void> {
  for (const [index, raw] of heldCertificates.entries()) {
    const certificate = parseCertificate(raw);
    assert.ok(verifyCertificateSignature(certificate, earlierCa.spki));
    assert.ok(sameOctets(certificate.issuer.raw, certificates.issuing.subject.raw));
    const { serialNumber, notBefore, notAfter } = certificate;
    const of = { issuer: EARLIER, serialNumber };
    await store.reserveSerial({
      ...of,
      requestID: `held-${index}`,
      template: clientTemplate.name,
      subject: nameToString(certificate.subject),
      subjectAltName: '',
      requester: 'test',
      device: '',
      publicKeyHash: hex(createHash('sha256').update(certificate.spki).digest()),
      notBefore,
      notAfter,
      crlPartition: 0,
      tbsCertificate: certificate.tbsCertificate,
      reservedAt: clock.now(),
    });
    await store.recordCertificate({
      ...of,
      certificate: raw,
      thumbprint: thumbprintOf(raw),
      audit: {
        at: clock.now(),
        event: 'enrolment.issued',
        actor: 'test',
        reference: '',
        code: '',
        text: 'held by a device beforehand',
        detail: { serialNumber },
      },
    });
  }
}

let authorities: TestAuthorities;
let server: HttpServer;
before(async () => {
  authorities = await openTestAuthorities({
    renewal: {
      windowMs: RENEWAL_WINDOW_MS,
      challenge: 'notNeeded',
      key: 'changedOrSame',
      names: 'asBefore',
    },
    furtherIssuers: [
      { ...issuer, name: EARLIER, certificate: earlierCa, chain: [earlierCa.raw], key: earlierCaKey },
    ],
  });
  await recordHeld(authorities);
  const log = pino({ level: 'silent' });
  const identity = {
    signer: {
      certificate: certificates.raSigning,
      chain: [certificates.raSigning.raw, certificates.issuing.raw],
      enclosed: [],
      withoutEnvelope: clientProfiles.standard.withoutEnvelope,
      sign: keys.raSigning.signs,
    },
    encryption: { certificate: raEncryption, decrypt: raKey.decrypt },
    caCertificates: {
      contentType: contentTypes.caAndRaCertificates,
      body: buildCertsOnly([certificates.raSigning.raw, raEncryption.raw, ...issuer.chain]),
    },
  };
  server = await openHttpServer({
    host: '127.0.0.1',
    port: 0,
    log,
    doors: (app) => {
      addScepDoor(app, {
        endpoints: [
          {
            name: 'static',
            paths: PATHS,
            ra: () => identity,
            refusedAlgorithms: refusedByDefault,
            capabilities: capabilitiesOf(clientProfiles.standard, ['Renewal']),
          },
        ],
        ra: authorities.ra,
        clock: authorities.clock,
        log,
        metrics: authorities.metrics,
      });
    },
  });
});
after(async () => {
  await server.close();
  await authorities.close();
});

/** What came back over the socket. */
interface Answer {
  readonly status: number;
  readonly headers: ReadonlyMap<string, string>;
  readonly body: Buffer;
}

/** Sends octets as they are, and reads until the server closes. */
function send(octets: Uint8Array): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const socket = connect(server.address.port, '127.0.0.1', () => socket.write(octets));
    const chunks: Buffer[] = [];
    socket.setTimeout(20_000, () => socket.destroy(new Error('no answer')));
    socket.on('data', (chunk: Buffer) => chunks.push(chunk));
    socket.on('error', reject);
    socket.on('close', () => {
      const received = Buffer.concat(chunks);
      // Who asked whether to go on is told so first (RFC 9110 §15.2.1).
      const goOn = 'HTTP/1.1 100 Continue\r\n\r\n';
      const whole = received.indexOf(goOn) === 0 ? received.subarray(goOn.length) : received;
      const end = whole.indexOf('\r\n\r\n');
      if (end < 0) return reject(new Error(`no answer: ${whole.toString('latin1')}`));
      const [line = '', ...lines] = whole.subarray(0, end).toString('latin1').split('\r\n');
      const headers = new Map(
        lines.map((header) => {
          const colon = header.indexOf(':');
          return [header.slice(0, colon).toLowerCase(), header.slice(colon + 1).trim()];
        }),
      );
      resolve({ status: Number(line.split(' ')[1]), headers, body: whole.subarray(end + 4) });
    });
  });
}

const octetsOf = ({ head, body = '' }: Exchange): Buffer =>
  Buffer.concat([Buffer.from(head, 'latin1'), Buffer.from(body, 'base64')]);

/** The PKIMessage that is sent; `undefined` if there is none, or if it is in chunks. */
function messageIn({ head, body }: Exchange): Uint8Array | undefined {
  if (/^Transfer-Encoding/m.test(head)) return undefined;
  if (body !== undefined) return Buffer.from(body, 'base64');
  const [, target = ''] = head.split(' ');
  const { message } = parseScepQuery(target.slice(target.indexOf('?') + 1));
  return message === undefined || message.length < 100 ? undefined : decodeMessageParameter(message);
}

async function assertCertRep(
  { answer: want }: Exchange,
  body: Uint8Array,
  sent: Uint8Array | undefined,
): Promise<void> {
  const signedData = parseSignedData(body);
  const [info] = signedData.signerInfos;
  assert.ok(info);
  assert.ok(verifySigner(signedData, info, certificates.raSigning), 'the answer’s signature');
  assert.equal(pkiStatusOf(info), want.pkiStatus);
  assert.equal(transactionIDOf(info), want.transactionID);
  assert.equal(digestOf(info.digestAlgorithm).name, want.digest ?? 'sha256');
  // Devices that are served for years demand it, whatever the RFC says by now (MikroTik, Windows).
  assert.ok(nonceOf(info, 'senderNonce'), 'a senderNonce');
  const recipientNonce = nonceOf(info, 'recipientNonce');
  assert.equal(recipientNonce === undefined ? null : hex(recipientNonce), want.recipientNonce);
  if (want.pkiStatus === 'FAILURE') {
    assert.equal(failInfoOf(info), want.failInfo);
    if (want.code !== undefined) assert.equal((await auditIn(authorities, 1))[0]?.code, want.code);
    assert.equal(signedData.content?.length, 0, 'eContent is there, and empty');
    return;
  }
  assert.ok(signedData.content);
  const enveloped = parseEnvelopedData(signedData.content);
  assert.equal(enveloped.cipher.name, want.cipher);
  const [recipient] = enveloped.recipients;
  assert.ok(recipient);
  const { keyTransport } = recipient;
  const transport =
    keyTransport.name === 'rsaes-oaep' ? `${keyTransport.name} ${keyTransport.digest}` : keyTransport.name;
  assert.equal(transport, want.keyTransport);
  let key = deviceKey;
  if (sent !== undefined) {
    const { signer } = readPkiMessage(sent);
    assert.ok(recipient.rid.type === 'issuerAndSerialNumber');
    assert.ok(sameOctets(recipient.rid.raw, signer.issuerAndSerialNumber), 'encrypted to who signed');
    key = deviceKeys.find(({ spki }) => sameOctets(signer.spki, spki)) ?? key;
  }
  const delivered = parseSignedData(await openEnvelopedData(enveloped, key.decrypt));
  const [leaf, ...more] = delivered.certificates;
  assert.ok(leaf);
  assert.deepEqual(more, [], 'the leaf alone');
  assert.ok(sameOctets(leaf.spki, deviceKey.spki), 'for the key of the request');
  assert.equal(nameToString(leaf.subject), want.subject);
  const [template] = builtInTemplates;
  // A device's clock may be slow while it is set up.
  assert.ok(leaf.notBefore.getTime() <= Date.now() - BACKDATED_MS, leaf.notBefore.toISOString());
  const life = leaf.notAfter.getTime() - leaf.notBefore.getTime();
  // Who got back what it holds already has more.
  assert.ok(life <= (template?.validityMs ?? 0) + DAY_MS, `${life / DAY_MS} days`);
  for (const identifier of want.without ?? [])
    assert.ok(!leaf.extensions.some((extension) => extension.oid === identifier), identifier);
}

const exchangeKeys = ['name', 'comment', 'source', 'rfc', 'quirk', 'head', 'body', 'answer', 'findings'];
const answerKeys = [
  'status',
  'contentType',
  'text',
  'pkiStatus',
  'failInfo',
  'code',
  'digest',
  'cipher',
  'keyTransport',
  'transactionID',
  'recipientNonce',
  'subject',
  'without',
];

test('the challenge of the vectors is the endpoint’s', () => assert.equal(CHALLENGE, staticSecret));

test('there is a file for every set of exchanges', () => {
  const files = readdirSync(folder).filter((name) => name.endsWith('.json') && name !== 'keys.json');
  assert.deepEqual(files.sort(), Object.keys(exchangeFiles).sort());
});

const names = new Set<string>();
for (const [name, made] of Object.entries(exchangeFiles)) {
  describe(name, () => {
    const content = readFileSync(new URL(name, folder), 'utf8');

    test('is what its generator makes', () => assert.equal(content, textOf(made)));

    for (const exchange of JSON.parse(content).vectors as readonly Exchange[]) {
      test(`${exchange.name}: ${exchange.comment}`, async () => {
        assert.ok(!names.has(exchange.name), 'its name is its own');
        names.add(exchange.name);
        for (const key of Object.keys(exchange))
          assert.ok(exchangeKeys.includes(key), `unknown key “${key}”`);
        for (const key of Object.keys(exchange.answer))
          assert.ok(answerKeys.includes(key), `unknown key “${key}” of the answer`);
        for (const text of [exchange.comment, exchange.source, exchange.rfc]) assert.ok(text.length > 0);

        const { status, headers, body } = await send(octetsOf(exchange));
        const want = exchange.answer;
        assert.equal(status, want.status, body.toString('latin1').slice(0, 200));
        assert.equal((headers.get('content-type') ?? '').split(';', 1)[0], want.contentType);
        assert.equal(headers.get('transfer-encoding'), undefined, 'no chunks');
        assert.equal(headers.get('content-length'), String(body.length));
        for (const part of want.text ?? []) assert.ok(body.toString().includes(part), part);
        const sent = status === 200 ? messageIn(exchange) : undefined;
        if (want.pkiStatus !== undefined) await assertCertRep(exchange, body, sent);
        if (want.contentType === contentTypes.caAndRaCertificates) {
          const served = await explainScep(body, { now: new Date(), keys: [], challenge: 'masked' });
          assert.match(served.kind, /^GetCACert answer/);
          // Windows wants usages and purposes (0x8010002c), and the thumbprint of issuing CA or root (0x80091007).
          assert.deepEqual(
            served.findings.filter(({ severity }) => severity !== 'note').map(({ rule }) => rule),
            [],
          );
          const titles = served.sections.map(({ title }) => title).join();
          for (const role of ['RA: signing', 'RA: encryption', 'issuing CA', 'root'])
            assert.ok(titles.includes(`(${role})`), `${role} in ${titles}`);
        }
        if (exchange.quirk !== undefined) {
          assert.ok(
            repositoryText(exchange.quirk).includes(exchange.name),
            `${exchange.quirk} does not name ${exchange.name}`,
          );
        }
      });

      if (exchange.findings !== undefined) {
        test(`${exchange.name}, decoded`, async () => {
          const { head, body } = exchange;
          const explained = await explainScep(
            body === undefined ? Buffer.from(head.split('\r\n', 1)[0] ?? '') : Buffer.from(body, 'base64'),
            {
              now: new Date('2026-11-22T12:00:00Z'),
              keys: [{ certificate: raEncryption, decrypt: raKey.decrypt }],
              challenge: 'masked',
            },
          );
          assert.deepEqual(
            explained.findings
              .filter(({ severity }) => severity !== 'note')
              .map(({ rule }) => rule)
              .toSorted(),
            exchange.findings?.toSorted(),
            JSON.stringify(explained, null, 1),
          );
          assert.ok(!JSON.stringify(explained).includes(CHALLENGE));
        });
      }
    }
  });
}
