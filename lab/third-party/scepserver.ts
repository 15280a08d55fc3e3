/** micromdm's scepserver with a CA of its own: a server for our client, and the peer that the benchmark compares with. */
import { X509Certificate } from 'node:crypto';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { freePort } from '../ports.ts';
import type { ThirdParty } from './debian.ts';
import { runToSuccess, startProgram } from './program.ts';

/** A running peer. */
export interface Peer {
  /** The SCEP URL; host, port and path are its parts. */
  readonly url: string;
  readonly host: string;
  readonly port: number;
  readonly path: string;
  /** The CA, which is its own RA: requests are encrypted to it, answers signed by it. */
  readonly caCertificateDer: Uint8Array;
  readonly caCertificatePem: string;
  /** The static challenge password that it takes. */
  readonly challenge: string;
  readonly pid: number;
  /** Ends it and removes everything that it wrote. */
  close(): Promise<void>;
}

const HOST = '127.0.0.1';
const PATH = '/scep';
const CA_KEY_BITS = 2048;
const CHALLENGE = 'bench-challenge';
const CA_PASSPHRASE = 'bench-passphrase';
const START_TIMEOUT_MS = 20_000;

/**
 * Starts a peer with a fresh depot and an RSA-2048 CA, and waits until it answers. Its cost grows with every
 * certificate in the depot, so a comparison starts one for each run. Renewal is always allowed (`-allowrenew 0`), as
 * one client name may enrol again.
 *
 * @throws Error with its log, if it does not answer in time.
 */
export async function startMicromdm(thirdParty: Pick<ThirdParty, 'scepserver'>): Promise<Peer> {
  const folder = await mkdtemp(join(tmpdir(), 'leafgate-micromdm-'));
  const removeFolder = () => rm(folder, { recursive: true, force: true });
  try {
    const depot = join(folder, 'depot');
    await runToSuccess({
      program: thirdParty.scepserver,
      args: [
        ...['ca', '-init', '-keySize', String(CA_KEY_BITS)],
        ...['-depot', depot, '-key-password', CA_PASSPHRASE],
      ],
      folder,
      timeoutMs: START_TIMEOUT_MS,
    });
    const caCertificatePem = await readFile(join(depot, 'ca.pem'), 'utf8');
    const port = await freePort();
    const server = await startProgram({
      program: thirdParty.scepserver,
      args: [
        ...['-depot', depot, '-http-addr', `${HOST}:${port}`, '-capass', CA_PASSPHRASE],
        ...['-challenge', CHALLENGE, '-allowrenew', '0'],
      ],
      folder,
      logFile: join(folder, 'log'),
    });
    const url = `http://${HOST}:${port}${PATH}`;
    if (!(await untilAnswering(`${url}?operation=GetCACaps`, server.ended))) {
      await server.end();
      throw new Error(`scepserver does not answer: ${await server.log()}`);
    }
    return {
      url,
      host: HOST,
      port,
      path: PATH,
      caCertificateDer: new Uint8Array(new X509Certificate(caCertificatePem).raw),
      caCertificatePem,
      challenge: CHALLENGE,
      pid: server.pid,
      close: async () => {
        await server.end();
        await removeFolder();
      },
    };
  } catch (thrown) {
    await removeFolder();
    throw thrown;
  }
}

async function untilAnswering(url: string, ended: Promise<void>): Promise<boolean> {
  let hasEnded = false;
  void ended.then(() => {
    hasEnded = true;
  });
  const deadline = performance.now() + START_TIMEOUT_MS;
  while (!hasEnded && performance.now() < deadline) {
    const answer = await fetch(url, { signal: AbortSignal.timeout(2_000) }).catch(() => undefined);
    if (answer?.ok && (await answer.text()).includes('POSTPKIOperation')) return true;
    await sleep(50);
  }
  return false;
}
