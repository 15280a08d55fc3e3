import { testCertificateRule } from '../../../../test/support/lint-fixture.ts';
import {
  integer,
  nullValue,
  objectIdentifier,
  oid,
  sequence,
  signatureAlgorithmIdentifier,
} from '../../../codec/index.ts';
import { signatureAlgorithm } from './signature-algorithm.ts';

testCertificateRule(signatureAlgorithm, {
  keeps: [['SHA-512', { innerAlgorithm: signatureAlgorithmIdentifier('rsa-sha512') }]],
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
    ['RSA by a root on a curve', { role: 'ca', innerAlgorithm: signatureAlgorithmIdentifier('rsa-sha256') }],
  ],
});
