import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import {
  certificates,
  defaultSigner,
  issuer,
  keys,
  messageOf,
  requestOf,
} from '../../test/support/authorities-fixture.ts';
import {
  type CertificateIdentifier,
  commonNameOf,
  openEnvelopedData,
  parseCertificate,
  parseEnvelopedData,
  parseSignedData,
} from '../codec/index.ts';
import {
  buildCaCertificates,
  buildFailure,
  buildSuccess,
  type CertificatePart,
  capabilitiesOf,
  certificatesOf,
  clientProfileNames,
  clientProfiles,
  openPkcsReq,
  parseCaCertificates,
  readPkiMessage,
  recipientOf,
  refusedByDefault,
  verifyPkiMessage,
} from './index.ts';

const both = parseCertificate(certificates.raSigning.raw);
const separate = {
  signing: certificates.raSigning.raw,
  encryption: certificates.raEncryption.raw,
  chain: issuer.chain,
};
const one = { signing: both.raw, encryption: both.raw, chain: issuer.chain };

const SIGNING = 'Test RA Signing';
const ENCRYPTION = 'Test RA Encryption';
const ISSUER = 'Test Issuing CA';
const ROOT = 'Test Root';
const RFC = 'AES DES3 POSTPKIOperation SCEPStandard SHA-1 SHA-256 SHA-512';

/** What each profile must put on the wire. */
const rows: Readonly<
  Record<
    (typeof clientProfileNames)[number],
    {
      readonly contentType: string;
      readonly served: readonly string[];
      readonly capabilities: string;
      readonly renewing: string;
      readonly envelope: readonly string[];
      readonly outer: readonly string[];
      readonly failureContent: 'empty' | 'absent';
    }
  >
> = {
  standard: {
    contentType: 'application/x-x509-ca-ra-cert',
    served: [SIGNING, ENCRYPTION, ISSUER, ROOT],
    capabilities: 'AES DES3 POSTPKIOperation SCEPStandard SHA-1 SHA-256 SHA-384 SHA-512',
    renewing: 'AES DES3 POSTPKIOperation Renewal SCEPStandard SHA-1 SHA-256 SHA-384 SHA-512',
    envelope: ['device'],
    outer: [SIGNING, ISSUER],
    failureContent: 'empty',
  },
  windows: {
    contentType: 'application/x-x509-ca-ra-cert',
    served: [SIGNING, ENCRYPTION, ISSUER, ROOT],
    capabilities: RFC,
    renewing: RFC,
    envelope: ['device'],
    outer: [SIGNING, ISSUER],
    failureContent: 'empty',
  },
  apple: {
    contentType: 'application/x-x509-ca-ra-cert',
    served: [SIGNING, ENCRYPTION, ISSUER],
    capabilities: RFC,
    renewing: RFC,
    envelope: ['device'],
    outer: [SIGNING, ISSUER],
    failureContent: 'empty',
  },
  android: {
    contentType: 'application/x-x509-ca-ra-cert',
    served: [SIGNING, ENCRYPTION, ISSUER, ROOT],
    capabilities: RFC,
    renewing: 'AES DES3 POSTPKIOperation Renewal SCEPStandard SHA-1 SHA-256 SHA-512',
    envelope: ['device'],
    outer: [SIGNING, ISSUER],
    failureContent: 'empty',
  },
  cisco: {
    contentType: 'application/x-x509-ca-ra-cert',
    served: [SIGNING, ENCRYPTION, ISSUER, ROOT],
    capabilities: RFC,
    renewing: 'AES DES3 POSTPKIOperation Renewal SCEPStandard SHA-1 SHA-256 SHA-512',
    envelope: ['device', ISSUER],
    outer: [SIGNING, ISSUER],
    failureContent: 'empty',
  },
  embedded: {
    contentType: 'application/x-x509-ca-cert',
    served: [SIGNING],
    capabilities: RFC,
    renewing: RFC,
    envelope: ['device'],
    outer: [SIGNING],
    failureContent: 'empty',
  },
  strict: {
    contentType: 'application/x-x509-ca-ra-cert',
    served: [SIGNING, ENCRYPTION, ISSUER, ROOT],
    capabilities: RFC,
    renewing: 'AES DES3 POSTPKIOperation Renewal SCEPStandard SHA-1 SHA-256 SHA-512',
    envelope: ['device'],
    outer: [SIGNING, ISSUER, ROOT],
    failureContent: 'absent',
  },
};

const names = (list: readonly { readonly subject: Parameters<typeof commonNameOf>[0] }[]) =>
  list.map(({ subject }) =>
    commonNameOf(subject) === 'SCEP Protocol Certificate' ? 'device' : commonNameOf(subject),
  );

/** Whatever stands in the answer’s place of a signature: only what is around it is looked at. */
function signerOf(name: (typeof clientProfileNames)[number]) {
  const profile = clientProfiles[name];
  const parts = profile.caCertificates === 'one' ? one : separate;
  return {
    certificate: certificates.raSigning,
    chain: certificatesOf(profile.outer, parts),
    enclosed: certificatesOf(profile.enclosed, parts),
    withoutEnvelope: profile.withoutEnvelope,
    sign: keys.raSigning.signs,
  };
}

describe('clientProfiles', () => {
  for (const name of clientProfileNames) {
    const profile = clientProfiles[name];
    const want = rows[name];
    const parts = profile.caCertificates === 'one' ? one : separate;

    test(`${name}: GetCACert`, () => {
      const { contentType, body } = buildCaCertificates(profile, parts);
      assert.equal(contentType, want.contentType);
      const served =
        contentType === 'application/x-x509-ca-cert'
          ? [parseCertificate(body)]
          : parseSignedData(body).certificates;
      assert.deepEqual(names(served), want.served);
    });

    test(`${name}: GetCACaps`, () => {
      assert.equal(capabilitiesOf(profile).join(' '), want.capabilities);
      assert.equal(capabilitiesOf(profile, ['Renewal']).join(' '), want.renewing);
      const all = capabilitiesOf(profile, ['GetNextCACert'], ['SHA-1', 'DES3']);
      assert.ok(all.includes('GetNextCACert'));
      assert.ok(!all.includes('SHA-1') && !all.includes('DES3') && all.includes('SHA-256'));
    });

    test(`${name}: CertRep`, async () => {
      const csr = await requestOf({ challengePassword: 'x' });
      const message = verifyPkiMessage(readPkiMessage(await messageOf({ csr })));
      const opened = await openPkcsReq(message, keys.raEncryption.decrypt, refusedByDefault);
      const nonce = Buffer.alloc(16, 1);
      const success = parseSignedData(
        await buildSuccess(message, opened, defaultSigner.certificate.raw, signerOf(name), nonce),
      );
      assert.deepEqual(names(success.certificates), want.outer);
      const inside = await openEnvelopedData(
        parseEnvelopedData(success.content ?? Uint8Array.of()),
        keys.device.decrypt,
      );
      assert.deepEqual(names(parseSignedData(inside).certificates), want.envelope);
      const failure = parseSignedData(
        await buildFailure(message, { failInfo: 'badRequest' }, signerOf(name), nonce),
      );
      assert.deepEqual(names(failure.certificates), want.outer);
      assert.equal(failure.content === undefined ? 'absent' : 'empty', want.failureContent);
    });

    test(`${name}: each choice that is its own has a reason`, () => {
      const { standard } = clientProfiles;
      const choices = [
        'caCertificates',
        'capabilities',
        'renewal',
        'enclosed',
        'outer',
        'withoutEnvelope',
      ] as const;
      for (const choice of choices) {
        if (name === 'standard' || JSON.stringify(profile[choice]) === JSON.stringify(standard[choice]))
          continue;
        // That the RFC's keywords are listed and no other needs no reason of its own.
        if (choice === 'capabilities') continue;
        assert.ok((profile.reasons[choice] ?? '') !== '', `${name} ${choice}`);
      }
    });
  }

  test('a client that knows one certificate cannot be given two', () => {
    assert.throws(() => buildCaCertificates(clientProfiles.embedded, separate), { code: 'key_capability' });
  });

  test('every profile gives our own client something to encrypt to', () => {
    for (const name of clientProfileNames) {
      if (clientProfiles[name].caCertificates === 'one') continue;
      const { contentType, body } = buildCaCertificates(clientProfiles[name], separate);
      const { encryption } = parseCaCertificates(body, contentType);
      assert.deepEqual(encryption.serialNumber, certificates.raEncryption.serialNumber, name);
    }
  });
});

describe('certificatesOf', () => {
  const table: readonly (readonly [
    name: string,
    parts: readonly CertificatePart[],
    want: readonly string[],
  ])[] = [
    ['nothing', [], []],
    ['in the order that is asked for', ['above', 'issuer', 'encryption'], [ROOT, ISSUER, ENCRYPTION]],
    ['each once', ['signing', 'signing', 'issuer'], [SIGNING, ISSUER]],
  ];
  for (const [name, parts, want] of table) {
    test(name, () => assert.deepEqual(names(certificatesOf(parts, separate).map(parseCertificate)), want));
  }
  test('one certificate in both roles stands once', () => {
    assert.equal(certificatesOf(['signing', 'encryption'], one).length, 1);
  });
});

describe('recipientOf', () => {
  test('names the certificate that the client encrypted to', async () => {
    const received = readPkiMessage(await messageOf({ csr: await requestOf({}) }));
    const want: CertificateIdentifier = {
      type: 'issuerAndSerialNumber',
      raw: certificates.raEncryption.issuerAndSerialNumber,
    };
    assert.deepEqual(
      JSON.stringify(recipientOf(received)),
      JSON.stringify({ ...want, raw: Buffer.from(want.raw) }),
    );
  });
  const nothing: readonly (readonly [string, Uint8Array | undefined])[] = [
    ['no content', undefined],
    ['empty content', Uint8Array.of()],
    ['content that is no envelope', Uint8Array.of(0x30, 0)],
  ];
  for (const [name, envelope] of nothing) {
    test(`${name}: nobody`, async () => {
      assert.equal(recipientOf(readPkiMessage(await messageOf({ envelope }))), undefined);
    });
  }
});
