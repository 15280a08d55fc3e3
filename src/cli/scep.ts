/** `leafgate scep`: a SCEP client for any server, and what its messages say. */
import { createHash, randomBytes } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { text } from 'node:stream/consumers';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Command, Option } from 'commander';
import {
  buildEnrolmentMessage,
  type ClientIdentity,
  canBeEncryptedTo,
  certificationRequestFor,
  checkAuthority,
  findTrustedPath,
  HttpClient,
  protocolCertificateFor,
  ScepClient,
  systemTlsRootsAnd,
  type TrustedAuthority,
} from '../agent/index.ts';
import {
  basicConstraintsOf,
  buildPem,
  type Certificate,
  type CipherName,
  type DigestName,
  generalNameFromString,
  type KeyTransport,
  keyUsageOf,
  nameToString,
  parseCertificationRequest,
  sameOctets,
  subjectAltNameOf,
} from '../codec/index.ts';
import { PkiError } from '../errors.ts';
import { type KeyAlgorithm, type PrivateKey, secretFromReference } from '../keys/index.ts';
import type { CaCertificates, CertRep } from '../scep/index.ts';
import { systemClock } from '../telemetry.ts';
import { Dialogue } from './dialogue.ts';
import { fileText } from './input.ts';
import { type ListingOptions, positiveInteger, printFacts, printRows } from './output.ts';
import { addScepDecode } from './scep-decode.ts';
import { certificatesOf, ScepFolder, type ScepServer, type WaitingRequest } from './scep-folder.ts';

interface ConnectionOptions extends ListingOptions {
  readonly tlsCa?: string;
  readonly timeout: number;
}

interface TrustOptions {
  readonly caFingerprint?: string;
  readonly root?: string;
}

interface FolderOptions extends ConnectionOptions {
  readonly folder: string;
}

interface WaitOptions extends FolderOptions {
  readonly wait: number;
  readonly pollInterval: number;
}

interface ChallengeOptions {
  readonly challenge?: string;
  readonly dangerChallenge?: string;
}

interface EnrolOptions extends WaitOptions, TrustOptions, ChallengeOptions {
  readonly subject: string;
  readonly san?: string;
  readonly key: KeyAlgorithm;
  readonly digest?: DigestName;
  readonly cipher?: CipherName;
  readonly keyTransport?: string;
  readonly dangerNoRecipientNonce?: boolean;
}

const keyAlgorithms: readonly KeyAlgorithm[] = ['rsa-2048', 'rsa-3072', 'rsa-4096', 'p-256', 'p-384'];
const digests: readonly DigestName[] = ['sha1', 'sha256', 'sha384', 'sha512'];
const ciphers: readonly CipherName[] = ['aes-128-cbc', 'aes-192-cbc', 'aes-256-cbc', 'des-ede3-cbc'];
const keyTransports: Readonly<Record<string, KeyTransport>> = {
  pkcs1v15: { name: 'rsaes-pkcs1-v1_5' },
  ...Object.fromEntries(digests.map((digest) => [`oaep-${digest}`, { name: 'rsaes-oaep', digest } as const])),
};
/** The exit status of a command whose request waits for an administrator: neither done nor failed. */
const EXIT_PENDING = 3;
const SECOND_MS = 1000;
const MINUTE_MS = 60 * SECOND_MS;
/** As many random bits as a one-time challenge has. */
const RANDOM_PASSWORD_BYTES = 20;

const folderOption = ['-f, --folder <folder>', 'the client’s folder', 'leafgate-scep'] as const;
const keyOption = () =>
  new Option('--key <algorithm>', 'the new key').choices(keyAlgorithms).default('rsa-2048');

/** Adds the commands. */
export function addScep(program: Command): void {
  const scep = program
    .command('scep')
    .description('a SCEP client: enrol and renew at any SCEP server; and what a message says');
  addScepDecode(scep);
  const connected = (command: Command) =>
    command
      .option('--tls-ca <file>', 'PEM of the root of an https server; those of the system if absent')
      .option('--timeout <seconds>', 'for one exchange', positiveInteger, 75)
      .option('--json', 'for machines');
  const trusting = (command: Command) =>
    command
      .option('--ca-fingerprint <hex>', 'SHA-256 of a certificate of GetCACert, from the CA’s administrator')
      .option(
        '--root <file>',
        'PEM of the root that the server’s certificates must lead to, with CAs below it that the server does not show',
      );
  const withChallenge = (command: Command) =>
    command
      .option('--challenge <source>', 'file:PATH, env:NAME, or - for standard input')
      .option('--danger-challenge <text>', 'the challenge itself, which everybody on this machine can read');
  const waiting = (command: Command) =>
    command
      .option('--wait <minutes>', 'how long to wait for an administrator’s approval', Number, 0)
      .option('--poll-interval <seconds>', 'between two questions', positiveInteger, 60);

  connected(scep.command('caps'))
    .description('what a server can do (GetCACaps)')
    .argument('<url>', 'SCEP URL')
    .action((url: string, options: ConnectionOptions) =>
      withClient({ url }, options, async (client) => {
        const capabilities = [...(await client.capabilities())].sort();
        const { digest, cipher } = await client.manner();
        printFacts({ url: client.url.href, capabilities: capabilities.join(' '), digest, cipher }, options);
        if (capabilities.length === 0)
          console.error('no keywords: an old server, or another path than that of a SCEP server');
      }),
    );
  connected(trusting(scep.command('ca')))
    .description('a server’s CA and RA certificates (GetCACert), with their fingerprints')
    .argument('<url>', 'SCEP URL')
    .option('--out <file>', 'write them as PEM; needs --ca-fingerprint or --root')
    .action((url: string, options: ConnectionOptions & TrustOptions & { out?: string }) =>
      withClient({ url }, options, async (client) => {
        const ca = await client.caCertificates();
        const isVouched = options.caFingerprint !== undefined || options.root !== undefined;
        if (isVouched || options.out !== undefined) await trustIn(ca, options, 'never ask');
        printRows(
          ca.all.map((certificate) => ({ ...certificateFacts(certificate), role: roleOf(certificate, ca) })),
          certificateColumns,
          options,
        );
        if (options.out !== undefined) writeFileSync(options.out, pemText(ca.all));
      }),
    );
  withChallenge(connected(trusting(waiting(scep.command('enrol')))))
    .description('make a key and get a certificate for it (PKCSReq)')
    .argument('<url>', 'SCEP URL')
    .requiredOption('--subject <name>', 'CN=device-7,O=Example')
    .option('--san <names>', 'DNS:device-7.example, …')
    .addOption(keyOption())
    .addOption(new Option('--digest <name>', 'else the best that the server offers').choices(digests))
    .addOption(new Option('--cipher <name>', 'else the best that the server offers').choices(ciphers))
    .addOption(new Option('--key-transport <name>', 'else pkcs1v15').choices(Object.keys(keyTransports)))
    .option('--danger-no-recipient-nonce', 'take answers of a server that is known to return no nonce')
    .option(...folderOption)
    .action((url: string, options: EnrolOptions) => enrol(url, options));
  connected(waiting(scep.command('poll')))
    .description('ask for the certificate of a request that waits (CertPoll)')
    .option(...folderOption)
    .action((options: WaitOptions) =>
      inFolder(options, async ({ client, authority, folder }) => {
        await settle(client, authority, folder, options, 'poll');
      }),
    );
  withChallenge(connected(waiting(scep.command('renew'))))
    .description('get a new certificate for a new key, on the word of the present one (RenewalReq)')
    .addOption(keyOption())
    .addOption(
      new Option('--dialect <type>', 'the message type')
        .choices(['auto', 'RenewalReq', 'PKCSReq'])
        .default('auto', 'RenewalReq where the server offers it, else PKCSReq'),
    )
    .option(...folderOption)
    .action((options: RenewOptions) => renew(options));
  connected(scep.command('cert'))
    .description('fetch a certificate of the CA by its serial number (GetCert)')
    .argument('<serial>', 'serial number in hexadecimal')
    .option('--out <file>', 'where the PEM goes; standard output if absent')
    .option(...folderOption)
    .action((serial: string, options: FolderOptions & { out?: string }) =>
      inFolder(options, async ({ client, authority, identity }) => {
        const about = { issuer: identity.certificate.issuer, serialNumber: serialOf(serial) };
        const found = await client.certificate(about, identity, authority);
        if ('pkiStatus' in found) throw refusal(found);
        output(found, pemText([found]), options);
      }),
    );
  connected(scep.command('crl'))
    .description('fetch the CRL that covers the client’s certificate (GetCRL)')
    .option('--out <file>', 'where the PEM goes; standard output if absent')
    .option(...folderOption)
    .action((options: FolderOptions & { out?: string }) =>
      inFolder(options, async ({ client, authority, identity }) => {
        const { issuer, serialNumber } = identity.certificate;
        const crl = await client.crl({ issuer, serialNumber }, authority.cas, identity, authority);
        if ('pkiStatus' in crl) throw refusal(crl);
        const pem = buildPem('X509 CRL', crl.raw);
        if (options.out === undefined && options.json !== true) return void process.stdout.write(pem);
        if (options.out !== undefined) writeFileSync(options.out, pem);
        const { thisUpdate, nextUpdate } = crl;
        printFacts({ issuer: nameToString(crl.issuer), thisUpdate, nextUpdate }, options);
      }),
    );
  connected(scep.command('next-ca'))
    .description('fetch the certificates of the CA that takes over (GetNextCACert)')
    .option('--out <file>', 'where the PEM goes')
    .option(...folderOption)
    .action((options: FolderOptions & { out?: string }) =>
      inServer(options, async ({ client, authority }) => {
        // RFC 8894 §3.5.2: the keyword says that there is one. Without it the operation is a 404, or worse.
        if (!(await client.capabilities()).has('GetNextCACert')) {
          printRows([], certificateColumns, options);
          console.error('the server announces no next CA: GetCACaps has no GetNextCACert');
          return;
        }
        const next = await client.nextCaCertificates(authority.cas);
        printRows(
          next.map((each) => ({ ...certificateFacts(each), role: roleOf(each, undefined) })),
          certificateColumns,
          options,
        );
        if (options.out !== undefined) writeFileSync(options.out, pemText(next));
      }),
    );
}

// --- enrol, renew, poll ---------------------------------------------------------------------------------------------

async function enrol(url: string, options: EnrolOptions): Promise<void> {
  const challenge = await challengeFrom(options);
  const server = serverFrom(url, options);
  const folder = new ScepFolder(options.folder);
  await withClient(server, options, async (client) => {
    const { authority, trusted } = await trustIn(await client.caCertificates(), options, 'ask at a terminal');
    await folder.begin(server, trusted);
    const key = await folder.createRequestKey(options.key);
    const signer = await protocolCertificateFor(key, systemClock.now());
    const names = {
      subject: options.subject,
      subjectAltName: (options.san ?? '')
        .split(/(?<!\\), */)
        .flatMap((name) => (name === '' ? [] : [generalNameFromString(name)])),
    };
    const identity = { certificate: signer, key };
    await request(client, authority, folder, { names, key, identity, challenge, signedBy: 'request-key' });
    await settle(client, authority, folder, options, 'send');
  });
}

interface RenewOptions extends WaitOptions, ChallengeOptions {
  readonly key: KeyAlgorithm;
  readonly dialect: 'auto' | 'RenewalReq' | 'PKCSReq';
}

async function renew(options: RenewOptions): Promise<void> {
  const given = await challengeFrom(options);
  await inFolder(options, async ({ client, authority, folder, identity }) => {
    if ((await folder.waiting()) !== undefined)
      throw new PkiError('scep_folder', `${folder.path} holds a request that waits: leafgate scep poll`);
    const { certificate } = identity;
    // RFC 8894 §3.1: an answer to such a key needs a challenge, whatever the server makes of it otherwise.
    const challenge = given ?? (canBeEncryptedTo(certificate) ? undefined : randomPassword());
    // A server may encrypt nothing under a challenge for who only says, by PKCSReq, that he renews.
    const isOffered = (await client.capabilities()).has('Renewal') || !canBeEncryptedTo(certificate);
    const offered = isOffered ? 'RenewalReq' : 'PKCSReq';
    const messageType = options.dialect === 'auto' ? offered : options.dialect;
    const key = await folder.createRequestKey(options.key);
    const names = {
      subject: nameToString(certificate.subject),
      subjectAltName: subjectAltNameOf(certificate) ?? [],
    };
    await request(client, authority, folder, {
      names,
      key,
      identity,
      challenge,
      signedBy: 'key',
      messageType,
    });
    await settle(client, authority, folder, options, 'send');
  });
}

/** Builds a request and keeps it: a command that is interrupted from here on is taken up by `poll`. */
async function request(
  client: ScepClient,
  authority: TrustedAuthority,
  folder: ScepFolder,
  fields: {
    readonly names: Pick<Parameters<typeof certificationRequestFor>[0], 'subject' | 'subjectAltName'>;
    readonly key: PrivateKey;
    readonly identity: ClientIdentity;
    readonly challenge: string | undefined;
    readonly signedBy: WaitingRequest['signedBy'];
    readonly messageType?: 'PKCSReq' | 'RenewalReq';
  },
): Promise<void> {
  const { names, key, identity, challenge, signedBy, messageType = 'PKCSReq' } = fields;
  if (challenge === undefined && !canBeEncryptedTo(identity.certificate))
    throw new PkiError('answer_unencryptable', 'an elliptic-curve key needs a challenge: --challenge');
  const csr = await certificationRequestFor({ ...names, keyUsage: [], extKeyUsage: [] }, key, challenge);
  const message = await buildEnrolmentMessage({
    key,
    csr,
    recipient: authority.encryption,
    ...(await client.manner()),
    now: systemClock.now(),
    renews: { ...identity, messageType },
  });
  await folder.keep({
    ...message,
    csr,
    signer: identity.certificate.raw,
    signedBy,
    ...(challenge === undefined || canBeEncryptedTo(identity.certificate) ? {} : { password: challenge }),
  });
}

/** Sends the request that waits, or asks for it, until it is decided or the time is up. */
async function settle(
  client: ScepClient,
  authority: TrustedAuthority,
  folder: ScepFolder,
  options: WaitOptions,
  first: 'send' | 'poll',
): Promise<void> {
  const kept = await folder.waiting();
  if (kept === undefined) throw new PkiError('scep_folder', `${folder.path} holds no request that waits`);
  const { request, key, identity } = kept;
  const { subject } = parseCertificationRequest(request.csr);
  const deadline = performance.now() + options.wait * MINUTE_MS;
  let isResent = false;
  for (let how = first; ; how = 'poll') {
    // A CertPoll has no challenge that its answer could be encrypted under: such a client sends its request once more.
    let certRep = await (how === 'poll' && request.password === undefined
      ? client.poll({ transactionID: request.transactionID, subject }, identity, authority)
      : client.send(request, identity, authority, request.password)
    ).catch(keptNote);
    // The server does not know of it: the first message may have been lost on its way, and is sent once more.
    if (how === 'poll' && isUnknown(certRep) && !isResent) {
      isResent = true;
      certRep = await client.send(request, identity, authority, request.password);
    }
    if (certRep.pkiStatus === 'SUCCESS')
      return await install(certRep.certificates, key, authority, folder, options);
    if (certRep.pkiStatus === 'FAILURE') {
      await folder.drop();
      throw refusal(certRep);
    }
    const pauseMs = options.pollInterval * SECOND_MS;
    if (performance.now() + pauseMs > deadline) {
      process.exitCode = EXIT_PENDING;
      printFacts({ outcome: 'pending', transactionID: request.transactionID, folder: folder.path }, options);
      if (options.json !== true)
        console.error(`ask again later: leafgate scep poll --folder ${options.folder}`);
      return;
    }
    if (options.json !== true) console.error(`pending; asked again in ${options.pollInterval} s`);
    await sleep(pauseMs);
  }
}

/** The certificate must be for our key, and lead to what the folder trusts. */
async function install(
  certificates: readonly Certificate[],
  key: PrivateKey,
  authority: TrustedAuthority,
  folder: ScepFolder,
  options: FolderOptions,
): Promise<void> {
  const { trusted } = await folder.server();
  const certificate = certificates.find(({ spki }) => sameOctets(spki, key.spki));
  if (certificate === undefined)
    throw new PkiError('server_answer', 'no certificate of the answer is for the key of the request');
  const found = trusted
    .map((ca) => {
      const trust = { ca, roots: trusted, intermediates: [] };
      return findTrustedPath(certificate, trust, [...certificates, ...authority.served], systemClock.now());
    })
    .find(({ path }) => path === 'found');
  if (found?.path !== 'found')
    throw new PkiError('chain_invalid', 'the certificate that came does not lead to the trusted CA');
  await folder.install(certificate, found.certificates.slice(1));
  printFacts(
    {
      outcome: 'issued',
      subject: nameToString(certificate.subject),
      issuer: nameToString(certificate.issuer),
      serialNumber: certificate.serialNumber,
      notAfter: certificate.notAfter,
      certificate: folder.pathOf('certificate.pem'),
      chain: folder.pathOf('chain.pem'),
      key: folder.pathOf('key.pem'),
      keyPassphrase: folder.pathOf('key-passphrase'),
    },
    options,
  );
}

/** What nobody answered is sent again: the server gives to the same request what it made for it. */
function keptNote(cause: unknown): never {
  if (!(cause instanceof PkiError) || cause.kind !== 'unavailable') throw cause;
  const message = `${cause.message}; the request is kept and sent again by leafgate scep poll`;
  throw new PkiError(cause.code, message, { cause });
}

function isUnknown(certRep: CertRep): boolean {
  return certRep.pkiStatus === 'FAILURE' && certRep.failInfo === 'badCertId';
}

function refusal(certRep: CertRep): PkiError {
  if (certRep.pkiStatus !== 'FAILURE')
    return new PkiError('server_answer', `the server answered ${certRep.pkiStatus}`);
  const { failInfo, failInfoText = 'the server gave no text' } = certRep;
  return new PkiError('scep_refused', `the SCEP server refused, ${failInfo}: ${failInfoText}`);
}

// --- trust ----------------------------------------------------------------------------------------------------------

/**
 * Whom the client believes: the certificate with the fingerprint, or what leads to the root; at a terminal, what the
 * operator says yes to. Nothing is believed because it was served (RFC 8894 §2.2).
 */
async function trustIn(
  ca: CaCertificates,
  options: TrustOptions,
  otherwise: 'ask at a terminal' | 'never ask',
): Promise<{ readonly authority: TrustedAuthority; readonly trusted: readonly Certificate[] }> {
  if (options.root !== undefined) {
    const trusted = certificatesOf(fileText(options.root));
    return { authority: authorityUnder(ca, trusted), trusted };
  }
  const wanted = options.caFingerprint?.replaceAll(/[:\s]/g, '').toLowerCase();
  if (wanted !== undefined && !/^[0-9a-f]{64}$/.test(wanted))
    throw new PkiError('command_invalid', '--ca-fingerprint: SHA-256, 64 hexadecimal digits');
  const shown = ca.all.map((each) => `${fingerprintOf(each)} ${nameToString(each.subject)}`).join('\n  ');
  if (wanted === undefined) {
    const top = ca.all.find(isCa) ?? ca.encryption;
    const what = `The server shows\n  ${shown}\n`;
    if (otherwise === 'never ask' || process.stdin.isTTY !== true)
      throw new PkiError('ca_unverified', `neither --ca-fingerprint nor --root is given. ${what.trim()}`);
    const dialogue = new Dialogue();
    try {
      await dialogue.confirm(`${what}Is ${fingerprintOf(top)} the fingerprint that you were given?`);
    } finally {
      dialogue.close();
    }
    return { authority: authorityUnder(ca, [top]), trusted: [top] };
  }
  const pinned = ca.all.find((each) => fingerprintOf(each) === wanted);
  if (pinned === undefined)
    throw new PkiError(
      'ca_unverified',
      `no certificate of the server has this fingerprint. It shows\n  ${shown}`,
    );
  // Nothing that is issued leads to it: the challenge would be spent before that shows.
  if (!isCa(pinned) && !sameOctets(pinned.issuer.raw, pinned.subject.raw))
    throw new PkiError(
      'ca_unverified',
      `that is the fingerprint of the RA’s certificate: give that of the CA, or --root. The server shows\n  ${shown}`,
    );
  return { authority: authorityUnder(ca, [pinned]), trusted: [pinned] };
}

/** Throws PkiError `ca_unverified` if what was served does not lead to one of these. */
function authorityUnder(ca: CaCertificates, trusted: readonly Certificate[]): TrustedAuthority {
  let detail = 'the server shows no CA certificate';
  // Some servers show an RA's certificate by itself (RFC 8894 §4.2.1.1): its issuers are known from the operator then.
  const known = { ...ca, all: [...ca.all, ...trusted] };
  for (const candidate of [...trusted, ...ca.all.filter(isCa)]) {
    const trust = { ca: candidate, roots: trusted, intermediates: [] };
    const check = checkAuthority(known, trust, systemClock.now());
    if (check.authority === 'trusted') return check;
    detail = check.detail;
  }
  throw new PkiError('ca_unverified', detail);
}

function isCa(certificate: Certificate): boolean {
  return basicConstraintsOf(certificate)?.ca === true;
}

function fingerprintOf({ raw }: Certificate): string {
  return createHash('sha256').update(raw).digest('hex');
}

// --- what commands share --------------------------------------------------------------------------------------------

interface ServerContext {
  readonly client: ScepClient;
  readonly authority: TrustedAuthority;
  readonly folder: ScepFolder;
}

/** Opens the server of a folder, checked again against what the folder trusts. */
async function inServer(
  options: FolderOptions,
  work: (context: ServerContext) => Promise<void>,
): Promise<void> {
  const folder = new ScepFolder(options.folder);
  const { server, trusted } = await folder.server();
  await withClient(server, options, async (client) => {
    const authority = authorityUnder(await client.caCertificates(), trusted);
    await work({ client, authority, folder });
  });
}

/** The same for a folder with a certificate, or with a request of which `work` asks. */
async function inFolder(
  options: FolderOptions,
  work: (context: ServerContext & { readonly identity: ClientIdentity }) => Promise<void>,
): Promise<void> {
  await inServer(options, async (context) => {
    const identity = (await context.folder.identity()) ?? (await context.folder.waiting())?.identity;
    if (identity === undefined)
      throw new PkiError(
        'scep_folder',
        `${context.folder.path} holds neither a certificate nor a request that waits: leafgate scep enrol`,
      );
    await work({ ...context, identity });
  });
}

async function withClient(
  server: Pick<ScepServer, 'url'> & Partial<ScepServer>,
  options: ConnectionOptions,
  work: (client: ScepClient) => Promise<void>,
): Promise<void> {
  const tlsCaPem = options.tlsCa === undefined ? server.tlsCaPem : fileText(options.tlsCa);
  const http = new HttpClient({
    timeoutMs: options.timeout * SECOND_MS,
    ...(tlsCaPem === undefined ? {} : { tlsRoots: systemTlsRootsAnd([tlsCaPem]) }),
  });
  try {
    await work(
      new ScepClient({
        url: server.url,
        http,
        manner: present(server.manner ?? {}),
        recipientNonce: server.recipientNonce ?? 'required',
      }),
    );
  } finally {
    http.close();
  }
}

function serverFrom(url: string, options: EnrolOptions): ScepServer {
  const { digest, cipher, tlsCa } = options;
  const keyTransport = keyTransports[options.keyTransport ?? ''];
  return {
    url,
    recipientNonce: options.dangerNoRecipientNonce === true ? 'dangerOptional' : 'required',
    ...(tlsCa === undefined ? {} : { tlsCaPem: fileText(tlsCa) }),
    manner: present({ digest, cipher, keyTransport }) as ScepServer['manner'],
  };
}

/** Without keys whose value is `undefined`. */
function present<T extends object>(fields: T): { [K in keyof T]: Exclude<T[K], undefined> } {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined)) as {
    [K in keyof T]: Exclude<T[K], undefined>;
  };
}

async function challengeFrom({ challenge, dangerChallenge }: ChallengeOptions): Promise<string | undefined> {
  if (challenge === undefined) return dangerChallenge;
  if (dangerChallenge !== undefined)
    throw new PkiError('command_invalid', 'either --challenge or --danger-challenge');
  // It may be the challenge itself: it is not repeated.
  if (!/^(-$|file:|env:)/.test(challenge))
    throw new PkiError(
      'command_invalid',
      '--challenge takes file:PATH, env:NAME or - for standard input, not the challenge itself',
    );
  if (challenge !== '-') return secretFromReference(challenge);
  const read = (await text(process.stdin)).replace(/\r?\n$/, '');
  if (read === '') throw new PkiError('command_invalid', '--challenge -: standard input is empty');
  return read;
}

function randomPassword(): string {
  return randomBytes(RANDOM_PASSWORD_BYTES).toString('base64url');
}

function serialOf(text: string): string {
  const serial = text.replaceAll(':', '').toLowerCase();
  if (!/^[0-9a-f]{1,40}$/.test(serial))
    throw new PkiError('command_invalid', 'a serial number has 1 to 40 hexadecimal digits');
  const significant = serial.replace(/^0+(?=.)/, '');
  return significant.length % 2 === 0 ? significant : `0${significant}`;
}

const certificateColumns = { subject: 'Subject', role: 'Role', notAfter: 'Expires', fingerprint: 'SHA-256' };

/** What a server's certificate is for: one of GetCACert or GetNextCACert. */
function roleOf(certificate: Certificate, ca: CaCertificates | undefined): string {
  const isEncryption = certificate === ca?.encryption;
  if (isCa(certificate)) return isEncryption ? 'CA, encryption' : 'CA';
  const usage = keyUsageOf(certificate);
  const doesSign = usage === undefined || usage.includes('digitalSignature');
  const uses = [...(doesSign ? ['signing'] : []), ...(isEncryption ? ['encryption'] : [])];
  return `RA ${uses.join(', ')}`.trim();
}

function certificateFacts(certificate: Certificate) {
  return {
    subject: nameToString(certificate.subject),
    issuer: nameToString(certificate.issuer),
    serialNumber: certificate.serialNumber,
    notAfter: certificate.notAfter,
    fingerprint: fingerprintOf(certificate),
  };
}

function pemText(certificates: readonly Certificate[]): string {
  return certificates.map(({ raw }) => buildPem('CERTIFICATE', raw)).join('');
}

/** A certificate: to a file, with its facts for people; or to standard output. */
function output(
  certificate: Certificate,
  pem: string,
  options: ListingOptions & { readonly out?: string },
): void {
  if (options.out === undefined && options.json !== true) return void process.stdout.write(pem);
  if (options.out !== undefined) writeFileSync(options.out, pem);
  printFacts(certificateFacts(certificate), options);
}
