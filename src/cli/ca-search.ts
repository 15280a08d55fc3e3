/** How certificates are named on the command line: the criteria that `ca list` and `ca revoke` share. */
import { userInfo } from 'node:os';
import { type Command, InvalidArgumentError } from 'commander';
import { PkiError } from '../errors.ts';
import type { CertificateCriteria, CertificateRecord, PkiStore } from '../store/index.ts';

/** Options of a search, as `addSearch` declares them. */
export interface SearchOptions {
  readonly issuer?: string;
  readonly serial?: string;
  readonly thumbprint?: string;
  readonly device?: string;
  readonly requester?: string;
  readonly template?: string;
  readonly subject?: string;
  readonly issuedFrom?: Date;
  readonly issuedBefore?: Date;
  readonly expiresFrom?: Date;
  readonly expiresBefore?: Date;
}

/** Columns of a table of certificates. */
export const certificateColumns = {
  id: 'Request ID',
  serialNumber: 'Serial number',
  status: 'Status',
  template: 'Certificate template',
  requester: 'Requester name',
  device: 'Device',
  subject: 'Subject',
  notAfter: 'Expires',
};

/** Columns of a table of revoked certificates. */
export const revokedColumns = {
  id: 'Request ID',
  serialNumber: 'Serial number',
  revokedAt: 'Revoked',
  revocationReason: 'Reason',
  template: 'Certificate template',
  device: 'Device',
  subject: 'Subject',
  notAfter: 'Expires',
};

/** Adds the options that say which certificates are meant. */
export function addSearch(command: Command): Command {
  return command
    .option('--issuer <name>', 'only of this issuing CA')
    .option('--serial <serialNumber>', 'only with this serial number')
    .option('--thumbprint <hash>', 'only with this SHA-1 thumbprint (reads every certificate)')
    .option('--device <device>', 'only this device’s')
    .option('--requester <name>', 'only requested by this service or operator')
    .option('--template <name>', 'only of this template')
    .option('--subject <text>', 'only if this occurs in the subject or the subjectAltName')
    .option('--issued-from <date>', 'only issued at this time or later', moment)
    .option('--issued-before <date>', 'only issued before this time', moment)
    .option('--expires-from <date>', 'only if it ends at this time or later', moment)
    .option('--expires-before <date>', 'only if it ends before this time', moment);
}

/** The criteria of a search; `undefined` if no option was given. */
export function criteriaOf(options: SearchOptions): CertificateCriteria | undefined {
  const criteria = {
    issuer: options.issuer,
    serialNumber: options.serial && canonicalSerialNumber(options.serial),
    thumbprint: options.thumbprint && canonicalThumbprint(options.thumbprint),
    device: options.device,
    requester: options.requester,
    template: options.template,
    nameContains: options.subject,
    reservedFrom: options.issuedFrom,
    reservedBefore: options.issuedBefore,
    notAfterFrom: options.expiresFrom,
    notAfterBefore: options.expiresBefore,
  };
  const given = Object.entries(criteria).filter(([, value]) => value !== undefined);
  return given.length === 0 ? undefined : Object.fromEntries(given);
}

/** What is shown of a certificate: everything but its DER. */
export function factsOf(record: CertificateRecord): Record<string, unknown> {
  const { certificate: _der, ...facts } = record;
  return facts;
}

/**
 * The one certificate that a serial number or a thumbprint names.
 *
 * @throws PkiError `certificate_unknown` if there is none; `command_invalid` if several issuing CAs have one, or
 *   neither or both are given.
 */
export async function findCertificate(
  store: Pick<PkiStore, 'certificates'>,
  named: {
    readonly serialNumber?: string | undefined;
    readonly thumbprint?: string | undefined;
    readonly issuer?: string | undefined;
  },
): Promise<CertificateRecord> {
  const { serialNumber, thumbprint, issuer } = named;
  if ((serialNumber === undefined) === (thumbprint === undefined))
    throw new PkiError('command_invalid', 'name one certificate, by its serial number or its thumbprint');
  const serial = serialNumber && canonicalSerialNumber(serialNumber);
  const [record, other] = await store.certificates({
    limit: 2,
    ...(serial === undefined ? {} : { serialNumber: serial }),
    ...(thumbprint === undefined ? {} : { thumbprint: canonicalThumbprint(thumbprint) }),
    ...(issuer === undefined ? {} : { issuer }),
  });
  if (record === undefined) {
    const what = serial === undefined ? `thumbprint ${thumbprint}` : `serial number ${serial}`;
    throw new PkiError('certificate_unknown', `no certificate with ${what}`);
  }
  if (other !== undefined)
    throw new PkiError('command_invalid', 'several issuing CAs have that serial number: add --issuer');
  return record;
}

/** Who acts, for the audit log: the account that runs the command. */
export function operator(): string {
  return `operator ${accountName()}`;
}

/** As the system says it, and not the environment, which is whatever the account wants. */
function accountName(): string {
  try {
    return userInfo().username;
  } catch {
    // An account that the system has no name for, as in some containers.
    return `uid ${process.getuid?.() ?? 'unknown'}`;
  }
}

const canonicalSerialNumber = (text: string): string => text.toLowerCase().replaceAll(/[:\s]/g, '');
const canonicalThumbprint = (text: string): string => text.toUpperCase().replaceAll(/[:\s]/g, '');

/** A day or a moment as ISO 8601 says it: the day begins at midnight UTC. */
function moment(text: string): Date {
  const at = new Date(text);
  if (!/^\d{4}-\d{2}-\d{2}(T.*)?$/.test(text) || Number.isNaN(at.getTime()))
    throw new InvalidArgumentError('It must be a date: 2026-01-31 or 2026-01-31T12:00Z.');
  return at;
}
