/** Whether CRL and OCSP say the same about every certificate: the two are made apart and must never disagree. */
import {
  buildCertID,
  buildOcspRequest,
  type Certificate,
  type Crl,
  type OcspCertStatus,
  parseOcspResponse,
  type RevokedCertificate,
  verifyOcspResponse,
} from '../codec/index.ts';

/** A certificate that the two tell different stories about. */
export interface OcspDisagreement {
  readonly serialNumber: string;
  /** `not listed`, or `revoked`, reason and time. */
  readonly crl: string;
  /** `good`, `unknown`, or `revoked`, reason and time; or what is wrong with the answer. */
  readonly ocsp: string;
}

/** What is compared. */
export interface OcspComparison {
  readonly issuer: Certificate;
  /** Full CRLs of the issuer, which are its parts together; behind them the deltas to them, if there are any. */
  readonly crls: readonly Crl[];
  /** Serial numbers of certificates that have not ended (a CRL drops those), and of any that were never issued. */
  readonly serialNumbers: Iterable<string> | AsyncIterable<string>;
  /** Sends one DER OCSPRequest to a responder and answers its DER OCSPResponse. */
  readonly ask: (request: Uint8Array) => Promise<Uint8Array>;
  readonly at: Date;
}

/**
 * Asks a responder about every serial number, and about every one in the CRLs, and answers where the two disagree.
 *
 * They agree if what a CRL lists is answered as revoked with the same time and reason, and nothing else is but serial
 * numbers that were never issued (RFC 6960 §2.2: on hold since 1970). OCSP is ahead of a CRL by the revocations that
 * were recorded after it: compare with a CRL that was made since.
 *
 * @throws PkiError `ocsp_malformed` if an answer cannot be read, and whatever `ask` throws.
 */
export async function compareCrlsWithOcsp(comparison: OcspComparison): Promise<OcspDisagreement[]> {
  const listed = new Map<string, RevokedCertificate>();
  for (const entry of comparison.crls.flatMap((crl) => crl.revoked)) {
    // RFC 5280 §5.2.4: a delta says of a certificate that it is on hold no longer.
    if (entry.reason === 'removeFromCRL') listed.delete(entry.serialNumber);
    else listed.set(entry.serialNumber, entry);
  }
  const disagreements: OcspDisagreement[] = [];
  const compare = async (serialNumber: string): Promise<void> => {
    const entry = listed.get(serialNumber);
    const crl = entry === undefined ? 'not listed' : revokedText(entry.reason, entry.revocationDate);
    const ocsp = await answerAbout(serialNumber, comparison);
    const agree = entry === undefined ? ['good', 'unknown', neverIssuedText].includes(ocsp) : ocsp === crl;
    if (!agree) disagreements.push({ serialNumber, crl, ocsp });
  };
  const compared = new Set<string>();
  for await (const serialNumber of comparison.serialNumbers) {
    await compare(serialNumber);
    if (listed.has(serialNumber)) compared.add(serialNumber);
  }
  for (const serialNumber of listed.keys()) if (!compared.has(serialNumber)) await compare(serialNumber);
  return disagreements;
}

async function answerAbout(serialNumber: string, { issuer, ask, at }: OcspComparison): Promise<string> {
  const certID = buildCertID(issuer, serialNumber, 'sha256');
  const response = parseOcspResponse(await ask(buildOcspRequest({ certIDs: [certID] })));
  if (response.responseStatus !== 'successful') return response.responseStatus;
  const { basic } = response;
  if (!verifyOcspResponse(basic, issuer, at)) return 'an answer that is not signed by the responder';
  const [single] = basic.responses;
  if (single?.certID.serialNumber !== serialNumber) return 'an answer about another certificate';
  return statusText(single.certStatus);
}

function statusText(certStatus: OcspCertStatus): string {
  return certStatus.status === 'revoked'
    ? revokedText(certStatus.revocationReason, certStatus.revocationTime)
    : certStatus.status;
}

function revokedText(reason: string, time: Date): string {
  return `revoked (${reason}) ${new Date(Math.floor(time.getTime() / 1000) * 1000).toISOString()}`;
}

const neverIssuedText = revokedText('certificateHold', new Date(0));
