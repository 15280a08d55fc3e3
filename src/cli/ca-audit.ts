/** `leafgate ca audit`: asks every rule about everything that was ever signed and is still kept. */
import type { Command } from 'commander';
import { type Finding, type Issuer, lintCertificate, lintCrl } from '../ca/index.ts';
import {
  authorityKeyIdentifierOf,
  type Certificate,
  nameToString,
  parseCertificate,
  parsePem,
  sameOctets,
  subjectKeyIdentifierOf,
  thumbprintOf,
  verifyCertificateSignature,
} from '../codec/index.ts';
import { PkiError } from '../errors.ts';
import type { CertificateRecord, PkiStore } from '../store/index.ts';
import { configOption, withAuthorities } from './context.ts';
import { fileText } from './input.ts';
import { type ListingOptions, printRows } from './output.ts';

/** Certificates read at once: some megabytes. */
const PAGE_ROWS = 1000;

/** One line of the report. */
export interface AuditFinding extends Finding {
  readonly issuer: string;
  /** `certificate`, `CA certificate` or `CRL`. */
  readonly kind: string;
  /** Of a certificate; of a CRL its number, kind and partition. */
  readonly serialNumber: string;
  readonly template: string;
}

const columns = {
  issuer: 'Issuer',
  kind: 'Kind',
  serialNumber: 'Serial number',
  template: 'Certificate template',
  severity: 'Severity',
  rule: 'Rule',
  detail: 'Finding',
  citation: 'Citation',
};

/** Adds the command to `ca`. */
export function addCaAudit(ca: Command): void {
  ca.command('audit')
    .description(
      'lint everything that is stored: CA certificates, certificates, CRLs; status 1 if anything is found',
    )
    .option(...configOption)
    .option('--former <file>', 'PEM: certificates of the CAs before they got another key')
    .option('--json', 'for machines')
    .action(async (options: ListingOptions & { readonly config?: string; readonly former?: string }) => {
      const former =
        options.former === undefined
          ? []
          : parsePem(fileText(options.former), 'CERTIFICATE').map(parseCertificate);
      await withAuthorities(options.config, async ({ store, issuers }) => {
        const findings: AuditFinding[] = [];
        let count = 0;
        for await (const found of auditOf(store, issuers, former)) {
          count += 1;
          findings.push(...found);
          if (count % PAGE_ROWS === 0)
            process.stderr.write(`${count} looked at, ${findings.length} findings\n`);
        }
        process.stderr.write(`${count} looked at, ${findings.length} findings\n`);
        printRows(findings as unknown as Record<string, unknown>[], columns, options);
        if (findings.length > 0) process.exitCode = 1;
      });
    });
}

/**
 * Findings of one certificate or CRL after the other, each an empty list if it is good. Reads the store by pages.
 *
 * @param former certificates of CAs before they were renewed with another key
 */
export async function* auditOf(
  store: Pick<PkiStore, 'certificates' | 'crlStates' | 'latestCrl'>,
  issuers: readonly Issuer[],
  former: readonly Certificate[] = [],
): AsyncGenerator<AuditFinding[]> {
  for (const issuer of issuers) {
    yield* findingsOfChain(issuer);
    for (const { partition, kind } of await store.crlStates(issuer.name)) {
      const record = await store.latestCrl(issuer.name, partition, kind);
      if (record !== undefined)
        yield lintCrl(record.crl, issuer.certificate).map((finding) => ({
          ...finding,
          issuer: issuer.name,
          kind: 'CRL',
          serialNumber: `${record.crlNumber} (${kind}, partition ${partition})`,
          template: '',
        }));
    }
    let after: number | undefined;
    for (;;) {
      const page = await store.certificates({
        issuer: issuer.name,
        limit: PAGE_ROWS,
        ...(after === undefined ? {} : { after }),
      });
      for (const record of page)
        if (record.certificate !== undefined)
          yield findingsOfRecord(record, record.certificate, [issuer.certificate, ...former]);
      const last = page.at(-1);
      if (last === undefined || page.length < PAGE_ROWS) break;
      after = last.id;
    }
  }
}

function* findingsOfChain({ name, chain }: Issuer): Generator<AuditFinding[]> {
  for (const [index, der] of chain.entries()) {
    const above = chain[index + 1];
    const found =
      above === undefined
        ? lintCertificate(der, 'root')
        : lintCertificate(der, 'ca', parseCertificate(above));
    const { serialNumber } = parseCertificate(der);
    yield found.map((finding) => ({
      ...finding,
      issuer: name,
      kind: 'CA certificate',
      serialNumber,
      template: '',
    }));
  }
}

function findingsOfRecord(
  record: CertificateRecord,
  der: Uint8Array,
  issuers: readonly Certificate[],
): AuditFinding[] {
  const { issuer, serialNumber, template } = record;
  const certificate = readable(der);
  const signer = certificate && issuers.find((candidate) => isNamedBy(certificate, candidate));
  const found =
    certificate !== undefined && signer === undefined
      ? []
      : lintCertificate(der, 'end-entity', signer ?? issuers[0]);
  const fault = certificate && faultOfRecord(record, certificate, signer);
  if (fault !== undefined)
    found.push({ rule: 'record', severity: 'error', citation: 'RFC 5280 §6.1.3 (a)(1)', detail: fault });
  return found.map((finding) => ({ ...finding, issuer, kind: 'certificate', serialNumber, template }));
}

/** What cannot be read is a finding of the lint. */
function readable(der: Uint8Array): Certificate | undefined {
  try {
    return parseCertificate(der);
  } catch (cause) {
    if (!(cause instanceof PkiError)) throw cause;
    return undefined;
  }
}

/** Whether the certificate names this CA and its key as its issuer; one without a key identifier names all of them. */
function isNamedBy(certificate: Certificate, issuer: Certificate): boolean {
  const identifier = authorityKeyIdentifierOf(certificate);
  const own = subjectKeyIdentifierOf(issuer);
  return identifier === undefined || own === undefined || sameOctets(identifier, own);
}

/** What the record says otherwise than the certificate, or the signature if it is not the issuer's. */
function faultOfRecord(
  record: CertificateRecord,
  certificate: Certificate,
  signer: Certificate | undefined,
): string | undefined {
  if (record.serialNumber !== certificate.serialNumber) return 'the record has another serial number';
  if (record.thumbprint !== thumbprintOf(certificate.raw)) return 'the record has another thumbprint';
  if (record.subject !== nameToString(certificate.subject)) return 'the record has another subject';
  if (record.notAfter.getTime() !== certificate.notAfter.getTime()) return 'the record has another end';
  if (signer === undefined)
    return 'signed by a key that no known certificate of the CA has; name it with --former';
  return verifyCertificateSignature(certificate, signer.spki)
    ? undefined
    : 'the signature is not the issuer’s';
}
