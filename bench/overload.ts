/**
 * `npm run bench -- overload`: what becomes of enrolments when more come than can be served. Promised: at 50 concurrent a
 * 99th percentile under 250 ms; at three times the sustainable rate one under a second for those who are let in, at least
 * 80 % of the peak in certificates, and nothing lost that was answered with success.
 *
 * The peak is what a closed loop draws from the server, measured before the overload and after it, because a machine's
 * pace changes within a minute; its mean counts. Sustainable is a rate of requests by chance that (nearly) all get in.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { loadavg, tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { type PreparedRequest, prepareRequests } from '../lab/requests.ts';
import { openTenant } from '../lab/tenant.ts';
import { type Certificate, nameToString, verifyCertificateSignature } from '../src/codec/index.ts';
import { parseCertRep } from '../src/scep/index.ts';
import { issuerIn, type ServerUnderLoad, startServerUnderLoad } from './leafgate-part.ts';
import { type LoadResult, replayInChild } from './load.ts';

const WARM_UP = 3_000;
const PEAK_REQUESTS = 4_000;
const PEAK_CONNECTIONS = 64;
const CONCURRENT = 50;
const CONCURRENT_REQUESTS = 3_000;
/** Shares of the peak that are tried for the sustainable rate, the first that is sustained counts. */
const SUSTAINABLE_SHARES = [0.9, 0.8, 0.7] as const;
const SUSTAINED_SECONDS = 3;
/** A rate of which more than this share is turned away is not sustained. */
const SUSTAINED_TURNED_AWAY_MAX = 0.01;
const OVERLOAD = 3;
const OVERLOAD_SECONDS = 8;
/** More than wait and are at work at once, so that the generator never is what holds requests back. */
const OVERLOAD_CONNECTIONS = 1_024;
/** Signing requests takes time too: a machine that is quicker than this is measured for fewer seconds. */
const OVERLOAD_REQUESTS_MAX = 30_000;
/** Distinct certification requests; the server cannot tell that they come again in other transactions. */
const CERTIFICATION_REQUESTS = 512;
/** Of the answers under overload one in so many is opened and its certificate verified. */
const SAMPLE_EVERY = 25;
/** Requests that are sent again afterwards: of those that were answered with a certificate, and of those turned away. */
const RETRIES = 200;

const CONCURRENT_P99_MS_MAX = 250;
const OVERLOAD_P99_MS_MAX = 1_000;
const GOODPUT_MIN = 0.8;

/** Runs all of it and prints the figures; answers the exit status: 0 only if every promise is kept. */
export async function benchOverload(progress: (text: string) => void): Promise<0 | 1> {
  const folder = await mkdtemp(join(tmpdir(), 'leafgate-bench-'));
  try {
    progress('preparing a CA with RSA-2048 keys');
    const tenant = await openTenant(folder, { ports: 'any', progress: () => {}, issuingKey: 'rsa-2048' });
    const server = await startServerUnderLoad(tenant, 'overload', 1);
    try {
      return await measure(server, tenant.staticSecret, progress);
    } finally {
      await server.part.stop();
    }
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

async function measure(
  server: ServerUnderLoad,
  secret: string,
  progress: (text: string) => void,
): Promise<0 | 1> {
  const prepare = (count: number) =>
    prepareRequests(count, server.served.encryption, secret, Math.min(count, CERTIFICATION_REQUESTS));
  const replay = (
    requests: readonly PreparedRequest[],
    how: { connections: number; arrivalsPerSecond?: number },
  ) =>
    replayInChild({
      ...server.target,
      ...how,
      requests: requests.map(({ body }) => body),
      sampleEvery: SAMPLE_EVERY,
    });

  progress('warming up');
  await replay(await prepare(WARM_UP), { connections: 8 });
  const measurePeak = async () => {
    progress('the peak: as fast as the answers come');
    return await replay(await prepare(PEAK_REQUESTS), { connections: PEAK_CONNECTIONS });
  };
  const before = await measurePeak();
  progress(`${CONCURRENT} concurrent`);
  const concurrent = await replay(await prepare(CONCURRENT_REQUESTS), { connections: CONCURRENT });
  const atRate = async (arrivalsPerSecond: number, requests: readonly PreparedRequest[]) =>
    await replay(requests, { connections: OVERLOAD_CONNECTIONS, arrivalsPerSecond });
  const sustained = await sustainedRate(certificatesPerSecond(before), async (perSecond) => {
    progress(`${perSecond.toFixed(0)} a second: is that sustained?`);
    return await atRate(perSecond, await prepare(Math.ceil(perSecond * SUSTAINED_SECONDS)));
  });
  if (sustained === undefined) {
    console.log(`MISSED no rate down to ${SUSTAINABLE_SHARES.at(-1)} of the peak is sustained`);
    return 1;
  }

  const arrivalsPerSecond = OVERLOAD * sustained.perSecond;
  const count = Math.min(OVERLOAD_REQUESTS_MAX, Math.ceil(arrivalsPerSecond * OVERLOAD_SECONDS));
  progress(`signing ${count} requests`);
  const requests = await prepare(count);
  progress(`${OVERLOAD} times the sustainable rate`);
  const overload = await atRate(arrivalsPerSecond, requests);
  const after = await measurePeak();
  progress('counting what is on record, and sending some again');
  const lost = await lostOf(server, requests, overload);

  const row = (name: string, run: LoadResult) => ({
    load: name,
    'offered/s': (run.requests / run.seconds).toFixed(0),
    'certificates/s': certificatesPerSecond(run).toFixed(0),
    'turned away': run.statuses['503'] ?? 0,
    'p50 ms': (run.latencies['200']?.p50Ms ?? 0).toFixed(1),
    'p99 ms': (run.latencies['200']?.p99Ms ?? 0).toFixed(1),
    'max ms': (run.latencies['200']?.maxMs ?? 0).toFixed(1),
    'p99 ms of 503': (run.latencies['503']?.p99Ms ?? 0).toFixed(1),
  });
  console.table([
    row(`peak, ${PEAK_CONNECTIONS} connections`, before),
    row(`${CONCURRENT} concurrent`, concurrent),
    row('sustainable rate', sustained.run),
    row(`${OVERLOAD} times that`, overload),
    row(`peak, ${PEAK_CONNECTIONS} connections`, after),
  ]);
  const load = loadavg().map((value) => value.toFixed(1));
  console.log(`load of the machine over 1, 5 and 15 minutes: ${load.join(', ')}`);
  const concurrentP99Ms = concurrent.latencies['200']?.p99Ms ?? Number.NaN;
  const overloadP99Ms = overload.latencies['200']?.p99Ms ?? Number.NaN;
  const peakPerSecond = (certificatesPerSecond(before) + certificatesPerSecond(after)) / 2;
  const goodput = certificatesPerSecond(overload) / peakPerSecond;
  const verdicts: readonly (readonly [text: string, kept: boolean])[] = [
    [
      `p99 at ${CONCURRENT} concurrent: ${concurrentP99Ms.toFixed(0)} ms (promised: under ${CONCURRENT_P99_MS_MAX})`,
      concurrentP99Ms < CONCURRENT_P99_MS_MAX,
    ],
    [
      `p99 of who is let in at ${OVERLOAD} times the sustainable rate: ${overloadP99Ms.toFixed(0)} ms (promised: under ${OVERLOAD_P99_MS_MAX})`,
      overloadP99Ms < OVERLOAD_P99_MS_MAX,
    ],
    [
      `certificates then / at the peak: ${goodput.toFixed(2)} (promised: at least ${GOODPUT_MIN})`,
      goodput >= GOODPUT_MIN,
    ],
    [
      `answers other than 200 and 503: ${othersIn(overload)} (promised: none); turned away before: ${othersIn(before, 200) + othersIn(concurrent, 200)}`,
      othersIn(overload) === 0,
    ],
    [`lost: ${lost.length === 0 ? 'nothing' : lost.join('; ')}`, lost.length === 0],
  ];
  for (const [text, kept] of verdicts) console.log(`${kept ? 'kept  ' : 'MISSED'} ${text}`);
  return verdicts.every(([, kept]) => kept) ? 0 : 1;
}

/** The first of the shares of the peak that the server sustains; `undefined` if it sustains none. */
async function sustainedRate(
  peakPerSecond: number,
  measureAt: (perSecond: number) => Promise<LoadResult>,
): Promise<{ readonly perSecond: number; readonly run: LoadResult } | undefined> {
  for (const share of SUSTAINABLE_SHARES) {
    const perSecond = share * peakPerSecond;
    const run = await measureAt(perSecond);
    if (othersIn(run, 200) <= SUSTAINED_TURNED_AWAY_MAX * run.requests) return { perSecond, run };
  }
  return undefined;
}

function certificatesPerSecond(run: LoadResult): number {
  return (run.statuses['200'] ?? 0) / run.seconds;
}

function othersIn(run: LoadResult, ...expected: readonly number[]): number {
  const usual = expected.length > 0 ? expected : [200, 503];
  return run.statusOf.filter((status) => !usual.includes(status)).length;
}

/** What was answered with success and is not as it was answered. */
async function lostOf(
  server: ServerUnderLoad,
  requests: readonly PreparedRequest[],
  overload: LoadResult,
): Promise<string[]> {
  const lost: string[] = [];
  const { served } = server;
  const issuing = issuerIn(served.all, served.encryption);
  if (issuing === undefined) return ['the issuing CA'];
  // A sample of the answers holds the sender's own certificate.
  const serials = new Map<number, string>();
  for (const { index, status, body } of overload.samples) {
    const request = requests[index];
    if (status !== 200 || request === undefined) continue;
    serials.set(index, (await certificateFor(request, body, served.all, issuing))?.serialNumber ?? '');
  }
  const notGood = [...serials.values()].filter((serial) => serial === '').length;
  if (notGood > 0) lost.push(`${notGood} of ${serials.size} answers hold no certificate`);

  // Every one of them is on record, once.
  const recorded = recordsOf(server.databaseFile);
  for (const [index, request] of requests.entries()) {
    const serialNumbers = recorded.get(request.transactionID) ?? [];
    if (overload.statusOf[index] === 200 && serialNumbers.length !== 1)
      lost.push(`${request.transactionID} has ${serialNumbers.length} certificates on record`);
    if (overload.statusOf[index] === 503 && serialNumbers.length > 0)
      lost.push(`${request.transactionID} was turned away and has a certificate`);
    const serial = serials.get(index);
    if (serial !== undefined && !serialNumbers.includes(serial))
      lost.push(`${request.transactionID} was given another certificate than is on record`);
  }

  // Whoever asks again gets the same certificate, and who was turned away gets his.
  const again = [
    ...[...serials.keys()].slice(0, RETRIES),
    ...requests.flatMap((_, index) => (overload.statusOf[index] === 503 ? [index] : [])).slice(0, RETRIES),
  ];
  const retried = await replayInChild({
    ...server.target,
    connections: 8,
    requests: again.map((index) => requests[index]?.body ?? Uint8Array.of()),
    sampleEvery: 1,
  });
  for (const sample of retried.samples) {
    const index = again[sample.index] ?? -1;
    const request = requests[index];
    const known = serials.get(index);
    const certificate =
      request === undefined || sample.status !== 200
        ? undefined
        : await certificateFor(request, sample.body, served.all, issuing);
    if (certificate === undefined)
      lost.push(`a retry of ${request?.transactionID} got HTTP ${sample.status}`);
    else if (known !== undefined && known !== certificate.serialNumber)
      lost.push(`a retry of ${request?.transactionID} got another certificate`);
  }
  if (retried.samples.length < again.length)
    lost.push(`${again.length - retried.samples.length} retries had no answer`);
  return lost;
}

/** Serial numbers of issued certificates by transactionID. */
function recordsOf(databaseFile: string): Map<string, string[]> {
  const db = new DatabaseSync(databaseFile, { readOnly: true });
  try {
    const rows = db
      .prepare(
        `SELECT enrolment.transactionID, certificate.serialNumber FROM enrolment
           JOIN certificate ON certificate.requestID = enrolment.requestID WHERE certificate.status = 'issued'`,
      )
      .all() as { transactionID: string; serialNumber: string }[];
    const recorded = new Map<string, string[]>();
    for (const { transactionID, serialNumber } of rows) {
      const known = recorded.get(transactionID);
      if (known === undefined) recorded.set(transactionID, [serialNumber]);
      else known.push(serialNumber);
    }
    return recorded;
  } finally {
    db.close();
  }
}

/** The certificate in an answer, if it is the sender's own and the CA's; `undefined` if there is none. */
async function certificateFor(
  request: PreparedRequest,
  body: Uint8Array,
  signers: readonly Certificate[],
  issuing: Certificate,
): Promise<Certificate | undefined> {
  const answer = await parseCertRep(body, {
    signers,
    transactionID: request.transactionID,
    senderNonce: request.senderNonce,
    decrypt: (transport, encryptedKey) => request.key.decrypt(transport, encryptedKey),
  });
  if (answer.pkiStatus !== 'SUCCESS') return undefined;
  const [leaf] = answer.certificates;
  if (leaf === undefined || !nameToString(leaf.subject).startsWith(`CN=${request.commonName},`))
    return undefined;
  return verifyCertificateSignature(leaf, issuing.spki) ? leaf : undefined;
}
