/** ECDSA outside the token: PKCS #11 and Key Vault take a digest and give two numbers, certificates hold DER. */
import { sequence, unsignedInteger } from '../codec/index.ts';
import { PkiError } from '../errors.ts';

/** Octets of a number on each curve that a token or a vault is used with. */
export const curveBytes: Readonly<Record<'P-256' | 'P-384', number>> = { 'P-256': 32, 'P-384': 48 };

/**
 * DER of ECDSA-Sig-Value (RFC 3279 §2.2.3) from r and s one after the other, each as long as the curve.
 *
 * @throws PkiError `key_unavailable` if the octets are not two such numbers.
 */
export function buildEcdsaSignature(rs: Uint8Array, numberBytes: number): Uint8Array {
  if (rs.length !== 2 * numberBytes)
    throw new PkiError('key_unavailable', `an ECDSA signature of ${rs.length} octets came from the key`);
  return sequence(unsignedInteger(rs.subarray(0, numberBytes)), unsignedInteger(rs.subarray(numberBytes)));
}

/** FIPS 186-5 §6.4.1: of a digest longer than the curve's order only the first octets count. Some tokens refuse more. */
export const digestForCurve = (digest: Uint8Array, numberBytes: number): Uint8Array =>
  digest.subarray(0, numberBytes);
