/** The start-up self-test: can this runtime open what SCEP clients send, without being an oracle? */
import { constants, createPrivateKey, createPublicKey, privateDecrypt, publicEncrypt } from 'node:crypto';
import { PkiError } from '../errors.ts';

/** A throw-away key for the self-test alone. It is public and protects nothing. */
const selfTestKey = `-----BEGIN PRIVATE KEY-----
MIIEvAIBADANBgkqhkiG9w0BAQEFAASCBKYwggSiAgEAAoIBAQDevmxcMNyB4PQ1
9rz+ilUAvSK4SvbDdl+gn/ATPHWkHAHqOsWnSMiJkLyFlU4qmr27WPPABlKqygEB
SGJczxEQrtbsc09ex0+/R9qaOo6Hl7UejhXF1f/vm8Ly83knd87qaY7wwq4DAU0z
WouQ9PdY8Gkme/MvC3FbO5eIa2fYTlcq4cr/WeGNEQNZba21k8KoFbaoF1UO4+Rq
u8TnSjgJqWWADFOdTdss+2GeMy5GEzT4ppGs+fJtYZb7HsqN4K04qq9OFA3TqWBA
m0hnCRrmIGbmywwdD/+nxmu8qfIW2BvanevVQg7S/qgxwG/3sfTHrXsNZxisExll
2antLt2FAgMBAAECgf9zBgA6jig88CCOsEMtdu/Ng+sZmMp8alC5JpY3JETQPYV9
/iCGRyt8IB9hmoI3gVHlSrzwnBGhjMYVoDYkoBgXSKhvDEQtGBg/aD+w3pYa1M7B
tUuztO33Hl+9Oi7bKo7R4+8mDHYOBs2g3QHp+6ntS+ntIfDJnb5JXO3YCZG5DqNy
xvU6q5a/fNr6u8LYPb1HYzb7JvReZmjZiXP3+loZ1zeu4G35zxP9FDmztNcYtnJV
dtU1rHi4zyvKF53Zgv6ckeH8S+VFrvLyQGaloOrPyJ/W/qBBJsaCSf4+Om63JpxC
4fppnFFud2OLa1TNVfReJ2Z6n9aJ0UtyJmFd8FkCgYEA/3J6zMPUmHDUbKBQ1PBy
F+kglfyLgXSlY7tgD8kj6sV1YvtWS19+/a7I3Q8RA9nO9I47OCQy91LQy+UxChwB
efT+PNTev1d7F51a9lyGY85ifOe2pgr1zDZLOkNy2Bpuim1IBST+bFMQHkzvvtj0
VcTYCkUe8otW4klRZ7lzcWkCgYEA3znTW1HzmF3EbRpPj6QLq02QdJpNE+Z4bjOz
dFWPVKxjNZP1W5Wqwx86p/0ix3Xu9odET03gMF9zEnHpF6+6L/v8bLsGMT4sF7nw
cEca2knc0q5MleajyC3wi3hQl/qDYKOh4PPrLXwRDEl2La5jE+9rmCX3kX+VAIqP
OUs7q70CgYEApAZ8d7Nfdastm7qtbK4gdN4LQIPziGLAOHP+0OQVHhFAuRguZyOg
xYBQFjIweMqJK1uRBxGncExLKkG25YjqIceA4MrHZRHlRlqSKBNtb/T8JLwc+i2b
e095qqXYvo7qYBSf5D3G6QPFG8/HOkLRUameF6oenxt95Luze+kHCdECgYAQ9YC0
OGasVbtdmpkezZTBX/Qwl6RxdZoCrVTd6r4n7azf3izO13EQv+eh6Z5hzvjnq+Ep
sT3uDuJcLWFLFmOrz5Ye4JqY1SNebhbxQMWufdwT+YACB3K7+5mBzxM4aKTgi635
vC5K11koONCMqeoHErJ27bOAT1QPpXc6IBgZdQKBgQD7cQV4ZHmxtsU+q1yPZr/E
VW8Hr5J/TVcniKqjr0nbCzarq4M8ahiZ2Hh0KwR2anyko1CZXFyl2WBeDN2n4t78
AdvYRcugmR0b1/9fqUTkDLNzZ3+kKRs1PizD4pQh/E/ynMi14SfTQmFLYfOfXs5k
zLnbVluvOxTB9TD+M4EN8g==
-----END PRIVATE KEY-----
`;

/**
 * Proves that RSAES-PKCS1-v1_5 decryption works and that OpenSSL rejects bad padding implicitly (since 3.2): a damaged
 * ciphertext must neither throw nor give the plaintext back. Node.js 20 refuses the padding altogether.
 *
 * @throws PkiError `runtime_unfit` with one sentence that says what to use.
 */
export function assertRuntimeFit(): void {
  const unfit = (what: string) =>
    new PkiError(
      'runtime_unfit',
      `Node.js ${process.versions.node} with OpenSSL ${process.versions.openssl} ${what}; use Node.js 24 or newer`,
    );
  const key = createPrivateKey(selfTestKey);
  const padding = constants.RSA_PKCS1_PADDING;
  const plaintext = Buffer.from('0123456789abcdef');
  const ciphertext = publicEncrypt({ key: createPublicKey(key), padding }, plaintext);
  let opened: Buffer;
  try {
    opened = privateDecrypt({ key, padding }, ciphertext);
  } catch {
    throw unfit('refuses PKCS #1 v1.5 decryption, which SCEP clients need');
  }
  if (!opened.equals(plaintext)) throw unfit('decrypts PKCS #1 v1.5 wrongly');
  const last = ciphertext.length - 1;
  ciphertext[last] = (ciphertext[last] as number) ^ 1;
  let damaged: Buffer;
  try {
    damaged = privateDecrypt({ key, padding }, ciphertext);
  } catch {
    throw unfit('reports bad PKCS #1 v1.5 padding, which would make the server a decryption oracle');
  }
  if (damaged.equals(plaintext)) throw unfit('decrypts PKCS #1 v1.5 wrongly');
}
