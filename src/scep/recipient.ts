/** Whom a message is encrypted to: an RA whose certificate changes must know which one its client has. */
import { type CertificateIdentifier, parseEnvelopedData } from '../codec/index.ts';
import { PkiError } from '../errors.ts';
import type { ReceivedMessage } from './server.ts';

/** The first recipient of the envelope (RFC 5652 §6.2.1); `undefined` if there is none that can be read. */
export function recipientOf({ signedData }: ReceivedMessage): CertificateIdentifier | undefined {
  if (signedData.content === undefined) return undefined;
  try {
    return parseEnvelopedData(signedData.content).recipients[0]?.rid;
  } catch (cause) {
    // What is wrong with the envelope is told when it is opened.
    if (cause instanceof PkiError) return undefined;
    throw cause;
  }
}
