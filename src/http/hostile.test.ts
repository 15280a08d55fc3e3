/** Hostile senders at the SCEP door: every message type, damaged messages by the thousand, decryption oracles. */
import assert from 'node:assert/strict';
import { constants, createHash, createPublicKey, publicEncrypt, randomBytes, randomInt } from 'node:crypto';
import { after, before, describe, test } from 'node:test';
import {
  auditIn,
  certificates,
  certRepIn,
  clientTemplate,
  enrolAt,
  envelopeOf,
  type HttpAnswer,
  keys,
  type MessageSigner,
  messageOf,
  openTestServer,
  recordsIn,
  requestOf,
  smallSigner,
  staticSecret,
  type TestServer,
} from '../../test/support/authorities-fixture.ts';
import { encoded, nodesOf, type Tree, treeOf } from '../../test/support/codec-fixture.ts';
import {
  comparable,
  encryptContent,
  envelopeWith,
  MODULUS_BYTES,
} from '../../test/support/oracle-fixture.ts';
import {
  type Attribute,
  basicConstraintsOf,
  bitString,
  extKeyUsageExtension,
  extKeyUsageOf,
  keyUsageExtension,
  keyUsageOf,
  nameFromString,
  octetString,
  oid,
  parseCertificate,
  parseCertificationRequest,
  printableString,
  sequence,
  signatureAlgorithmIdentifier,
  subjectAltNameExtension,
  utf8String,
  verifyCertificateSignature,
} from '../codec/index.ts';
import type { FailInfo } from '../errors.ts';
import { readPkiMessage, verifyPkiMessage } from '../scep/index.ts';
import { failInfoOf, failInfoTextOf, messageTypes, pkiStatusOf, transactionIDOf } from '../scep/message.ts';

let server: TestServer;
let signer: MessageSigner;
before(async () => {
  server = await openTestServer();
  signer = await smallSigner();
});
after(() => server.close());

const hashOf = (spki: Uint8Array) => createHash('sha256').update(spki).digest('hex');

// CVE-2026-30836 of another server: a message type that nobody had thought of was enrolled without being authorised.
describe('message types', () => {
  const transactionIDs = { next: 0 };
  async function outcomeOf(value: Uint8Array, csr: Uint8Array) {
    const senderNonce = randomBytes(16);
    transactionIDs.next += 1;
    const transactionID = `type-${transactionIDs.next}`;
    const attributes: Attribute[] = [
      { oid: oid.scepMessageType, values: [value] },
      { oid: oid.scepTransactionID, values: [printableString(transactionID)] },
      { oid: oid.scepSenderNonce, values: [octetString(senderNonce)] },
    ];
    const answer = await server.post('static', await messageOf({ csr, signer, attributes }));
    assert.equal(answer.status, 200);
    return await certRepIn(answer, { transactionID, senderNonce, signer });
  }

  test('of all numbers of one octet, 19 alone issues', async () => {
    const csr = await requestOf({ challengePassword: staticSecret });
    const identifiers: readonly number[] = [messageTypes.CertPoll, messageTypes.GetCert, messageTypes.GetCRL];
    const issued: number[] = [];
    const before = (await recordsIn(server)).length;
    for (let number = 0; number < 256; number += 1) {
      const certRep = await outcomeOf(printableString(String(number)), csr);
      if (certRep.pkiStatus === 'SUCCESS') issued.push(number);
      else {
        const failInfo: FailInfo = identifiers.includes(number) ? 'badCertId' : 'badRequest';
        assert.equal(certRep.pkiStatus, 'FAILURE', String(number));
        assert.equal(certRep.pkiStatus === 'FAILURE' && certRep.failInfo, failInfo, String(number));
      }
      assert.equal((await recordsIn(server)).length, before + issued.length, `after ${number}`);
    }
    assert.deepEqual(issued, [19]);
  });

  const odd: readonly (readonly [name: string, value: Uint8Array, failInfo: FailInfo])[] = [
    ['a space behind', printableString('19 '), 'badRequest'],
    ['a space before', printableString(' 19'), 'badRequest'],
    ['a zero before', printableString('019'), 'badRequest'],
    ['nothing', printableString(''), 'badRequest'],
    ['a plus', printableString('+19'), 'badRequest'],
    ['a fraction', printableString('19.0'), 'badRequest'],
    ['NUL behind', printableString('19\0'), 'badRequest'],
    ['256 more', printableString('275'), 'badRequest'],
    ['65536 more', printableString('65555'), 'badRequest'],
    ['2^32 more', printableString('4294967315'), 'badRequest'],
    ['a minus', printableString('-237'), 'badRequest'],
    ['a thousand digits', printableString('1'.repeat(1000)), 'badRequest'],
    ['its name', printableString('PKCSReq'), 'badRequest'],
    ['__proto__', printableString('__proto__'), 'badRequest'],
    ['digits of another script', utf8String('1９'), 'badMessageCheck'],
    ['a UTF8String', utf8String('19'), 'badMessageCheck'],
    ['an IA5String', Uint8Array.of(0x16, 2, 0x31, 0x39), 'badMessageCheck'],
    ['a BMPString', Uint8Array.of(0x1e, 4, 0, 0x31, 0, 0x39), 'badMessageCheck'],
    ['an INTEGER', Uint8Array.of(2, 1, 19), 'badMessageCheck'],
    ['an OCTET STRING', octetString(Buffer.from('19')), 'badMessageCheck'],
  ];
  for (const [name, value, failInfo] of odd) {
    test(`with ${name} is ${failInfo}`, async () => {
      const before = (await recordsIn(server)).length;
      const certRep = await outcomeOf(value, await requestOf({ challengePassword: staticSecret }));
      assert.equal(certRep.pkiStatus, 'FAILURE');
      assert.equal(certRep.pkiStatus === 'FAILURE' && certRep.failInfo, failInfo);
      assert.equal((await recordsIn(server)).length, before);
    });
  }
});

// --- damage ---------------------------------------------------------------------------------------------------------

/** Numbers that a seed determines (mulberry32). */
function randomFrom(seed: number): (below: number) => number {
  let state = seed >>> 0;
  return (below) => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t = (t + Math.imul(t ^ (t >>> 7), t | 61)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) % below;
  };
}

/** Where the elements of a DER value begin. */
function offsetsIn(bytes: Uint8Array): number[] {
  const offsets: number[] = [];
  const walk = (start: number, end: number) => {
    for (let at = start; at + 2 <= end; ) {
      offsets.push(at);
      const tagOctet = bytes[at] as number;
      let length = bytes[at + 1] as number;
      let content = at + 2;
      if (length >= 0x80) {
        const count = length & 0x7f;
        length = 0;
        for (let i = 0; i < count; i += 1) length = length * 256 + (bytes[content + i] as number);
        content += count;
      }
      if ((tagOctet & 0x20) !== 0) walk(content, content + length);
      at = content + length;
    }
  };
  walk(0, bytes.length);
  return offsets;
}

type Random = (below: number) => number;

/** One to three injuries. */
function damaged(bytes: Uint8Array, offsets: readonly number[], random: Random): Uint8Array {
  let octets = Buffer.from(bytes);
  const element = () => (offsets[random(offsets.length)] ?? 0) % octets.length;
  for (let count = 1 + random(3); count > 0; count -= 1) {
    if (octets.length < 2) break;
    const at = random(octets.length);
    const piece = octets.subarray(at, at + 1 + random(40));
    switch (random(9)) {
      case 0:
        octets[at] = (octets[at] as number) ^ (1 << random(8));
        break;
      case 1:
        octets[at] = random(256);
        break;
      case 2:
        octets = octets.subarray(0, at);
        break;
      case 3:
        octets = Buffer.concat([octets.subarray(0, at), randomOctets(random), octets.subarray(at)]);
        break;
      case 4:
        octets = Buffer.concat([octets.subarray(0, at), piece, octets.subarray(at)]);
        break;
      case 5:
        octets = Buffer.concat([octets.subarray(0, at), octets.subarray(at + piece.length)]);
        break;
      case 6:
        octets[element()] = random(256);
        break;
      case 7:
        octets[(element() + 1) % octets.length] = random(256);
        break;
      default:
        piece.reverse();
    }
  }
  return octets;
}

function randomOctets(random: Random): Uint8Array {
  return Uint8Array.from({ length: 1 + random(8) }, () => random(256));
}

/** Injuries that keep the structure: an element goes, comes twice, changes its tag, its content or its place. */
function reshaped(bytes: Uint8Array, random: Random): Uint8Array {
  const root = treeOf(bytes);
  const nodes = nodesOf(root);
  const node = nodes[1 + random(nodes.length - 1)] as Tree;
  const siblings = nodes.find((other) => other.children?.includes(node) === true)?.children as Tree[];
  const place = siblings.indexOf(node);
  switch (random(5)) {
    case 0:
      siblings.splice(place, 1);
      break;
    case 1:
      siblings.splice(place, 0, node);
      break;
    case 2:
      node.tag = random(256);
      break;
    case 3:
      Object.assign(node, { content: randomOctets(random), children: undefined });
      break;
    default:
      siblings.reverse();
  }
  return encoded(root);
}

/** How many of each kind; ten thousand in all. */
const COUNTS = { message: 7200, envelope: 1500, request: 700, signedRequest: 600 } as const;
const AT_ONCE = 64;
/** Repeats a run: set it to the number that a failed one printed. */
const seed = Number(process.env.LEAFGATE_TEST_SEED ?? randomInt(2 ** 31));

describe('ten thousand damaged PKCSReqs', () => {
  const subject = nameFromString('CN=device-1,O=Test');
  const good = () =>
    requestOf({
      challengePassword: staticSecret,
      extensions: [
        keyUsageExtension(['digitalSignature', 'keyEncipherment']),
        extKeyUsageExtension([oid.clientAuth]),
        subjectAltNameExtension(
          [
            { type: 'dNSName', value: 'device-1.test' },
            { type: 'uniformResourceIdentifier', value: 'urn:device:1' },
            { type: 'rfc822Name', value: 'device-1@test' },
          ],
          subject,
        ),
      ],
    });

  test('are answered, each of them, and nothing is issued that was not asked for', async (t) => {
    t.diagnostic(`LEAFGATE_TEST_SEED=${seed}`);
    const random = randomFrom(seed);
    const csr = await good();
    const { certificationRequestInfo } = parseCertificationRequest(csr);
    const message = await messageOf({ csr, signer, transactionID: 'intact' });
    const envelope = envelopeOf({ csr });
    const at = { message: offsetsIn(message), envelope: offsetsIn(envelope), csr: offsetsIn(csr) };
    const infoAt = offsetsIn(certificationRequestInfo);

    // The order is mixed by the parallel requests themselves; what each of them is depends on the seed alone.
    const jobs: (() => Promise<Uint8Array>)[] = [];
    for (let n = 0; n < COUNTS.message; n += 1) {
      const changed = n % 4 === 0 ? reshaped(message, random) : damaged(message, at.message, random);
      jobs.push(async () => changed);
    }
    for (let n = 0; n < COUNTS.envelope; n += 1) {
      const changed = n % 2 === 0 ? reshaped(envelope, random) : damaged(envelope, at.envelope, random);
      jobs.push(() => messageOf({ envelope: changed, signer, transactionID: `envelope-${n}` }));
    }
    for (let n = 0; n < COUNTS.request; n += 1) {
      const changed = n % 2 === 0 ? reshaped(csr, random) : damaged(csr, at.csr, random);
      jobs.push(() => messageOf({ csr: changed, signer, transactionID: `request-${n}` }));
    }
    let resigned = 0;
    for (let n = 0; resigned < COUNTS.signedRequest; n += 1) {
      const info =
        n % 4 === 0
          ? damaged(certificationRequestInfo, infoAt, random)
          : reshaped(certificationRequestInfo, random);
      // A changed challenge costs the server a slow hash, on purpose; there are tests of that elsewhere.
      if (Buffer.from(info).includes(staticSecret) || !Buffer.from(info).includes(oidOctets)) {
        resigned += 1;
        jobs.push(async () => {
          const changed = sequence(
            info,
            signatureAlgorithmIdentifier('rsa-sha256'),
            bitString(await keys.device.sign('rsa-sha256', info)),
          );
          return await messageOf({ csr: changed, signer, transactionID: `signed-${n}` });
        });
      }
    }
    assert.equal(jobs.length, 10_000);

    const statuses = new Map<string, number>();
    const count = (what: string) => statuses.set(what, (statuses.get(what) ?? 0) + 1);
    const next = jobs.entries();
    const worker = async () => {
      for (const [n, job] of next) {
        const sent = await job();
        const answer = await server.post('static', sent);
        const what = statusOf(answer);
        assert.notEqual(what, undefined, describeFailure(n, sent, answer));
        count(what as string);
      }
    };
    await Promise.all(Array.from({ length: AT_ONCE }, worker));
    t.diagnostic([...statuses].map(([what, n]) => `${what}: ${n}`).join(', '));

    // The damage reached every layer, or this test would show nothing.
    for (const what of ['HTTP 400', 'badMessageCheck', 'badAlg', 'badRequest', 'SUCCESS'])
      assert.ok((statuses.get(what) ?? 0) > 0, `never ${what}`);

    // Nothing is on record but certificates for the device's own key, within the template.
    const key = hashOf(keys.device.spki);
    for (const record of await recordsIn(server)) {
      assert.equal(record.status, 'issued');
      assert.equal(record.publicKeyHash, key);
      const certificate = parseCertificate(record.certificate as Uint8Array);
      assert.ok(verifyCertificateSignature(certificate, keys.issuing.spki));
      assert.equal(basicConstraintsOf(certificate)?.ca, false);
      assert.ok(extKeyUsageOf(certificate)?.every((purpose) => clientTemplate.extKeyUsage.includes(purpose)));
      assert.ok(keyUsageOf(certificate)?.every((bit) => clientTemplate.keyUsage.includes(bit)));
      assert.deepEqual(
        certificate.extensions.map((extension) => extension.oid).filter((type) => !ours.includes(type)),
        [],
      );
    }
    // An invariant that broke would be a bug, whatever the answer was.
    const entries = await auditIn(server, 20_000);
    assert.deepEqual(
      entries.filter((entry) => entry.code === 'internal').map((entry) => entry.detail),
      [],
    );

    const after = await enrolAt(server, 'static', { csr: await good(), transactionID: 'after' });
    assert.equal(after.pkiStatus, 'SUCCESS');
  });

  const ours: readonly string[] = [
    oid.basicConstraints,
    oid.keyUsage,
    oid.extKeyUsage,
    oid.subjectAltName,
    oid.subjectKeyIdentifier,
    oid.authorityKeyIdentifier,
    oid.cRLDistributionPoints,
    oid.authorityInfoAccess,
  ];
  /** The identifier of challengePassword, as it stands in a request. */
  const oidOctets = Buffer.from('2a864886f70d010907', 'hex');

  /** What the answer is, if it is one of those that are allowed. */
  function statusOf({ status, headers, body }: HttpAnswer): string | undefined {
    if (headers['content-length'] !== String(body.length)) return undefined;
    if (status === 400) {
      return body.toString() === 'no PKIMessage could be read from the request\n' ? 'HTTP 400' : undefined;
    }
    if (status !== 200) return undefined;
    const answer = verifyPkiMessage(readPkiMessage(body));
    assert.equal(answer.messageType, 'CertRep');
    assert.deepEqual(Buffer.from(answer.signer.raw), Buffer.from(certificates.raSigning.raw));
    const pkiStatus = pkiStatusOf(answer.signerInfo);
    return pkiStatus === 'FAILURE' ? failInfoOf(answer.signerInfo) : pkiStatus;
  }

  function describeFailure(n: number, sent: Uint8Array, { status, body }: HttpAnswer): string {
    return `LEAFGATE_TEST_SEED=${seed}, message ${n}: HTTP ${status} ${body.toString('latin1').slice(0, 200)}\n${Buffer.from(sent).toString('base64')}`;
  }
});

// --- oracle ---------------------------------------------------------------------------------------------------------

describe('whatever is wrong behind the RSA encryption is answered alike', () => {
  const raKey = createPublicKey({
    key: Buffer.from(certificates.raEncryption.spki),
    format: 'der',
    type: 'spki',
  });
  const contentKey = randomBytes(16);
  const iv = randomBytes(16);

  /** RSA over a block of our own, without any padding. */
  const rawRsa = (block: Uint8Array) =>
    publicEncrypt({ key: raKey, padding: constants.RSA_NO_PADDING }, block);
  const pkcs1 = (key: Uint8Array) => publicEncrypt({ key: raKey, padding: constants.RSA_PKCS1_PADDING }, key);
  const oaep = (key: Uint8Array, oaepHash: string) =>
    publicEncrypt({ key: raKey, padding: constants.RSA_PKCS1_OAEP_PADDING, oaepHash }, key);
  /** 00 02, padding, 00, key: with every part to be spoilt. */
  const block = (parts: { first?: number; type?: number; delimiter?: number; key?: Uint8Array }) => {
    const { first = 0, type = 2, delimiter = 0, key = contentKey } = parts;
    const padding = Buffer.alloc(MODULUS_BYTES - 3 - key.length, 0x5a);
    return Buffer.concat([Uint8Array.of(first, type), padding, Uint8Array.of(delimiter), key]);
  };
  const encrypt = (content: Uint8Array, padding: 'padded' | 'as it is') =>
    encryptContent(content, contentKey, iv, padding);

  /** An envelope with our own encrypted key and encrypted content. */
  function envelope(
    encryptedKey: Uint8Array,
    encryptedContent: Uint8Array,
    transport: 'pkcs1' | 'sha1' | 'sha256' = 'pkcs1',
  ): Uint8Array {
    return envelopeWith({
      recipient: certificates.raEncryption,
      encryptedKey,
      encryptedContent,
      iv,
      keyTransport:
        transport === 'pkcs1' ? { name: 'rsaes-pkcs1-v1_5' } : { name: 'rsaes-oaep', digest: transport },
    });
  }

  test('byte for byte, but for nonce, signature and reference', async () => {
    const csr = await requestOf({ challengePassword: staticSecret });
    const good = encrypt(csr, 'padded');
    const goodKey = pkcs1(contentKey);
    const badSignature = Buffer.from(csr);
    badSignature[badSignature.length - 1] = (badSignature.at(-1) as number) ^ 1;
    const otherScheme = Buffer.from(csr);
    // sha256WithRSAEncryption becomes md5WithRSAEncryption: an identifier that we refuse elsewhere by name.
    const scheme = otherScheme.indexOf(Buffer.from('2a864886f70d01010b', 'hex'));
    assert.ok(scheme > 0);
    otherScheme[scheme + 8] = 4;
    const cutPadding = Buffer.from(good);
    cutPadding[cutPadding.length - 17] = (cutPadding.at(-17) as number) ^ 0xff;
    const short = Buffer.from('3003020100', 'hex');
    const modulus = Buffer.alloc(MODULUS_BYTES, 0xff);

    const rows: readonly (readonly [name: string, envelope: Uint8Array])[] = [
      ['another leading octet', envelope(rawRsa(block({ first: 1 })), good)],
      ['block type 1', envelope(rawRsa(block({ type: 1 })), good)],
      ['block type 0', envelope(rawRsa(block({ type: 0 })), good)],
      [
        'no zero behind the padding',
        envelope(rawRsa(block({ delimiter: 7, key: Buffer.alloc(16, 7) })), good),
      ],
      ['padding of seven octets', envelope(rawRsa(shortPadding()), good)],
      ['an empty key', envelope(pkcs1(Uint8Array.of()), good)],
      ['a key too short by one', envelope(pkcs1(contentKey.subarray(1)), good)],
      ['a key too long by one', envelope(pkcs1(Buffer.concat([contentKey, Uint8Array.of(0)])), good)],
      ['the key of a longer cipher', envelope(pkcs1(randomBytes(32)), good)],
      ['the longest key', envelope(pkcs1(randomBytes(245)), good)],
      ['another key', envelope(pkcs1(randomBytes(16)), good)],
      ['a random ciphertext', envelope(Buffer.concat([Uint8Array.of(0), randomBytes(255)]), good)],
      ['the ciphertext zero', envelope(Buffer.alloc(MODULUS_BYTES), good)],
      ['a ciphertext beyond the modulus', envelope(modulus, good)],
      ['no ciphertext', envelope(Uint8Array.of(), good)],
      ['a ciphertext too short', envelope(goodKey.subarray(1), good)],
      ['a ciphertext too long', envelope(Buffer.concat([Uint8Array.of(0), goodKey]), good)],
      ['PKCS #1 padding where OAEP is said', envelope(goodKey, good, 'sha256')],
      ['OAEP of another digest', envelope(oaep(contentKey, 'sha1'), good, 'sha256')],
      ['OAEP with a key too short', envelope(oaep(contentKey.subarray(1), 'sha256'), good, 'sha256')],
      ['OAEP of noise', envelope(Buffer.concat([Uint8Array.of(0), randomBytes(255)]), good, 'sha1')],
      ['no content', envelope(goodKey, Uint8Array.of())],
      ['content that ends within a block', envelope(goodKey, good.subarray(0, -1))],
      ['content without its last block', envelope(goodKey, good.subarray(0, -16))],
      ['content with spoilt padding', envelope(goodKey, cutPadding)],
      [
        'content that is no request',
        envelope(goodKey, encrypt(Buffer.from('nothing of the sort'), 'padded')),
      ],
      ['content that is another structure', envelope(goodKey, encrypt(short, 'padded'))],
      ['content of nothing', envelope(goodKey, encrypt(Uint8Array.of(), 'padded'))],
      ['content of zeros without padding', envelope(goodKey, encrypt(Buffer.alloc(32), 'as it is'))],
      ['a request that ends early', envelope(goodKey, encrypt(csr.subarray(0, -1), 'padded'))],
      ['a request that is not signed by its key', envelope(goodKey, encrypt(badSignature, 'padded'))],
      ['a request signed in another scheme', envelope(goodKey, encrypt(otherScheme, 'padded'))],
    ];
    const senderNonce = Buffer.alloc(16, 0x33);
    const answerTo = async (envelopeOctets: Uint8Array) =>
      await server.post(
        'static',
        await messageOf({ envelope: envelopeOctets, signer, transactionID: 'oracle', senderNonce }),
      );
    const seen = new Map<string, string>();
    for (const [name, octets] of rows) {
      const answer = await answerTo(octets);
      const told = comparable(answer);
      if (seen.size === 0) {
        const { signerInfo } = verifyPkiMessage(readPkiMessage(answer.body));
        assert.equal(failInfoOf(signerInfo), 'badMessageCheck');
        assert.equal(transactionIDOf(signerInfo), 'oracle');
        assert.match(failInfoTextOf(signerInfo) ?? '', /^the message could not be opened \(LG-\w{8}\)$/);
      }
      seen.set(told, name);
      assert.equal(seen.size, 1, `${[...seen.values()].join(' and ')} are told apart`);
    }
    // The very same message with nothing wrong in it enrols: the rows fail for the reason that they name.
    const right = await answerTo(envelope(goodKey, good));
    assert.equal(pkiStatusOf(readPkiMessage(right.body).signerInfo), 'SUCCESS');
    const rightOaep = await answerTo(envelope(oaep(contentKey, 'sha256'), good, 'sha256'));
    assert.equal(pkiStatusOf(readPkiMessage(rightOaep.body).signerInfo), 'SUCCESS');
  });

  function shortPadding(): Buffer {
    const key = randomBytes(MODULUS_BYTES - 2 - 7 - 1).map((octet) => octet | 1);
    return Buffer.concat([Uint8Array.of(0, 2), Buffer.alloc(7, 0x5a), Uint8Array.of(0), key]);
  }
});
