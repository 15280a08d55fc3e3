/**
 * `npm run bench -- ca`: what the CA does in a second, beside what the bare signature does: issuing (two processes, one
 * database, durable), OCSP answers, and a CRL of a million entries.
 */
import { fork, spawn } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parse, stringify } from 'yaml';
import { startPart } from '../lab/processes.ts';
import { openTenant, type Tenant } from '../lab/tenant.ts';
import {
  buildCertID,
  buildOcspRequest,
  parseCertificate,
  parseOcspResponse,
  parsePem,
  verifyOcspResponse,
} from '../src/codec/index.ts';
import type { KeyAlgorithm } from '../src/keys/index.ts';
import type { MillionResult } from './crl-million.ts';
import type { IssuingWork } from './issuing.ts';
import { replayInChild } from './load.ts';
import { median } from './median.ts';

const PROCESSES = 2;
const ROUNDS = 3;
const SECONDS = 3;
const OF_SIGNING_MIN = 0.7;
const CRL_ENTRIES = 1_000_000;
const OCSP_REQUESTS = 4_000;
const OCSP_CONNECTIONS = 8;

/** Runs all of it and prints the figures; answers the exit status: 0 only if issuing keeps its promise. */
export async function benchCa(progress: (text: string) => void): Promise<0 | 1> {
  const folder = await mkdtemp(join(tmpdir(), 'leafgate-bench-'));
  try {
    const rsa = await compare(folder, 'rsa-2048', 'sign-rsa-2048', progress);
    const ec = await compare(folder, 'p-256', 'sign-p-256', progress);
    console.table(
      [rsa, ec].map(({ algorithm, issued, loop, loops, ofLoop, ofLoops }) => ({
        'CA key': algorithm,
        [`certificates/s, ${PROCESSES} processes`]: issued.toFixed(0),
        'bare signing loop/s': loop.toFixed(0),
        ratio: ofLoop.toFixed(2),
        [`${PROCESSES} loops at once/s`]: loops.toFixed(0),
        'ratio ': ofLoops.toFixed(2),
      })),
    );
    progress('OCSP');
    console.table(await benchOcsp(rsa.tenant));
    progress(`a CRL of ${CRL_ENTRIES} entries`);
    const million = await crlOfAMillion();
    console.log(
      `a CRL of ${million.entries} entries: ${million.seconds.toFixed(2)} s to build and sign, ` +
        `${(million.bytes / 2 ** 20).toFixed(1)} MiB, peak memory ${million.peakMiB.toFixed(0)} MiB ` +
        `(${million.idleMiB.toFixed(0)} MiB before)`,
    );
    console.log(
      `RSA-2048, issuing with ${PROCESSES} processes / the bare signing loop: ${rsa.ofLoop.toFixed(2)} ` +
        `(promised: at least ${OF_SIGNING_MIN}); / ${PROCESSES} such loops at once: ${rsa.ofLoops.toFixed(2)}`,
    );
    return rsa.ofLoop >= OF_SIGNING_MIN ? 0 : 1;
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

interface Comparison {
  readonly algorithm: KeyAlgorithm;
  readonly tenant: Tenant;
  /** Medians over the rounds: certificates a second, signatures of one loop, and of as many loops as there are processes. */
  readonly issued: number;
  readonly loop: number;
  readonly loops: number;
  readonly ofLoop: number;
  readonly ofLoops: number;
}

/** Issuing and bare signing in turn, so that a machine whose speed drifts is fair to both. */
async function compare(
  folder: string,
  algorithm: KeyAlgorithm,
  signing: IssuingWork,
  progress: (text: string) => void,
): Promise<Comparison> {
  progress(`${algorithm}: preparing a CA`);
  const tenant = await openTenant(join(folder, algorithm), {
    ports: 'any',
    progress: () => {},
    issuingKey: algorithm,
  });
  const rounds: { readonly issued: number; readonly loop: number; readonly loops: number }[] = [];
  for (let round = 1; round <= ROUNDS; round += 1) {
    progress(`${algorithm}, round ${round} of ${ROUNDS}`);
    const loop = await inProcesses(1, signing, tenant.configs.server);
    const loops = await inProcesses(PROCESSES, signing, tenant.configs.server);
    const issued = await inProcesses(PROCESSES, 'issue', tenant.configs.server);
    rounds.push({ issued, loop, loops });
  }
  const middle = (figure: (round: (typeof rounds)[number]) => number) => median(rounds.map(figure));
  return {
    algorithm,
    tenant,
    issued: middle(({ issued }) => issued),
    loop: middle(({ loop }) => loop),
    loops: middle(({ loops }) => loops),
    ofLoop: middle(({ issued, loop }) => issued / loop),
    ofLoops: middle(({ issued, loops }) => issued / loops),
  };
}

/** The sum of what the processes did a second, all at the same time. */
async function inProcesses(processes: number, work: IssuingWork, config: string): Promise<number> {
  const children = Array.from({ length: processes }, () => {
    const child = fork(join(import.meta.dirname, 'issuing.ts'), [work, String(SECONDS), config]);
    const ended = new Promise<void>((resolve, reject) => {
      child.once('exit', (code) =>
        code === 0 ? resolve() : reject(new Error(`${work} ended with ${code}`)),
      );
    });
    const heard = () => new Promise<unknown>((resolve) => child.once('message', resolve));
    return { child, ended, ready: heard(), heard };
  });
  const whole = Promise.all(children.map(({ ended }) => ended));
  await Promise.race([Promise.all(children.map(({ ready }) => ready)), whole]);
  const results = children.map(({ child, heard }) => {
    const result = heard();
    child.send('begin');
    return result as Promise<{ readonly perSecond: number }>;
  });
  await whole;
  return (await Promise.all(results)).reduce((sum, { perSecond }) => sum + perSecond, 0);
}

/** Answers a second over HTTP by one server: from the cache of signed answers, and signed anew for a nonce each. */
async function benchOcsp(tenant: Tenant): Promise<readonly Record<string, string>[]> {
  const config = parse(await readFile(tenant.configs.server, 'utf8')) as {
    connector?: unknown;
    log?: string;
  };
  delete config.connector;
  config.log = 'error';
  const path = join(tenant.folder, 'server', 'bench.yaml');
  await writeFile(path, stringify(config), { mode: 0o600 });
  const part = await startPart('bench-ocsp', path, tenant.folder);
  try {
    const [issuing] = parsePem(await readFile(tenant.chainFile, 'utf8'), 'CERTIFICATE');
    const issuer = parseCertificate(issuing);
    const [web] = parsePem(await readFile(join(tenant.folder, 'edge', 'web.pem'), 'utf8'), 'CERTIFICATE');
    const certID = buildCertID(issuer, parseCertificate(web).serialNumber, 'sha1');
    const nonceOf = (index: number) => Buffer.from(index.toString(16).padStart(32, '0'), 'hex');
    const kinds = [
      { kind: 'pre-signed', request: () => buildOcspRequest({ certIDs: [certID] }) },
      {
        kind: 'fresh (nonce)',
        request: (index: number) => buildOcspRequest({ certIDs: [certID], nonce: nonceOf(index) }),
      },
    ];
    const rows: Record<string, string>[] = [];
    for (const { kind, request } of kinds) {
      const target = {
        host: '127.0.0.1',
        port: tenant.ports.server,
        path: '/ocsp',
        contentType: 'application/ocsp-request',
        connections: OCSP_CONNECTIONS,
      };
      const requests = Array.from({ length: OCSP_REQUESTS }, (_, index) => request(index));
      await replayInChild({ ...target, requests: requests.slice(0, 1_000) });
      const load = await replayInChild({ ...target, requests, sampleEvery: 100 });
      if (load.broken > 0 || load.statuses['200'] !== requests.length)
        throw new Error(`not every OCSP request was answered: ${JSON.stringify(load.statuses)}`);
      for (const { body } of load.samples) {
        const answer = parseOcspResponse(body);
        if (
          answer.responseStatus !== 'successful' ||
          !verifyOcspResponse(answer.basic, issuer, new Date()) ||
          answer.basic.responses[0]?.certStatus.status !== 'good'
        )
          throw new Error('an OCSP answer is not “good”, or does not verify');
      }
      rows.push({
        OCSP: kind,
        'answers/s': load.perSecond.toFixed(0),
        'p50 ms': load.p50Ms.toFixed(1),
        'p99 ms': load.p99Ms.toFixed(1),
      });
    }
    return rows;
  } finally {
    await part.stop();
  }
}

async function crlOfAMillion(): Promise<MillionResult> {
  const child = spawn(process.execPath, [join(import.meta.dirname, 'crl-million.ts'), String(CRL_ENTRIES)], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let text = '';
  child.stdout.setEncoding('utf8').on('data', (chunk: string) => {
    text += chunk;
  });
  const code = await new Promise((resolve) => child.once('close', resolve));
  if (code !== 0) throw new Error('the CRL was not built');
  return JSON.parse(text) as MillionResult;
}
