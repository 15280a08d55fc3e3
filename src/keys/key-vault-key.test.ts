import assert from 'node:assert/strict';
import {
  constants,
  createECDH,
  generateKeyPairSync,
  type KeyObject,
  privateDecrypt,
  publicEncrypt,
  randomBytes,
  verify,
} from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:https';
import type { AddressInfo, LookupFunction } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { after, before, beforeEach, describe, test } from 'node:test';
import {
  keys as authorityKeys,
  certificates,
  enrolAt,
  inDays,
  issuer,
  openTestServer,
  publishedCrl,
  recordsIn,
  requestOf,
  staticSecret,
} from '../../test/support/authorities-fixture.ts';
import { createIssuing } from '../ca/index.ts';
import {
  buildCertificate,
  buildPem,
  caBasicConstraintsExtension,
  nameFromString,
  parseCrl,
  publicKeyOf,
  type SignatureAlgorithmName,
  signatureAlgorithms,
  subjectAltNameExtension,
  verifyCertificateSignature,
} from '../codec/index.ts';
import type { KeyUse } from './key-place.ts';
import { type KeyVaultKeyOptions, openKeyVaultKey } from './key-vault-key.ts';
import { privateKeyOf } from './private-key.ts';
import { assertImplicitRejection } from './self-test.ts';

const VERSION = '0123456789abcdef0123456789abcdef';
const TOKEN = 'a-token-of-the-test';
const SECRET = 'the client secret';

const rsa = () => generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey;
const ec = (namedCurve: string) => generateKeyPairSync('ec', { namedCurve }).privateKey;

/** The keys of the vault, with what they may do. */
const keys: Readonly<
  Record<
    string,
    {
      readonly key: KeyObject;
      readonly kty: string;
      readonly ops: readonly string[];
      readonly enabled?: boolean;
    }
  >
> = {
  'rsa-sign': { key: rsa(), kty: 'RSA-HSM', ops: ['sign', 'verify'] },
  'rsa-decrypt': { key: rsa(), kty: 'RSA', ops: ['decrypt', 'encrypt'] },
  'rsa-disabled': { key: rsa(), kty: 'RSA', ops: ['sign'], enabled: false },
  'p-256': { key: ec('P-256'), kty: 'EC-HSM', ops: ['sign', 'verify'] },
  'p-384': { key: ec('P-384'), kty: 'EC', ops: ['sign'] },
  'p-521': { key: ec('P-521'), kty: 'EC', ops: ['sign'] },
};

/** What the vault does instead of its work, for the next requests with a body. */
let faults: ((name: string) => { status: number; retryAfter?: string } | 'hang' | 'wrong-key')[] = [];
/** What was asked: method and path, with the API version cut off. */
let asked: string[] = [];
let server: Server;
let folder: string;
let port: number;
let extraCa: string;

/** Every name is this machine. */
const lookup: LookupFunction = (_name, options, callback) => {
  if (options.all === true) callback(null, [{ address: '127.0.0.1', family: 4 }]);
  else callback(null, '127.0.0.1', 4);
};

before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'leafgate-vault-'));
  const tlsKey = ec('P-256');
  const tls = privateKeyOf(tlsKey);
  const subject = nameFromString('CN=vault of the test');
  const certificate = await buildCertificate(
    {
      serialNumber: '01',
      signatureAlgorithm: 'ecdsa-sha256',
      issuer: subject,
      subject,
      notBefore: new Date(Date.now() - 60_000),
      notAfter: new Date(Date.now() + 86_400_000),
      spki: tls.spki,
      extensions: [
        caBasicConstraintsExtension(),
        subjectAltNameExtension(
          [
            { type: 'dNSName', value: 'pki.vault.test' },
            { type: 'dNSName', value: 'pki.other.test' },
            { type: 'dNSName', value: 'login.test' },
          ],
          subject,
        ),
      ],
    },
    tls.sign,
  );
  const pem = buildPem('CERTIFICATE', certificate);
  extraCa = join(folder, 'ca.pem');
  await writeFile(extraCa, pem);
  server = createServer(
    { cert: pem, key: tlsKey.export({ type: 'pkcs8', format: 'pem' }) },
    (request, response) => {
      void text(request).then((body) => {
        const url = new URL(request.url ?? '/', `https://${request.headers.host}`);
        asked.push(`${request.method} ${url.pathname}`);
        const answer = (status: number, value: unknown, headers: Record<string, string> = {}) => {
          response.writeHead(status, { 'content-type': 'application/json', ...headers });
          response.end(JSON.stringify(value));
        };
        const error = (status: number, code: string, headers: Record<string, string> = {}) =>
          answer(status, { error: { code, message: `${code} of the test` } }, headers);
        if (url.hostname === 'login.test') {
          answerSignIn(url, body, answer);
          return;
        }
        if (request.headers.authorization !== `Bearer ${TOKEN}`) {
          return error(401, 'Unauthorized', {
            'www-authenticate': `Bearer authorization="https://login.test:${port}/tenant", resource="https://vault.test"`,
          });
        }
        const [, name = '', version, verb] =
          /^\/keys\/([^/]+)\/([^/]+)(?:\/(\w+))?$/.exec(url.pathname) ?? [];
        const row = keys[name];
        if (row === undefined || version !== VERSION) return error(404, 'KeyNotFound');
        const fault = faults.shift()?.(name);
        if (fault === 'hang') return;
        if (typeof fault === 'object') {
          return error(
            fault.status,
            'Faulty',
            fault.retryAfter === undefined ? {} : { 'retry-after': fault.retryAfter },
          );
        }
        const kid = `https://pki.vault.test:${port}/keys/${name}/${version}`;
        if (verb === undefined) {
          const { kty: _kty, d: _d, ...half } = publicJwk(row.key);
          return answer(200, {
            key: { kid, kty: row.kty, key_ops: row.ops, ...half },
            attributes: { enabled: row.enabled ?? true, exportable: false },
          });
        }
        const { alg, value } = JSON.parse(body) as { alg: string; value: string };
        const input = Buffer.from(value, 'base64url');
        if (!row.ops.includes(verb)) return error(403, 'Forbidden');
        const result =
          verb === 'sign'
            ? signDigest(fault === 'wrong-key' ? rsa() : row.key, alg, input)
            : open(row.key, alg, input);
        return result === undefined
          ? error(400, 'BadParameter')
          : answer(200, { kid, value: result.toString('base64url') });
      });
    },
  );
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  port = (server.address() as AddressInfo).port;
});

after(async () => {
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
  await rm(folder, { recursive: true, force: true });
});

beforeEach(() => {
  faults = [];
  asked = [];
});

function publicJwk(key: KeyObject): Record<string, unknown> {
  const { kty, n, e, crv, x, y } = key.export({ format: 'jwk' });
  return JSON.parse(JSON.stringify({ kty, n, e, crv, x, y })) as Record<string, unknown>;
}

function answerSignIn(url: URL, body: string, answer: (status: number, value: unknown) => void): void {
  const base = `https://login.test:${port}/tenant`;
  const form = new URLSearchParams(body);
  if (url.pathname.endsWith('/.well-known/openid-configuration')) {
    answer(200, {
      token_endpoint: `${base}/oauth2/v2.0/token`,
      authorization_endpoint: `${base}/oauth2/v2.0/authorize`,
      issuer: `${base}/v2.0`,
      jwks_uri: `${base}/keys`,
    });
  } else if (form.get('client_secret') !== SECRET) {
    answer(401, { error: 'invalid_client', error_description: 'AADSTS7000215: wrong secret' });
  } else if (!form.get('scope')?.startsWith('https://vault.test/.default')) {
    answer(400, { error: 'invalid_scope' });
  } else answer(200, { token_type: 'Bearer', expires_in: 3600, ext_expires_in: 3600, access_token: TOKEN });
}

/** Signs what is a digest already, as the vault does. */
function signDigest(key: KeyObject, alg: string, digest: Buffer): Buffer | undefined {
  const bits = Number(alg.slice(2));
  if (digest.length !== bits / 8) return undefined;
  if (alg.startsWith('RS')) {
    // DER of DigestInfo but for the digest (RFC 8017 §9.2, note 1).
    const prefixes: Readonly<Record<number, string>> = {
      256: '3031300d060960864801650304020105000420',
      384: '3041300d060960864801650304020205000430',
      512: '3051300d060960864801650304020305000440',
    };
    const info = Buffer.concat([Buffer.from(prefixes[bits] ?? '', 'hex'), digest]);
    const block = Buffer.concat([
      Buffer.of(0, 1),
      Buffer.alloc(256 - 3 - info.length, 0xff),
      Buffer.of(0),
      info,
    ]);
    return privateDecrypt({ key, padding: constants.RSA_NO_PADDING }, block);
  }
  return signNumbers(key, digest);
}

/** Orders of the curves (SEC 2 §2.4.2, §2.5.1). */
const curveOrders: Readonly<Record<string, { readonly curve: string; readonly order: bigint }>> = {
  'P-256': {
    curve: 'prime256v1',
    order: 0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551n,
  },
  'P-384': {
    curve: 'secp384r1',
    order:
      0xffffffffffffffffffffffffffffffffffffffffffffffffc7634d81f4372ddf581a0db248b0a77aecec196accc52973n,
  },
};

/** ECDSA over a digest (FIPS 186-5 §6.4.1), which node:crypto signs only together with the data. */
function signNumbers(key: KeyObject, digest: Buffer): Buffer {
  const { d = '', crv = '' } = key.export({ format: 'jwk' });
  const row = curveOrders[crv];
  assert.ok(row);
  const { curve, order } = row;
  const number = (octets: Buffer) => BigInt(`0x${octets.toString('hex')}`);
  const once = createECDH(curve);
  once.generateKeys();
  const k = number(once.getPrivateKey());
  const r = number(once.getPublicKey().subarray(1, 1 + digest.length)) % order;
  const sum = number(digest) + r * number(Buffer.from(d, 'base64url'));
  const s = (power(k, order - 2n, order) * sum) % order;
  return Buffer.from(
    [r, s].map((item) => item.toString(16).padStart(2 * digest.length, '0')).join(''),
    'hex',
  );
}

function power(base: bigint, exponent: bigint, modulus: bigint): bigint {
  let result = 1n;
  for (let square = base, rest = exponent; rest > 0n; rest >>= 1n, square = (square * square) % modulus) {
    if ((rest & 1n) === 1n) result = (result * square) % modulus;
  }
  return result;
}

/** Opens a ciphertext, and says plainly if it cannot, as the vault does. */
function open(key: KeyObject, alg: string, ciphertext: Buffer): Buffer | undefined {
  if (alg === 'RSA1_5') {
    const block = privateDecrypt({ key, padding: constants.RSA_NO_PADDING }, ciphertext);
    const zero = block.indexOf(0, 2);
    return block[0] === 0 && block[1] === 2 && zero >= 10 ? block.subarray(zero + 1) : undefined;
  }
  try {
    const oaepHash = alg === 'RSA-OAEP-256' ? 'sha256' : 'sha1';
    return privateDecrypt({ key, padding: constants.RSA_PKCS1_OAEP_PADDING, oaepHash }, ciphertext);
  } catch {
    return undefined;
  }
}

function optionsFor(
  name: string,
  use: KeyUse,
  changes: Partial<KeyVaultKeyOptions> = {},
): KeyVaultKeyOptions {
  return {
    vault: `https://pki.vault.test:${port}`,
    name,
    version: VERSION,
    use,
    credential: { clientSecret: { tenant: 'tenant', clientId: 'client', secret: SECRET } },
    authority: `https://login.test:${port}`,
    extraCa,
    lookup,
    ...changes,
  };
}

describe('openKeyVaultKey refuses', () => {
  const rows: readonly (readonly [
    name: string,
    options: () => KeyVaultKeyOptions,
    code: string,
    message: RegExp,
  ])[] = [
    ['a key that is not there', () => optionsFor('nothing', 'sign'), 'key_locked', /no such key or version/],
    [
      'another version',
      () => optionsFor('rsa-sign', 'sign', { version: 'f'.repeat(32) }),
      'key_locked',
      /no such key or version/,
    ],
    [
      'a wrong secret',
      () =>
        optionsFor('rsa-sign', 'sign', {
          credential: { clientSecret: { tenant: 'tenant', clientId: 'client', secret: 'guessed' } },
        }),
      'key_locked',
      /sign-in to Azure is refused/,
    ],
    ['a disabled version', () => optionsFor('rsa-disabled', 'sign'), 'key_capability', /enable it/],
    [
      'to decrypt without the operation',
      () => optionsFor('rsa-sign', 'decrypt'),
      'key_capability',
      /--ops decrypt/,
    ],
    [
      'to sign without the operation',
      () => optionsFor('rsa-decrypt', 'sign'),
      'key_capability',
      /--ops sign/,
    ],
    ['to decrypt on a curve', () => optionsFor('p-256', 'decrypt'), 'key_capability', /use an RSA key/],
    ['P-521', () => optionsFor('p-521', 'sign'), 'key_capability', /use P-256 or P-384/],
    [
      'a server that is not trusted',
      () => optionsFor('rsa-sign', 'sign', { extraCa: undefined, timeoutMs: 3_000 }),
      'key_unavailable',
      /./,
    ],
    [
      'a vault whose challenge names another domain',
      () => optionsFor('rsa-sign', 'sign', { vault: `https://pki.other.test:${port}` }),
      'key_unavailable',
      /does not match the requested domain/,
    ],
  ];
  for (const [name, options, code, message] of rows) {
    test(name, async () => {
      await assert.rejects(openKeyVaultKey(options()), (thrown: Error & { code?: string }) => {
        assert.equal(thrown.code, code, thrown.message);
        assert.match(thrown.message, message);
        assert.ok(!thrown.message.includes(SECRET) && !thrown.message.includes(TOKEN));
        return true;
      });
    });
  }

  test('a vault that refuses our identity', async () => {
    faults = [() => ({ status: 403 })];
    await assert.rejects(openKeyVaultKey(optionsFor('rsa-sign', 'sign')), {
      code: 'key_locked',
      message: /Key Vault Crypto User/,
    });
  });
});

describe('a key in a vault', () => {
  const rows: readonly (readonly [string, readonly SignatureAlgorithmName[]])[] = [
    ['rsa-sign', ['rsa-sha256', 'rsa-sha384', 'rsa-sha512']],
    ['p-256', ['ecdsa-sha256']],
    ['p-384', ['ecdsa-sha384']],
  ];
  for (const [name, able] of rows) {
    test(`${name} signs by ${able.join(', ')} and by nothing else`, async () => {
      const key = await openKeyVaultKey(optionsFor(name, 'sign'));
      assert.equal(key.exportable, false);
      assert.match(key.place, /^key .* in vault pki\.vault\.test/);
      const data = Buffer.from('to be signed');
      for (const algorithm of Object.keys(signatureAlgorithms) as SignatureAlgorithmName[]) {
        if (!able.includes(algorithm)) {
          await assert.rejects(key.sign(algorithm, data), { code: 'key_capability' }, algorithm);
          continue;
        }
        const signature = await key.sign(algorithm, data);
        assert.ok(verify(signatureAlgorithms[algorithm].digest, data, publicKeyOf(key.spki), signature));
      }
    });
  }

  test('signs in once, and asks for one version alone', async () => {
    const key = await openKeyVaultKey(optionsFor('p-256', 'sign'));
    for (let count = 0; count < 3; count += 1) await key.sign('ecdsa-sha256', Buffer.from('x'));
    assert.equal(asked.filter((line) => line.endsWith('/token')).length, 1);
    assert.ok(asked.includes(`POST /keys/p-256/${VERSION}/sign`));
    assert.ok(asked.filter((line) => line.includes('/keys/')).every((line) => line.includes(VERSION)));
  });

  const contentKey = randomBytes(32);
  test('opens PKCS #1 v1.5, OAEP with SHA-1 and with SHA-256', async () => {
    const key = await openKeyVaultKey(optionsFor('rsa-decrypt', 'decrypt'));
    const publicKey = publicKeyOf(key.spki);
    const pkcs1 = publicEncrypt({ key: publicKey, padding: constants.RSA_PKCS1_PADDING }, contentKey);
    assert.deepEqual(Buffer.from(await key.decrypt({ name: 'rsaes-pkcs1-v1_5' }, pkcs1)), contentKey);
    for (const digest of ['sha1', 'sha256'] as const) {
      const padding = constants.RSA_PKCS1_OAEP_PADDING;
      const closed = publicEncrypt({ key: publicKey, padding, oaepHash: digest }, contentKey);
      assert.deepEqual(Buffer.from(await key.decrypt({ name: 'rsaes-oaep', digest }, closed)), contentKey);
      closed.writeUInt8(closed.readUInt8(99) ^ 1, 99);
      await assert.rejects(key.decrypt({ name: 'rsaes-oaep', digest }, closed), { code: 'scep_envelope' });
    }
    await assert.rejects(key.decrypt({ name: 'rsaes-oaep', digest: 'sha512' }, pkcs1), {
      code: 'algorithm_unsupported',
    });
    for (const length of [0, 255, 257])
      await assert.rejects(key.decrypt({ name: 'rsaes-pkcs1-v1_5' }, Buffer.alloc(length, 1)), {
        code: 'scep_envelope',
      });
  });

  test('never tells bad padding, though the vault does', async () => {
    const key = await openKeyVaultKey(optionsFor('rsa-decrypt', 'decrypt'));
    const publicKey = publicKeyOf(key.spki);
    const lengths = new Set<number>();
    for (let count = 0; count < 40; count += 1) {
      const ciphertext = publicEncrypt({ key: publicKey, padding: constants.RSA_PKCS1_PADDING }, contentKey);
      ciphertext.writeUInt8(ciphertext.readUInt8(255) ^ 1, 255);
      const opened = await key.decrypt({ name: 'rsaes-pkcs1-v1_5' }, ciphertext);
      assert.notDeepEqual(Buffer.from(opened), contentKey);
      if (count === 0) assert.deepEqual(await key.decrypt({ name: 'rsaes-pkcs1-v1_5' }, ciphertext), opened);
      lengths.add(opened.length);
    }
    assert.ok(lengths.size > 20, `only ${lengths.size} different lengths`);
    // The self-test of the runtime takes what a vault gives as well.
    const ciphertexts: Uint8Array[] = [];
    const opened: Uint8Array[] = [];
    const collect = (ciphertext: Uint8Array) => {
      ciphertexts.push(Uint8Array.from(ciphertext));
      return open(keys['rsa-decrypt']?.key as KeyObject, 'RSA1_5', Buffer.from(ciphertext)) ?? randomBytes(7);
    };
    assertImplicitRejection(publicKey, collect);
    for (const ciphertext of ciphertexts)
      opened.push(await key.decrypt({ name: 'rsaes-pkcs1-v1_5' }, ciphertext));
    assert.equal(Buffer.from(opened[0] ?? []).toString(), '0123456789abcdef');
    assert.ok(opened.slice(1).every((item) => Buffer.from(item).toString() !== '0123456789abcdef'));
  });

  test('throttled or failing for a moment, the vault is asked again', async () => {
    const key = await openKeyVaultKey(optionsFor('p-256', 'sign'));
    faults = [() => ({ status: 429, retryAfter: '0' }), () => ({ status: 503 })];
    await key.sign('ecdsa-sha256', Buffer.from('x'));
    // The first of four had no token yet.
    assert.equal(asked.filter((line) => line.endsWith('/sign')).length, 4);
    assert.equal(faults.length, 0);
  });

  const lost: readonly (readonly [string, (typeof faults)[number], RegExp])[] = [
    ['throttles on and on', () => ({ status: 429, retryAfter: '0' }), /429/],
    ['fails on and on', () => ({ status: 500 }), /500|in time/],
    ['refuses us from now on', () => ({ status: 403 }), /403/],
    ['does not answer', () => 'hang', /in time/],
    ['signs with another key', () => 'wrong-key', /does not verify/],
  ];
  for (const [name, fault, message] of lost) {
    test(`is unavailable if the vault ${name}, and back with it`, async () => {
      const key = await openKeyVaultKey(optionsFor('rsa-sign', 'sign', { timeoutMs: 2_500 }));
      faults = Array.from({ length: 20 }, () => fault);
      await assert.rejects(key.sign('rsa-sha256', Buffer.from('x')), { code: 'key_unavailable', message });
      faults = [];
      assert.ok((await key.sign('rsa-sha256', Buffer.from('x'))).length > 0);
    });
  }

  test('a decryption that the vault cannot do now is no bad message', async () => {
    const key = await openKeyVaultKey(optionsFor('rsa-decrypt', 'decrypt', { timeoutMs: 2_500 }));
    faults = Array.from({ length: 20 }, () => () => ({ status: 403 }));
    await assert.rejects(key.decrypt({ name: 'rsaes-pkcs1-v1_5' }, Buffer.alloc(256, 1)), {
      code: 'key_unavailable',
    });
  });
});

describe('a CA with its key in a vault', () => {
  /** The vault is gone: what is under way breaks, and nobody can connect. */
  const leave = () => {
    server.close();
    server.closeAllConnections();
  };
  const comeBack = () => new Promise<void>((resolve) => server.listen(port, '127.0.0.1', resolve));

  test('that goes in the middle of issuing is unavailable; when it is back, the same request gets its one certificate', async () => {
    const key = await openKeyVaultKey(optionsFor('rsa-sign', 'sign', { timeoutMs: 5_000 }));
    const certificate = await createIssuing(
      { certificate: certificates.root, key: authorityKeys.root },
      key.spki,
      nameFromString('CN=Vault CA,O=Test'),
      { notBefore: inDays(-2), notAfter: inDays(1000) },
      { crlUrls: issuer.crlUrls, caIssuersUrls: issuer.caIssuersUrls },
    );
    const chain = [certificate.raw, certificates.root.raw];
    const ca = await openTestServer({
      issuer: { ...issuer, key, certificate, chain, intentSurvives: 'machine' },
    });
    try {
      await ca.ca.publishCrls(issuer.name);
      const csr = await requestOf({ challengePassword: staticSecret });
      const enrol = () => enrolAt(ca, 'static', { csr });
      const statusOf = (answer: Awaited<ReturnType<typeof enrol>>) =>
        'status' in answer ? answer.status : answer.pkiStatus;
      // It goes when it is asked to sign.
      faults = [
        () => {
          leave();
          return 'hang';
        },
      ];
      assert.equal(statusOf(await enrol()), 503);
      assert.deepEqual(faults, []);
      assert.deepEqual(
        (await recordsIn(ca)).map(({ status }) => status),
        ['intent'],
        'what may have been signed is on record',
      );
      assert.equal(statusOf(await enrol()), 503);
      await comeBack();
      // Housekeeping, once the intent is older than any signature takes.
      ca.clock.offsetMs += 121_000;
      assert.equal(await ca.ca.abandonDeadIntents('while-running'), 1);
      const issued = await enrol();
      assert.ok(issued.pkiStatus === 'SUCCESS', JSON.stringify(issued));
      const again = await enrol();
      assert.ok(again.pkiStatus === 'SUCCESS');
      const [first, second] = [issued.certificates[0], again.certificates[0]];
      assert.ok(first !== undefined && second !== undefined);
      assert.equal(first.serialNumber, second.serialNumber);
      assert.ok(verifyCertificateSignature(first, key.spki));
      const records = await recordsIn(ca);
      assert.deepEqual(
        records.map(({ status }) => status),
        ['issued', 'abandoned'],
      );
      const crl = parseCrl((await publishedCrl(ca.ca)).crl);
      assert.deepEqual(
        crl.revoked.map(({ serialNumber }) => serialNumber),
        [records[1]?.serialNumber],
      );
    } finally {
      if (!server.listening) await comeBack();
      await ca.close();
    }
  });
});
