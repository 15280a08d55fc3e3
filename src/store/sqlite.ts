/** One SQLite file: opened safely, migrated, written by durable group commits. */
import { closeSync, mkdirSync, openSync } from 'node:fs';
import { dirname } from 'node:path';
import { DatabaseSync, type SQLInputValue, type StatementSync } from 'node:sqlite';
import { PkiError } from '../errors.ts';

/** One step of a schema: plain SQL that runs once, in its own transaction, in the order of the list. */
export interface Migration {
  /** What the step brings; kept in the database beside its number. */
  readonly name: string;
  readonly sql: string;
}

/** How long a write waits for another process's commit before it counts as failed. */
const BUSY_TIMEOUT_MS = 10_000;

/**
 * How long a group steps back when another process is committing. About as long as a commit, and shorter than the pause
 * that the other makes before its next.
 */
const BUSY_RETRY_MS = 1;

/** Primary result code of SQLite when another connection holds the lock. */
const SQLITE_BUSY = 5;

interface PendingWork {
  readonly work: () => unknown;
  readonly resolve: (value: unknown) => void;
  readonly reject: (reason: unknown) => void;
}

/**
 * A SQLite database in WAL mode with `synchronous = FULL`.
 *
 * Promise: when `commit(work)` resolves, what `work` wrote survives a crash of the process and of the machine.
 * All work of one turn of the event loop is one transaction. Work must be synchronous, must not depend on having run
 * only once (it is run again on its own if another member of its group throws), and must write through the statements of
 * this object.
 * Several processes may open the same file; their commits take turns, and none stops the others' other work.
 */
export class SqliteFile {
  readonly #db: DatabaseSync;
  readonly #statements = new Map<string, StatementSync>();
  #pending: PendingWork[] = [];
  /** Ends the collecting of a group; `undefined` when nothing is pending. */
  #scheduled: NodeJS.Immediate | NodeJS.Timeout | undefined;
  /** Since when (`performance.now()`) the pending work has been waiting for another process. */
  #waitingSince: number | undefined;
  #closed = false;

  private constructor(db: DatabaseSync) {
    this.#db = db;
  }

  /**
   * Opens the file and brings its schema up to date. A new file is made with mode 0600, a new folder with mode 0700;
   * what exists keeps its mode.
   *
   * @throws PkiError `store_newer` if the file has more migrations than `migrations`; `store_unavailable` if it cannot
   *   be opened, or lies where write-ahead logging does not work (most network file systems).
   */
  static open(path: string, migrations: readonly Migration[]): SqliteFile {
    let db: DatabaseSync | undefined;
    try {
      createDatabaseFile(path);
      db = new DatabaseSync(path, { timeout: BUSY_TIMEOUT_MS });
      const mode = db.prepare('PRAGMA journal_mode = WAL').get() as { journal_mode: string };
      if (mode.journal_mode !== 'wal') throw new Error('its file system does not allow write-ahead logging');
      db.exec('PRAGMA synchronous = FULL');
      // On macOS only this reaches the disk; elsewhere it changes nothing.
      db.exec('PRAGMA fullfsync = ON');
      db.exec('PRAGMA foreign_keys = ON');
      // Reads go through the page cache of the kernel instead of being copied; 2 GiB is SQLite's upper limit.
      db.exec('PRAGMA mmap_size = 2147418112');
      // 8 MiB for pages that are about to be written. More is dearer: each commit walks a table of that many pages.
      db.exec('PRAGMA cache_size = -8192');
      // The WAL is folded back every 16 MiB or so; FULL syncs it at each commit all the same.
      db.exec('PRAGMA wal_autocheckpoint = 2000');
      migrate(db, path, migrations);
    } catch (cause) {
      db?.close();
      if (cause instanceof PkiError) throw cause;
      throw new PkiError('store_unavailable', `the database ${path} cannot be opened: ${messageOf(cause)}`, {
        cause,
      });
    }
    return new SqliteFile(db);
  }

  /** The prepared statement for `sql`, prepared once. */
  statement(sql: string): StatementSync {
    let statement = this.#statements.get(sql);
    if (statement === undefined) {
      statement = this.#db.prepare(sql);
      this.#statements.set(sql, statement);
    }
    return statement;
  }

  /**
   * All rows of a query.
   *
   * @throws PkiError `store_unavailable` if the file cannot be read.
   */
  all<Row>(sql: string, ...parameters: SQLInputValue[]): Row[] {
    try {
      return this.statement(sql).all(...parameters) as Row[];
    } catch (cause) {
      throw failed('read', cause);
    }
  }

  /**
   * The first row of a query, or of a writing statement with RETURNING; `undefined` means that there is none.
   *
   * @throws PkiError `store_unavailable` if the file cannot be read.
   */
  first<Row>(sql: string, ...parameters: SQLInputValue[]): Row | undefined {
    try {
      return this.statement(sql).get(...parameters) as Row | undefined;
    } catch (cause) {
      throw failed('read', cause);
    }
  }

  /** Runs a writing statement and tells how many rows it changed. Only inside work that was given to `commit`. */
  run(sql: string, ...parameters: SQLInputValue[]): number {
    return Number(this.statement(sql).run(...parameters).changes);
  }

  /**
   * Runs `work` in the next group commit; resolves with its result once that is durable.
   *
   * Work that throws makes its whole group run again one by one, an fsync each: answer what is expected as a value.
   *
   * @throws whatever `work` throws (its own writes are then undone, the group's others are not), where what SQLite throws
   *   is PkiError `store_unavailable`; the same for a commit that fails, and after `close`.
   */
  commit<T>(work: () => T): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      if (this.#closed) {
        reject(new PkiError('store_unavailable', 'the database is closed'));
        return;
      }
      this.#pending.push({ work, resolve: resolve as (value: unknown) => void, reject });
      // The group is whatever this turn of the event loop brings: on a busy server all requests that were read together,
      // on an idle one a single write, which waits for nobody.
      this.#scheduled ??= setImmediate(() => this.#flushWhenFree());
    });
  }

  /** Commits what is pending and closes the file. A second call does nothing. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#scheduled = undefined;
    if (this.#pending.length > 0) this.#settle(this.#takePending());
    this.#statements.clear();
    this.#db.close();
  }

  /** Commits what is pending, now or when another process has done its commit. */
  #flushWhenFree(): void {
    this.#scheduled = undefined;
    if (this.#closed) return;
    if (this.#beginIfFree()) {
      this.#waitingSince = undefined;
      this.#settle(this.#takePending());
      return;
    }
    this.#waitingSince ??= performance.now();
    if (performance.now() - this.#waitingSince < BUSY_TIMEOUT_MS) {
      this.#scheduled = setTimeout(() => this.#flushWhenFree(), BUSY_RETRY_MS);
      return;
    }
    this.#waitingSince = undefined;
    this.#refuse(this.#takePending(), new PkiError('store_unavailable', 'the database stayed locked'));
  }

  #takePending(): readonly PendingWork[] {
    const group = this.#pending;
    this.#pending = [];
    return group;
  }

  #refuse(group: readonly PendingWork[], reason: unknown): void {
    for (const pending of group) pending.reject(reason);
  }

  /**
   * Begins the transaction unless another process is in one; then it is `false`. Any other failure shows when `#transact`
   * begins. SQLite's own waiting is out of the question here: it stops this thread, for up to 100 ms a turn.
   */
  #beginIfFree(): boolean {
    try {
      this.#db.exec('PRAGMA busy_timeout = 0; BEGIN IMMEDIATE');
      return true;
    } catch (cause) {
      return !isBusy(cause);
    } finally {
      this.#db.exec(`PRAGMA busy_timeout = ${BUSY_TIMEOUT_MS}`);
    }
  }

  #settle(group: readonly PendingWork[]): void {
    const culprit = this.#transact(group);
    if (culprit === undefined) return;
    if (group.length === 1) culprit.pending.reject(failed('write', culprit.cause));
    // What the culprit did to its neighbours is unknown: each gets a transaction of its own.
    else for (const pending of group) this.#settle([pending]);
  }

  /**
   * Runs a group as one transaction and settles its promises, unless one of its works throws: then nothing was written,
   * nothing is settled, and that one is answered.
   */
  #transact(
    group: readonly PendingWork[],
  ): { readonly pending: PendingWork; readonly cause: unknown } | undefined {
    const results: unknown[] = [];
    try {
      if (!this.#db.isTransaction) this.#db.exec('BEGIN IMMEDIATE');
      for (const pending of group) {
        try {
          results.push(pending.work());
        } catch (cause) {
          this.#rollback();
          return { pending, cause };
        }
      }
      this.#db.exec('COMMIT');
    } catch (cause) {
      // The file itself is locked, full or broken: all would fare alike, so none is tried again.
      this.#rollback();
      this.#refuse(group, failed('write', cause));
      return undefined;
    }
    group.forEach((pending, index) => {
      pending.resolve(results[index]);
    });
    return undefined;
  }

  #rollback(): void {
    if (this.#db.isTransaction) this.#db.exec('ROLLBACK');
  }
}

/**
 * Makes the file unless it is there, so that it and the WAL beside it (which takes over its mode) are the owner's
 * alone. The folder is made too.
 */
export function createDatabaseFile(path: string): void {
  mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
  try {
    // Only a new file is opened here: closing any descriptor of an open database drops SQLite's locks on it.
    closeSync(openSync(path, 'wx', 0o600));
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code !== 'EEXIST') throw cause;
  }
}

function migrate(db: DatabaseSync, path: string, migrations: readonly Migration[]): void {
  db.exec('BEGIN IMMEDIATE');
  try {
    db.exec(
      'CREATE TABLE IF NOT EXISTS migration (number INTEGER PRIMARY KEY, name TEXT NOT NULL, appliedAt TEXT NOT NULL)',
    );
    const row = db.prepare('SELECT count(*) AS count FROM migration').get() as { count: number };
    if (row.count > migrations.length) {
      throw new PkiError(
        'store_newer',
        `${path} has schema ${row.count}; this program knows up to ${migrations.length}`,
      );
    }
    migrations.slice(row.count).forEach((migration, offset) => {
      db.exec(migration.sql);
      db.prepare('INSERT INTO migration (number, name, appliedAt) VALUES (?, ?, ?)').run(
        row.count + offset + 1,
        migration.name,
        new Date().toISOString(),
      );
    });
    db.exec('COMMIT');
  } catch (cause) {
    if (db.isTransaction) db.exec('ROLLBACK');
    throw cause;
  }
}

/** Whether SQLite found the file locked by another connection. */
export function isBusy(cause: unknown): boolean {
  const { errcode } = cause as { readonly errcode?: number };
  return errcode !== undefined && (errcode & 0xff) === SQLITE_BUSY;
}

/** What SQLite says about the world becomes a PkiError; a PkiError, and a mistake of our own, stay what they are. */
function failed(what: 'read' | 'write', cause: unknown): unknown {
  const code = (cause as { readonly code?: unknown } | undefined)?.code;
  if (code !== 'ERR_SQLITE_ERROR' && code !== 'ERR_INVALID_STATE') return cause;
  return new PkiError('store_unavailable', `a ${what} of the database failed: ${messageOf(cause)}`, {
    cause,
  });
}

function messageOf(cause: unknown): string {
  return cause instanceof Error ? cause.message : String(cause);
}
