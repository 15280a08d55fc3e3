/** Who signs the checkpoints of the audit log: the first issuing CA, whose certificate every verifier has. */
import { createHash, createPublicKey } from 'node:crypto';
import type { Issuer } from '../ca/index.ts';
import { signatureAlgorithms, verifySignature } from '../codec/index.ts';
import { PkiError } from '../errors.ts';
import { type AuditChain, type AuditVerification, appendCheckpoint, verifyAuditLog } from '../store/index.ts';

type Signer = Pick<Issuer, 'certificate' | 'key' | 'signatureAlgorithm'>;

/**
 * Signs what the audit log has grown since the last checkpoint.
 *
 * @throws PkiError `key_unavailable`, `store_unavailable`.
 */
export async function signAuditLog(store: AuditChain, issuers: readonly Signer[], at: Date): Promise<void> {
  const [first] = issuers;
  if (first === undefined) throw new PkiError('internal', 'there is no issuing CA');
  const algorithm = first.signatureAlgorithm;
  await appendCheckpoint(store, {
    at,
    signer: keyNameOf(first),
    algorithm,
    sign: (content) => first.key.sign(algorithm, content),
  });
}

/**
 * Verifies the whole audit log. A checkpoint counts if one of the issuing CAs has signed it: keep a CA in the
 * configuration as long as checkpoints of its key are in the log.
 *
 * @throws PkiError `store_unavailable`.
 */
export function verifySignedAuditLog(
  store: AuditChain,
  issuers: readonly Pick<Issuer, 'certificate'>[],
): Promise<AuditVerification> {
  return verifyAuditLog(store, (checkpoint, content) => {
    const signer = issuers.find((issuer) => keyNameOf(issuer) === checkpoint.signer);
    const algorithm = Object.entries(signatureAlgorithms).find(
      ([name]) => name === checkpoint.algorithm,
    )?.[1];
    if (signer === undefined || algorithm === undefined) return false;
    const key = createPublicKey({ key: Buffer.from(signer.certificate.spki), format: 'der', type: 'spki' });
    return verifySignature(algorithm, key, content, checkpoint.signature);
  });
}

/** A key is named by the SHA-256 of its SubjectPublicKeyInfo: certificates change, and so do names. */
function keyNameOf({ certificate }: Pick<Issuer, 'certificate'>): string {
  return createHash('sha256').update(certificate.spki).digest('hex');
}
