import { publicKeys, testCertificateRule } from '../../../../test/support/lint-fixture.ts';
import {
  bitString,
  buildAlgorithmIdentifier,
  integer,
  objectIdentifier,
  oid,
  sequence,
  unsignedInteger,
  utf8String,
} from '../../../codec/index.ts';
import { publicKey } from './public-key.ts';

const rsa = (algorithm: string, parameters?: Uint8Array) =>
  sequence(
    buildAlgorithmIdentifier({ oid: algorithm, ...(parameters === undefined ? {} : { parameters }) }),
    bitString(sequence(unsignedInteger(Buffer.alloc(256, 0x77)), integer(65_537))),
  );
const curve = (name: string, point: Uint8Array) =>
  sequence(
    buildAlgorithmIdentifier({ oid: oid.ecPublicKey, parameters: objectIdentifier(name) }),
    bitString(point),
  );

testCertificateRule(publicKey, {
  keeps: [['a key on P-256', { spki: publicKeys.curve }]],
  breaks: [
    ['RSA with parameters of its own', { spki: rsa(oid.rsaEncryption, utf8String('anything')) }],
    ['RSA without parameters', { spki: rsa(oid.rsaEncryption) }],
    ['RSASSA-PSS', { spki: rsa('1.2.840.113549.1.1.10') }],
    [
      'Ed25519',
      { spki: sequence(buildAlgorithmIdentifier({ oid: '1.3.101.112' }), bitString(Buffer.alloc(32, 7))) },
    ],
    ['another curve', { spki: curve('1.3.132.0.10', Buffer.alloc(65, 4)) }],
    ['a compressed point', { spki: curve(oid.prime256v1, Buffer.alloc(33, 2)) }],
    ['a hybrid point', { spki: curve(oid.prime256v1, Buffer.alloc(65, 6)) }],
    ['a point of another curve', { spki: curve(oid.prime256v1, Buffer.alloc(97, 4)) }],
    ['the point at infinity', { spki: curve(oid.prime256v1, Uint8Array.of(0)) }],
    [
      'no curve',
      { spki: sequence(buildAlgorithmIdentifier({ oid: oid.ecPublicKey }), bitString(Buffer.alloc(65, 4))) },
    ],
  ],
});
