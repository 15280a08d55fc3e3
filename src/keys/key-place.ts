/** Where a key may lie, as a configuration says it; which place a key has is the administrator's choice for each. */
import { createPublicKey } from 'node:crypto';
import { PkiError } from '../errors.ts';
import type { PrivateKey } from './private-key.ts';

/** What a key is opened for: RA encryption keys decrypt, all others sign. */
export type KeyUse = 'sign' | 'decrypt';

/** A key in an encrypted file. */
export interface FilePlace {
  readonly file: string;
  /** Reference to the passphrase. */
  readonly passphrase: string;
}

/** A key in a PKCS #11 token. */
export interface TokenPlace {
  /** Path of the vendor's PKCS #11 library. */
  readonly module: string;
  /** Label of the token; its serial number if several have the label. At least one of both. */
  readonly token?: string | undefined;
  readonly serial?: string | undefined;
  /** CKA_LABEL, CKA_ID in hexadecimal, or both: exactly one private key must have them. */
  readonly label?: string | undefined;
  readonly id?: string | undefined;
  /** Reference to the user PIN. */
  readonly pin: string;
}

/** Who asks Azure for the key; exactly one of these. */
export interface KeyVaultCredential {
  readonly managedIdentity?: { readonly clientId?: string | undefined } | undefined;
  readonly workloadIdentity?:
    | { readonly tenant?: string | undefined; readonly clientId?: string | undefined }
    | undefined;
  readonly clientSecret?:
    | {
        readonly tenant: string;
        readonly clientId: string;
        /** Reference to the secret. */
        readonly secret: string;
      }
    | undefined;
  readonly clientCertificate?:
    | {
        readonly tenant: string;
        readonly clientId: string;
        /** PEM file with the certificate and its clear key. */
        readonly certificate: string;
      }
    | undefined;
}

/** A key in Azure Key Vault or Managed HSM. */
export interface KeyVaultPlace {
  /** `https://NAME.vault.azure.net`, or the vault's address in a national cloud. */
  readonly vault: string;
  readonly name: string;
  /** Pinned: a rotated key would no longer fit its certificate. */
  readonly version: string;
  readonly credential: KeyVaultCredential;
  /** `https://login.microsoftonline.com` if absent; another in a national cloud. */
  readonly authority?: string | undefined;
  /** PEM file of further CAs to trust, for a proxy that opens TLS. */
  readonly extraCa?: string | undefined;
}

/** Where a key is. */
export type KeyPlace = FilePlace | { readonly pkcs11: TokenPlace } | { readonly keyVault: KeyVaultPlace };

/** A private key that is known to be where it was said. */
export interface PlacedKey extends PrivateKey {
  /** In words, for logs and listings; no secret. */
  readonly place: string;
  /** Whether the private key itself can leave its place in any form. */
  readonly exportable: boolean;
}

/** The place in a few words, without secrets. */
export function describePlace(place: KeyPlace): string {
  if ('file' in place) return `file ${place.file}`;
  if ('pkcs11' in place) {
    const { token, serial, label, id } = place.pkcs11;
    const name = [label, id === undefined ? undefined : `id ${id}`].filter((part) => part !== undefined);
    return `key ${name.join(', ')} in token ${token ?? serial}`;
  }
  return `key ${place.keyVault.name} in vault ${new URL(place.keyVault.vault).host}`;
}

/**
 * DER SubjectPublicKeyInfo of a public key that a token or a vault described.
 *
 * @throws PkiError `key_capability` if it is none.
 */
export function spkiOf(jwk: Readonly<Record<string, string>>, place: string): Uint8Array {
  try {
    return createPublicKey({ key: jwk, format: 'jwk' }).export({ type: 'spki', format: 'der' });
  } catch (cause) {
    throw new PkiError('key_capability', `${place}: its public key cannot be read`, { cause });
  }
}
