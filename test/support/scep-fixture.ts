/** A SCEP server on 127.0.0.1 out of `src/scep` and certificates of the codec, with every fault that a device may meet. */
import { randomBytes } from 'node:crypto';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import {
  authorityKeyIdentifierExtension,
  buildCertificate,
  buildCertsOnly,
  buildSignedData,
  type Certificate,
  caBasicConstraintsExtension,
  type Extension,
  endEntityBasicConstraintsExtension,
  extKeyUsageExtension,
  type KeyUsage,
  keyIdentifier,
  keyUsageExtension,
  nameFromString,
  oid,
  parseCertificate,
  subjectKeyIdentifierExtension,
} from '../../src/codec/index.ts';
import type { FailInfo } from '../../src/errors.ts';
import {
  buildAttributes,
  buildCapabilities,
  buildFailure,
  buildSuccess,
  contentTypes,
  decodeMessageParameter,
  type OpenedRequest,
  openPkcsReq,
  operationOf,
  type PkiMessage,
  parseScepQuery,
  readPkiMessage,
  refusedByDefault,
  serverCapabilities,
  verifyPkiMessage,
} from '../../src/scep/index.ts';
import { certificates, clientAuth, keys, rsaKey, type TestKey } from './mdm-fixture.ts';

const DAY_MS = 24 * 60 * 60 * 1000;

/** A certificate with its key. */
export interface Holder {
  readonly certificate: Certificate;
  readonly key: TestKey;
}

/** What a certificate of a test says. */
export interface IssueFields {
  readonly subject: string;
  readonly spki: Uint8Array;
  readonly issuer: Holder;
  readonly keyUsage?: readonly KeyUsage[];
  readonly extKeyUsage?: readonly string[];
  /** Makes it a CA's; the number is the path length. */
  readonly ca?: { readonly pathLength?: number };
  readonly notBefore?: Date;
  readonly notAfter?: Date;
  readonly more?: readonly Extension[];
  readonly signatureAlgorithm?: 'rsa-sha1' | 'rsa-sha256';
}

/** Makes a certificate, valid from yesterday for 30 days unless told otherwise. */
export async function issue(fields: IssueFields): Promise<Certificate> {
  const { subject, spki, issuer, keyUsage = ['digitalSignature', 'keyEncipherment'], ca } = fields;
  const der = await buildCertificate(
    {
      serialNumber: `4a${randomBytes(8).toString('hex')}`,
      signatureAlgorithm: fields.signatureAlgorithm ?? 'rsa-sha256',
      issuer: issuer.certificate.subject,
      notBefore: fields.notBefore ?? new Date(Date.now() - DAY_MS),
      notAfter: fields.notAfter ?? new Date(Date.now() + 30 * DAY_MS),
      subject: nameFromString(subject),
      spki,
      extensions: [
        ca === undefined ? endEntityBasicConstraintsExtension() : caBasicConstraintsExtension(ca.pathLength),
        keyUsageExtension(keyUsage),
        ...(fields.extKeyUsage === undefined ? [] : [extKeyUsageExtension(fields.extKeyUsage)]),
        subjectKeyIdentifierExtension(keyIdentifier(spki)),
        authorityKeyIdentifierExtension(keyIdentifier(issuer.certificate.spki)),
        ...(fields.more ?? []),
      ],
    },
    issuer.key.sign,
  );
  return parseCertificate(der);
}

/** The root and issuing CA of the MDM fixture. */
export const root: Holder = { certificate: certificates.root, key: keys.root };
export const issuing: Holder = { certificate: certificates.issuing, key: keys.issuing };

const raKey = rsaKey();

/** The RA of the test: one certificate that signs and decrypts. */
export const ra: Holder = {
  key: raKey,
  certificate: await issue({
    subject: 'CN=Test RA,O=Test',
    spki: raKey.spki,
    issuer: issuing,
    extKeyUsage: [oid.certificateRequestAgent],
  }),
};

/** How the server answers a PKIOperation. */
export type ScepAnswer =
  /** The certificate; the same for the same transaction. */
  | { readonly answer: 'issue' }
  /** Issues and remembers, but the connection breaks before the answer. */
  | { readonly answer: 'lose' }
  | { readonly answer: 'failure'; readonly failInfo: FailInfo; readonly failInfoText?: string }
  | { readonly answer: 'pending' }
  /** Another certificate than the one that was asked for. */
  | {
      readonly answer: 'wrong';
      readonly certificate: (opened: OpenedRequest) => Promise<Certificate> | Certificate;
    }
  /** The certificate, in an answer that somebody else signs. */
  | { readonly answer: 'signed by'; readonly signer: Holder }
  | {
      readonly answer: 'http';
      readonly status: number;
      readonly headers?: Record<string, string>;
      readonly body?: string | Uint8Array;
    };

/** What the server was asked. */
export interface ScepRequest {
  readonly method: string;
  /** Path and query as they came. */
  readonly target: string;
  readonly operation: string;
  /** Octets of the PKIMessage; empty for other operations. */
  readonly message: Uint8Array;
  readonly contentType: string | undefined;
}

/** A request that could be read. */
export interface ScepTransaction {
  readonly transactionID: string;
  readonly spki: Uint8Array;
  /** DER. */
  readonly csr: Uint8Array;
  readonly digest: string;
  readonly cipher: string;
}

/** How a test server behaves. All fields may be changed while it runs. */
export interface ScepBehaviour {
  /** Keywords, or an HTTP status. */
  capabilities: readonly string[] | number;
  /** Certificates that GetCACert serves. */
  served: readonly Certificate[];
  /** Answers instead of GetCACert's own, if there is one. */
  getCaCert: ScepAnswer | undefined;
  /** Whether a CertPoll finds its request; FAILURE badCertId if not. */
  polls: boolean;
  /** `count` is the number of PKIOperations so far, this one included. */
  pkiOperation: (count: number) => ScepAnswer;
}

/** A running test server. */
export interface TestScepServer {
  /** Ends in `mscep.dll`, as NDES's does. */
  readonly url: string;
  readonly behaviour: ScepBehaviour;
  readonly requests: readonly ScepRequest[];
  readonly transactions: readonly ScepTransaction[];
  /** PKIOperations alone. */
  pkiOperations(): ScepRequest[];
  close(): Promise<void>;
}

/** Opens a server that does everything right; change `behaviour` to spoil it. With `tls` it speaks HTTPS. */
export async function openTestScepServer(tls?: {
  readonly cert: string;
  readonly key: string;
}): Promise<TestScepServer> {
  const behaviour: ScepBehaviour = {
    capabilities: serverCapabilities,
    served: [ra.certificate, issuing.certificate, root.certificate],
    getCaCert: undefined,
    polls: true,
    pkiOperation: () => ({ answer: 'issue' }),
  };
  const requests: ScepRequest[] = [];
  const transactions: ScepTransaction[] = [];
  const issued = new Map<string, Certificate>();
  const transactionsByID = new Map<string, OpenedRequest>();

  async function serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const target = request.url ?? '';
    const query = parseScepQuery(target.slice(target.indexOf('?') + 1));
    const operation = operationOf(query) ?? '';
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    const message =
      operation !== 'PKIOperation'
        ? Uint8Array.of()
        : request.method === 'POST'
          ? Buffer.concat(chunks)
          : decodeMessageParameter(query.message ?? '');
    requests.push({
      method: request.method ?? '',
      target,
      operation,
      message,
      contentType: request.headers['content-type'],
    });
    if (operation === 'GetCACaps') {
      const { capabilities } = behaviour;
      if (typeof capabilities === 'number') return send(response, capabilities, 'text/plain', 'no');
      return send(response, 200, contentTypes.capabilities, buildCapabilities(capabilities));
    }
    if (operation === 'GetCACert') {
      if (behaviour.getCaCert?.answer === 'http') return sendHttp(response, behaviour.getCaCert);
      const body = buildCertsOnly(behaviour.served.map((certificate) => certificate.raw));
      return send(response, 200, contentTypes.caAndRaCertificates, body);
    }
    const answer = behaviour.pkiOperation(
      requests.filter((each) => each.operation === 'PKIOperation').length,
    );
    if (answer.answer === 'http') return sendHttp(response, answer);
    const verified = verifyPkiMessage(readPkiMessage(message));
    if (verified.messageType === 'CertPoll' && !behaviour.polls) {
      const failure = { failInfo: 'badCertId' } as const;
      const answerSigner = { certificate: ra.certificate, chain: [ra.certificate.raw], sign: ra.key.sign };
      const body = await buildFailure(verified, failure, answerSigner, randomBytes(16));
      return send(response, 200, contentTypes.pkiMessage, body);
    }
    const asked = transactionsByID.get(verified.transactionID);
    const opened =
      verified.messageType === 'CertPoll' && asked !== undefined
        ? asked
        : await openPkcsReq(verified, ra.key.decrypt, refusedByDefault);
    transactionsByID.set(verified.transactionID, opened);
    transactions.push({
      transactionID: verified.transactionID,
      spki: opened.csr.spki,
      csr: opened.csr.raw,
      digest: verified.digest,
      cipher: opened.cipher,
    });
    const body = await certRep(answer, verified, opened);
    if (answer.answer === 'lose') return void response.destroy();
    send(response, 200, contentTypes.pkiMessage, body);
  }

  async function certRep(
    answer: ScepAnswer,
    verified: PkiMessage,
    opened: OpenedRequest,
  ): Promise<Uint8Array> {
    const signer = answer.answer === 'signed by' ? answer.signer : ra;
    const answerSigner = {
      certificate: signer.certificate,
      chain: [signer.certificate.raw],
      sign: signer.key.sign,
    };
    const nonce = randomBytes(16);
    if (answer.answer === 'failure') {
      const { failInfo, failInfoText } = answer;
      const failure = { failInfo, ...(failInfoText === undefined ? {} : { failInfoText }) };
      return await buildFailure(verified, failure, answerSigner, nonce);
    }
    if (answer.answer === 'pending') return await pending(verified, ra);
    let certificate = issued.get(verified.transactionID);
    if (answer.answer === 'wrong') certificate = await answer.certificate(opened);
    certificate ??= await issue({
      subject: 'CN=issued,O=Test',
      spki: opened.csr.spki,
      issuer: issuing,
      extKeyUsage: [clientAuth],
    });
    issued.set(verified.transactionID, certificate);
    return await buildSuccess(verified, opened, certificate.raw, answerSigner, nonce);
  }

  const listener = (request: IncomingMessage, response: ServerResponse) => {
    serve(request, response).catch((cause: unknown) => {
      send(response, 500, 'text/plain', String(cause));
    });
  };
  const limits = { maxHeaderSize: 131_072 };
  const server =
    tls === undefined ? createServer(limits, listener) : createTlsServer({ ...limits, ...tls }, listener);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  return {
    url: `${tls === undefined ? 'http' : 'https'}://127.0.0.1:${port}/certsrv/mscep/mscep.dll`,
    behaviour,
    requests,
    transactions,
    pkiOperations: () => requests.filter((request) => request.operation === 'PKIOperation'),
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

/** A CertRep with pkiStatus PENDING, which our own server never sends (RFC 8894 §3.3.2.3). */
function pending(message: PkiMessage, signer: Holder): Promise<Uint8Array> {
  return buildSignedData(
    {
      content: undefined,
      digest: message.digest,
      signer: signer.certificate,
      certificates: [signer.certificate.raw],
      attributes: buildAttributes({
        messageType: 'CertRep',
        transactionID: message.transactionID,
        pkiStatus: 'PENDING',
        senderNonce: randomBytes(16),
        ...(message.senderNonce === undefined ? {} : { recipientNonce: message.senderNonce }),
      }),
    },
    signer.key.sign,
  );
}

function sendHttp(response: ServerResponse, answer: Extract<ScepAnswer, { answer: 'http' }>): void {
  response.writeHead(answer.status, answer.headers ?? { 'content-type': 'text/plain' });
  response.end(answer.body ?? '');
}

function send(
  response: ServerResponse,
  status: number,
  contentType: string,
  body: string | Uint8Array,
): void {
  response.writeHead(status, { 'content-type': contentType, 'content-length': Buffer.byteLength(body) });
  response.end(body);
}
