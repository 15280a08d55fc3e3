/** An issuing CA as a value. */
import type { Certificate, SignatureAlgorithmName } from '../codec/index.ts';
import type { PrivateKey } from '../keys/index.ts';

/** When a new CRL is made besides at its time: at once after a revocation in full, as a delta, or not before its time. */
export type CrlAtRevocation = 'full' | 'delta' | 'scheduled';

/** An issuing CA: who it is, the key it signs with, and where its CRL and certificate are to be found. */
export interface Issuer {
  /** Name in the configuration. */
  readonly name: string;
  readonly certificate: Certificate;
  /** DER from the issuing certificate up to and including the root. */
  readonly chain: readonly Uint8Array[];
  readonly key: PrivateKey;
  /**
   * What an intent must outlive before the key signs. `process`: the key is in this process's memory, and so is its
   * signature until that is on record. `machine`: the key is in a token or a vault, where a signature can be known after
   * this machine lost power. `process` if absent.
   */
  readonly intentSurvives?: 'process' | 'machine';
  readonly signatureAlgorithm: SignatureAlgorithmName;
  /** Where the CRL of this CA is served. */
  readonly crlUrls: readonly string[];
  /** Where the certificate of this CA is served. */
  readonly caIssuersUrls: readonly string[];
  /** Where an OCSP responder answers for this CA; absent if none does. */
  readonly ocspUrls?: readonly string[];
  /** How long a CRL counts; a new one is due well before. */
  readonly crlPeriodMs: number;
  /** How long before `nextUpdate` the next CRL is made, for relying parties that cannot be reached in between. */
  readonly crlOverlapMs: number;
  /** How long a delta CRL counts, besides its overlap; absent: there are none. */
  readonly deltaCrlPeriodMs?: number;
  /** When a revocation brings a new CRL; absent: at once, as a delta where there are deltas. */
  readonly crlAtRevocation?: CrlAtRevocation;
  /** Over how many partitions the CRL of new certificates is spread; absent or 1: it is not divided. */
  readonly crlPartitions?: number;
}
