/** What every third-party SCEP client is given, what it answers, and the steps between. */
import { createPrivateKey, X509Certificate } from 'node:crypto';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { describeAnswer, type ProgramAnswer, type ProgramRun, runProgram } from './program.ts';

/** What to enrol for, and where. */
export interface EnrolmentTask {
  /** The SCEP URL, without a query. */
  readonly url: string;
  /** A folder of this enrolment alone; made if absent. The client's files stay in it. */
  readonly workFolder: string;
  /** Goes into the request as it is, right or wrong. */
  readonly challenge: string;
  /** The subject will be `CN=<commonName>` and an organisation `Lab`, in the client's own order. */
  readonly commonName: string;
  /** subjectAltName; none if absent. */
  readonly dnsName?: string;
  /** The CA certificates that a client is given by its administrator: the issuing CA first, the root last. */
  readonly caCertificatesPem: readonly string[];
  /** RSA key size, or an elliptic curve for clients that can; RSA-2048 if absent. */
  readonly key?: KeyAlgorithm;
  /** Renews this certificate, as the client does it, instead of enrolling. */
  readonly renewalOf?: Enrolled;
  /** The whole enrolment is bounded by this, and with it the wait for an approval; 60 seconds if absent. */
  readonly timeoutMs?: number;
}

/** Keys that clients are told to make. */
export type KeyAlgorithm = 'rsa-2048' | 'rsa-3072' | 'rsa-4096' | 'p-256' | 'p-384';

/** How many bits an RSA key is to have. @throws Error for a curve, which the client cannot use. */
export function rsaBits({ key = 'rsa-2048' }: EnrolmentTask): string {
  const [, bits] = /^rsa-(\d+)$/.exec(key) ?? [];
  if (bits === undefined) throw new Error(`the client has RSA keys alone, and no ${key}`);
  return bits;
}

/** An enrolment that gave a certificate: the client ended content, and the certificate is for the key. */
export interface Enrolled {
  readonly ok: true;
  readonly certificatePem: string;
  readonly keyPem: string;
  /** Where the client's files are. */
  readonly workFolder: string;
  readonly log: string;
}

/** How an enrolment ended. `log` is everything that the client said. */
export type EnrolmentResult = Enrolled | { readonly ok: false; readonly log: string };

const TIMEOUT_MS = 60_000;
const POLL_INTERVAL_MS = 100;

/** One enrolment under way: a folder, a deadline that all steps share, and the log of what was said. */
export class ClientSession {
  readonly #task: EnrolmentTask;
  readonly #deadline: number;
  readonly #log: string[] = [];
  /** What the programs of this session see as their environment; that of this process unless set. */
  environment: ProgramRun['environment'];

  private constructor(task: EnrolmentTask) {
    this.#task = task;
    this.#deadline = performance.now() + (task.timeoutMs ?? TIMEOUT_MS);
  }

  /** Makes the work folder and starts the clock. */
  static async open(task: EnrolmentTask): Promise<ClientSession> {
    await mkdir(task.workFolder, { recursive: true });
    return new ClientSession(task);
  }

  /** Runs a program in the work folder (or `folder`) within what is left of the time, and logs what it said. */
  async run(program: string, args: readonly string[], folder?: string): Promise<ProgramAnswer> {
    const answer = await this.runQuietly(program, args, folder);
    this.#log.push(`${basename(program)} ${args[0] ?? ''}: ${describeAnswer(answer)}`);
    return answer;
  }

  /** The same without a log entry, for a question that is asked again and again. */
  runQuietly(program: string, args: readonly string[], folder?: string): Promise<ProgramAnswer> {
    return runProgram({
      program,
      args,
      folder: folder ?? this.#task.workFolder,
      ...(this.environment && { environment: this.environment }),
      timeoutMs: Math.max(1, this.#deadline - performance.now()),
    });
  }

  /** Asks `done` until it says yes. @returns `false` if the time ran out. */
  async until(done: () => Promise<boolean>): Promise<boolean> {
    while (performance.now() < this.#deadline) {
      if (await done()) return true;
      await sleep(POLL_INTERVAL_MS);
    }
    return false;
  }

  /** Writes a file into the work folder. @returns its path. */
  async write(name: string, text: string): Promise<string> {
    const path = join(this.#task.workFolder, name);
    await writeFile(path, text, { mode: 0o600 });
    return path;
  }

  /** A file of the work folder; empty if it is not there. */
  read(name: string): Promise<string> {
    return readFile(join(this.#task.workFolder, name), 'utf8').catch(() => '');
  }

  /** Adds to the log. */
  note(text: string): void {
    this.#log.push(text.trim());
  }

  /** The client gave up, or said something that makes going on useless. */
  failed(why?: string): EnrolmentResult {
    if (why !== undefined) this.note(why);
    return { ok: false, log: this.#log.join('\n') };
  }

  /** The client was content. It is believed only if there is a certificate and it is for the key. */
  finished(certificateText: string, keyPem: string): EnrolmentResult {
    const [certificatePem] =
      /-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/.exec(certificateText) ?? [];
    if (certificatePem === undefined) return this.failed('the client ended without a certificate');
    if (keyPem === '') return this.failed('the client ended without a key');
    if (!new X509Certificate(certificatePem).checkPrivateKey(createPrivateKey(keyPem))) {
      return this.failed('the certificate is not for the key of the client');
    }
    return {
      ok: true,
      certificatePem: `${certificatePem}\n`,
      keyPem,
      workFolder: this.#task.workFolder,
      log: this.#log.join('\n'),
    };
  }
}
