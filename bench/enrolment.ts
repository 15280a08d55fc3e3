/** Enrolments a second, from PKCSReq to CertRep over HTTP: Leafgate and micromdm's scepserver under the same load. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type PreparedRequest, prepareRequests } from '../lab/requests.ts';
import { openTenant, type Tenant } from '../lab/tenant.ts';
import { ensureThirdParty } from '../lab/third-party/index.ts';
import { startMicromdm } from '../lab/third-party/scepserver.ts';
import {
  type Certificate,
  nameToString,
  parseCertificate,
  verifyCertificateSignature,
} from '../src/codec/index.ts';
import { parseCertRep, readPkiMessage } from '../src/scep/index.ts';
import { pkiStatusOf } from '../src/scep/message.ts';
import { cpuMsOf, peakMemoryMiB, processTree } from './cost.ts';
import { cryptoLimit } from './crypto-limit.ts';
import { issuerIn, startServerUnderLoad } from './leafgate-part.ts';
import { type LoadResult, replayInChild } from './load.ts';

/** What one run of one server measured. */
export interface Measurement {
  readonly perSecond: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly cpuMsEach: number;
  readonly peakMiB: number;
  readonly generatorCpuMsEach: number;
}

/** How much load, and how often. */
export interface BenchOptions {
  /** Counted requests of each run. */
  readonly requests: number;
  /** Requests before them that are not counted, to each server alike. */
  readonly warmUp: number;
  readonly connections: number;
  readonly rounds: number;
  readonly progress: (text: string) => void;
}

/** Of every so many answers one is opened afterwards and its certificate verified. */
const SAMPLE_EVERY = 50;
const LIMIT_SECONDS = 3;

/** All measurements of one run, each list with one entry a round. */
export interface BenchResult {
  readonly limitOne: readonly number[];
  readonly limitTwo: readonly number[];
  readonly one: readonly Measurement[];
  readonly two: readonly Measurement[];
  readonly micromdm: readonly Measurement[];
  /** The same server's first requests, while its depot, whose cost grows with every certificate, is nearly empty. */
  readonly micromdmFirst: readonly Measurement[];
}

/** Measures everything in turn, round by round, so that a machine whose speed drifts is fair to all. */
export async function benchEnrolment(options: BenchOptions): Promise<BenchResult> {
  const { progress, rounds } = options;
  const thirdParty = await ensureThirdParty();
  const folder = await mkdtemp(join(tmpdir(), 'leafgate-bench-'));
  const result = {
    limitOne: [] as number[],
    limitTwo: [] as number[],
    one: [] as Measurement[],
    two: [] as Measurement[],
    micromdm: [] as Measurement[],
    micromdmFirst: [] as Measurement[],
  };
  try {
    progress('preparing a CA with RSA-2048 keys');
    const tenant = await openTenant(folder, { ports: 'any', progress: () => {}, issuingKey: 'rsa-2048' });
    for (let round = 1; round <= rounds; round += 1) {
      const say = (what: string) => progress(`round ${round} of ${rounds}: ${what}`);
      say('crypto limit');
      result.limitOne.push(await cryptoLimit(1, LIMIT_SECONDS));
      result.limitTwo.push(await cryptoLimit(2, LIMIT_SECONDS));
      say('Leafgate, one process');
      result.one.push(await measureLeafgate(tenant, 1, round, options));
      say('Leafgate, two processes');
      result.two.push(await measureLeafgate(tenant, 2, round, options));
      say('micromdm scepserver');
      const peer = await startMicromdm(thirdParty);
      try {
        const ca = parseCertificate(peer.caCertificateDer);
        const prepared = await prepareRequests(options.warmUp + options.requests, ca, peer.challenge);
        const target = { host: peer.host, port: peer.port, path: `${peer.path}?operation=PKIOperation` };
        const first = prepared.slice(0, options.warmUp);
        result.micromdmFirst.push(await measure(peer.pid, target, first, statusIsSuccess, options));
        const counted = prepared.slice(options.warmUp);
        result.micromdm.push(await measure(peer.pid, target, counted, statusIsSuccess, options));
      } finally {
        await peer.close();
      }
    }
    return result;
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

async function measureLeafgate(
  tenant: Tenant,
  workers: number,
  round: number,
  options: BenchOptions,
): Promise<Measurement> {
  const { part, target, served } = await startServerUnderLoad(tenant, `${workers}-${round}`, workers);
  try {
    const prepared = await prepareRequests(
      options.warmUp + options.requests,
      served.encryption,
      tenant.staticSecret,
    );
    const issuing = issuerIn(served.all, served.encryption);
    const isGood: IsGood = (request, body) => certificateIsGood(request, body, served.all, issuing);
    // The first requests warm the server up (just-in-time compilers, caches) and are not counted.
    await measure(part.pid, target, prepared.slice(0, options.warmUp), isGood, options);
    return await measure(part.pid, target, prepared.slice(options.warmUp), isGood, options);
  } finally {
    await part.stop();
  }
}

/** Whether an answer is what its request asked for. */
type IsGood = (request: PreparedRequest, body: Uint8Array) => Promise<boolean>;

/** Replays the requests, and afterwards, outside the timing, looks into a sample of the answers. */
async function measure(
  pid: number,
  target: { readonly host: string; readonly port: number; readonly path: string },
  counted: readonly PreparedRequest[],
  isGood: IsGood,
  options: Pick<BenchOptions, 'connections'>,
): Promise<Measurement> {
  const pids = await processTree(pid);
  const before = await cpuMsOf(pids);
  const load = await replayInChild({
    ...target,
    connections: options.connections,
    requests: counted.map((request) => request.body),
    sampleEvery: SAMPLE_EVERY,
  });
  const cpuMs = (await cpuMsOf(pids)) - before;
  await assertGood(load, counted, isGood);
  return {
    perSecond: load.perSecond,
    p50Ms: load.p50Ms,
    p99Ms: load.p99Ms,
    cpuMsEach: cpuMs / counted.length,
    peakMiB: await peakMemoryMiB(pids),
    generatorCpuMsEach: load.generatorCpuMs / counted.length,
  };
}

async function assertGood(
  load: LoadResult,
  prepared: readonly PreparedRequest[],
  isGood: IsGood,
): Promise<void> {
  if (load.broken > 0 || load.statuses['200'] !== prepared.length) {
    throw new Error(
      `not every request was answered: ${JSON.stringify(load.statuses)}, ${load.broken} broken`,
    );
  }
  for (const sample of load.samples) {
    const request = prepared[sample.index];
    if (request === undefined || !(await isGood(request, sample.body))) {
      throw new Error(`the answer to request ${sample.index} is not a certificate`);
    }
  }
}

async function certificateIsGood(
  request: PreparedRequest,
  body: Uint8Array,
  signers: readonly Certificate[],
  issuing: Certificate | undefined,
): Promise<boolean> {
  const answer = await parseCertRep(body, {
    signers,
    transactionID: request.transactionID,
    senderNonce: request.senderNonce,
    decrypt: (transport, encryptedKey) => request.key.decrypt(transport, encryptedKey),
  });
  if (answer.pkiStatus !== 'SUCCESS' || issuing === undefined) return false;
  const [leaf] = answer.certificates;
  return (
    leaf !== undefined &&
    nameToString(leaf.subject).startsWith(`CN=${request.commonName},`) &&
    verifyCertificateSignature(leaf, issuing.spki)
  );
}

/** The peer encrypts its answers with single DES, which no current library opens: its status must do. */
function statusIsSuccess(_request: PreparedRequest, body: Uint8Array): Promise<boolean> {
  return Promise.resolve(pkiStatusOf(readPkiMessage(body).signerInfo) === 'SUCCESS');
}
