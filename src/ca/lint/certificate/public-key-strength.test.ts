import { publicKeys, testCertificateRule } from '../../../../test/support/lint-fixture.ts';
import {
  bitString,
  buildAlgorithmIdentifier,
  integer,
  nullValue,
  oid,
  sequence,
  unsignedInteger,
} from '../../../codec/index.ts';
import { publicKeyStrength } from './public-key-strength.ts';

const rsa = (modulus: Uint8Array, exponent = 65_537) =>
  sequence(
    buildAlgorithmIdentifier({ oid: oid.rsaEncryption, parameters: nullValue }),
    bitString(sequence(unsignedInteger(modulus), integer(exponent))),
  );
const offCurve = Buffer.from(publicKeys.curve);
offCurve[offCurve.length - 1] = (offCurve.at(-1) ?? 0) ^ 1;

testCertificateRule(publicKeyStrength, {
  keeps: [['a key on P-256', { spki: publicKeys.curve }]],
  breaks: [
    ['RSA-1024', { spki: rsa(Buffer.alloc(128, 0xa7)) }],
    ['RSA-2048 that 3 divides', { spki: rsa(Buffer.alloc(256, 0x99)) }],
    ['the exponent 3', { spki: rsa(Buffer.alloc(256, 0xa7), 3) }],
    ['a point beside the curve', { spki: offCurve }],
    ['a CA with RSA-1024', { role: 'ca', spki: rsa(Buffer.alloc(128, 0xa7)) }],
  ],
});
