import { type CertificateParts, testCertificateRule } from '../../../../test/support/lint-fixture.ts';
import { extKeyUsageExtension, keyUsageExtension, oid } from '../../../codec/index.ts';
import { keyUsageFitsPurpose } from './key-usage-fits-purpose.ts';

const both = (
  bits: Parameters<typeof keyUsageExtension>[0],
  ...purposes: readonly string[]
): CertificateParts => ({
  extensions: { keyUsage: keyUsageExtension(bits), extKeyUsage: extKeyUsageExtension(purposes) },
});

testCertificateRule(keyUsageFitsPurpose, {
  keeps: [
    ['a server that enciphers', both(['keyEncipherment'], oid.serverAuth)],
    ['a client that agrees', both(['keyAgreement'], oid.clientAuth)],
    ['a signer of OCSP answers', both(['digitalSignature'], oid.ocspSigning)],
    ['S/MIME for confidentiality', both(['keyEncipherment'], oid.emailProtection)],
    ['a purpose that the standard does not list', both(['keyEncipherment'], oid.certificateRequestAgent)],
  ],
  breaks: [
    ['a client that enciphers', both(['keyEncipherment'], oid.clientAuth)],
    ['a server that repudiates nothing', both(['nonRepudiation'], oid.serverAuth)],
    ['a signer of OCSP answers that enciphers', both(['keyEncipherment'], oid.ocspSigning)],
    ['a signer of code that enciphers', both(['keyEncipherment'], oid.codeSigning)],
    ['S/MIME that enciphers data', both(['dataEncipherment'], oid.emailProtection)],
    ['the second of two purposes', both(['keyEncipherment'], oid.serverAuth, oid.clientAuth)],
  ],
});
