/** Makes certificates: templates, issuance, serial numbers, lint, revocation, CRLs, and the two tiers of CAs. */
export { type ApprovalSigner, signApproval } from './approval-signature.ts';
export type { Approval, ApprovedRequest } from './approved-request.ts';
export * from './certificate-authority.ts';
export { crlUrlsOf, type OverdueCrl } from './crl.ts';
export * from './hierarchy.ts';
export * from './hierarchy-bundle.ts';
export * from './hierarchy-root.ts';
export * from './issuer.ts';
export * from './key-policy.ts';
export {
  type CertificateRole,
  certificateRules,
  crlRules,
  type Finding,
  lintCertificate,
  lintCrl,
  type Rule,
} from './lint/index.ts';
export * from './name-policy.ts';
export * from './ocsp-agreement.ts';
export * from './ocsp-responder.ts';
export * from './ocsp-signer.ts';
export * from './ra-certificates.ts';
export * from './template.ts';
export * from './template-definition.ts';
