/**
 * `npm run bench -- oracle`: does the time of an answer tell a good RSA padding from a bad one? Messages of two kinds go to
 * the real SCEP server in random order over one connection, and the two samples of times are compared.
 */
import { randomBytes, randomInt } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { prepareRequests, signEnvelopes } from '../lab/requests.ts';
import { openTenant } from '../lab/tenant.ts';
import { failInfoTextOf } from '../src/scep/message.ts';
import { readPkiMessage } from '../src/scep/server.ts';
import {
  encryptBlock,
  envelopeWith,
  keyTransportIn,
  paddingFile,
  type paddingFileNames,
} from '../test/support/oracle-fixture.ts';
import { startServerUnderLoad } from './leafgate-part.ts';
import { replayInChild } from './load.ts';
import { compare } from './statistics.ts';

/** Messages of each kind; the first tenth is not counted. */
const MESSAGES = 3_000;
/** Different messages among them. */
const DISTINCT = 250;
/** By accident alone, one of three comparisons is beyond it less than once in ten thousand runs. */
const SCORE_MAX = 4.5;

interface Kinds {
  readonly name: string;
  readonly file: (typeof paddingFileNames)[number];
  /** Names of vectors. Both open to a key that is not that of the content. */
  readonly good: string;
  readonly bad: string;
}

const kinds: readonly Kinds[] = [
  {
    name: 'PKCS #1 v1.5: block type 2 or 1',
    file: 'pkcs1-v1_5.json',
    good: 'another content key',
    bad: 'block type 1',
  },
  {
    name: 'PKCS #1 v1.5: a key of the right length, or another message',
    file: 'pkcs1-v1_5.json',
    good: 'another content key',
    bad: 'a message of 48 octets',
  },
  {
    name: 'OAEP, SHA-256: first octet not zero, or lHash wrong (Manger)',
    file: 'oaep-sha256.json',
    good: 'lHash wrong at 0',
    bad: 'first octet 1, as Manger asks',
  },
];

/** Runs all of it and prints the figures; answers the exit status: 0 only if nothing can be told. */
export async function benchOracle(progress: (text: string) => void): Promise<0 | 1> {
  const folder = await mkdtemp(join(tmpdir(), 'leafgate-bench-'));
  try {
    progress('preparing a CA with RSA-2048 keys');
    const tenant = await openTenant(folder, { ports: 'any', progress: () => {}, issuingKey: 'rsa-2048' });
    // Failures are what is sent here: the limit would stop it after a hundred.
    const server = await startServerUnderLoad(tenant, 'oracle', 1, { failuresPerSecond: 1_000_000 });
    try {
      const recipient = server.served.encryption;
      const warm = await prepareRequests(1_000, recipient, tenant.staticSecret);
      await replayInChild({ ...server.target, connections: 8, requests: warm.map(({ body }) => body) });
      const rows = [];
      for (const kind of kinds) {
        progress(kind.name);
        const file = paddingFile(kind.file);
        const envelopesOf = (name: string) => {
          const block = file.vectors.find((vector) => vector.name === name)?.block;
          if (block === undefined) throw new Error(`there is no vector “${name}”`);
          const encryptedKey = encryptBlock(recipient, Buffer.from(block, 'hex'));
          return Array.from({ length: DISTINCT }, () =>
            envelopeWith({
              recipient,
              encryptedKey,
              encryptedContent: randomBytes(1_024),
              iv: randomBytes(16),
              keyTransport: keyTransportIn(file),
            }),
          );
        };
        const good = await signEnvelopes(envelopesOf(kind.good));
        const bad = await signEnvelopes(envelopesOf(kind.bad));
        const order = shuffled(MESSAGES);
        const run = await replayInChild({
          ...server.target,
          connections: 1,
          requests: order.map((isGood, index) => {
            const body = (isGood ? good : bad)[index % DISTINCT];
            if (body === undefined) throw new Error('fewer messages were signed');
            return body;
          }),
          sampleEvery: 100,
        });
        for (const { status, body } of run.samples) {
          const told = status === 200 ? failInfoTextOf(readPkiMessage(body).signerInfo) : `HTTP ${status}`;
          if (told?.startsWith('the message could not be opened') !== true)
            throw new Error(`an answer is of another kind: ${told}`);
        }
        const from = order.length / 10;
        const timesOf = (which: boolean) =>
          Float64Array.from(run.latencyMsOf.filter((_, index) => index >= from && order[index] === which));
        const [goodMs, badMs] = [timesOf(true), timesOf(false)];
        rows.push({ name: kind.name, sizes: [goodMs.length, badMs.length], ...compare(goodMs, badMs) });
      }
      console.table(
        rows.map(({ name, sizes, medians: [good, bad], welchT, mannWhitneyZ }) => ({
          compared: name,
          answers: sizes.join(' + '),
          'medians ms': `${good.toFixed(3)} ${bad.toFixed(3)}`,
          'difference µs': ((good - bad) * 1000).toFixed(1),
          'Welch t': welchT.toFixed(2),
          'Mann-Whitney z': mannWhitneyZ.toFixed(2),
        })),
      );
      const told = rows.filter(
        ({ welchT, mannWhitneyZ }) => Math.max(Math.abs(welchT), Math.abs(mannWhitneyZ)) > SCORE_MAX,
      );
      console.log(
        told.length === 0
          ? `kept   no score beyond ${SCORE_MAX}: the time does not tell the paddings apart`
          : `MISSED told apart by time: ${told.map(({ name }) => name).join('; ')}`,
      );
      return told.length === 0 ? 0 : 1;
    } finally {
      await server.part.stop();
    }
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** As many good ones as bad ones, in random order. */
function shuffled(each: number): boolean[] {
  const order = Array.from({ length: 2 * each }, (_, index) => index % 2 === 0);
  for (let index = order.length - 1; index > 0; index -= 1) {
    const other = randomInt(index + 1);
    [order[index], order[other]] = [order[other] === true, order[index] === true];
  }
  return order;
}
