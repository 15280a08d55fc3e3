import assert from 'node:assert/strict';
import { test } from 'node:test';
import { keys, rsaKey } from '../../test/support/mdm-fixture.ts';
import { type Holder, issue, issuing, root } from '../../test/support/scep-fixture.ts';
import { type Certificate, oid, parseCertificate, sequence } from '../codec/index.ts';
import { findPath, type Path } from './chain.ts';

const DAY_MS = 24 * 60 * 60 * 1000;
const now = new Date();
const day = (n: number) => new Date(now.getTime() + n * DAY_MS);

const subKey = rsaKey();
const leafSpki = keys.device.spki;

const leaf = await issue({ subject: 'CN=leaf', spki: leafSpki, issuer: issuing });
const sub: Holder = {
  key: subKey,
  certificate: await issue({
    subject: 'CN=Sub CA',
    spki: subKey.spki,
    issuer: issuing,
    ca: { pathLength: 0 },
    keyUsage: ['keyCertSign'],
  }),
};
const below = (issuer: Holder, more: Partial<Parameters<typeof issue>[0]> = {}) =>
  issue({ subject: 'CN=below', spki: leafSpki, issuer, ...more });

/** A CA that looks like the issuing CA, with another key. */
const impostor: Holder = {
  key: keys.other,
  certificate: await issue({
    subject: 'CN=Test Issuing CA,O=Test',
    spki: keys.other.spki,
    issuer: root,
    ca: {},
    keyUsage: ['keyCertSign'],
  }),
};

async function caWith(more: Partial<Parameters<typeof issue>[0]>): Promise<Holder> {
  return {
    key: subKey,
    certificate: await issue({
      subject: 'CN=Odd CA',
      spki: subKey.spki,
      issuer: issuing,
      ca: {},
      keyUsage: ['keyCertSign'],
      ...more,
    }),
  };
}

function names(path: Path): readonly string[] {
  assert.equal(path.path, 'found', path.path === 'none' ? path.detail : '');
  return path.path === 'found'
    ? path.certificates.map((each) => each.subject.rdns.at(-1)?.[0]?.value ?? '')
    : [];
}

interface Refusal {
  readonly name: string;
  readonly certificate: Certificate;
  readonly intermediates: readonly Certificate[];
  readonly anchors?: readonly Certificate[];
  readonly through?: Certificate;
  readonly at?: Date;
  readonly why?: 'expired';
  readonly detail: RegExp;
}

const notCa = await caWith({ keyUsage: ['digitalSignature'] });
const endEntity: Holder = { key: keys.device, certificate: leaf };
const expired = await caWith({ notBefore: day(-9), notAfter: day(-2) });
const sha1 = await caWith({ signatureAlgorithm: 'rsa-sha1' });
const narrow = await caWith({ ca: { pathLength: 0 } });
const narrowSub: Holder = {
  key: keys.other,
  certificate: await issue({
    subject: 'CN=Too deep',
    spki: keys.other.spki,
    issuer: narrow,
    ca: {},
    keyUsage: ['keyCertSign'],
  }),
};
const constrained = await caWith({
  more: [{ oid: oid.nameConstraints, critical: true, value: sequence() }],
});

const changed = Buffer.from(leaf.raw);
changed[changed.length - 1] = (changed.at(-1) ?? 0) ^ 1;

const refusals: readonly Refusal[] = [
  {
    name: 'no root is trusted',
    certificate: leaf,
    intermediates: [issuing.certificate, root.certificate],
    anchors: [],
    detail: /the root CN=Test Root,O=Test is not trusted here/,
  },
  {
    name: 'the issuer is missing',
    certificate: leaf,
    intermediates: [],
    detail: /the issuer CN=Test Issuing CA,O=Test of CN=leaf is not at hand/,
  },
  {
    name: 'a changed signature',
    certificate: parseCertificate(changed),
    intermediates: [issuing.certificate],
    detail: /CN=leaf is not signed by CN=Test Issuing CA/,
  },
  {
    name: 'an issuer of the same name with another key',
    certificate: leaf,
    intermediates: [impostor.certificate],
    detail: /CN=leaf is not signed by/,
  },
  {
    name: 'the name alone: signed by an impostor',
    certificate: await below(impostor),
    intermediates: [issuing.certificate],
    detail: /CN=below is not signed by/,
  },
  {
    name: 'an issuer that is no CA',
    certificate: await below(endEntity),
    intermediates: [leaf, issuing.certificate],
    detail: /CN=leaf is not a CA/,
  },
  {
    name: 'a CA that may not sign certificates',
    certificate: await below(notCa),
    intermediates: [notCa.certificate, issuing.certificate],
    detail: /CN=Odd CA may not sign certificates/,
  },
  {
    name: 'a CA that has expired',
    certificate: await below(expired),
    intermediates: [expired.certificate, issuing.certificate],
    why: 'expired',
    detail: /CN=Odd CA is valid from/,
  },
  {
    name: 'a CA signed with SHA-1',
    certificate: await below(sha1),
    intermediates: [sha1.certificate, issuing.certificate],
    detail: /CN=Odd CA is not signed by/,
  },
  {
    name: 'a CA below one that allows none',
    certificate: await below(narrowSub),
    intermediates: [narrowSub.certificate, narrow.certificate, issuing.certificate],
    detail: /CN=Odd CA allows 0 CAs below it, not 1/,
  },
  {
    name: 'a critical extension that is not understood',
    certificate: await below(constrained),
    intermediates: [constrained.certificate, issuing.certificate],
    detail: /critical extension 2\.5\.29\.30/,
  },
  {
    name: 'a leaf of tomorrow',
    certificate: await below(issuing, { notBefore: day(1) }),
    intermediates: [issuing.certificate],
    why: 'expired',
    detail: /CN=below is valid from/,
  },
  {
    name: 'a leaf of yesterday',
    certificate: await below(issuing, { notBefore: day(-3), notAfter: day(-1) }),
    intermediates: [issuing.certificate],
    why: 'expired',
    detail: /CN=below is valid from/,
  },
  {
    name: 'a root that has expired here',
    certificate: leaf,
    intermediates: [issuing.certificate],
    at: day(20),
    why: 'expired',
    detail: /is valid from/,
  },
  {
    name: 'a path beside the CA that it must lead through',
    certificate: leaf,
    intermediates: [issuing.certificate],
    through: sub.certificate,
    detail: /does not lead through CN=Sub CA/,
  },
];

for (const { name, certificate, intermediates, anchors, through, at, why, detail } of refusals) {
  test(`refused: ${name}`, () => {
    const path = findPath(certificate, {
      intermediates,
      anchors: anchors ?? [root.certificate],
      ...(through === undefined ? {} : { through }),
      at: at ?? now,
    });
    assert.equal(path.path, 'none');
    if (path.path !== 'none') return;
    assert.match(path.detail, detail);
    assert.equal(path.why, why ?? 'untrusted');
  });
}

test('finds the way up, in whatever order the certificates come', async () => {
  const certificate = await below(sub);
  const want = ['below', 'Sub CA', 'Test Issuing CA', 'Test Root'];
  for (const intermediates of [
    [sub.certificate, issuing.certificate],
    [root.certificate, issuing.certificate, impostor.certificate, sub.certificate],
    [impostor.certificate, leaf, issuing.certificate, sub.certificate, sub.certificate],
  ]) {
    const found = findPath(certificate, { intermediates, anchors: [root.certificate], at: now });
    assert.deepEqual(names(found), want);
  }
});

test('leads through the CA that is named, even if another way is at hand', async () => {
  // The issuing CA's key, certified a second time.
  const twin = await issue({
    subject: 'CN=Test Issuing CA,O=Test',
    spki: keys.issuing.spki,
    issuer: root,
    ca: {},
    keyUsage: ['keyCertSign'],
  });
  for (const through of [twin, issuing.certificate]) {
    const path = findPath(leaf, {
      intermediates: [issuing.certificate, twin],
      anchors: [root.certificate],
      through,
      at: now,
    });
    assert.equal(path.path, 'found');
    assert.deepEqual(path.path === 'found' && path.certificates[1]?.raw, through.raw);
  }
});

test('an anchor is a path by itself, an intermediate can be none', () => {
  const options = { intermediates: [], anchors: [root.certificate], at: now };
  assert.deepEqual(names(findPath(root.certificate, options)), ['Test Root']);
  assert.equal(findPath(issuing.certificate, { ...options, anchors: [] }).path, 'none');
});

test('a crowd of impostors ends the search and does not hold it', async () => {
  const crowd = await Promise.all(
    Array.from({ length: 100 }, () =>
      issue({
        subject: 'CN=Test Issuing CA,O=Test',
        spki: keys.other.spki,
        issuer: impostor,
        ca: {},
        keyUsage: ['keyCertSign'],
      }),
    ),
  );
  const begin = performance.now();
  const path = findPath(leaf, {
    intermediates: [...crowd, issuing.certificate],
    anchors: [root.certificate],
    at: now,
  });
  assert.equal(path.path, 'none');
  assert.ok(performance.now() - begin < 5000);
});
