import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import {
  certificates,
  type FixtureKey,
  inDays,
  keys,
  newEcKey,
  newRsaKey,
} from '../../test/support/authorities-fixture.ts';
import {
  authorityKeyIdentifierExtension,
  basicConstraintsOf,
  buildCertificate,
  type Certificate,
  caBasicConstraintsExtension,
  type Extension,
  endEntityBasicConstraintsExtension,
  extensionValue,
  keyIdentifier,
  keyUsageExtension,
  keyUsageOf,
  nameFromString,
  oid,
  parseCertificate,
  parseCrl,
  sameOctets,
  subjectKeyIdentifierExtension,
  subjectKeyIdentifierOf,
  verifyCertificateSignature,
  verifyCrlSignature,
} from '../codec/index.ts';
import { PkiError } from '../errors.ts';
import {
  assertIssuing,
  createCross,
  createIssuing,
  createRoot,
  createRootCrl,
  type Root,
  signatureAlgorithmFor,
} from './hierarchy.ts';

const validity = { notBefore: inDays(-1), notAfter: inDays(1000) };
const urls = { crlUrls: ['http://pki.test/r.crl'], caIssuersUrls: ['http://pki.test/r.crt'] };

/** A CA certificate with every part to be chosen. */
async function caCertificate(fields: {
  readonly subject: string;
  readonly issuer: string;
  readonly spki: Uint8Array;
  readonly by: FixtureKey;
  readonly extensions: readonly Extension[];
}): Promise<Certificate> {
  const raw = await buildCertificate(
    {
      serialNumber: '4d0102030405060708',
      signatureAlgorithm: 'rsa-sha256',
      ...validity,
      issuer: nameFromString(fields.issuer),
      subject: nameFromString(fields.subject),
      spki: fields.spki,
      extensions: fields.extensions,
    },
    fields.by.signs,
  );
  return parseCertificate(raw);
}

const caBits = keyUsageExtension(['keyCertSign', 'cRLSign']);
const identifier = (key: FixtureKey) => subjectKeyIdentifierExtension(keyIdentifier(key.spki));
const good = (key: FixtureKey, pathLength?: number) => [
  caBasicConstraintsExtension(pathLength),
  caBits,
  identifier(key),
  authorityKeyIdentifierExtension(keyIdentifier(keys.root.spki)),
];
const middleKey = await newRsaKey();

/** An issuing CA under the test root with other extensions. */
const issuingWith = (extensions: readonly Extension[]) =>
  caCertificate({
    subject: 'CN=Issuing,O=Test',
    issuer: 'CN=Test Root,O=Test',
    spki: keys.issuing.spki,
    by: keys.root,
    extensions,
  });
/** An issuing CA under a CA between it and the root. */
const underMiddle = () =>
  caCertificate({
    subject: 'CN=Issuing,O=Test',
    issuer: 'CN=Middle,O=Test',
    spki: keys.issuing.spki,
    by: middleKey,
    extensions: good(keys.issuing),
  });
const middleWith = (extensions: readonly Extension[], by: FixtureKey = keys.root) =>
  caCertificate({
    subject: 'CN=Middle,O=Test',
    issuer: 'CN=Test Root,O=Test',
    spki: middleKey.spki,
    by,
    extensions,
  });
const rootWith = (extensions: readonly Extension[], by: FixtureKey = keys.root) =>
  caCertificate({
    subject: 'CN=Test Root,O=Test',
    issuer: 'CN=Test Root,O=Test',
    spki: keys.root.spki,
    by,
    extensions,
  });

describe('assertIssuing', () => {
  type Case = {
    readonly chain: readonly Certificate[];
    readonly key?: FixtureKey;
    readonly certificate?: Certificate;
  };
  const { issuing, root } = certificates;
  const check = ({ chain, key = keys.issuing, certificate = chain[0] as Certificate }: Case) =>
    assertIssuing(
      certificate,
      chain.map(({ raw }) => raw),
      key,
    );

  test('takes an issuing CA under a root, and one with a CA between', async () => {
    check({ chain: [issuing, root] });
    check({ chain: [await underMiddle(), await middleWith(good(middleKey, 1)), root] });
    check({
      chain: [await underMiddle(), await middleWith(good(middleKey, 1)), await rootWith(good(keys.root, 2))],
    });
    // RFC 5280 §6.1.4 (l): a self-issued certificate between two keys of one root takes nothing of the path.
    const next: Root = {
      certificate: await createRoot(keys.other, nameFromString('CN=Test Root,O=Test'), validity),
      key: keys.other,
    };
    const newWithOld = await createCross(
      { certificate: root, key: keys.root },
      next.certificate,
      validity,
      urls,
      {
        pathLength: 1,
      },
    );
    const below = await createIssuing(next, keys.issuing.spki, issuing.subject, validity, urls);
    check({ chain: [below, newWithOld, await rootWith(good(keys.root, 1))] });
    // A root of the last century says nothing of its usage.
    check({ chain: [issuing, await rootWith([caBasicConstraintsExtension(), identifier(keys.root)])] });
  });

  const refused: readonly (readonly [name: string, message: RegExp, make: () => Promise<Case> | Case])[] = [
    ['another key', /does not belong/, () => ({ chain: [issuing, root], key: keys.other })],
    ['the root itself', /root certificate: keep the root offline/, () => ({ chain: [root], key: keys.root })],
    [
      'a root under the name of another: its cross-certificate',
      /root certificate: keep the root offline/,
      async () => {
        const certificate = await createRoot(keys.other, nameFromString('CN=New Root'), validity);
        const cross = await createCross({ certificate: root, key: keys.root }, certificate, validity, urls);
        return { chain: [cross, certificate], certificate: cross, key: keys.other };
      },
    ],
    [
      'a root’s self-issued cross-certificate',
      /root certificate: keep the root offline/,
      async () => {
        const certificate = await createRoot(keys.other, root.subject, validity);
        const cross = await createCross({ certificate: root, key: keys.root }, certificate, validity, urls);
        return { chain: [cross, root], key: keys.other };
      },
    ],
    [
      'a chain that begins with another CA',
      /begins with another/,
      () => ({ chain: [root], certificate: issuing }),
    ],
    ['an empty chain', /begins with another/, () => ({ chain: [], certificate: issuing })],
    ['a chain without root', /does not end at a root/, () => ({ chain: [issuing] })],
    [
      'a chain in the wrong order',
      /begins with another/,
      () => ({ chain: [root, issuing], certificate: issuing }),
    ],
    [
      'an end entity',
      /not a CA’s/,
      async () => ({
        chain: [
          await issuingWith([endEntityBasicConstraintsExtension(), caBits, identifier(keys.issuing)]),
          root,
        ],
      }),
    ],
    [
      'no basicConstraints',
      /not a CA’s/,
      async () => ({ chain: [await issuingWith([caBits, identifier(keys.issuing)]), root] }),
    ],
    [
      'no keyUsage',
      /not a CA’s/,
      async () => ({
        chain: [await issuingWith([caBasicConstraintsExtension(0), identifier(keys.issuing)]), root],
      }),
    ],
    ...(['keyCertSign', 'cRLSign'] as const).map(
      (bit) =>
        [
          `${bit} alone`,
          /not a CA’s/,
          async () => ({
            chain: [
              await issuingWith([
                caBasicConstraintsExtension(0),
                keyUsageExtension([bit]),
                identifier(keys.issuing),
              ]),
              root,
            ],
          }),
        ] as const,
    ),
    [
      'no key identifier',
      /no key identifier/,
      async () => ({ chain: [await issuingWith([caBasicConstraintsExtension(0), caBits]), root] }),
    ],
    [
      'an issuer of the same name with another key',
      /chain is broken/,
      async () => ({
        chain: [issuing, await createRoot(keys.other, nameFromString('CN=Test Root,O=Test'), validity)],
      }),
    ],
    [
      'an issuer with the same key and another name',
      /chain is broken/,
      async () => ({
        chain: [issuing, await createRoot(keys.root, nameFromString('CN=Other Root,O=Test'), validity)],
      }),
    ],
    [
      'a signature that was changed',
      /chain is broken/,
      () => {
        const raw = Buffer.from(issuing.raw);
        raw[raw.length - 1] = (raw.at(-1) as number) ^ 1;
        return { chain: [parseCertificate(raw), root] };
      },
    ],
    [
      'a CA between that is none',
      /“CN=Middle,O=Test” is not a CA/,
      async () => ({
        chain: [
          await underMiddle(),
          await middleWith([endEntityBasicConstraintsExtension(), identifier(middleKey)]),
          root,
        ],
      }),
    ],
    [
      'a CA between that may not sign certificates',
      /“CN=Middle,O=Test” is not a CA/,
      async () => ({
        chain: [
          await underMiddle(),
          await middleWith([
            caBasicConstraintsExtension(),
            keyUsageExtension(['cRLSign']),
            identifier(middleKey),
          ]),
          root,
        ],
      }),
    ],
    [
      'a root that allows no CA below',
      /allows 0 CAs below it/,
      async () => ({ chain: [issuing, await rootWith(good(keys.root, 0))] }),
    ],
    [
      'a root that allows fewer CAs than there are',
      /allows 1 CAs below it/,
      async () => ({
        chain: [
          await underMiddle(),
          await middleWith(good(middleKey, 1)),
          await rootWith(good(keys.root, 1)),
        ],
      }),
    ],
    [
      'a root that did not sign itself',
      /does not end at a root/,
      async () => ({ chain: [issuing, await rootWith(good(keys.root), keys.other)] }),
    ],
  ];
  for (const [name, message, make] of refused) {
    test(`refuses ${name}`, async () => {
      const made = await make();
      assert.throws(
        () => check(made),
        (thrown) =>
          thrown instanceof PkiError && thrown.code === 'key_capability' && message.test(thrown.message),
      );
    });
  }
});

describe('the ceremony', () => {
  for (const [name, makeKey, algorithm] of [
    ['RSA', async () => keys.other, 'rsa-sha256'],
    ['P-256', () => newEcKey('P-256'), 'ecdsa-sha256'],
    ['P-384', () => newEcKey('P-384'), 'ecdsa-sha384'],
  ] as const) {
    test(`${name}: a root, an issuing CA below it, and the root’s CRL`, async () => {
      const key = await makeKey();
      assert.equal(signatureAlgorithmFor(key), algorithm);
      const subject = nameFromString('CN=Root,O=Test');
      const root: Root = { certificate: await createRoot(key, subject, validity), key };
      assert.deepEqual(basicConstraintsOf(root.certificate), { ca: true });
      assert.deepEqual(keyUsageOf(root.certificate), ['keyCertSign', 'cRLSign']);
      assert.ok(sameOctets(root.certificate.issuer.raw, root.certificate.subject.raw));
      assert.ok(verifyCertificateSignature(root.certificate, key.spki));

      const below = await createIssuing(
        root,
        keys.issuing.spki,
        nameFromString('CN=Issuing'),
        validity,
        urls,
      );
      assert.ok(verifyCertificateSignature(below, key.spki));
      assert.deepEqual(basicConstraintsOf(below), { ca: true, pathLength: 0 });
      assert.ok(extensionValue(below, oid.cRLDistributionPoints) !== undefined);
      assert.deepEqual(
        Buffer.from(subjectKeyIdentifierOf(below) ?? []),
        Buffer.from(keyIdentifier(keys.issuing.spki)),
      );
      assertIssuing(below, [below.raw, root.certificate.raw], keys.issuing);

      const crl = parseCrl(await createRootCrl(root, 7, { thisUpdate: inDays(0), nextUpdate: inDays(180) }));
      assert.ok(verifyCrlSignature(crl, key.spki));
      assert.deepEqual(crl.revoked, []);
      assert.deepEqual(crl.nextUpdate, inDays(180));
    });
  }

  test('a CA key on another curve is refused', async () => {
    const key = await newEcKey('P-521');
    assert.throws(
      () => signatureAlgorithmFor(key),
      (thrown) => thrown instanceof PkiError && thrown.code === 'key_capability',
    );
  });
});
