/** Keys whose private half is printed in a standard or lies in a public repository: anybody can use them. */

/** By SHA-256 of the SubjectPublicKeyInfo in lower-case hexadecimal: where the private key was published. */
export const knownKeys: ReadonlyMap<string, string> = new Map([
  ['8fb6bad671cfe698393c453357da61b56d757ab8c0f3fb9c87f2849e63131878', 'RFC 9500 §2.1, testRSA2048'],
  ['96465ea5dc9bb2da7b351d808a7196e5761f2412a5040131c68d719aaba28fb9', 'RFC 9500 §2.1, testRSA4096'],
  ['b2b04340cfaee616ec9c2c62d261b208e54bb197498df52e8cadede23ac0ba5e', 'RFC 9500 §2.3, testECCP256'],
  ['c4c10105a0be0ed4dd3354428dc38a9bfee64da141ce16e75c94eda272f9dd3a', 'RFC 9500 §2.3, testECCP384'],
  ['acb1b8327fef995e2458fdf5e3c33b2dc0749feabd6a894cb9bda9d70ac06c24', 'RFC 9500 §2.3, testECCP521'],
  ['6fd13c2435a361e7c588cd17f55f5ad3df0177a66c1727a6a200845f4d7ab88c', 'RFC 7515 appendix A.2'],
  ['ad32320cf6c596d884b05381ba573aba8ddd5749b4de8f4a23a79f9a89ddaeb2', 'RFC 7517 appendix A.2'],
  ['f56c8b01227f62ddbc16eb29a6ac0b310e276760a5e06302fa881a35146f6bc7', 'the example of jwt.io'],
  ['eda270a7052c1d02ae5f85ba6f6a71038cae232595010596626d66489f9e4270', 'the tests of Node.js'],
  ['a9cb8bffe7547f7377798ab3d62679a986325ec0cc84c31bba5fb1198e8d83b7', 'the tests of OpenSSL'],
]);
