import assert from 'node:assert/strict';
import { chmod, mkdir, readdir, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, describe, test } from 'node:test';
import { pino } from 'pino';
import {
  certificates,
  DAY_MS,
  FixtureClock,
  issuer,
  keys,
  openTestAuthorities,
  type TestAuthorities,
} from '../../test/support/authorities-fixture.ts';
import {
  type Certificate,
  type CertificateIdentifier,
  commonNameOf,
  extKeyUsageOf,
  keyUsageOf,
  oid,
  sameOctets,
  subjectKeyIdentifierOf,
  verifyCertificateSignature,
} from '../codec/index.ts';
import {
  listRaCertificates,
  RaCertificates,
  type RaCertificatesOptions,
  raFaultOf,
} from './ra-certificates.ts';

const log = pino({ level: 'silent' });
const MINUTE_MS = 60_000;
const RENEWAL_PERIOD_MS = 42 * DAY_MS;

interface Bench {
  readonly authorities: TestAuthorities;
  readonly clock: FixtureClock;
  readonly folder: string;
  /** Another thread, process or server with the same folder. */
  reader(changes?: Partial<RaCertificatesOptions>): RaCertificates;
  generations(): Promise<string[]>;
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
  const folder = join(authorities.folder, 'ra', 'issuing');
  return {
    authorities,
    clock,
    folder,
    reader: (changes = {}) =>
      new RaCertificates({
        issuer: 'issuing',
        issuerCertificate: certificates.issuing,
        certificates: 'separate',
        folder,
        passphrase: 'a passphrase of the test',
        renewalPeriodMs: RENEWAL_PERIOD_MS,
        enrol: (template, csr) =>
          authorities.ra.enrolService({ issuer: 'issuing', template, csr, operator: 'TEST\\svc-ra' }),
        store: authorities.store,
        clock,
        log,
        ...changes,
      }),
    generations: async () => (await readdir(folder)).toSorted(),
  };
}

const byNumber = ({ issuerAndSerialNumber }: Certificate): CertificateIdentifier => ({
  type: 'issuerAndSerialNumber',
  raw: issuerAndSerialNumber,
});

/** From now to just inside the renewal period of a certificate. */
const toRenewal = ({ notAfter }: Certificate) =>
  notAfter.getTime() - RENEWAL_PERIOD_MS - Date.now() + MINUTE_MS;

describe('RaCertificates', () => {
  test('has none in the beginning, and makes what Windows demands', async () => {
    const { reader, authorities, folder, generations } = await open();
    const own = reader();
    await own.reload();
    assert.equal(own.current(), undefined);
    assert.equal(await own.renewIfDue(), 'renewed');
    const generation = own.current();
    assert.ok(generation !== undefined);
    const rows = [
      [generation.signing.certificate, 'Test Issuing CA RA Signing', ['digitalSignature']],
      [generation.encryption.certificate, 'Test Issuing CA RA Encryption', ['keyEncipherment']],
    ] as const;
    for (const [certificate, name, usage] of rows) {
      assert.equal(commonNameOf(certificate.subject), name);
      assert.deepEqual(keyUsageOf(certificate), usage);
      assert.deepEqual(extKeyUsageOf(certificate), [oid.certificateRequestAgent]);
      assert.ok(verifyCertificateSignature(certificate, keys.issuing.spki));
      // In the CA's list like every other, under the server's own name.
      const record = await authorities.store.certificateBySerial('issuing', certificate.serialNumber);
      assert.equal(record?.requester, 'TEST\\svc-ra');
    }
    assert.ok(!sameOctets(generation.signing.key.spki, generation.encryption.key.spki));
    // Only their owner reads them.
    const [name = ''] = await generations();
    assert.equal((await stat(join(folder, name))).mode & 0o777, 0o700);
    for (const file of await readdir(join(folder, name)))
      assert.equal((await stat(join(folder, name, file))).mode & 0o777, 0o600, file);
    assert.equal(await own.renewIfDue(), 'kept');
    assert.equal((await generations()).length, 1);
  });

  test('one certificate for both roles, where clients know one alone', async () => {
    const { reader } = await open();
    const own = reader({ certificates: 'one' });
    await own.renewIfDue();
    const generation = own.current();
    assert.equal(generation?.signing, generation?.encryption);
    assert.deepEqual(keyUsageOf(generation?.signing.certificate ?? certificates.root), [
      'digitalSignature',
      'keyEncipherment',
    ]);
  });

  test('the next comes in time, and all switch at one moment', async () => {
    const { reader, clock, generations } = await open();
    const [writer, thread, process] = [reader(), reader(), reader()];
    await writer.renewIfDue();
    const first = writer.current();
    assert.ok(first !== undefined);
    await thread.reload();
    // A minute before it is due, nothing happens.
    clock.offsetMs = toRenewal(first.encryption.certificate) - 2 * MINUTE_MS;
    assert.equal(await writer.renewIfDue(), 'kept');
    clock.offsetMs += 2 * MINUTE_MS;
    assert.equal(await writer.renewIfDue(), 'renewed');
    assert.equal(await writer.renewIfDue(), 'kept', 'not a third one while the second waits');
    assert.equal((await generations()).length, 2);
    // Nobody gives it out before everybody can open what is encrypted to it.
    await thread.reload();
    await process.reload();
    for (const each of [writer, thread, process]) assert.equal(each.current()?.name, first.name);
    const second = writer.generations.at(-1);
    assert.ok(second !== undefined && second.name !== first.name);
    for (const each of [writer, thread, process])
      assert.equal(each.ofRecipient(byNumber(second.encryption.certificate))?.name, second.name);
    clock.offsetMs += 9 * MINUTE_MS;
    for (const each of [writer, thread, process]) assert.equal(each.current()?.name, first.name);
    clock.offsetMs += 2 * MINUTE_MS;
    for (const each of [writer, thread, process]) assert.equal(each.current()?.name, second.name);
    assert.ok(!sameOctets(first.encryption.key.spki, second.encryption.key.spki), 'a new key');
    // A client with a GetCACert of before is served as before, until that ends.
    assert.equal(thread.ofRecipient(byNumber(first.encryption.certificate))?.name, first.name);
    clock.offsetMs += RENEWAL_PERIOD_MS;
    assert.equal(thread.ofRecipient(byNumber(first.encryption.certificate))?.name, second.name);
    // What ended is removed with the next renewal.
    clock.offsetMs = toRenewal(second.encryption.certificate);
    assert.equal(await writer.renewIfDue(), 'renewed');
    assert.deepEqual(
      await generations(),
      writer.generations.map(({ name }) => name),
    );
    assert.equal(writer.generations.length, 2);
  });

  test('a recipient is known by its number, its key or its serial number alone', async () => {
    const { reader, clock } = await open();
    const own = reader();
    await own.renewIfDue();
    const first = own.current();
    assert.ok(first !== undefined);
    clock.offsetMs = toRenewal(first.encryption.certificate);
    await own.renewIfDue();
    clock.offsetMs += 11 * MINUTE_MS;
    const second = own.current();
    const { certificate } = first.encryption;
    const identifier = subjectKeyIdentifierOf(certificate);
    assert.ok(identifier !== undefined && second !== undefined && second.name !== first.name);
    const rows: readonly (readonly [name: string, of: CertificateIdentifier | undefined, want: string])[] = [
      ['its number', byNumber(certificate), first.name],
      ['its key', { type: 'subjectKeyIdentifier', identifier }, first.name],
      [
        'its serial number below another spelling of the issuer',
        {
          type: 'issuerAndSerialNumber',
          raw: Buffer.concat([Buffer.from('issuer'), Buffer.from(certificate.serialNumber, 'hex')]),
        },
        first.name,
      ],
      ['nobody', undefined, second.name],
      ['a stranger', byNumber(certificates.root), second.name],
      ['an unknown key', { type: 'subjectKeyIdentifier', identifier: Buffer.alloc(20) }, second.name],
      ['the signing certificate', byNumber(first.signing.certificate), second.name],
    ];
    for (const [name, of, want] of rows) assert.equal(own.ofRecipient(of)?.name, want, name);
  });

  test('a restart in the middle of a renewal is harmless', async () => {
    const { reader, clock, folder, generations, authorities } = await open();
    await reader().renewIfDue();
    const first = (await generations())[0] ?? '';
    // The process dies after the first of two certificates.
    const own = reader();
    await own.reload();
    clock.offsetMs = toRenewal(own.current()?.encryption.certificate ?? certificates.root);
    let issued = 0;
    const dying = reader({
      enrol: (template, csr) => {
        issued += 1;
        if (issued === 2) throw new Error('the process dies');
        return authorities.ra.enrolService({ issuer: 'issuing', template, csr, operator: 'x' });
      },
    });
    await assert.rejects(dying.renewIfDue(), /dies/);
    assert.equal((await generations()).length, 2, 'the draft is there');
    // Nobody sees it; it goes with the renewal after the restart.
    const restarted = reader();
    await restarted.reload();
    assert.deepEqual(
      restarted.generations.map(({ name }) => name),
      [first],
    );
    assert.equal(await restarted.renewIfDue(), 'renewed');
    const names = await generations();
    assert.equal(names.length, 2);
    assert.ok(names.every((name) => !name.endsWith('.new')));
    assert.ok((await readdir(join(folder, names[1] ?? ''))).length === 4);
  });

  test('after a failure it pauses, and what there is goes on', async () => {
    const { reader, clock } = await open();
    const own = reader();
    await own.renewIfDue();
    const first = own.current();
    assert.ok(first !== undefined);
    clock.offsetMs = toRenewal(first.encryption.certificate);
    let asked = 0;
    const failing = reader({
      enrol: () => {
        asked += 1;
        throw new Error('no CA');
      },
    });
    await assert.rejects(failing.renewIfDue(), /no CA/);
    assert.equal(await failing.renewIfDue(), 'kept');
    assert.equal(asked, 1);
    assert.equal(failing.current()?.name, first.name);
    clock.offsetMs += MINUTE_MS + 1000;
    await assert.rejects(failing.renewIfDue(), /no CA/);
    assert.equal(asked, 2);
  });

  test('what an operator revokes serves no more, and is replaced at once', async () => {
    const { reader, clock, authorities } = await open();
    const own = reader();
    await own.renewIfDue();
    const first = own.current();
    assert.ok(first !== undefined);
    await authorities.ca.revoke({
      issuer: 'issuing',
      serialNumber: first.encryption.certificate.serialNumber,
      reason: 'keyCompromise',
      actor: 'operator',
      text: '',
    });
    await own.reload();
    assert.equal(own.current(), undefined);
    clock.offsetMs += 2 * MINUTE_MS;
    assert.equal(await own.renewIfDue(), 'renewed');
    const second = own.current();
    assert.ok(second !== undefined && second.name !== first.name);
    assert.equal(own.ofRecipient(byNumber(first.encryption.certificate))?.name, second.name);
  });

  test('a CA that ends first ends it: no renewal could last longer', async () => {
    const { reader, clock } = await open();
    const own = reader({
      issuerCertificate: { ...certificates.issuing, notAfter: new Date(Date.now() + DAY_MS) },
    });
    await own.renewIfDue();
    clock.offsetMs = 700 * DAY_MS;
    assert.equal(await own.renewIfDue(), 'kept');
  });

  test('what was made under the former CA is passed over', async () => {
    const { reader } = await open();
    await reader().renewIfDue();
    const other = reader({ issuerCertificate: { ...certificates.issuing, spki: keys.other.spki } });
    await other.reload();
    assert.equal(other.current(), undefined);
  });

  test('a template of which clients would take nothing is refused', async () => {
    const { reader, authorities } = await open();
    const own = reader({
      enrol: (_template, csr) =>
        authorities.ra.enrolService({ issuer: 'issuing', template: 'ocsp-signing', csr, operator: 'x' }),
    });
    await assert.rejects(own.renewIfDue(), { code: 'key_capability' });
    assert.equal(own.current(), undefined);
  });

  test('a wrong passphrase, and a file that others may read, are refused by name', async () => {
    const { reader, folder, generations } = await open();
    await reader().renewIfDue();
    await assert.rejects(reader({ passphrase: 'another' }).reload(), { code: 'key_locked' });
    const [name = ''] = await generations();
    await chmod(join(folder, name, 'signing.key.pem'), 0o644);
    await assert.rejects(reader().reload(), { code: 'key_locked' });
  });

  test('other things in the folder are left alone', async () => {
    const { reader, folder } = await open();
    await mkdir(join(folder, 'notes'), { recursive: true });
    await writeFile(join(folder, 'readme.txt'), 'hands off');
    const own = reader();
    await own.renewIfDue();
    assert.equal(own.generations.length, 1);
    assert.deepEqual(
      (await readdir(folder)).filter((name) => !name.startsWith('2')),
      ['notes', 'readme.txt'],
    );
  });

  test('views list the certificates without their keys', async () => {
    const { reader, folder } = await open();
    assert.deepEqual(await listRaCertificates(folder), []);
    await reader().renewIfDue();
    const [listed, ...more] = await listRaCertificates(folder);
    assert.equal(more.length, 0);
    assert.deepEqual(
      listed?.certificates.map(({ subject }) => commonNameOf(subject)),
      ['Test Issuing CA RA Signing', 'Test Issuing CA RA Encryption'],
    );
    assert.ok(Math.abs((listed?.activeFrom.getTime() ?? 0) - Date.now()) < MINUTE_MS);
  });
});

describe('raFaultOf', () => {
  const rows: readonly (readonly [name: string, Parameters<typeof raFaultOf>, want: RegExp | undefined])[] = [
    ['a signing certificate', [certificates.raSigning, 'signing', issuer.certificate], undefined],
    ['an encryption certificate', [certificates.raEncryption, 'encryption', issuer.certificate], undefined],
    ['signing for encryption', [certificates.raSigning, 'encryption', issuer.certificate], /keyEncipherment/],
    [
      'encryption for signing',
      [certificates.raEncryption, 'signing', issuer.certificate],
      /digitalSignature/,
    ],
    ['one role for both', [certificates.raSigning, 'both', issuer.certificate], /keyEncipherment/],
    ['of another CA', [certificates.raSigning, 'signing', certificates.root], /issuing CA/],
    ['a CA’s own', [certificates.issuing, 'signing', certificates.root], /purpose/],
  ];
  for (const [name, [certificate, role, above], want] of rows) {
    test(name, () => {
      const fault = raFaultOf(certificate, role, above);
      if (want === undefined) assert.equal(fault, undefined);
      else assert.match(fault ?? '', want);
    });
  }
});
