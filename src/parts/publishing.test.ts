import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { pino } from 'pino';
import {
  certificates,
  type FixtureKey,
  inDays,
  keys,
  requestOf,
  staticSecret,
} from '../../test/support/authorities-fixture.ts';
import { type StorageServer, s3Key, startS3 } from '../../test/support/storage-fixture.ts';
import { createRootCrl } from '../ca/index.ts';
import { buildProgram } from '../cli/index.ts';
import { buildPem, parseCertificationRequest, parseCrl } from '../codec/index.ts';
import { parseConfig } from '../config.ts';
import { PkiError } from '../errors.ts';
import type { UrlFinding } from '../publish/index.ts';
import { hashStaticSecret } from '../ra/index.ts';
import { openLog, systemClock } from '../telemetry.ts';
import { openAuthorities, type ServerConfig } from './authorities.ts';
import { warnOfUrls } from './publishing.ts';
import { startServer } from './server.ts';

let folder: string;
let s3: StorageServer;
let crlUrl: string;

before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'leafgate-publishing-'));
  s3 = await startS3();
  crlUrl = `${s3.url}/pki/issuing.crl`;
  const write = (name: string, text: string | Uint8Array) =>
    writeFile(join(folder, name), text, { mode: 0o600 });
  const writeKey = async (name: string, { keyObject }: FixtureKey) => {
    const passphrase = `passphrase of ${name}`;
    const pem = keyObject.export({ type: 'pkcs8', format: 'pem', cipher: 'aes-256-cbc', passphrase });
    await write(`${name}.key.pem`, String(pem));
    await write(`${name}.passphrase`, passphrase);
  };
  const pem = (...list: readonly { readonly raw: Uint8Array }[]) =>
    list.map(({ raw }) => buildPem('CERTIFICATE', raw)).join('');
  await write('chain.pem', pem(certificates.issuing, certificates.root));
  await write('root.pem', pem(certificates.root));
  const root = { certificate: certificates.root, key: keys.root };
  await write('root.crl', await createRootCrl(root, 1, { thisUpdate: inDays(-1), nextUpdate: inDays(90) }));
  await write('ra-signing.pem', pem(certificates.raSigning, certificates.issuing));
  await write('ra-encryption.pem', pem(certificates.raEncryption, certificates.issuing));
  await writeKey('issuing', keys.issuing);
  await writeKey('ra-signing', keys.raSigning);
  await writeKey('ra-encryption', keys.raEncryption);
  await write('hash.key', 'k'.repeat(32));
  await write('static.hash', await hashStaticSecret(staticSecret));
  await write('s3.secret', s3Key);
});
after(() => Promise.all([s3.remove(), rm(folder, { recursive: true, force: true })]));

const objects = [
  'issuing.crl',
  'root.crl',
  'issuing.crt',
  'issuing.p7c',
  'issuing-chain.pem',
  'root.crt',
  'root.p7c',
  'root-chain.pem',
];

/** What a test changes. */
interface Changes {
  readonly crlUrl?: string;
  readonly publish?: object | undefined;
}

const key = (name: string) => ({ file: `${name}.key.pem`, passphrase: `file:${name}.passphrase` });

/** The configuration as text: JSON is YAML too. Each test has a data folder of its own. */
function configText(name: string, changes: Changes = {}): string {
  const bucket = {
    bucket: 'pki',
    region: 'eu-central-1',
    endpoint: s3.url,
    addressing: 'path',
    accessKeyId: s3Key,
    secretAccessKey: 'file:s3.secret',
  };
  return JSON.stringify({
    log: 'silent',
    server: {
      listen: '127.0.0.1:0',
      threads: 1,
      dataFolder: name,
      issuers: [
        {
          name: 'issuing',
          certificate: 'chain.pem',
          key: key('issuing'),
          crlUrls: [changes.crlUrl ?? crlUrl],
          caIssuersUrls: [`${s3.url}/pki/issuing.crt`, `${s3.url}/pki/issuing.p7c`],
        },
      ],
      published: [{ name: 'root', certificate: 'root.pem', crl: 'root.crl' }],
      publish:
        'publish' in changes
          ? changes.publish
          : {
              targets: [
                { name: 'here', folder: `${name}-published` },
                { name: 'bucket', s3: bucket },
              ],
              urlCheck: 'refuse',
            },
      ra: {
        signing: { certificate: 'ra-signing.pem', key: key('ra-signing') },
        encryption: { certificate: 'ra-encryption.pem', key: key('ra-encryption') },
        challengeHashKey: 'file:hash.key',
      },
      endpoints: [
        {
          name: 'static',
          paths: ['/scep/static'],
          issuer: 'issuing',
          template: 'client-authentication',
          validators: [{ staticSecret: { hash: 'file:static.hash' } }],
        },
      ],
    },
  });
}

function serverConfig(name: string, changes: Changes = {}): ServerConfig {
  const { server } = parseConfig(configText(name, changes), folder);
  return server ?? assert.fail('no server');
}

/** The bucket is one for all tests, and older CRLs do not replace newer ones in it. */
async function emptyBucket(): Promise<void> {
  for (const name of objects) await fetch(`${s3.url}/pki/${name}`, { method: 'DELETE' });
}

async function until(what: string, holds: () => Promise<boolean>): Promise<void> {
  for (const end = Date.now() + 30_000; Date.now() < end; await sleep(50)) if (await holds()) return;
  assert.fail(`${what}: not within 30 s`);
}

const log = openLog('silent', 'test');
const fetched = async (name: string) =>
  Buffer.from(await (await fetch(`${s3.url}/pki/${name}`)).arrayBuffer());
const inFolder = (name: string, object: string) => readFile(join(folder, `${name}-published`, object));

describe('a server that publishes', () => {
  test('refuses to start if a URL in its certificates does not serve what was published', async () => {
    await emptyBucket();
    const config = serverConfig('refused', { crlUrl: `${s3.url}/pki/elsewhere.crl` });
    await assert.rejects(
      startServer(config, log, systemClock),
      (thrown) =>
        thrown instanceof PkiError &&
        thrown.code === 'publish_url' &&
        /\/pki\/elsewhere\.crl answers HTTP 404$/.test(thrown.message),
    );
    // Nothing is left of it that would hold the data folder.
    await assert.rejects(startServer(config, log, systemClock), { code: 'publish_url' });
  });

  test('serves all the same if it is to warn', async () => {
    const lines: Record<string, unknown>[] = [];
    const own = pino({ level: 'info' }, { write: (line: string) => lines.push(JSON.parse(line)) });
    const place = { targets: [{ name: 'here', folder: 'warned-published' }] };
    const config = serverConfig('warned', { publish: place });
    assert.equal(config.publish?.urlCheck, 'warn');
    assert.equal(config.publish.alarmAfter, 3_600_000);
    await emptyBucket();
    const server = await startServer(config, own, systemClock);
    try {
      await until('the folder', () =>
        inFolder('warned', 'root-chain.pem').then(
          () => true,
          () => false,
        ),
      );
      assert.ok(lines.some(({ msg, target }) => msg === 'published' && target === 'here'));
    } finally {
      await server.close();
    }
  });

  test('shows every CRL and certificate everywhere, and a new CRL soon after a revocation', async () => {
    await emptyBucket();
    const config = serverConfig('whole');
    const server = await startServer(config, log, systemClock);
    try {
      for (const object of objects) {
        assert.deepEqual(await fetched(object), await inFolder('whole', object), object);
      }
      assert.deepEqual(await fetched('issuing.crt'), Buffer.from(certificates.issuing.raw));
      assert.deepEqual(await fetched('root.crl'), await readFile(join(folder, 'root.crl')));
      assert.deepEqual(parseCrl(await fetched('issuing.crl')).revoked, []);

      const authorities = await openAuthorities(config, log, systemClock);
      try {
        const certificate = await authorities.ra.enrolService({
          issuer: 'issuing',
          template: 'client-authentication',
          csr: parseCertificationRequest(await requestOf({ subject: 'CN=device-1,O=Test' })),
          operator: 'operator',
        });
        await authorities.ca.revoke({
          issuer: 'issuing',
          serialNumber: certificate.serialNumber,
          reason: 'keyCompromise',
          actor: 'operator',
          text: 'lost',
        });
        const isListed = (crl: Uint8Array) =>
          parseCrl(crl).revoked.some(({ serialNumber }) => serialNumber === certificate.serialNumber);
        await until('the bucket', async () => isListed(await fetched('issuing.crl')));
        await until('the folder', async () => isListed(await inFolder('whole', 'issuing.crl')));
        const latest = await authorities.store.latestCrl('issuing', 0, 'full');
        assert.deepEqual(await fetched('issuing.crl'), Buffer.from(latest?.crl ?? []));
      } finally {
        await authorities.close();
      }
    } finally {
      await server.close();
    }
  });
});

describe('warnOfUrls', () => {
  /** What is logged about findings, look by look; the last one stays. */
  async function linesOf(...looks: readonly (readonly UrlFinding['verdict'][] | Error)[]) {
    const lines: Record<string, unknown>[] = [];
    const own = pino({ level: 'info' }, { write: (line: string) => lines.push(JSON.parse(line)) });
    let count = 0;
    const look = async () => {
      const verdicts = looks[count++] ?? assert.fail('one look too many');
      if (verdicts instanceof Error) throw verdicts;
      return verdicts.map((verdict, index) => ({
        url: `http://pki.test/${index}`,
        object: 'a.crl',
        verdict,
      }));
    };
    await warnOfUrls(
      look,
      own,
      new AbortController().signal,
      looks.map(() => 1),
    );
    return lines.map(({ level, url, alarm }) => [level, url, alarm]);
  }

  test('is content with what is right at last', async () => {
    assert.deepEqual(await linesOf(['wrong', 'served'], ['served', 'served']), [[30, undefined, undefined]]);
  });
  test('is loud about what stays wrong, and says what is old', async () => {
    assert.deepEqual(await linesOf(['wrong', 'wrong', 'wrong'], ['served', 'older', 'wrong']), [
      [40, 'http://pki.test/1', undefined],
      [50, 'http://pki.test/2', 'publish-url'],
    ]);
  });
  test('says so if it cannot look, and goes on', async () => {
    const away = new PkiError('store_unavailable', 'away');
    assert.deepEqual(await linesOf(away, ['wrong']), [
      [40, undefined, undefined],
      [50, 'http://pki.test/0', 'publish-url'],
    ]);
  });
  test('ends when it is told to', async () => {
    const ending = new AbortController();
    const looking = warnOfUrls(() => assert.fail('looked'), log, ending.signal, [600_000]);
    ending.abort();
    await looking;
  });
});

describe('leafgate ca publish', () => {
  interface Row {
    readonly target: string;
    readonly object: string;
    readonly outcome: string;
    readonly number?: number;
    readonly text?: string;
  }

  /** Runs the command; answers its rows and its exit status. */
  async function publish(name: string, changes: Changes, ...words: string[]) {
    const file = join(folder, `${name}.yaml`);
    await writeFile(file, configText(name, changes));
    const { log: consoleLog } = console;
    const lines: string[] = [];
    console.log = (text: string) => lines.push(text);
    try {
      process.exitCode = undefined;
      const program = buildProgram().exitOverride();
      await program.parseAsync(['node', 'leafgate', 'ca', 'publish', '--config', file, ...words]);
      return { text: lines.join('\n'), status: process.exitCode ?? 0 };
    } finally {
      console.log = consoleLog;
      process.exitCode = undefined;
    }
  }
  const rowsOf = (text: string) => JSON.parse(text) as Row[];
  const tell = (rows: readonly Row[]) =>
    rows.map(({ target, object, outcome }) => `${target} ${object} ${outcome}`);
  const all = (outcome: string) =>
    ['here', 'bucket'].flatMap((target) => objects.map((object) => `${target} ${object} ${outcome}`));

  test('without targets is refused', async () => {
    await assert.rejects(publish('none', { publish: undefined }), { code: 'config_invalid' });
  });

  test('publishes everything, then nothing; --check compares, and finds what was changed', async () => {
    await emptyBucket();
    const first = await publish('command', {}, '--json');
    assert.deepEqual(tell(rowsOf(first.text)), all('published'));
    assert.equal(first.status, 0);
    assert.equal(rowsOf(first.text)[0]?.number, 1);
    const second = await publish('command', {}, '--json');
    assert.deepEqual(tell(rowsOf(second.text)), all('unchanged'));

    const good = await publish('command', {}, '--check', '--json');
    assert.equal(good.status, 0);
    assert.deepEqual(tell(rowsOf(good.text)), [
      ...all('unchanged'),
      `${crlUrl} issuing.crl served`,
      `${s3.url}/pki/issuing.crt issuing.crt served`,
      `${s3.url}/pki/issuing.p7c issuing.p7c served`,
    ]);

    await writeFile(join(folder, 'command-published', 'issuing.crt'), 'another');
    await fetch(crlUrl, { method: 'DELETE' });
    const bad = await publish('command', {}, '--check', '--json');
    assert.equal(bad.status, 1);
    const wrong = rowsOf(bad.text).filter(({ outcome }) => outcome !== 'unchanged' && outcome !== 'served');
    assert.deepEqual(
      wrong.map(({ target, object, outcome, text }) => [target, object, outcome, text]),
      [
        ['here', 'issuing.crt', 'different', 'something else is there'],
        ['bucket', 'issuing.crl', 'different', 'it is not there'],
        [crlUrl, 'issuing.crl', 'wrong', 'answers HTTP 404'],
      ],
    );
    assert.equal(await readFile(join(folder, 'command-published', 'issuing.crt'), 'utf8'), 'another');
  });

  test('prints a table, and ends with status 1 if a target failed', async () => {
    await emptyBucket();
    await s3.stop();
    try {
      const { text, status } = await publish('half', {});
      assert.equal(status, 1);
      assert.match(text, /^Target +Object +Outcome +Number +Next update +Detail$/m);
      assert.match(text, /^here +issuing\.crl +published +1 +20/m);
      assert.match(text, /^bucket +issuing\.crl +failed .*cannot be reached: ECONN/m);
      assert.ok(!text.includes(s3Key));
    } finally {
      await s3.start();
    }
  });
});
