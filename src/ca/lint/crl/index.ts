/** The rules for CRLs. */
import type { CrlRule } from '../rule.ts';
import { crlAuthorityKeyIdentifier } from './crl-authority-key-identifier.ts';
import { crlDelta } from './crl-delta.ts';
import { crlEntries } from './crl-entries.ts';
import { crlEntryDates } from './crl-entry-dates.ts';
import { crlEntryExtensions } from './crl-entry-extensions.ts';
import { crlEntrySerials } from './crl-entry-serials.ts';
import { crlExtensions } from './crl-extensions.ts';
import { crlIssuerName } from './crl-issuer-name.ts';
import { crlIssuingDistributionPoint } from './crl-issuing-distribution-point.ts';
import { crlNextUpdate } from './crl-next-update.ts';
import { crlNumber } from './crl-number.ts';
import { crlSignatureAlgorithm } from './crl-signature-algorithm.ts';
import { crlSignatureDigest } from './crl-signature-digest.ts';
import { crlSigner } from './crl-signer.ts';
import { crlStructure } from './crl-structure.ts';
import { crlTimes } from './crl-times.ts';
import { crlVersion } from './crl-version.ts';

/** The rules for CRLs, in the order that they are asked. */
export const crlRules: readonly CrlRule[] = [
  crlStructure,
  crlVersion,
  crlSignatureAlgorithm,
  crlSignatureDigest,
  crlExtensions,
  crlIssuerName,
  crlSigner,
  crlTimes,
  crlNextUpdate,
  crlEntries,
  crlEntrySerials,
  crlEntryDates,
  crlEntryExtensions,
  crlNumber,
  crlAuthorityKeyIdentifier,
  crlDelta,
  crlIssuingDistributionPoint,
];
