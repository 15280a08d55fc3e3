/** Values for tests of the store: plausible, different in every field, and the same in every process. */
import type {
  AcceptedEnrolment,
  AuditEntry,
  CertificateIntent,
  ChallengeRecord,
  HeldRequest,
  PkiDatabase,
} from '../../src/store/index.ts';

/** How another process opens the store under test: `(await import(module))[open](argument)`. */
export interface Elsewhere {
  readonly module: string;
  readonly open: string;
  readonly argument: PkiDatabase;
}

/** A moment, `days` after a fixed one. */
export function instant(days: number): Date {
  return new Date(Date.UTC(2030, 0, 1, 12, 30, 15, 250) + days * 86_400_000);
}

/** Four octets of a number, or the octets of a text, as hexadecimal. */
export function hex(value: number | string): string {
  return typeof value === 'number' ? value.toString(16).padStart(8, '0') : Buffer.from(value).toString('hex');
}

/** An intent of the issuer `issuing`, valid for a year, reserved at `instant(0)`. */
export function intentOf(
  own: Partial<CertificateIntent> & Pick<CertificateIntent, 'requestID' | 'serialNumber'>,
): CertificateIntent {
  return {
    issuer: 'issuing',
    template: 'device',
    subject: `CN=O\\'Brien "${own.requestID}"; --,O=Läb`,
    subjectAltName: `URI:urn:device:${own.requestID}`,
    requester: 'ra-intune',
    device: `device of ${own.requestID}`,
    publicKeyHash: `key of ${own.requestID}`,
    notBefore: instant(-1),
    notAfter: instant(365),
    crlPartition: 0,
    tbsCertificate: Buffer.from(`to be signed ${own.serialNumber}`),
    reservedAt: instant(0),
    ...own,
  };
}

/** A claim on the endpoint `intune`. */
export function claimOf(
  own: Partial<AcceptedEnrolment> & Pick<AcceptedEnrolment, 'requestID' | 'replayKey'>,
): AcceptedEnrolment {
  return {
    endpoint: 'intune',
    transactionID: `transaction of ${own.requestID}`,
    publicKeyHash: `key of ${own.requestID}`,
    requestHash: `request of ${own.requestID}`,
    device: `device of ${own.requestID}`,
    acceptedAt: instant(0),
    ...own,
  };
}

/** A held request with its claim, that waits for thirty days. */
export function heldOf(
  own: Partial<HeldRequest> & Pick<AcceptedEnrolment, 'requestID' | 'replayKey'>,
): HeldRequest {
  return {
    ...claimOf(own),
    issuer: 'issuing',
    template: 'device',
    subject: `CN=${own.requestID}`,
    subjectAltName: `DNS:${own.requestID}.example`,
    signerKeyHash: `key of ${own.requestID}`,
    sealed: Buffer.from(`sealed ${own.requestID}`),
    expiresAt: instant(30),
    ...own,
  };
}

/** An audit entry. */
export function auditOf(own: Partial<AuditEntry> = {}): AuditEntry {
  return {
    at: instant(0),
    event: 'test.happened',
    actor: 'test',
    reference: '',
    code: '',
    text: 'It happened.',
    detail: { device: 'Zoë’s laptop', note: '{"quoted": "\\"}' },
    ...own,
  };
}

/** The DER that stands for the signed certificate of an intent. */
export function certificateBytes(intent: CertificateIntent): Buffer {
  return Buffer.from(`signed\0${intent.issuer}\0${intent.serialNumber}`);
}

/** What `recordCertificate` takes for an intent. */
export function issuedOf(intent: CertificateIntent, audit: Partial<AuditEntry> = {}) {
  return {
    issuer: intent.issuer,
    serialNumber: intent.serialNumber,
    certificate: certificateBytes(intent),
    thumbprint: `THUMBPRINT OF ${intent.serialNumber}`,
    audit: auditOf({ event: 'enrolment.issued', ...audit }),
  };
}

/** A one-time challenge with everything pinned. */
export function challengeOf(
  own: Partial<ChallengeRecord> & Pick<ChallengeRecord, 'challengeHash'>,
): ChallengeRecord {
  return {
    endpoint: 'one-time',
    expiresAt: instant(1),
    pinned: { subject: 'CN=dev1,O=Lab', subjectAltName: 'DNS:dev1', extKeyUsage: ['1.3.6.1.5.5.7.3.2'] },
    device: 'dev1',
    createdAt: instant(0),
    ...own,
  };
}
