import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { pino } from 'pino';
import { newCrl, type StorageServer, s3Key, startS3 } from '../../test/support/storage-fixture.ts';
import { PkiError } from '../errors.ts';
import type { Clock } from '../telemetry.ts';
import { folderTarget } from './folder.ts';
import { crlObject, type PublishedObject } from './objects.ts';
import { type Pace, Publisher } from './publisher.ts';
import { s3Target } from './s3.ts';
import type { Target } from './target.ts';

let folder: string;
let s3: StorageServer;
before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'leafgate-publisher-'));
  s3 = await startS3();
});
after(() => Promise.all([s3.remove(), rm(folder, { recursive: true, force: true })]));

/** A log whose lines can be read. */
function newLog() {
  const lines: Record<string, unknown>[] = [];
  const log = pino({ level: 'debug' }, { write: (line: string) => lines.push(JSON.parse(line)) });
  return { log, lines, alarms: () => lines.filter(({ alarm }) => alarm === 'publish') };
}

/** A clock that can be moved. */
function newClock(): Clock & { move(ms: number): void } {
  let offsetMs = 0;
  return {
    now: () => new Date(Date.now() + offsetMs),
    move: (ms) => {
      offsetMs += ms;
    },
  };
}

/** Waits until it is so. */
async function until(what: string, holds: () => boolean | Promise<boolean>): Promise<void> {
  for (const end = Date.now() + 15_000; Date.now() < end; await sleep(5)) if (await holds()) return;
  assert.fail(`${what}: not within 15 s`);
}

/** A publisher that is quick, over objects that can be changed. */
function newPublisher(
  targets: readonly Target[],
  first: readonly PublishedObject[],
  more: { readonly pace?: Partial<Pace>; readonly clock?: Clock; readonly alarmAfterMs?: number } = {},
) {
  let objects = first;
  const log = newLog();
  const publisher = new Publisher({
    targets,
    objects: async () => objects,
    alarmAfterMs: more.alarmAfterMs ?? 3_600_000,
    log: log.log,
    clock: more.clock ?? newClock(),
    pace: { passMs: 60_000, retryMs: 10, retryMsMax: 50, ...more.pace },
  });
  return {
    publisher,
    ...log,
    change: (next: readonly PublishedObject[]) => {
      objects = next;
      publisher.wake();
    },
  };
}

const bucket = () =>
  s3Target({
    name: 'bucket',
    bucket: 'pki',
    region: 'us-east-1',
    endpoint: s3.url,
    addressing: 'path',
    prefix: '',
    accessKeyId: s3Key,
    secretAccessKey: s3Key,
  });

describe('Publisher', () => {
  test('publishes at once, and again when it is woken', async () => {
    const place = join(folder, 'woken');
    const target = folderTarget({ name: 'here', folder: place });
    const [one, two] = [crlObject('a', await newCrl(1)), crlObject('a', await newCrl(2))];
    const { publisher, change, lines } = newPublisher([target], [one]);
    try {
      assert.equal(publisher.state()[0]?.status, 'unknown');
      await until('the first', () => publisher.state()[0]?.status === 'current');
      assert.deepEqual(await readFile(join(place, 'a.crl')), Buffer.from(one.bytes));
      change([two]);
      await until('the second', () => publisher.state()[0]?.holds['a.crl']?.number === 2n);
      assert.deepEqual(await readFile(join(place, 'a.crl')), Buffer.from(two.bytes));
      assert.deepEqual(publisher.state()[0]?.endsAt, two.nextUpdate);
      assert.deepEqual(
        lines.map(({ msg, number }) => `${msg} ${number}`),
        ['published 1', 'published 2'],
      );
    } finally {
      await publisher.close();
    }
    change([one]);
    await sleep(50);
    assert.deepEqual(
      await readFile(join(place, 'a.crl')),
      Buffer.from(two.bytes),
      'it went on after its end',
    );
  });

  test('a wake while it works is not lost', async () => {
    const place = join(folder, 'busy');
    const crls = await Promise.all(
      Array.from({ length: 20 }, async (_, i) => crlObject('a', await newCrl(i + 1))),
    );
    const { publisher, change } = newPublisher(
      [folderTarget({ name: 'here', folder: place })],
      [crls[0] as PublishedObject],
    );
    try {
      for (const crl of crls) change([crl]);
      await until('the last', () => publisher.state()[0]?.holds['a.crl']?.number === 20n);
    } finally {
      await publisher.close();
    }
  });

  test('a target that is down holds up no other, and gets the newest CRL when it is back', async () => {
    const place = join(folder, 'outage');
    await s3.stop();
    const objects = await Promise.all(
      [1, 2, 3].map(async (number) => crlObject('outage', await newCrl(number))),
    );
    const [one, two, three] = objects as [PublishedObject, PublishedObject, PublishedObject];
    const remote = await bucket();
    const { publisher, change, lines, alarms } = newPublisher(
      [remote, folderTarget({ name: 'here', folder: place })],
      [one],
    );
    const remoteState = () => publisher.state()[0];
    try {
      await until('the folder', () => publisher.state()[1]?.status === 'current');
      await until('the failure', () => remoteState()?.status === 'behind');
      assert.match(remoteState()?.lastError?.text ?? '', /^bucket: .* cannot be reached: ECONN/);
      assert.deepEqual(remoteState()?.holds, {});
      change([two]);
      await until('the folder again', () => publisher.state()[1]?.holds['outage.crl']?.number === 2n);
      await s3.start();
      await until('the bucket', () => remoteState()?.status === 'current');
      assert.deepEqual(await remote.read('outage.crl', AbortSignal.timeout(5000)), Buffer.from(two.bytes));
      assert.match(remoteState()?.lastError?.text ?? '', /cannot be reached/, 'the last error stays in view');

      // Down once more while it holds something.
      await s3.stop();
      change([three]);
      await until('the second failure', () => remoteState()?.status === 'behind');
      assert.equal(remoteState()?.holds['outage.crl']?.number, 2n);
      await s3.start();
      await until('the bucket again', () => remoteState()?.holds['outage.crl']?.number === 3n);
    } finally {
      await publisher.close();
      await s3.start();
    }
    const messages = lines.filter(({ target }) => target === 'bucket').map(({ msg }) => msg);
    assert.deepEqual(messages, [
      'publishing failed; it is tried again',
      'published',
      'the publication target is up to date again',
      'publishing failed; it is tried again',
      'published',
      'the publication target is up to date again',
    ]);
    assert.deepEqual(alarms(), []);
  });

  test('raises the alarm when it was behind for so long, says so again, and takes it back', async () => {
    const place = join(folder, 'alarm');
    await writeFile(place, 'in the way');
    const clock = newClock();
    const { publisher, alarms } = newPublisher(
      [folderTarget({ name: 'blocked', folder: place })],
      [crlObject('a', await newCrl(1))],
      { clock, alarmAfterMs: 3_600_000 },
    );
    try {
      await until('the failure', () => publisher.state()[0]?.status === 'behind');
      clock.move(3_500_000);
      await sleep(100);
      assert.equal(alarms().length, 0);
      assert.equal(publisher.state()[0]?.alarm, false);
      clock.move(200_000);
      await until('the alarm', () => alarms().length === 1);
      assert.equal(alarms()[0]?.level, 50);
      assert.equal(alarms()[0]?.target, 'blocked');
      assert.equal(publisher.state()[0]?.alarm, true);
      await sleep(100);
      assert.equal(alarms().length, 1, 'not at each attempt');
      clock.move(3_700_000);
      await until('the second alarm', () => alarms().length === 2);
      await rm(place);
      await until('the end', () => publisher.state()[0]?.status === 'current');
      assert.equal(publisher.state()[0]?.alarm, false);
    } finally {
      await publisher.close();
    }
  });

  test('raises the alarm half-way to the end of what is served, if that is earlier', async () => {
    const clock = newClock();
    const remote = await bucket();
    const endsInMs = 20 * 60_000;
    const { publisher, change, alarms } = newPublisher(
      [remote],
      [crlObject('short', await newCrl(1, { endsInMs }))],
      { clock, alarmAfterMs: 24 * 3_600_000 },
    );
    try {
      await until('the first', () => publisher.state()[0]?.status === 'current');
      await s3.stop();
      change([crlObject('short', await newCrl(2, { endsInMs }))]);
      await until('the failure', () => publisher.state()[0]?.status === 'behind');
      clock.move(9 * 60_000);
      await sleep(100);
      assert.equal(alarms().length, 0);
      clock.move(2 * 60_000);
      await until('the alarm', () => alarms().length === 1);
      const endsAt = new Date(String(alarms()[0]?.endsAt));
      assert.ok(endsAt.getTime() - clock.now().getTime() > 8 * 60_000, 'the alarm came in time');
    } finally {
      await publisher.close();
      await s3.start();
    }
  });

  test('a target that holds a higher number is behind until ours is higher', async () => {
    const target = folderTarget({ name: 'ahead', folder: join(folder, 'ahead') });
    const crls = await Promise.all([4, 9, 10].map(async (number) => crlObject('a', await newCrl(number))));
    const [restored, before, next] = crls as [PublishedObject, PublishedObject, PublishedObject];
    const first = newPublisher([target], [before]);
    await until('the first', () => first.publisher.state()[0]?.status === 'current');
    await first.publisher.close();
    const { publisher, change } = newPublisher([target], [restored]);
    try {
      await until('the refusal', () => publisher.state()[0]?.status === 'behind');
      assert.match(publisher.state()[0]?.lastError?.text ?? '', /has the number 9 there, ours is 4/);
      change([next]);
      await until('the next', () => publisher.state()[0]?.holds['a.crl']?.number === 10n);
    } finally {
      await publisher.close();
    }
  });

  test('mends what was removed or changed at the target', async () => {
    const place = join(folder, 'mended');
    const object = crlObject('a', await newCrl(1));
    const { publisher } = newPublisher([folderTarget({ name: 'here', folder: place })], [object], {
      pace: { passMs: 10, recheckMs: 20 },
    });
    try {
      await until('the first', () => publisher.state()[0]?.status === 'current');
      await rm(join(place, 'a.crl'));
      await until('the second', async () =>
        (await readFile(join(place, 'a.crl')).catch(() => Buffer.of())).equals(object.bytes),
      );
    } finally {
      await publisher.close();
    }
  });

  test('goes on when what is to be published cannot be said for a while', async () => {
    let isDown = true;
    const object = crlObject('a', await newCrl(1));
    const publisher = new Publisher({
      targets: [folderTarget({ name: 'here', folder: join(folder, 'store') })],
      objects: async () => {
        if (isDown) throw new PkiError('store_unavailable', 'the database is away');
        return [object];
      },
      alarmAfterMs: 3_600_000,
      log: newLog().log,
      clock: newClock(),
      pace: { retryMs: 10, retryMsMax: 20 },
    });
    try {
      await until('the failure', () => publisher.state()[0]?.lastError?.text === 'the database is away');
      isDown = false;
      await until('the recovery', () => publisher.state()[0]?.status === 'current');
    } finally {
      await publisher.close();
    }
  });
});
