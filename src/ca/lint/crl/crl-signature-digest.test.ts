import { testCrlRule } from '../../../../test/support/lint-fixture.ts';
import {
  nullValue,
  objectIdentifier,
  oid,
  sequence,
  signatureAlgorithmIdentifier,
} from '../../../codec/index.ts';
import { crlSignatureDigest } from './crl-signature-digest.ts';

testCrlRule(crlSignatureDigest, {
  keeps: [['SHA-384', { innerAlgorithm: signatureAlgorithmIdentifier('rsa-sha384') }]],
  breaks: [
    ['SHA-1', { innerAlgorithm: signatureAlgorithmIdentifier('rsa-sha1') }],
    ['MD5', { innerAlgorithm: sequence(objectIdentifier(oid.md5WithRSAEncryption), nullValue) }],
  ],
});
