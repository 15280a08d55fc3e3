/** The rules for certificates, cheap ones first: the public key is looked at last. */
import type { CertificateRule } from '../rule.ts';
import { alternativeNames } from './alternative-names.ts';
import { authorityKeyIdentifier } from './authority-key-identifier.ts';
import { basicConstraints } from './basic-constraints.ts';
import { certificatePolicies } from './certificate-policies.ts';
import { countryName } from './country-name.ts';
import { distributionPoints } from './distribution-points.ts';
import { dnsNames } from './dns-names.ts';
import { dnsUnderscores } from './dns-underscores.ts';
import { extendedKeyUsage } from './extended-key-usage.ts';
import { extensionCriticality } from './extension-criticality.ts';
import { extensions } from './extensions.ts';
import { informationAccess } from './information-access.ts';
import { ipAddresses } from './ip-addresses.ts';
import { issuerName } from './issuer-name.ts';
import { keyUsage } from './key-usage.ts';
import { keyUsageFitsKey } from './key-usage-fits-key.ts';
import { keyUsageFitsPurpose } from './key-usage-fits-purpose.ts';
import { mailboxes } from './mailboxes.ts';
import { nameCharacters } from './name-characters.ts';
import { nameConstraints } from './name-constraints.ts';
import { nameEncoding } from './name-encoding.ts';
import { nameLengths } from './name-lengths.ts';
import { namesWithinConstraints } from './names-within-constraints.ts';
import { ocspNoCheck } from './ocsp-no-check.ts';
import { pathLength } from './path-length.ts';
import { publicKey } from './public-key.ts';
import { publicKeyStrength } from './public-key-strength.ts';
import { purposeNames } from './purpose-names.ts';
import { readable } from './readable.ts';
import { revocationPointer } from './revocation-pointer.ts';
import { serialNumber } from './serial-number.ts';
import { serialNumberAttribute } from './serial-number-attribute.ts';
import { signatureAlgorithm } from './signature-algorithm.ts';
import { signatureDigest } from './signature-digest.ts';
import { structure } from './structure.ts';
import { subjectKeyIdentifier } from './subject-key-identifier.ts';
import { subjectName } from './subject-name.ts';
import { uniqueIdentifiers } from './unique-identifiers.ts';
import { uris } from './uris.ts';
import { validityEncoding } from './validity-encoding.ts';
import { validityOrder } from './validity-order.ts';
import { validityWithinIssuer } from './validity-within-issuer.ts';
import { version } from './version.ts';

/** The rules for certificates, in the order that they are asked. */
export const certificateRules: readonly CertificateRule[] = [
  structure,
  version,
  signatureAlgorithm,
  signatureDigest,
  extensions,
  readable,
  serialNumber,
  issuerName,
  validityEncoding,
  validityOrder,
  validityWithinIssuer,
  uniqueIdentifiers,
  subjectName,
  countryName,
  nameLengths,
  nameCharacters,
  nameEncoding,
  serialNumberAttribute,
  basicConstraints,
  pathLength,
  keyUsage,
  keyUsageFitsKey,
  keyUsageFitsPurpose,
  extendedKeyUsage,
  ocspNoCheck,
  extensionCriticality,
  alternativeNames,
  dnsNames,
  dnsUnderscores,
  mailboxes,
  uris,
  ipAddresses,
  purposeNames,
  authorityKeyIdentifier,
  subjectKeyIdentifier,
  revocationPointer,
  distributionPoints,
  informationAccess,
  nameConstraints,
  namesWithinConstraints,
  certificatePolicies,
  publicKey,
  publicKeyStrength,
];
