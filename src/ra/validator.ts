/** What a validator is asked, and what it may say. */
import type { Certificate, CertificationRequest, GeneralName, Name } from '../codec/index.ts';
import type { ErrorCode } from '../errors.ts';

/** A device's wish for a certificate, as a door hands it to the RA. */
export interface EnrolmentRequest {
  /** Name of the endpoint in the configuration that the request came in by. */
  readonly endpoint: string;
  /** RFC 8894 §3.2.1.1; chosen by the client, so no proof of anything. */
  readonly transactionID: string;
  /** Parsed; its signature (proof of possession) is verified. What it says about itself is the client's claim. */
  readonly csr: CertificationRequest;
  /** The challengePassword of `csr`; a secret: it goes into no log. */
  readonly challengePassword: string;
  /**
   * The certificate that the message is signed with, if that is not self-signed for the purpose: the door has verified that
   * the sender holds its key, and nothing else. `expressly`: the message says that it is a renewal (RFC 8894 §3.3.1:
   * RenewalReq); then it is here whatever it is.
   */
  readonly renews?: { readonly signer: Certificate; readonly asked: 'expressly' | 'implicitly' };
  /** DER of the SubjectPublicKeyInfo that the message is signed with: who asks for it later has to hold this key. */
  readonly signerSpki?: Uint8Array;
  /** Where it came from, for the log only: never a ground for a decision. */
  readonly source: string;
  readonly receivedAt: Date;
}

/** What a validator itself knows of who asks; a part that it does not know is absent. */
export interface DirectoryEntry {
  readonly subject?: Name;
  readonly subjectAltName?: readonly GeneralName[];
  /** SID of the account in Windows' directory: `S-1-5-21-…`. */
  readonly securityIdentifier?: string;
}

/**
 * The answer of a validator. Only `accept` lets a request go on; one with `approval`, as far as a certificate manager.
 *
 * `device` is what the validator knows the device by, if it says so. `names` is `vouched` if it has compared the request's
 * subjectAltName with what it knows, and `claimed` if the names are the client's own word. `directory` is what templates
 * take that build names “from the directory”: `as-requested` if the validator has compared subject and subjectAltName of
 * the request with what it knows, without telling it; absent if it knows nothing. `detail` goes into the audit list and never onto
 * the wire: it may carry the validation service's own code verbatim, and no secret.
 */
export type Verdict =
  | {
      readonly verdict: 'accept';
      readonly names: 'vouched' | 'claimed';
      readonly directory?: DirectoryEntry | 'as-requested';
      readonly device?: string;
      readonly approval?: 'certificateManager';
    }
  | { readonly verdict: 'refuse'; readonly code: ErrorCode; readonly detail: string }
  | { readonly verdict: 'unreachable'; readonly detail: string };

/** Says whether a request may have a certificate. A validator never throws: what it cannot find out is `unreachable`. */
export interface Validator {
  readonly name: string;
  /** `single`: one challenge serves one key. `shared`: a secret that many use. `none`: it asks for no challenge. */
  readonly challengeUse: 'single' | 'shared' | 'none';
  validate(request: EnrolmentRequest): Promise<Verdict>;
  /** Before the certificate is delivered; anything but `accept` withholds it. */
  notifySuccess?(request: EnrolmentRequest, certificate: Certificate): Promise<Verdict>;
  /** Tells that no certificate was made. A failure of the call itself is logged and otherwise without effect. */
  notifyFailure?(
    request: EnrolmentRequest,
    failure: { readonly hResult: number; readonly description: string },
  ): Promise<void>;
}
