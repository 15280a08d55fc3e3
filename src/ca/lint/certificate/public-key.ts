/** RFC 3279 §2.3.1, RFC 5480 §2: how a public key is written. */
import { nullValue, oid, readAlgorithmIdentifier, readDer, sameOctets, tag } from '../../../codec/index.ts';
import type { CertificateRule } from '../rule.ts';

/** RFC 5480 §2.2: an uncompressed point begins with 04. */
const UNCOMPRESSED = 4;

/** One way to write each key. */
export const publicKey: CertificateRule = {
  name: 'public_key',
  severity: 'error',
  citation: 'RFC 3279 §2.3.1; RFC 5480 §2.1.1, §2.2',
  requires: 'An RSA key has NULL parameters; one on a curve names the curve and is an uncompressed point.',
  check: ({ elements, publicKey: key }) => {
    const { algorithm, content } = readDer(elements.spki, tag.sequence, (reader) => ({
      algorithm: readAlgorithmIdentifier(reader),
      content: reader.bitStringOctets(),
    }));
    if (algorithm.oid === oid.rsaEncryption)
      return algorithm.parameters !== undefined && sameOctets(algorithm.parameters, nullValue)
        ? undefined
        : 'an RSA key with parameters other than NULL';
    if (key.type !== 'ec') return `a key of type ${algorithm.oid}`;
    return content[0] === UNCOMPRESSED && content.length === 1 + 2 * Math.ceil(key.bits / 8)
      ? undefined
      : `no uncompressed point on ${key.curve}`;
  },
};
