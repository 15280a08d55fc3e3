/** The RA's yes, as a value that the CA can trust to come from the RA. */
import type { CertificationRequest, GeneralName, KeyUsage, Name } from '../codec/index.ts';
import type { AcceptedEnrolment } from '../store/index.ts';

/** What the RA approved. The CA builds the certificate from this and the template, never from the request. */
export interface Approval {
  /** The RA's number of this request; the CA makes at most one live certificate for it. */
  readonly requestID: string;
  /** Name of the issuing CA. */
  readonly issuer: string;
  /** Name of the template. */
  readonly template: string;
  /** The request as it was parsed; the CA takes its key from here and checks the proof of possession itself. */
  readonly csr: CertificationRequest;
  readonly subject: Name;
  readonly subjectAltName: readonly GeneralName[];
  /** The SID of the account, on the word of a validator; never the request's own. */
  readonly securityIdentifier?: string;
  /** A part of the template's bits; its default if absent. */
  readonly keyUsage?: readonly KeyUsage[];
  /** A part of the template's purposes; its default if absent. */
  readonly extKeyUsage?: readonly string[];
  /** The RA's service identity (AD CS: Requester Name). */
  readonly requester: string;
  /** The device, as far as the RA knows it. */
  readonly device: string;
  /**
   * The RA's claim on the challenge that this request spends, for the transaction that records the intent: a challenge
   * is spent exactly if a certificate was begun. Absent if the claim is on record, or there is none.
   */
  readonly claim?: AcceptedEnrolment;
  /** Who has said yes in person; absent if nobody was asked. */
  readonly approvedBy?: string;
  /** The RA's signature over the rest, as `approval-signature.ts` says; absent where no template asks for it. */
  readonly raSignature?: Uint8Array;
}

/** Known to this file alone: `private` binds the compiler, this binds the runtime. */
const minting = Symbol('minting');

/**
 * An approval that was minted, and by nobody but the RA: nothing but `mint` can construct one, the brand cannot be
 * forged, and the import rules let only `ra` reach `mint`.
 */
export class ApprovedRequest {
  readonly #approval: Approval;

  private constructor(approval: Approval, by: symbol) {
    if (by !== minting) throw new TypeError('an ApprovedRequest is minted by the RA');
    this.#approval = Object.freeze({ ...approval });
  }

  /** Says yes. To be called at the one decision point of the RA. */
  static mint(approval: Approval): ApprovedRequest {
    return new ApprovedRequest(approval, minting);
  }

  /**
   * The approval inside.
   *
   * @throws TypeError if `request` was not minted.
   */
  static open(request: ApprovedRequest): Approval {
    return request.#approval;
  }
}
