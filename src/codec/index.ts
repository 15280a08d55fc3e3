/** Bytes to values and back: strict DER and the BER that clients send, X.509, CRL, OCSP, PKCS #10, CMS, PEM. */
export * from './algorithm.ts';
export * from './ber.ts';
export * from './certificate.ts';
export * from './cms.ts';
export * from './crl.ts';
export * from './csr.ts';
export * from './der.ts';
export * from './extension.ts';
export * from './name.ts';
export * from './name-constraints.ts';
export * from './ocsp.ts';
export * from './oid.ts';
export * from './password-recipient.ts';
export * from './pem.ts';
export * from './pkcs12.ts';
export * from './random.ts';
export * from './recent.ts';
