/** kill -9 of the server at any moment: no serial is used twice, no signature lacks its record, nobody goes empty-handed. */
import assert from 'node:assert/strict';
import { randomInt } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { type CrashRun, crashRun, type Evidence, summaryOf, violationsIn } from '../lab/crash.ts';
import { openTenant, type Tenant } from '../lab/tenant.ts';
import { readConfig } from '../src/config.ts';
import { openAuthorities } from '../src/parts/authorities.ts';
import type { CertificateRecord } from '../src/store/index.ts';
import { openLog, systemClock } from '../src/telemetry.ts';

let folder: string;
let tenant: Tenant;
/** The first run, for the judge's own test. */
let evidence: Evidence | undefined;

before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'leafgate-crash-'));
  tenant = await openTenant(folder, { ports: 'any', progress: () => {}, issuingKey: 'rsa-2048' });
  await revokeOne();
});
/** So that the CRL has an entry, whatever the kills hit. */
async function revokeOne(): Promise<void> {
  const { server } = readConfig(tenant.configs.server);
  assert.ok(server);
  const { store, ca, close } = await openAuthorities(server, openLog('silent', 'test'), systemClock);
  const [certificate] = await store.certificates({ template: 'web-server', limit: 1 });
  assert.ok(certificate);
  const { issuer, serialNumber } = certificate;
  const revocation = { issuer, serialNumber, reason: 'superseded', actor: 'test', text: '' } as const;
  assert.equal(await ca.revoke(revocation), 'revoked');
  await close();
}
after(() => rm(folder, { recursive: true, force: true }));

const runs = [
  { name: 'the only process', workers: 1, victim: 'server', enrolments: 200, kills: 6 },
  { name: 'the primary of two workers', workers: 2, victim: 'server', enrolments: 60, kills: 2 },
  { name: 'one of two workers', workers: 2, victim: 'worker', enrolments: 60, kills: 3 },
] as const;
for (const { name, ...run } of runs) {
  test(`kill -9 of ${name}, ${run.kills} times under ${run.enrolments} enrolments`, async (t) => {
    const seed = randomInt(2 ** 32);
    t.diagnostic(`seed ${seed}`);
    const crashed: CrashRun = await crashRun({ tenant, ...run, clients: 10, seed });
    t.diagnostic(summaryOf(crashed));
    evidence ??= crashed.evidence;
    assert.deepEqual(violationsIn(crashed.evidence), []);
    assert.ok(crashed.kills >= run.kills, 'the server was killed as often as was asked for');
    assert.ok(crashed.retries > 0, 'the load felt it');
  });
}

// --- the judge ---------------------------------------------------------------------------------------------------------

/** Something that the judge must not let pass: what was found, changed in one place. */
interface Forgery {
  readonly name: string;
  readonly change: (found: Evidence) => Partial<Evidence>;
  readonly says: RegExp;
}

const changed = <T>(list: readonly T[], index: number, change: Partial<T>): T[] =>
  list.map((item, place) => (place === index ? { ...item, ...change } : item));
const without = <T>(list: readonly T[], unwanted: T): T[] => list.filter((item) => item !== unwanted);
const flipped = (octets: Uint8Array): Uint8Array =>
  octets.map((octet, place) => (place === octets.length - 1 ? octet ^ 1 : octet));
/** Place of the record of the first device. */
const recordOf = ({ requests, records }: Evidence): number =>
  records.findIndex(
    ({ subject, status }) => status === 'issued' && subject === `CN=${requests[0]?.commonName},O=Load`,
  );
const record = (found: Evidence): CertificateRecord => found.records[recordOf(found)] as CertificateRecord;
const other = '0123456789abcdef';

const forgeries: readonly Forgery[] = [
  {
    name: 'a certificate that is not on record',
    change: (found) => ({ records: without(found.records, record(found)) }),
    says: /not on record/,
  },
  {
    name: 'a certificate that was revoked behind the device’s back',
    change: (found) => ({ records: changed(found.records, recordOf(found), { status: 'revoked' }) }),
    says: /which is revoked/,
  },
  {
    name: 'two certificates under one serial number',
    change: (found) => ({
      records: changed(found.records, recordOf(found), {
        certificate: flipped(record(found).certificate ?? new Uint8Array(1)),
      }),
    }),
    says: /another [0-9a-f]+ than the one on record/,
  },
  {
    name: 'two records under one serial number',
    change: (found) => ({ records: [...found.records, { ...record(found), status: 'abandoned' }] }),
    says: /on record twice/,
  },
  {
    name: 'two live certificates for one request',
    change: (found) => ({ records: [...found.records, { ...record(found), serialNumber: other }] }),
    says: /has 2 live certificates/,
  },
  {
    name: 'a device without its certificate',
    change: (found) => ({ delivered: found.delivered.filter(({ request }) => request !== 0) }),
    says: /has no certificate/,
  },
  {
    name: 'a device that got nothing when it asked again',
    change: ({ delivered }) => ({
      delivered: [...delivered.filter(({ request }) => request !== 0)].concat(
        delivered.filter(({ request }) => request === 0).slice(0, 1),
      ),
    }),
    says: /was not answered a second time/,
  },
  {
    name: 'another device’s certificate',
    change: ({ delivered }) => ({
      delivered: delivered.map((each) =>
        each.request === 0
          ? {
              ...each,
              certificate: delivered.find(({ request }) => request === 1)?.certificate ?? each.certificate,
            }
          : each,
      ),
    }),
    says: /somebody else’s certificate/,
  },
  {
    name: 'another certificate the second time',
    change: ({ delivered }) => ({
      delivered: [
        ...delivered,
        {
          request: 0,
          certificate: delivered.find(({ request }) => request === 1)?.certificate ?? new Uint8Array(),
        },
      ],
    }),
    says: /was given two certificates/,
  },
  {
    name: 'a FAILURE',
    change: () => ({ oddities: ['device-1: {"pkiStatus":"FAILURE"}'] }),
    says: /FAILURE/,
  },
  {
    name: 'an intent that nobody settles',
    change: (found) => ({
      records: [...found.records, { ...record(found), serialNumber: other, status: 'intent' }],
    }),
    says: /still an intent/,
  },
  {
    name: 'an abandoned serial number that is not on the CRL',
    change: (found) => ({
      records: [...found.records, { ...record(found), serialNumber: other, status: 'abandoned' }],
    }),
    says: /abandoned and not on the CRL/,
  },
  {
    name: 'a CRL that lists what nobody knows',
    change: (found) => ({ records: found.records.filter(({ status }) => status !== 'revoked') }),
    says: /on the CRL and not on record/,
  },
  { name: 'a CRL that was changed', change: ({ crl }) => ({ crl: flipped(crl) }), says: /CRL is not signed/ },
  { name: 'CRL numbers that go back', change: () => ({ crlNumbers: [3, 4, 3] }), says: /went back/ },
  {
    name: 'a certificate without an audit entry',
    change: ({ audit }) => ({ audit: audit.slice(1) }),
    says: /has 0 entries/,
  },
  {
    name: 'a certificate with two audit entries',
    change: ({ audit }) => ({ audit: [...audit, ...audit.slice(0, 1)] }),
    says: /has 2 entries/,
  },
  {
    name: 'an audit entry without a certificate',
    change: ({ audit }) => ({
      audit: [...audit, ...changed(audit.slice(0, 1), 0, { detail: { serialNumber: other } })],
    }),
    says: /was not issued and has an entry/,
  },
  {
    name: 'a damaged database',
    change: () => ({ integrity: 'row 7 missing from index' }),
    says: /integrity_check: row 7/,
  },
];
for (const { name, change, says } of forgeries) {
  test(`the judge sees ${name}`, () => {
    assert.ok(evidence, 'the first run left evidence');
    const found = violationsIn({ ...evidence, ...change(evidence) });
    assert.ok(
      found.some((violation) => says.test(violation)),
      `it says: ${found.join('; ') || 'nothing'}`,
    );
  });
}
