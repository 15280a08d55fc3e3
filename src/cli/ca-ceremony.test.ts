import assert from 'node:assert/strict';
import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import { createHash, X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { after, before, beforeEach, describe, test } from 'node:test';
import type { Command } from 'commander';
import { parse, stringify } from 'yaml';
import { buildPem, parseCrl, parsePem, parseSignedData } from '../codec/index.ts';
import { PkiError } from '../errors.ts';
import { buildProgram } from './index.ts';

const program = join(import.meta.dirname, '..', '..', 'bin', 'leafgate.js');
const rootSubject = 'CN=Example Root CA,O=Example';
const secrets = { root: 'passphrase of the root', issuing: 'passphrase of the issuing CA' };
const crlUrl = ['--crl-url', 'http://pki.test/crl/root.crl'];
const caUrl = ['--ca-url', 'http://pki.test/aia/root.crt'];

let base: string;
let folder: string;
let made = 0;
before(async () => {
  base = await mkdtemp(join(tmpdir(), 'leafgate-ceremony-'));
});
after(() => rm(base, { recursive: true, force: true }));
beforeEach(() => {
  folder = join(base, String(++made));
  mkdirSync(folder);
  for (const [name, secret] of Object.entries(secrets))
    writeFileSync(at(`${name}.passphrase`), `${secret}\n`, { mode: 0o600 });
});
const at = (...path: string[]) => join(folder, ...path);
const read = (...path: string[]) => readFileSync(at(...path), 'utf8');
const secret = (name: string) => ['--passphrase', `file:${at(`${name}.passphrase`)}`];

/** Makes a command throw where it would end the process. */
function thrownInstead(command: Command): Command {
  command.exitOverride().configureOutput({ writeErr: () => {}, writeOut: () => {} });
  for (const inner of command.commands) thrownInstead(inner);
  return command;
}

/** Runs `leafgate ca` in this process; what it printed. */
async function ca(...words: string[]): Promise<string> {
  const log = console.log;
  const lines: string[] = [];
  console.log = (line: unknown) => lines.push(`${line}\n`);
  try {
    await thrownInstead(buildProgram()).parseAsync(['node', 'leafgate', 'ca', ...words]);
  } finally {
    console.log = log;
  }
  return lines.join('');
}

const initRoot = (...more: string[]) =>
  ca(
    'init-root',
    '--root',
    at('root'),
    '--subject',
    rootSubject,
    ...crlUrl,
    ...caUrl,
    ...secret('root'),
    '--yes',
    ...more,
  );
const request = (name = 'issuing', ...more: string[]) =>
  ca(
    ...[
      'request',
      at(`${name}.csr`),
      '--key',
      at(`${name}.key.pem`),
      '--subject',
      `CN=Example ${name},O=Example`,
    ],
    ...secret('issuing'),
    ...(more.length === 0 ? ['--algorithm', 'p-256'] : more),
  );
const sign = (name = 'issuing', ...more: string[]) =>
  ca(
    'sign-request',
    at(`${name}.csr`),
    at(`${name}.pem`),
    '--root',
    at('root'),
    ...secret('root'),
    '--yes',
    ...more,
  );
const rootCrl = (...more: string[]) =>
  ca('root-crl', at('root.crl'), '--root', at('root'), ...secret('root'), '--yes', ...more);
const importCa = (name = 'issuing', ...more: string[]) =>
  ca(
    ...['import', at(`${name}.pem`), at(`${name}-chain.pem`), '--key', at(`${name}.key.pem`), '--name', name],
    ...['--crl-url', `http://pki.test/crl/${name}.crl`, '--ca-url', `http://pki.test/aia/${name}.crt`],
    ...secret('issuing'),
    ...(more.length === 0 ? ['--issuer', at('root', 'root-1.pem'), '--yes'] : more),
  );
const refusedWith = (code: string, message: RegExp) => (thrown: unknown) => {
  assert.ok(thrown instanceof PkiError, String(thrown));
  assert.equal(thrown.code, code, thrown.message);
  assert.match(thrown.message, message);
  return true;
};
const x509 = (...path: string[]) => new X509Certificate(readFileSync(at(...path)));

describe('a step is refused', () => {
  test('a second root in the folder', async () => {
    await initRoot();
    const state = read('root', 'root.json');
    await assert.rejects(initRoot(), refusedWith('root_folder', /not replaced/));
    assert.equal(read('root', 'root.json'), state);
  });

  test('a root with a wrong passphrase', async () => {
    await initRoot();
    await request();
    await assert.rejects(
      ca(
        'sign-request',
        at('issuing.csr'),
        at('issuing.pem'),
        '--root',
        at('root'),
        ...secret('issuing'),
        '--yes',
      ),
      refusedWith('key_locked', /passphrase is wrong/),
    );
    assert.ok(!existsSync(at('issuing.pem')));
    assert.equal(JSON.parse(read('root', 'root.json')).entries.length, 1);
  });

  test('without a URL', async () => {
    await assert.rejects(
      ca('init-root', '--root', at('root'), '--subject', rootSubject, ...caUrl, ...secret('root'), '--yes'),
      refusedWith('ceremony_answers', /--crl-url is missing/),
    );
    assert.ok(!existsSync(at('root', 'root-1.key.pem')));
  });

  test('an altered request', async () => {
    await initRoot();
    await request();
    const [der] = parsePem(read('issuing.csr'), 'CERTIFICATE REQUEST');
    const raw = Buffer.from(der);
    const place = raw.indexOf('issuing');
    raw.write('Issuing', place);
    writeFileSync(at('issuing.csr'), buildPem('CERTIFICATE REQUEST', raw));
    await assert.rejects(sign(), refusedWith('root_refused', /altered/));
    assert.match(read('root', 'transcript.txt'), /==== sign-request ended: root_refused: .*altered/);
  });

  test('a request that was signed already, with the place of its certificate', async () => {
    await initRoot();
    await request();
    await sign();
    await rm(at('issuing.pem'));
    await assert.rejects(
      sign(),
      refusedWith('root_refused', /signed already.*certificate is .*issuing-[0-9a-f]+\.pem/),
    );
    await assert.rejects(sign('issuing', '--years', '1'), refusedWith('root_refused', /signed already/));
  });

  test('a file that is in the way, before anything is signed', async () => {
    await initRoot();
    await request();
    writeFileSync(at('issuing.pem'), 'mine');
    await assert.rejects(
      sign(),
      refusedWith('file_exists', /issuing\.pem exists already and is not replaced/),
    );
    assert.equal(read('issuing.pem'), 'mine');
    assert.equal(JSON.parse(read('root', 'root.json')).entries.length, 1);
    writeFileSync(at('root.crl'), 'mine');
    await assert.rejects(rootCrl(), refusedWith('file_exists', /no CRL of this root/));
    assert.equal(read('root.crl'), 'mine');
    assert.equal(JSON.parse(read('root', 'root.json')).crlNumber, 0);
  });

  test('a request for another name in the same file, and another kind of key', async () => {
    await request();
    const csr = read('issuing.csr');
    await assert.rejects(
      ca(
        'request',
        at('issuing.csr'),
        '--key',
        at('issuing.key.pem'),
        '--subject',
        'CN=Other',
        ...secret('issuing'),
      ),
      refusedWith('file_exists', /holds another request/),
    );
    await assert.rejects(
      request('issuing', '--algorithm', 'rsa-2048'),
      refusedWith('key_exists', /not of rsa-2048/),
    );
    assert.equal(read('issuing.csr'), csr);
  });

  test('an import under a wrong root, with a wrong key, with a wrong fingerprint', async () => {
    await initRoot();
    await request();
    await sign();
    await ca(
      'init-root',
      '--root',
      at('twin'),
      '--subject',
      rootSubject,
      ...crlUrl,
      ...caUrl,
      ...secret('root'),
      '--yes',
    );
    await assert.rejects(
      importCa('issuing', '--issuer', at('twin', 'root-1.pem'), '--yes'),
      refusedWith('chain_invalid', /another key/),
    );
    await assert.rejects(
      importCa('issuing', '--issuer', at('root', 'root-1.pem'), '--root-fingerprint', 'AB:CD'),
      refusedWith('chain_invalid', /another one was expected/),
    );
    await request('second');
    await assert.rejects(
      ca(
        ...[
          'import',
          at('issuing.pem'),
          at('c.pem'),
          '--issuer',
          at('root', 'root-1.pem'),
          '--key',
          at('second.key.pem'),
        ],
        ...[...crlUrl, ...caUrl, ...secret('issuing'), '--yes'],
      ),
      refusedWith('key_capability', /for another key/),
    );
    assert.ok(!existsSync(at('issuing-chain.pem')) && !existsSync(at('c.pem')));
  });

  test('an issuing CA that would outlive the root', async () => {
    await initRoot('--years', '5');
    await request();
    await assert.rejects(
      sign(),
      refusedWith('root_refused', /outlive the root, which ends at 20\d\d-.*renew the root/),
    );
  });
});

describe('step by step', () => {
  test('a root, an issuing CA, a CRL, an import, a bundle; and all of it in the transcript', async () => {
    await initRoot('--algorithm', 'p-384', '--path-length', '1');
    await request();
    const shown = await sign(
      'issuing',
      '--permit',
      'DNS:example.com',
      '--exclude',
      'DN:O=Rival',
      '--years',
      '10',
    );
    assert.match(shown, /to be signed by “CN=Example Root CA,O=Example” \(SHA-256 [0-9A-F:]{95}\)/);
    assert.match(shown, /subject “CN=Example issuing,O=Example”, key p-256, a new issuing CA/);
    assert.match(shown, /permitted: DNS:example\.com\n.*excluded: DN:O=Rival/);
    assert.match(await rootCrl(), /CRL number 1, 0 revoked/);
    const fingerprint = x509('root', 'root-1.pem').fingerprint256;
    const printed = await importCa(
      'issuing',
      '--issuer',
      at('root', 'root-1.pem'),
      '--root-fingerprint',
      fingerprint,
    );

    const [issuer] =
      parse(printed.slice(printed.indexOf('    - name'), printed.indexOf('transcript '))) ?? parse(printed);
    assert.deepEqual(issuer, {
      name: 'issuing',
      certificate: 'issuing-chain.pem',
      key: { file: 'issuing.key.pem', passphrase: `file:${at('issuing.passphrase')}` },
      crlUrls: ['http://pki.test/crl/issuing.crl'],
      caIssuersUrls: ['http://pki.test/aia/issuing.crt'],
    });
    const [leaf, top, ...more] = parsePem(read('issuing-chain.pem'), 'CERTIFICATE').map(
      (der) => new X509Certificate(der),
    );
    assert.ok(leaf !== undefined && top !== undefined && more.length === 0);
    assert.ok(leaf.checkIssued(top) && leaf.verify(top.publicKey) && top.fingerprint256 === fingerprint);
    assert.equal(new Date(leaf.validTo).getUTCFullYear(), new Date().getUTCFullYear() + 10);

    await ca(
      'bundle',
      at('trust'),
      at('root', 'root-1.pem'),
      at('issuing.pem'),
      '--transcript',
      at('bundle.txt'),
    );
    assert.deepEqual(readdirSync(at('trust')).sort(), [
      'fingerprints.txt',
      'intune',
      'roots.pem',
      'trust.p7b',
      'trust.pem',
    ]);
    assert.deepEqual(
      readdirSync(at('trust', 'intune'))
        .map((name) => name.replace(/-[0-9a-f]{8}\.cer$/, ''))
        .sort(),
      ['intermediate-example-issuing', 'root-example-root-ca'],
    );
    assert.equal(parseSignedData(readFileSync(at('trust', 'trust.p7b'))).certificates.length, 2);
    assert.match(read('trust', 'fingerprints.txt'), new RegExp(`^${fingerprint}  root  CN=Example Root CA`));

    const transcript = read('root', 'transcript.txt');
    const sha256 = (path: string) => createHash('sha256').update(readFileSync(path)).digest('hex');
    for (const path of [at('root', 'root-1.pem'), at('issuing.pem'), at('root.crl')])
      assert.ok(
        transcript.includes(`file ${path}: ${statSync(path).size} octets, SHA-256 ${sha256(path)}`),
        path,
      );
    assert.ok(transcript.includes(`SHA-256 ${fingerprint}`));
    assert.match(transcript, /Sign this\? Yes, said beforehand\./);
    assert.match(transcript, /account \S+ on host \S+/);
    assert.ok(
      transcript
        .split('\n')
        .every((line) => line === '' || /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ {2}/.test(line)),
    );
    for (const value of Object.values(secrets)) assert.ok(!transcript.includes(value));
    assert.ok(!transcript.includes('PRIVATE KEY'));
    if (process.platform !== 'win32')
      assert.equal(statSync(at('root', 'transcript.txt')).mode & 0o777, 0o600);
  });

  test('revocation of an issuing CA with its reason, and a CRL number that grows', async () => {
    await initRoot();
    await request();
    await sign();
    await rootCrl();
    const serial = x509('issuing.pem').serialNumber.toLowerCase();
    const shown = await rootCrl('--revoke', serial, '--reason', 'cACompromise');
    assert.match(shown, new RegExp(`to be revoked \\(cACompromise\\): ${serial} “CN=Example issuing`));
    const { revoked } = parseCrl(readFileSync(at('root.crl')));
    assert.deepEqual(
      revoked.map(({ serialNumber, reason }) => [serialNumber, reason]),
      [[serial, 'cACompromise']],
    );
    assert.match(shown, /CRL number 2, 1 revoked/);
    await assert.rejects(rootCrl('--revoke', serial), refusedWith('root_refused', /revoked already/));
    await assert.rejects(rootCrl('--revoke', '4d4d'), refusedWith('root_refused', /signed no certificate/));
    assert.match(
      await ca('root-index', '--root', at('root')),
      new RegExp(`${serial}  issuing .*revoked .*cACompromise`),
    );
  });

  test('renewals: issuing CA and root, each with the old key and with a new one', async () => {
    await initRoot();
    await request();
    await sign();
    // Issuing CA, same key: another certificate for the same request.
    await ca(
      'sign-request',
      at('issuing.csr'),
      at('issuing-2.pem'),
      '--root',
      at('root'),
      '--renew',
      '--yes',
      ...secret('root'),
    );
    assert.deepEqual(x509('issuing-2.pem').publicKey.equals(x509('issuing.pem').publicKey), true);
    // Issuing CA, new key, same name.
    await ca(
      ...['request', at('new.csr'), '--key', at('new.key.pem'), '--subject', 'CN=Example issuing,O=Example'],
      ...['--algorithm', 'p-384', ...secret('issuing')],
    );
    await assert.rejects(sign('new'), refusedWith('root_refused', /say that this is a renewal/));
    await sign('new', '--renew');
    assert.equal(x509('new.pem').subject, x509('issuing.pem').subject);
    // Root, same key.
    await ca('renew-root', '--root', at('root'), '--years', '25', '--yes', ...secret('root'));
    const renewed = x509('root', 'root-1-renewed-1.pem');
    for (const name of ['issuing.pem', 'issuing-2.pem', 'new.pem']) {
      for (const top of [x509('root', 'root-1.pem'), renewed])
        assert.ok(x509(name).checkIssued(top) && x509(name).verify(top.publicKey), name);
    }
    // Root, new key.
    await ca(
      ...['renew-root', '--root', at('root'), '--new-key', 'rsa-2048', '--yes', ...secret('root')],
      ...['--crl-url', 'http://pki.test/crl/root-2.crl', '--ca-url', 'http://pki.test/aia/root-2.crt'],
    );
    await request('third');
    await sign('third');
    const issuers = ['root-1-with-2.pem', 'root-2-with-1.pem', 'root-1.pem'].flatMap((name) => [
      '--issuer',
      at('root', name),
    ]);
    await importCa('third', ...issuers, '--yes');
    const chain = parsePem(read('third-chain.pem'), 'CERTIFICATE').map((der) => new X509Certificate(der));
    assert.deepEqual(
      chain.map(({ fingerprint256 }) => fingerprint256),
      [x509('third.pem'), x509('root', 'root-2-with-1.pem'), x509('root', 'root-1.pem')].map(
        (one) => one.fingerprint256,
      ),
    );
    // Each key signs its own CRL.
    await rootCrl();
    await ca('root-crl', at('old.crl'), '--root', at('root'), '--root-key', '1', '--yes', ...secret('root'));
    const [newer, older] = [parseCrl(readFileSync(at('root.crl'))), parseCrl(readFileSync(at('old.crl')))];
    assert.notDeepEqual(newer.extensions[0], older.extensions[0]);
  });

  test('keys that are elsewhere are named as in a configuration', async () => {
    for (const name of ['root', 'issuing']) {
      await ca(
        'request',
        at(`${name}.csr`),
        '--key',
        at(`${name}.key.pem`),
        '--subject',
        'CN=x',
        '--algorithm',
        'p-256',
        ...secret(name),
      );
      writeFileSync(at(`${name}.yaml`), `{ file: ${name}.key.pem, passphrase: 'file:${name}.passphrase' }`);
    }
    await ca(
      'init-root',
      '--root',
      at('root'),
      '--subject',
      rootSubject,
      ...crlUrl,
      ...caUrl,
      '--key-place',
      at('root.yaml'),
      '--yes',
    );
    assert.ok(!existsSync(at('root', 'root-1.key.pem')));
    await ca('request', at('ca.csr'), '--subject', 'CN=Placed', '--key-place', at('issuing.yaml'));
    await ca('sign-request', at('ca.csr'), at('ca.pem'), '--root', at('root'), '--yes');
    const importPlaced = (...more: string[]) =>
      ca(
        'import',
        at('ca.pem'),
        at('chain.pem'),
        '--issuer',
        at('root', 'root-1.pem'),
        ...crlUrl,
        ...caUrl,
        '--yes',
        ...more,
      );
    await assert.rejects(
      importPlaced(),
      refusedWith('ceremony_answers', /exactly one of --key and --key-place/),
    );
    await assert.rejects(
      importPlaced('--key-place', at('root.yaml')),
      refusedWith('key_capability', /for another key/),
    );
    assert.match(
      await importPlaced('--key-place', at('issuing.yaml')),
      /file .*issuing\.key\.pem opened: a key of p-256/,
    );
    assert.ok(x509('ca.pem').verify(x509('root', 'root-1.pem').publicKey));
    writeFileSync(at('bad.yaml'), '{ file: x }');
    await assert.rejects(
      importPlaced('--key-place', at('bad.yaml')),
      refusedWith('config_invalid', /exactly one of file/),
    );
  });

  test('a root whose key was made before the program was killed goes on with that key', async () => {
    await initRoot();
    const key = read('root', 'root-1.key.pem');
    await rm(at('root', 'root.json'));
    await rm(at('root', 'root-1.pem'));
    await initRoot();
    assert.equal(read('root', 'root-1.key.pem'), key);
  });
});

// --- as a process --------------------------------------------------------------------------------------------------------

const start = (...words: string[]) => spawn(process.execPath, [program, 'ca', ...words], { cwd: folder });

/** Runs to the end; each line of `answers` is one answer. */
async function finish(child: ChildProcessWithoutNullStreams, answers = '') {
  child.stdin.end(answers);
  const [out, error, [status]] = await Promise.all([
    text(child.stdout),
    text(child.stderr),
    once(child, 'close'),
  ]);
  return { out, error, status: status as number };
}

/** Resolves when the process asks the question. */
async function asked(child: ChildProcessWithoutNullStreams, question: string): Promise<void> {
  let seen = '';
  for await (const chunk of child.stderr) {
    seen += String(chunk);
    if (seen.includes(question)) return;
  }
  assert.fail(`never asked “${question}”: ${seen}`);
}

const answers = (changes: object = {}) => ({
  operator: 'Ada Example',
  witnesses: ['Grace Example', 'Forged\n2026-01-01T00:00:00Z  ==== end'],
  root: {
    folder: 'offline',
    subject: rootSubject,
    algorithm: 'p-256',
    crlUrls: ['http://pki.test/crl/root.crl'],
    caUrls: ['http://pki.test/aia/root.crt'],
    passphrase: 'file:root.passphrase',
  },
  issuing: ['one', 'two'].map((name) => ({
    name,
    folder: 'server',
    subject: `CN=Example ${name},O=Example`,
    algorithm: 'p-256',
    crlUrls: [`http://pki.test/crl/${name}.crl`],
    caUrls: [`http://pki.test/aia/${name}.crt`],
    passphrase: 'file:issuing.passphrase',
  })),
  publish: 'publish',
  ...changes,
});
const writeAnswers = (changes?: object) => writeFileSync(at('answers.yaml'), stringify(answers(changes)));

describe('the whole ceremony', () => {
  const bad: readonly (readonly [name: string, message: RegExp, changes: object])[] = [
    ['no operator', /operator: /, { operator: '' }],
    ['no issuing CA', /issuing: /, { issuing: [] }],
    ['an unknown key', /nonsense/, { nonsense: 1 }],
    [
      'a passphrase in the clear',
      /root\.passphrase: .*never the secret itself/,
      { root: { ...answers().root, passphrase: 'clear' } },
    ],
    ['two CAs of one name', /two of one name/, { issuing: [answers().issuing[0], answers().issuing[0]] }],
  ];
  for (const [name, message, changes] of bad) {
    test(`with ${name} does not begin`, async () => {
      writeAnswers(changes);
      const rejects = assert.rejects(
        ca('ceremony', '--answers', at('answers.yaml'), '--yes'),
        refusedWith('ceremony_answers', message),
      );
      await rejects;
      assert.ok(!existsSync(at('offline')) && !existsSync(at('publish')));
    });
  }

  test('by answers makes a root, two issuing CAs side by side, a CRL and a bundle; again it changes nothing', async () => {
    writeAnswers();
    await ca('ceremony', '--answers', at('answers.yaml'), '--yes', '--transcript', at('t.txt'));
    const root = x509('offline', 'root-1.pem');
    for (const name of ['one', 'two']) {
      const [issuing, top] = parsePem(read('server', `${name}-chain.pem`), 'CERTIFICATE').map(
        (der) => new X509Certificate(der),
      );
      assert.ok(issuing?.verify(root.publicKey));
      assert.equal(top?.fingerprint256, root.fingerprint256);
    }
    assert.equal(parseSignedData(readFileSync(at('publish', 'trust', 'trust.p7b'))).certificates.length, 3);
    assert.equal(parseCrl(readFileSync(at('publish', 'root.crl'))).revoked.length, 0);
    const transcript = read('t.txt');
    assert.match(transcript, /operator Ada Example\n/);
    assert.match(transcript, /witness Grace Example\n/);
    assert.match(transcript, /as if by: leafgate ca sign-request .*one\.csr\.pem/);
    assert.ok(transcript.includes('witness Forged\\x0a2026'), 'a name cannot forge a line');
    assert.match(transcript, /==== end of ceremony\n$/);
    for (const value of Object.values(secrets)) assert.ok(!transcript.includes(value));

    const state = read('offline', 'root.json');
    await ca('ceremony', '--answers', at('answers.yaml'), '--yes', '--transcript', at('t.txt'));
    assert.equal(read('offline', 'root.json'), state);
    assert.ok(read('t.txt').startsWith(transcript), 'a transcript only grows');
  });

  for (const question of ['Make this root?', 'Sign this?', 'Is the last SHA-256', 'Sign this CRL?']) {
    test(`killed at “${question}” goes on where it stopped`, async () => {
      writeAnswers();
      const child = start('ceremony', '--answers', 'answers.yaml', '--transcript', 'killed.txt');
      // A yes to all that comes before: one more than there are questions would answer this one.
      const before =
        { 'Make this root?': 0, 'Sign this?': 1, 'Is the last SHA-256': 3, 'Sign this CRL?': 5 }[question] ??
        0;
      child.stdin.write('yes\n'.repeat(before));
      await asked(child, question);
      child.kill('SIGKILL');
      await once(child, 'close');
      assert.ok(!read('killed.txt').includes('end of ceremony'));
      const existing = existsSync(at('offline', 'root-1.pem'))
        ? x509('offline', 'root-1.pem').fingerprint256
        : undefined;
      assert.equal(existing !== undefined, before > 0);
      await ca('ceremony', '--answers', at('answers.yaml'), '--yes', '--transcript', at('t.txt'));
      if (existing !== undefined) assert.equal(x509('offline', 'root-1.pem').fingerprint256, existing);
      assert.ok(x509('server', 'two.pem').verify(x509('offline', 'root-1.pem').publicKey));
      const { entries } = JSON.parse(read('offline', 'root.json')) as { entries: unknown[] };
      assert.equal(entries.length, 3);
    });
  }

  test('at the terminal asks for everything, signs after a yes, and writes its answers for another time', async () => {
    const lines = [
      ...['Ada', 'Grace; Hedy', 'Example', 'http://pki.test'],
      ...['offline', '', 'p-256', '', '', '', '', 'ask'],
      ...[
        'issuing',
        'server',
        '',
        'p-256',
        '',
        'DNS:example.com',
        'none',
        '',
        '',
        'file:issuing.passphrase',
        'no',
        '',
      ],
      ...['yes', secrets.root, secrets.root],
      ...['yes', 'yes', 'yes'],
    ];
    const { out, error, status } = await finish(start('ceremony'), `${lines.join('\n')}\n`);
    assert.equal(status, 0, error);
    assert.match(out, /done\. Lock .*offline away/);
    assert.ok(!`${out}${error}`.includes(secrets.root));
    assert.equal(x509('offline', 'root-1.pem').subject, 'O=Example\nCN=Example Root CA');
    const names = readdirSync(at('publish'));
    assert.deepEqual(names.filter((name) => !name.startsWith('transcript')).sort(), [
      'ceremony.yaml',
      'root.crl',
      'trust',
    ]);
    const transcript = read('publish', names.find((name) => name.startsWith('transcript')) ?? '?');
    assert.match(transcript, /witness Hedy\n/);
    assert.equal(transcript.match(/The operator said yes\./g)?.length, 4);
    assert.ok(!transcript.includes(secrets.root) && !read('publish', 'ceremony.yaml').includes(secrets.root));
  });

  test('ends at a no, having signed nothing more', async () => {
    writeAnswers();
    const { error, status } = await finish(start('ceremony', '--answers', 'answers.yaml'), 'yes\nno\n');
    assert.equal(status, 1);
    assert.match(error, /error: Sign this\? The answer was no\.\nhint: /);
    const { entries } = JSON.parse(read('offline', 'root.json')) as { entries: unknown[] };
    assert.equal(entries.length, 1);
  });

  test('without anybody to answer says which option is missing', async () => {
    writeAnswers();
    const { error, status } = await finish(start('ceremony', '--answers', 'answers.yaml'));
    assert.equal(status, 1);
    assert.match(error, /nobody answers/);
    assert.ok(!existsSync(at('offline', 'root-1.key.pem')));
  });
});
