/** The steps of a ceremony. Single commands and the whole ceremony do the same; each step leaves a state to go on from. */
import { existsSync, readFileSync } from 'node:fs';
import { basename, dirname, isAbsolute, join, relative, resolve } from 'node:path';
import { stringify } from 'yaml';
import {
  type BundledCertificate,
  buildTrustBundle,
  caKeyAlgorithmOf,
  chainOf,
  createRootFolder,
  fingerprintOf,
  type IssuingWish,
  newIssuingRequest,
  type OfflineRoot,
  openRootFolder,
  ROOT_STATE_FILE,
  type RootKey,
  type Validity,
} from '../ca/index.ts';
import {
  buildPem,
  type Certificate,
  generalSubtreeFromString,
  generalSubtreeToString,
  type NameConstraints,
  nameFromString,
  nameToString,
  parseCertificate,
  parseCertificationRequest,
  parseCrl,
  parsePem,
  type RevocationReasonName,
  sameOctets,
  thumbprintOf,
} from '../codec/index.ts';
import { PkiError } from '../errors.ts';
import {
  generateKeyFile,
  type KeyAlgorithm,
  type KeyPlace,
  openKey,
  openKeyFile,
  type PrivateKey,
  replaceFile,
  secretFromReference,
  writeNewFile,
} from '../keys/index.ts';
import type { Clock } from '../telemetry.ts';
import { fileLine, type Transcript } from './ca-transcript.ts';
import type { Dialogue } from './dialogue.ts';

const DAY_MS = 86_400_000;
const YEAR_MS = 365.25 * DAY_MS;
/** Relying parties’ clocks may be behind: certificates begin, and CRLs are dated, this long before now. */
const BACKDATE_MS = 3_600_000;

/** What a ceremony is held with. */
export interface Ceremony {
  readonly clock: Clock;
  readonly transcript?: Transcript;
  readonly dialogue: Dialogue;
  /** `ask`: the operator says yes to each signature; `yes`: they said it beforehand. */
  readonly consent: 'ask' | 'yes';
  /** Passphrases that were typed in this ceremony, by file: nobody types one twice. They are in memory alone. */
  readonly typed: Map<string, string>;
  /** Shows a line to the operator. */
  readonly show: (line: string) => void;
}

/** An encrypted key file, whose passphrase is asked for if no reference is given; or any place of a configuration. */
export type KeyChoice =
  | { readonly file: string; readonly passphrase?: string | undefined }
  | { readonly place: KeyPlace };

/** Shows a line and records it. */
function say({ show, transcript }: Ceremony, line: string): void {
  show(line);
  transcript?.note(line);
}

async function consent(ceremony: Ceremony, question: string): Promise<void> {
  if (ceremony.consent === 'yes') {
    ceremony.transcript?.note(`${question} Yes, said beforehand.`);
    return;
  }
  await ceremony.dialogue.confirm(question);
  ceremony.transcript?.note(`${question} The operator said yes.`);
}

/** A validity from now for so many years: whole ones by the calendar. */
function validityFor(years: number, clock: Clock): Validity {
  const now = +clock.now();
  const end = new Date(now);
  end.setUTCFullYear(end.getUTCFullYear() + Math.floor(years));
  return {
    notBefore: wholeSecond(now - BACKDATE_MS),
    notAfter: wholeSecond(+end + (years % 1) * YEAR_MS),
  };
}

const wholeSecond = (ms: number): Date => new Date(Math.floor(ms / 1000) * 1000);

function describeCertificate(title: string, certificate: Certificate): string[] {
  return [
    `${title}: “${nameToString(certificate.subject)}”, issued by “${nameToString(certificate.issuer)}”`,
    `  serial number ${certificate.serialNumber}, key ${caKeyAlgorithmOf(certificate.spki)}`,
    `  valid ${certificate.notBefore.toISOString()} to ${certificate.notAfter.toISOString()}`,
    `  SHA-256 ${fingerprintOf(certificate.raw)}`,
    `  SHA-1 (thumbprint) ${thumbprintOf(certificate.raw)}`,
  ];
}

function sayCertificate(ceremony: Ceremony, title: string, certificate: Certificate): void {
  for (const line of describeCertificate(title, certificate)) say(ceremony, line);
}

function sayFile(ceremony: Ceremony, path: string): void {
  say(ceremony, fileLine(path));
}

function readInput(path: string, what: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch (cause) {
    throw new PkiError('ceremony_answers', `the ${what} ${path} cannot be read`, { cause });
  }
}

/** The certificates of PEM files, in their order. */
function readCertificates(paths: readonly string[]): Certificate[] {
  return paths.flatMap((path) =>
    parsePem(readInput(path, 'certificate'), 'CERTIFICATE').map(parseCertificate),
  );
}

// --- keys ----------------------------------------------------------------------------------------------------------------

/** Opens a key; makes the file first if there is none and `algorithm` says of which kind. */
async function openOrMakeKey(
  ceremony: Ceremony,
  choice: KeyChoice,
  algorithm?: KeyAlgorithm,
): Promise<PrivateKey> {
  if ('place' in choice) {
    const key = await openKey(choice.place, 'sign');
    say(ceremony, `${key.place} opened: a key of ${caKeyAlgorithmOf(key.spki)}`);
    return key;
  }
  const { file: path } = choice;
  const make = algorithm !== undefined && !existsSync(path);
  const question = `passphrase of ${path}`;
  const passphrase =
    choice.passphrase !== undefined
      ? secretFromReference(choice.passphrase)
      : (ceremony.typed.get(path) ??
        (make
          ? await ceremony.dialogue.askNewSecret(`new ${question}`)
          : await ceremony.dialogue.askSecret(question)));
  if (!make) {
    const key = await openKeyFile({ path, passphrase });
    ceremony.typed.set(path, passphrase);
    if (algorithm !== undefined && caKeyAlgorithmOf(key.spki) !== algorithm)
      throw new PkiError('key_exists', `${path} holds a key already, and not of ${algorithm}`);
    ceremony.transcript?.note(`key file ${path} opened`);
    return key;
  }
  ceremony.show(`making a key of ${algorithm} …`);
  const key = await generateKeyFile({ path, passphrase, algorithm });
  ceremony.typed.set(path, passphrase);
  say(ceremony, `new key of ${algorithm}, encrypted: ${path}`);
  return key;
}

/** Where the root’s own key file is; its state names it relative to the folder. */
function rootKeyChoice(
  folder: string,
  { reference }: Pick<RootKey, 'reference'>,
  passphrase: string | undefined,
): KeyChoice {
  if (typeof reference.file === 'string') return { file: join(folder, reference.file), passphrase };
  return { place: reference.place as KeyPlace };
}

function referenceOf(folder: string, choice: KeyChoice): Readonly<Record<string, unknown>> {
  if ('place' in choice) return { place: choice.place };
  const inside = relative(folder, choice.file);
  return { file: inside.startsWith('..') || isAbsolute(inside) ? resolve(choice.file) : inside };
}

// --- root ----------------------------------------------------------------------------------------------------------------

/** What `init-root` is told. */
export interface InitRoot {
  readonly root: string;
  readonly subject: string;
  readonly algorithm: KeyAlgorithm;
  readonly years: number;
  readonly pathLength?: number | undefined;
  readonly crlUrls: readonly string[];
  readonly caUrls: readonly string[];
  readonly passphrase?: string | undefined;
  /** A key that exists already: in a token or a vault. */
  readonly key?: KeyChoice | undefined;
}

/** Makes the root’s key, certificate and folder. */
export async function initRoot(ceremony: Ceremony, wish: InitRoot): Promise<Certificate> {
  if (existsSync(join(wish.root, ROOT_STATE_FILE)))
    throw new PkiError('root_folder', `${wish.root} holds a root already; it is not replaced`);
  const subject = nameFromString(wish.subject);
  const validity = validityFor(wish.years, ceremony.clock);
  say(
    ceremony,
    `to be made: root “${nameToString(subject)}”, ${wish.key === undefined ? `key ${wish.algorithm}` : 'with a key that exists'}, until ${validity.notAfter.toISOString()}`,
  );
  await consent(ceremony, 'Make this root?');
  const choice: KeyChoice = wish.key ?? {
    file: join(wish.root, 'root-1.key.pem'),
    passphrase: wish.passphrase,
  };
  const key = await openOrMakeKey(ceremony, choice, wish.algorithm);
  const root = await createRootFolder({
    folder: wish.root,
    key,
    reference: referenceOf(wish.root, choice),
    subject,
    validity,
    ...(wish.pathLength === undefined ? {} : { pathLength: wish.pathLength }),
    urls: { crlUrls: wish.crlUrls, caIssuersUrls: wish.caUrls },
    clock: ceremony.clock,
  });
  try {
    const { certificate } = root.current;
    sayCertificate(ceremony, 'root', certificate);
    for (const entry of root.entries) sayFile(ceremony, entry.file);
    return certificate;
  } finally {
    root.close();
  }
}

/** Opens the root for one step. */
export async function withRoot<T>(
  ceremony: Ceremony,
  folder: string,
  work: (root: OfflineRoot) => Promise<T>,
): Promise<T> {
  const root = await openRootFolder(folder, ceremony.clock);
  try {
    return await work(root);
  } finally {
    root.close();
  }
}

// --- request -------------------------------------------------------------------------------------------------------------

/** What `request` is told. */
export interface MakeRequest {
  readonly key: KeyChoice;
  /** Kind of the key to be made; an existing key is taken if absent. */
  readonly algorithm?: KeyAlgorithm | undefined;
  readonly subject: string;
  /** Where the PKCS #10 request goes, as PEM. */
  readonly out: string;
}

/** Makes an issuing CA’s key and request; a file that an interrupted run left is used. */
export async function makeRequest(ceremony: Ceremony, wish: MakeRequest): Promise<void> {
  const subject = nameFromString(wish.subject);
  const key = await openOrMakeKey(ceremony, wish.key, wish.algorithm);
  if (existsSync(wish.out)) {
    const [der] = parsePem(readInput(wish.out, 'request'), 'CERTIFICATE REQUEST');
    const request = parseCertificationRequest(der);
    // An ECDSA signature is another one each time: the same request is known by its key and name.
    if (!sameOctets(request.spki, key.spki) || !sameOctets(request.subject.raw, subject.raw))
      throw new PkiError('file_exists', `${wish.out} holds another request already and is not replaced`);
    say(ceremony, `request “${nameToString(subject)}” is there already`);
  } else {
    const request = await newIssuingRequest(key, subject);
    await writeNewFile(wish.out, buildPem('CERTIFICATE REQUEST', request));
    say(
      ceremony,
      `request “${nameToString(subject)}”, key ${caKeyAlgorithmOf(key.spki)}, SHA-256 of the DER ${fingerprintOf(request)}`,
    );
  }
  sayFile(ceremony, wish.out);
}

// --- signature -----------------------------------------------------------------------------------------------------------

/** What `sign-request` is told. */
export interface SignRequest {
  readonly root: string;
  readonly passphrase?: string | undefined;
  readonly request: string;
  readonly out: string;
  readonly years: number;
  readonly pathLength: number;
  readonly permitted: readonly string[];
  readonly excluded: readonly string[];
  readonly occasion: IssuingWish['occasion'];
  /** What becomes of a request that was signed already: an interrupted ceremony takes what was signed. */
  readonly ifSigned: 'refuse' | 'take';
}

/** Shows what is asked for, lets the operator agree, signs, and writes the issuing CA’s certificate. */
export async function signRequest(ceremony: Ceremony, wish: SignRequest): Promise<Certificate> {
  const [der] = parsePem(readInput(wish.request, 'request'), 'CERTIFICATE REQUEST');
  const request = parseCertificationRequest(der);
  const nameConstraints = nameConstraintsFrom(wish.permitted, wish.excluded);
  return await withRoot(ceremony, wish.root, async (root) => {
    const signed = root.entries.find(
      ({ certificate, purpose, revoked }) =>
        purpose === 'issuing' &&
        revoked === undefined &&
        certificate !== undefined &&
        sameOctets(certificate.spki, request.spki) &&
        sameOctets(certificate.subject.raw, request.subject.raw),
    )?.certificate;
    let certificate = wish.ifSigned === 'take' ? signed : undefined;
    if (certificate !== undefined) say(ceremony, `the request was signed already`);
    else {
      const { certificate: issuer } = root.current;
      const plan = root.planIssuing(request, {
        validity: validityFor(wish.years, ceremony.clock),
        pathLength: wish.pathLength,
        ...(nameConstraints === undefined ? {} : { nameConstraints }),
        occasion: wish.occasion,
      });
      // The certificate’s file must be free before anything is signed.
      if (existsSync(wish.out))
        throw new PkiError('file_exists', `${wish.out} exists already and is not replaced`);
      say(
        ceremony,
        `to be signed by “${nameToString(issuer.subject)}” (SHA-256 ${fingerprintOf(issuer.raw)}):`,
      );
      say(ceremony, `  request ${wish.request}, SHA-256 of the DER ${fingerprintOf(request.raw)}`);
      say(
        ceremony,
        `  subject “${nameToString(request.subject)}”, key ${plan.keyAlgorithm}, ${wish.occasion === 'first' ? 'a new issuing CA' : 'a renewal'}`,
      );
      say(
        ceremony,
        `  valid ${plan.validity.notBefore.toISOString()} to ${plan.validity.notAfter.toISOString()}, path length ${plan.pathLength}`,
      );
      for (const kind of ['permitted', 'excluded'] as const) {
        for (const subtree of nameConstraints?.[kind] ?? [])
          say(ceremony, `  ${kind}: ${generalSubtreeToString(subtree)}`);
      }
      say(
        ceremony,
        `  root’s CRL: ${plan.urls.crlUrls.join(' ')}; root’s certificate: ${plan.urls.caIssuersUrls.join(' ')}`,
      );
      await consent(ceremony, 'Sign this?');
      const key = await openOrMakeKey(ceremony, rootKeyChoice(wish.root, root.current, wish.passphrase));
      certificate = await root.signIssuing(plan, key);
    }
    sayCertificate(ceremony, 'issuing CA', certificate);
    await writeNewFile(wish.out, buildPem('CERTIFICATE', certificate.raw));
    sayFile(ceremony, wish.out);
    return certificate;
  });
}

function nameConstraintsFrom(
  permitted: readonly string[],
  excluded: readonly string[],
): NameConstraints | undefined {
  if (permitted.length + excluded.length === 0) return undefined;
  return {
    permitted: permitted.map(generalSubtreeFromString),
    excluded: excluded.map(generalSubtreeFromString),
  };
}

// --- CRL -----------------------------------------------------------------------------------------------------------------

/** What `root-crl` is told. */
export interface SignRootCrl {
  readonly root: string;
  readonly passphrase?: string | undefined;
  /** Number of the root’s key; the newest if absent. */
  readonly keyNumber?: number | undefined;
  /** Where the CRL goes besides the root’s folder; an older CRL of this root is replaced there. */
  readonly out: string;
  readonly days: number;
  readonly revoke?: { readonly serialNumber: string; readonly reason: RootReason } | undefined;
}

/** Reasons that a root revokes with: it is brought out too seldom to hold and release. */
export type RootReason = Exclude<RevocationReasonName, 'certificateHold'>;

/** Revokes if asked to, and signs the CRL of one of the root’s keys. */
export async function signRootCrl(ceremony: Ceremony, wish: SignRootCrl): Promise<void> {
  await withRoot(ceremony, wish.root, async (root) => {
    const rootKey =
      wish.keyNumber === undefined ? root.current : root.keys.find(({ number }) => number === wish.keyNumber);
    if (rootKey === undefined)
      throw new PkiError('ceremony_answers', `the root has no key ${wish.keyNumber}`);
    assertReplaceableCrl(wish.out, rootKey);
    const now = +ceremony.clock.now();
    // A CRL says nothing beyond the end of the certificate that verifies it.
    const nextUpdate = Math.min(now + wish.days * DAY_MS, +rootKey.certificate.notAfter);
    const period = { thisUpdate: wholeSecond(now - BACKDATE_MS), nextUpdate: wholeSecond(nextUpdate) };
    if (period.nextUpdate <= period.thisUpdate)
      throw new PkiError(
        'root_refused',
        `key ${rootKey.number} of the root ended at ${rootKey.certificate.notAfter.toISOString()}`,
      );
    if (wish.revoke !== undefined) {
      const entry = root.entries.find(
        ({ serialNumber }) => serialNumber === wish.revoke?.serialNumber.toLowerCase(),
      );
      say(
        ceremony,
        `to be revoked (${wish.revoke.reason}): ${wish.revoke.serialNumber}${entry === undefined ? '' : ` “${entry.subject}”`}`,
      );
    }
    say(
      ceremony,
      `to be signed: CRL of “${nameToString(rootKey.certificate.subject)}”, key ${rootKey.number}, next update ${period.nextUpdate.toISOString()}`,
    );
    await consent(ceremony, wish.revoke === undefined ? 'Sign this CRL?' : 'Revoke, and sign this CRL?');
    const key = await openOrMakeKey(ceremony, rootKeyChoice(wish.root, rootKey, wish.passphrase));
    if (wish.revoke !== undefined) {
      const { serialNumber, reason } = wish.revoke;
      const revoked = await root.revoke(serialNumber, reason);
      say(ceremony, `revoked: ${revoked.serialNumber} “${revoked.subject}”, ${reason}`);
    }
    const { crl, crlNumber } = await root.signCrl(rootKey, key, period);
    await replaceFile(wish.out, crl);
    say(ceremony, `CRL number ${crlNumber}, ${parseCrl(crl).revoked.length} revoked`);
    sayFile(ceremony, wish.out);
  });
}

/** A CRL is there to be replaced by the next one of the same root, and nothing else is. */
function assertReplaceableCrl(path: string, { certificate }: RootKey): void {
  if (!existsSync(path)) return;
  try {
    if (sameOctets(parseCrl(readFileSync(path)).issuer.raw, certificate.subject.raw)) return;
  } catch (cause) {
    if (!(cause instanceof PkiError)) throw cause;
  }
  throw new PkiError('file_exists', `${path} is no CRL of this root and is not replaced`);
}

// --- renewal of the root -----------------------------------------------------------------------------------------------------

/** What `renew-root` is told. */
export interface RenewRoot {
  readonly root: string;
  readonly passphrase?: string | undefined;
  readonly years: number;
  /** `same`: another certificate for the key that signs now. */
  readonly key:
    | 'same'
    | {
        readonly algorithm: KeyAlgorithm;
        readonly subject?: string | undefined;
        readonly passphrase?: string | undefined;
        readonly crlUrls: readonly string[];
        readonly caUrls: readonly string[];
        /** A key that exists already: in a token or a vault. */
        readonly key?: KeyChoice | undefined;
      };
}

/** Renews the root; with a new key also makes the two cross-certificates. */
export async function renewRoot(ceremony: Ceremony, wish: RenewRoot): Promise<void> {
  await withRoot(ceremony, wish.root, async (root) => {
    const { current } = root;
    const validity = validityFor(wish.years, ceremony.clock);
    sayCertificate(ceremony, 'root until now', current.certificate);
    const how = wish.key === 'same' ? 'the same key' : `a new key of ${wish.key.algorithm}`;
    say(
      ceremony,
      `to be made: a further root certificate with ${how}, until ${validity.notAfter.toISOString()}`,
    );
    await consent(ceremony, 'Renew the root?');
    const oldKey = await openOrMakeKey(ceremony, rootKeyChoice(wish.root, current, wish.passphrase));
    if (wish.key === 'same') {
      sayCertificate(ceremony, 'renewed root', await root.renewWithSameKey(oldKey, validity));
    } else {
      const choice: KeyChoice = wish.key.key ?? {
        file: join(wish.root, `root-${current.number + 1}.key.pem`),
        passphrase: wish.key.passphrase ?? wish.passphrase,
      };
      const key = await openOrMakeKey(ceremony, choice, wish.key.algorithm);
      const made = await root.renewWithNewKey(oldKey, {
        key,
        reference: referenceOf(wish.root, choice),
        validity,
        urls: { crlUrls: wish.key.crlUrls, caIssuersUrls: wish.key.caUrls },
        ...(wish.key.subject === undefined ? {} : { subject: nameFromString(wish.key.subject) }),
      });
      sayCertificate(ceremony, 'new root', made.root);
      sayCertificate(ceremony, 'new with old, for who trusts the old root alone', made.newWithOld);
      sayCertificate(ceremony, 'old with new, for who trusts the new root alone', made.oldWithNew);
    }
    for (const entry of root.entries)
      if (entry.purpose !== 'issuing' && existsSync(entry.file)) sayFile(ceremony, entry.file);
  });
}

// --- import --------------------------------------------------------------------------------------------------------------

/** What `import` is told. */
export interface ImportIssuing {
  readonly certificate: string;
  /** PEM files of the root and, after its key changed, of cross-certificates. */
  readonly issuers: readonly string[];
  readonly key: KeyChoice;
  /** Names the CA in the configuration. */
  readonly name: string;
  /** The chain file. */
  readonly out: string;
  readonly crlUrls: readonly string[];
  readonly caUrls: readonly string[];
  /** SHA-256 of the root, read from the transcript; compared, not asked for. */
  readonly rootFingerprint?: string | undefined;
}

/** Checks key and chain, writes the chain file, and shows what goes into the server’s configuration. */
export async function importIssuing(ceremony: Ceremony, wish: ImportIssuing): Promise<string> {
  const [certificate] = readCertificates([wish.certificate]);
  if (certificate === undefined)
    throw new PkiError('pem_malformed', `${wish.certificate} has no certificate`);
  const key = await openOrMakeKey(ceremony, wish.key);
  const chain = chainOf(certificate, readCertificates(wish.issuers), key);
  const root = chain.at(-1) ?? certificate;
  const plain = (text: string) => text.replaceAll(/[:\s]/g, '').toUpperCase();
  if (wish.rootFingerprint !== undefined && plain(wish.rootFingerprint) !== plain(fingerprintOf(root.raw)))
    throw new PkiError(
      'chain_invalid',
      `the root’s SHA-256 is ${fingerprintOf(root.raw)}, and another one was expected`,
    );
  for (const [index, link] of chain.entries())
    sayCertificate(ceremony, index === 0 ? 'issuing CA' : 'above it', link);
  if (wish.rootFingerprint === undefined)
    await consent(ceremony, 'Is the last SHA-256 the root’s, as its transcript has it?');
  await writeNewFile(wish.out, chain.map(({ raw }) => buildPem('CERTIFICATE', raw)).join(''));
  sayFile(ceremony, wish.out);
  const folder = dirname(resolve(wish.out));
  const snippet = stringify([
    {
      name: wish.name,
      certificate: basename(wish.out),
      key:
        'file' in wish.key
          ? {
              file: relative(folder, resolve(wish.key.file)),
              passphrase: wish.key.passphrase ?? `file:${wish.name}.passphrase`,
            }
          : wish.key.place,
      crlUrls: wish.crlUrls,
      caIssuersUrls: wish.caUrls,
    },
  ]);
  ceremony.show('');
  ceremony.show(`# below server.issuers of leafgate.yaml, with paths from ${folder}:`);
  for (const line of snippet.trimEnd().split('\n')) ceremony.show(`    ${line}`);
  return snippet;
}

// --- bundle --------------------------------------------------------------------------------------------------------------

/** Writes trust bundles of the certificates in some PEM files into a folder, and shows the fingerprints. */
export async function writeBundle(
  ceremony: Ceremony,
  wish: { readonly certificates: readonly string[]; readonly out: string },
): Promise<readonly BundledCertificate[]> {
  const bundle = buildTrustBundle(readCertificates(wish.certificates));
  const files: readonly (readonly [name: string, content: string | Uint8Array])[] = [
    ['trust.pem', bundle.pem],
    ['roots.pem', bundle.rootsPem],
    ['trust.p7b', bundle.p7b],
    ...bundle.certificates.map(({ file, certificate }) => [join('intune', file), certificate.raw] as const),
    [
      'fingerprints.txt',
      bundle.certificates
        .map(
          ({ certificate, fingerprint, store }) =>
            `${fingerprint}  ${store}  ${nameToString(certificate.subject)}\n`,
        )
        .join(''),
    ],
  ];
  for (const [name, content] of files) {
    const path = join(wish.out, name);
    await writeNewFile(path, content);
    sayFile(ceremony, path);
  }
  for (const { certificate, store, fingerprint } of bundle.certificates)
    say(ceremony, `${store} “${nameToString(certificate.subject)}”: SHA-256 ${fingerprint}`);
  return bundle.certificates;
}
