/** The audit log as a chain of hashes: how an entry is hashed, what a checkpoint says, how damage is found. */
import { hash } from 'node:crypto';
import { PkiError } from '../errors.ts';
import type { AuditChain, AuditCheckpoint, AuditEntry, ChainedAuditEntry } from './contract.ts';

/** An audit entry as its row holds it. */
export interface AuditContent {
  readonly at: number;
  readonly event: string;
  readonly actor: string;
  readonly reference: string;
  readonly code: string;
  readonly text: string;
  /** JSON, exactly as it is stored. */
  readonly detail: string;
}

/** What stands before the first entry: no entry, and no hash. */
export const chainStart: { readonly number: number; readonly hash: Uint8Array } = {
  number: 0,
  hash: new Uint8Array(32),
};

/** Entries that are read at once while the chain is verified. */
const PAGE = 1000;

/** What every database gives back as it was given: no NUL (PostgreSQL takes none), no half of a surrogate pair. */
function storedText(text: string): string {
  return text.replaceAll('\0', '\u{FFFD}').toWellFormed();
}

/** The row of an entry. */
export function auditContent(entry: AuditEntry): AuditContent {
  return {
    at: entry.at.getTime(),
    event: storedText(entry.event),
    actor: storedText(entry.actor),
    reference: storedText(entry.reference),
    code: storedText(entry.code),
    text: storedText(entry.text),
    detail: JSON.stringify(entry.detail),
  };
}

/** The columns of `audit_entry` between number and hash, in the order of `AuditContent`. */
export function contentValues({ at, event, actor, reference, code, text, detail }: AuditContent) {
  return [at, event, actor, reference, code, text, detail] as const;
}

/** SHA-256 of an entry's canonical content: the JSON array of its columns. */
export function contentHash(content: AuditContent): Uint8Array {
  return hash('sha256', JSON.stringify(contentValues(content)), 'buffer');
}

/** The hash of an entry: SHA-256 of the previous entry's, its own number (eight octets, big endian), its content's. */
export function entryHash(previous: Uint8Array, number: number, content: Uint8Array): Uint8Array {
  const place = Buffer.alloc(8);
  place.writeBigUInt64BE(BigInt(number));
  return hash('sha256', Buffer.concat([previous, place, content]), 'buffer');
}

/** What the signature of a checkpoint is over: text, so that it can be taken for nothing that a CA signs. */
function checkpointContent(checkpoint: Omit<AuditCheckpoint, 'signature'>): Uint8Array {
  return Buffer.from(
    [
      'Leafgate audit checkpoint 1',
      checkpoint.number,
      Buffer.from(checkpoint.hash).toString('hex'),
      checkpoint.at.toISOString(),
      checkpoint.signer,
      checkpoint.algorithm,
      '',
    ].join('\n'),
  );
}

/**
 * Signs the newest entry of the log and records that, unless the newest entry has a checkpoint already (then nothing is
 * done). Who changes an entry before a checkpoint, or cuts it off, needs the signer's key to hide it.
 *
 * @throws PkiError `store_unavailable`, and whatever `sign` throws.
 */
export async function appendCheckpoint(
  store: AuditChain,
  by: {
    readonly at: Date;
    /** Name of the key, as `verifyAuditLog` will be asked for it. */
    readonly signer: string;
    readonly algorithm: string;
    readonly sign: (content: Uint8Array) => Promise<Uint8Array>;
  },
): Promise<AuditCheckpoint | undefined> {
  const head = await store.auditHead();
  const latest = (await store.auditCheckpoints()).at(-1);
  if (head.number === 0 || latest?.number === head.number) return undefined;
  const content = { ...head, at: by.at, signer: by.signer, algorithm: by.algorithm };
  const checkpoint = { ...content, signature: await by.sign(checkpointContent(content)) };
  await store.recordCheckpoint(checkpoint);
  return checkpoint;
}

/** What `verifyAuditLog` found. */
export type AuditVerification =
  | {
      readonly result: 'whole';
      readonly entries: number;
      readonly checkpoints: number;
      readonly last: number;
    }
  | {
      readonly result: 'damaged';
      /** The first entry that is not as it was written. */
      readonly number: number;
      readonly reason:
        | 'missing'
        | 'changed'
        | 'checkpoint disagrees'
        | 'checkpoint signature'
        | 'beginning not signed';
    };

/**
 * Reads the whole log and recomputes each hash; names the first entry that is missing or changed. Entries after the last
 * checkpoint can be replaced together with their hashes by who can write the database; those before cannot.
 *
 * @param verify whether the signature of a checkpoint over `content` is its signer's.
 * @throws PkiError `store_unavailable`.
 */
export async function verifyAuditLog(
  store: AuditChain,
  verify: (checkpoint: AuditCheckpoint, content: Uint8Array) => boolean,
): Promise<AuditVerification> {
  const start = await store.auditStart();
  const checkpoints = await store.auditCheckpoints();
  const damaged = (
    number: number,
    reason: Extract<AuditVerification, { result: 'damaged' }>['reason'],
  ): AuditVerification => ({ result: 'damaged', number, reason });
  // What was pruned is vouched for by the checkpoint of the first entry that was kept.
  if (start.number > 0 && !checkpoints.some(({ number }) => number === start.number + 1)) {
    return damaged(start.number + 1, 'beginning not signed');
  }
  let { number, hash: previous } = start;
  let next = 0;
  let entries = 0;
  for (;;) {
    const page = await store.auditChain({ after: number, limit: PAGE });
    for (const entry of page) {
      if (entry.number !== number + 1) return damaged(number + 1, 'missing');
      number = entry.number;
      const want = entryHash(previous, number, contentHash(contentOf(entry)));
      if (!sameOctets(want, entry.hash)) return damaged(number, 'changed');
      previous = want;
      entries += 1;
      for (
        let checkpoint = checkpoints[next];
        checkpoint?.number === number;
        checkpoint = checkpoints[next]
      ) {
        if (!verify(checkpoint, checkpointContent(checkpoint)))
          return damaged(number, 'checkpoint signature');
        if (!sameOctets(checkpoint.hash, previous)) return damaged(number, 'checkpoint disagrees');
        next += 1;
      }
    }
    if (page.length < PAGE) break;
  }
  const beyond = checkpoints[next];
  if (beyond !== undefined)
    return damaged(number + 1, beyond.number > number ? 'missing' : 'checkpoint disagrees');
  return { result: 'whole', entries, checkpoints: checkpoints.length, last: number };
}

function contentOf(entry: ChainedAuditEntry): AuditContent {
  return { ...entry, at: entry.at.getTime(), detail: entry.detailJson };
}

function sameOctets(a: Uint8Array, b: Uint8Array): boolean {
  return Buffer.compare(a, b) === 0;
}

/**
 * Refuses a log that is not whole.
 *
 * @throws PkiError `audit_damaged`, naming the first damaged entry.
 */
export function assertWhole(
  found: AuditVerification,
): asserts found is AuditVerification & { result: 'whole' } {
  if (found.result === 'whole') return;
  throw new PkiError('audit_damaged', `audit entry ${found.number}: ${found.reason}`);
}
