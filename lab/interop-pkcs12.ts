/** Part of `npm run interop`: OpenSSL opens the PFX that we build, and we open those that it builds. */
import { createPrivateKey, createPublicKey, generateKeyPairSync } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import {
  buildPem,
  buildPkcs12,
  nameFromString,
  parseCertificate,
  parsePem,
  parsePkcs12,
  sameOctets,
} from '../src/codec/index.ts';
import { privateKeyOf } from '../src/keys/index.ts';
import { buildSelfSigned } from '../src/scep/index.ts';
import { type Checks, demand } from './checks.ts';

/** What OpenSSL is told to write: its own default, and the form of old exporters. */
const exports = {
  'its default': [],
  'Triple DES and SHA-1': ['-keypbe', 'PBE-SHA1-3DES', '-certpbe', 'PBE-SHA1-3DES', '-macalg', 'sha1'],
  'AES-128 and many iterations': ['-keypbe', 'AES-128-CBC', '-certpbe', 'AES-128-CBC', '-iter', '50000'],
} as const;

/** Makes the checks, with files in `folder`. */
export async function provePkcs12(
  checks: Checks,
  folder: string,
  openssl: (...args: readonly string[]) => Promise<string>,
): Promise<void> {
  const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  const key = privateKeyOf(privateKey);
  const now = Math.floor(Date.now() / 1000) * 1000;
  const certificate = await buildSelfSigned(
    {
      subject: nameFromString('CN=pfx.lab.test'),
      spki: key.spki,
      notBefore: new Date(now - 60_000),
      notAfter: new Date(now + 86_400_000),
    },
    (algorithm, data) => key.sign(algorithm, data),
  );
  const pkcs8 = privateKey.export({ format: 'der', type: 'pkcs8' });
  const password = 'Lab-1 password';
  for (const form of ['modern', 'legacy'] as const)
    await checks.check(`PKCS #12: OpenSSL opens our ${form} form`, async () => {
      const path = join(folder, `${form}.p12`);
      await writeFile(
        path,
        await buildPkcs12({ privateKey: pkcs8, certificate, chain: [], friendlyName: 'lab', password, form }),
      );
      const text = await openssl('pkcs12', '-in', path, '-passin', `pass:${password}`, '-noenc');
      const [read = Uint8Array.of()] = parsePem(
        /-----BEGIN CERT[\s\S]+?-----END [A-Z]+-----\n/.exec(text)?.[0] ?? '',
        'CERTIFICATE',
      );
      demand(sameOctets(read, certificate.raw), 'another certificate came out');
      const opened = createPrivateKey(
        /-----BEGIN PRIVATE KEY[\s\S]+?-----END PRIVATE KEY-----\n/.exec(text)?.[0] ?? '',
      );
      const spki = createPublicKey(opened).export({ format: 'der', type: 'spki' });
      demand(sameOctets(spki, key.spki), 'another key came out');
      return undefined;
    });
  const keyFile = join(folder, 'pfx.key.pem');
  const certificateFile = join(folder, 'pfx.pem');
  await writeFile(keyFile, privateKey.export({ format: 'pem', type: 'pkcs8' }), { mode: 0o600 });
  await writeFile(certificateFile, buildPem('CERTIFICATE', certificate.raw));
  for (const [name, options] of Object.entries(exports))
    await checks.check(`PKCS #12: we open what OpenSSL exports, ${name}`, async () => {
      const path = join(folder, 'openssl.p12');
      const files = ['-inkey', keyFile, '-in', certificateFile, '-name', 'lab'];
      await openssl('pkcs12', '-export', ...files, ...options, '-passout', `pass:${password}`, '-out', path);
      const read = await parsePkcs12(await readFile(path), password);
      demand(
        sameOctets(parseCertificate(read.certificate.raw).spki, key.spki),
        'another certificate came out',
      );
      demand(read.friendlyName === 'lab', `the friendly name is ${read.friendlyName}`);
      const spki = createPublicKey(
        createPrivateKey({ key: Buffer.from(read.privateKey), format: 'der', type: 'pkcs8' }),
      );
      demand(sameOctets(spki.export({ format: 'der', type: 'spki' }), key.spki), 'another key came out');
      return undefined;
    });
}
