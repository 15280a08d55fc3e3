/**
 * `node lab/hsm.ts`: a CA whose keys are in a PKCS #11 token. SoftHSM2 stands in for the device; what the CA makes is
 * judged by OpenSSL, and the token is taken away and brought back while the CA works.
 */
import { execFile } from 'node:child_process';
import { constants, publicEncrypt, randomBytes } from 'node:crypto';
import { readFile, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { parse, stringify } from 'yaml';
import { createIssuing, signatureAlgorithmFor } from '../src/ca/index.ts';
import {
  buildPem,
  nameFromString,
  parseCertificate,
  parsePem,
  publicKeyOf,
  signatureAlgorithms,
  verifySignature,
} from '../src/codec/index.ts';
import { errorCodeOf } from '../src/errors.ts';
import { type KeyAlgorithm, openKeyFile, openTokenKey, type PlacedKey } from '../src/keys/index.ts';
import { Pkcs11Module } from '../src/keys/pkcs11-module.ts';
import { Checks, demand } from './checks.ts';
import { leafgate, leafgateJson } from './command.ts';
import { runInFolder } from './in-folder.ts';
import { startPart } from './processes.ts';
import { openTenant } from './tenant.ts';
import { ensureSoftHsm, softHsmModule as module, newSoftToken } from './third-party/softhsm.ts';
import { proveTokenLoss } from './token-loss.ts';

const OPENSSL = '/usr/bin/openssl';
const TOKEN = 'leafgate lab';
const DAY_MS = 86_400_000;
const run = promisify(execFile);

async function runIn(folder: string): Promise<0 | 1> {
  const checks = new Checks();
  await ensureSoftHsm();
  const tokens = join(folder, 'tokens');
  const pin = await newSoftToken(folder, TOKEN);
  process.env.LEAFGATE_LAB_PIN = pin;
  const inToken = ['--module', module, '--token', TOKEN, '--pin', 'env:LEAFGATE_LAB_PIN'];
  const open = (label: string, use: 'sign' | 'decrypt'): Promise<PlacedKey> =>
    openTokenKey({ module, token: TOKEN, label, pin, use });

  checks.section('Keys in a token');
  const algorithms: readonly KeyAlgorithm[] = ['rsa-2048', 'rsa-3072', 'p-256', 'p-384'];
  for (const algorithm of algorithms) {
    await checks.check(`${algorithm} is made in the token, cannot leave it, and signs`, async () => {
      await leafgate('key', 'generate', '--algorithm', algorithm, '--label', algorithm, ...inToken);
      const key = await open(algorithm, 'sign');
      demand(!key.exportable, 'the key can be taken out of the token');
      const data = randomBytes(100);
      const name = signatureAlgorithmFor(key);
      const signature = await key.sign(name, data);
      demand(
        verifySignature(signatureAlgorithms[name], publicKeyOf(key.spki), data, signature),
        'the signature does not verify',
      );
      return name;
    });
  }
  await checks.check('a key with a label that is taken is refused', async () => {
    const said = await leafgate('key', 'generate', '--label', 'p-256', ...inToken).then(
      () => 'it was made',
      (cause: Error) => cause.message,
    );
    demand(/not replaced/.test(said), said);
    return undefined;
  });
  await checks.check('a wrong PIN is told as one, after one try', async () => {
    process.env.LEAFGATE_LAB_WRONG = 'not the pin';
    const said = await leafgate(
      ...['key', 'request', '--module', module, '--token', TOKEN, '--label', 'p-256'],
      ...['--pin', 'env:LEAFGATE_LAB_WRONG', 'CN=x', join(folder, 'never.csr')],
    ).then(
      () => 'it was taken',
      (cause: Error) => cause.message,
    );
    demand(/refuses the PIN \(CKR_PIN_INCORRECT\)/.test(said) && !said.includes('not the pin'), said);
    return undefined;
  });

  checks.section('Decryption');
  await leafgate(
    ...[
      'key',
      'generate',
      '--algorithm',
      'rsa-2048',
      '--use',
      'decrypt',
      '--label',
      'encryption',
      ...inToken,
    ],
  );
  const encryption = await open('encryption', 'decrypt');
  const secret = randomBytes(32);
  await checks.check('PKCS #1 v1.5 and OAEP of every digest open', async () => {
    const publicKey = publicKeyOf(encryption.spki);
    const pkcs1 = publicEncrypt({ key: publicKey, padding: constants.RSA_PKCS1_PADDING }, secret);
    demand(secret.equals(await encryption.decrypt({ name: 'rsaes-pkcs1-v1_5' }, pkcs1)), 'PKCS #1 v1.5');
    for (const digest of ['sha1', 'sha256', 'sha384', 'sha512'] as const) {
      const padding = constants.RSA_PKCS1_OAEP_PADDING;
      const closed = publicEncrypt({ key: publicKey, padding, oaepHash: digest }, secret.subarray(0, 32));
      const opened = await encryption.decrypt({ name: 'rsaes-oaep', digest }, closed);
      demand(secret.equals(opened), `OAEP with ${digest}`);
    }
    return undefined;
  });
  await checks.check(
    '500 ciphertexts with bad padding give octets of all lengths, and no error',
    async () => {
      const publicKey = publicKeyOf(encryption.spki);
      const lengths = new Set<number>();
      for (let count = 0; count < 500; count += 1) {
        const bad = publicEncrypt({ key: publicKey, padding: constants.RSA_PKCS1_PADDING }, secret);
        bad.writeUInt8(bad.readUInt8(255) ^ 1, 255);
        const opened = await encryption.decrypt({ name: 'rsaes-pkcs1-v1_5' }, bad);
        demand(!secret.equals(opened), 'a damaged ciphertext opened');
        if (count % 100 === 0)
          demand(
            Buffer.from(opened).equals(await encryption.decrypt({ name: 'rsaes-pkcs1-v1_5' }, bad)),
            'the same ciphertext opens to different octets',
          );
        lengths.add(opened.length);
      }
      demand(lengths.size > 80, `only ${lengths.size} different lengths`);
      return `${lengths.size} lengths`;
    },
  );

  checks.section('A CA with its keys in the token');
  const tenant = await openTenant(join(folder, 'tenant'), {
    ports: 'any',
    progress: (text) => console.error(`- ${text}`),
  });
  const offline = join(folder, 'tenant', 'offline-root');
  const rootKey = await openKeyFile({
    path: join(offline, 'root.key.pem'),
    passphrase: (await readFile(join(offline, 'root.passphrase'), 'utf8')).trimEnd(),
  });
  const rootPem = await readFile(tenant.rootFile, 'utf8');
  const root = parseCertificate(parsePem(rootPem, 'CERTIFICATE')[0]);
  const server = join(folder, 'tenant', 'server');
  const tokenKey = (label: string) => ({
    pkcs11: { module, token: TOKEN, label, pin: 'env:LEAFGATE_LAB_PIN' },
  });
  const config = parse(await readFile(tenant.configs.server, 'utf8')) as {
    server: {
      issuers: Record<string, unknown>[];
      ra: Record<string, unknown>;
      ocsp: object;
      endpoints: { readonly name: string; issuer: string }[];
    };
    connector?: unknown;
  };
  const writeConfig = () => writeFile(tenant.configs.server, stringify(config), { mode: 0o600 });
  for (const algorithm of ['rsa-3072', 'p-256', 'p-384'] as const) {
    await checks.check(`an issuing CA on ${algorithm} issues, and OpenSSL verifies the chain`, async () => {
      const key = await open(algorithm, 'sign');
      const now = Math.floor(Date.now() / 1000) * 1000;
      const issuing = await createIssuing(
        { certificate: root, key: rootKey },
        key.spki,
        nameFromString(`CN=Leafgate Lab HSM CA ${algorithm},O=LAB`),
        { notBefore: new Date(now - 2 * DAY_MS), notAfter: new Date(now + 1000 * DAY_MS) },
        { crlUrls: ['http://pki.test/crl/root.crl'], caIssuersUrls: ['http://pki.test/aia/root.crt'] },
      );
      const chainFile = join(server, `hsm-${algorithm}.pem`);
      await writeFile(chainFile, buildPem('CERTIFICATE', issuing.raw) + rootPem);
      const [issuer] = config.server.issuers;
      demand(issuer !== undefined, 'the lab has no issuing CA');
      Object.assign(issuer, { name: `hsm-${algorithm}`, certificate: chainFile, key: tokenKey(algorithm) });
      for (const endpoint of config.server.endpoints) endpoint.issuer = `hsm-${algorithm}`;
      await writeConfig();
      const certificate = await certify(algorithm, 'ra-signing', 'rsa-2048');
      const { stdout } = await run(OPENSSL, [
        ...['verify', '-CAfile', tenant.rootFile, '-untrusted', chainFile, certificate],
      ]);
      demand(/: OK/.test(stdout), stdout);
      return undefined;
    });
  }

  async function certify(name: string, template: string, label: string): Promise<string> {
    const csr = join(folder, `${name}-${template}.csr`);
    const certificate = join(server, `${name}-${template}.pem`);
    await leafgate('key', 'request', `CN=${template} ${name},O=LAB`, csr, '--label', label, ...inToken);
    await leafgate('ca', 'issue', template, csr, certificate, '--config', tenant.configs.server);
    return certificate;
  }

  await checks.check('RA keys in the token: every key of the server works', async () => {
    const signing = await certify('ra', 'ra-signing', 'rsa-2048');
    const opening = await certify('ra', 'ra-encryption', 'encryption');
    const { automatic: _, ...others } = config.server.ra;
    config.server.ra = {
      ...others,
      signing: { certificate: signing, key: tokenKey('rsa-2048') },
      encryption: { certificate: opening, key: tokenKey('encryption') },
    };
    await writeConfig();
    const rows = await leafgateJson<{ place: string; exportable?: string; result: string; code?: string }[]>(
      ...['key', 'check', '--config', tenant.configs.server],
    );
    const inIt = rows.filter((row) => row.place.includes(TOKEN));
    demand(inIt.length === 3, `${inIt.length} keys are in the token`);
    for (const row of rows) demand(row.code === undefined, `${row.place}: ${row.result}`);
    for (const row of inIt) demand(row.exportable === 'no', `${row.place} is exportable`);
    return `${rows.length} keys`;
  });

  checks.section('A server with every key of its CA in the token: it goes, and comes back');
  await leafgate('key', 'generate', '--algorithm', 'p-384', '--label', 'ocsp', ...inToken);
  config.server.ocsp = { signers: [{ issuer: 'hsm-p-384', key: tokenKey('ocsp') }] };
  // The server alone, without the tunnel; and without endpoints whose clients know one RA certificate.
  delete config.connector;
  config.server.endpoints = config.server.endpoints.filter(({ name }) => name === 'one-time');
  await writeConfig();
  const running = await startPart('server', tenant.configs.server, tenant.folder);
  try {
    await proveTokenLoss(checks, {
      config: tenant.configs.server,
      url: `http://127.0.0.1:${tenant.ports.server}`,
      issuer: 'hsm-p-384',
      issuerFile: join(server, 'hsm-p-384.pem'),
      rootFile: tenant.rootFile,
      tokens,
    });
  } finally {
    await running.stop();
  }

  checks.section('Sessions end, the token goes, and comes back');
  const key = await open('rsa-2048', 'sign');
  const away = join(folder, 'tokens-away');
  const signs = () =>
    key.sign('rsa-sha256', Buffer.from('x')).then(...([() => 'signed', errorCodeOf] as const));
  await checks.check(
    'all sessions of the process are closed, and its log-in with them: it signs',
    async () => {
      const { pkcs11 } = await Pkcs11Module.load(module);
      demand((await signs()) === 'signed', 'it did not sign before');
      for (const slot of pkcs11.C_GetSlotList(true)) pkcs11.C_CloseAllSessions(slot);
      demand((await signs()) === 'signed', 'it does not sign any more');
      return undefined;
    },
  );
  await checks.check('somebody logs out: it signs', async () => {
    const { pkcs11, constants } = await Pkcs11Module.load(module);
    const slot = pkcs11
      .C_GetSlotList(true)
      .find((each) => pkcs11.C_GetTokenInfo(each).label.trimEnd() === TOKEN);
    demand(slot !== undefined, 'the token is not there');
    const session = pkcs11.C_OpenSession(slot, constants.CKF_SERIAL_SESSION);
    pkcs11.C_Logout(session);
    pkcs11.C_CloseSession(session);
    demand((await signs()) === 'signed', 'it does not sign any more');
    return undefined;
  });
  await checks.check('while it is away, the key is unavailable, at once and without a crash', async () => {
    demand((await signs()) === 'signed', 'it did not sign before');
    await rename(tokens, away);
    const start = performance.now();
    for (let count = 0; count < 5; count += 1) {
      const said = await signs();
      demand(said === 'key_unavailable', `it said ${said}`);
    }
    demand(performance.now() - start < 10_000, 'it took too long to say so');
    return undefined;
  });
  await checks.check('when it is back, the key signs again by itself', async () => {
    await rename(away, tokens);
    const start = performance.now();
    for (let tries = 0; tries < 60; tries += 1) {
      if ((await signs()) === 'signed') return `after ${Math.round(performance.now() - start)} ms`;
      await sleep(500);
    }
    throw new Error('it did not come back');
  });
  await checks.check('the other key of the process came back as well', async () => {
    const closed = publicEncrypt(
      { key: publicKeyOf(encryption.spki), padding: constants.RSA_PKCS1_PADDING },
      secret,
    );
    demand(secret.equals(await encryption.decrypt({ name: 'rsaes-pkcs1-v1_5' }, closed)), 'it opens wrongly');
    return undefined;
  });
  await checks.check('two processes sign at once', async () => {
    const request = (name: string) =>
      leafgate('key', 'request', `CN=${name}`, join(folder, `${name}.csr`), '--label', 'p-256', ...inToken);
    await Promise.all([request('first'), request('second'), signs()]);
    return undefined;
  });
  return checks.conclude();
}

await runInFolder('leafgate-hsm-', runIn);
