import { authorities, testCrlRule } from '../../../../test/support/lint-fixture.ts';
import { keyUsageExtension } from '../../../codec/index.ts';
import { crlSigner } from './crl-signer.ts';

testCrlRule(crlSigner, {
  keeps: [['a CA without keyUsage', { issuer: { ...authorities.issuing, extensions: [] } }]],
  breaks: [
    [
      'a CA without cRLSign',
      { issuer: { ...authorities.issuing, extensions: [keyUsageExtension(['keyCertSign'])] } },
    ],
  ],
});
