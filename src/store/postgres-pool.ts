/** One PostgreSQL database: connected safely, migrated once, written in transactions. The only file that loads `pg`. */
import { isIP } from 'node:net';
import type { ClientConfig, Pool, PoolClient, PoolConfig } from 'pg';
import { PkiError } from '../errors.ts';
import type { StoreLead } from './contract.ts';
import { assertSchema, type Migration } from './sqlite.ts';

/** How a PostgreSQL database is reached. */
export interface PostgresDatabase {
  /** Name or address of the server, or the folder of its Unix socket. */
  readonly host: string;
  readonly port: number;
  readonly database: string;
  readonly user: string;
  /** Absent if the server trusts the socket or the certificate. */
  readonly password?: string;
  /** PEM of the CA that the server's certificate must come from; the system's CAs if absent. */
  readonly ca?: string;
  /** Connections of this process at most. */
  readonly connectionsMax: number;
}

/** How long to wait for a connection, and how long for an answer. Both end as `store_unavailable`. */
const CONNECT_TIMEOUT_MS = 10_000;
const ANSWER_TIMEOUT_MS = 60_000;

/** How long the lead's own connection may stand still before another server may have the lead. */
const LEAD_TIMEOUT_MS = 5_000;

/** Advisory lock of the server that has the lead: the octets of `leaflead`. */
const LEAD_LOCK = '7810756221277135204';

/** Advisory lock under which one process at a time brings the schema up to date: the octets of `leafmigr`. */
const MIGRATION_LOCK = '7810756221294176114';

/** OID of int8, which `pg` would give as text: ours are times and counters, far below 2^53. */
const INT8 = 20;

/** A value of a statement. */
export type PostgresValue = string | number | Uint8Array | null;

/** What runs statements: the pool, or one transaction. */
export interface PostgresSession {
  /** All rows of a statement. */
  all<Row>(sql: string, ...values: PostgresValue[]): Promise<Row[]>;
  /** The first row, or `undefined`. */
  first<Row>(sql: string, ...values: PostgresValue[]): Promise<Row | undefined>;
  /** How many rows it changed. */
  run(sql: string, ...values: PostgresValue[]): Promise<number>;
}

/**
 * Connections to one database. What fails is PkiError `store_unavailable`, and the next statement connects anew: a server
 * that comes back is found without a restart. A statement without a transaction is one of its own.
 */
export class PostgresPool implements PostgresSession {
  readonly #pool: Pool;
  readonly #database: ClientConfig;
  readonly #names = new Map<string, string>();
  readonly #underWay = new Set<Promise<unknown>>();
  /** What gives back each lead that was taken. */
  readonly #leads = new Set<() => Promise<void>>();
  #closed: Promise<void> | undefined;

  private constructor(pool: Pool, database: ClientConfig) {
    this.#pool = pool;
    this.#database = database;
  }

  /**
   * Connects and brings the schema up to date, under a lock that all processes share. A database with all steps is not
   * written to, so that commands can read a replica. To `read`, nothing is ever written: every transaction is read-only.
   *
   * @throws PkiError `store_driver`, `store_newer`, `store_older`, `store_not_durable`, `store_unavailable`.
   */
  static async open(
    database: PostgresDatabase,
    migrations: readonly Migration[],
    access: 'read' | 'write' = 'write',
  ): Promise<PostgresPool> {
    const { Pool, types } = await loadDriver();
    const server: ClientConfig = {
      host: database.host,
      port: database.port,
      database: database.database,
      user: database.user,
      ...(database.password === undefined ? {} : { password: database.password }),
      ...encryption(database),
      application_name: 'leafgate',
      connectionTimeoutMillis: CONNECT_TIMEOUT_MS,
    };
    const options: PoolConfig = {
      ...server,
      ...(access === 'read' ? { options: '-c default_transaction_read_only=on' } : {}),
      max: database.connectionsMax,
      query_timeout: ANSWER_TIMEOUT_MS,
      statement_timeout: ANSWER_TIMEOUT_MS,
      // A transaction whose process stands still must not hold up the others for ever.
      idle_in_transaction_session_timeout: ANSWER_TIMEOUT_MS,
      keepAlive: true,
      types: {
        getTypeParser: (oid, format) =>
          oid === INT8 && format !== 'binary' ? Number : types.getTypeParser(oid, format),
      },
    };
    const pool = new Pool(options);
    // A connection that breaks while nobody uses it: the pool drops it, and the next statement opens another.
    pool.on('error', () => {});
    const opened = new PostgresPool(pool, server);
    try {
      if (access === 'write') await opened.#migrate(migrations);
      else assertSchema(await opened.#schemaThere(), migrations.length, 'all', 'the database');
      await opened.#assertDurable();
      return opened;
    } catch (cause) {
      await opened.close();
      throw cause;
    }
  }

  async all<Row>(sql: string, ...values: PostgresValue[]): Promise<Row[]> {
    return (await this.#enter(() => this.#on(this.#pool, sql, values))).rows as Row[];
  }

  async first<Row>(sql: string, ...values: PostgresValue[]): Promise<Row | undefined> {
    return (await this.all<Row>(sql, ...values))[0];
  }

  async run(sql: string, ...values: PostgresValue[]): Promise<number> {
    return (await this.#enter(() => this.#on(this.#pool, sql, values))).rowCount ?? 0;
  }

  /**
   * Runs `work` as one transaction. Work that throws leaves nothing behind.
   *
   * `process`: the commit does not wait for the disk; what it wrote survives this process, and the database server too
   * once any later commit has.
   *
   * @throws PkiError `store_unavailable`; whatever `work` throws.
   */
  transact<T>(
    work: (session: PostgresSession) => Promise<T>,
    survives: 'process' | 'machine' = 'machine',
  ): Promise<T> {
    return this.#enter(() => this.#transact(work, survives));
  }

  async #transact<T>(
    work: (session: PostgresSession) => Promise<T>,
    survives: 'process' | 'machine',
  ): Promise<T> {
    const client = await this.#connect();
    let broken: unknown;
    try {
      // One message, one round trip.
      await this.#send(() =>
        client.query(survives === 'machine' ? 'BEGIN' : 'BEGIN; SET LOCAL synchronous_commit = off'),
      );
      const result = await work({
        all: async <Row>(sql: string, ...values: PostgresValue[]) =>
          (await this.#on(client, sql, values)).rows as Row[],
        first: async <Row>(sql: string, ...values: PostgresValue[]) =>
          (await this.#on(client, sql, values)).rows[0] as Row | undefined,
        run: async (sql, ...values) => (await this.#on(client, sql, values)).rowCount ?? 0,
      });
      await this.#send(() => client.query('COMMIT'));
      return result;
    } catch (cause) {
      broken = await client.query('ROLLBACK').then(
        () => undefined,
        (failure: unknown) => failure,
      );
      throw cause;
    } finally {
      // A connection that cannot even roll back is thrown away.
      client.release(broken !== undefined);
    }
  }

  /**
   * Takes the lead by a lock of a session of its own: PostgreSQL frees it when the session ends, however that happens.
   *
   * @throws PkiError `store_unavailable`.
   */
  takeLead(): Promise<StoreLead | undefined> {
    return this.#enter(() => this.#takeLead());
  }

  async #takeLead(): Promise<StoreLead | undefined> {
    const { Client } = await loadDriver();
    const client = new Client({
      ...this.#database,
      application_name: 'leafgate lead',
      query_timeout: LEAD_TIMEOUT_MS,
      keepAlive: true,
    });
    let state: 'held' | 'lost' = 'held';
    const end = async () => {
      state = 'lost';
      this.#leads.delete(end);
      await client.end().catch(() => {});
    };
    // A connection that breaks while nobody asks.
    client.on('error', () => {
      state = 'lost';
    });
    try {
      await this.#send(() => client.connect());
      const { rows } = await this.#send(() =>
        client.query<{ taken: boolean }>('SELECT pg_try_advisory_lock($1::bigint) AS taken', [LEAD_LOCK]),
      );
      if (rows[0]?.taken !== true) {
        await end();
        return undefined;
      }
    } catch (cause) {
      await end();
      throw cause;
    }
    this.#leads.add(end);
    return {
      isHeld: async () => {
        if (state === 'lost') return false;
        try {
          // Asked of the list of locks: a pooler between us and the database may have given us another session.
          const { rowCount } = await client.query(
            `SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid() AND granted
               AND objsubid = 1 AND (classid::bigint << 32 | objid::bigint) = $1::bigint`,
            [LEAD_LOCK],
          );
          if (rowCount === 1) return true;
        } catch {
          // Whatever it is, who cannot reach the database does not lead.
        }
        await end();
        return false;
      },
      release: end,
    };
  }

  /** Waits for what is under way and disconnects. A second call does nothing. */
  close(): Promise<void> {
    this.#closed ??= Promise.allSettled(this.#underWay).then(async () => {
      await Promise.all([...this.#leads].map((end) => end()));
      await this.#pool.end();
    });
    return this.#closed;
  }

  /** Lets work begin unless the pool is closed; `close` waits for it. */
  async #enter<T>(work: () => Promise<T>): Promise<T> {
    if (this.#closed !== undefined) throw new PkiError('store_unavailable', 'the database is closed');
    const running = work();
    this.#underWay.add(running);
    try {
      return await running;
    } finally {
      this.#underWay.delete(running);
    }
  }

  async #connect(): Promise<PoolClient> {
    return await this.#send(() => this.#pool.connect());
  }

  /** Runs a statement, prepared once on each connection. */
  async #on(on: Pool | PoolClient, sql: string, values: readonly PostgresValue[]) {
    let name = this.#names.get(sql);
    if (name === undefined) {
      name = `leafgate-${this.#names.size}`;
      this.#names.set(sql, name);
    }
    const query = { name, text: sql, values: values.map(storable) };
    return await this.#send(() => on.query(query));
  }

  async #send<T>(work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (cause) {
      throw unavailable(cause);
    }
  }

  /** Steps of the schema that the database has; 0 if it is empty. */
  async #schemaThere(): Promise<number> {
    const table = await this.first<{ name: string | null }>("SELECT to_regclass('migration')::text AS name");
    return table?.name == null ? 0 : await schemaOf(this);
  }

  async #migrate(migrations: readonly Migration[]): Promise<void> {
    const there = await this.#schemaThere();
    assertSchema(there, migrations.length, 'some', 'the database');
    if (there === migrations.length) return;
    await this.transact(async (session) => {
      await session.all('SELECT pg_advisory_xact_lock($1::bigint)', MIGRATION_LOCK);
      await session.run(
        `CREATE TABLE IF NOT EXISTS migration (
           number INTEGER PRIMARY KEY, name TEXT NOT NULL, "appliedAt" TEXT NOT NULL)`,
      );
      // Another process may have done it while we waited for the lock.
      const schema = await schemaOf(session);
      assertSchema(schema, migrations.length, 'some', 'the database');
      for (const [offset, migration] of migrations.slice(schema).entries()) {
        for (const statement of migration.sql.split('\n\n')) await session.run(statement);
        await session.run(
          'INSERT INTO migration (number, name, "appliedAt") VALUES ($1, $2, $3)',
          schema + offset + 1,
          migration.name,
          new Date().toISOString(),
        );
      }
    });
  }

  async #assertDurable(): Promise<void> {
    const rows = await this.all<{ name: string }>(
      `SELECT name FROM pg_settings
       WHERE name IN ('fsync', 'full_page_writes', 'synchronous_commit') AND setting = 'off' ORDER BY name`,
    );
    if (rows.length === 0) return;
    const names = rows.map(({ name }) => name).join(', ');
    throw new PkiError('store_not_durable', `the database runs with ${names} off`);
  }
}

async function schemaOf(session: PostgresSession): Promise<number> {
  const row = await session.first<{ count: number }>('SELECT count(*) AS count FROM migration');
  return row?.count ?? 0;
}

async function loadDriver(): Promise<Pick<typeof import('pg'), 'Client' | 'Pool' | 'types'>> {
  try {
    return (await import('pg')).default;
  } catch (cause) {
    if ((cause as { readonly code?: unknown }).code !== 'ERR_MODULE_NOT_FOUND') throw cause;
    throw new PkiError('store_driver', 'the package `pg` is not installed', { cause });
  }
}

/** TLS with a verified certificate, unless the database is on this machine and names no CA. */
function encryption(database: PostgresDatabase): Pick<PoolConfig, 'ssl'> {
  const { host, ca } = database;
  const local = host.startsWith('/') || host === 'localhost' || host === '::1' || /^127\.[0-9.]+$/.test(host);
  if (local && ca === undefined) return {};
  return {
    ssl: {
      rejectUnauthorized: true,
      ...(ca === undefined ? {} : { ca }),
      // What the certificate must name. Without it Node.js would look for `localhost` where the host is an address.
      host,
      ...(isIP(host) === 0 ? { servername: host } : {}),
    },
  };
}

/** PostgreSQL's text holds no NUL; what a device sends may. */
function storable(value: PostgresValue): PostgresValue | Buffer {
  if (typeof value === 'string') return value.includes('\0') ? value.replaceAll('\0', '\u{FFFD}') : value;
  return value instanceof Uint8Array ? Buffer.from(value.buffer, value.byteOffset, value.byteLength) : value;
}

/** SQLSTATE read_only_sql_transaction (PostgreSQL, appendix A): a standby, or a database that takes no writes. */
const READ_ONLY_TRANSACTION = '25006';

function unavailable(cause: unknown): unknown {
  if (cause instanceof PkiError || cause instanceof TypeError) return cause;
  const text = cause instanceof Error ? cause.message || cause.name : String(cause);
  const isReadOnly = (cause as { readonly code?: unknown } | null)?.code === READ_ONLY_TRANSACTION;
  const code = isReadOnly ? 'store_read_only' : 'store_unavailable';
  return new PkiError(code, `the database does not do it: ${text}`, { cause });
}
