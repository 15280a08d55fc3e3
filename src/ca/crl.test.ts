/** CRLs against what is on record: by any history, base and delta say what the full CRL says. */
import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import fc from 'fast-check';
import { certificates, DAY_MS, keys } from '../../test/support/authorities-fixture.ts';
import { intentOf, issuedOf } from '../../test/support/store-fixture.ts';
import {
  baseCrlNumberOf,
  type Crl,
  crlNumberOf,
  freshestCrlOf,
  issuingDistributionPointOf,
  nextCrlPublishOf,
  oid,
  parseCrl,
  verifyCrlSignature,
} from '../codec/index.ts';
import { type CrlKind, openPkiStore, type PkiStore } from '../store/index.ts';
import { CertificateAuthority } from './certificate-authority.ts';
import { crlPartitionFor, crlUrlsOf } from './crl.ts';
import type { Issuer } from './issuer.ts';

const HOUR_MS = 3_600_000;
const begin = Math.floor(Date.now() / 1000) * 1000;

const undivided: Issuer = {
  name: 'issuing',
  certificate: certificates.issuing,
  chain: [certificates.issuing.raw, certificates.root.raw],
  key: keys.issuing,
  signatureAlgorithm: 'rsa-sha256',
  crlUrls: ['http://pki.test/crl/issuing.crl', 'http://pki2.test/issuing.crl'],
  caIssuersUrls: ['http://pki.test/aia/issuing.crt'],
  crlPeriodMs: 7 * DAY_MS,
  crlOverlapMs: 12 * HOUR_MS,
};
const withDeltas: Issuer = { ...undivided, deltaCrlPeriodMs: DAY_MS };

const folders: string[] = [];
after(async () => {
  for (const folder of folders) await rm(folder, { recursive: true, force: true });
});

/** A CA on a store of its own, whose time and configuration a test changes. */
class Scene {
  readonly path: string;
  store: PkiStore;
  issuer: Issuer;
  nowMs = begin;
  #serials = 0;

  private constructor(path: string, store: PkiStore, issuer: Issuer) {
    this.path = path;
    this.store = store;
    this.issuer = issuer;
  }

  static async open(issuer: Issuer): Promise<Scene> {
    const folder = await mkdtemp(join(tmpdir(), 'leafgate-crl-'));
    folders.push(folder);
    const path = join(folder, 'pki.sqlite');
    return new Scene(path, await openPkiStore({ sqlite: path }), issuer);
  }

  get ca(): CertificateAuthority {
    const clock = { now: () => new Date(this.nowMs) };
    return new CertificateAuthority({ issuers: [this.issuer], templates: [], store: this.store, clock });
  }

  async restart(): Promise<void> {
    await this.store.close();
    this.store = await openPkiStore({ sqlite: this.path });
  }

  /** Puts an issued certificate on record. */
  async issue(own: { readonly partition?: number; readonly days?: number } = {}): Promise<string> {
    this.#serials += 1;
    const serialNumber = (0x4000 + this.#serials).toString(16);
    const intent = intentOf({
      requestID: serialNumber,
      serialNumber,
      notAfter: new Date(this.nowMs + (own.days ?? 365) * DAY_MS),
      crlPartition: own.partition ?? 0,
    });
    await this.store.reserveSerial(intent);
    await this.store.recordCertificate(issuedOf(intent));
    return serialNumber;
  }

  revoke(serialNumber: string, reason: 'certificateHold' | 'keyCompromise' = 'keyCompromise') {
    return this.ca.revoke({ issuer: 'issuing', serialNumber, reason, actor: 'test', text: '' });
  }

  release(serialNumber: string) {
    return this.ca.release({ issuer: 'issuing', serialNumber, actor: 'test', text: '' });
  }

  async latest(kind: CrlKind, partition = 0): Promise<Crl> {
    const record = await this.store.latestCrl('issuing', partition, kind);
    assert.ok(record !== undefined, `${kind} CRL of partition ${partition}`);
    const crl = parseCrl(record.crl);
    assert.ok(verifyCrlSignature(crl, keys.issuing.spki));
    assert.deepEqual(
      [crlNumberOf(crl), crl.thisUpdate, crl.nextUpdate, baseCrlNumberOf(crl)],
      [record.crlNumber, record.thisUpdate, record.nextUpdate, record.base?.crlNumber],
    );
    return crl;
  }

  async close(): Promise<void> {
    await this.store.close();
  }
}

const serialsIn = (crl: Crl) => crl.revoked.map(({ serialNumber }) => serialNumber);

/** What a relying party makes of a full CRL and a delta (RFC 5280 §6.3.3 (c), (i), (j)): reason by serial. */
function combined(full: Crl, delta: Crl): Map<string, string> {
  const known = new Map(full.revoked.map(({ serialNumber, reason }) => [serialNumber, reason as string]));
  const [base, number] = [baseCrlNumberOf(delta) ?? 0, crlNumberOf(delta) ?? 0];
  assert.ok(base <= (crlNumberOf(full) ?? 0), 'the delta does not fit the full CRL');
  if (number <= (crlNumberOf(full) ?? 0)) return known;
  for (const { serialNumber, reason } of delta.revoked) {
    if (reason === 'removeFromCRL') known.delete(serialNumber);
    else known.set(serialNumber, reason);
  }
  return known;
}

describe('when CRLs are made', () => {
  test('a full CRL at its time, and at a revocation; numbers grow across restarts', async () => {
    const scene = await Scene.open(undivided);
    const number = async () => (await scene.ca.publishCrls('issuing'))[0]?.crlNumber;
    assert.equal(await number(), 1);
    const first = await scene.latest('full');
    assert.deepEqual(first.thisUpdate, new Date(begin - 10 * 60_000));
    assert.deepEqual(first.nextUpdate, new Date(begin + 7.5 * DAY_MS));
    assert.deepEqual(nextCrlPublishOf(first), new Date(begin + 7 * DAY_MS));
    assert.deepEqual([issuingDistributionPointOf(first), freshestCrlOf(first)], [undefined, []]);
    scene.nowMs = begin + 7 * DAY_MS - 1;
    assert.equal(await number(), 1);
    scene.nowMs += 1;
    assert.equal(await number(), 2);
    const serialNumber = await scene.issue();
    await scene.revoke(serialNumber, 'certificateHold');
    await scene.restart();
    assert.equal(await number(), 3);
    assert.equal(await number(), 3);
    // A process that died after it had reserved its number.
    await scene.store.reserveCrlNumber('issuing');
    await scene.release(serialNumber);
    await scene.restart();
    assert.equal(await number(), 5);
    assert.deepEqual(serialsIn(await scene.latest('full')), []);
    await scene.close();
  });

  test('nothing before its time, if revocations are to wait', async () => {
    const scene = await Scene.open({ ...withDeltas, crlAtRevocation: 'scheduled' });
    await scene.ca.publishCrls('issuing');
    await scene.revoke(await scene.issue());
    assert.deepEqual(
      (await scene.ca.publishCrls('issuing')).map(({ crlNumber }) => crlNumber),
      [1, 1],
    );
    scene.nowMs += DAY_MS;
    assert.deepEqual(
      (await scene.ca.publishCrls('issuing')).map(({ crlNumber }) => crlNumber),
      [1, 2],
    );
    assert.equal((await scene.latest('delta')).revoked.length, 1);
    await scene.close();
  });

  test('a delta at a revocation and each day; the full CRL names where it is', async () => {
    const scene = await Scene.open(withDeltas);
    await scene.ca.publishCrls('issuing');
    const full = await scene.latest('full');
    assert.deepEqual(freshestCrlOf(full), [
      'http://pki.test/crl/issuing.delta.crl',
      'http://pki2.test/issuing.delta.crl',
    ]);
    // RFC 5280 §5.2.3: made at the same time, they have the same number.
    assert.deepEqual([crlNumberOf(full), crlNumberOf(await scene.latest('delta'))], [1, 1]);
    const held = await scene.issue();
    await scene.revoke(held, 'certificateHold');
    await scene.ca.publishCrls('issuing');
    const delta = await scene.latest('delta');
    assert.deepEqual([crlNumberOf(delta), baseCrlNumberOf(delta), serialsIn(delta)], [2, 1, [held]]);
    assert.ok(delta.extensions.some((each) => each.oid === oid.deltaCRLIndicator && each.critical));
    assert.deepEqual(delta.nextUpdate, new Date(begin + 1.5 * DAY_MS));
    assert.equal(crlNumberOf(await scene.latest('full')), 1);
    await scene.release(held);
    await scene.ca.publishCrls('issuing');
    const next = await scene.latest('delta');
    assert.deepEqual(
      next.revoked.map(({ reason }) => reason),
      ['removeFromCRL'],
    );
    scene.nowMs += DAY_MS;
    await scene.ca.publishCrls('issuing');
    assert.equal(crlNumberOf(await scene.latest('delta')), 4);
    await scene.close();
  });

  test('the base stays while relying parties may hold it', async () => {
    const scene = await Scene.open(withDeltas);
    await scene.ca.publishCrls('issuing');
    const first = await scene.latest('full');
    const serialNumber = await scene.issue();
    await scene.revoke(serialNumber);
    scene.nowMs = begin + 7 * DAY_MS;
    await scene.ca.publishCrls('issuing');
    const second = await scene.latest('full');
    const delta = await scene.latest('delta');
    assert.equal(crlNumberOf(delta), crlNumberOf(second));
    // Whoever holds the first CRL until it ends learns all the same.
    assert.deepEqual([...combined(first, delta).keys()], [serialNumber]);
    scene.nowMs = begin + 8 * DAY_MS;
    await scene.ca.publishCrls('issuing');
    assert.equal(baseCrlNumberOf(await scene.latest('delta')), crlNumberOf(second));
    assert.deepEqual(serialsIn(await scene.latest('delta')), []);
    await scene.close();
  });

  test('one that is late is an alarm long before it ends', async () => {
    const scene = await Scene.open(withDeltas);
    await scene.ca.publishCrls('issuing');
    assert.deepEqual(await scene.ca.overdueCrls(), []);
    scene.nowMs = begin + DAY_MS + HOUR_MS;
    assert.deepEqual(await scene.ca.overdueCrls(), []);
    scene.nowMs += HOUR_MS;
    assert.deepEqual(await scene.ca.overdueCrls(), [
      { issuer: 'issuing', partition: 0, kind: 'delta', nextUpdate: new Date(begin + 1.5 * DAY_MS) },
    ]);
    scene.nowMs = begin + 7 * DAY_MS + 2 * HOUR_MS;
    assert.equal((await scene.ca.overdueCrls()).length, 2);
    await scene.ca.publishCrls('issuing');
    assert.deepEqual(await scene.ca.overdueCrls(), []);
    await scene.close();
  });
});

describe('partitions', () => {
  test('are chosen among those of the configuration', () => {
    assert.deepEqual(
      [crlPartitionFor(undivided), crlPartitionFor({ ...undivided, crlPartitions: 1 })],
      [0, 0],
    );
    const seen = new Set(
      Array.from({ length: 200 }, () => crlPartitionFor({ ...undivided, crlPartitions: 3 })),
    );
    assert.deepEqual([...seen].sort(), [1, 2, 3]);
  });

  test('stand in the URL before its ending', () => {
    const issuer = { crlUrls: ['http://a.crl.test/ca.crl', 'http://b.test/ca.crl'] };
    assert.deepEqual(crlUrlsOf(issuer, 0, 'full'), issuer.crlUrls);
    assert.deepEqual(crlUrlsOf(issuer, 12, 'full'), [
      'http://a.crl.test/ca.12.crl',
      'http://b.test/ca.12.crl',
    ]);
    assert.deepEqual(crlUrlsOf(issuer, 12, 'delta')[1], 'http://b.test/ca.12.delta.crl');
    assert.deepEqual(crlUrlsOf(issuer, 0, 'delta')[0], 'http://a.crl.test/ca.delta.crl');
  });

  test('each CRL lists its own and says so, and a revocation makes that one anew', async () => {
    const scene = await Scene.open({ ...withDeltas, crlPartitions: 2 });
    const [one, two] = [await scene.issue({ partition: 1 }), await scene.issue({ partition: 2 })];
    await scene.revoke(one);
    assert.equal((await scene.ca.publishCrls('issuing')).length, 6);
    for (const [partition, listed] of [
      [0, []],
      [1, [one]],
      [2, []],
    ] as const) {
      const full = await scene.latest('full', partition);
      const scope = { urls: crlUrlsOf(scene.issuer, partition, 'full'), onlyContains: 'userCerts' };
      assert.deepEqual(issuingDistributionPointOf(full), scope);
      // RFC 5280 §5.2.4: the delta has the scope of its base.
      assert.deepEqual(issuingDistributionPointOf(await scene.latest('delta', partition)), scope);
      assert.ok(full.extensions.some((each) => each.oid === oid.issuingDistributionPoint && each.critical));
      assert.deepEqual(serialsIn(full), listed);
    }
    const before = await scene.store.crlStates('issuing');
    await scene.revoke(two);
    const states = await scene.ca.publishCrls('issuing');
    assert.deepEqual(
      states
        .filter((state, index) => state.crlNumber !== before[index]?.crlNumber)
        .map((state) => [state.partition, state.kind]),
      [[2, 'delta']],
    );
    await scene.close();
  });

  test('the undivided CRL is narrowed when partitions come, and those that were stay when they go', async () => {
    const scene = await Scene.open(undivided);
    const old = await scene.issue();
    await scene.revoke(old);
    await scene.ca.publishCrls('issuing');
    assert.equal(issuingDistributionPointOf(await scene.latest('full')), undefined);
    scene.issuer = { ...undivided, crlPartitions: 3 };
    await scene.ca.publishCrls('issuing');
    assert.notEqual(issuingDistributionPointOf(await scene.latest('full')), undefined);
    assert.deepEqual(serialsIn(await scene.latest('full')), [old]);
    const later = await scene.issue({ partition: 3 });
    scene.issuer = undivided;
    await scene.revoke(later);
    await scene.ca.publishCrls('issuing');
    assert.deepEqual(serialsIn(await scene.latest('full', 3)), [later]);
    assert.notEqual(issuingDistributionPointOf(await scene.latest('full')), undefined);
    await scene.close();
  });
});

describe('expiry', () => {
  test('an entry leaves after one more CRL', async () => {
    const scene = await Scene.open(undivided);
    const serialNumber = await scene.issue({ days: 3 });
    await scene.revoke(serialNumber);
    await scene.ca.publishCrls('issuing');
    const listed: boolean[] = [];
    for (let week = 1; week <= 3; week += 1) {
      scene.nowMs = begin + week * 7 * DAY_MS;
      await scene.ca.publishCrls('issuing');
      listed.push(serialsIn(await scene.latest('full')).includes(serialNumber));
    }
    assert.deepEqual(listed, [true, false, false]);
    await scene.close();
  });
});

describe('whatever happens', () => {
  type Event =
    | { readonly do: 'issue'; readonly days: number }
    | { readonly do: 'hold' | 'revoke' | 'release'; readonly which: number }
    | { readonly do: 'wait'; readonly hours: number }
    | { readonly do: 'publish' | 'restart' };
  const event: fc.Arbitrary<Event> = fc.oneof(
    fc.record({ do: fc.constant('issue' as const), days: fc.integer({ min: 1, max: 20 }) }),
    fc.record({
      do: fc.constantFrom('hold' as const, 'revoke' as const, 'release' as const),
      which: fc.nat(7),
    }),
    fc.record({ do: fc.constant('wait' as const), hours: fc.integer({ min: 1, max: 100 }) }),
    fc.record({ do: fc.constantFrom('publish' as const, 'publish' as const, 'restart' as const) }),
  );

  test('base and delta say what the full CRL says, and numbers grow', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(event, { minLength: 5, maxLength: 30 }), async (events) => {
        const scene = await Scene.open(withDeltas);
        /** reason and end by serial, as they are. */
        const model = new Map<string, { reason: string | undefined; readonly endsMs: number }>();
        const fulls: Crl[] = [];
        let last = 0;
        const publish = async () => {
          await scene.ca.publishCrls('issuing');
          const full = await scene.latest('full');
          const delta = await scene.latest('delta');
          if (crlNumberOf(full) !== crlNumberOf(fulls.at(-1) ?? { extensions: [] })) fulls.push(full);
          const number = Math.max(crlNumberOf(full) ?? 0, crlNumberOf(delta) ?? 0);
          assert.ok(number >= last);
          last = number;
          const want = [...model]
            .filter(([, { reason, endsMs }]) => reason !== undefined && endsMs >= scene.nowMs)
            .map(([serialNumber, { reason }]) => `${serialNumber} ${reason}`);
          // Every full CRL that a relying party may still hold, with the one delta that there is.
          for (const held of fulls.filter(({ nextUpdate }) => (nextUpdate?.getTime() ?? 0) > scene.nowMs)) {
            const have = [...combined(held, delta)]
              .filter(([serialNumber]) => (model.get(serialNumber)?.endsMs ?? 0) >= scene.nowMs)
              .map(([serialNumber, reason]) => `${serialNumber} ${reason}`);
            assert.deepEqual(have.sort(), want.toSorted());
          }
        };
        try {
          await publish();
          for (const one of events) {
            const serialNumber =
              'which' in one ? [...model.keys()].at(one.which % Math.max(model.size, 1)) : undefined;
            const known = serialNumber === undefined ? undefined : model.get(serialNumber);
            if (one.do === 'issue') {
              model.set(await scene.issue({ days: one.days }), {
                reason: undefined,
                endsMs: scene.nowMs + one.days * DAY_MS,
              });
            } else if (one.do === 'wait') scene.nowMs += one.hours * HOUR_MS;
            else if (one.do === 'publish') await publish();
            else if (one.do === 'restart') await scene.restart();
            else if (serialNumber !== undefined && known !== undefined) {
              if (one.do === 'release') {
                if ((await scene.release(serialNumber)) === 'released') known.reason = undefined;
              } else {
                const reason = one.do === 'hold' ? 'certificateHold' : 'keyCompromise';
                if ((await scene.revoke(serialNumber, reason)) === 'revoked') known.reason = reason;
              }
            }
          }
          await publish();
        } finally {
          await scene.close();
        }
      }),
      { numRuns: 40 },
    );
  });
});

describe('bulk revocation', () => {
  test('that breaks off and is repeated revokes each once, with one audit entry each', async () => {
    const scene = await Scene.open(undivided);
    const serials: string[] = [];
    for (let count = 0; count < 250; count += 1) serials.push(await scene.issue());
    const held = serials[7] ?? assert.fail();
    await scene.revoke(held, 'certificateHold');
    const revokeAll = () =>
      scene.ca.revokeAll(
        { template: 'device' },
        { reason: 'cessationOfOperation', actor: 'operator test', text: 'all of them' },
      );
    // The first page, and then whoever reads on is gone.
    for await (const revoked of revokeAll()) {
      assert.equal(revoked, 100);
      break;
    }
    assert.equal(await scene.store.countCertificates({ status: 'revoked' }), 101);
    await scene.restart();
    const pages: number[] = [];
    for await (const revoked of revokeAll()) pages.push(revoked);
    assert.deepEqual(pages, [100, 49]);
    for await (const revoked of revokeAll()) assert.equal(revoked, 0);
    assert.equal(await scene.store.countCertificates({ status: 'revoked' }), 250);
    assert.equal(
      (await scene.store.certificateBySerial('issuing', held))?.revocationReason,
      'certificateHold',
    );
    const entries = await scene.store.auditEntries({ event: 'certificate.revoked', limit: 1000 });
    assert.deepEqual(entries.map(({ detail }) => detail.serialNumber).sort(), serials.toSorted());
    await scene.ca.publishCrls('issuing');
    assert.deepEqual(serialsIn(await scene.latest('full')), serials);
    await scene.close();
  });
});
