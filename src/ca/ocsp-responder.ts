/** The OCSP responder (RFC 6960, RFC 5019): what the store knows about a certificate, signed. */
import {
  buildOcspError,
  buildOcspResponse,
  type CertID,
  type Certificate,
  certIDText,
  type DigestName,
  extendedRevokeExtension,
  issuerHashes,
  type OcspCertStatus,
  type OcspErrorName,
  ocspNonceExtension,
  parseOcspRequest,
  sameOctets,
} from '../codec/index.ts';
import { PkiError } from '../errors.ts';
import type { CaStore, CertificateRecord } from '../store/index.ts';
import type { Clock, Log } from '../telemetry.ts';
import type { OcspSigner } from './ocsp-signer.ts';

/** A CA that is answered for. */
export interface OcspIssuer {
  /** Name in the configuration. */
  readonly name: string;
  readonly certificate: Certificate;
  /** Who signs for this CA now; `undefined` if nobody can. */
  readonly signer: () => Promise<OcspSigner | undefined>;
}

/** What is said of a serial number that the CA never used. */
export type NeverIssuedStatus =
  /** RFC 6960 §2.2: the status is not known. A client may look elsewhere, for example into the CRL. */
  | 'unknown'
  /** §2.2: revoked, on hold, since 1970: a client that accepts `unknown` refuses a certificate that the CA never made. */
  | 'revoked';

/** What a responder is opened with. */
export interface OcspResponderOptions {
  readonly issuers: readonly OcspIssuer[];
  readonly store: Pick<CaStore, 'certificateBySerial'>;
  readonly neverIssued: NeverIssuedStatus;
  /** From signing to `nextUpdate`. */
  readonly lifetimeMs: number;
  readonly clock: Clock;
  readonly log: Log;
}

/** An answer on its way out. */
export interface OcspAnswer {
  /** DER OCSPResponse. */
  readonly response: Uint8Array;
  /** The span in which the answer may be given again to whoever asks the same; absent if to nobody. */
  readonly reusable?: { readonly thisUpdate: Date; readonly nextUpdate: Date };
}

/** A signed answer, for as long as what it says is what the store says. */
interface Signed {
  readonly status: string;
  readonly answer: Promise<OcspAnswer>;
  readonly signedAtMs: number;
}

/** About 2 KB each. What is asked most often stays; a client that asks for everything once displaces no more than this. */
const SIGNED_MAX = 10_000;
/** As the CRL: thisUpdate lies ten minutes back, for relying parties whose clock is behind. */
const BACKDATE_MS = 10 * 60 * 1000;
/** What may change by the next issuance must not be believed for long. */
const NEVER_ISSUED_LIFETIME_MS = 5 * 60 * 1000;
/** More signatures than this at once would only make all of them late. */
const SIGNING_MAX = 256;

/**
 * Answers requests from the store.
 *
 * The status is read anew for every answer, so a revocation that is on record is in the very next one, whoever recorded
 * it; only the signature is spared while the status is the same. The order of the two ways to learn of a revocation is
 * therefore: OCSP at once, the CRL with its next edition. What `CertificateAuthority.publishCrls` lists is what is
 * answered as revoked, with the same time and reason: revoked certificates and abandoned intents.
 */
export class OcspResponder {
  readonly #options: OcspResponderOptions;
  readonly #signed = new Map<string, Signed>();
  readonly #hashes = new Map<string, ReturnType<typeof issuerHashes>>();
  #signing = 0;

  constructor(options: OcspResponderOptions) {
    this.#options = options;
  }

  /** The answer to a DER OCSPRequest. Never throws: what goes wrong is an answer too (RFC 6960 §2.3). */
  async respond(request: Uint8Array): Promise<OcspAnswer> {
    try {
      return await this.#respond(request);
    } catch (cause) {
      if (!(cause instanceof PkiError) || cause.kind === 'bug' || cause.kind === 'misconfigured') {
        this.#options.log.error({ err: cause }, 'an OCSP request could not be answered');
        return failed('internalError');
      }
      if (cause.kind === 'malformed') return failed('malformedRequest');
      this.#options.log.warn({ err: cause }, 'an OCSP request cannot be answered now');
      return failed('tryLater');
    }
  }

  async #respond(request: Uint8Array): Promise<OcspAnswer> {
    const { certIDs, nonce } = parseOcspRequest(request);
    const [first, ...rest] = certIDs;
    const issuer = first === undefined ? undefined : this.#issuerOf(first);
    // RFC 5019 §2.2.3. One signer can speak for one CA alone (RFC 6960 §4.2.2.2), so all must be of the same.
    if (first === undefined || issuer === undefined) return failed('unauthorized');
    if (rest.some((other) => this.#issuerOf(other) !== issuer)) return failed('unauthorized');
    const records = await Promise.all(
      certIDs.map((certID) => this.#options.store.certificateBySerial(issuer.name, certID.serialNumber)),
    );
    const statuses = records.map((record) => this.#statusOf(record));
    // RFC 9654 §2.1: an answer to a nonce is made for it. Answers about several are asked for by nobody twice.
    if (nonce !== undefined || rest.length > 0 || records[0] === undefined || records[0].status === 'intent')
      return await this.#sign(issuer, certIDs, statuses, nonce);
    return await this.#presigned(issuer, first, statuses[0] as OcspCertStatus);
  }

  #issuerOf(certID: CertID): OcspIssuer | undefined {
    const { hashAlgorithm } = certID;
    if (hashAlgorithm === undefined) return undefined;
    return this.#options.issuers.find((issuer) => {
      const { issuerNameHash, issuerKeyHash } = this.#hashesOf(issuer, hashAlgorithm);
      return (
        sameOctets(issuerNameHash, certID.issuerNameHash) && sameOctets(issuerKeyHash, certID.issuerKeyHash)
      );
    });
  }

  #hashesOf(issuer: OcspIssuer, hashAlgorithm: DigestName): ReturnType<typeof issuerHashes> {
    const key = `${hashAlgorithm} ${issuer.name}`;
    const known = this.#hashes.get(key);
    if (known !== undefined) return known;
    const hashes = issuerHashes(issuer.certificate, hashAlgorithm);
    this.#hashes.set(key, hashes);
    return hashes;
  }

  #statusOf(record: CertificateRecord | undefined): OcspCertStatus {
    if (record === undefined) {
      return this.#options.neverIssued === 'revoked'
        ? // §2.2: reason certificateHold, and the first second of 1970.
          { status: 'revoked', revocationTime: new Date(0), revocationReason: 'certificateHold' }
        : { status: 'unknown' };
    }
    if (record.revokedAt !== undefined) {
      return {
        status: 'revoked',
        revocationTime: record.revokedAt,
        revocationReason: record.revocationReason ?? 'unspecified',
      };
    }
    // An intent is not issued and not unused either: what it becomes is decided within seconds.
    return { status: record.status === 'issued' ? 'good' : 'unknown' };
  }

  /** The answer that was signed before, if it still says what the store says and has half of its life before it. */
  async #presigned(issuer: OcspIssuer, certID: CertID, status: OcspCertStatus): Promise<OcspAnswer> {
    const key = `${issuer.name} ${certIDText(certID)}`;
    const statusText = JSON.stringify(status);
    const nowMs = this.#options.clock.now().getTime();
    const kept = this.#signed.get(key);
    this.#signed.delete(key);
    const ageMs = kept === undefined ? 0 : nowMs - kept.signedAtMs;
    if (kept?.status === statusText && ageMs >= 0 && ageMs < this.#options.lifetimeMs / 2) {
      this.#signed.set(key, kept);
      return await kept.answer;
    }
    const signed: Signed = {
      status: statusText,
      answer: this.#sign(issuer, [certID], [status], undefined),
      signedAtMs: nowMs,
    };
    this.#signed.set(key, signed);
    for (const oldest of this.#signed.keys()) {
      if (this.#signed.size <= SIGNED_MAX) break;
      this.#signed.delete(oldest);
    }
    try {
      const answer = await signed.answer;
      // An error is not a status: the next one to ask gets a new try.
      if (answer.reusable === undefined) this.#forget(key, signed);
      return answer;
    } catch (cause) {
      this.#forget(key, signed);
      throw cause;
    }
  }

  #forget(key: string, signed: Signed): void {
    if (this.#signed.get(key) === signed) this.#signed.delete(key);
  }

  async #sign(
    issuer: OcspIssuer,
    certIDs: readonly CertID[],
    statuses: readonly OcspCertStatus[],
    nonce: Uint8Array | undefined,
  ): Promise<OcspAnswer> {
    const { clock, lifetimeMs, neverIssued } = this.#options;
    const signer = await issuer.signer();
    if (signer === undefined || this.#signing >= SIGNING_MAX) return failed('tryLater');
    const producedAt = clock.now();
    const thisUpdate = toSecond(producedAt.getTime() - BACKDATE_MS);
    const isIssued = (status: OcspCertStatus) =>
      status.status === 'good' || (status.status === 'revoked' && status.revocationTime.getTime() > 0);
    const lasts = statuses.every(isIssued) ? lifetimeMs : Math.min(lifetimeMs, NEVER_ISSUED_LIFETIME_MS);
    // RFC 6960 §4.2.2.2: nobody can check an answer after its signer's certificate has ended.
    const nextUpdate = toSecond(
      Math.min(producedAt.getTime() + lasts, signer.certificate.notAfter.getTime()),
    );
    this.#signing += 1;
    try {
      const response = await buildOcspResponse(
        {
          signerSpki: signer.key.spki,
          signatureAlgorithm: signer.signatureAlgorithm,
          producedAt,
          responses: certIDs.map((certID, index) => ({
            certID,
            certStatus: statuses[index] as OcspCertStatus,
            thisUpdate,
            nextUpdate,
          })),
          extensions: [
            ...(nonce === undefined ? [] : [ocspNonceExtension(nonce)]),
            // §4.4.8: MUST stand where a serial that was never issued is answered as revoked, and may anywhere else.
            ...(neverIssued === 'revoked' ? [extendedRevokeExtension()] : []),
          ],
          certificates: [signer.certificate.raw],
        },
        (algorithm, data) => signer.key.sign(algorithm, data),
      );
      const reusable = nonce === undefined && statuses.length === 1 && statuses.every(isIssued);
      return { response, ...(reusable ? { reusable: { thisUpdate, nextUpdate } } : {}) };
    } finally {
      this.#signing -= 1;
    }
  }
}

function failed(name: OcspErrorName): OcspAnswer {
  return { response: buildOcspError(name) };
}

function toSecond(ms: number): Date {
  return new Date(Math.floor(ms / 1000) * 1000);
}
