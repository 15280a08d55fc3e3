/** A PKCS #11 module in this process: loaded once, started and started again, with a bound on what runs in it. */
import { isMainThread } from 'node:worker_threads';
import type { PKCS11 } from 'pkcs11js';
import { PkiError } from '../errors.ts';
import { returnValueOf } from './pkcs11-answers.ts';

/** The binding: one function for each C function, and the constants of the standard. */
export type Binding = typeof import('pkcs11js');

/** CKF_OS_LOCKING_OK (§5.4): several threads will call, and the module may use the system's locks. */
const OS_LOCKING_OK = 2;
/**
 * Calls at once. They take threads of Node's pool, which has four unless UV_THREADPOOL_SIZE says otherwise, and brings
 * the database to disk as well: one stays free for it.
 */
const CALLS_MAX = 3;
/** Calls that wait for their turn; beyond them it is better to say no than to be late. */
const WAITING_MAX = 1_000;
/** A device that has not answered by then will not. */
const CALL_TIMEOUT_MS = 20_000;

/** Handles of an earlier start name nothing, or another thing. */
export class StaleHandles extends Error {}

/**
 * One module of this process. C_Initialize and C_Finalize are for the whole process, so there is one of these for each
 * path. Handles are worth something only within the `generation` that they were made in.
 */
export class Pkcs11Module {
  readonly pkcs11: PKCS11;
  readonly constants: Binding;
  /** PINs that a token refused, by its serial number: none of them is tried again. */
  readonly refusedPins = new Set<string>();
  #generation = 0;
  #running = 0;
  #restart: Promise<void> | undefined;
  readonly #waiting: (() => void)[] = [];
  #drained: (() => void) | undefined;
  /** Octets that a call still reads and writes: the binding does not keep them from being collected. */
  readonly #octetsInUse = new Set<Uint8Array>();

  private constructor(constants: Binding, pkcs11: PKCS11) {
    this.constants = constants;
    this.pkcs11 = pkcs11;
  }

  static readonly #loaded = new Map<string, Promise<Pkcs11Module>>();

  /**
   * The module at a path, started.
   *
   * @throws PkiError `key_locked` if pkcs11js or the module cannot be loaded, `key_unavailable` if it does not start.
   */
  static async load(path: string): Promise<Pkcs11Module> {
    // Threads would end each other's sessions: whoever restarts the module does so for the whole process.
    if (!isMainThread) {
      throw new PkiError(
        'key_capability',
        'a key in a token is used by one thread of a process: use workers, not threads',
      );
    }
    const known = Pkcs11Module.#loaded.get(path);
    if (known !== undefined) return await known;
    const loading = Pkcs11Module.#load(path);
    Pkcs11Module.#loaded.set(path, loading);
    // What could not be loaded may be mended while we run.
    loading.catch(() => Pkcs11Module.#loaded.delete(path));
    return await loading;
  }

  static async #load(path: string): Promise<Pkcs11Module> {
    let binding: Binding;
    try {
      binding = (await import('pkcs11js')).default as unknown as Binding;
    } catch (cause) {
      throw new PkiError(
        'key_locked',
        'keys in tokens need pkcs11js, which is not installed or was not compiled: ' +
          'npm install --include=optional, then npm rebuild pkcs11js',
        { cause },
      );
    }
    const pkcs11 = new binding.PKCS11();
    try {
      pkcs11.load(path);
    } catch (cause) {
      throw new PkiError('key_locked', `the PKCS #11 module ${path} cannot be loaded`, { cause });
    }
    const opened = new Pkcs11Module(binding, pkcs11);
    opened.#start(path);
    return opened;
  }

  #start(path = 'the PKCS #11 module'): void {
    try {
      this.pkcs11.C_Initialize({ flags: OS_LOCKING_OK });
    } catch (cause) {
      const value = returnValueOf(cause);
      if (value === 'CKR_CRYPTOKI_ALREADY_INITIALIZED') return;
      throw new PkiError('key_unavailable', `${path} does not start: ${value}`, { cause });
    }
  }

  /** Counts the starts. */
  get generation(): number {
    return this.#generation;
  }

  /**
   * Runs calls with handles of a generation, when it is their turn. What takes too long is given up by the caller but
   * keeps its turn until the module lets go of it.
   *
   * @param octets what the calls read and write
   * @throws StaleHandles if the module was started again since; PkiError `key_unavailable` if the module is too busy or
   *   does not answer; whatever `work` throws.
   */
  async run<T>(generation: number, octets: readonly Uint8Array[], work: () => Promise<T>): Promise<T> {
    await this.#turn();
    if (generation !== this.#generation) {
      this.#done();
      throw new StaleHandles('the PKCS #11 module was started again');
    }
    for (const item of octets) this.#octetsInUse.add(item);
    const ended = work().finally(() => {
      for (const item of octets) this.#octetsInUse.delete(item);
      this.#done();
    });
    return await within(ended, 'the token does not answer');
  }

  /**
   * Starts the module again, for whoever still holds handles of a generation: all its sessions end, and it looks for
   * its devices anew. Does nothing if that has happened already.
   *
   * @throws PkiError `key_unavailable` if it does not start, or calls are stuck in it.
   */
  async restart(generation: number): Promise<void> {
    if (generation !== this.#generation) return;
    this.#restart ??= this.#restartNow().finally(() => {
      this.#restart = undefined;
      this.#next();
    });
    await this.#restart;
  }

  async #restartNow(): Promise<void> {
    // C_Finalize under a running call is undefined (§5.4): wait until all of them are back.
    if (this.#running > 0) {
      await within(
        new Promise<void>((resolve) => {
          this.#drained = resolve;
        }),
        'calls are stuck in the PKCS #11 module',
      );
    }
    this.#generation += 1;
    try {
      this.pkcs11.C_Finalize();
    } catch {
      // It was not started, or its device is gone: either way the next call tells.
    }
    this.#start();
  }

  async #turn(): Promise<void> {
    if (this.#restart === undefined && this.#running < CALLS_MAX) {
      this.#running += 1;
      return;
    }
    if (this.#waiting.length >= WAITING_MAX)
      throw new PkiError('key_unavailable', 'too many operations wait for the token');
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#waiting.push(resolve);
    try {
      await within(promise, 'the token is too busy');
    } catch (cause) {
      const place = this.#waiting.indexOf(resolve);
      // Its turn may have come in the moment in which it gave up.
      if (place >= 0) this.#waiting.splice(place, 1);
      else this.#done();
      throw cause;
    }
  }

  #done(): void {
    this.#running -= 1;
    if (this.#running === 0) this.#drained?.();
    this.#next();
  }

  #next(): void {
    while (this.#restart === undefined && this.#running < CALLS_MAX) {
      const resolve = this.#waiting.shift();
      if (resolve === undefined) return;
      this.#running += 1;
      resolve();
    }
  }
}

async function within<T>(work: Promise<T>, otherwise: string): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new PkiError('key_unavailable', otherwise)), CALL_TIMEOUT_MS);
  });
  try {
    return await Promise.race([work, late]);
  } finally {
    clearTimeout(timer);
  }
}
