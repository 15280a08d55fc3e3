import assert from 'node:assert/strict';
import { createPrivateKey, randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { before, describe, test } from 'node:test';
import {
  certificates,
  defaultSigner,
  envelopeOf,
  fixtureKey,
  keys,
  messageOf,
  newEcKey,
  newRsaKey,
  requestOf,
  selfSigned,
} from '../../../test/support/authorities-fixture.ts';
import { encoded, nodesOf, type Tree, treeOf } from '../../../test/support/codec-fixture.ts';
import { exchangeFiles, keyOf } from '../../../test/vectors/clients/generate.ts';
import {
  type Attribute,
  buildCertsOnly,
  buildEnvelopedData,
  buildPasswordEnvelopedData,
  buildPem,
  buildSignedData,
  der,
  objectIdentifier,
  octetString,
  oid,
  printableString,
  sameOctets,
  sequence,
  tag,
  utf8String,
} from '../../codec/index.ts';
import { buildAttributes, buildMessageQuery, serverCapabilities } from '../index.ts';
import { type Explanation, explainScep, type FindingName, findingRules } from './index.ts';

const challengePassword = 'a challenge that nobody may read';
const raKeys = [
  {
    certificate: certificates.raEncryption,
    decrypt: keys.raEncryption.decrypt,
  },
];

const explain = (input: Uint8Array | string, open: readonly (typeof raKeys)[number][] = []) =>
  explainScep(typeof input === 'string' ? Buffer.from(input) : input, {
    now: new Date(),
    keys: open,
    challenge: 'masked',
  });

const rulesOf = ({ findings }: Explanation) => findings.map(({ rule }) => rule);
const textOf = (explanation: Explanation) => JSON.stringify(explanation);

let request: Uint8Array;
let message: Uint8Array;
let base64: string;
before(async () => {
  request = await requestOf({ challengePassword, subject: 'CN=device-1,O=Test' });
  message = await messageOf({ csr: request });
  base64 = Buffer.from(message).toString('base64');
});

/** A PKCSReq with one attribute put in the place of its own, or left out. */
async function withAttribute(type: string, ...values: readonly Uint8Array[]): Promise<Uint8Array> {
  const usual = buildAttributes({ messageType: 'PKCSReq', transactionID: 't', senderNonce: randomBytes(16) });
  const rest: Attribute[] = usual.filter((attribute) => attribute.oid !== type);
  const attributes = values.length === 0 ? rest : [...rest, { oid: type, values }];
  return await messageOf({ csr: request, attributes });
}

/** A CertRep with these attributes. */
const certRep = (fields: Partial<Parameters<typeof buildAttributes>[0]>, content: Uint8Array | undefined) =>
  buildSignedData(
    {
      content,
      digest: 'sha256',
      signer: certificates.raSigning,
      certificates: [certificates.raSigning.raw],
      attributes: buildAttributes({
        messageType: 'CertRep',
        transactionID: 't',
        senderNonce: randomBytes(16),
        recipientNonce: randomBytes(16),
        ...fields,
      }),
    },
    keys.raSigning.signs,
  );

const toDevice = (content: Uint8Array) =>
  buildEnvelopedData({
    content,
    recipient: defaultSigner.certificate,
    cipher: 'aes-128-cbc',
    keyTransport: { name: 'rsaes-pkcs1-v1_5' },
  });
const deviceKeys = [{ certificate: defaultSigner.certificate, decrypt: keys.device.decrypt }];

describe('what is broken', () => {
  test('a message that is cut off anywhere is read as far as it goes', async () => {
    for (let length = 0; length < message.length; length += 1) {
      const explanation = await explain(message.subarray(0, length), raKeys);
      if (length < 2) continue;
      assert.ok(rulesOf(explanation).includes('cut'), `${length}: ${rulesOf(explanation)}`);
    }
    const late = await explain(message.subarray(0, message.length - 200), raKeys);
    assert.match(textOf(late), /aes-128-cbc/);
    assert.match(textOf(late), /CN=device-1,O=Test/);
  });

  test('a message with any octet changed never makes it throw', async () => {
    const unnoticed: number[] = [];
    for (let at = 0; at < message.length; at += 3) {
      const changed = Uint8Array.from(message);
      changed[at] = (changed[at] as number) ^ 0xff;
      const { findings } = await explain(changed, raKeys);
      if (!findings.some(({ severity }) => severity === 'error')) unnoticed.push(at);
    }
    // Covered by no signature: the version, the list of digests, and the throw-away certificate's own signature.
    assert.ok(unnoticed.length < 100, unnoticed.join());
    assert.ok(
      unnoticed.every((at) => at < 60 || at > 1200),
      unnoticed.join(),
    );
  });

  test('neither do octets without any order', async () => {
    for (let round = 0; round < 200; round += 1) {
      const octets = randomBytes(1 + (round % 64));
      octets[0] = 0x30;
      await explain(octets, raKeys);
    }
    for (const nested of [0x30, 0xa0, 0x24])
      await explain(Buffer.alloc(100_000, Uint8Array.of(nested, 0x80)));
  });

  const rows: readonly {
    readonly name: string;
    readonly input: () => Promise<Uint8Array | string> | Uint8Array | string;
    readonly kind?: string | RegExp;
    readonly rules: readonly FindingName[];
  }[] = [
    { name: 'nothing', input: () => '', kind: 'GetCACaps answer', rules: ['capsEmpty'] },
    { name: 'a web page', input: () => '<!DOCTYPE html><html>Sign in', kind: 'unreadable', rules: ['html'] },
    { name: 'a sentence', input: () => 'Not now, please!', kind: 'unreadable', rules: ['notAsn1'] },
    { name: 'octets', input: () => Uint8Array.of(0, 1, 2, 3), kind: 'unreadable', rules: ['notAsn1'] },
    {
      name: 'a line break after the message',
      input: () => Buffer.concat([message, Buffer.from('\n')]),
      kind: 'PKCSReq',
      rules: ['trailing', 'cmsUnreadable'],
    },
    {
      name: 'the envelope alone',
      input: () => envelopeOf({ csr: request }),
      kind: 'EnvelopedData',
      rules: ['notSignedData'],
    },
    {
      name: 'the request alone',
      input: () => request,
      kind: 'certification request',
      rules: ['notSignedData'],
    },
    {
      name: 'another structure',
      input: () => sequence(octetString(Uint8Array.of(1))),
      kind: 'unreadable',
      rules: ['notSignedData'],
    },
    {
      name: 'a signed request that is not encrypted',
      input: () => messageOf({ envelope: request }),
      kind: 'PKCSReq',
      rules: ['notEnvelopedData'],
    },
    {
      name: 'no content',
      input: () => messageOf({ envelope: undefined }),
      kind: 'PKCSReq',
      rules: ['noContent'],
    },
    {
      name: 'a signature over something else',
      input: async () => {
        const changed = Uint8Array.from(message);
        const last = changed.length - 1;
        changed[last] = (changed[last] as number) ^ 1;
        return changed;
      },
      rules: ['signatureWrong'],
    },
    {
      name: 'content that was changed',
      input: () => {
        const changed = Buffer.from(message);
        const nonce = changed.indexOf(Buffer.from('0609608648016503040102', 'hex'));
        changed[nonce + 20] = (changed[nonce + 20] as number) ^ 1;
        return changed;
      },
      rules: ['digestMismatch', 'csrUnreadable'],
    },
    {
      name: 'the signer’s certificate is not there',
      input: () => messageOf({ csr: request, certificates: [certificates.issuing.raw] }),
      rules: ['signerCertificate'],
    },
    { name: 'no transactionID', input: () => withAttribute(oid.scepTransactionID), rules: ['transactionID'] },
    {
      name: 'an empty transactionID',
      input: () => withAttribute(oid.scepTransactionID, printableString('')),
      rules: ['transactionID'],
    },
    {
      name: 'a transactionID in UTF-8',
      input: () => withAttribute(oid.scepTransactionID, utf8String('t')),
      rules: ['transactionIDType'],
    },
    {
      name: 'two transactionIDs',
      input: () => withAttribute(oid.scepTransactionID, printableString('a'), printableString('b')),
      rules: ['attributeTwice'],
    },
    {
      name: 'no messageType',
      input: () => withAttribute(oid.scepMessageType),
      kind: 'unknown message',
      rules: ['messageType'],
    },
    {
      name: 'a messageType as a number',
      input: () => withAttribute(oid.scepMessageType, Uint8Array.of(2, 1, 19)),
      rules: ['messageType'],
    },
    {
      name: 'a messageType in UTF-8',
      input: () => withAttribute(oid.scepMessageType, utf8String('19')),
      rules: ['messageType'],
    },
    {
      name: 'an undefined messageType',
      input: () => withAttribute(oid.scepMessageType, printableString('255')),
      rules: ['messageType'],
    },
    {
      name: 'UpdateReq',
      input: () => withAttribute(oid.scepMessageType, printableString('18')),
      kind: 'UpdateReq',
      rules: ['messageTypeDraft'],
    },
    { name: 'no senderNonce', input: () => withAttribute(oid.scepSenderNonce), rules: ['noSenderNonce'] },
    {
      name: 'an empty senderNonce',
      input: () => withAttribute(oid.scepSenderNonce, octetString(Uint8Array.of())),
      rules: ['nonceType'],
    },
    {
      name: 'a senderNonce of 8 octets',
      input: () => withAttribute(oid.scepSenderNonce, octetString(randomBytes(8))),
      rules: ['nonceSize'],
    },
    {
      name: 'a senderNonce of zeros',
      input: () => withAttribute(oid.scepSenderNonce, octetString(new Uint8Array(16))),
      rules: ['nonceConstant'],
    },
    {
      name: 'a status in a request',
      input: () => withAttribute(oid.scepPkiStatus, printableString('0')),
      rules: ['statusInRequest'],
    },
    { name: 'SHA-1', input: () => messageOf({ csr: request, digest: 'sha1' }), rules: ['sha1'] },
    { name: 'single DES', input: () => messageOf({ csr: request, cipher: 'des-cbc' }), rules: ['des'] },
    { name: 'triple DES', input: () => messageOf({ csr: request, cipher: 'des-ede3-cbc' }), rules: ['des3'] },
    {
      name: 'a key on a curve',
      input: async () => messageOf({ csr: request, signer: await selfSigned(await newEcKey()) }),
      rules: ['signerCurve', 'otherKey', 'otherSubject'],
    },
    {
      name: 'a key on a curve, and no challenge',
      input: async () => messageOf({ csr: await requestOf({}), signer: await selfSigned(await newEcKey()) }),
      rules: ['signerKey', 'signerCurve', 'noChallenge', 'otherKey', 'otherSubject'],
    },
    {
      name: 'base64 out of a log that has blanks for +',
      input: () => base64.replaceAll('+', ' '),
      kind: 'PKCSReq',
      rules: ['plusAsSpace'],
    },
    {
      name: 'a short key',
      input: async () => messageOf({ csr: request, signer: await selfSigned(await newRsaKey(1024)) }),
      rules: ['weakKey', 'otherKey', 'otherSubject'],
    },
    {
      name: 'an envelope for another CA',
      input: () => messageOf({ csr: request, recipient: certificates.raSigning }),
      rules: ['envelopeClosed', 'recipientOther'],
    },
    {
      name: 'something else inside',
      input: () => messageOf({ csr: octetString(Uint8Array.of(1)) }),
      rules: ['csrUnreadable'],
    },
    {
      name: 'a request that its key did not sign',
      input: () => {
        const changed = Uint8Array.from(request);
        const last = changed.length - 1;
        changed[last] = (changed[last] as number) ^ 1;
        return messageOf({ csr: changed });
      },
      rules: ['csrSignature'],
    },
    {
      name: 'no challenge',
      input: async () => messageOf({ csr: await requestOf({}) }),
      rules: ['noChallenge'],
    },
    {
      name: 'no subject',
      input: async () => messageOf({ csr: await requestOf({ subject: '', challengePassword }) }),
      rules: ['noSubject'],
    },
    {
      name: 'a poll for nothing',
      input: () =>
        messageOf({
          csr: request,
          attributes: buildAttributes({
            messageType: 'CertPoll',
            transactionID: 't',
            senderNonce: randomBytes(16),
          }),
        }),
      kind: 'CertPoll',
      rules: ['insideOther'],
    },
    {
      name: 'a CertRep without status',
      input: () => certRep({}, undefined),
      kind: 'CertRep without status',
      rules: ['pkiStatus'],
    },
    {
      name: 'a FAILURE without failInfo',
      input: () => certRep({ pkiStatus: 'FAILURE' }, undefined),
      rules: ['failInfo'],
    },
    {
      name: 'a FAILURE with an envelope',
      input: () =>
        certRep(
          { pkiStatus: 'FAILURE', failInfo: 'badAlg' },
          toDevice(buildCertsOnly([certificates.raSigning.raw])),
        ),
      rules: ['envelopeInRefusal'],
    },
    {
      name: 'a FAILURE as ours',
      input: () => certRep({ pkiStatus: 'FAILURE', failInfo: 'badAlg' }, Uint8Array.of()),
      kind: 'CertRep FAILURE',
      rules: ['emptyContent'],
    },
    {
      name: 'a SUCCESS without anything',
      input: () => certRep({ pkiStatus: 'SUCCESS' }, undefined),
      rules: ['noCertificates'],
    },
    {
      name: 'GetCACert without RA',
      input: () => buildCertsOnly([certificates.issuing.raw]),
      kind: /^GetCACert answer/,
      rules: ['noEncryption', 'noRoot'],
    },
    {
      name: 'GetCACert without a signer',
      input: () => buildCertsOnly([certificates.raEncryption.raw]),
      rules: ['noSigning', 'noRoot'],
    },
    {
      name: 'a certs-only message with content',
      input: () => {
        const good = Buffer.from(
          buildCertsOnly([certificates.raSigning.raw, certificates.raEncryption.raw, certificates.root.raw]),
        );
        const data = Buffer.from(sequence(der(tag.oid, Buffer.from('2a864886f70d010701', 'hex'))));
        const at = good.indexOf(data);
        const full = sequence(
          der(tag.oid, Buffer.from('2a864886f70d010701', 'hex')),
          der(0xa0, octetString(Uint8Array.of(1))),
        );
        const inner = good.subarray(good.indexOf(Buffer.from('020101', 'hex')));
        const rest = Buffer.concat([
          inner.subarray(0, at - good.indexOf(inner)),
          full,
          good.subarray(at + data.length),
        ]);
        return sequence(der(tag.oid, Buffer.from('2a864886f70d010702', 'hex')), der(0xa0, sequence(rest)));
      },
      rules: ['degenerateContent'],
    },
    {
      name: 'GetCACaps of old',
      input: () => 'DES3\nSHA-1\nPOSTPKIOperation\n',
      kind: 'GetCACaps answer',
      rules: ['capsWeak'],
    },
    { name: 'GetCACaps in lower case', input: () => 'scepstandard\n', rules: ['capsCase'] },
    { name: 'GetCACaps without POST', input: () => 'AES\r\nSHA-256\r\nSHA-512', rules: ['capsNoPost'] },
    { name: 'no operation', input: () => '/scep?operation=Nothing&message=abc', rules: ['operationUnknown'] },
    {
      name: 'an operation in another case',
      input: () => `/scep?${buildMessageQuery(message).replace('PKIOperation', 'pkioperation')}`,
      kind: 'PKCSReq',
      rules: ['operationCase'],
    },
    {
      name: 'plain base64 in a URL',
      input: () => `/scep?operation=PKIOperation&message=${base64.replaceAll('=', '%3D')}`,
      kind: 'PKCSReq',
      rules: ['unescaped'],
    },
    {
      name: 'spaces in a URL',
      input: () => `/scep?operation=PKIOperation&message=${encodeURIComponent(base64.replaceAll('+', ' '))}`,
      kind: 'PKCSReq',
      rules: ['plusAsSpace'],
    },
    {
      name: 'escaped twice',
      input: () => `/scep?operation=PKIOperation&message=${encodeURIComponent(encodeURIComponent(base64))}`,
      kind: 'PKCSReq',
      rules: ['doubleEscaped'],
    },
    {
      name: 'base64url',
      input: () => `/scep?operation=PKIOperation&message=${Buffer.from(message).toString('base64url')}`,
      kind: 'PKCSReq',
      rules: ['base64Url'],
    },
  ];
  for (const { name, input, kind, rules } of rows) {
    test(`${name}: ${rules.join(', ')}`, async () => {
      const explanation = await explain(await input(), [...raKeys, ...deviceKeys]);
      const ignored: readonly FindingName[] = [
        'otherSubject',
        'otherKey',
        'base64Padding',
        'attributesOrder',
      ];
      const have = rulesOf(explanation).filter((rule) => rules.includes(rule) || !ignored.includes(rule));
      assert.deepEqual(have.toSorted(), rules.toSorted(), textOf(explanation).slice(0, 3000));
      if (typeof kind === 'string') assert.equal(explanation.kind, kind);
      else if (kind !== undefined) assert.match(explanation.kind, kind);
      for (const finding of explanation.findings) {
        const { severity, citation, text, mend } = findingRules[finding.rule];
        assert.deepEqual(
          [finding.severity, finding.citation, finding.text, finding.mend],
          [severity, citation, text, mend],
        );
      }
    });
  }
});

/** The message with one thing changed in its structure; all lengths are right again. */
function edited(octets: Uint8Array, edit: (tree: Tree) => void): Uint8Array {
  const tree = treeOf(octets);
  edit(tree);
  return encoded(tree);
}

/** The element at a place: `[1, 0]` is the first child of the second one. A negative index counts from the end. */
function at(tree: Tree, ...path: readonly number[]): Tree {
  return path.reduce((node, index) => {
    const child = node.children?.at(index);
    assert.ok(child);
    return child;
  }, tree);
}

const signerIn = (tree: Tree): Tree => at(tree, 1, 0, -1, 0);
const bare = (dotted: string): Uint8Array => objectIdentifier(dotted).subarray(2);
/** Leaves out the attribute of this type. */
const withoutAttribute = (type: string) => (tree: Tree) => {
  const attributes = at(signerIn(tree), 3);
  const kept = attributes.children?.filter((attribute) => !sameOctets(at(attribute, 0).content, bare(type)));
  Object.assign(attributes, { children: kept });
};
/** A PKCSReq with its envelope changed, and signed again. */
const withEnvelope = (edit: (enveloped: Tree) => void) =>
  messageOf({ envelope: edited(envelopeOf({ csr: request }), (tree) => edit(at(tree, 1, 0))) });
/** A message that some client sends. */
const sentBy = (name: string): Uint8Array => {
  const exchange = Object.values(exchangeFiles)
    .flatMap(({ vectors }) => vectors)
    .find((vector) => vector.name === name);
  return Buffer.from(exchange?.body ?? '', 'base64');
};

describe('what is broken somewhere inside', () => {
  const rows: readonly {
    readonly rule: FindingName;
    readonly input: () => Promise<Uint8Array | string> | Uint8Array | string;
  }[] = [
    { rule: 'longUrl', input: () => `/scep?${buildMessageQuery(message)}&x=${'x'.repeat(9000)}` },
    { rule: 'longLength', input: () => Buffer.concat([Buffer.from('308300', 'hex'), message.subarray(2)]) },
    { rule: 'tooDeep', input: () => sequence(objectIdentifier(oid.signedData), Uint8Array.of(0x1f, 0)) },
    { rule: 'indefinite', input: () => sentBy('apple-ber') },
    { rule: 'pieces', input: () => sentBy('apple-ber') },
    { rule: 'criticalAki', input: () => sentBy('windows-throw-away-signer') },
    {
      rule: 'contentType',
      input: () =>
        edited(message, (tree) => Object.assign(at(tree, 1, 0, 2, 0), { content: bare(oid.signedData) })),
    },
    {
      rule: 'signers',
      input: () => edited(message, (tree) => at(tree, 1, 0, -1).children?.push(signerIn(tree))),
    },
    {
      rule: 'noSignedAttributes',
      input: () => edited(message, (tree) => signerIn(tree).children?.splice(3, 1)),
    },
    { rule: 'requiredAttribute', input: () => edited(message, withoutAttribute(oid.messageDigest)) },
    {
      rule: 'digestRefused',
      input: () =>
        edited(message, (tree) => Object.assign(at(signerIn(tree), 2, 0), { content: bare(oid.md5) })),
    },
    {
      rule: 'digestIsSignature',
      input: () =>
        edited(message, (tree) =>
          Object.assign(at(signerIn(tree), 2, 0), { content: bare(oid.sha256WithRSAEncryption) }),
        ),
    },
    {
      rule: 'signatureAlgorithm',
      input: () =>
        edited(message, (tree) => Object.assign(at(signerIn(tree), 4, 0), { content: bare(oid.rsaesOaep) })),
    },
    {
      rule: 'certificateUnreadable',
      input: () => edited(message, (tree) => at(tree, 1, 0, 3, 0).children?.pop()),
    },
    {
      rule: 'failInfoTextType',
      input: async () =>
        edited(
          await certRep({ pkiStatus: 'FAILURE', failInfo: 'badAlg', failInfoText: 'x' }, undefined),
          (tree) => {
            for (const node of nodesOf(at(signerIn(tree), 3)))
              if (node.tag === tag.utf8String) Object.assign(node, { tag: tag.printableString });
          },
        ),
    },
    {
      rule: 'noRecipientNonce',
      input: async () =>
        edited(await certRep({ pkiStatus: 'PENDING' }, undefined), withoutAttribute(oid.scepRecipientNonce)),
    },
    {
      rule: 'encryptedType',
      input: () =>
        withEnvelope((enveloped) => Object.assign(at(enveloped, 2, 0), { content: bare(oid.signedData) })),
    },
    {
      rule: 'noRecipient',
      input: () => withEnvelope((enveloped) => Object.assign(at(enveloped, 1), { children: [] })),
    },
    {
      rule: 'recipients',
      input: () => withEnvelope((enveloped) => at(enveloped, 1).children?.push(at(enveloped, 1, 0))),
    },
    {
      rule: 'keyTransport',
      input: () =>
        withEnvelope((enveloped) => Object.assign(at(enveloped, 1, 0, 2, 0), { content: bare(oid.md5) })),
    },
    {
      rule: 'cipher',
      input: () =>
        withEnvelope((enveloped) => Object.assign(at(enveloped, 2, 1, 0), { content: bare(oid.rc2Cbc) })),
    },
    {
      rule: 'iv',
      input: () =>
        withEnvelope((enveloped) => Object.assign(at(enveloped, 2, 1, 1), { content: Uint8Array.of(1) })),
    },
    {
      rule: 'blockSize',
      input: () =>
        withEnvelope((enveloped) => Object.assign(at(enveloped, 2, 2), { content: Uint8Array.of(1, 2, 3) })),
    },
    { rule: 'base64Broken', input: () => '/scep?operation=PKIOperation&message=AAA*AAAA' },
    {
      rule: 'attributesOrder',
      input: () => edited(message, (tree) => at(signerIn(tree), 3).children?.reverse()),
    },
    { rule: 'swappedValidity', input: () => sentBy('android-swapped-validity') },
    { rule: 'validityOrder', input: () => sentBy('android-dates-of-signer') },
    {
      rule: 'leafNotFirst',
      input: async () =>
        certRep(
          { pkiStatus: 'SUCCESS' },
          toDevice(buildCertsOnly([certificates.issuing.raw, certificates.raSigning.raw])),
        ),
    },
    { rule: 'noRaPurpose', input: () => buildCertsOnly([defaultSigner.certificate.raw]) },
    {
      rule: 'raNotRsa',
      input: async () => buildCertsOnly([(await selfSigned(await newEcKey())).certificate.raw]),
    },
    {
      rule: 'chainBroken',
      input: () => {
        const forged = Uint8Array.from(certificates.raSigning.raw);
        forged[forged.length - 1] = (forged.at(-1) as number) ^ 1;
        return buildCertsOnly([
          forged,
          certificates.raEncryption.raw,
          certificates.issuing.raw,
          certificates.root.raw,
        ]);
      },
    },
  ];
  const vectorKey = fixtureKey(createPrivateKey(keyOf('ra')));
  for (const { rule, input } of rows) {
    test(rule, async () => {
      const explanation = await explain(await input(), [
        ...raKeys,
        ...deviceKeys,
        { certificate: certificates.raEncryption, decrypt: vectorKey.decrypt },
      ]);
      assert.ok(rulesOf(explanation).includes(rule), textOf(explanation).slice(0, 3000));
    });
  }

  test('certificateExpired, by the time that is given', async () => {
    for (const now of [new Date('2000-01-01'), new Date('2090-01-01')]) {
      const explanation = await explainScep(message, { now, keys: [], challenge: 'masked' });
      assert.ok(rulesOf(explanation).includes('certificateExpired'));
    }
  });

  test('every rule can be broken', () => {
    const source = readFileSync(new URL(import.meta.url), 'utf8');
    assert.deepEqual(
      Object.keys(findingRules).filter((rule) => !source.includes(`'${rule}'`)),
      [],
    );
  });
});

describe('what is whole', () => {
  test('a PKCSReq, opened', async () => {
    const explanation = await explain(message, raKeys);
    assert.equal(explanation.kind, 'PKCSReq');
    assert.deepEqual(rulesOf(explanation), ['otherSubject']);
    const text = textOf(explanation);
    for (const part of [
      'transaction-1',
      '19 = PKCSReq',
      'sha256',
      'aes-128-cbc',
      'RSAES-PKCS1-v1_5',
      'CN=device-1,O=Test',
    ])
      assert.ok(text.includes(part), part);
    assert.match(text, /good: the sender has the key/);
    assert.ok(text.includes(`${challengePassword.length} characters, not shown`));
  });

  test('its challenge is shown to nobody who did not ask for it by name', async () => {
    assert.ok(!textOf(await explain(message, raKeys)).includes(challengePassword));
    const shown = await explainScep(message, { now: new Date(), keys: raKeys, challenge: 'danger-shown' });
    assert.ok(textOf(shown).includes(challengePassword));
  });

  test('without the key what is inside stays there, and nothing is wrong', async () => {
    const explanation = await explain(message);
    assert.deepEqual(rulesOf(explanation), []);
    assert.ok(!textOf(explanation).includes('device-1'));
  });

  const wrappings: readonly (readonly [name: string, wrap: () => string])[] = [
    ['PEM', () => `-----BEGIN PKCS7-----\n${base64}\n-----END PKCS7-----\n`],
    ['base64', () => base64],
    ['base64 over lines', () => (base64.match(/.{1,64}/g) ?? []).join('\n')],
    ['base64 over lines that are joined by blanks', () => (base64.match(/.{1,64}/g) ?? []).join(' ')],
    ['base64 over indented lines', () => (base64.match(/.{1,64}/g) ?? []).join('\n    ')],
    ['the query of a GET', () => buildMessageQuery(message)],
    ['a whole URL', () => `http://scep.test/certsrv/mscep/mscep.dll?${buildMessageQuery(message)}`],
    ['a request line', () => `GET /scep?${buildMessageQuery(message)} HTTP/1.0\r\nHost: x\r\n`],
  ];
  for (const [name, wrap] of wrappings) {
    test(`in ${name}`, async () => {
      const explanation = await explain(wrap(), raKeys);
      assert.equal(explanation.kind, 'PKCSReq');
      assert.equal(explanation.sizeBytes, message.length);
      assert.ok(explanation.wrappings.length > 0);
      assert.ok(!explanation.findings.some(({ severity }) => severity !== 'note'), textOf(explanation));
    });
  }

  test('with blanks for +, and in whole groups of four without them too', async () => {
    const sent = Buffer.from(sentBy('strongswan-attribute-order'));
    const text = sent.toString('base64');
    assert.equal(text.replaceAll('+', '').length % 4, 0);
    const explanation = await explain(text.replaceAll('+', ' '));
    assert.deepEqual(rulesOf(explanation), ['plusAsSpace']);
    assert.equal(explanation.sizeBytes, sent.length);
  });

  test('a key on a curve, answered under the challenge', async () => {
    const signer = await selfSigned(await newEcKey());
    const explanation = await explain(
      await messageOf({
        signer,
        envelope: await buildPasswordEnvelopedData({
          content: request,
          password: challengePassword,
          cipher: 'aes-128-cbc',
        }),
      }),
      raKeys,
    );
    assert.deepEqual(rulesOf(explanation), []);
    assert.match(textOf(explanation), /by the challenge password/);
  });

  test('answers: SUCCESS, FAILURE, PENDING', async () => {
    const success = await explain(
      await certRep({ pkiStatus: 'SUCCESS' }, toDevice(buildCertsOnly([certificates.raSigning.raw]))),
      deviceKeys,
    );
    assert.equal(success.kind, 'CertRep SUCCESS');
    assert.deepEqual(rulesOf(success), []);
    assert.match(textOf(success), /Inside: certificate 1/);
    const failure = await explain(
      await certRep({ pkiStatus: 'FAILURE', failInfo: 'badRequest', failInfoText: 'no (LG-X)' }, undefined),
    );
    assert.equal(failure.kind, 'CertRep FAILURE');
    assert.deepEqual(rulesOf(failure), []);
    assert.match(textOf(failure), /2 = badRequest/);
    assert.match(textOf(failure), /no \(LG-X\)/);
    const pending = await explain(await certRep({ pkiStatus: 'PENDING' }, undefined));
    assert.equal(pending.kind, 'CertRep PENDING');
    assert.deepEqual(rulesOf(pending), []);
  });

  test('polls and look-ups', async () => {
    const attributes = (messageType: 'CertPoll' | 'GetCert' | 'GetCRL') =>
      buildAttributes({ messageType, transactionID: 't', senderNonce: randomBytes(16) });
    const poll = await explain(
      await messageOf({
        csr: sequence(certificates.issuing.subject.raw, defaultSigner.certificate.subject.raw),
        attributes: attributes('CertPoll'),
      }),
      raKeys,
    );
    assert.equal(poll.kind, 'CertPoll');
    assert.deepEqual(rulesOf(poll), []);
    assert.match(textOf(poll), /IssuerAndSubject.*Test Issuing CA.*SCEP Protocol Certificate/);
    for (const messageType of ['GetCert', 'GetCRL'] as const) {
      const look = await explain(
        await messageOf({
          csr: certificates.raSigning.issuerAndSerialNumber,
          attributes: attributes(messageType),
        }),
        raKeys,
      );
      assert.equal(look.kind, messageType);
      assert.deepEqual(rulesOf(look), []);
      assert.ok(textOf(look).includes(certificates.raSigning.serialNumber));
    }
  });

  test('GetCACert and GetCACaps as ours, and what a GetCACert URL asks', async () => {
    const { raSigning, raEncryption, issuing, root } = certificates;
    const served = await explain(
      buildCertsOnly([raSigning, raEncryption, issuing, root].map(({ raw }) => raw)),
    );
    assert.match(served.kind, /^GetCACert answer/);
    assert.deepEqual(rulesOf(served), []);
    assert.deepEqual(
      served.sections.map(({ title }) => title),
      [
        'Certificate 1 (RA: signing)',
        'Certificate 2 (RA: encryption)',
        'Certificate 3 (issuing CA)',
        'Certificate 4 (root)',
      ],
    );
    const capabilities = await explain(`${serverCapabilities.join('\n')}\n`);
    assert.equal(capabilities.kind, 'GetCACaps answer');
    assert.deepEqual(rulesOf(capabilities), ['capsUnknown']);
    assert.equal(
      (await explain('GET /scep?operation=GetCACert&message=ca HTTP/1.1')).kind,
      'request without a message',
    );
  });

  test('a GetNextCACert answer', async () => {
    const explanation = await explain(
      await buildSignedData(
        {
          content: buildCertsOnly([certificates.root.raw]),
          digest: 'sha256',
          signer: certificates.issuing,
          certificates: [certificates.issuing.raw],
          attributes: [],
        },
        keys.issuing.signs,
      ),
    );
    assert.equal(explanation.kind, 'GetNextCACert answer');
    assert.deepEqual(rulesOf(explanation), []);
    assert.match(textOf(explanation), /Next certificate 1/);
  });

  test('a certificate and a request in PEM', async () => {
    assert.match(
      (await explain(buildPem('CERTIFICATE', certificates.raSigning.raw))).kind,
      /^GetCACert answer/,
    );
    assert.equal((await explain(buildPem('CERTIFICATE REQUEST', request))).kind, 'certification request');
  });
});
