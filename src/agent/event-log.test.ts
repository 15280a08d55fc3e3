import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { appendFile, readdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { temporaryFolder } from '../../test/support/mdm-fixture.ts';
import { systemClock } from '../telemetry.ts';
import { deviceEvents, EVENT_SOURCE, EventLog } from './event-log.ts';

async function inFolder(run: (folder: string) => Promise<void>): Promise<void> {
  const folder = await temporaryFolder();
  try {
    await run(folder.path);
  } finally {
    await folder.remove();
  }
}

test('Windows’ events have Windows’ ids, and ours are none of them', () => {
  const { enrolFailed, requestGenerated, certificateInstalled, execAccepted, initializeFailed, ...own } =
    deviceEvents;
  assert.deepEqual(
    [enrolFailed, requestGenerated, certificateInstalled, execAccepted, initializeFailed].map(({ id }) => id),
    [32, 36, 39, 306, 307],
  );
  const ids = Object.values(own).map(({ id }) => id);
  assert.equal(new Set(ids).size, ids.length);
  // The MDM takes numbers of 16 bits.
  assert.ok(ids.every((id) => id > 40_000 && id < 0x10000));
});

test('a log without events is empty', () =>
  inFolder(async (folder) => {
    assert.deepEqual(await new EventLog(folder, systemClock).read(), []);
  }));

test('an event is read as it was written, and only its owner can read the file', () =>
  inFolder(async (folder) => {
    const log = new EventLog(folder, { now: () => new Date('2026-03-01T12:00:00.000Z') });
    assert.equal(
      await log.write('certificateInstalled', 'SCEP: done.', {
        profileId: 'p1',
        attempts: 2,
        gone: undefined,
      }),
      39,
    );
    assert.deepEqual(await log.read(), [
      {
        time: new Date('2026-03-01T12:00:00.000Z'),
        id: 39,
        level: 'Information',
        source: EVENT_SOURCE,
        message: 'SCEP: done.',
        detail: { profileId: 'p1', attempts: 2 },
      },
    ]);
    if (process.platform !== 'win32')
      assert.equal((await stat(join(folder, 'events.jsonl'))).mode & 0o777, 0o600);
  }));

test('what a server says cannot add lines, and is cut', () =>
  inFolder(async (folder) => {
    const log = new EventLog(folder, systemClock);
    await log.write('enrolFailed', `one\r\n{"id":39}\u2028\u0000${'x'.repeat(5000)}`, {
      said: 'a\nb\u001b[31m',
    });
    assert.equal((await readFile(join(folder, 'events.jsonl'), 'utf8')).split('\n').length, 2);
    const [event] = await log.read();
    assert.match(event?.message ?? '', /^one \{"id":39\}.{0,3}x+…$/);
    assert.ok((event?.message.length ?? 0) < 1100);
    assert.equal(event?.detail.said, 'a b [31m');
  }));

test('filters by id, level, time and number, newest last', () =>
  inFolder(async (folder) => {
    let minute = 0;
    const log = new EventLog(folder, { now: () => new Date(Date.UTC(2026, 0, 1, 0, minute++)) });
    for (const name of [
      'execAccepted',
      'retryLater',
      'enrolFailed',
      'execAccepted',
      'certificateInstalled',
    ] as const) {
      await log.write(name, name);
    }
    const ids = async (filter: Parameters<EventLog['read']>[0]) =>
      (await log.read(filter)).map(({ id }) => id);
    assert.deepEqual(await ids({}), [306, 40006, 32, 306, 39]);
    assert.deepEqual(await ids({ ids: [306] }), [306, 306]);
    assert.deepEqual(await ids({ levels: ['Error', 'Warning'] }), [40006, 32]);
    assert.deepEqual(await ids({ since: new Date(Date.UTC(2026, 0, 1, 0, 3)) }), [306, 39]);
    assert.deepEqual(await ids({ limit: 2 }), [306, 39]);
    assert.deepEqual(await ids({ limit: 0 }), []);
    assert.deepEqual(await ids({ ids: [306], limit: 1 }), [306]);
  }));

test('a line that a crash has cut does not hide the others', () =>
  inFolder(async (folder) => {
    const log = new EventLog(folder, systemClock);
    await log.write('execAccepted', 'first');
    await appendFile(
      join(folder, 'events.jsonl'),
      '{"time":"2026-01-01T00:00:00Z","id":3\n"text"\n[]\nnull\n',
    );
    await log.write('certificateInstalled', 'second');
    assert.deepEqual(
      (await log.read()).map(({ message }) => message),
      ['first', 'second'],
    );
  }));

test('a full log is put aside once, and both are read', () =>
  inFolder(async (folder) => {
    const log = new EventLog(folder, systemClock);
    await log.write('execAccepted', 'old');
    await log.rotate();
    assert.deepEqual(await readdir(folder), ['events.jsonl'], 'a log that is not full stays');
    await appendFile(join(folder, 'events.jsonl'), `${' '.repeat(4 * 1024 * 1024)}\n`);
    await log.rotate();
    await log.write('certificateInstalled', 'new');
    assert.deepEqual((await readdir(folder)).sort(), ['events.1.jsonl', 'events.jsonl']);
    assert.deepEqual(
      (await log.read()).map(({ message }) => message),
      ['old', 'new'],
    );
  }));

test('many at once, in this process and in others, lose and mix nothing', () =>
  inFolder(async (folder) => {
    const log = new EventLog(folder, systemClock);
    const EACH = 200;
    const filler = 'x'.repeat(900);
    const program = `
      import { EventLog } from ${JSON.stringify(new URL('./event-log.ts', import.meta.url).href)};
      const log = new EventLog(process.argv[1], { now: () => new Date() });
      const writer = process.argv[2];
      await Promise.all(Array.from({ length: ${EACH} }, (_, n) =>
        log.write('execAccepted', writer + '-' + n + ' ' + ${JSON.stringify(filler)})));
    `;
    const others = ['a', 'b', 'c'].map(
      (writer) =>
        new Promise<void>((resolve, reject) => {
          const child = spawn(process.execPath, ['--input-type=module', '--eval', program, folder, writer], {
            cwd: fileURLToPath(new URL('.', import.meta.url)),
            stdio: ['ignore', 'ignore', 'inherit'],
          });
          child.on('exit', (code) =>
            code === 0 ? resolve() : reject(new Error(`writer ${writer} ended with ${code}`)),
          );
        }),
    );
    await Promise.all([
      ...others,
      ...Array.from({ length: EACH }, (_, n) => log.write('execAccepted', `d-${n} ${filler}`)),
    ]);
    const lines = (await readFile(join(folder, 'events.jsonl'), 'utf8')).trimEnd().split('\n');
    assert.equal(lines.length, 4 * EACH);
    const events = await log.read();
    assert.equal(events.length, 4 * EACH, 'each line is an event');
    const seen = new Set(events.map(({ message }) => message.split(' ')[0]));
    assert.equal(seen.size, 4 * EACH, 'each event is there once');
    assert.ok(events.every(({ message }) => message.endsWith(filler)));
  }));
