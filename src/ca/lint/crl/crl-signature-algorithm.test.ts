import { testCrlRule } from '../../../../test/support/lint-fixture.ts';
import {
  integer,
  nullValue,
  objectIdentifier,
  oid,
  sequence,
  signatureAlgorithmIdentifier,
} from '../../../codec/index.ts';
import { crlSignatureAlgorithm } from './crl-signature-algorithm.ts';

testCrlRule(crlSignatureAlgorithm, {
  keeps: [['SHA-384', { innerAlgorithm: signatureAlgorithmIdentifier('rsa-sha384') }]],
  breaks: [
    ['two different algorithms', { outerAlgorithm: signatureAlgorithmIdentifier('rsa-sha512') }],
    ['RSA without parameters', { innerAlgorithm: sequence(objectIdentifier(oid.sha256WithRSAEncryption)) }],
    ['ECDSA with NULL', { innerAlgorithm: sequence(objectIdentifier(oid.ecdsaWithSHA256), nullValue) }],
    ['ECDSA by a CA whose key is RSA', { innerAlgorithm: signatureAlgorithmIdentifier('ecdsa-sha256') }],
    ['MD5', { innerAlgorithm: sequence(objectIdentifier(oid.md5WithRSAEncryption), nullValue) }],
    [
      'RSA with parameters of its own',
      { innerAlgorithm: sequence(objectIdentifier(oid.sha256WithRSAEncryption), integer(1)) },
    ],
  ],
});
