/** What is fuzzed: everything that reads octets of strangers. Each target may throw nothing but a PkiError. */
import {
  basicConstraintsOf,
  DerReader,
  extKeyUsageOf,
  generalNamesToString,
  keyUsageOf,
  nameToString,
  normalizeBer,
  openEnvelopedData,
  parseCertificate,
  parseCertificationRequest,
  parseCrl,
  parseEnvelopedData,
  parseOcspRequest,
  parseOcspResponse,
  parsePublicKeyInfo,
  parseSignedData,
  signerCertificateOf,
  subjectAltNameOf,
  tag,
  verifyCertificationRequest,
  verifySigner,
} from '../../src/codec/index.ts';
import { PkiError } from '../../src/errors.ts';
import {
  buildCapabilities,
  decodeMessageParameter,
  failInfoOf,
  failInfoTextOf,
  messageTypeOf,
  nonceOf,
  openPkcsReq,
  operationOf,
  parseCaCertificates,
  parseCapabilities,
  parseCertRep,
  parseScepQuery,
  pkiStatusOf,
  readPkiMessage,
  refusedByDefault,
  verifyPkiMessage,
} from '../../src/scep/index.ts';
import type { Target } from './engine.ts';

/** A PkiError is an answer, unless it says that an invariant broke. */
export function isExpected(thrown: unknown): boolean {
  return thrown instanceof PkiError && thrown.kind !== 'bug';
}

/** The value, or `undefined` if it is refused as it may be: what comes afterwards is to be reached all the same. */
function attempt<T>(act: () => T): T | undefined {
  try {
    return act();
  } catch (thrown) {
    if (isExpected(thrown)) return undefined;
    throw thrown;
  }
}

/** The verbs of a reader, each on the same element: none may do more than refuse. */
const verbs: readonly ((reader: DerReader) => unknown)[] = [
  (reader) => reader.boolean(),
  (reader) => reader.integer(),
  (reader) => reader.smallInteger(),
  (reader) => reader.oid(),
  (reader) => reader.octetString(),
  (reader) => reader.bitStringOctets(),
  (reader) => reader.null(),
  (reader) => reader.text(),
  (reader) => reader.time(),
];

/** Elements of an input on which every verb is tried; on the rest it is tried what a reader makes of their structure. */
const TRIED_MAX = 48;

function walk(reader: DerReader, tried = { count: 0 }): void {
  while (!reader.done) {
    const raw = reader.raw();
    if (tried.count++ < TRIED_MAX) for (const verb of verbs) attempt(() => verb(new DerReader(raw)));
    const inside =
      ((raw[0] ?? 0) & 0x20) === 0
        ? undefined
        : attempt(() => new DerReader(raw).enter(raw[0] ?? tag.sequence));
    if (inside !== undefined) attempt(() => walk(inside, tried));
  }
}

/** Whoever encrypts the content key not at all: the seeds carry it as it is. */
const decrypt = (_transport: unknown, encryptedKey: Uint8Array) => Promise.resolve(encryptedKey);

/** All targets, by the names that `--target` takes. */
export const targets: Readonly<Record<string, Target>> = {
  der(input) {
    attempt(() => walk(new DerReader(input)));
    walk(new DerReader(normalizeBer(input)));
  },

  certificate(input) {
    const certificate = parseCertificate(input);
    attempt(() => keyUsageOf(certificate));
    attempt(() => extKeyUsageOf(certificate));
    attempt(() => basicConstraintsOf(certificate));
    attempt(() => generalNamesToString(subjectAltNameOf(certificate)));
    attempt(() => parsePublicKeyInfo(certificate.spki));
    nameToString(certificate.subject);
    nameToString(certificate.issuer);
  },

  crl: (input) => parseCrl(input),

  csr(input) {
    const csr = parseCertificationRequest(input);
    nameToString(csr.subject);
    attempt(() => keyUsageOf(csr));
    attempt(() => extKeyUsageOf(csr));
    attempt(() => generalNamesToString(subjectAltNameOf(csr)));
    attempt(() => parsePublicKeyInfo(csr.spki));
    verifyCertificationRequest(csr);
  },

  cms(input) {
    attempt(() => parseEnvelopedData(input));
    const signedData = parseSignedData(input);
    for (const signerInfo of signedData.signerInfos) {
      const signer = signerCertificateOf(signedData, signerInfo);
      if (signer !== undefined) attempt(() => verifySigner(signedData, signerInfo, signer));
    }
  },

  /** A PKIMessage at the server, past its signature even if that is wrong: mutation cannot sign. */
  async 'scep-server'(input) {
    const received = readPkiMessage(input);
    attempt(() => verifyPkiMessage(received));
    const { signerInfo, signedData } = received;
    const messageType = attempt(() => messageTypeOf(signerInfo));
    const senderNonce = attempt(() => nonceOf(signerInfo, 'senderNonce'));
    await openPkcsReq(
      {
        ...received,
        messageType,
        digest: 'sha256',
        ...(senderNonce === undefined ? {} : { senderNonce }),
        ...(signedData.content === undefined ? {} : { pkcsPKIEnvelope: signedData.content }),
      },
      decrypt,
      refusedByDefault,
    );
  },

  /** What a server may answer to a client: CertRep, GetCACert, GetCACaps. */
  async 'scep-client'(input) {
    attempt(() => parseCaCertificates(input, 'application/x-x509-ca-ra-cert'));
    buildCapabilities([...parseCapabilities(Buffer.from(input).toString('latin1'))]);
    const signedData = parseSignedData(input);
    const [signerInfo] = signedData.signerInfos;
    if (signerInfo === undefined) return;
    for (const read of [pkiStatusOf, failInfoOf, failInfoTextOf] as const) attempt(() => read(signerInfo));
    attempt(() => nonceOf(signerInfo, 'recipientNonce'));
    if (signedData.content !== undefined && signedData.content.length > 0)
      parseSignedData(await openEnvelopedData(parseEnvelopedData(signedData.content), decrypt));
    await parseCertRep(input, {
      signers: signedData.certificates,
      transactionID: 'fuzz',
      senderNonce: new Uint8Array(16),
      decrypt,
    });
  },

  /** The query of a GET, with the message in it. */
  'scep-query'(input) {
    const query = parseScepQuery(Buffer.from(input).toString('latin1'));
    operationOf(query);
    if (query.message !== undefined) decodeMessageParameter(query.message);
  },

  'ocsp-request': (input) => parseOcspRequest(input),

  'ocsp-response': (input) => parseOcspResponse(input),
};
