/** What is exported: the profiles of one device, made out for it. */
import { createHash } from 'node:crypto';
import { type Name, nameFromString } from '../../codec/index.ts';
import { PkiError } from '../../errors.ts';
import type { ProfileName, ResolvedScepProfile, ScepProfile } from '../profiles.ts';

/** One CA certificate that the device shall trust, or build chains with. */
export interface ExportedTrustedCertificate {
  readonly kind: 'trustedCertificate';
  readonly profileId: string;
  readonly displayName: string;
  readonly destinationStore:
    | 'computerCertStoreRoot'
    | 'computerCertStoreIntermediate'
    | 'userCertStoreIntermediate';
  /** Base64 of DER. */
  readonly certificate: string;
  /** SHA-1, upper-case hexadecimal. */
  readonly thumbprint: string;
}

/** A certificate that the device shall get by SCEP. */
export interface ExportedScepProfile
  extends Pick<
    ScepProfile,
    | 'certificateType'
    | 'keyStorageProvider'
    | 'certificateValidityPeriodValue'
    | 'certificateValidityPeriodScale'
    | 'renewalThresholdPercentage'
  > {
  readonly kind: 'scep';
  readonly profileId: string;
  readonly displayName: string;
  /** RFC 4514. */
  readonly subject: ResolvedScepProfile['subject'];
  readonly subjectAltName: readonly ProfileName[];
  readonly keyUsage: ResolvedScepProfile['keyUsage'];
  /** Dotted identifiers. */
  readonly extKeyUsage: readonly string[];
  /** Bits of the RSA modulus. */
  readonly keyLength: number;
  readonly scepServerUrls: readonly string[];
  /** SHA-1 of the CA certificate that the device must find, hexadecimal. */
  readonly caThumbprint: string;
  /** Whose store it goes to, on Windows; that of `certificateType` if absent. */
  readonly certificateStore?: 'user' | 'machine';
  /** A secret. */
  readonly challenge?: string;
  readonly challengeExpiresAt?: Date;
}

/** A key with its certificate, which were made elsewhere. */
export interface ExportedIdentity {
  readonly kind: 'pkcs12';
  readonly profileId: string;
  readonly displayName: string;
  readonly certificateType: 'device' | 'user';
  /** Whose store it goes to, on Windows; that of `certificateType` if absent. */
  readonly certificateStore?: 'user' | 'machine';
  /** Of the certificate, where it is known: SHA-1, upper-case hexadecimal. */
  readonly thumbprint?: string;
  /** Upper-case hexadecimal. */
  readonly serialNumber?: string;
  readonly notAfter?: Date;
  /** Bits of an RSA modulus. */
  readonly keyLength?: number;
  /** DER of the PFX (RFC 7292). */
  readonly pfx: Uint8Array;
  /** A secret; without it the device asks its user, as Apple’s does, or fails. */
  readonly password?: string;
}

/** A profile of any kind. */
export type ExportedProfile = ExportedTrustedCertificate | ExportedScepProfile | ExportedIdentity;

/** All profiles of a device. */
export interface ProfileExport {
  readonly device: { readonly deviceId: string; readonly deviceName: string };
  /** Who gives them: shown to the user. */
  readonly organization: string;
  /** In the order of installation. */
  readonly profiles: readonly ExportedProfile[];
}

/**
 * The subject as a name.
 *
 * @throws PkiError `profile_unresolvable` if it cannot be read.
 */
export function subjectOf({ profileId, subject }: ExportedScepProfile): Name {
  try {
    return nameFromString(subject);
  } catch (cause) {
    throw new PkiError('profile_unresolvable', `${profileId}: the subject cannot be read`, { cause });
  }
}

/** A UUID that is always the same for the same words: an export that is made again replaces the one before. */
export function stableUuid(...words: readonly string[]): string {
  const digest = createHash('sha256').update(JSON.stringify(words)).digest();
  // RFC 9562 §5.8: version 8, variant 10.
  digest.writeUInt8((digest.readUInt8(6) & 0x0f) | 0x80, 6);
  digest.writeUInt8((digest.readUInt8(8) & 0x3f) | 0x80, 8);
  const text = digest.toString('hex').toUpperCase();
  return [
    text.slice(0, 8),
    text.slice(8, 12),
    text.slice(12, 16),
    text.slice(16, 20),
    text.slice(20, 32),
  ].join('-');
}

/** What XML 1.0 (§2.2, Char) has no place for. */
const notXml = /[^\t\n\r\u{20}-\u{D7FF}\u{E000}-\u{FFFD}\u{10000}-\u{10FFFF}]/u;

/**
 * The text itself, if XML can carry it.
 *
 * @throws PkiError `profile_unresolvable`.
 */
export function xmlText(text: string, what: string): string {
  if (notXml.test(text))
    throw new PkiError('profile_unresolvable', `${what}: a character that XML cannot carry`);
  return text;
}
