/** A private key is two verbs, sign and decrypt, wherever it lives. */
export { clearKeyForTls, generateKeyFile, type KeyAlgorithm, type KeyFile, openKeyFile } from './file-key.ts';
export { type PrivateKey, privateKeyOf } from './private-key.ts';
export { secretFromReference } from './secret.ts';
export { assertRuntimeFit } from './self-test.ts';
