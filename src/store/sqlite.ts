/** One SQLite file: opened safely, migrated, written by durable group commits. */
import { closeSync, fdatasync, fdatasyncSync, mkdirSync, openSync } from 'node:fs';
import { dirname } from 'node:path';
import { DatabaseSync, type SQLInputValue, type StatementSync } from 'node:sqlite';
import { PkiError } from '../errors.ts';

/** One step of a schema: plain SQL that runs once, in its own transaction, in the order of the list. */
export interface Migration {
  /** What the step brings; kept in the database beside its number. */
  readonly name: string;
  readonly sql: string;
}

/** How long a write waits for another process's transaction before it counts as failed. */
const BUSY_TIMEOUT_MS = 10_000;

/** How often a group looks again at once when another process is in a transaction, which takes a fraction of a millisecond. */
const BUSY_QUICK_LOOKS = 20;

/** How long it steps back after that. */
const BUSY_RETRY_MS = 1;

/** Primary result code of SQLite when another connection holds the lock. */
const SQLITE_BUSY = 5;

interface PendingWork {
  readonly work: () => unknown;
  /** What must have happened to the transaction before the work counts as done. */
  readonly until: 'on disk' | 'committed';
  readonly resolve: (value: unknown) => void;
  readonly reject: (reason: unknown) => void;
}

/** Work whose transaction is committed and waits to be on disk. */
interface CommittedWork {
  readonly pending: PendingWork;
  readonly result: unknown;
}

/**
 * A SQLite database in WAL mode, every commit of which is on disk before anybody hears of it.
 *
 * Promise: when `commit(work)` resolves, what `work` wrote survives a crash of the process and of the machine. It is what
 * SQLite's `synchronous = FULL` promises, with one difference: the file of the log is synced by the thread pool and not by
 * this thread, which goes on meanwhile, and one sync serves all commits before it. SQLite itself syncs what keeps the
 * file whole (`synchronous = NORMAL`).
 *
 * All work of one turn of the event loop is one transaction. Work must be synchronous, must not depend on having run
 * only once (it is run again on its own if another member of its group throws), and must write through the statements of
 * this object. Reads see what is committed, an instant before it is on disk: `durable()` waits for that.
 * Several processes may open the same file; their commits take turns, and none stops the others' other work.
 */
export class SqliteFile {
  readonly #db: DatabaseSync;
  readonly #begin: StatementSync;
  readonly #end: StatementSync;
  /** Descriptor of the write-ahead log, which stays the same file as long as the database is open; none if it is only read. */
  readonly #log: number | undefined;
  readonly #statements = new Map<string, StatementSync>();
  #pending: PendingWork[] = [];
  /** Ends the collecting of a group; `undefined` when nothing is pending. */
  #scheduled: NodeJS.Immediate | NodeJS.Timeout | undefined;
  /** Since when (`performance.now()`) the pending work has been waiting for another process, and how often it looked. */
  #waiting: { readonly since: number; looks: number } | undefined;
  /** Committed after the running sync began. */
  #committed: CommittedWork[] = [];
  /** What the running sync will have brought to disk; `undefined` when none runs. */
  #syncing: readonly CommittedWork[] | undefined;
  /** Why nothing may be written any more: what is on disk is unknown after a sync that failed. */
  #broken: PkiError | undefined;
  #closed = false;

  private constructor(db: DatabaseSync, log: number | undefined) {
    this.#db = db;
    this.#log = log;
    this.#begin = db.prepare('BEGIN IMMEDIATE');
    this.#end = db.prepare('COMMIT');
  }

  /**
   * Opens the file and brings its schema up to date. A new file is made with mode 0600, a new folder with mode 0700;
   * what exists keeps its mode.
   *
   * To `read`, nothing is made or changed: writes are `store_unavailable`.
   *
   * @throws PkiError `store_newer` if the file has more migrations than `migrations`; `store_older` if it is to be read
   *   and has fewer; `store_unavailable` if it cannot be opened, or lies where write-ahead logging does not work (most
   *   network file systems).
   */
  static open(
    path: string,
    migrations: readonly Migration[],
    access: 'read' | 'write' = 'write',
  ): SqliteFile {
    let db: DatabaseSync | undefined;
    try {
      if (access === 'read') {
        db = new DatabaseSync(path, { readOnly: true, timeout: BUSY_TIMEOUT_MS });
        assertSchema(schemaOf(db), migrations.length, 'all', path);
        return new SqliteFile(db, undefined);
      }
      createDatabaseFile(path);
      db = new DatabaseSync(path, { timeout: BUSY_TIMEOUT_MS });
      const mode = db.prepare('PRAGMA journal_mode = WAL').get() as { journal_mode: string };
      if (mode.journal_mode !== 'wal') throw new Error('its file system does not allow write-ahead logging');
      // Syncs around each checkpoint; the sync of each commit is done here (see above).
      db.exec('PRAGMA synchronous = NORMAL');
      // On macOS only this reaches the disk; elsewhere it changes nothing.
      db.exec('PRAGMA fullfsync = ON');
      db.exec('PRAGMA foreign_keys = ON');
      // Reads go through the page cache of the kernel instead of being copied; 2 GiB is SQLite's upper limit.
      db.exec('PRAGMA mmap_size = 2147418112');
      // 8 MiB for pages that are about to be written. More is dearer: each commit walks a table of that many pages.
      db.exec('PRAGMA cache_size = -8192');
      // The log is folded back every 32 MiB or so: rarely, because it stops this thread.
      db.exec('PRAGMA wal_autocheckpoint = 8000');
      migrate(db, path, migrations);
      // SQLite's own waiting stops this thread, for up to 100 ms a turn: from here on it is done by `#flushWhenFree`.
      db.exec('PRAGMA busy_timeout = 0');
      // `r+`: Windows syncs nothing that is open for reading only.
      return new SqliteFile(db, openSync(`${path}-wal`, 'r+'));
    } catch (cause) {
      db?.close();
      if (cause instanceof PkiError) throw cause;
      throw new PkiError('store_unavailable', `the database ${path} cannot be opened: ${messageOf(cause)}`, {
        cause,
      });
    }
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
   * Work that throws makes its whole group run again one by one: answer what is expected as a value.
   *
   * @throws whatever `work` throws (its own writes are then undone, the group's others are not), where what SQLite throws
   *   is PkiError `store_unavailable`; the same for a commit or a sync that fails, for everything after such a sync, and
   *   after `close`.
   */
  commit<T>(work: () => T): Promise<T> {
    return this.#schedule(work, 'on disk');
  }

  /**
   * As `commit`, but resolves once the transaction is committed: what `work` wrote survives the process, and the
   * machine from the next sync on, which any later `commit` and `durable` brings. For what need not outlive a power
   * failure unless something later does: the log is written in order, so nothing later is on disk without it.
   */
  write<T>(work: () => T): Promise<T> {
    return this.#schedule(work, 'committed');
  }

  #schedule<T>(work: () => T, until: PendingWork['until']): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      if (this.#closed || this.#broken !== undefined || this.#log === undefined) {
        const why = this.#closed
          ? new PkiError('store_unavailable', 'the database is closed')
          : new PkiError('store_read_only', 'the database was opened to be read');
        reject(this.#broken ?? why);
        return;
      }
      this.#pending.push({ work, until, resolve: resolve as (value: unknown) => void, reject });
      // The group is whatever this turn of the event loop brings: on a busy server all requests that were read together,
      // on an idle one a single write, which waits for nobody.
      this.#scheduled ??= setImmediate(() => this.#flushWhenFree());
    });
  }

  /**
   * Resolves when everything that a read can see now is on disk, whichever process wrote it.
   *
   * @throws PkiError `store_unavailable` if that cannot be had.
   */
  durable(): Promise<void> {
    if (this.#broken !== undefined) return Promise.reject(this.#broken);
    // Who may not write has no part in what is brought to disk: what it reads is its own copy.
    if (this.#closed || this.#log === undefined) return Promise.resolve();
    return new Promise<void>((resolve, reject) => {
      const pending = {
        work: () => undefined,
        until: 'on disk',
        resolve: () => resolve(),
        reject,
      } as const;
      this.#committed.push({ pending, result: undefined });
      this.#sync();
    });
  }

  /** Commits what is pending, waits until it is on disk, and closes the file. A second call does nothing. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#scheduled = undefined;
    const unsynced = this.#syncing ?? [];
    if (this.#pending.length > 0) this.#settle(this.#takePending());
    const last = [...unsynced, ...this.#committed];
    this.#committed = [];
    if (this.#log !== undefined) {
      let failure: PkiError | undefined;
      try {
        fdatasyncSync(this.#log);
      } catch (cause) {
        failure = syncFailed(cause);
      }
      settleAll(last, failure);
      // A sync that is under way still holds the descriptor.
      if (this.#syncing === undefined) closeSync(this.#log);
    }
    this.#statements.clear();
    this.#db.close();
  }

  /** Commits what is pending, now or when another process has done its commit. */
  #flushWhenFree(): void {
    this.#scheduled = undefined;
    if (this.#closed) return;
    if (this.#beginIfFree()) {
      this.#waiting = undefined;
      this.#settle(this.#takePending());
      return;
    }
    this.#waiting ??= { since: performance.now(), looks: 0 };
    this.#waiting.looks += 1;
    if (this.#waiting.looks < BUSY_QUICK_LOOKS) {
      this.#scheduled = setImmediate(() => this.#flushWhenFree());
    } else if (performance.now() - this.#waiting.since < BUSY_TIMEOUT_MS) {
      this.#scheduled = setTimeout(() => this.#flushWhenFree(), BUSY_RETRY_MS);
    } else {
      this.#waiting = undefined;
      refuse(this.#takePending(), new PkiError('store_unavailable', 'the database stayed locked'));
    }
  }

  #takePending(): readonly PendingWork[] {
    const group = this.#pending;
    this.#pending = [];
    return group;
  }

  /**
   * Begins the transaction unless another process is in one; then it is `false`. Any other failure shows when `#transact`
   * begins.
   */
  #beginIfFree(): boolean {
    try {
      this.#begin.run();
      return true;
    } catch (cause) {
      return !isBusy(cause);
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
   * Runs a group as one transaction and has it synced, unless one of its works throws: then nothing was written,
   * nothing is settled, and that one is answered.
   */
  #transact(
    group: readonly PendingWork[],
  ): { readonly pending: PendingWork; readonly cause: unknown } | undefined {
    const committed: CommittedWork[] = [];
    try {
      if (!this.#db.isTransaction) this.#begin.run();
      for (const pending of group) {
        try {
          committed.push({ pending, result: pending.work() });
        } catch (cause) {
          this.#rollback();
          return { pending, cause };
        }
      }
      this.#end.run();
    } catch (cause) {
      // The file itself is locked, full or broken: all would fare alike, so none is tried again.
      this.#rollback();
      refuse(group, failed('write', cause));
      return undefined;
    }
    for (const one of committed) {
      if (one.pending.until === 'committed') one.pending.resolve(one.result);
      else this.#committed.push(one);
    }
    if (!this.#closed) this.#sync();
    return undefined;
  }

  /** Brings to disk what is committed, unless a sync is under way: then the next one does it. */
  #sync(): void {
    const log = this.#log;
    if (log === undefined || this.#syncing !== undefined || this.#committed.length === 0) return;
    const syncing = this.#committed;
    this.#syncing = syncing;
    this.#committed = [];
    fdatasync(log, (cause) => {
      this.#syncing = undefined;
      if (this.#closed) {
        closeSync(log);
        return;
      }
      if (cause === null) {
        settleAll(syncing, undefined);
        this.#sync();
        return;
      }
      this.#broken = syncFailed(cause);
      settleAll([...syncing, ...this.#committed], this.#broken);
      this.#committed = [];
      refuse(this.#takePending(), this.#broken);
    });
  }

  #rollback(): void {
    if (this.#db.isTransaction) this.#db.exec('ROLLBACK');
  }
}

function refuse(group: readonly PendingWork[], reason: unknown): void {
  for (const pending of group) pending.reject(reason);
}

function settleAll(works: readonly CommittedWork[], failure: PkiError | undefined): void {
  for (const { pending, result } of works) {
    if (failure === undefined) pending.resolve(result);
    else pending.reject(failure);
  }
}

function syncFailed(cause: unknown): PkiError {
  return new PkiError('store_unavailable', `the database cannot be brought to disk: ${messageOf(cause)}`, {
    cause,
  });
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
    const schema = schemaOf(db);
    assertSchema(schema, migrations.length, 'some', path);
    migrations.slice(schema).forEach((migration, offset) => {
      db.exec(migration.sql);
      db.prepare('INSERT INTO migration (number, name, appliedAt) VALUES (?, ?, ?)').run(
        schema + offset + 1,
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

/** Steps of the schema that a file has; 0 if it has no list of them. */
function schemaOf(db: DatabaseSync): number {
  const table = db.prepare("SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'migration'").get();
  if (table === undefined) return 0;
  return (db.prepare('SELECT count(*) AS count FROM migration').get() as { count: number }).count;
}

/**
 * Refuses a schema that this program does not know; and one that lacks steps, if `all` of them are needed.
 *
 * @throws PkiError `store_newer`, `store_older`.
 */
export function assertSchema(schema: number, known: number, needed: 'all' | 'some', database: string): void {
  if (schema > known)
    throw new PkiError('store_newer', `${database} has schema ${schema}; this program knows up to ${known}`);
  if (needed === 'all' && schema < known)
    throw new PkiError('store_older', `${database} has schema ${schema}; this program needs ${known}`);
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
