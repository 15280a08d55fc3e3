/** The certificate authority: issues what the RA approved, revokes, and signs CRLs. */
import { hash } from 'node:crypto';
import {
  authorityInfoAccessExtension,
  authorityKeyIdentifierExtension,
  buildSigned,
  buildTbsCertificate,
  type Certificate,
  crlDistributionPointsExtension,
  type Extension,
  endEntityBasicConstraintsExtension,
  extKeyUsageExtension,
  generalNamesToString,
  type KeyUsage,
  keyIdentifier,
  keyUsageExtension,
  nameToString,
  ocspNoCheckExtension,
  parseCertificate,
  parsePublicKeyInfo,
  randomOctets,
  sameOctets,
  securityIdentifierExtension,
  subjectAltNameExtension,
  subjectKeyIdentifierExtension,
  templateInformationExtension,
  thumbprintOf,
  verifyCertificationRequest,
} from '../codec/index.ts';
import { PkiError } from '../errors.ts';
import type {
  AuditEntry,
  CaStore,
  CertificateCriteria,
  CertificateIntent,
  CertificateRecord,
  CrlKind,
  CrlRecord,
  CrlState,
  IssuanceLimit,
  RevocationReason,
} from '../store/index.ts';
import type { Clock } from '../telemetry.ts';
import { approvalSigner } from './approval-signature.ts';
import { type Approval, ApprovedRequest } from './approved-request.ts';
import { crlPartitionFor, crlUrlsOf, issuerKeyIdentifier, type OverdueCrl, RevocationLists } from './crl.ts';
import type { Issuer } from './issuer.ts';
import { judgeKey } from './key-policy.ts';
import { lintBeforeSigning, serialNumberFrom } from './lint/index.ts';
import { isSecurityIdentifier, judgeNames } from './name-policy.ts';
import type { CertificateTemplate } from './template.ts';

/** What a certificate authority is opened with. */
export interface CertificateAuthorityOptions {
  readonly issuers: readonly Issuer[];
  readonly templates: readonly CertificateTemplate[];
  readonly store: CaStore;
  readonly clock: Clock;
  /** Certificates of RAs, whose signature counts where a template asks for one; none if absent. */
  readonly raCertificates?: readonly Certificate[];
}

/** An intent that is older than any signature takes belongs to a process that died. */
const INTENT_LIFETIME_MS = 2 * 60 * 1000;
/** A second clash of 126 random bits means that the random source is broken. */
const SERIAL_ATTEMPTS_MAX = 3;
/** The last instant that a Date can hold. */
const DATE_MS_MAX = 8.64e15;
/** Revocations that are written at once when many are: they share the journey to the disk. */
const BULK_PAGE_ROWS = 100;

/**
 * Issues certificates, and obeys nobody but the RA: `issue` takes only what the RA minted, and checks key, template and
 * proof of possession itself all the same.
 */
export class CertificateAuthority {
  readonly #issuers: ReadonlyMap<string, Issuer>;
  readonly #templates: ReadonlyMap<string, CertificateTemplate>;
  readonly #store: CaStore;
  readonly #clock: Clock;
  readonly #raCertificates: readonly Certificate[];
  readonly #lists: RevocationLists;

  constructor(options: CertificateAuthorityOptions) {
    this.#issuers = new Map(options.issuers.map((issuer) => [issuer.name, issuer]));
    this.#templates = new Map(options.templates.map((template) => [template.name, template]));
    this.#store = options.store;
    this.#clock = options.clock;
    this.#raCertificates = options.raCertificates ?? [];
    this.#lists = new RevocationLists(options.store, options.clock);
  }

  /** The issuing CAs, by the order of the configuration. */
  get issuers(): readonly Issuer[] {
    return [...this.#issuers.values()];
  }

  /** The issuing CA of this name. Throws PkiError `template_denied` if there is none. */
  issuer(name: string): Issuer {
    const issuer = this.#issuers.get(name);
    if (issuer === undefined) throw new PkiError('template_denied', `there is no issuing CA “${name}”`);
    return issuer;
  }

  /** The templates, by the order of the configuration. */
  get templates(): readonly CertificateTemplate[] {
    return [...this.#templates.values()];
  }

  /** The template of this name. Throws PkiError `template_denied` if there is none. */
  template(name: string): CertificateTemplate {
    const template = this.#templates.get(name);
    if (template === undefined) throw new PkiError('template_denied', `there is no template “${name}”`);
    return template;
  }

  /**
   * Issues the certificate of an approved request.
   *
   * When it resolves, the certificate is on record. When it throws, no signature left this function: at most an intent
   * is on record, whose serial is never used again.
   *
   * Answers `undefined`, and has done nothing, if another request holds the claim.
   *
   * @throws PkiError `template_denied`, `csr_signature`, `key_*`, `eku_mismatch`, `key_usage_mismatch`, `san_mismatch`,
   *   `san_missing`, `subject_missing`, `subject_mismatch`, `identity_unvouched`, `issuance_limit`, `lint_failed`,
   *   `approval_missing`, `ra_signature`, `key_unavailable`, `store_unavailable`, or `enrolment_busy` if the request has a certificate.
   */
  async issue(request: ApprovedRequest): Promise<Certificate | undefined> {
    const approval = ApprovedRequest.open(request);
    const issuer = this.issuer(approval.issuer);
    const template = this.template(approval.template);
    // Step 1: check again what the RA should have checked.
    check(approval, template);
    if (template.raSignature === 'required') await this.#checkSignature(approval);
    // Steps 2 and 3: choose a serial and lint what is about to be signed; then reserve the serial and write all of it
    // down: whatever happens to this process from here on, there is a record of it (RFC 5280 §4.1.2.2: a serial is used
    // once). What does not pass the lint leaves no trace: a device that asks for the impossible must not fill the CRL.
    const intent = await this.#reserve(approval, issuer, template);
    if (intent === undefined) return undefined;
    const { serialNumber, tbsCertificate } = intent;
    // Step 4: sign.
    const algorithm = issuer.signatureAlgorithm;
    const signature = await issuer.key.sign(algorithm, tbsCertificate);
    const certificate = buildSigned(tbsCertificate, algorithm, signature);
    // Step 5: record, before anybody gets to see it.
    const parsed = parseCertificate(certificate);
    const thumbprint = thumbprintOf(certificate);
    await this.#store.recordCertificate({
      issuer: issuer.name,
      serialNumber,
      certificate,
      thumbprint,
      audit: issuedEntry(approval, parsed, thumbprint, this.#clock.now()),
    });
    return parsed;
  }

  /** Who signed is named by the configuration, is an RA, and is neither expired nor revoked. */
  async #checkSignature(approval: Approval): Promise<void> {
    const now = this.#clock.now();
    const signer = approvalSigner(approval, this.#raCertificates, now);
    for (const { name, certificate } of this.#issuers.values()) {
      if (!sameOctets(certificate.subject.raw, signer.issuer.raw)) continue;
      const record = await this.#store.certificateBySerial(name, signer.serialNumber);
      // Of an RA certificate that is older than the store there is no record.
      if (record?.certificate === undefined || !sameOctets(record.certificate, signer.raw)) continue;
      if (record.status !== 'issued')
        throw new PkiError('ra_signature', `the RA certificate ${signer.serialNumber} is ${record.status}`);
    }
  }

  async #reserve(
    approval: Approval,
    issuer: Issuer,
    template: CertificateTemplate,
  ): Promise<{ readonly serialNumber: string; readonly tbsCertificate: Uint8Array } | undefined> {
    const validity = validityOf(template, issuer, this.#clock.now());
    const crlPartition = crlPartitionFor(issuer);
    const extensions = extensionsOf(approval, issuer, template, crlPartition);
    const limit = limitOf(approval, template, this.#clock.now());
    for (let attempt = 0; attempt < SERIAL_ATTEMPTS_MAX; attempt += 1) {
      const serialNumber = serialNumberFrom(randomOctets(16));
      const tbsCertificate = buildTbsCertificate({
        serialNumber,
        signatureAlgorithm: issuer.signatureAlgorithm,
        issuer: issuer.certificate.subject,
        ...validity,
        subject: approval.subject,
        spki: approval.csr.spki,
        extensions,
      });
      lintBeforeSigning(tbsCertificate, issuer.signatureAlgorithm, 'end-entity', issuer.certificate);
      const intent: CertificateIntent = {
        requestID: approval.requestID,
        issuer: issuer.name,
        serialNumber,
        template: template.name,
        subject: nameToString(approval.subject),
        subjectAltName: generalNamesToString(approval.subjectAltName),
        requester: approval.requester,
        device: approval.device,
        publicKeyHash: hash('sha256', approval.csr.spki, 'hex'),
        ...validity,
        crlPartition,
        tbsCertificate,
        reservedAt: this.#clock.now(),
      };
      const outcome = await this.#store.reserveSerial(intent, approval.claim, issuer.intentSurvives, limit);
      if (outcome === 'reserved') return { serialNumber, tbsCertificate };
      if (outcome === 'claimed') return undefined;
      if (outcome === 'limited')
        throw new PkiError(
          'issuance_limit',
          `${approval.device} has ${template.certificatesPerDeviceMax} of “${template.name}”`,
        );
    }
    throw new PkiError('internal', 'the random source repeats serial numbers');
  }

  /** The live certificate of a request of the RA, if there is one. */
  certificateOf(requestID: string): Promise<CertificateRecord | undefined> {
    return this.#store.certificateByRequest(requestID);
  }

  /** What is on record of the serial number, in every state; `undefined` if the CA has never used it. */
  certificate(issuer: string, serialNumber: string): Promise<CertificateRecord | undefined> {
    return this.#store.certificateBySerial(issuer, serialNumber);
  }

  /**
   * Revokes a certificate, or puts it on hold; the next CRL lists it. `already` changes nothing.
   *
   * @throws PkiError `store_unavailable`.
   */
  async revoke(revocation: {
    readonly issuer: string;
    readonly serialNumber: string;
    readonly reason: RevocationReason;
    readonly actor: string;
    readonly text: string;
  }): Promise<'revoked' | 'already' | 'unknown'> {
    const { issuer, serialNumber, reason, actor, text } = revocation;
    const at = this.#clock.now();
    return await this.#store.revoke({
      issuer,
      serialNumber,
      reason,
      at,
      audit: {
        at,
        event: 'certificate.revoked',
        actor,
        reference: '',
        code: '',
        text,
        detail: { issuer, serialNumber, reason },
      },
    });
  }

  /**
   * Releases a certificate from hold: it is good again, and the next CRL lists it no longer.
   *
   * @throws PkiError `store_unavailable`.
   */
  async release(release: {
    readonly issuer: string;
    readonly serialNumber: string;
    readonly actor: string;
    readonly text: string;
  }): Promise<'released' | 'not-held' | 'unknown'> {
    const { issuer, serialNumber, actor, text } = release;
    const at = this.#clock.now();
    return await this.#store.release({
      issuer,
      serialNumber,
      at,
      audit: {
        at,
        event: 'certificate.released',
        actor,
        reference: '',
        code: '',
        text,
        detail: { issuer, serialNumber },
      },
    });
  }

  /**
   * Revokes the issued certificates that meet the criteria, newest first, each with an audit entry of its own. Goes on
   * as it is read, and says after every page how many it revoked. What is issued meanwhile stays. One that breaks off
   * has revoked what it counted; the same once more does the rest.
   *
   * @throws PkiError `store_unavailable`.
   */
  async *revokeAll(
    criteria: Omit<CertificateCriteria, 'status'>,
    revocation: { readonly reason: RevocationReason; readonly actor: string; readonly text: string },
  ): AsyncGenerator<number, void> {
    let after: number | undefined;
    for (;;) {
      const page = await this.#store.certificates({
        ...criteria,
        status: 'issued',
        limit: BULK_PAGE_ROWS,
        ...(after === undefined ? {} : { after }),
      });
      const outcomes = await Promise.all(
        page.map(({ issuer, serialNumber }) => this.revoke({ ...revocation, issuer, serialNumber })),
      );
      yield outcomes.filter((outcome) => outcome === 'revoked').length;
      if (page.length < BULK_PAGE_ROWS) return;
      after = page.at(-1)?.id;
    }
  }

  /**
   * Gives up the intents of processes that died: all that are there when a server starts; while it runs, those older
   * than any signature takes; or those from before a process is known to have died, once the others had time to sign.
   * Their serials stay used and go on the CRL, since a signature may exist. A process that lives after all fails to
   * record what it signs, and its device tries again.
   */
  async abandonDeadIntents(
    moment: 'at-start' | 'while-running' | { readonly diedAt: Date },
  ): Promise<number> {
    const at = this.#clock.now();
    const reservedBefore =
      moment === 'at-start'
        ? // Also those of a time to come: the clock may have been set back since.
          new Date(DATE_MS_MAX)
        : moment === 'while-running'
          ? new Date(at.getTime() - INTENT_LIFETIME_MS)
          : moment.diedAt;
    let count = 0;
    for (const issuer of this.#issuers.values()) {
      const serials = await this.#store.abandonIntents({ issuer: issuer.name, reservedBefore, at });
      count += serials.length;
    }
    return count;
  }

  /**
   * Signs and records the CRLs of an issuing CA that are due (RFC 5280 §5): none exists, its overlap has begun, or a
   * certificate was revoked or released and is to be seen at once. Answers those that count, of every partition.
   *
   * @throws PkiError `template_denied` if there is no such CA, `store_unavailable`, `key_unavailable`.
   */
  async publishCrls(issuerName: string): Promise<CrlState[]> {
    return await this.#lists.publish(this.issuer(issuerName));
  }

  /** CRLs of all issuing CAs whose successor is missing although its time came a while ago. */
  async overdueCrls(): Promise<OverdueCrl[]> {
    const overdue: OverdueCrl[] = [];
    for (const issuer of this.#issuers.values()) overdue.push(...(await this.#lists.overdue(issuer)));
    return overdue;
  }

  /** The newest CRL of an issuing CA; `undefined` before the first. */
  latestCrl(issuer: string, partition = 0, kind: CrlKind = 'full'): Promise<CrlRecord | undefined> {
    return this.#store.latestCrl(issuer, partition, kind);
  }
}

/** The limit of a device: what is neither revoked nor due for renewal counts. */
function limitOf(
  { device }: Approval,
  { certificatesPerDeviceMax, renewalPeriodMs }: CertificateTemplate,
  now: Date,
): IssuanceLimit | undefined {
  if (certificatesPerDeviceMax === undefined) return undefined;
  if (device === '')
    throw new PkiError(
      'issuance_limit',
      'the template has a limit for each device, and this one has no name',
    );
  return {
    certificatesMax: certificatesPerDeviceMax,
    notAfterLater: new Date(now.getTime() + renewalPeriodMs),
  };
}

/** Step 1 of `issue`: the template is the ceiling, and the requester holds the key. */
function check(approval: Approval, template: CertificateTemplate): void {
  if (template.approval === 'certificateManager' && approval.approvedBy === undefined)
    throw new PkiError('approval_missing', `“${template.name}” wants a certificate manager’s approval`);
  if (!verifyCertificationRequest(approval.csr)) {
    throw new PkiError('csr_signature', 'the request is not signed by its own key');
  }
  const key = judgeKey(approval.csr.spki, template);
  if (key.verdict === 'refuse') throw new PkiError(key.code, key.detail);
  if (approval.extKeyUsage?.some((purpose) => !template.extKeyUsage.includes(purpose)) === true) {
    throw new PkiError('eku_mismatch', 'a purpose beyond the template was approved');
  }
  if (approval.keyUsage?.some((bit) => !template.keyUsage.includes(bit)) === true) {
    throw new PkiError('key_usage_mismatch', 'a key usage beyond the template was approved');
  }
  const names = judgeNames(template, approval.subject, approval.subjectAltName);
  if (names.verdict === 'refuse') throw new PkiError(names.code, names.detail);
  const { securityIdentifier } = approval;
  if (securityIdentifier === undefined) {
    if (template.securityIdentifier === 'required')
      throw new PkiError('identity_unvouched', 'no SID was approved, and the template wants one');
  } else if (template.securityIdentifier === 'never' || !isSecurityIdentifier(securityIdentifier)) {
    throw new PkiError('identity_unvouched', 'a SID beyond the template was approved, or what is none');
  }
}

/**
 * Back-dated as the template says, but neither before the issuer began nor beyond its end.
 *
 * @throws PkiError `lint_failed` if the issuer has ended.
 */
function validityOf(
  template: CertificateTemplate,
  issuer: Issuer,
  now: Date,
): { readonly notBefore: Date; readonly notAfter: Date } {
  const from = Math.max(now.getTime() - template.backdateMs, issuer.certificate.notBefore.getTime());
  const until = Math.min(now.getTime() + template.validityMs, issuer.certificate.notAfter.getTime());
  if (until <= now.getTime())
    throw new PkiError('lint_failed', `the certificate of CA “${issuer.name}” has ended; renew it`);
  const toSecond = (ms: number) => new Date(Math.floor(ms / 1000) * 1000);
  return { notBefore: toSecond(from), notAfter: toSecond(until) };
}

function extensionsOf(
  approval: Approval,
  issuer: Issuer,
  template: CertificateTemplate,
  crlPartition: number,
): Extension[] {
  return [
    endEntityBasicConstraintsExtension(),
    keyUsageExtension(
      keyUsageFor(approval.csr.spki, approval.keyUsage ?? template.keyUsageDefault ?? template.keyUsage),
    ),
    extKeyUsageExtension(approval.extKeyUsage ?? template.extKeyUsageDefault ?? template.extKeyUsage),
    ...(approval.subjectAltName.length === 0
      ? []
      : [subjectAltNameExtension(approval.subjectAltName, approval.subject)]),
    subjectKeyIdentifierExtension(keyIdentifier(approval.csr.spki)),
    authorityKeyIdentifierExtension(issuerKeyIdentifier(issuer)),
    crlDistributionPointsExtension(crlUrlsOf(issuer, crlPartition, 'full')),
    ...authorityInfoAccess(issuer),
    ...(template.ocspNoCheck ? [ocspNoCheckExtension()] : []),
    ...(template.information === undefined ? [] : [templateInformationExtension(template.information)]),
    ...(approval.securityIdentifier === undefined
      ? []
      : [securityIdentifierExtension(approval.securityIdentifier)]),
  ];
}

function authorityInfoAccess({ caIssuersUrls, ocspUrls = [] }: Issuer): Extension[] {
  // RFC 5280 §4.2.2.1: at least one entry, or no extension.
  if (caIssuersUrls.length + ocspUrls.length === 0) return [];
  return [authorityInfoAccessExtension(caIssuersUrls, ocspUrls)];
}

/** RFC 8813 §3: a key on an elliptic curve enciphers nothing, so these bits MUST NOT stand beside it. */
function keyUsageFor(spki: Uint8Array, bits: readonly KeyUsage[]): readonly KeyUsage[] {
  if (parsePublicKeyInfo(spki).type !== 'ec') return bits;
  return bits.filter((bit) => bit !== 'keyEncipherment' && bit !== 'dataEncipherment');
}

function issuedEntry(approval: Approval, certificate: Certificate, thumbprint: string, at: Date): AuditEntry {
  return {
    at,
    event: 'certificate.issued',
    actor: approval.requester,
    reference: '',
    code: '',
    text: `issued to ${nameToString(approval.subject)}`,
    detail: {
      requestID: approval.requestID,
      issuer: approval.issuer,
      template: approval.template,
      serialNumber: certificate.serialNumber,
      thumbprint,
      device: approval.device,
      ...(approval.approvedBy === undefined ? {} : { approvedBy: approval.approvedBy }),
    },
  };
}
