/** `leafgate key`: makes keys where they shall lie, and tries those of a configuration. */
import { constants, publicEncrypt, randomBytes } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { type Command, Option } from 'commander';
import {
  buildCertificationRequest,
  buildPem,
  nameFromString,
  parseCertificate,
  parsePem,
  parsePublicKeyInfo,
  publicKeyOf,
  type SignatureAlgorithmName,
  sameOctets,
  signatureAlgorithms,
  verifySignature,
} from '../codec/index.ts';
import { PkiError } from '../errors.ts';
import {
  describePlace,
  generateKeyFile,
  generateTokenKey,
  type KeyAlgorithm,
  type KeyPlace,
  type KeyUse,
  openKey,
  type PrivateKey,
  secretFromReference,
} from '../keys/index.ts';
import { configOption, loadConfig } from './context.ts';
import { type PlaceOptions, placeOf, withPlace } from './key-place.ts';
import { type ListingOptions, printFacts, printRows } from './output.ts';

const algorithms: readonly KeyAlgorithm[] = ['rsa-2048', 'rsa-3072', 'rsa-4096', 'p-256', 'p-384'];

interface GenerateOptions extends ListingOptions, PlaceOptions {
  readonly algorithm: KeyAlgorithm;
  readonly use: KeyUse;
}

/** Adds the commands. */
export function addKey(program: Command): void {
  const key = program.command('key').description('private keys: in files, PKCS #11 tokens, Azure Key Vault');
  withPlace(key.command('generate'))
    .description('make a key in an encrypted file or in a token, and print its public half')
    .addOption(new Option('--algorithm <algorithm>', 'kind of key').choices(algorithms).default('rsa-3072'))
    .addOption(
      new Option('--use <use>', 'in a token, what the key may do')
        .choices(['sign', 'decrypt'])
        .default('sign'),
    )
    .option('--json', 'for machines')
    .action(async (options: GenerateOptions) => {
      const { made, place } = await generate(options);
      const pem = buildPem('PUBLIC KEY', made.spki);
      const facts = { algorithm: options.algorithm, place: describePlace(place) };
      printFacts(options.json === true ? { ...facts, publicKey: pem } : facts, options);
      if (options.json !== true) console.log(pem.trimEnd());
    });
  withPlace(key.command('request'))
    .description('write a PKCS #10 request for a key, for `leafgate ca issue`')
    .argument('<subject>', 'such as CN=RA Encryption,O=Example')
    .argument('<file>', 'where the request goes, as PEM')
    .action(async (subject: string, file: string, options: PlaceOptions) => {
      const opened = await openKey(placeOf(options), 'sign');
      const csr = await buildCertificationRequest(
        {
          subject: nameFromString(subject),
          spki: opened.spki,
          extensions: [],
          signatureAlgorithm: probeAlgorithm(opened.spki),
        },
        (algorithm, data) => opened.sign(algorithm, data),
      );
      writeFileSync(file, buildPem('CERTIFICATE REQUEST', csr));
      console.log(`${file}: request for ${opened.place}`);
    });
  key
    .command('check')
    .description('open each key of a configuration and let it sign or decrypt once')
    .option(...configOption)
    .option('--json', 'for machines')
    .action(async (options: ListingOptions & { readonly config?: string }) => {
      const rows = [];
      for (const named of keysIn(loadConfig(options.config))) rows.push(await check(named));
      printRows(
        rows,
        { key: 'Key', use: 'Use', place: 'Place', exportable: 'Exportable', result: 'Result' },
        options,
      );
      if (rows.some(({ code }) => code !== undefined)) process.exitCode = 1;
    });
}

async function generate(options: GenerateOptions): Promise<{ made: PrivateKey; place: KeyPlace }> {
  const { algorithm, use } = options;
  const place = placeOf(options);
  if ('file' in place) {
    const passphrase = secretFromReference(place.passphrase);
    return { made: await generateKeyFile({ path: place.file, passphrase, algorithm }), place };
  }
  const { pkcs11 } = place;
  const pin = secretFromReference(pkcs11.pin);
  return { made: await generateTokenKey({ ...pkcs11, pin, algorithm, use }), place };
}

/** A key of a configuration. */
interface NamedKey {
  /** Where it stands in the configuration. */
  readonly name: string;
  readonly use: KeyUse;
  readonly place: KeyPlace;
  /** The certificate that stands beside it. */
  readonly certificate: string | undefined;
}

/** Those who open envelopes; every other key signs. */
const decrypting = /(^|\.)(encryption|challengeRecipient)$/;

/** Every key of a configuration, wherever it stands. */
function keysIn(value: unknown, path = ''): NamedKey[] {
  if (typeof value !== 'object' || value === null) return [];
  return Object.entries(value).flatMap(([name, item]) => {
    const place = path === '' ? name : `${path}.${name}`;
    if (name !== 'key' || typeof item !== 'object' || item === null) return keysIn(item, place);
    const { certificate } = value as { readonly certificate?: string };
    const use = decrypting.test(path) ? 'decrypt' : 'sign';
    return [{ name: place, use, place: item as KeyPlace, certificate }];
  });
}

type CheckRow = {
  readonly key: string;
  readonly use: KeyUse;
  readonly place: string;
  readonly exportable?: 'yes' | 'no';
  readonly result: string;
  /** Absent if all is well. */
  readonly code?: string;
};

async function check({ name, use, place, certificate }: NamedKey): Promise<CheckRow> {
  const row = { key: name, use, place: describePlace(place) };
  try {
    const key = await openKey(place, use);
    const start = performance.now();
    if (use === 'sign') await probeSigning(key);
    else await probeDecryption(key);
    const ms = (performance.now() - start).toFixed(1);
    if (certificate !== undefined) assertCertified(certificate, key);
    return { ...row, exportable: key.exportable ? 'yes' : 'no', result: `works (${ms} ms)` };
  } catch (cause) {
    if (!(cause instanceof PkiError)) throw cause;
    return { ...row, result: cause.message, code: cause.code };
  }
}

/** What a CA or responder with such a key signs by. */
function probeAlgorithm(spki: Uint8Array): SignatureAlgorithmName {
  const info = parsePublicKeyInfo(spki);
  if (info.type === 'ec') return info.curve === 'P-256' ? 'ecdsa-sha256' : 'ecdsa-sha384';
  return 'rsa-sha256';
}

async function probeSigning(key: PrivateKey): Promise<void> {
  const data = Buffer.from('leafgate key check');
  const algorithm = probeAlgorithm(key.spki);
  const signature = await key.sign(algorithm, data);
  if (!verifySignature(signatureAlgorithms[algorithm], publicKeyOf(key.spki), data, signature))
    throw new PkiError('key_unavailable', 'its signature does not verify');
}

async function probeDecryption(key: PrivateKey): Promise<void> {
  if (parsePublicKeyInfo(key.spki).type !== 'rsa')
    throw new PkiError('key_capability', 'a key on a curve cannot decrypt: use an RSA key');
  const secret = randomBytes(32);
  const encrypted = publicEncrypt(
    { key: publicKeyOf(key.spki), padding: constants.RSA_PKCS1_PADDING },
    secret,
  );
  if (!sameOctets(await key.decrypt({ name: 'rsaes-pkcs1-v1_5' }, encrypted), secret))
    throw new PkiError('key_unavailable', 'it opens an envelope wrongly');
}

function assertCertified(path: string, key: PrivateKey): void {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (cause) {
    throw new PkiError('config_invalid', `cannot read ${path}`, { cause });
  }
  const [raw] = parsePem(text, 'CERTIFICATE');
  if (!sameOctets(parseCertificate(raw).spki, key.spki))
    throw new PkiError('key_capability', `it works, but it is not the key of ${path}`);
}
