import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import { describe, test } from 'node:test';
import {
  authorities,
  type CertificateParts,
  certificateOf,
  crlEntry,
  crlOf,
  daysFromNow,
  issuerOf,
  tbsCertificateOf,
  tbsCertListOf,
} from '../../../test/support/lint-fixture.ts';
import { caBasicConstraintsExtension, integer, nameFromString, time } from '../../codec/index.ts';
import { PkiError } from '../../errors.ts';
import {
  certificateRules,
  crlRules,
  lintBeforeSigning,
  lintCertificate,
  lintCrl,
  serialNumberFrom,
  signAfterLint,
  signCrlAfterLint,
} from './index.ts';

const failsBy = (rule: string) => (thrown: unknown) =>
  thrown instanceof PkiError && thrown.code === 'lint_failed' && thrown.message.startsWith(`${rule}: `);
const roles = ['end-entity', 'ca', 'root'] as const;
const serverWithoutNames: CertificateParts = {
  subject: nameFromString('CN=a,SERIALNUMBER=A_1').raw,
};

describe('lintBeforeSigning', () => {
  for (const role of roles) {
    test(`takes a good certificate: ${role}`, () => {
      const algorithm = role === 'end-entity' ? 'rsa-sha256' : 'ecdsa-sha384';
      lintBeforeSigning(tbsCertificateOf({ role }), algorithm, role, issuerOf(role));
    });
  }

  test('names the rule that is broken, and where it stands', () => {
    const tbs = tbsCertificateOf({ notAfter: time(daysFromNow(9000)) });
    assert.throws(
      () => lintBeforeSigning(tbs, 'rsa-sha256', 'end-entity', authorities.issuing),
      (thrown) => failsBy('validity_within_issuer')(thrown) && String(thrown).includes('RFC 5280 §'),
    );
  });

  test('refuses octets that are no certificate', () => {
    assert.throws(
      () => lintBeforeSigning(Uint8Array.of(0x30, 0), 'rsa-sha256', 'end-entity', authorities.issuing),
      failsBy('structure'),
    );
  });

  test('refuses a CA where an end entity was meant, and the other way round', () => {
    const ca = tbsCertificateOf({ role: 'ca' });
    assert.throws(() => lintBeforeSigning(ca, 'ecdsa-sha384', 'end-entity', authorities.root), PkiError);
    const entity = tbsCertificateOf({ extensions: { basicConstraints: caBasicConstraintsExtension() } });
    assert.throws(
      () => lintBeforeSigning(entity, 'rsa-sha256', 'end-entity', authorities.issuing),
      failsBy('basic_constraints'),
    );
    assert.throws(
      () => lintBeforeSigning(tbsCertificateOf(), 'rsa-sha256', 'ca', authorities.issuing),
      failsBy('basic_constraints'),
    );
  });

  test('does not mind warnings', () => {
    lintBeforeSigning(tbsCertificateOf(serverWithoutNames), 'rsa-sha256', 'end-entity', authorities.issuing);
  });
});

describe('a key that signs after lint', () => {
  const signed: Uint8Array[] = [];
  const sign = (_: string, data: Uint8Array) => {
    signed.push(data);
    return Promise.resolve(Uint8Array.of(1));
  };

  test('signs what is good, and does not see what is not', async () => {
    const signEntity = signAfterLint(sign, 'end-entity', authorities.issuing);
    const good = tbsCertificateOf();
    await signEntity('rsa-sha256', good);
    assert.throws(
      () => signEntity('rsa-sha256', tbsCertificateOf({ version: undefined })),
      failsBy('version'),
    );
    assert.throws(() => signEntity('rsa-sha512', good), failsBy('signature_algorithm'));
    const signCrl = signCrlAfterLint(sign, authorities.issuing);
    const goodCrl = tbsCertListOf();
    await signCrl('rsa-sha256', goodCrl);
    assert.throws(() => signCrl('rsa-sha256', tbsCertListOf({ entries: [] })), failsBy('crl_entries'));
    assert.throws(() => signCrl('rsa-sha512', goodCrl), failsBy('crl_signature_algorithm'));
    assert.deepEqual(signed, [good, goodCrl]);
  });
});

describe('lintCertificate', () => {
  for (const role of roles) {
    test(`finds nothing in a good certificate: ${role}`, () => {
      assert.deepEqual(lintCertificate(certificateOf({ role }), role, issuerOf(role)), []);
    });
  }

  test('finds everything at once, warnings too', () => {
    const findings = lintCertificate(
      certificateOf({ ...serverWithoutNames, serialNumber: integer(1), extensions: { crl: undefined } }),
      'end-entity',
      authorities.issuing,
    );
    assert.deepEqual(
      findings.map(({ rule, severity }) => [rule, severity]),
      [
        ['serial_number', 'error'],
        ['serial_number_attribute', 'warning'],
        ['revocation_pointer', 'error'],
      ],
    );
  });

  test('finds one thing in what cannot be read', () => {
    const cut = certificateOf().subarray(0, -1);
    const findings = lintCertificate(cut, 'end-entity', authorities.issuing);
    assert.deepEqual(
      findings.map(({ rule }) => rule),
      ['structure'],
    );
  });
});

describe('lintCrl', () => {
  test('finds nothing in a good CRL', () => assert.deepEqual(lintCrl(crlOf(), authorities.issuing), []));

  test('finds everything at once', () => {
    const entries = [crlEntry({ extensions: [] })];
    const findings = lintCrl(crlOf({ entries, nextUpdate: undefined }), authorities.issuing);
    assert.deepEqual(
      findings.map(({ rule }) => rule),
      ['crl_next_update', 'crl_entry_extensions'],
    );
  });

  test('finds one thing in what cannot be read', () => {
    assert.deepEqual(
      lintCrl(crlOf().subarray(0, -1), authorities.issuing).map(({ rule }) => rule),
      ['crl_structure'],
    );
  });
});

describe('the lists of rules', () => {
  const lists = [
    ['certificate', certificateRules],
    ['crl', crlRules],
  ] as const;
  for (const [folder, rules] of lists) {
    test(`${folder}: one rule a file, named like it, with vectors beside it`, () => {
      const files = readdirSync(new URL(`./${folder}/`, import.meta.url)).sort();
      const wanted = rules.flatMap(({ name }) => [
        `${name.replaceAll('_', '-')}.test.ts`,
        `${name.replaceAll('_', '-')}.ts`,
      ]);
      assert.deepEqual(files, [...wanted, 'index.ts'].sort());
    });
  }
});

describe('serialNumberFrom', () => {
  test('makes sixteen octets, positive, of the same length whatever the random octets', () => {
    for (let first = 0; first < 256; first += 1) {
      const text = serialNumberFrom(Buffer.concat([Uint8Array.of(first), Buffer.alloc(15, 0xff)]));
      assert.match(text, /^[4-7][0-9a-f]f{30}$/);
    }
  });

  test('keeps 126 random bits and its argument', () => {
    const random = Buffer.alloc(16, 0xff);
    serialNumberFrom(random);
    assert.deepEqual(random, Buffer.alloc(16, 0xff));
    const seen = new Set(Array.from({ length: 64 }, (_, n) => serialNumberFrom(Buffer.alloc(16, n))));
    assert.equal(seen.size, 64);
  });
});
