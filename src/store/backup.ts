/** Backups of the SQLite store: taken beside a running server, verified, restored. */
import { createHash } from 'node:crypto';
import { closeSync, createReadStream, existsSync, fsyncSync, openSync } from 'node:fs';
import { chmod, copyFile, open, readFile, rename, rm, stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { PkiError } from '../errors.ts';
import type { AuditEntry } from './contract.ts';
import { pkiMigrations } from './migrations.ts';
import { openSqliteStore } from './pki-store.ts';
import { createDatabaseFile } from './sqlite.ts';

/** What stands beside a backup, in `FILE.json`. */
export interface BackupManifest {
  readonly format: 'leafgate-backup-1';
  readonly takenAt: string;
  /** Number of schema steps. */
  readonly schema: number;
  readonly sizeBytes: number;
  /** SHA-256 of the file, lower-case hexadecimal. */
  readonly sha256: string;
  readonly certificates: number;
  readonly enrolments: number;
  /** By issuer: the highest CRL number that was given. */
  readonly crlNumbers: Readonly<Record<string, number>>;
  /** Number and hash (hexadecimal) of the newest audit entry. */
  readonly audit: { readonly number: number; readonly hash: string };
}

/**
 * How far CRL numbers jump when a backup is restored. At one CRL a second, a backup could be twelve days old; at the five
 * seconds at which servers look, two months; at one a day, longer than any CA lives.
 */
export const CRL_NUMBER_STEP = 1_048_576;

/**
 * Writes a consistent copy of the store while servers go on, verifies it, and puts its manifest beside it. The copy is
 * one moment: what had been committed when it began. It holds no key.
 *
 * @throws PkiError `backup_failed` if `file` exists or what was written does not verify; `store_unavailable` if the store
 *   cannot be read.
 */
export async function backupStore(database: string, file: string, at: Date): Promise<BackupManifest> {
  for (const path of [file, manifestOf(file)]) {
    if (existsSync(path)) throw new PkiError('backup_failed', `${path} exists; a backup replaces nothing`);
  }
  if (!existsSync(database)) throw new PkiError('store_unavailable', `there is no database ${database}`);
  const unfinished = `${file}.unfinished`;
  await rm(unfinished, { force: true });
  try {
    copyDatabase(database, unfinished);
    const manifest = await describeBackup(unfinished, at.toISOString());
    sync(unfinished);
    const handle = await open(manifestOf(file), 'wx', 0o600);
    try {
      await handle.writeFile(`${JSON.stringify(manifest, null, 2)}\n`);
      await handle.sync();
    } finally {
      await handle.close();
    }
    await rename(unfinished, file);
    syncFolder(file);
    return manifest;
  } finally {
    await rm(unfinished, { force: true });
  }
}

/**
 * Reads a whole backup and compares it with its manifest.
 *
 * @throws PkiError `backup_failed` if anything is not as it was.
 */
export async function verifyBackup(file: string): Promise<BackupManifest> {
  let manifest: BackupManifest;
  try {
    manifest = JSON.parse(await readFile(manifestOf(file), 'utf8'));
  } catch (cause) {
    throw new PkiError('backup_failed', `the manifest ${manifestOf(file)} cannot be read`, { cause });
  }
  if (manifest.format !== 'leafgate-backup-1')
    throw new PkiError('backup_failed', `${manifestOf(file)} is no manifest of a backup`);
  // The hash first: only what is known octet by octet is opened.
  if ((await sha256Of(file)) !== manifest.sha256)
    throw new PkiError('backup_failed', `${file} is not the file that its manifest describes`);
  const found = await describeBackup(file, manifest.takenAt);
  if (JSON.stringify(found) !== JSON.stringify(manifest))
    throw new PkiError('backup_failed', `${file} does not hold what its manifest says`);
  return manifest;
}

/**
 * Puts a verified backup where the store is, ready to go on: CRL numbers jump beyond any that were given since, CRLs count
 * as due, and the audit log tells of it. No server may run on the folder: hold its lock. A store that is there must be
 * allowed to go, and is kept beside, under the name that is answered.
 *
 * What was issued or revoked since the backup is not known to the restored store. Serial numbers are not used again, since
 * they are random.
 *
 * @throws PkiError `backup_failed`; `store_newer` if the backup is of a newer version; `store_unavailable`.
 */
export async function restoreStore(restore: {
  readonly file: string;
  readonly database: string;
  /** What to do with a store that is there. */
  readonly existing: 'refuse' | 'set-aside';
  readonly issuers: readonly string[];
  readonly at: Date;
  readonly actor: string;
}): Promise<{ readonly manifest: BackupManifest; readonly setAside?: string }> {
  const { file, database, at } = restore;
  if (existsSync(database) && restore.existing === 'refuse')
    throw new PkiError('backup_failed', `${database} exists`);
  const manifest = await verifyBackup(file);
  const unfinished = `${database}.restoring`;
  for (const rest of ['', '-wal', '-shm']) await rm(`${unfinished}${rest}`, { force: true });
  createDatabaseFile(unfinished);
  await copyFile(file, unfinished);
  await chmod(unfinished, 0o600);
  const store = openSqliteStore(unfinished);
  try {
    // Issuers of the backup that the configuration does not name any more keep their numbers apart too.
    const issuers = [...new Set([...restore.issuers, ...Object.keys(manifest.crlNumbers)])];
    const audit: AuditEntry = {
      at,
      event: 'store.restored',
      actor: restore.actor,
      reference: '',
      code: '',
      text: 'the store was restored from a backup; what happened after the backup is not known to it',
      detail: {
        takenAt: manifest.takenAt,
        sha256: manifest.sha256,
        lastAuditNumber: String(manifest.audit.number),
        crlNumberStep: String(CRL_NUMBER_STEP),
      },
    };
    await store.resumeAfterRestore({ issuers, crlNumberStep: CRL_NUMBER_STEP, audit });
  } finally {
    await store.close();
  }
  foldLog(unfinished);
  let setAside: string | undefined;
  if (existsSync(database)) {
    setAside = `${database}.before-${at.toISOString().replaceAll(/[:.]/g, '-')}`;
    // Its last writes may be in its log.
    for (const rest of ['-wal', '-shm', '']) {
      if (existsSync(`${database}${rest}`)) await rename(`${database}${rest}`, `${setAside}${rest}`);
    }
  }
  await rename(unfinished, database);
  syncFolder(database);
  return { manifest, ...(setAside === undefined ? {} : { setAside }) };
}

const manifestOf = (file: string) => `${file}.json`;

/** In one read transaction, which stops nobody's writes. */
function copyDatabase(database: string, file: string): void {
  let db: DatabaseSync | undefined;
  try {
    createDatabaseFile(file);
    db = new DatabaseSync(database, { readOnly: true, timeout: 10_000 });
    db.prepare('VACUUM INTO ?').run(file);
  } catch (cause) {
    throw new PkiError('store_unavailable', `the database ${database} cannot be copied to ${file}`, {
      cause,
    });
  } finally {
    db?.close();
  }
}

async function describeBackup(file: string, takenAt: string): Promise<BackupManifest> {
  const sha256 = await sha256Of(file);
  const { size } = await stat(file);
  let db: DatabaseSync | undefined;
  try {
    db = new DatabaseSync(file, { readOnly: true });
    const rows = <Row>(sql: string) => db?.prepare(sql).all() as Row[];
    const count = (table: string) =>
      rows<{ count: number }>(`SELECT count(*) AS count FROM ${table}`)[0]?.count ?? 0;
    const integrity = rows<{ integrity_check: string }>('PRAGMA integrity_check');
    if (integrity[0]?.integrity_check !== 'ok') throw new Error(integrity[0]?.integrity_check);
    const schema = count('migration');
    if (schema > pkiMigrations.length)
      throw new PkiError('store_newer', `the backup has schema ${schema}; this program knows less`);
    const [head] = rows<{ number: number; hash: Uint8Array }>(
      'SELECT number, hash FROM audit_entry ORDER BY number DESC LIMIT 1',
    );
    return {
      format: 'leafgate-backup-1',
      takenAt,
      schema,
      sizeBytes: size,
      sha256,
      certificates: count('certificate'),
      enrolments: count('enrolment'),
      crlNumbers: Object.fromEntries(
        rows<{ issuer: string; crlNumber: number }>(
          'SELECT issuer, crlNumber FROM issuer_counter ORDER BY issuer',
        ).map(({ issuer, crlNumber }) => [issuer, crlNumber]),
      ),
      audit: { number: head?.number ?? 0, hash: Buffer.from(head?.hash ?? []).toString('hex') },
    };
  } catch (cause) {
    if (cause instanceof PkiError) throw cause;
    throw new PkiError('backup_failed', `${file} is no whole store`, { cause });
  } finally {
    db?.close();
  }
}

/** Brings what is in the log of a closed database into the file, so that the file can be moved alone. */
function foldLog(path: string): void {
  const db = new DatabaseSync(path);
  db.exec('PRAGMA wal_checkpoint(TRUNCATE)');
  db.close();
}

async function sha256Of(file: string): Promise<string> {
  const hash = createHash('sha256');
  try {
    for await (const chunk of createReadStream(file)) hash.update(chunk);
  } catch (cause) {
    throw new PkiError('backup_failed', `${file} cannot be read`, { cause });
  }
  return hash.digest('hex');
}

function sync(path: string): void {
  const descriptor = openSync(path, 'r+');
  try {
    fsyncSync(descriptor);
  } finally {
    closeSync(descriptor);
  }
}

/** Makes a rename last; Windows has no such thing and needs none. */
function syncFolder(path: string): void {
  if (process.platform === 'win32') return;
  const descriptor = openSync(dirname(path), 'r');
  try {
    fsyncSync(descriptor);
  } finally {
    closeSync(descriptor);
  }
}
