/** An RA, a CA, their store and their doors in this process, on RSA-2048 test keys; and a device that talks to them. */
import assert from 'node:assert/strict';
import { generateKeyPair, type KeyObject, randomBytes } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { Agent, request as httpRequest, type IncomingHttpHeaders } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { pino } from 'pino';
import {
  type ApprovalSigner,
  builtInTemplates,
  CertificateAuthority,
  type CertificateTemplate,
  createIssuing,
  createRoot,
  type Issuer,
} from '../../src/ca/index.ts';
import {
  type Attribute,
  authorityKeyIdentifierExtension,
  buildCertificate,
  buildCertificationRequest,
  buildEnvelopedData,
  buildSignedData,
  type Certificate,
  type CipherName,
  type DigestName,
  type Extension,
  endEntityBasicConstraintsExtension,
  extKeyUsageExtension,
  type KeyTransport,
  type KeyUsage,
  keyIdentifier,
  keyUsageExtension,
  nameFromString,
  oid,
  parseCertificate,
  type Sign,
  type SignatureAlgorithmName,
  subjectKeyIdentifierExtension,
} from '../../src/codec/index.ts';
import {
  addRepositoryDoor,
  addScepDoor,
  type EndpointLimits,
  openHttpServer,
  type RaIdentity,
  type ScepEndpoint,
} from '../../src/http/index.ts';
import { type PrivateKey, privateKeyOf } from '../../src/keys/index.ts';
import { Metrics } from '../../src/metrics.ts';
import {
  type EnrolmentPolicy,
  type EnrolmentRequest,
  hashStaticSecret,
  manualApprovalValidator,
  OneTimeChallenges,
  RegistrationAuthority,
  type RenewalPolicy,
  sealKeyOf,
  staticSecretValidator,
  type Validator,
  type Verdict,
} from '../../src/ra/index.ts';
import {
  buildAttributes,
  buildCaCertificates,
  buildSelfSigned,
  type CertRep,
  capabilitiesOf,
  clientProfiles,
  type MessageType,
  parseCertRep,
  refusedByDefault,
  selfSignatureOf,
} from '../../src/scep/index.ts';
import { type CrlRecord, openPkiStore, type PkiStore } from '../../src/store/index.ts';
import type { Clock } from '../../src/telemetry.ts';

// --- keys and certificates ------------------------------------------------------------------------------------------

const generate = promisify(generateKeyPair);

/** A private key with its `Sign`, and the key object below both. */
export interface FixtureKey extends PrivateKey {
  readonly signs: Sign;
  readonly keyObject: KeyObject;
}

/** A private key that can be asked in both ways. */
export function fixtureKey(keyObject: KeyObject): FixtureKey {
  const key = privateKeyOf(keyObject);
  return { ...key, keyObject, signs: (algorithm, data) => key.sign(algorithm, data) };
}

/** A new RSA key. */
export async function newRsaKey(bits = 2048): Promise<FixtureKey> {
  return fixtureKey((await generate('rsa', { modulusLength: bits })).privateKey);
}

/** A new key on a curve. */
export async function newEcKey(curve: 'P-256' | 'P-384' | 'P-521' = 'P-256'): Promise<FixtureKey> {
  return fixtureKey((await generate('ec', { namedCurve: curve })).privateKey);
}

const HOUR_MS = 3_600_000;
/** Length of a day, for validities. */
export const DAY_MS = 24 * HOUR_MS;

/** A moment so many days from now, to the second. */
export function inDays(days: number): Date {
  return new Date(Math.floor(Date.now() / 1000) * 1000 + days * DAY_MS);
}

const [rootKey, issuingKey, signingKey, encryptionKey, deviceKey, otherKey] = await Promise.all([
  newRsaKey(),
  newRsaKey(),
  newRsaKey(),
  newRsaKey(),
  newRsaKey(),
  newRsaKey(),
]);

/** Keys take a moment to make: one set serves all tests of a process. */
export const keys = {
  root: rootKey,
  issuing: issuingKey,
  raSigning: signingKey,
  raEncryption: encryptionKey,
  /** Keys of two devices. */
  device: deviceKey,
  other: otherKey,
};

const rootCertificate = await createRoot(keys.root, nameFromString('CN=Test Root,O=Test'), {
  notBefore: inDays(-30),
  notAfter: inDays(3650),
});

const issuingCertificate = await createIssuing(
  { certificate: rootCertificate, key: keys.root },
  keys.issuing.spki,
  nameFromString('CN=Test Issuing CA,O=Test'),
  { notBefore: inDays(-30), notAfter: inDays(1825) },
  { crlUrls: ['http://pki.test/crl/root.crl'], caIssuersUrls: ['http://pki.test/aia/root.crt'] },
);

/** A certificate of the issuing CA that stands in no store: the RA's own. */
async function serviceCertificate(
  subject: string,
  key: PrivateKey,
  usage: readonly KeyUsage[],
): Promise<Certificate> {
  const raw = await buildCertificate(
    {
      serialNumber: `5a${randomBytes(8).toString('hex')}`,
      signatureAlgorithm: 'rsa-sha256',
      issuer: issuingCertificate.subject,
      notBefore: inDays(-1),
      notAfter: inDays(365),
      subject: nameFromString(subject),
      spki: key.spki,
      extensions: [
        endEntityBasicConstraintsExtension(),
        keyUsageExtension(usage),
        extKeyUsageExtension([oid.certificateRequestAgent]),
        subjectKeyIdentifierExtension(keyIdentifier(key.spki)),
        authorityKeyIdentifierExtension(keyIdentifier(keys.issuing.spki)),
      ],
    },
    keys.issuing.signs,
  );
  return parseCertificate(raw);
}

/** Certificates over `keys`. */
export const certificates = {
  root: rootCertificate,
  issuing: issuingCertificate,
  raSigning: await serviceCertificate('CN=Test RA Signing', keys.raSigning, ['digitalSignature']),
  raEncryption: await serviceCertificate('CN=Test RA Encryption', keys.raEncryption, ['keyEncipherment']),
};

/** The issuing CA as a `CertificateAuthority` takes it. */
export const issuer: Issuer = {
  name: 'issuing',
  certificate: certificates.issuing,
  chain: [certificates.issuing.raw, certificates.root.raw],
  key: keys.issuing,
  signatureAlgorithm: 'rsa-sha256',
  crlUrls: ['http://pki.test/crl/issuing.crl'],
  caIssuersUrls: ['http://pki.test/aia/issuing.crt'],
  crlPeriodMs: 7 * DAY_MS,
  crlOverlapMs: 12 * HOUR_MS,
};

/** The template that every endpoint of the fixture enrols for. */
export const clientTemplate: CertificateTemplate = builtInTemplates[0] as CertificateTemplate;

// --- the authorities ------------------------------------------------------------------------------------------------

/** A clock that runs with the machine's and can be moved. */
export class FixtureClock implements Clock {
  offsetMs = 0;
  now(): Date {
    return new Date(Date.now() + this.offsetMs);
  }
}

/** A validator that says what a test wrote down for it; unless told otherwise it accepts everything. */
export class ScriptedValidator implements Validator {
  readonly name: string = 'scripted';
  readonly challengeUse: 'single' | 'shared' = 'single';
  /** What the next calls get; the last one stays. A function may wait or throw. */
  verdict: Verdict | (() => Verdict | Promise<Verdict>) = { verdict: 'accept', names: 'vouched' };
  success: Verdict | (() => Verdict | Promise<Verdict>) = { verdict: 'accept', names: 'vouched' };
  failure: () => void | Promise<void> = () => {};
  /** What it was asked and told. */
  readonly validated: EnrolmentRequest[] = [];
  readonly succeeded: { readonly request: EnrolmentRequest; readonly certificate: Certificate }[] = [];
  readonly failed: { readonly hResult: number; readonly description: string }[] = [];

  async validate(request: EnrolmentRequest): Promise<Verdict> {
    this.validated.push(request);
    return typeof this.verdict === 'function' ? await this.verdict() : this.verdict;
  }

  async notifySuccess(request: EnrolmentRequest, certificate: Certificate): Promise<Verdict> {
    this.succeeded.push({ request, certificate });
    return typeof this.success === 'function' ? await this.success() : this.success;
  }

  async notifyFailure(
    _request: EnrolmentRequest,
    failure: { readonly hResult: number; readonly description: string },
  ): Promise<void> {
    this.failed.push(failure);
    await this.failure();
  }
}

/** The secret of the endpoints `static` and `legacy`. */
export const staticSecret = 'correct-horse-battery-staple';
const staticSecretHash = await hashStaticSecret(staticSecret);

/** Paths of the endpoints, by their names. `scripted` stands where NDES does. */
export const endpointPaths = {
  'one-time': ['/scep/one-time'],
  static: ['/scep/static'],
  /** As `static`, but single DES is taken. */
  legacy: ['/scep/legacy'],
  scripted: ['/certsrv/mscep/mscep.dll', '/certsrv/mscep', '/cgi-bin/pkiclient.exe'],
  /** One-time and scripted: both must accept. */
  both: ['/scep/both'],
  /** Asks a person, and nobody else. */
  manual: ['/scep/manual'],
  /** As `scripted`, and then a person. */
  asked: ['/scep/asked'],
} as const;

/** Name of an endpoint of the fixture. */
export type EndpointName = keyof typeof endpointPaths;

/** How the fixture may differ. */
export interface FixtureOptions {
  /** A folder that is there already, with a store in it; it is not removed. */
  readonly folder?: string;
  /** Wraps the store, so that it can be made to fail. */
  readonly storeOf?: (store: PkiStore) => PkiStore;
  readonly issuer?: Issuer;
  readonly templates?: readonly CertificateTemplate[];
  readonly clock?: FixtureClock;
  /** Signs what is approved, in the place of the fixture's RA. */
  readonly approvalSigner?: ApprovalSigner;
  /** How many requests of an endpoint may wait. */
  readonly waitingMax?: number;
  /** Of every endpoint; none if absent. */
  readonly limits?: EndpointLimits;
  /** Of every endpoint; none renews if absent. */
  readonly renewal?: RenewalPolicy;
  /** The answer to GetNextCACert of every endpoint; it is not served if absent. */
  readonly nextCaCertificates?: Uint8Array;
  /** Further issuing CAs, beside the one that the endpoints have. */
  readonly furtherIssuers?: readonly Issuer[];
}

/** Store, CA and RA without doors. */
export interface TestAuthorities {
  readonly folder: string;
  readonly store: PkiStore;
  readonly ca: CertificateAuthority;
  readonly ra: RegistrationAuthority;
  readonly oneTime: OneTimeChallenges;
  readonly scripted: ScriptedValidator;
  readonly clock: FixtureClock;
  readonly metrics: Metrics;
  /** Every line that was logged. */
  readonly logged: string[];
  /** A new one-time challenge for an endpoint, not pinned, good for an hour. */
  challengeFor(endpoint: EndpointName): Promise<string>;
  close(): Promise<void>;
}

/** Opens store, CA and RA in a temporary folder. */
export async function openTestAuthorities(options: FixtureOptions = {}): Promise<TestAuthorities> {
  const folder = options.folder ?? (await mkdtemp(join(tmpdir(), 'leafgate-ra-')));
  const logged: string[] = [];
  const log = pino(
    { level: 'debug' },
    {
      write: (line: string) => {
        logged.push(line);
      },
    },
  );
  const clock = options.clock ?? new FixtureClock();
  const metrics = new Metrics();
  const opened = await openPkiStore({ sqlite: join(folder, 'pki.sqlite') });
  const store = options.storeOf?.(opened) ?? opened;
  const ca = new CertificateAuthority({
    issuers: [options.issuer ?? issuer, ...(options.furtherIssuers ?? [])],
    templates: options.templates ?? builtInTemplates,
    store,
    clock,
    raCertificates: [certificates.raSigning],
  });
  const oneTime = new OneTimeChallenges({ store, hashKey: Buffer.alloc(32, 'hash key'), clock });
  const scripted = new ScriptedValidator();
  const policy = (endpoint: EndpointName, ...validators: [Validator, ...Validator[]]): EnrolmentPolicy => ({
    endpoint,
    issuer: issuer.name,
    template: clientTemplate.name,
    validators,
    ...(options.renewal === undefined ? {} : { renewal: options.renewal }),
  });
  const ra = new RegistrationAuthority({
    ca,
    store,
    policies: [
      policy('one-time', oneTime.validator()),
      policy('static', staticSecretValidator([staticSecretHash])),
      policy('legacy', staticSecretValidator([staticSecretHash])),
      policy('scripted', scripted),
      policy('both', oneTime.validator(), scripted),
      policy('manual', manualApprovalValidator),
      policy('asked', scripted, manualApprovalValidator),
    ],
    serviceIdentity: 'TEST\\svc-ra',
    clock,
    log,
    metrics,
    holding: {
      sealKey: sealKeyOf(Buffer.alloc(32, 'hash key')),
      expiresAfterMs: 30 * DAY_MS,
      waitingMax: options.waitingMax ?? 100,
    },
    approvalSigner: async () =>
      options.approvalSigner ?? { certificate: certificates.raSigning, sign: keys.raSigning.signs },
  });
  return {
    folder,
    store,
    ca,
    ra,
    oneTime,
    scripted,
    clock,
    metrics,
    logged,
    challengeFor: async (endpoint) =>
      (await oneTime.create({ endpoint, pinned: {}, device: '', lifetimeMs: HOUR_MS })).challenge,
    close: async () => {
      await store.close();
      if (options.folder === undefined) await rm(folder, { recursive: true, force: true });
    },
  };
}

/** The authorities behind their doors. */
export interface TestServer extends TestAuthorities {
  readonly port: number;
  /** `http://127.0.0.1:PORT` and the first path of an endpoint. */
  url(endpoint: EndpointName): string;
  post(endpoint: EndpointName, message: Uint8Array): Promise<HttpAnswer>;
}

/** The RA of every endpoint of the fixture. */
const raIdentity: RaIdentity = {
  signer: {
    certificate: certificates.raSigning,
    chain: [certificates.raSigning.raw, certificates.issuing.raw],
    sign: keys.raSigning.signs,
  },
  encryption: {
    certificate: certificates.raEncryption,
    decrypt: (keyTransport, encryptedKey) => keys.raEncryption.decrypt(keyTransport, encryptedKey),
  },
  caCertificates: buildCaCertificates(clientProfiles.standard, {
    signing: certificates.raSigning.raw,
    encryption: certificates.raEncryption.raw,
    chain: issuer.chain,
  }),
};

/** Opens the authorities and a listener on 127.0.0.1. */
export async function openTestServer(options: FixtureOptions = {}): Promise<TestServer> {
  const authorities = await openTestAuthorities(options);
  const { ca, ra, clock } = authorities;
  const endpoints = (Object.keys(endpointPaths) as EndpointName[]).map(
    (name): ScepEndpoint => ({
      name,
      paths: endpointPaths[name],
      ...(options.limits && { limits: options.limits }),
      ra: () => raIdentity,
      refusedAlgorithms: name === 'legacy' ? new Set() : refusedByDefault,
      capabilities: capabilitiesOf(clientProfiles.standard, [
        ...(options.renewal === undefined ? [] : (['Renewal'] as const)),
        ...(options.nextCaCertificates === undefined ? [] : (['GetNextCACert'] as const)),
      ]),
      ...(options.nextCaCertificates && { nextCaCertificates: options.nextCaCertificates }),
    }),
  );
  const log = pino(
    { level: 'debug' },
    {
      write: (line: string) => {
        authorities.logged.push(line);
      },
    },
  );
  const server = await openHttpServer({
    host: '127.0.0.1',
    port: 0,
    log,
    doors: (app) => {
      addScepDoor(app, { endpoints, ra, clock, log, metrics: authorities.metrics });
      addRepositoryDoor(
        app,
        [
          {
            name: 'issuing',
            certificate: certificates.issuing.raw,
            crl: (partition, kind) => ca.latestCrl('issuing', partition, kind),
          },
          { name: 'root', certificate: certificates.root.raw, crl: async () => undefined },
        ],
        clock,
      );
    },
  });
  const agent = new Agent({ keepAlive: true, maxSockets: 64 });
  const { port } = server.address;
  const url = (endpoint: EndpointName) => `http://127.0.0.1:${port}${endpointPaths[endpoint][0]}`;
  return {
    ...authorities,
    port,
    url,
    post: (endpoint, message) =>
      exchange(`${url(endpoint)}?operation=PKIOperation`, {
        method: 'POST',
        body: message,
        headers: { 'content-type': 'application/x-pki-message' },
        agent,
      }),
    close: async () => {
      agent.destroy();
      await server.close();
      await authorities.close();
    },
  };
}

// --- HTTP -----------------------------------------------------------------------------------------------------------

/** What came back. */
export interface HttpAnswer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: Buffer;
}

/** Longer than any answer takes: a request that is not answered fails its test. */
const ANSWER_MS_MAX = 20_000;

/** One HTTP exchange, with nothing added that the caller does not say. */
export function exchange(
  url: string,
  options: {
    readonly method?: string;
    readonly body?: Uint8Array | string;
    readonly headers?: Readonly<Record<string, string>>;
    readonly agent?: Agent;
  } = {},
): Promise<HttpAnswer> {
  return new Promise((resolve, reject) => {
    const { method = 'GET', body, headers = {}, agent } = options;
    const request = httpRequest(
      url,
      { method, headers: { ...headers }, timeout: ANSWER_MS_MAX, ...(agent === undefined ? {} : { agent }) },
      (response) => {
        const chunks: Buffer[] = [];
        response.on('data', (chunk: Buffer) => chunks.push(chunk));
        response.on('end', () =>
          resolve({
            status: response.statusCode ?? 0,
            headers: response.headers,
            body: Buffer.concat(chunks),
          }),
        );
        response.on('error', reject);
      },
    );
    request.on('timeout', () => request.destroy(new Error(`no answer within ${ANSWER_MS_MAX} ms`)));
    request.on('error', reject);
    if (body !== undefined) request.setHeader('content-length', Buffer.byteLength(body));
    request.end(body);
  });
}

// --- the device -----------------------------------------------------------------------------------------------------

/** What a request of a device says; everything has a value that is accepted. */
export interface RequestFields {
  readonly key?: FixtureKey;
  readonly subject?: string;
  readonly challengePassword?: string;
  readonly extensions?: readonly Extension[];
  readonly signatureAlgorithm?: SignatureAlgorithmName;
}

/** DER of a certification request, signed by its key. */
export async function requestOf(fields: RequestFields): Promise<Uint8Array> {
  const { key = keys.device, subject = 'CN=device-1,O=Test', challengePassword, extensions = [] } = fields;
  return await buildCertificationRequest(
    {
      subject: nameFromString(subject),
      spki: key.spki,
      extensions,
      signatureAlgorithm: fields.signatureAlgorithm ?? selfSignatureOf(key.spki),
      ...(challengePassword === undefined ? {} : { challengePassword }),
    },
    key.signs,
  );
}

/** A key with the certificate that SCEP messages are signed under. */
export interface MessageSigner {
  readonly key: FixtureKey;
  readonly certificate: Certificate;
}

/** A self-signed signer, as devices make one for their first request. */
export async function selfSigned(
  key: FixtureKey,
  subject = 'CN=SCEP Protocol Certificate',
): Promise<MessageSigner> {
  const fields = {
    subject: nameFromString(subject),
    spki: key.spki,
    notBefore: inDays(-1),
    notAfter: inDays(1),
  };
  return { key, certificate: await buildSelfSigned(fields, key.signs) };
}

/** A signer with a small key: to make messages takes less time than to answer them. */
export async function smallSigner(): Promise<MessageSigner> {
  return await selfSigned(await newRsaKey(1024));
}

/** The signer of messages that do not name another. */
export const defaultSigner = await selfSigned(keys.device);

/** What a PKIMessage is made of. */
export interface MessageFields {
  /** DER that is encrypted; or `envelope`, which is taken as it is. */
  readonly csr?: Uint8Array;
  readonly envelope?: Uint8Array | undefined;
  readonly signer?: MessageSigner;
  readonly certificates?: readonly Uint8Array[];
  readonly recipient?: Certificate;
  readonly digest?: DigestName;
  readonly cipher?: CipherName;
  readonly keyTransport?: KeyTransport;
  readonly transactionID?: string;
  readonly senderNonce?: Uint8Array;
  /** PKCSReq if absent. */
  readonly messageType?: MessageType;
  /** All signed attributes beside contentType and messageDigest; in place of those of a PKCSReq. */
  readonly attributes?: readonly Attribute[];
}

/** The envelope of a request. */
export function envelopeOf(fields: MessageFields): Uint8Array {
  return buildEnvelopedData({
    content: fields.csr ?? Uint8Array.of(),
    recipient: fields.recipient ?? certificates.raEncryption,
    cipher: fields.cipher ?? 'aes-128-cbc',
    keyTransport: fields.keyTransport ?? { name: 'rsaes-pkcs1-v1_5' },
  });
}

/** A signed PKIMessage; a PKCSReq unless told otherwise. */
export async function messageOf(fields: MessageFields): Promise<Uint8Array> {
  const { signer = defaultSigner } = fields;
  return await buildSignedData(
    {
      content: 'envelope' in fields ? fields.envelope : envelopeOf(fields),
      digest: fields.digest ?? 'sha256',
      signer: signer.certificate,
      certificates: fields.certificates ?? [signer.certificate.raw],
      attributes:
        fields.attributes ??
        buildAttributes({
          messageType: fields.messageType ?? 'PKCSReq',
          transactionID: fields.transactionID ?? 'transaction-1',
          senderNonce: fields.senderNonce ?? randomBytes(16),
        }),
    },
    signer.key.signs,
  );
}

/** What a CertRep is read with; the transaction of `messageOf` unless told otherwise. */
export interface AnswerExpectation {
  readonly transactionID?: string;
  readonly senderNonce: Uint8Array;
  readonly signer?: MessageSigner;
}

/** Reads the CertRep in an HTTP answer, and checks that it answers this message. */
export async function certRepIn(answer: HttpAnswer, expected: AnswerExpectation): Promise<CertRep> {
  const { signer = defaultSigner } = expected;
  return await parseCertRep(answer.body, {
    signers: [certificates.raSigning],
    transactionID: expected.transactionID ?? 'transaction-1',
    senderNonce: expected.senderNonce,
    decrypt: (keyTransport, encryptedKey) => signer.key.decrypt(keyTransport, encryptedKey),
  });
}

/** A device's whole exchange: builds the message, posts it, and reads the answer. */
export async function enrolAt(
  server: TestServer,
  endpoint: EndpointName,
  fields: MessageFields & { readonly csr: Uint8Array },
): Promise<CertRep | { readonly pkiStatus: 'HTTP'; readonly status: number; readonly answer: HttpAnswer }> {
  const { senderNonce = randomBytes(16) } = fields;
  const answer = await server.post(endpoint, await messageOf({ ...fields, senderNonce }));
  if (answer.status !== 200) return { pkiStatus: 'HTTP', status: answer.status, answer };
  return await certRepIn(answer, { ...fields, senderNonce });
}

/** Enrols with a challenge, as a device does first; what it gets can sign its next messages. */
export async function enrolled(
  server: TestServer,
  fields: RequestFields = {},
  endpoint: EndpointName = 'static',
  signer?: MessageSigner,
): Promise<MessageSigner> {
  const { key = keys.device } = fields;
  const certRep = await enrolAt(server, endpoint, {
    csr: await requestOf({ challengePassword: staticSecret, ...fields, key }),
    signer: signer ?? (await selfSigned(key)),
    transactionID: randomBytes(8).toString('hex'),
  });
  assert.equal(certRep.pkiStatus, 'SUCCESS', JSON.stringify(certRep));
  return { key, certificate: certRep.certificates[0] as Certificate };
}

/** Every certificate that the store knows of, whatever its state. */
export function recordsIn({ store }: { readonly store: PkiStore }) {
  return store.certificates({ limit: 100_000 });
}

/** The newest audit entries, newest first. */
export function auditIn({ store }: { readonly store: PkiStore }, limit = 100) {
  return store.auditEntries({ limit });
}

/** Has the CRLs of an issuing CA made that are due, and answers its full one. */
export async function publishedCrl(ca: CertificateAuthority, issuer = 'issuing'): Promise<CrlRecord> {
  await ca.publishCrls(issuer);
  const crl = await ca.latestCrl(issuer);
  assert.ok(crl);
  return crl;
}
