/** A private key is two verbs, sign and decrypt, wherever it lives. */
export {
  clearKeyForTls,
  generateKeyFile,
  importKeyFile,
  type KeyAlgorithm,
  type KeyFile,
  openKeyFile,
} from './file-key.ts';
export {
  describePlace,
  type FilePlace,
  type KeyPlace,
  type KeyUse,
  type KeyVaultCredential,
  type KeyVaultPlace,
  type PlacedKey,
  type TokenPlace,
} from './key-place.ts';
export { openKey } from './open-key.ts';
export { DRAFT_SUFFIX, readTextIfThere, replaceFile, writeNewFile } from './private-file.ts';
export { type PrivateKey, privateKeyOf } from './private-key.ts';
export { secretFromReference } from './secret.ts';
export { assertRuntimeFit } from './self-test.ts';
export { generateTokenKey, openTokenKey, type TokenKeyOptions } from './token-key.ts';
