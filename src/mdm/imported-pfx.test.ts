import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { join } from 'node:path';
import { after, before, beforeEach, describe, test } from 'node:test';
import { MovableClock, temporaryFolder } from '../../test/support/mdm-fixture.ts';
import { openLog } from '../telemetry.ts';
import type { DeviceUser } from './device.ts';
import { ImportedPfx, type PfxImport } from './imported-pfx.ts';
import { MdmStore } from './mdm-store.ts';

const clock = new MovableClock();
const DAY_MS = 24 * 60 * 60 * 1000;
const inDays = (days: number) => new Date(clock.now().getTime() + days * DAY_MS);

let folder: Awaited<ReturnType<typeof temporaryFolder>>;
let store: MdmStore;
let importedPfx: ImportedPfx;
let ada: DeviceUser;

before(async () => {
  folder = await temporaryFolder();
  store = MdmStore.open(join(folder.path, 'mdm.db'));
  importedPfx = new ImportedPfx({
    store: store.userPfx,
    user: (name) => (name.toLowerCase() === ada.userPrincipalName ? ada : undefined),
    clock,
    log: openLog('silent', 'test'),
  });
});
after(async () => {
  store.close();
  await folder.remove();
});
beforeEach(() => {
  ada = { userId: randomUUID(), userPrincipalName: 'ada@example.com' };
});

const first = 'A1'.repeat(20);
const second = 'B2'.repeat(20);

function described(thumbprint: string, changes: Partial<PfxImport> = {}): PfxImport {
  return {
    thumbprint,
    intendedPurpose: 'smimeEncryption',
    userPrincipalName: 'ada@example.com',
    startDateTime: inDays(-10),
    expirationDateTime: inDays(10),
    providerName: 'provider',
    keyName: 'key',
    paddingScheme: 'oaepSha512',
    encryptedPfxBlob: 'AAAA',
    encryptedPfxPassword: 'AAAA',
    ...changes,
  };
}

describe('nothing is imported', () => {
  const rows: [name: string, changes: Partial<PfxImport>, message: RegExp][] = [
    ['for a user who is not known', { userPrincipalName: 'bob@example.com' }, /no user bob@example.com/],
    ['whose certificate ends before it begins', { expirationDateTime: inDays(-11) }, /expirationDateTime/],
    [
      'whose certificate ends as it begins',
      { startDateTime: new Date(0), expirationDateTime: new Date(0) },
      /expirationDateTime/,
    ],
  ];
  for (const [name, changes, message] of rows)
    test(name, async () => {
      await assert.rejects(importedPfx.import(described(first, changes)), {
        code: 'request_malformed',
        message,
      });
      assert.deepEqual(importedPfx.certificates({ userId: ada.userId, limit: 10 }), []);
    });
});

test('the same certificate once more replaces what is there', async () => {
  const before = await importedPfx.import(described(first));
  clock.offsetMs += 1000;
  const after = await importedPfx.import(
    described(first, { userPrincipalName: 'ADA@example.com', encryptedPfxBlob: 'BBBB' }),
  );
  assert.deepEqual(after.createdDateTime, before.createdDateTime);
  assert.ok(after.lastModifiedDateTime > before.lastModifiedDateTime);
  assert.equal(after.encryptedPfxBlob, 'BBBB');
  assert.deepEqual(importedPfx.certificate(after), after);
  const { encryptedPfxBlob: _, encryptedPfxPassword: __, ...listed } = after;
  assert.deepEqual(importedPfx.certificates({ userId: ada.userId, limit: 10 }), [listed]);
});

test('a user has a thousand, and may replace but not add one', async () => {
  const numbered = (number: number) => described(number.toString(16).toUpperCase().padStart(40, '0'));
  await Promise.all(Array.from({ length: 1000 }, (_, number) => importedPfx.import(numbered(number))));
  await assert.rejects(importedPfx.import(numbered(1000)), {
    code: 'request_malformed',
    message: /delete old/,
  });
  await importedPfx.import({ ...numbered(999), keyName: 'another' });
  assert.equal(importedPfx.certificates({ userId: ada.userId, limit: 2000 }).length, 1000);
});

describe('a device gets', () => {
  const rows: [
    name: string,
    imported: readonly PfxImport[],
    installed: string | undefined,
    wanted: string,
  ][] = [
    ['nothing where nothing was imported', [], undefined, 'none'],
    [
      'nothing that is for another purpose',
      [described(first, { intendedPurpose: 'smimeSigning' })],
      undefined,
      'none',
    ],
    ['nothing that has expired', [described(first, { expirationDateTime: inDays(-1) })], undefined, 'none'],
    ['nothing that is not valid yet', [described(first, { startDateTime: inDays(1) })], undefined, 'none'],
    ['what is valid', [described(first)], undefined, first],
    ['nothing again', [described(first)], first.toLowerCase(), 'kept'],
    [
      'the one that began last',
      [described(first, { startDateTime: inDays(-1) }), described(second)],
      second,
      first,
    ],
    [
      'the one that was imported last, if they began together',
      [described(first, { startDateTime: new Date(0) }), described(second, { startDateTime: new Date(0) })],
      first,
      second,
    ],
    [
      'no other one while the next is not valid',
      [described(first), described(second, { startDateTime: inDays(1) })],
      first,
      'kept',
    ],
    [
      'to keep the one that has expired, while there is no other',
      [described(first, { expirationDateTime: inDays(-1) })],
      first,
      'kept',
    ],
    ['nothing before it has given up one that was deleted', [described(second)], first, 'none'],
  ];
  for (const [name, imported, installed, wanted] of rows)
    test(name, async () => {
      for (const each of imported) {
        clock.offsetMs += 1000;
        await importedPfx.import(each);
      }
      const due = importedPfx.dueFor(ada, 'smimeEncryption', installed);
      assert.equal(typeof due === 'object' ? due.thumbprint : due, wanted);
    });

  test('nothing at the moment at which it expires', async () => {
    const expirationDateTime = new Date(Math.ceil(clock.now().getTime() / 1000) * 1000 + DAY_MS);
    await importedPfx.import(described(first, { expirationDateTime }));
    const dueAt = (moment: Date) =>
      new ImportedPfx({
        store: store.userPfx,
        user: () => ada,
        clock: { now: () => moment },
        log: openLog('silent', 'test'),
      }).dueFor(ada, 'smimeEncryption', undefined);
    assert.equal(typeof dueAt(new Date(expirationDateTime.getTime() - 1)), 'object');
    assert.equal(dueAt(expirationDateTime), 'none');
  });

  test('nothing of another user, or of none', async () => {
    await importedPfx.import(described(first));
    const bob = { userId: randomUUID(), userPrincipalName: 'bob@example.com' };
    for (const user of [bob, undefined])
      assert.equal(importedPfx.dueFor(user, 'smimeEncryption', undefined), 'none');
  });
});

test('what was deleted is gone', async () => {
  const { userId, thumbprint } = await importedPfx.import(described(first));
  assert.equal(await importedPfx.delete({ userId: randomUUID(), thumbprint }), false);
  assert.equal(await importedPfx.delete({ userId, thumbprint }), true);
  assert.equal(await importedPfx.delete({ userId, thumbprint }), false);
  assert.equal(importedPfx.dueFor(ada, 'smimeEncryption', undefined), 'none');
});
