/** Where each SCEP message goes: the one place that knows which of them can lead to a certificate. */
import { type Decrypt, sameOctets } from '../codec/index.ts';
import type {
  CrlOutcome,
  EnrolmentRequest,
  Outcome,
  Refusal,
  RefusalContext,
  RegistrationAuthority,
} from '../ra/index.ts';
import {
  type EnvelopeManner,
  openInquiry,
  openPkcsReq,
  type PkiMessage,
  type RefusedAlgorithms,
  readCertPoll,
} from '../scep/index.ts';
import type { Clock } from '../telemetry.ts';

/** Whom a message is brought to, and what opens it. */
export interface Dispatch {
  readonly ra: RegistrationAuthority;
  readonly decrypt: Decrypt;
  readonly refusedAlgorithms: RefusedAlgorithms;
  readonly clock: Clock;
}

/** What became of a message, and how the answer is encrypted; what was not even opened can only be refused. */
export type Dispatched =
  | { readonly outcome: Refusal; readonly manner?: undefined }
  | { readonly outcome: Outcome | CrlOutcome; readonly manner: EnvelopeManner };

/**
 * Brings a message to the RA, by its type (RFC 8894 §3.3). PKCSReq and RenewalReq alone carry a request for a
 * certificate; a CertPoll may bring the certificate of one that was approved meanwhile; the others never make one.
 *
 * @throws PkiError of `openPkcsReq`, `openInquiry` and `readCertPoll`.
 */
export async function dispatch(
  message: PkiMessage,
  context: RefusalContext,
  { ra, decrypt, refusedAlgorithms, clock }: Dispatch,
): Promise<Dispatched> {
  switch (message.messageType) {
    case 'PKCSReq':
    case 'RenewalReq': {
      const { csr, ...manner } = await openPkcsReq(message, decrypt, refusedAlgorithms);
      const { challengePassword = '' } = csr;
      const { signer } = message;
      const request = {
        ...context,
        csr,
        challengePassword,
        signerSpki: signer.spki,
        receivedAt: clock.now(),
        ...olderIn(message),
      };
      return { outcome: await ra.enrol(request), manner };
    }
    case 'CertPoll': {
      const manner = readCertPoll(message, refusedAlgorithms);
      return { outcome: await ra.poll({ ...context, signerSpki: message.signer.spki }), manner };
    }
    case 'GetCert': {
      const { about, ...manner } = await openInquiry(message, decrypt, refusedAlgorithms);
      return { outcome: await ra.certificate({ ...context, signer: message.signer, about }), manner };
    }
    case 'GetCRL': {
      const { about, ...manner } = await openInquiry(message, decrypt, refusedAlgorithms);
      return { outcome: await ra.crl({ ...context, signer: message.signer, about }), manner };
    }
    // §3.2.1.2: what is not defined is an error. A CertRep is no request, and UpdateReq is of the drafts only.
    case 'CertRep':
    case 'UpdateReq':
    case undefined: {
      const detail = `messageType ${message.messageType ?? 'undefined'}`;
      return { outcome: await ra.refuse('message_type_unsupported', detail, context) };
    }
  }
}

/**
 * The certificate that may speak for the request. §2.3: a client without one signs with a self-signed one, which proves
 * nothing but its key.
 *
 * QUIRK Cisco, macOS: renew by a PKCSReq that is signed with the old certificate (cisco-renewal).
 */
function olderIn({ signer, messageType }: PkiMessage): Pick<EnrolmentRequest, 'renews'> {
  if (messageType === 'RenewalReq') return { renews: { signer, asked: 'expressly' } };
  if (sameOctets(signer.issuer.raw, signer.subject.raw)) return {};
  return { renews: { signer, asked: 'implicitly' } };
}
