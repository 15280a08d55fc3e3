import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { type FixtureKey, inDays, newEcKey, newRsaKey } from '../../test/support/authorities-fixture.ts';
import {
  authorityKeyIdentifierOf,
  basicConstraintsOf,
  buildCertificate,
  type Certificate,
  type CertificationRequest,
  endEntityBasicConstraintsExtension,
  extensionValue,
  generalSubtreeFromString,
  generalSubtreeToString,
  keyIdentifier,
  nameConstraintsOf,
  nameFromString,
  oid,
  parseCertificate,
  parseCertificationRequest,
  parseCrl,
  parseSignedData,
  sameOctets,
  subjectKeyIdentifierOf,
  verifyCrlSignature,
} from '../codec/index.ts';
import { PkiError } from '../errors.ts';
import type { KeyAlgorithm } from '../keys/index.ts';
import { systemClock } from '../telemetry.ts';
import { assertIssuing, createIssuing, newIssuingRequest, signatureAlgorithmFor } from './hierarchy.ts';
import { buildTrustBundle, chainOf, fingerprintOf } from './hierarchy-bundle.ts';
import {
  assertNotInRootFolder,
  caKeyAlgorithmOf,
  createRootFolder,
  type IssuingWish,
  type OfflineRoot,
  openRootFolder,
  ROOT_STATE_FILE,
  type RootFields,
} from './hierarchy-root.ts';

let base: string;
let made = 0;
const open: OfflineRoot[] = [];
before(async () => {
  base = await mkdtemp(join(tmpdir(), 'leafgate-root-'));
});
after(async () => {
  for (const root of open) root.close();
  await rm(base, { recursive: true, force: true });
});

const newFolder = () => join(base, `root-${++made}`);
const makeKey: Readonly<Record<KeyAlgorithm, () => Promise<FixtureKey>>> = {
  'rsa-2048': () => newRsaKey(2048),
  'rsa-3072': () => newRsaKey(3072),
  'rsa-4096': () => newRsaKey(4096),
  'p-256': () => newEcKey('P-256'),
  'p-384': () => newEcKey('P-384'),
};
const algorithms = Object.keys(makeKey) as KeyAlgorithm[];
const keys = Object.fromEntries(
  await Promise.all(algorithms.map(async (algorithm) => [algorithm, await makeKey[algorithm]()] as const)),
) as Record<KeyAlgorithm, FixtureKey>;
const [issuingKey, otherKey] = [await newEcKey(), await newEcKey()];

const urls = { crlUrls: ['http://pki.test/crl/root.crl'], caIssuersUrls: ['http://pki.test/aia/root.crt'] };
const fields = (changes: Partial<RootFields> = {}): RootFields => ({
  folder: newFolder(),
  key: keys['p-384'],
  reference: { file: 'root-1.key.pem' },
  subject: nameFromString('CN=Root,O=Test'),
  validity: { notBefore: inDays(-1), notAfter: inDays(3650) },
  urls,
  clock: systemClock,
  ...changes,
});
async function newRoot(changes: Partial<RootFields> = {}): Promise<OfflineRoot> {
  const root = await createRootFolder(fields(changes));
  open.push(root);
  return root;
}
async function reopened(root: OfflineRoot): Promise<OfflineRoot> {
  root.close();
  const again = await openRootFolder(root.folder, systemClock);
  open.push(again);
  return again;
}
const requestOf = async (subject = 'CN=Issuing,O=Test', key = issuingKey): Promise<CertificationRequest> =>
  parseCertificationRequest(await newIssuingRequest(key, nameFromString(subject)));
const wish = (changes: Partial<IssuingWish> = {}): IssuingWish => ({
  validity: { notBefore: inDays(-1), notAfter: inDays(1825) },
  pathLength: 0,
  occasion: 'first',
  ...changes,
});
const period = { thisUpdate: inDays(0), nextUpdate: inDays(180) };
const refusedWith = (code: string, message: RegExp) => (thrown: unknown) => {
  assert.ok(thrown instanceof PkiError, String(thrown));
  assert.equal(thrown.code, code, thrown.message);
  assert.match(thrown.message, message);
  return true;
};
async function leafOf(issuing: Certificate, key: FixtureKey): Promise<Certificate> {
  return parseCertificate(
    await buildCertificate(
      {
        serialNumber: '4d0102030405060708',
        signatureAlgorithm: signatureAlgorithmFor(key),
        issuer: issuing.subject,
        notBefore: inDays(0),
        notAfter: inDays(90),
        subject: nameFromString('CN=device'),
        spki: otherKey.spki,
        extensions: [endEntityBasicConstraintsExtension()],
      },
      key.signs,
    ),
  );
}
/** What an eye that is not ours says of a path, leaf first, trust anchor last. */
function assertPath(...path: readonly Certificate[]): void {
  const list = path.map(({ raw }) => new X509Certificate(raw));
  for (const [index, below] of list.entries()) {
    const above = list[index + 1] ?? below;
    assert.ok(below.checkIssued(above), `${below.subject} is issued by ${above.subject}`);
    assert.ok(below.verify(above.publicKey), `${below.subject} is signed by ${above.subject}`);
    if (index > 0) assert.ok(list[index]?.ca, 'a CA');
  }
}

describe('a root is refused', () => {
  test('where there is one', async () => {
    const root = await newRoot();
    root.close();
    const state = readFileSync(join(root.folder, ROOT_STATE_FILE));
    await assert.rejects(
      createRootFolder(fields({ folder: root.folder })),
      refusedWith('root_folder', /holds a root already; it is not replaced/),
    );
    assert.deepEqual(readFileSync(join(root.folder, ROOT_STATE_FILE)), state);
  });

  const rows: readonly (readonly [
    name: string,
    code: string,
    message: RegExp,
    changes: () => Promise<Partial<RootFields>>,
  ])[] = [
    [
      'with a key on P-521',
      'key_capability',
      /P-256 or P-384/,
      async () => ({ key: await newEcKey('P-521') }),
    ],
    [
      'without a common name',
      'root_refused',
      /common name/,
      async () => ({ subject: nameFromString('O=Test') }),
    ],
    [
      'that ends before it begins',
      'root_refused',
      /end before/,
      async () => ({ validity: { notBefore: inDays(1), notAfter: inDays(0) } }),
    ],
  ];
  for (const [name, code, message, changes] of rows) {
    test(name, async () => {
      const bad = fields(await changes());
      await assert.rejects(createRootFolder(bad), refusedWith(code, message));
      assert.ok(!existsSync(join(bad.folder, ROOT_STATE_FILE)));
    });
  }

  const damage: readonly (readonly [name: string, message: RegExp, text: (state: string) => string])[] = [
    ['empty', /no JSON/, () => ''],
    ['cut', /no JSON/, (state) => state.slice(0, state.length / 2)],
    ['of a later version', /damaged at format/, (state) => state.replace('"format": 1', '"format": 2')],
    ['with an unknown key', /damaged/, (state) => state.replace('"format"', '"extra": 1, "format"')],
    [
      'with a CRL number below nothing',
      /crlNumber/,
      (state) => state.replace('"crlNumber": 0', '"crlNumber": -1'),
    ],
  ];
  for (const [name, message, change] of damage) {
    test(`whose state is ${name}`, async () => {
      const root = await newRoot();
      root.close();
      const path = join(root.folder, ROOT_STATE_FILE);
      writeFileSync(path, change(readFileSync(path, 'utf8')));
      await assert.rejects(openRootFolder(root.folder, systemClock), refusedWith('root_folder', message));
    });
  }

  test('where there is none', async () => {
    await assert.rejects(
      openRootFolder(newFolder(), systemClock),
      refusedWith('root_folder', /holds no root/),
    );
  });

  test('while another command works in it', async () => {
    const root = await newRoot();
    await assert.rejects(
      openRootFolder(root.folder, systemClock),
      refusedWith('root_folder', /another command/),
    );
    await reopened(root);
  });

  test('when a certificate file was replaced by another', async () => {
    const root = await newRoot();
    root.close();
    writeFileSync(join(root.folder, 'root-1.pem'), 'something else');
    await assert.rejects(openRootFolder(root.folder, systemClock), refusedWith('file_exists', /root-1\.pem/));
  });
});

describe('a request is refused', () => {
  type Case = { readonly request?: CertificationRequest; readonly wish?: IssuingWish };
  const rows: readonly (readonly [
    name: string,
    message: RegExp,
    make: (root: OfflineRoot) => Promise<Case>,
  ])[] = [
    [
      'when one bit was changed',
      /altered on its way/,
      async () => {
        const raw = Buffer.from((await requestOf()).raw);
        const at = raw.indexOf('Issuing');
        raw[at] = (raw[at] as number) ^ 1;
        return { request: parseCertificationRequest(raw) };
      },
    ],
    [
      'with the root’s key',
      /root’s own key/,
      async () => ({ request: await requestOf('CN=X', keys['p-384']) }),
    ],
    ['with the root’s name', /root’s own name/, async () => ({ request: await requestOf('CN=Root,O=Test') })],
    ['without a common name', /no common name/, async () => ({ request: await requestOf('O=Test') })],
    [
      'that would outlive the root',
      /outlive the root/,
      async () => ({ wish: wish({ validity: { notBefore: inDays(0), notAfter: inDays(3651) } }) }),
    ],
    ['with a path too long', /leaves no room/, async () => ({ wish: wish({ pathLength: 1 }) })],
    ['as a renewal of nothing', /nothing to renew/, async () => ({ wish: wish({ occasion: 'renewal' }) })],
    [
      'that was signed already',
      /signed already, on .* as serial number [0-9a-f]+: the certificate is .*issuing-/,
      async (root) => {
        const request = await requestOf();
        await root.signIssuing(root.planIssuing(request, wish()), keys['p-384']);
        return { request };
      },
    ],
    [
      'for a known name, unless it is a renewal',
      /say that this is a renewal/,
      async (root) => {
        await root.signIssuing(root.planIssuing(await requestOf(), wish()), keys['p-384']);
        return { request: await requestOf('CN=Issuing,O=Test', otherKey) };
      },
    ],
    [
      'for a known key under another name',
      /key of an issuing CA of another name/,
      async (root) => {
        await root.signIssuing(root.planIssuing(await requestOf(), wish()), keys['p-384']);
        return { request: await requestOf('CN=Another'), wish: wish({ occasion: 'renewal' }) };
      },
    ],
    [
      'for a key that was compromised',
      /revoked as compromised: make a new one/,
      async (root) => {
        const { serialNumber } = await root.signIssuing(
          root.planIssuing(await requestOf(), wish()),
          keys['p-384'],
        );
        await root.revoke(serialNumber, 'keyCompromise');
        return { request: await requestOf(), wish: wish({ occasion: 'renewal' }) };
      },
    ],
  ];
  for (const [name, message, make] of rows) {
    test(name, async () => {
      const root = await newRoot({ pathLength: 1 });
      const { request = await requestOf(), wish: asked = wish() } = await make(root);
      const count = root.entries.length;
      assert.throws(() => root.planIssuing(request, asked), refusedWith('root_refused', message));
      assert.equal(root.entries.length, count);
    });
  }

  test('with a weak kind of key', async () => {
    const root = await newRoot();
    const request = await requestOf('CN=Weak', await newRsaKey(1024));
    assert.throws(
      () => root.planIssuing(request, wish()),
      refusedWith('key_capability', /2048, 3072 or 4096/),
    );
  });

  test('by a key that is not the root’s', async () => {
    const root = await newRoot();
    const plan = root.planIssuing(await requestOf(), wish());
    await assert.rejects(
      root.signIssuing(plan, otherKey),
      refusedWith('key_capability', /not key 1 of the root/),
    );
    await assert.rejects(
      root.signCrl(root.current, otherKey, period),
      refusedWith('key_capability', /not key 1/),
    );
    await assert.rejects(
      root.renewWithSameKey(otherKey, { notBefore: inDays(0), notAfter: inDays(9) }),
      refusedWith('key_capability', /not key 1/),
    );
    assert.equal(root.entries.length, 1);
    assert.equal(root.crlNumber, 0);
  });
});

describe('each pair of algorithms', () => {
  for (const above of algorithms) {
    for (const below of algorithms) {
      test(`a root of ${above} over an issuing CA of ${below}`, async () => {
        const key = keys[above];
        // The root’s key must not be the issuing CA’s.
        const belowKey = above === below ? await makeKey[below]() : keys[below];
        const root = await newRoot({ key, pathLength: 1 });
        const request = await requestOf('CN=Issuing,O=Test', belowKey);
        const plan = root.planIssuing(request, wish());
        assert.equal(plan.keyAlgorithm, below);
        const issuing = await root.signIssuing(plan, key);
        const top = root.current.certificate;
        assert.equal(caKeyAlgorithmOf(top.spki), above);
        assert.equal(caKeyAlgorithmOf(issuing.spki), below);
        assertPath(await leafOf(issuing, belowKey), issuing, top);
        assertIssuing(issuing, [issuing.raw, top.raw], belowKey);
        assert.deepEqual(basicConstraintsOf(top), { ca: true, pathLength: 1 });
        assert.deepEqual(basicConstraintsOf(issuing), { ca: true, pathLength: 0 });
        const identifiers = [
          authorityKeyIdentifierOf(issuing),
          subjectKeyIdentifierOf(top),
          keyIdentifier(key.spki),
        ];
        assert.equal(new Set(identifiers.map((octets) => Buffer.from(octets ?? []).toString('hex'))).size, 1);
        for (const [identifier, url] of [
          [oid.cRLDistributionPoints, urls.crlUrls[0]],
          [oid.authorityInfoAccess, urls.caIssuersUrls[0]],
        ] as const)
          assert.ok(Buffer.from(extensionValue(issuing, identifier) ?? []).includes(url ?? '?'));
        // 126 random bits: 16 octets, the first two bits 01.
        assert.match(issuing.serialNumber, /^[4-7][0-9a-f]{31}$/);
        const crl = parseCrl((await root.signCrl(root.current, key, period)).crl);
        assert.ok(verifyCrlSignature(crl, key.spki));
        assert.deepEqual(authorityKeyIdentifierOf(crl), subjectKeyIdentifierOf(top));
        root.close();
      });
    }
  }
});

describe('constraints', () => {
  test('stand in the certificate and bind the chain', async () => {
    const root = await newRoot();
    const nameConstraints = {
      permitted: ['DNS:example.com', 'IP:10.0.0.0/8', 'email:example.com'].map(generalSubtreeFromString),
      excluded: ['DN:O=Rival'].map(generalSubtreeFromString),
    };
    const plan = root.planIssuing(await requestOf(), wish({ pathLength: 1, nameConstraints }));
    const middle = await root.signIssuing(plan, keys['p-384']);
    const read = nameConstraintsOf(middle);
    assert.deepEqual(
      [read?.permitted.map(generalSubtreeToString), read?.excluded.map(generalSubtreeToString)],
      [['DNS:example.com', 'IP:10.0.0.0/8', 'email:example.com'], ['DN:O=Rival']],
    );
    assert.ok(middle.extensions.find((extension) => extension.oid === oid.nameConstraints)?.critical);
    const below = async (subject: string, issuer = middle) => {
      return await createIssuing(
        { certificate: issuer, key: issuingKey },
        otherKey.spki,
        nameFromString(subject),
        { notBefore: inDays(0), notAfter: inDays(100) },
        urls,
      );
    };
    const good = await below('CN=Below,O=Test');
    assertIssuing(good, [good.raw, middle.raw, root.current.certificate.raw], otherKey);
    await assert.rejects(below('CN=Below,O=Rival'), refusedWith('lint_failed', /excluded by DN:O=Rival/));
    // What a CA that does not know of its constraints would make.
    const unaware = middle.extensions.filter((extension) => extension.oid !== oid.nameConstraints);
    const bad = await below('CN=Below,O=Rival', { ...middle, extensions: unaware });
    assert.throws(
      () => assertIssuing(bad, [bad.raw, middle.raw, root.current.certificate.raw], otherKey),
      refusedWith('key_capability', /name constraints of “CN=Issuing,O=Test” forbid the chain: .*O=Rival/),
    );
  });
});

describe('renewal', () => {
  test('of an issuing CA with the same key: leaves of both verify under both', async () => {
    const root = await newRoot();
    const old = await root.signIssuing(root.planIssuing(await requestOf(), wish()), keys['p-384']);
    const leaf = await leafOf(old, issuingKey);
    const renewed = await root.signIssuing(
      root.planIssuing(await requestOf(), wish({ occasion: 'renewal' })),
      keys['p-384'],
    );
    assert.notEqual(renewed.serialNumber, old.serialNumber);
    assert.ok(sameOctets(renewed.spki, old.spki));
    const top = root.current.certificate;
    assertPath(leaf, old, top);
    assertPath(leaf, renewed, top);
    assertPath(await leafOf(renewed, issuingKey), old, top);
  });

  test('of an issuing CA with a new key: old and new stand side by side', async () => {
    const root = await newRoot();
    const old = await root.signIssuing(root.planIssuing(await requestOf(), wish()), keys['p-384']);
    const request = await requestOf('CN=Issuing,O=Test', otherKey);
    const next = await root.signIssuing(
      root.planIssuing(request, wish({ occasion: 'renewal' })),
      keys['p-384'],
    );
    const top = root.current.certificate;
    assert.ok(!sameOctets(next.spki, old.spki));
    assertPath(await leafOf(old, issuingKey), old, top);
    assertPath(await leafOf(next, otherKey), next, top);
    assert.ok(
      !new X509Certificate((await leafOf(next, otherKey)).raw).verify(new X509Certificate(old.raw).publicKey),
    );
  });

  test('of the root with the same key: everything verifies under both', async () => {
    let root = await newRoot();
    const old = root.current.certificate;
    const issuing = await root.signIssuing(root.planIssuing(await requestOf(), wish()), keys['p-384']);
    const renewed = await root.renewWithSameKey(keys['p-384'], {
      notBefore: inDays(0),
      notAfter: inDays(7300),
    });
    root = await reopened(root);
    assert.deepEqual(root.current.certificate.raw, Buffer.from(renewed.raw));
    assert.equal(root.current.number, 1);
    const leaf = await leafOf(issuing, issuingKey);
    assertPath(leaf, issuing, old);
    assertPath(leaf, issuing, renewed);
    // What the old root would not have outlived, the new one does.
    const later = wish({ validity: { notBefore: inDays(0), notAfter: inDays(5000) } });
    const next = await root.signIssuing(
      root.planIssuing(await requestOf('CN=Later', otherKey), later),
      keys['p-384'],
    );
    assertPath(await leafOf(next, otherKey), next, renewed);
  });

  for (const [how, subject] of [
    ['the same name', undefined],
    ['another name', 'CN=Root G2,O=Test'],
  ] as const) {
    test(`of the root with a new key and ${how}: cross-certificates lead from either root to all leaves`, async () => {
      let root = await newRoot();
      const old = root.current.certificate;
      const before = await root.signIssuing(root.planIssuing(await requestOf(), wish()), keys['p-384']);
      const nextUrls = {
        crlUrls: ['http://pki.test/crl/root-2.crl'],
        caIssuersUrls: ['http://pki.test/aia/root-2.crt'],
      };
      const change = await root.renewWithNewKey(keys['p-384'], {
        key: keys['rsa-3072'],
        reference: { file: 'root-2.key.pem' },
        validity: { notBefore: inDays(-1), notAfter: inDays(7300) },
        urls: nextUrls,
        ...(subject === undefined ? {} : { subject: nameFromString(subject) }),
      });
      root = await reopened(root);
      assert.deepEqual(
        root.keys.map(({ number }) => number),
        [1, 2],
      );
      assert.deepEqual(root.current.reference, { file: 'root-2.key.pem' });
      const request = await requestOf('CN=Issuing,O=Test', otherKey);
      const next = await root.signIssuing(
        root.planIssuing(request, wish({ occasion: 'renewal' })),
        keys['rsa-3072'],
      );
      const leaves = [await leafOf(before, issuingKey), await leafOf(next, otherKey)] as const;
      assertPath(leaves[0], before, old);
      assertPath(leaves[1], next, change.root);
      assertPath(leaves[1], next, change.newWithOld, old);
      assertPath(leaves[0], before, change.oldWithNew, change.root);
      assertIssuing(next, [next.raw, change.newWithOld.raw, old.raw], otherKey);
      // RFC 4210 §4.4.1: neither outlives the old root.
      assert.deepEqual(change.newWithOld.notAfter, old.notAfter);
      assert.deepEqual(change.oldWithNew.notAfter, old.notAfter);
      assert.ok(Buffer.from(extensionValue(next, oid.cRLDistributionPoints) ?? []).includes('root-2.crl'));
      assert.ok(
        Buffer.from(extensionValue(change.newWithOld, oid.cRLDistributionPoints) ?? []).includes('root.crl'),
      );
      // Each way is found out of certificates in any order.
      const chain = chainOf(next, [old, change.oldWithNew, change.newWithOld], otherKey);
      assert.deepEqual(chain, [next, change.newWithOld, old]);
      assert.deepEqual(chainOf(next, [change.newWithOld, old, change.root], otherKey), [next, change.root]);

      // Each key signs its own CRL; of one name both name what is revoked, of two names each its own.
      await root.revoke(before.serialNumber, 'superseded');
      await root.revoke(next.serialNumber, 'cACompromise');
      const [first, second] = root.keys;
      assert.ok(first !== undefined && second !== undefined);
      const crls = [
        await root.signCrl(first, keys['p-384'], period),
        await root.signCrl(second, keys['rsa-3072'], period),
      ] as const;
      assert.deepEqual(
        crls.map(({ crlNumber }) => crlNumber),
        [1, 2],
      );
      const [one, two] = crls.map(({ crl }) => parseCrl(crl));
      assert.ok(one !== undefined && two !== undefined);
      assert.ok(verifyCrlSignature(one, old.spki) && verifyCrlSignature(two, change.root.spki));
      const serials = (crl: typeof one) => crl.revoked.map(({ serialNumber }) => serialNumber);
      const [a, b] = [before.serialNumber, next.serialNumber];
      assert.deepEqual(
        [serials(one), serials(two)],
        subject === undefined
          ? [
              [a, b],
              [a, b],
            ]
          : [[a], [b]],
      );
    });
  }

  test('of the root with a key that is in use is refused', async () => {
    const root = await newRoot();
    const next = { reference: {}, validity: { notBefore: inDays(0), notAfter: inDays(9) }, urls };
    await assert.rejects(
      root.renewWithNewKey(keys['p-384'], { ...next, key: keys['p-384'] }),
      refusedWith('root_refused', /in use already/),
    );
    const narrow = await newRoot({ pathLength: 1 });
    await assert.rejects(
      narrow.renewWithNewKey(keys['p-384'], { ...next, key: otherKey, subject: nameFromString('CN=Other') }),
      refusedWith('root_refused', /leaves no room for a root of another name/),
    );
  });
});

describe('the root’s CRL', () => {
  test('names what is revoked, with date and reason, and its numbers only grow', async () => {
    let root = await newRoot();
    const issuing = await root.signIssuing(root.planIssuing(await requestOf(), wish()), keys['p-384']);
    assert.equal((await root.signCrl(root.current, keys['p-384'], period)).crlNumber, 1);
    await root.revoke(issuing.serialNumber.toUpperCase(), 'cessationOfOperation');
    root = await reopened(root);
    const { crl, crlNumber, file } = await root.signCrl(root.current, keys['p-384'], period);
    assert.equal(crlNumber, 2);
    assert.deepEqual(readFileSync(file), Buffer.from(crl));
    const [entry, ...more] = parseCrl(crl).revoked;
    assert.equal(more.length, 0);
    assert.equal(entry?.serialNumber, issuing.serialNumber);
    assert.equal(entry?.reason, 'cessationOfOperation');
    assert.ok(Math.abs(+(entry?.revocationDate ?? 0) - Date.now()) < 60_000);
  });

  test('names only what this root signed, once', async () => {
    const root = await newRoot();
    const issuing = await root.signIssuing(root.planIssuing(await requestOf(), wish()), keys['p-384']);
    await root.revoke(issuing.serialNumber, 'superseded');
    const rows: readonly (readonly [serial: string, message: RegExp])[] = [
      ['4d01', /signed no certificate/],
      [issuing.serialNumber, /revoked already, on .*superseded/],
      [root.current.certificate.serialNumber, /cannot revoke itself/],
    ];
    for (const [serial, message] of rows)
      await assert.rejects(root.revoke(serial, 'unspecified'), refusedWith('root_refused', message));
  });
});

describe('a program that ends in the middle', () => {
  /** A key that is gone when it is to sign: what the state says then is what a killed program leaves. */
  const dying = (key: FixtureKey, signatures: number): FixtureKey => {
    let left = signatures;
    const sign: FixtureKey['sign'] = async (algorithm, data) => {
      if (left === 0) throw new PkiError('key_unavailable', 'gone');
      left -= 1;
      return await key.sign(algorithm, data);
    };
    return { ...key, sign, signs: sign };
  };

  test('before a CRL is signed never uses its number again', async () => {
    let root = await newRoot();
    await assert.rejects(root.signCrl(root.current, dying(keys['p-384'], 0), period), {
      code: 'key_unavailable',
    });
    root = await reopened(root);
    assert.equal((await root.signCrl(root.current, keys['p-384'], period)).crlNumber, 2);
  });

  test('before a certificate is signed leaves its number reserved, and the request can be signed', async () => {
    let root = await newRoot();
    const request = await requestOf();
    await assert.rejects(root.signIssuing(root.planIssuing(request, wish()), dying(keys['p-384'], 0)));
    root = await reopened(root);
    const [, reserved] = root.entries;
    assert.equal(reserved?.certificate, undefined);
    const issuing = await root.signIssuing(root.planIssuing(request, wish()), keys['p-384']);
    assert.notEqual(issuing.serialNumber, reserved?.serialNumber);
    await root.revoke(reserved?.serialNumber ?? '', 'unspecified');
  });

  test('after the certificate is recorded and before its file: the file comes back', async () => {
    let root = await newRoot();
    const issuing = await root.signIssuing(root.planIssuing(await requestOf(), wish()), keys['p-384']);
    const file = root.entries[1]?.file ?? '';
    const pem = readFileSync(file);
    await rm(file);
    root = await reopened(root);
    assert.deepEqual(readFileSync(file), pem);
    assert.equal(new X509Certificate(pem).serialNumber.toLowerCase(), issuing.serialNumber);
  });

  for (const signatures of [0, 1]) {
    test(`in a change of keys, after ${signatures} signatures of the new key, leaves the old key at work`, async () => {
      let root = await newRoot();
      const next = {
        reference: { file: 'root-2.key.pem' },
        validity: { notBefore: inDays(0), notAfter: inDays(7300) },
        urls,
      };
      await assert.rejects(
        root.renewWithNewKey(keys['p-384'], { ...next, key: dying(otherKey, signatures) }),
      );
      root = await reopened(root);
      assert.equal(root.current.number, 1);
      const issuing = await root.signIssuing(root.planIssuing(await requestOf(), wish()), keys['p-384']);
      assertPath(issuing, root.current.certificate);
      const change = await root.renewWithNewKey(keys['p-384'], { ...next, key: otherKey });
      assert.deepEqual(root.current.certificate, change.root);
    });
  }

  test('by a medium that takes no more changes nothing', async () => {
    const root = await newRoot();
    const state = readFileSync(join(root.folder, ROOT_STATE_FILE), 'utf8');
    // The state file’s name taken by a folder is a write error for everybody, root included.
    await rm(join(root.folder, ROOT_STATE_FILE));
    mkdirSync(join(root.folder, ROOT_STATE_FILE));
    await assert.rejects(root.signCrl(root.current, keys['p-384'], period), { code: 'file_unwritable' });
    assert.equal(root.crlNumber, 0);
    await rm(join(root.folder, ROOT_STATE_FILE), { recursive: true });
    writeFileSync(join(root.folder, ROOT_STATE_FILE), state);
    assert.equal((await (await reopened(root)).signCrl(root.current, keys['p-384'], period)).crlNumber, 1);
  });
});

describe('secrecy', () => {
  test('the folder’s files are their owner’s alone', async () => {
    const root = await newRoot();
    if (process.platform === 'win32') return;
    for (const name of [ROOT_STATE_FILE, 'root-1.pem'])
      assert.equal(statSync(join(root.folder, name)).mode & 0o777, 0o600, name);
  });

  test('no path of a server may lie in it', async () => {
    const root = await newRoot();
    const inside = join(root.folder, 'data', 'deep');
    for (const path of [root.folder, inside, join(root.folder, 'root-1.key.pem')]) {
      assert.throws(() => assertNotInRootFolder([base, path]), refusedWith('key_capability', /offline root/));
    }
    assertNotInRootFolder([base, newFolder(), `${root.folder}-beside`]);
  });
});

describe('chains and bundles', () => {
  test('an import is refused with the reason', async () => {
    const root = await newRoot();
    const issuing = await root.signIssuing(root.planIssuing(await requestOf(), wish()), keys['p-384']);
    const top = root.current.certificate;
    assert.deepEqual(chainOf(issuing, [top], issuingKey), [issuing, top]);
    const twin = (await newRoot({ key: otherKey })).current.certificate;
    const stranger = (await newRoot({ subject: nameFromString('CN=Stranger') })).current.certificate;
    assert.throws(() => chainOf(issuing, [top], otherKey), refusedWith('key_capability', /for another key/));
    assert.throws(
      () => chainOf(issuing, [twin], issuingKey),
      refusedWith('chain_invalid', /has another key \(SHA-256 [0-9A-F:]+\): it is not the root that signed/),
    );
    assert.throws(
      () => chainOf(issuing, [stranger], issuingKey),
      refusedWith('chain_invalid', /not among “CN=Stranger”/),
    );
    assert.throws(
      () => chainOf(top, [top], keys['p-384']),
      refusedWith('key_capability', /keep the root offline/),
    );
  });

  test('a bundle has roots first, each certificate once, one file for each', async () => {
    const root = await newRoot({ subject: nameFromString('CN=Große Root! CA') });
    const issuing = await root.signIssuing(root.planIssuing(await requestOf(), wish()), keys['p-384']);
    const top = root.current.certificate;
    const bundle = buildTrustBundle([issuing, top, issuing]);
    assert.deepEqual(
      bundle.certificates.map(({ store }) => store),
      ['root', 'intermediate'],
    );
    assert.deepEqual(
      bundle.certificates.map(({ certificate }) => certificate),
      [top, issuing],
    );
    assert.equal(bundle.pem.match(/BEGIN CERTIFICATE/g)?.length, 2);
    assert.equal(new X509Certificate(bundle.rootsPem).fingerprint256, fingerprintOf(top.raw));
    assert.equal(bundle.rootsPem.match(/BEGIN CERTIFICATE/g)?.length, 1);
    for (const { file, fingerprint, certificate } of bundle.certificates) {
      assert.match(file, /^(root|intermediate)-[a-z0-9-]+-[0-9a-f]{8}\.cer$/);
      assert.equal(fingerprint, new X509Certificate(certificate.raw).fingerprint256);
    }
    assert.deepEqual(
      parseSignedData(bundle.p7b).certificates.map(({ serialNumber }) => serialNumber),
      [top.serialNumber, issuing.serialNumber],
    );
  });
});
