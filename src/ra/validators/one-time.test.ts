import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import {
  openTestAuthorities,
  type RequestFields,
  requestOf,
  type TestAuthorities,
} from '../../../test/support/authorities-fixture.ts';
import {
  extKeyUsageExtension,
  type GeneralName,
  nameFromString,
  oid,
  parseCertificationRequest,
  subjectAltNameExtension,
} from '../../codec/index.ts';
import type { ChallengeRecord } from '../../store/index.ts';
import type { Verdict } from '../validator.ts';
import { OneTimeChallenges } from './one-time.ts';

let authorities: TestAuthorities;
before(async () => {
  authorities = await openTestAuthorities();
});
after(() => authorities.close());

const HOUR_MS = 3_600_000;
const create = async (pinned: ChallengeRecord['pinned'] = {}, device = '', endpoint = 'one-time') =>
  (await authorities.oneTime.create({ endpoint, pinned, device, lifetimeMs: HOUR_MS })).challenge;

async function verdictOn(
  challenge: string,
  fields: RequestFields = {},
  endpoint = 'one-time',
): Promise<Verdict> {
  return await authorities.oneTime.validator().validate({
    endpoint,
    transactionID: 'transaction-1',
    csr: parseCertificationRequest(await requestOf({ challengePassword: challenge, ...fields })),
    challengePassword: challenge,
    source: 'test',
    receivedAt: authorities.clock.now(),
  });
}

const subject = nameFromString('CN=device-1,O=Test');
const san = (...names: GeneralName[]): RequestFields => ({
  extensions: [subjectAltNameExtension(names, subject)],
});
const purposes = (...list: string[]): RequestFields => ({ extensions: [extKeyUsageExtension(list)] });

describe('a one-time challenge', () => {
  test('is 160 random bits, told once, and not in the database', async () => {
    const challenges = await Promise.all(Array.from({ length: 20 }, () => create()));
    assert.equal(new Set(challenges).size, 20);
    for (const challenge of challenges) assert.match(challenge, /^[0-9A-F]{40}$/);
    for (const file of ['pki.sqlite', 'pki.sqlite-wal']) {
      const octets = readFileSync(join(authorities.folder, file));
      for (const challenge of challenges) {
        assert.equal(octets.indexOf(challenge), -1);
        assert.equal(octets.indexOf(Buffer.from(challenge, 'hex')), -1);
      }
    }
  });

  test('is refused if it was not given out, was changed, or belongs elsewhere', async () => {
    const challenge = await create();
    const foreign = await create({}, '', 'both');
    for (const wrong of ['', 'x', challenge.toLowerCase(), `${challenge} `, challenge.slice(1), foreign]) {
      assert.partialDeepStrictEqual(await verdictOn(wrong), { verdict: 'refuse', code: 'challenge_unknown' });
    }
    assert.partialDeepStrictEqual(await verdictOn(challenge, {}, 'both'), { code: 'challenge_unknown' });
    assert.equal((await verdictOn(challenge)).verdict, 'accept');
  });

  test('made under another hash key is unknown', async () => {
    const { store, clock } = authorities;
    const other = new OneTimeChallenges({ store, clock, hashKey: Buffer.alloc(32, 'other') });
    const { challenge } = await other.create({
      endpoint: 'one-time',
      pinned: {},
      device: '',
      lifetimeMs: HOUR_MS,
    });
    assert.partialDeepStrictEqual(await verdictOn(challenge), { code: 'challenge_unknown' });
  });

  test('ends with its lifetime, to the millisecond', async () => {
    const { clock } = authorities;
    const fixed = { now: () => new Date(at) };
    let at = clock.now().getTime();
    const book = new OneTimeChallenges({
      store: authorities.store,
      hashKey: Buffer.alloc(32, 'hash key'),
      clock: fixed,
    });
    const { challenge, expiresAt } = await book.create({
      endpoint: 'one-time',
      pinned: {},
      device: '',
      lifetimeMs: 1000,
    });
    assert.equal(expiresAt.getTime(), at + 1000);
    const ask = async () => {
      const csr = parseCertificationRequest(await requestOf({ challengePassword: challenge }));
      return await book.validator().validate({
        endpoint: 'one-time',
        transactionID: 't',
        csr,
        challengePassword: challenge,
        source: '',
        receivedAt: fixed.now(),
      });
    };
    at += 999;
    assert.equal((await ask()).verdict, 'accept');
    at += 1;
    assert.partialDeepStrictEqual(await ask(), { verdict: 'refuse', code: 'challenge_expired' });
  });

  test('names the device that it was made for', async () => {
    assert.deepEqual(await verdictOn(await create({}, 'printer-7')), {
      verdict: 'accept',
      names: 'claimed',
      device: 'printer-7',
    });
    assert.deepEqual(await verdictOn(await create()), { verdict: 'accept', names: 'claimed' });
  });

  test('that cannot be looked up is no verdict', async () => {
    const elsewhere = await openTestAuthorities();
    const challenge = await elsewhere.challengeFor('one-time');
    await elsewhere.close();
    const verdict = await elsewhere.oneTime.validator().validate({
      endpoint: 'one-time',
      transactionID: 't',
      csr: parseCertificationRequest(await requestOf({ challengePassword: challenge })),
      challengePassword: challenge,
      source: '',
      receivedAt: new Date(),
    });
    assert.equal(verdict.verdict, 'unreachable');
  });
});

describe('pins', () => {
  const dns: GeneralName = { type: 'dNSName', value: 'device-1.test' };
  const uri: GeneralName = { type: 'uniformResourceIdentifier', value: 'urn:device:1' };
  const subjectPin = { subject: 'CN=device-1,O=Test' };
  const sanPin = { subjectAltName: 'DNS:device-1.test, URI:urn:device:1' };
  const rows: readonly (readonly [
    name: string,
    pinned: ChallengeRecord['pinned'],
    fields: RequestFields,
    code: string | undefined,
  ])[] = [
    ['the subject', subjectPin, {}, undefined],
    ['another subject', subjectPin, { subject: 'CN=device-2,O=Test' }, 'subject_mismatch'],
    ['the subject in another case', subjectPin, { subject: 'CN=Device-1,O=Test' }, 'subject_mismatch'],
    ['the subject in another order', subjectPin, { subject: 'O=Test,CN=device-1' }, 'subject_mismatch'],
    ['a part of the subject', subjectPin, { subject: 'CN=device-1' }, 'subject_mismatch'],
    ['more than the subject', subjectPin, { subject: 'CN=device-1,O=Test,C=CH' }, 'subject_mismatch'],
    ['no subject', subjectPin, { subject: '' }, 'subject_mismatch'],
    [
      'a value that reads like the subject',
      subjectPin,
      { subject: 'CN=device-1\\,O\\=Test' },
      'subject_mismatch',
    ],
    ['the names', sanPin, san(dns, uri), undefined],
    ['the names in another order', sanPin, san(uri, dns), 'san_mismatch'],
    ['fewer names', sanPin, san(dns), 'san_mismatch'],
    ['more names', sanPin, san(dns, uri, { type: 'rfc822Name', value: 'a@test' }), 'san_mismatch'],
    ['no names', sanPin, {}, 'san_mismatch'],
    [
      'one name that reads like two',
      sanPin,
      san({ type: 'dNSName', value: 'device-1.test, URI:urn:device:1' }),
      'san_mismatch',
    ],
    ['no names pinned, none asked', { subjectAltName: '' }, {}, undefined],
    ['no names pinned, one asked', { subjectAltName: '' }, san(dns), 'san_mismatch'],
    ['the purpose', { extKeyUsage: [oid.clientAuth] }, purposes(oid.clientAuth), undefined],
    [
      'the purposes in another order',
      { extKeyUsage: [oid.clientAuth, oid.serverAuth] },
      purposes(oid.serverAuth, oid.clientAuth),
      undefined,
    ],
    ['another purpose', { extKeyUsage: [oid.clientAuth] }, purposes(oid.serverAuth), 'eku_mismatch'],
    [
      'one purpose more',
      { extKeyUsage: [oid.clientAuth] },
      purposes(oid.clientAuth, oid.serverAuth),
      'eku_mismatch',
    ],
    [
      'one purpose twice in place of two',
      { extKeyUsage: [oid.clientAuth, oid.serverAuth] },
      purposes(oid.clientAuth, oid.clientAuth),
      'eku_mismatch',
    ],
    // The template would fill in all that it has.
    ['no purpose', { extKeyUsage: [oid.clientAuth] }, {}, 'eku_mismatch'],
    [
      'an unreadable subjectAltName',
      sanPin,
      { extensions: [{ oid: oid.subjectAltName, critical: false, value: Uint8Array.of(0x30, 5) }] },
      'der_malformed',
    ],
  ];
  for (const [name, pinned, fields, code] of rows) {
    test(`${name} is ${code ?? 'accepted'}`, async () => {
      const verdict = await verdictOn(await create(pinned), fields);
      assert.partialDeepStrictEqual(
        verdict,
        code === undefined ? { verdict: 'accept' } : { verdict: 'refuse', code },
      );
    });
  }

  test('names are vouched for only if they are pinned', async () => {
    assert.partialDeepStrictEqual(await verdictOn(await create(sanPin), san(dns, uri)), { names: 'vouched' });
    assert.partialDeepStrictEqual(await verdictOn(await create(subjectPin), san(dns, uri)), {
      names: 'claimed',
    });
  });
});
