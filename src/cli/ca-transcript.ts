/** The written record of a ceremony: who did what when, and the hashes of everything that was touched. */
import { createHash } from 'node:crypto';
import {
  closeSync,
  fchmodSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readFileSync,
  statSync,
  writeSync,
} from 'node:fs';
import { hostname, userInfo } from 'node:os';
import { dirname } from 'node:path';
import { PkiError } from '../errors.ts';
import type { Clock } from '../telemetry.ts';

/**
 * A text file that only grows, mode 0600. Each line is on the disk before the next step begins, so that the record of a
 * ceremony that was interrupted ends where the ceremony ended. Nothing secret is ever handed to it.
 */
export class Transcript {
  readonly path: string;
  readonly #descriptor: number;
  readonly #clock: Clock;

  private constructor(path: string, descriptor: number, clock: Clock) {
    this.path = path;
    this.#descriptor = descriptor;
    this.#clock = clock;
  }

  /**
   * Opens a transcript, or goes on with one that is there.
   *
   * @throws PkiError `file_unwritable`.
   */
  static open(path: string, clock: Clock): Transcript {
    try {
      mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
      const descriptor = openSync(path, 'a', 0o600);
      // One that somebody made beforehand may be open to others.
      fchmodSync(descriptor, 0o600);
      return new Transcript(path, descriptor, clock);
    } catch (cause) {
      throw new PkiError('file_unwritable', `the transcript ${path} cannot be written`, { cause });
    }
  }

  /** Begins the record of one run: who, where, with what. */
  begin(title: string, people: readonly string[] = []): void {
    const { username } = userInfo();
    this.note(`==== ${title}`);
    this.note(
      `account ${username} on host ${hostname()}, Node.js ${process.versions.node}, process ${process.pid}`,
    );
    for (const person of people) this.note(person);
  }

  /** Adds a line with its time. */
  note(text: string): void {
    try {
      // What others named (subjects, paths) must not forge a line of its own.
      const line = text.replaceAll(
        /\p{Cc}/gu,
        (control) => `\\x${control.charCodeAt(0).toString(16).padStart(2, '0')}`,
      );
      const at = `${this.#clock.now().toISOString().slice(0, 19)}Z`;
      writeSync(this.#descriptor, `${at}  ${line}\n`);
      fsyncSync(this.#descriptor);
    } catch (cause) {
      throw new PkiError('file_unwritable', `the transcript ${this.path} cannot be written`, { cause });
    }
  }

  /** SHA-256 of the record so far, for the minutes that people sign. */
  sha256(): string {
    return sha256(readFileSync(this.path));
  }

  close(): void {
    closeSync(this.#descriptor);
  }
}

/** A file as a transcript names it: path, size and SHA-256. */
export function fileLine(path: string): string {
  return `file ${path}: ${statSync(path).size} octets, SHA-256 ${sha256(readFileSync(path))}`;
}

const sha256 = (octets: Uint8Array): string => createHash('sha256').update(octets).digest('hex');
