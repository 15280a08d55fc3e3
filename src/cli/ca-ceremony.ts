/** `leafgate ca init-root` … `ceremony`: making and renewing the two tiers of CAs, with a transcript. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { type Command, InvalidArgumentError, Option } from 'commander';
import { stringify } from 'yaml';
import { fingerprintOf, ROOT_STATE_FILE } from '../ca/index.ts';
import { nameFromString, nameToString, revocationReasons, sameOctets } from '../codec/index.ts';
import { readKeyPlace } from '../config.ts';
import { errorCodeOf, PkiError } from '../errors.ts';
import { type KeyAlgorithm, writeNewFile } from '../keys/index.ts';
import { systemClock } from '../telemetry.ts';
import { askAnswers, type CeremonyAnswers, caKeyAlgorithms, readAnswers } from './ca-ceremony-answers.ts';
import {
  type Ceremony,
  importIssuing,
  initRoot,
  type KeyChoice,
  makeRequest,
  type RootReason,
  renewRoot,
  signRequest,
  signRootCrl,
  withRoot,
  writeBundle,
} from './ca-ceremony-steps.ts';
import { Transcript } from './ca-transcript.ts';
import { Dialogue } from './dialogue.ts';
import { positiveInteger } from './output.ts';

interface CommonOptions {
  readonly yes?: boolean;
  readonly transcript?: string;
}
interface RootOptions extends CommonOptions {
  readonly root: string;
  readonly passphrase?: string;
}
interface NewKeyOptions {
  readonly algorithm: KeyAlgorithm;
  readonly years: number;
}
interface UrlOptions {
  readonly crlUrl: string[];
  readonly caUrl: string[];
}

const rootReasons = Object.keys(revocationReasons).filter((reason) => reason !== 'certificateHold');
const passphraseOption = ['--passphrase <reference>', 'file:PATH or env:NAME; asked for if absent'] as const;
const placeOption = [
  '--key-place <file>',
  'YAML that says where the key is, as below `key` in leafgate.yaml: pkcs11 or keyVault',
] as const;
const rootOption = ['--root <folder>', 'folder of the offline root'] as const;

/** Adds the commands. */
export function addCeremony(ca: Command): void {
  withCommon(ca.command('init-root'))
    .description('make an offline root: key, certificate, folder')
    .requiredOption(...rootOption)
    .requiredOption('--subject <name>', 'such as CN=Example Root CA,O=Example')
    .addOption(algorithmOption('p-384'))
    .option('--years <n>', 'validity', positiveNumber, 20)
    .option('--path-length <n>', 'how many CAs may follow below it; unlimited if absent', wholeNumber)
    .requiredOption('--crl-url <url>', 'where the root’s CRL will be found; may be repeated', listed, [])
    .requiredOption(
      '--ca-url <url>',
      'where the root’s certificate will be found; may be repeated',
      listed,
      [],
    )
    .option(...placeOption)
    .option(...passphraseOption)
    .action(
      async (
        options: RootOptions &
          NewKeyOptions &
          UrlOptions & { readonly subject: string; readonly pathLength?: number; readonly keyPlace?: string },
      ) => {
        await run('init-root', options, async (ceremony) => {
          await initRoot(ceremony, {
            ...options,
            crlUrls: someOf('--crl-url', options.crlUrl),
            caUrls: someOf('--ca-url', options.caUrl),
            ...(options.keyPlace === undefined ? {} : { key: { place: readKeyPlace(options.keyPlace) } }),
          });
        });
      },
    );
  withCommon(ca.command('request'))
    .description('make an issuing CA’s key and its PKCS #10 request to the root')
    .argument('<file>', 'where the request goes, as PEM')
    .option('--key <file>', 'the key file; made if it is not there')
    .option(...placeOption)
    .requiredOption('--subject <name>', 'such as CN=Example Issuing CA,O=Example')
    .addOption(
      new Option('--algorithm <kind>', 'kind of a new key; without it the key must be there').choices(
        caKeyAlgorithms,
      ),
    )
    .option(...passphraseOption)
    .action(
      async (
        file: string,
        options: CommonOptions & {
          readonly key?: string;
          readonly keyPlace?: string;
          readonly subject: string;
          readonly algorithm?: KeyAlgorithm;
          readonly passphrase?: string;
        },
      ) => {
        await run('request', options, async (ceremony) => {
          await makeRequest(ceremony, {
            key: keyChoiceOf(options),
            algorithm: options.algorithm,
            subject: options.subject,
            out: file,
          });
        });
      },
    );
  withCommon(ca.command('sign-request'))
    .description('let the root sign an issuing CA’s request, after showing what it will sign')
    .argument('<request>', 'PEM file')
    .argument('<file>', 'where the certificate goes, as PEM')
    .requiredOption(...rootOption)
    .option('--years <n>', 'validity', positiveNumber, 10)
    .option('--path-length <n>', 'how many CAs may follow below it', wholeNumber, 0)
    .option('--permit <subtree>', 'permitted names: DNS:, email:, IP:, DN:; may be repeated', listed, [])
    .option('--exclude <subtree>', 'excluded names; may be repeated', listed, [])
    .option('--renew', 'the root knows the CA: renew it, with its old key or a new one')
    .option(...passphraseOption)
    .action(
      async (
        request: string,
        file: string,
        options: RootOptions & {
          readonly years: number;
          readonly pathLength: number;
          readonly permit: string[];
          readonly exclude: string[];
          readonly renew?: boolean;
        },
      ) => {
        await run('sign-request', options, async (ceremony) => {
          await signRequest(ceremony, {
            ...options,
            request,
            out: file,
            permitted: options.permit,
            excluded: options.exclude,
            occasion: options.renew === true ? 'renewal' : 'first',
            ifSigned: 'refuse',
          });
        });
      },
    );
  withCommon(ca.command('root-crl'))
    .description('let the root sign its CRL; revoke an issuing CA first if asked to')
    .argument('<file>', 'where the CRL goes, as DER')
    .requiredOption(...rootOption)
    .option('--days <n>', 'until the next one', positiveInteger, 180)
    .option('--root-key <n>', 'number of the root’s key; the newest if absent', positiveInteger)
    .option('--revoke <serialNumber>', 'revoke this certificate of the root')
    .addOption(new Option('--reason <reason>', 'RFC 5280 §5.3.1').choices(rootReasons).default('unspecified'))
    .option(...passphraseOption)
    .action(
      async (
        file: string,
        options: RootOptions & {
          readonly days: number;
          readonly rootKey?: number;
          readonly revoke?: string;
          readonly reason: RootReason;
        },
      ) => {
        await run('root-crl', options, async (ceremony) => {
          await signRootCrl(ceremony, {
            root: options.root,
            passphrase: options.passphrase,
            keyNumber: options.rootKey,
            out: file,
            days: options.days,
            ...(options.revoke === undefined
              ? {}
              : { revoke: { serialNumber: options.revoke, reason: options.reason } }),
          });
        });
      },
    );
  withCommon(ca.command('renew-root'))
    .description('renew the root: with the same key, or with a new one and cross-certificates')
    .requiredOption(...rootOption)
    .addOption(
      new Option('--new-key <kind>', 'change to a new key of this kind; else the key stays').choices(
        caKeyAlgorithms,
      ),
    )
    .option('--years <n>', 'validity', positiveNumber, 20)
    .option('--subject <name>', 'with --new-key: another name; the same if absent')
    .option(
      '--crl-url <url>',
      'with --new-key: where the new key’s CRL will be found; may be repeated',
      listed,
      [],
    )
    .option(
      '--ca-url <url>',
      'with --new-key: where the new certificate will be found; may be repeated',
      listed,
      [],
    )
    .option('--new-key-place <file>', 'with --new-key: YAML that says where the new key is')
    .option('--new-passphrase <reference>', 'with --new-key: of the new key; that of the old one if absent')
    .option(...passphraseOption)
    .action(
      async (
        options: RootOptions &
          UrlOptions & {
            readonly newKey?: KeyAlgorithm;
            readonly years: number;
            readonly subject?: string;
            readonly newPassphrase?: string;
            readonly newKeyPlace?: string;
          },
      ) => {
        await run('renew-root', options, async (ceremony) => {
          await renewRoot(ceremony, {
            root: options.root,
            passphrase: options.passphrase,
            years: options.years,
            key:
              options.newKey === undefined
                ? 'same'
                : {
                    algorithm: options.newKey,
                    subject: options.subject,
                    passphrase: options.newPassphrase,
                    ...(options.newKeyPlace === undefined
                      ? {}
                      : { key: { place: readKeyPlace(options.newKeyPlace) } }),
                    crlUrls: someOf('--crl-url', options.crlUrl),
                    caUrls: someOf('--ca-url', options.caUrl),
                  },
          });
        });
      },
    );
  withCommon(ca.command('import'))
    .description('check an issuing CA’s certificate against its key and root, write the chain file')
    .argument('<certificate>', 'PEM file, as the root signed it')
    .argument('<file>', 'where the chain goes, as PEM')
    .requiredOption(
      '--issuer <file>',
      'PEM of the root, or of a cross-certificate; may be repeated',
      listed,
      [],
    )
    .option('--key <file>', 'the key file of the request')
    .option(...placeOption)
    .option('--name <name>', 'names the CA in the configuration', 'issuing')
    .requiredOption('--crl-url <url>', 'where this CA’s CRL will be found; may be repeated', listed, [])
    .requiredOption(
      '--ca-url <url>',
      'where this CA’s certificate will be found; may be repeated',
      listed,
      [],
    )
    .option('--root-fingerprint <sha256>', 'the root’s, from the transcript; else you are asked to compare')
    .option(...passphraseOption)
    .action(
      async (
        certificate: string,
        file: string,
        options: CommonOptions &
          UrlOptions & {
            readonly issuer: string[];
            readonly key?: string;
            readonly keyPlace?: string;
            readonly name: string;
            readonly passphrase?: string;
            readonly rootFingerprint?: string;
          },
      ) => {
        await run('import', options, async (ceremony) => {
          await importIssuing(ceremony, {
            certificate,
            out: file,
            issuers: someOf('--issuer', options.issuer),
            key: keyChoiceOf(options),
            name: options.name,
            crlUrls: someOf('--crl-url', options.crlUrl),
            caUrls: someOf('--ca-url', options.caUrl),
            rootFingerprint: options.rootFingerprint,
          });
        });
      },
    );
  withCommon(ca.command('bundle'))
    .description('write trust bundles: PEM, .p7b, and a .cer file for each Intune profile')
    .argument('<folder>', 'where they go')
    .argument('<certificates...>', 'PEM files of roots, cross-certificates and issuing CAs')
    .action(async (folder: string, certificates: string[], options: CommonOptions) => {
      await run('bundle', options, async (ceremony) => {
        await writeBundle(ceremony, { certificates, out: folder });
      });
    });
  withCommon(ca.command('root-index'))
    .description('what the root signed, with keys, CRL number and files')
    .requiredOption(...rootOption)
    .action(async (options: RootOptions) => {
      await run('root-index', options, async (ceremony) => {
        await withRoot(ceremony, options.root, async (root) => {
          for (const { serialNumber, purpose, subject, key, certificate, revoked, file } of root.entries) {
            const state =
              revoked !== undefined
                ? `revoked ${revoked.at.toISOString()} ${revoked.reason}`
                : certificate === undefined
                  ? 'reserved, never signed'
                  : `until ${certificate.notAfter.toISOString()}`;
            ceremony.show(`${serialNumber}  ${purpose}  key ${key}  ${subject}  ${state}  ${file}`);
          }
          ceremony.show(`last CRL number: ${root.crlNumber}`);
        });
      });
    });
  withCommon(ca.command('ceremony'))
    .description('the whole ceremony: root, its CRL, issuing CAs, trust bundle; goes on where it stopped')
    .option('--answers <file>', 'YAML file with all answers (docs/ceremony.md); asked for if absent')
    .action(async (options: CommonOptions & { readonly answers?: string }) => {
      await holdCeremony(options);
    });
}

// --- the whole ceremony ------------------------------------------------------------------------------------------------

async function holdCeremony(options: CommonOptions & { readonly answers?: string }): Promise<void> {
  const dialogue = new Dialogue();
  try {
    const answers =
      options.answers === undefined
        ? await askAnswers(dialogue, process.cwd())
        : readAnswers(options.answers);
    const stamp = systemClock.now().toISOString().slice(0, 19).replaceAll(/[-:]/g, '');
    const path = options.transcript ?? join(answers.publish, `transcript-${stamp}Z.txt`);
    await recorded(
      path,
      dialogue,
      options,
      'ceremony',
      [`operator ${answers.operator}`, ...answers.witnesses.map((witness) => `witness ${witness}`)],
      async (ceremony) => {
        // Answers hold no secret: with this file an interrupted ceremony goes on.
        const file = join(answers.publish, 'ceremony.yaml');
        if (options.answers === undefined) {
          await writeNewFile(file, stringify(answers));
          ceremony.show(`if this is interrupted, go on with: leafgate ca ceremony --answers ${file}`);
        }
        await allSteps(ceremony, answers);
      },
    );
  } finally {
    dialogue.close();
  }
}

/** Root, its CRL, each issuing CA, bundle: what is there already is taken. */
async function allSteps(ceremony: Ceremony, { root, issuing, publish }: CeremonyAnswers): Promise<void> {
  const step = (title: string, ...command: string[]) => {
    ceremony.show('');
    ceremony.show(`— ${title}`);
    ceremony.transcript?.note(`---- ${title}`);
    ceremony.transcript?.note(`as if by: leafgate ca ${command.map(quoted).join(' ')}`);
  };
  step(
    'the root',
    'init-root',
    '--root',
    root.folder,
    '--subject',
    root.subject,
    '--algorithm',
    root.algorithm,
  );
  if (existsSync(join(root.folder, ROOT_STATE_FILE))) {
    await withRoot(ceremony, root.folder, async ({ current }) => {
      if (!sameOctets(current.certificate.subject.raw, nameFromString(root.subject).raw))
        throw new PkiError(
          'root_folder',
          `${root.folder} holds another root: “${nameToString(current.certificate.subject)}”`,
        );
      const line = `the root is there already: SHA-256 ${fingerprintOf(current.certificate.raw)}`;
      ceremony.show(line);
      ceremony.transcript?.note(line);
    });
  } else {
    const place = root.keyPlace === undefined ? {} : { key: { place: readKeyPlace(root.keyPlace) } };
    await initRoot(ceremony, { ...root, ...place, root: root.folder });
  }

  const certificates: string[] = [];
  for (const ca of issuing) {
    const at = (suffix: string) => join(ca.folder, `${ca.name}${suffix}`);
    step(
      `request of ${ca.name}`,
      'request',
      at('.csr.pem'),
      '--key',
      at('.key.pem'),
      '--subject',
      ca.subject,
      '--algorithm',
      ca.algorithm,
    );
    await makeRequest(ceremony, {
      key: keyOf(ca),
      algorithm: ca.algorithm,
      subject: ca.subject,
      out: at('.csr.pem'),
    });
    step(`the root signs ${ca.name}`, 'sign-request', at('.csr.pem'), at('.pem'), '--root', root.folder);
    await signRequest(ceremony, {
      ...ca,
      root: root.folder,
      passphrase: root.passphrase,
      request: at('.csr.pem'),
      out: at('.pem'),
      occasion: 'first',
      ifSigned: 'take',
    });
    certificates.push(at('.pem'));
  }

  const rootFiles = await withRoot(ceremony, root.folder, async ({ entries }) =>
    entries
      .filter(({ purpose, certificate }) => purpose !== 'issuing' && certificate !== undefined)
      .map(({ file }) => file),
  );
  for (const ca of issuing) {
    const at = (suffix: string) => join(ca.folder, `${ca.name}${suffix}`);
    step(`import of ${ca.name}`, 'import', at('.pem'), at('-chain.pem'), '--key', at('.key.pem'));
    await importIssuing(ceremony, {
      certificate: at('.pem'),
      issuers: rootFiles,
      key: keyOf(ca),
      name: ca.name,
      out: at('-chain.pem'),
      crlUrls: ca.crlUrls,
      caUrls: ca.caUrls,
    });
  }

  const crl = join(publish, 'root.crl');
  step('CRL of the root', 'root-crl', crl, '--root', root.folder, '--days', String(root.crlDays));
  if (existsSync(crl)) {
    ceremony.show(`${crl} is there already`);
    ceremony.transcript?.note(`${crl} is there already`);
  } else
    await signRootCrl(ceremony, {
      root: root.folder,
      passphrase: root.passphrase,
      out: crl,
      days: root.crlDays,
    });

  const bundle = join(publish, 'trust');
  step('trust bundle', 'bundle', bundle, ...rootFiles, ...certificates);
  await writeBundle(ceremony, { certificates: [...rootFiles, ...certificates], out: bundle });
  ceremony.show('');
  ceremony.show(`done. Lock ${root.folder} away: no server reads it, and every server refuses it.`);
}

/** The key of an issuing CA in a ceremony: a file in its folder if nothing else is said. */
function keyOf(ca: CeremonyAnswers['issuing'][number]): KeyChoice {
  return ca.keyPlace === undefined
    ? { file: join(ca.folder, `${ca.name}.key.pem`), passphrase: ca.passphrase }
    : { place: readKeyPlace(ca.keyPlace) };
}

// --- common ---------------------------------------------------------------------------------------------------------------

/** Runs one command as a ceremony of one step; on a root’s folder the transcript is in it. */
async function run(
  title: string,
  options: CommonOptions & { readonly root?: string },
  work: (ceremony: Ceremony) => Promise<void>,
): Promise<void> {
  const dialogue = new Dialogue();
  const inRoot = options.root === undefined ? undefined : join(options.root, 'transcript.txt');
  try {
    await recorded(
      options.transcript ?? inRoot,
      dialogue,
      options,
      title,
      [`command: leafgate ${process.argv.slice(2).map(quoted).join(' ')}`],
      work,
    );
  } finally {
    dialogue.close();
  }
}

async function recorded(
  path: string | undefined,
  dialogue: Dialogue,
  options: CommonOptions,
  title: string,
  people: readonly string[],
  work: (ceremony: Ceremony) => Promise<void>,
): Promise<void> {
  const transcript = path === undefined ? undefined : Transcript.open(path, systemClock);
  try {
    transcript?.begin(title, people);
    await work({
      clock: systemClock,
      ...(transcript === undefined ? {} : { transcript }),
      dialogue,
      consent: options.yes === true ? 'yes' : 'ask',
      typed: new Map(),
      show: (line) => console.log(line),
    });
    transcript?.note(`==== end of ${title}`);
    if (transcript !== undefined)
      console.log(`transcript ${transcript.path}: SHA-256 ${transcript.sha256()}`);
  } catch (cause) {
    transcript?.note(
      `==== ${title} ended: ${errorCodeOf(cause)}: ${cause instanceof Error ? cause.message : cause}`,
    );
    throw cause;
  } finally {
    transcript?.close();
  }
}

/** A key file or a place, and not both. */
function keyChoiceOf(options: {
  readonly key?: string;
  readonly keyPlace?: string;
  readonly passphrase?: string;
}): KeyChoice {
  const { key, keyPlace, passphrase } = options;
  if (key !== undefined && keyPlace === undefined) return { file: key, passphrase };
  if (key === undefined && keyPlace !== undefined) return { place: readKeyPlace(keyPlace) };
  throw new PkiError('ceremony_answers', 'exactly one of --key and --key-place says where the key is');
}

function withCommon(command: Command): Command {
  return command
    .option('--yes', 'sign without asking: you have seen what will be signed')
    .option('--transcript <file>', 'record there; a file that exists is continued');
}

function algorithmOption(fallback: KeyAlgorithm): Option {
  return new Option('--algorithm <kind>', 'kind of the key').choices(caKeyAlgorithms).default(fallback);
}

const listed = (value: string, list: string[]): string[] => [...list, value];

/** Commander takes an empty list for an answer. */
function someOf(option: string, list: readonly string[]): readonly string[] {
  if (list.length === 0)
    throw new PkiError('ceremony_answers', `${option} is missing: give it at least once`);
  return list;
}

function positiveNumber(value: string): number {
  const number = Number(value);
  if (!(number > 0 && number <= 50)) throw new InvalidArgumentError('a number above 0 and up to 50');
  return number;
}

function wholeNumber(value: string): number {
  const number = Number(value);
  if (!Number.isSafeInteger(number) || number < 0 || number > 10)
    throw new InvalidArgumentError('a whole number from 0 to 10');
  return number;
}

/** A word as a shell would have it. */
function quoted(word: string): string {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`;
}
