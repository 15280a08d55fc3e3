/**
 * How `leafgate serve` begins and ends. What cannot do its work says so: one `error:`, one `hint:`, status 1, and nothing
 * keeps running. What is asked to end does so within bounds, with status 0.
 */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmod, cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { connect, createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { parse, stringify } from 'yaml';
import { type PartProcess, startPart } from '../lab/processes.ts';
import { openTenant, type Tenant } from '../lab/tenant.ts';
import { type ErrorCode, errorTable } from '../src/errors.ts';

const program = fileURLToPath(new URL('../bin/leafgate.js', import.meta.url));
/** Refusals take a second; what is still there after this long will never end. */
const END_MS_MAX = 60_000;

/** What a test changes in the configuration of a part. */
interface ServerYaml {
  connector?: unknown;
  server: {
    listen: string;
    workers?: number;
    dataFolder: string;
    issuers: { certificate: string; key: { file: string; passphrase: string } }[];
    ra: Record<string, unknown>;
    endpoints: { validators: unknown[]; issuer: string }[];
    [unknown: string]: unknown;
  };
}
/** A certificate and a key of the server's folder that are nobody's in its configuration. */
const connectorIdentity = {
  certificate: 'connector.pem',
  key: { file: 'connector.key.pem', passphrase: 'file:connector.passphrase' },
};

interface EdgeYaml {
  edge: { http: string; https: { listen: string }; tunnel: { listen: string } };
}
interface MdmYaml {
  mdm: { listen: string; databaseFile: string };
}

let folder: string;
let tenant: Tenant;
let running: PartProcess;
let taken: Server;
/** `127.0.0.1` and a port that somebody else has. */
let takenAddress: string;

before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'leafgate-serve-'));
  tenant = await openTenant(folder, { ports: 'any', progress: () => {}, issuingKey: 'rsa-2048' });
  // The server of the tenant runs all the time, on its own data folder.
  const { configs } = tenant;
  const config = parse(await readFile(configs.server, 'utf8')) as ServerYaml;
  delete config.connector;
  await writeFile(configs.server, stringify(config), { mode: 0o600 });
  running = await startPart('server', configs.server, folder);
  taken = createServer();
  await new Promise<void>((resolve) => taken.listen(0, '127.0.0.1', resolve));
  const address = taken.address();
  assert.ok(typeof address === 'object' && address !== null);
  takenAddress = `127.0.0.1:${address.port}`;
});
after(async () => {
  await running?.stop();
  await new Promise((resolve) => taken?.close(resolve));
  await rm(folder, { recursive: true, force: true });
});

/** A copy of a part's folder for one case, with nothing in its data folder; answers the copy's configuration file. */
async function copyOf<Yaml>(
  part: 'server' | 'edge' | 'mdm',
  name: string,
  change: (config: Yaml, copy: string) => void | Promise<void>,
): Promise<string> {
  const copy = join(folder, name.replaceAll(/\W+/g, '-'));
  const data = join(folder, part, 'data');
  await cp(join(folder, part), copy, { recursive: true, filter: (source) => source !== data });
  const path = join(copy, 'leafgate.yaml');
  const config = parse(await readFile(path, 'utf8')) as Yaml;
  await change(config, copy);
  await writeFile(path, stringify(config), { mode: 0o600 });
  return path;
}

/** The tenant's server, but on a port of its own, so that only what the case changes can be in the way. */
const server = (change: (config: ServerYaml, copy: string) => void | Promise<void>) => (name: string) =>
  copyOf<ServerYaml>('server', name, async (config, copy) => {
    config.server.listen = '127.0.0.1:0';
    await change(config, copy);
  });
const firstIssuer = ({ server: { issuers } }: ServerYaml) => {
  const [issuer] = issuers;
  assert.ok(issuer);
  return issuer;
};
const newerDatabase = (path: string) => {
  const db = new DatabaseSync(path);
  db.exec('CREATE TABLE migration (number INTEGER PRIMARY KEY, name TEXT NOT NULL, appliedAt TEXT NOT NULL)');
  const insert = db.prepare(
    "INSERT INTO migration VALUES (?, 'from the future', '2040-01-01T00:00:00.000Z')",
  );
  for (let number = 1; number <= 99; number += 1) insert.run(number);
  db.close();
};

interface Case {
  readonly name: string;
  /** Makes the configuration file. */
  readonly config: (name: string) => Promise<string>;
  readonly code: ErrorCode;
  readonly says: RegExp;
}

const cases: readonly Case[] = [
  {
    name: 'a second server on the same data folder',
    config: server((config) => {
      config.server.dataFolder = join(folder, 'server', 'data');
    }),
    code: 'store_locked',
    says: /another server is running on this data folder/,
  },
  {
    name: 'a second server of two workers on the same data folder',
    config: server((config) => {
      config.server.workers = 2;
      config.server.dataFolder = join(folder, 'server', 'data');
    }),
    code: 'store_locked',
    says: /another server is running on this data folder/,
  },
  {
    name: 'a database of a newer version',
    config: server((config, copy) => {
      config.server.dataFolder = '.';
      newerDatabase(join(copy, 'pki.sqlite'));
    }),
    code: 'store_newer',
    says: /has schema 99; this program knows up to \d+/,
  },
  {
    name: 'an MDM database of a newer version',
    config: (name) =>
      copyOf<MdmYaml>('mdm', name, (config, copy) => {
        config.mdm.listen = '127.0.0.1:0';
        config.mdm.databaseFile = 'mdm.sqlite';
        newerDatabase(join(copy, 'mdm.sqlite'));
      }),
    code: 'store_newer',
    says: /has schema 99/,
  },
  {
    name: 'a database that is none',
    config: server(async (config, copy) => {
      config.server.dataFolder = '.';
      await writeFile(join(copy, 'pki.sqlite'), 'not a database\n'.repeat(1000));
    }),
    code: 'store_unavailable',
    says: /pki\.sqlite cannot be opened/,
  },
  {
    name: 'a data folder that is a file',
    config: server(async (config, copy) => {
      config.server.dataFolder = 'data-file';
      await writeFile(join(copy, 'data-file'), '');
    }),
    code: 'store_unavailable',
    says: /data-file/,
  },
  {
    name: 'a root as issuing CA',
    config: server(async (config, copy) => {
      const issuer = firstIssuer(config);
      issuer.certificate = 'root.pem';
      await cp(join(folder, 'offline-root', 'root.key.pem'), join(copy, 'issuing.key.pem'));
      await cp(join(folder, 'offline-root', 'root.passphrase'), join(copy, 'issuing.passphrase'));
    }),
    code: 'key_capability',
    says: /has the key of “root” .*, which is an offline root/,
  },
  {
    name: 'a certificate that is not of the issuing key',
    config: server((config) => {
      firstIssuer(config).key = connectorIdentity.key;
    }),
    code: 'key_capability',
    says: /the CA’s key does not belong to its certificate/,
  },
  {
    name: 'a key file that others can read',
    config: server((_, copy) => chmod(join(copy, 'issuing.key.pem'), 0o644)),
    code: 'key_locked',
    says: /issuing\.key\.pem is open to others \(mode 0644\): chmod 600/,
  },
  {
    name: 'a passphrase file that others can read',
    config: server((_, copy) => chmod(join(copy, 'issuing.passphrase'), 0o640)),
    code: 'key_locked',
    says: /issuing\.passphrase is open to others \(mode 0640\): chmod 600/,
  },
  {
    name: 'a wrong passphrase',
    config: server((_, copy) => writeFile(join(copy, 'issuing.passphrase'), 'not the one\n')),
    code: 'key_locked',
    says: /issuing\.key\.pem: the passphrase is wrong or the file is damaged/,
  },
  {
    name: 'a wrong passphrase of a key that only the workers open',
    config: server(async (config, copy) => {
      config.server.workers = 2;
      const { automatic: _, ...others } = config.server.ra;
      config.server.ra = {
        ...others,
        signing: connectorIdentity,
        // The same object twice would be an alias in YAML, which no configuration may have.
        encryption: structuredClone(connectorIdentity),
      };
      await writeFile(join(copy, 'connector.passphrase'), 'not the one\n');
    }),
    code: 'key_locked',
    says: /connector\.key\.pem: the passphrase is wrong or the file is damaged/,
  },
  {
    name: 'a passphrase that is nowhere',
    config: server((config) => {
      firstIssuer(config).key.passphrase = 'env:LEAFGATE_TEST_NO_SUCH_VARIABLE';
    }),
    code: 'key_locked',
    says: /LEAFGATE_TEST_NO_SUCH_VARIABLE/,
  },
  {
    name: 'an endpoint of an issuing CA that is not there',
    config: server((config) => {
      const [endpoint] = config.server.endpoints;
      assert.ok(endpoint);
      endpoint.issuer = 'nobody';
    }),
    code: 'config_invalid',
    says: /nobody/,
  },
  {
    name: 'a key that the configuration does not know',
    config: server((config) => {
      config.server.dataFoldr = 'data';
    }),
    code: 'config_invalid',
    says: /unknown key “dataFoldr” in server; did you mean “dataFolder”\?/,
  },
  {
    name: 'a port of the SCEP server that is in use',
    config: server((config) => {
      config.server.listen = takenAddress;
    }),
    code: 'listen_failed',
    says: /cannot listen on 127\.0\.0\.1:\d+.*EADDRINUSE/,
  },
  {
    name: 'a port of the SCEP server with two workers that is in use',
    config: server((config) => {
      config.server.workers = 2;
      config.server.listen = takenAddress;
    }),
    code: 'listen_failed',
    says: /cannot listen on 127\.0\.0\.1:\d+.*EADDRINUSE/,
  },
  {
    name: 'a port of the MDM that is in use',
    config: (name) =>
      copyOf<MdmYaml>('mdm', name, (config) => {
        config.mdm.listen = takenAddress;
      }),
    code: 'listen_failed',
    says: /cannot listen on 127\.0\.0\.1:\d+.*EADDRINUSE/,
  },
  ...(['http', 'https', 'tunnel'] as const).map(
    (listener): Case => ({
      name: `a port of the edge (${listener}) that is in use`,
      config: (name) =>
        copyOf<EdgeYaml>('edge', name, ({ edge }) => {
          edge.http = edge.https.listen = edge.tunnel.listen = '127.0.0.1:0';
          if (listener === 'http') edge.http = takenAddress;
          else edge[listener].listen = takenAddress;
        }),
      code: 'listen_failed',
      says: /EADDRINUSE/,
    }),
  ),
  {
    name: 'no configuration',
    config: async () => join(folder, 'nowhere.yaml'),
    code: 'config_invalid',
    says: /cannot read .*nowhere\.yaml/,
  },
];
for (const { name, config, code, says } of cases) {
  test(`${name}: ${code}`, async () => {
    const { status, stdout, stderr } = await run([program, 'serve', '--config', await config(name)]);
    const lines = stderr.trimEnd().split('\n');
    const [log, spoken] = [lines.filter(isLogLine), lines.filter((line) => !isLogLine(line))];
    assert.match(spoken[0] ?? '', /^error: /, stderr);
    assert.match(spoken[0] ?? '', says);
    assert.deepEqual(spoken.slice(1), [`hint: ${errorTable[code].mend}`]);
    assert.equal(status, 1);
    assert.doesNotMatch(stdout, /ready/);
    // Nothing broke on the way out, either.
    const alarms = log.filter((line) => (JSON.parse(line) as { readonly level: number }).level >= 50);
    assert.deepEqual(alarms, []);
    assert.doesNotMatch(stderr, /\n\s+at |"stack"/);
  });
}

test('a Node.js that is too old is told so in one sentence', async () => {
  const pretend =
    'Object.defineProperty(process, "versions", { value: { ...process.versions, node: "20.19.2" } })';
  const { status, stdout, stderr } = await run([
    '--import',
    `data:text/javascript,${encodeURIComponent(pretend)}`,
    program,
    'serve',
  ]);
  assert.equal(status, 1);
  assert.equal(stdout, '');
  assert.match(stderr, /^error: Leafgate needs Node\.js 24 or newer, and this is 20\.19\.2\.\nhint: .+\n$/);
});

for (const part of ['mdm', 'edge'] as const) {
  test(`the ${part} ends when it is asked to`, async () => {
    const started = await startPart(part, tenant.configs[part], folder);
    await started.stop();
    assert.deepEqual(await started.ended, { code: 0, signal: null });
  });
}

test('the server that was there all the time still serves, and ends though a request never does', async () => {
  const { server: port } = tenant.ports;
  const answer = await fetch(`http://127.0.0.1:${port}/healthz`);
  assert.equal(answer.status, 200);
  const half = connect(port, '127.0.0.1');
  half.on('error', () => {});
  half.write('POST /scep/static HTTP/1.1\r\nHost: test\r\nContent-Length: 1000\r\n\r\nhalf a');
  await once(half, 'connect');
  // Behind it, and answered: the server has read the beginning of the first.
  assert.equal((await fetch(`http://127.0.0.1:${port}/healthz`)).status, 200);
  await running.stop();
  assert.deepEqual(await running.ended, { code: 0, signal: null });
});

function isLogLine(line: string): boolean {
  return line.startsWith('{"level"');
}

/** Runs Node.js to its end. */
async function run(
  args: readonly string[],
): Promise<{ readonly status: number | null; readonly stdout: string; readonly stderr: string }> {
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'pipe'] });
  const said = { stdout: '', stderr: '' };
  for (const stream of ['stdout', 'stderr'] as const) {
    child[stream].setEncoding('utf8').on('data', (text: string) => {
      said[stream] += text;
    });
  }
  const timer = setTimeout(() => child.kill('SIGKILL'), END_MS_MAX);
  try {
    // `close` comes when nobody holds its output any more: workers that were left behind would.
    const status = await new Promise<number | null>((resolve) => child.once('close', resolve));
    return { status, ...said };
  } finally {
    clearTimeout(timer);
  }
}
