/** Has certificates issued on an operator's word, without a server: they stand in the CA's list like all others. */
import { randomBytes } from 'node:crypto';
import { CertificateAuthority, type CertificateTemplate, type Issuer } from '../src/ca/index.ts';
import {
  buildCertificationRequest,
  type Certificate,
  generalNameFromString,
  nameFromString,
  parseCertificationRequest,
  subjectAltNameExtension,
} from '../src/codec/index.ts';
import type { PrivateKey } from '../src/keys/index.ts';
import { RegistrationAuthority } from '../src/ra/index.ts';
import type { PkiStore } from '../src/store/index.ts';
import { openLog, systemClock } from '../src/telemetry.ts';

/** Requester of what the lab has issued for itself. */
const OPERATOR = 'lab set-up';

/** What is ordered. */
export interface OperatorOrder {
  readonly template: CertificateTemplate;
  readonly key: PrivateKey;
  /** As `nameFromString` reads it. */
  readonly subject: string;
  /** As `generalNameFromString` reads them: `DNS:host.example`. */
  readonly names: readonly string[];
}

/** Issues one certificate; throws what RA and CA throw. */
export async function issueByOperator(
  { issuer, store }: { readonly issuer: Issuer; readonly store: PkiStore },
  { template, key, subject, names }: OperatorOrder,
): Promise<Certificate> {
  const ca = new CertificateAuthority({
    issuers: [issuer],
    templates: [template],
    store,
    clock: systemClock,
  });
  const ra = new RegistrationAuthority({
    ca,
    store,
    policies: [],
    serviceIdentity: OPERATOR,
    clock: systemClock,
    log: openLog('silent', 'lab'),
    // Nothing waits: an operator orders all of it.
    holding: { sealKey: randomBytes(32), expiresAfterMs: 1, waitingMax: 0 },
  });
  const name = nameFromString(subject);
  const csr = await buildCertificationRequest(
    {
      subject: name,
      spki: key.spki,
      extensions: [subjectAltNameExtension(names.map(generalNameFromString), name)],
      signatureAlgorithm: 'rsa-sha256',
    },
    (algorithm, data) => key.sign(algorithm, data),
  );
  return await ra.enrolService({
    issuer: issuer.name,
    template: template.name,
    csr: parseCertificationRequest(csr),
    operator: OPERATOR,
  });
}
