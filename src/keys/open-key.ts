/** Picks the provider that a key's place asks for. */
import { openKeyFile } from './file-key.ts';
import {
  describePlace,
  type KeyPlace,
  type KeyUse,
  type KeyVaultPlace,
  type PlacedKey,
} from './key-place.ts';
import { openKeyVaultKey } from './key-vault-key.ts';
import { secretFromReference } from './secret.ts';
import { openTokenKey } from './token-key.ts';

/**
 * Opens a key where the configuration says that it is. What the key cannot do for `use` is said here and not at the
 * first request. The libraries for tokens and vaults are loaded only for keys that are there.
 *
 * @throws PkiError `key_locked` if it is not there or refuses its secret, `key_capability` if it cannot be used so,
 *   `key_unavailable` if its token or vault does not answer, `config_invalid` for a bad reference to a secret.
 */
export async function openKey(place: KeyPlace, use: KeyUse): Promise<PlacedKey> {
  if ('pkcs11' in place) {
    return await openTokenKey({ ...place.pkcs11, pin: secretFromReference(place.pkcs11.pin), use });
  }
  if ('keyVault' in place) {
    return await openKeyVaultKey({ ...withSecret(place.keyVault), use });
  }
  const key = await openKeyFile({ path: place.file, passphrase: secretFromReference(place.passphrase) });
  // Whoever has the file and the passphrase has the key.
  return { ...key, place: describePlace(place), exportable: true };
}

function withSecret(place: KeyVaultPlace): KeyVaultPlace {
  const { clientSecret } = place.credential;
  if (clientSecret === undefined) return place;
  return {
    ...place,
    credential: { clientSecret: { ...clientSecret, secret: secretFromReference(clientSecret.secret) } },
  };
}
