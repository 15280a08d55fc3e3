import assert from 'node:assert/strict';
import { readdir, rename, stat, unlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, describe, test } from 'node:test';
import { pino } from 'pino';
import {
  certificates,
  DAY_MS,
  FixtureClock,
  keys,
  openTestAuthorities,
  type TestAuthorities,
} from '../../test/support/authorities-fixture.ts';
import {
  type Certificate,
  commonNameOf,
  extensionValue,
  extKeyUsageOf,
  oid,
  parsePublicKeyInfo,
  verifyCertificateSignature,
} from '../codec/index.ts';
import { PkiError } from '../errors.ts';
import { OcspSigners, type OcspSignersOptions } from './ocsp-signer.ts';

const passphrase = 'a passphrase of the test';
const log = pino({ level: 'silent' });

interface Bench {
  readonly authorities: TestAuthorities;
  readonly clock: FixtureClock;
  readonly folder: string;
  /** Another reader, or writer, of the same folder. */
  signers(changes?: Partial<OcspSignersOptions>): OcspSigners;
  /** Names in the folder, sorted. */
  files(): Promise<string[]>;
}

let opened: TestAuthorities | undefined;
afterEach(async () => {
  await opened?.close();
  opened = undefined;
});

async function open(): Promise<Bench> {
  const clock = new FixtureClock();
  const authorities = await openTestAuthorities({ clock });
  opened = authorities;
  const folder = join(authorities.folder, 'ocsp');
  return {
    authorities,
    clock,
    folder,
    signers: (changes = {}) =>
      new OcspSigners({
        issuer: 'issuing',
        issuerCertificate: certificates.issuing,
        folder,
        keys: { passphrase },
        enrol: (csr) =>
          authorities.ra.enrolService({
            issuer: 'issuing',
            template: 'ocsp-signing',
            csr,
            operator: 'OCSP responder',
          }),
        store: authorities.store,
        clock,
        log,
        ...changes,
      }),
    files: async () => (await readdir(folder)).toSorted(),
  };
}

async function serialOf(signers: OcspSigners): Promise<string | undefined> {
  return (await signers.current())?.certificate.serialNumber;
}

/** To the middle of the certificate's life, and a little more. */
function pastHalf({ notBefore, notAfter }: Certificate): number {
  return (notBefore.getTime() + notAfter.getTime()) / 2 - Date.now() + 1000;
}

describe('OcspSigners', () => {
  test('has none in the beginning, and makes one as the CA’s template says', async () => {
    const { signers, files, folder, authorities } = await open();
    const own = signers();
    assert.equal(await own.current(), undefined);
    assert.equal(await own.renewIfDue(), 'renewed');
    const signer = await own.current();
    assert.ok(signer !== undefined);
    const { certificate, key } = signer;
    assert.ok(verifyCertificateSignature(certificate, keys.issuing.spki));
    assert.deepEqual(extKeyUsageOf(certificate), [oid.ocspSigning]);
    assert.ok(extensionValue(certificate, oid.ocspNoCheck) !== undefined);
    assert.equal(commonNameOf(certificate.subject), 'Test Issuing CA OCSP');
    // The CA's own kind of key.
    assert.equal(parsePublicKeyInfo(key.spki).type, 'rsa');
    assert.equal(signer.signatureAlgorithm, 'rsa-sha256');
    const days = (certificate.notAfter.getTime() - Date.now()) / DAY_MS;
    assert.ok(days > 6 && days < 32, `${days} days`);
    // It is in the CA's list like every other.
    const record = await authorities.store.certificateBySerial('issuing', certificate.serialNumber);
    assert.equal(record?.requester, 'OCSP responder');
    const names = await files();
    assert.deepEqual(
      names.map((name) => name.replace(/[0-9a-f]{16}/, '#')),
      ['issuing.#.crt.pem', 'issuing.#.key.pem'],
    );
    if (process.platform !== 'win32') {
      for (const name of names) assert.equal((await stat(join(folder, name))).mode & 0o077, 0, name);
    }
    assert.equal(await own.renewIfDue(), 'kept');
    assert.deepEqual(await files(), names);
  });

  test('is found by other readers of the folder, but by no other CA', async () => {
    const { signers } = await open();
    const [own, other] = [signers(), signers()];
    await own.renewIfDue();
    assert.equal(await serialOf(other), await serialOf(own));
    for (const issuer of ['iss', 'issuing-2']) assert.equal(await signers({ issuer }).current(), undefined);
  });

  test('is renewed from half of its life on, and goes when it has ended', async () => {
    const { signers, clock, files } = await open();
    const [own, other] = [signers(), signers()];
    await own.renewIfDue();
    const first = (await own.current())?.certificate as Certificate;
    assert.equal(await serialOf(other), first.serialNumber);
    clock.offsetMs = pastHalf(first) - 60_000;
    assert.equal(await own.renewIfDue(), 'kept');
    clock.offsetMs = pastHalf(first);
    assert.equal(await own.renewIfDue(), 'renewed');
    const second = (await own.current())?.certificate as Certificate;
    assert.notEqual(second.serialNumber, first.serialNumber);
    assert.ok(second.notAfter > first.notAfter);
    // Both are there: what the first has signed counts, and other threads may still sign with it for a minute.
    assert.equal((await files()).length, 4);
    clock.offsetMs += 61_000;
    assert.equal(await serialOf(other), second.serialNumber);
    clock.offsetMs = pastHalf(second);
    assert.equal(await own.renewIfDue(), 'renewed');
    clock.offsetMs = pastHalf((await own.current())?.certificate as Certificate);
    assert.equal(await own.renewIfDue(), 'renewed');
    assert.ok((await files()).length <= 6);
    assert.ok(clock.now() > first.notAfter);
    const names = await files();
    const third = await serialOf(signers());
    assert.equal(third, await serialOf(own));
    // Long after everything has ended there is none, and the files go with the next renewal.
    clock.offsetMs += 100 * DAY_MS;
    assert.equal(await own.current(), undefined);
    assert.equal(await own.renewIfDue(), 'renewed');
    assert.equal((await files()).length, 2);
    assert.ok((await files()).every((name) => !names.includes(name)));
  });

  test('a CA that is about to end does not get one certificate after the other', async () => {
    const { signers, clock } = await open();
    clock.offsetMs = certificates.issuing.notAfter.getTime() - Date.now() - 3 * DAY_MS;
    const own = signers();
    assert.equal(await own.renewIfDue(), 'renewed');
    clock.offsetMs += 2 * DAY_MS;
    assert.equal(await own.renewIfDue(), 'kept');
    assert.deepEqual((await own.current())?.certificate.notAfter, certificates.issuing.notAfter);
  });

  test('a renewal that fails leaves the signer at work, and is tried again after a pause', async () => {
    const { signers, clock, files } = await open();
    const own = signers();
    await own.renewIfDue();
    const first = (await own.current())?.certificate as Certificate;
    let tries = 0;
    const unlucky = signers({
      enrol: () => {
        tries += 1;
        return Promise.reject(new PkiError('store_unavailable', 'the disk is full'));
      },
    });
    clock.offsetMs = pastHalf(first);
    await assert.rejects(unlucky.renewIfDue(), { code: 'store_unavailable' });
    assert.equal(await serialOf(unlucky), first.serialNumber);
    assert.equal(await unlucky.renewIfDue(), 'kept');
    assert.equal(tries, 1);
    clock.offsetMs += 61_000;
    await assert.rejects(unlucky.renewIfDue(), { code: 'store_unavailable' });
    assert.equal(tries, 2);
    // The key without certificate is what a crash leaves too; nobody minds, and the next renewal removes it.
    assert.equal((await files()).length, 3);
    assert.equal(await own.renewIfDue(), 'renewed');
    assert.equal((await files()).length, 4);
  });

  test('is revoked by an operator: it signs no more, and another takes its place', async () => {
    const { signers, clock, authorities } = await open();
    const own = signers();
    await own.renewIfDue();
    const first = (await serialOf(own)) as string;
    await authorities.ca.revoke({
      issuer: 'issuing',
      serialNumber: first,
      reason: 'keyCompromise',
      actor: 'test',
      text: '',
    });
    clock.offsetMs = 61_000;
    assert.equal(await own.current(), undefined);
    assert.equal(await own.renewIfDue(), 'renewed');
    assert.notEqual(await serialOf(own), first);
  });

  test('is of a CA that has a new key since: it is passed over and replaced', async () => {
    const { signers } = await open();
    await signers().renewIfDue();
    const renewed = { ...certificates.issuing, spki: keys.other.spki };
    assert.equal(await signers({ issuerCertificate: renewed }).current(), undefined);
  });

  test('has a key that stays: certificates for it come and go, and no key is made', async () => {
    const { signers, clock, files } = await open();
    // What was made before the key had a place of its own is not looked at.
    await signers().renewIfDue();
    const before = await files();
    const own = signers({ keys: { key: keys.other } });
    assert.equal(await own.current(), undefined);
    assert.equal(await own.renewIfDue(), 'renewed');
    const first = await own.current();
    assert.deepEqual(first?.certificate.spki, keys.other.spki);
    assert.equal(first?.key, keys.other);
    const made = (await files()).filter((name) => !before.includes(name));
    assert.match(made.join(), /^issuing\.[0-9a-f]{16}\.placed\.crt\.pem$/);
    assert.equal(await own.renewIfDue(), 'kept');
    clock.offsetMs = pastHalf(first?.certificate as Certificate);
    assert.equal(await own.renewIfDue(), 'renewed');
    const second = await own.current();
    assert.notEqual(second?.certificate.serialNumber, first?.certificate.serialNumber);
    assert.deepEqual(second?.certificate.spki, keys.other.spki);
    // Another process finds it; with another key it is passed over.
    assert.equal(await serialOf(signers({ keys: { key: keys.other } })), second?.certificate.serialNumber);
    assert.equal(await signers({ keys: { key: keys.device } }).current(), undefined);
  });

  test('has a certificate that an operator renews: it is read, and never made', async () => {
    const { signers, clock, folder, files, authorities } = await open();
    const maker = signers({ keys: { key: keys.other } });
    await maker.renewIfDue();
    const [name = ''] = await files();
    const certificateFile = join(authorities.folder, 'operator.crt.pem');
    const own = signers({ keys: { key: keys.other, certificateFile } });
    await assert.rejects(own.current(), { code: 'key_locked' });
    await rename(join(folder, name), certificateFile);
    clock.offsetMs = 3_000;
    const first = (await own.current())?.certificate as Certificate;
    assert.deepEqual(first.spki, keys.other.spki);
    clock.offsetMs = pastHalf(first);
    assert.equal(await own.renewIfDue(), 'kept');
    assert.deepEqual(await files(), []);
    await assert.rejects(signers({ keys: { key: keys.device, certificateFile } }).current(), {
      code: 'key_capability',
      message: /belongs to another key/,
    });
    await maker.renewIfDue();
    const [next = ''] = await files();
    await rename(join(folder, next), certificateFile);
    clock.offsetMs += 61_000;
    assert.ok(((await own.current())?.certificate.notAfter ?? new Date(0)) > first.notAfter);
  });

  const unfit: readonly (readonly [what: string, template: string])[] = [
    ['another purpose', 'client-authentication'],
    ['another purpose of a service', 'ra-signing'],
  ];
  for (const [what, template] of unfit) {
    test(`a certificate for ${what} is not taken`, async () => {
      const { signers, authorities } = await open();
      const own = signers({
        enrol: (csr) =>
          authorities.ra.enrolService({ issuer: 'issuing', template, csr, operator: 'OCSP responder' }),
      });
      await assert.rejects(own.renewIfDue(), { code: 'key_capability' });
      assert.equal(await own.current(), undefined);
    });
  }

  test('a wrong passphrase, a missing key and a damaged certificate are told', async () => {
    const { signers, files, folder } = await open();
    await signers().renewIfDue();
    await assert.rejects(signers({ keys: { passphrase: 'another' } }).current(), { code: 'key_locked' });
    const [certificateFile = '', keyFile = ''] = await files();
    await unlink(join(folder, keyFile));
    await assert.rejects(signers().current(), { code: 'key_locked' });
    await writeFile(join(folder, certificateFile), 'nothing of the sort');
    await assert.rejects(signers().current(), { code: 'pem_malformed' });
  });
});
