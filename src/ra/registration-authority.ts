/** The registration authority: takes a request through seen-before, validators, decision, issue and notification. */
import { createHash, hash } from 'node:crypto';
import { ApprovedRequest } from '../ca/approved-request.ts';
import {
  type Approval,
  type ApprovalSigner,
  type CertificateAuthority,
  type CertificateTemplate,
  needsDirectory,
  signApproval,
} from '../ca/index.ts';
import {
  type Certificate,
  type CertificationRequest,
  commonNameOf,
  generalNamesToString,
  hex,
  type Name,
  nameToString,
  randomOctets,
} from '../codec/index.ts';
import { type ErrorCode, errorCodeOf, errorTable, PkiError } from '../errors.ts';
import type { Metrics } from '../metrics.ts';
import type {
  AcceptedEnrolment,
  CertificateRecord,
  EnrolmentRecord,
  HeldRecord,
  HeldRequest,
  RaStore,
} from '../store/index.ts';
import { type Clock, type Log, newReference } from '../telemetry.ts';
import { type Approvable, type Decision, decide } from './decide.ts';
import { certificateIn, SuccessNotifications } from './notifications.ts';
import type { EnrolmentPolicy } from './policy.ts';
import { isOwnAndGood, judgeRenewal, namesakes, type Renewal, templateFor, verdictOf } from './renewal.ts';
import { openSealedRequest, sealRequest } from './sealed-request.ts';
import { isSelfTest } from './self-test.ts';
import type { EnrolmentRequest, Validator, Verdict } from './validator.ts';

/** What became of a request. */
export type Outcome =
  | { readonly outcome: 'issued'; readonly certificate: Uint8Array }
  /** A certificate manager has to decide; the device asks again (RFC 8894 §3.2.1.3: PENDING). */
  | { readonly outcome: 'pending'; readonly requestID: string }
  /** Policy says no; `reference` leads the operator to the audit entry with the reason. */
  | { readonly outcome: 'refused'; readonly code: ErrorCode; readonly reference: string }
  /** Nothing was decided, or the certificate is withheld: the device may try again. `reference` may be empty. */
  | { readonly outcome: 'unavailable'; readonly code: ErrorCode; readonly reference: string };

/** A no, or a not now: any outcome that ends the exchange without a certificate. */
export type Refusal = Extract<Outcome, { readonly outcome: 'refused' | 'unavailable' }>;

/** A device's question what became of a request that waits, as a door hands it to the RA. */
export interface PollRequest {
  /** Name of the endpoint in the configuration that it came in by. */
  readonly endpoint: string;
  /** RFC 8894 §3.3.3: the transactionID of the request that waits. */
  readonly transactionID: string;
  /** DER of the SubjectPublicKeyInfo that the question is signed with; the door has verified the signature. */
  readonly signerSpki: Uint8Array;
  /** Where it came from, for the log only. */
  readonly source: string;
}

/** What a registration authority is opened with. */
export interface RegistrationAuthorityOptions {
  readonly ca: CertificateAuthority;
  readonly store: RaStore;
  readonly policies: readonly EnrolmentPolicy[];
  /** The name that certificates are requested under (AD CS: Requester Name). */
  readonly serviceIdentity: string;
  /** `standby`: the store can only be read, and no request is decided or shown to a validator. `issuing` if absent. */
  readonly mode?: 'issuing' | 'standby';
  readonly clock: Clock;
  readonly log: Log;
  /** Nothing is counted if absent. */
  readonly metrics?: Metrics | undefined;
  readonly holding: HoldingPolicy;
  /** Signs what is approved, for templates that ask for it; opened when the first one does. There is none if absent. */
  readonly approvalSigner?: () => Promise<ApprovalSigner>;
}

/** How requests wait for a certificate manager. */
export interface HoldingPolicy {
  /** Seals them in the store; `sealKeyOf`. */
  readonly sealKey: Uint8Array;
  /** How long they can be decided about. */
  readonly expiresAfterMs: number;
  /** How many of an endpoint may wait: whoever may ask for approval without a challenge is to fill no disk. */
  readonly waitingMax: number;
}

/** A question about a certificate of ours, as a door hands it to the RA (RFC 8894 §3.3.4). */
export interface Inquiry {
  /** Name of the endpoint in the configuration that it came in by. */
  readonly endpoint: string;
  readonly transactionID: string;
  /** Where it came from, for the log only. */
  readonly source: string;
  /** The certificate that the question is signed with; the door has verified that the sender holds its key. */
  readonly signer: Certificate;
  /** Issuer and serial number of the certificate in question. */
  readonly about: { readonly issuer: Name; readonly serialNumber: string };
}

/** The CRL that lists, or would list, the certificate in question. */
export interface CrlOutcome {
  readonly outcome: 'crl';
  readonly crl: Uint8Array;
}

/** The way of one request: the policy of its endpoint, and the certificate that it renews. */
interface Course extends EnrolmentPolicy {
  readonly renews?: Renewal;
}

/** What a service of ours may have issued for keys that it makes itself. */
export interface ServicePolicy {
  /** Names of templates and of the issuing CA in the configuration. */
  readonly templates: readonly string[];
  readonly issuer: string;
  /** The name that its certificates are requested under (AD CS: Requester Name). */
  readonly requester: string;
}

/** A certificate that such a service orders. */
export interface ServiceOrder {
  /** The service's own number of it; the CA makes at most one live certificate for it. */
  readonly requestID: string;
  readonly issuer: string;
  readonly template: string;
  readonly csr: CertificationRequest;
  /** The device that the key is made for. */
  readonly device: string;
}

/** Facts about a refused request that an operator looks for. */
export interface RefusalContext {
  readonly endpoint: string;
  readonly transactionID: string;
  readonly source: string;
  readonly csr?: CertificationRequest;
}

/** A CRL that is larger would hold up others: it is to be had where the certificates say. */
const CRL_BYTES_MAX = 1024 * 1024;
/** Replaced certificates that are revoked in one round of housekeeping. */
const REPLACED_AT_ONCE_MAX = 100;
/** HRESULT NTE_FAIL: what AD CS reports when the CA could not sign. */
const NTE_FAIL = 0x80090020;
/** HRESULT CERTSRV_E_TEMPLATE_DENIED: what AD CS reports when its policy says no. */
const CERTSRV_E_TEMPLATE_DENIED = 0x80094012;
/** HRESULT CERTSRV_E_ADMIN_DENIED_REQUEST: what AD CS reports when a certificate manager says no. */
const CERTSRV_E_ADMIN_DENIED_REQUEST = 0x80094014;
/** How long a copy of a request that another process works on is waited for: far below any client's patience. */
const BUSY_WAIT_MS = 5_000;
const BUSY_POLL_MS = 50;
/** What a standby answers to whatever would have to be decided or recorded. */
const NOT_HERE: Refusal = { outcome: 'unavailable', code: 'store_read_only', reference: '' };
/** Anybody may be refused, with a subject of any length: the audit list keeps what tells a device. */
const AUDITED_SUBJECT_CHARACTERS_MAX = 256;

/** Decides about enrolments; nobody else can tell the CA to issue. */
export class RegistrationAuthority {
  readonly #options: RegistrationAuthorityOptions;
  readonly #policies: ReadonlyMap<string, EnrolmentPolicy>;
  /** Requests at work in this process, by their replay key. */
  readonly #inFlight = new Map<string, Promise<Outcome>>();
  /** What validators have to hear of certificates. */
  readonly notifications: SuccessNotifications;

  constructor(options: RegistrationAuthorityOptions) {
    this.#options = options;
    this.#policies = new Map(options.policies.map((policy) => [policy.endpoint, policy]));
    this.notifications = new SuccessNotifications({
      ...options,
      sealKey: options.holding.sealKey,
      validatorsOf: (endpoint) => this.#policies.get(endpoint)?.validators ?? [],
      issuers: options.policies.map(({ issuer }) => issuer),
    });
  }

  /**
   * Takes one request to its end. The same request sent again, at once or later, gets the same certificate.
   *
   * Never throws: a broken world is `unavailable` or, if an invariant broke, `refused` with code `internal`.
   */
  async enrol(request: EnrolmentRequest): Promise<Outcome> {
    // Neither asked about nor recorded: a validator must not hear of what nobody here can serve.
    if (this.#options.mode === 'standby') return NOT_HERE;
    return await this.#enrolAs(request, undefined);
  }

  /** `heldAs`: the replay key of a request that was held, which this is once more. */
  async #enrolAs(request: EnrolmentRequest, heldAs: string | undefined): Promise<Outcome> {
    const policy = this.#policies.get(request.endpoint);
    if (policy === undefined)
      return await this.refuse('template_denied', 'the endpoint has no policy', request);
    let course: Course = policy;
    if (policy.selfTest !== undefined && isSelfTest(policy.selfTest, request)) {
      const { endpoint, issuer, selfTest } = policy;
      course = { endpoint, issuer, template: selfTest.template, validators: [selfTest.validator] };
    }
    if (request.renews !== undefined) {
      const judged = await this.#courseOf(policy, request);
      if ('outcome' in judged) return judged;
      course = judged;
    }
    const replayKey = heldAs ?? replayKeyOf(course, request);
    // One at a time for each replay key: a copy waits, and then finds what its first became.
    for (let earlier = this.#inFlight.get(replayKey); earlier; earlier = this.#inFlight.get(replayKey))
      await earlier;
    const work = this.#enrolOnce(course, replayKey, request).catch((cause: unknown) =>
      this.#broke(cause, request),
    );
    this.#inFlight.set(replayKey, work);
    try {
      return await work;
    } finally {
      this.#inFlight.delete(replayKey);
    }
  }

  /**
   * Says what became of a request that waits for a certificate manager: `pending` until it is decided, and its
   * certificate, made now, once it is approved. `certificate_unknown` if the asker's key has no such request here.
   *
   * Never throws, as `enrol`.
   */
  async poll({ signerSpki, ...context }: PollRequest): Promise<Outcome> {
    if (this.#options.mode === 'standby') return NOT_HERE;
    const { store, clock, holding } = this.#options;
    try {
      const { endpoint, transactionID } = context;
      const signerKeyHash = hash('sha256', signerSpki, 'hex');
      const held = await store.heldRequest({ endpoint, transactionID, signerKeyHash });
      if (held === undefined)
        return await this.refuse('certificate_unknown', 'no such request of this key waited here', context);
      if (held.status === 'pending' && clock.now() < held.expiresAt)
        return { outcome: 'pending', requestID: held.requestID };
      // From here on it is the request itself that comes again.
      const { approvable: _, ...request } = openSealedRequest(holding.sealKey, held);
      return await this.#enrolAs(
        { ...context, ...request, signerSpki, receivedAt: clock.now() },
        held.replayKey,
      );
    } catch (cause) {
      return await this.#broke(cause, context);
    }
  }

  /**
   * Shows a certificate of the endpoint's CA to who holds a good one of it himself. Everything else gets one and the same
   * answer, `certificate_unknown`: the envelope of the question could be pieced together from another device's, and the
   * answer must not tell how it reads.
   *
   * Never throws, as `enrol`.
   */
  async certificate(inquiry: Inquiry): Promise<Outcome> {
    try {
      const record = await this.#recordFor(inquiry);
      // One that was revoked may never have been delivered; see `#deliver`.
      if (record?.status !== 'issued' || record.certificate === undefined)
        return await this.refuse('certificate_unknown', 'not shown, or not known', inquiry);
      return { outcome: 'issued', certificate: record.certificate };
    } catch (cause) {
      return await this.#broke(cause, inquiry);
    }
  }

  /** Shows the newest full CRL in which a certificate would stand; to the same askers as `certificate`. Never throws. */
  async crl(inquiry: Inquiry): Promise<CrlOutcome | Refusal> {
    try {
      const record = await this.#recordFor(inquiry);
      if (record === undefined)
        return await this.refuse('certificate_unknown', 'not shown, or not known', inquiry);
      const newest = await this.#options.ca.latestCrl(record.issuer, record.crlPartition);
      if (newest === undefined || newest.crl.length > CRL_BYTES_MAX)
        return await this.refuse('crl_unserved', `${newest?.crl.length ?? 'no'} octets`, inquiry);
      return { outcome: 'crl', crl: newest.crl };
    } catch (cause) {
      return await this.#broke(cause, inquiry);
    }
  }

  /**
   * Revokes the certificates whose successors were issued long enough ago, and says how many. What is due is on record, so
   * that a crash delays it and no more. For housekeeping.
   *
   * @throws PkiError `store_unavailable`; the rest is done the next time.
   */
  async revokeReplaced(): Promise<number> {
    const { ca, store, clock, serviceIdentity } = this.#options;
    const due = await store.replacementsDue({ at: clock.now(), limit: REPLACED_AT_ONCE_MAX });
    for (const { requestID, issuer, serialNumber } of due) {
      await ca.revoke({
        issuer,
        serialNumber,
        reason: 'superseded',
        actor: serviceIdentity,
        text: `renewed by request ${requestID}`,
      });
      await store.forgetReplaced(requestID);
    }
    return due.length;
  }

  /** The record that an inquiry is about, if the asker may know. */
  async #recordFor({ endpoint, signer, about }: Inquiry): Promise<CertificateRecord | undefined> {
    const { ca, clock } = this.#options;
    const policy = this.#policies.get(endpoint);
    if (policy === undefined || !(await isOwnAndGood(ca, policy.issuer, signer, clock.now())))
      return undefined;
    for (const issuer of namesakes(ca, policy.issuer, about.issuer)) {
      const record = await ca.certificate(issuer, about.serialNumber);
      if (record !== undefined) return record;
    }
    return undefined;
  }

  /** What a broken world is to the device. */
  async #broke(cause: unknown, context: RefusalContext): Promise<Refusal> {
    if (!(cause instanceof PkiError)) this.#options.log.error({ err: cause }, 'an invariant broke');
    return await this.refuse(
      errorCodeOf(cause),
      cause instanceof Error ? cause.message : String(cause),
      context,
    );
  }

  /** The way of a request that is signed with an older certificate; a refusal if that does not hold. */
  async #courseOf(policy: EnrolmentPolicy, request: EnrolmentRequest): Promise<Course | Refusal> {
    const { ca, clock } = this.#options;
    try {
      const renewal = await judgeRenewal(ca, policy, request, clock.now());
      if (renewal === undefined) return policy;
      if ('code' in renewal) return await this.refuse(renewal.code, renewal.detail, request);
      const older: Validator = {
        name: 'older certificate',
        challengeUse: 'none',
        validate: async () => verdictOf(renewal),
      };
      const validators = renewal.policy.challenge === 'required' ? policy.validators : [];
      return { ...policy, validators: [older, ...validators], renews: renewal };
    } catch (cause) {
      return await this.#broke(cause, request);
    }
  }

  /** The template that a request is decided by. */
  #templateOf(course: Course): CertificateTemplate {
    return templateFor(this.#options.ca.template(course.template), course.renews);
  }

  async #enrolOnce(policy: Course, replayKey: string, request: EnrolmentRequest): Promise<Outcome> {
    const { store, log } = this.#options;
    // Step 1: seen before?
    const seen = await store.enrolment(policy.endpoint, replayKey);
    if (seen !== undefined) return await this.#again(policy, seen, request);
    if (request.challengePassword === '' && policy.validators.some(wantsChallenge)) {
      return await this.refuse('challenge_missing', 'no challengePassword attribute', request);
    }
    // Step 2: ask the validators, all of them.
    const startMs = performance.now();
    const verdicts = await this.#askValidators(policy.validators, request);
    const validatedMs = performance.now();
    // Step 3: decide.
    const decision = decide(this.#templateOf(policy), request.csr, verdicts);
    if (decision.decision === 'refuse' || decision.decision === 'postpone')
      return await this.#declined(policy, decision, verdicts, request);
    // Step 4: claim the challenge and issue, in one transaction; exactly one request gets it.
    const device = decision.device === '' ? (commonNameOf(request.csr.subject) ?? '') : decision.device;
    const claim: AcceptedEnrolment = {
      requestID: freshRequestID(request.receivedAt),
      endpoint: policy.endpoint,
      replayKey,
      transactionID: request.transactionID,
      ...fingerprintsOf(request.csr),
      device,
      acceptedAt: this.#options.clock.now(),
      ...replacedBy(policy),
    };
    const claimed = { ...claim, ...this.notifications.dueAfter(policy, claim, request) };
    if (decision.decision === 'hold')
      return await this.#hold(policy, { ...decision, device }, request, claimed);
    const certificate = await this.#issue(policy, { ...decision, device }, request, { claim: claimed });
    if (certificate !== undefined) {
      const issuedMs = performance.now();
      const outcome = await this.#deliver(policy, claim, request, certificate);
      log.info(
        {
          requestID: claim.requestID,
          transactionID: claim.transactionID,
          endpoint: claim.endpoint,
          device,
          outcome: outcome.outcome,
          validateMs: rounded(validatedMs - startMs),
          issueMs: rounded(issuedMs - validatedMs),
          notifyMs: rounded(performance.now() - issuedMs),
        },
        'enrolment worked',
      );
      return outcome;
    }
    const other = await store.enrolment(policy.endpoint, replayKey);
    if (other === undefined) throw new PkiError('internal', 'an accepted enrolment cannot be read');
    return await this.#again(policy, other, request);
  }

  async #askValidators(validators: readonly Validator[], request: EnrolmentRequest): Promise<Verdict[]> {
    const verdicts: Verdict[] = [];
    for (const validator of validators) verdicts.push(await validator.validate(request));
    return verdicts;
  }

  /**
   * Issues to one of our own services (the edge's web server certificate, the RA's own) on the word of an operator, who
   * stands in for the validators. Template and CA check the request as any other.
   *
   * @throws PkiError with the code of the refusal, and whatever the CA throws.
   */
  async enrolService(order: {
    readonly issuer: string;
    readonly template: string;
    readonly csr: CertificationRequest;
    readonly operator: string;
  }): Promise<Certificate> {
    const { ca, clock, log } = this.#options;
    const decision = decide(ca.template(order.template), order.csr, [
      { verdict: 'accept', names: 'vouched', directory: 'as-requested' },
    ]);
    if (decision.decision === 'postpone')
      throw new PkiError('internal', 'an operator’s word is always there');
    if (decision.decision === 'refuse') throw new PkiError(decision.code, decision.detail);
    const { decision: said, device: __, ignored, ...approved } = decision;
    if (ignored.length > 0) log.info({ dropped: ignored }, 'dropped what the template does not give');
    const certificate = await ca.issue(
      await this.#minted({
        requestID: freshRequestID(clock.now()),
        issuer: order.issuer,
        template: order.template,
        csr: order.csr,
        ...approved,
        requester: order.operator,
        device: '',
        // The operator who orders it is the person who would be asked.
        ...(said === 'hold' ? { approvedBy: order.operator } : {}),
      }),
    );
    if (certificate === undefined)
      throw new PkiError('internal', 'nobody else can claim an operator’s request');
    return certificate;
  }

  /**
   * Issues to a service of ours that makes keys for devices (the PKCS connector), on the word of the MDM that it asks for.
   * Template and CA check the request as any other; a template for which a person has to say yes is refused, for nobody is
   * asked. The certificate is on record under the order's requestID, which names it in `withdrawService`.
   *
   * @throws PkiError `template_denied`, the code of any other refusal, `enrolment_busy` if the requestID has a certificate
   *   already, and whatever the CA throws.
   */
  async enrolForService(service: ServicePolicy, order: ServiceOrder): Promise<Certificate> {
    const { ca, log } = this.#options;
    const { requestID, issuer, template, csr, device } = order;
    if (!service.templates.includes(template) || service.issuer !== issuer)
      throw new PkiError('template_denied', `${service.requester} may not enrol ${template} of ${issuer}`);
    const decision = decide(ca.template(template), csr, [
      { verdict: 'accept', names: 'vouched', directory: 'as-requested', device },
    ]);
    if (decision.decision === 'postpone') throw new PkiError('internal', 'the MDM’s word is always there');
    if (decision.decision === 'refuse') throw new PkiError(decision.code, decision.detail);
    if (decision.decision === 'hold')
      throw new PkiError('template_denied', `a certificate manager has to approve ${template}`);
    const { decision: _, ignored, ...approved } = decision;
    if (ignored.length > 0)
      log.info({ requestID, dropped: ignored }, 'dropped what the template does not give');
    const approval = { requestID, issuer, template, csr, ...approved, requester: service.requester };
    const certificate = await ca.issue(await this.#minted(approval));
    if (certificate === undefined)
      throw new PkiError('internal', 'nobody else can claim a service’s request');
    return certificate;
  }

  /**
   * What became of a request of `enrolForService`; `unsettled` while it is being signed.
   *
   * @throws PkiError `store_unavailable`.
   */
  async serviceCertificate(requestID: string): Promise<'none' | 'unsettled' | 'issued' | 'revoked'> {
    const record = await this.#options.ca.certificateOf(requestID);
    if (record === undefined) return 'none';
    return record.status === 'intent' ? 'unsettled' : record.status === 'revoked' ? 'revoked' : 'issued';
  }

  /**
   * Revokes the certificate of a request of `enrolForService`, if it has one that is not revoked yet.
   *
   * @throws PkiError `enrolment_busy` while it is being signed, `store_unavailable`.
   */
  async withdrawService(
    service: ServicePolicy,
    requestID: string,
    text: string,
  ): Promise<'revoked' | 'none'> {
    const record = await this.#options.ca.certificateOf(requestID);
    if (record === undefined || record.status === 'revoked') return 'none';
    if (record.status === 'intent') throw new PkiError('enrolment_busy', `${requestID} is being signed`);
    const { issuer, serialNumber } = record;
    const actor = service.requester;
    await this.#options.ca.revoke({ issuer, serialNumber, reason: 'cessationOfOperation', actor, text });
    return 'revoked';
  }

  /** Puts what a service did on record. Throws PkiError `store_unavailable`. */
  async recordService(
    service: ServicePolicy,
    event: string,
    text: string,
    detail: Readonly<Record<string, string>>,
  ): Promise<void> {
    const { store, clock } = this.#options;
    await store.appendAudit({
      at: clock.now(),
      event,
      actor: service.requester,
      reference: '',
      code: '',
      text,
      detail,
    });
  }

  /** The challenge, or the transaction, was accepted before: the same request gets the same answer, another gets none. */
  async #again(policy: Course, seen: EnrolmentRecord, request: EnrolmentRequest): Promise<Outcome> {
    const { publicKeyHash, requestHash } = fingerprintsOf(request.csr);
    if (seen.publicKeyHash !== publicKeyHash) {
      return await this.refuse(
        'challenge_reused',
        `request ${seen.requestID} used it with another key`,
        request,
      );
    }
    if (seen.requestHash !== requestHash) {
      return await this.refuse(
        'challenge_reused',
        `request ${seen.requestID} asked for something else`,
        request,
      );
    }
    const record = await this.#settled(seen.requestID);
    switch (record?.status) {
      case 'issued':
        return await this.#deliver(policy, seen, request, certificateIn(record), record.reservedAt);
      case 'revoked':
        return await this.refuse('certificate_revoked', `request ${seen.requestID}`, request);
      case 'intent':
        return await this.refuse('enrolment_busy', `request ${seen.requestID} is being signed`, request);
      default: {
        const held = await this.#options.store.heldRequest({ requestID: seen.requestID });
        if (held !== undefined) return await this.#afterHold(policy, seen, held, request);
        // Accepted, but the process died before a certificate was on record. The validator said yes to this very
        // request, so it is not asked again: its challenge may be spent. Only what it knew of the device is on no record.
        const template = this.#templateOf(policy);
        const verdicts: Verdict[] =
          policy.renews !== undefined || needsDirectory(template)
            ? await this.#askValidators(policy.validators, request)
            : [
                { verdict: 'accept', names: 'vouched', device: seen.device },
                // Who asks for no challenge can be asked again, and may want a person to be asked.
                ...(await this.#askValidators(policy.validators.filter(asksAnew), request)),
              ];
        const decision = decide(template, request.csr, verdicts);
        if (decision.decision === 'refuse' || decision.decision === 'postpone')
          return await this.#declined(policy, decision, verdicts, request);
        const { requestID, device } = seen;
        if (decision.decision === 'hold')
          return await this.#hold(policy, { ...decision, device }, request, seen);
        const certificate = await this.#issue(policy, { ...decision, device }, request, { requestID });
        if (certificate === undefined)
          throw new PkiError('internal', 'a claim that is on record cannot be lost');
        return await this.#deliver(policy, seen, request, certificate);
      }
    }
  }

  /** Step 4 for what a person has to approve: the request waits, under its claim. */
  async #hold(
    policy: Course,
    approvable: Approvable,
    request: EnrolmentRequest,
    claim: AcceptedEnrolment,
  ): Promise<Outcome> {
    const { store, clock, log, holding, serviceIdentity } = this.#options;
    const at = clock.now();
    const { csr, challengePassword, renews, signerSpki = csr.spki } = request;
    const label = {
      requestID: claim.requestID,
      endpoint: claim.endpoint,
      issuer: policy.issuer,
      template: policy.template,
      subject: nameToString(approvable.subject),
      subjectAltName: generalNamesToString(approvable.subjectAltName),
    };
    const held: HeldRequest = {
      ...claim,
      ...label,
      signerKeyHash: hash('sha256', signerSpki, 'hex'),
      sealed: sealRequest(holding.sealKey, label, {
        csr,
        challengePassword,
        ...(renews === undefined ? {} : { renews }),
        approvable,
      }),
      expiresAt: new Date(at.getTime() + holding.expiresAfterMs),
    };
    const outcome = await store.holdRequest({
      request: held,
      waitingMax: holding.waitingMax,
      audit: {
        at,
        event: 'enrolment.held',
        actor: serviceIdentity,
        reference: '',
        code: '',
        text: 'the request waits for a certificate manager',
        detail: {
          ...label,
          subject: label.subject.slice(0, AUDITED_SUBJECT_CHARACTERS_MAX),
          transactionID: claim.transactionID,
          device: claim.device,
          source: request.source,
        },
      },
    });
    if (outcome === 'full')
      return await this.refuse('approval_queue_full', `${holding.waitingMax} requests wait`, request);
    if (outcome === 'held') {
      log.info({ requestID: claim.requestID, endpoint: claim.endpoint }, 'waits for a certificate manager');
      return { outcome: 'pending', requestID: claim.requestID };
    }
    const other = await store.enrolment(claim.endpoint, claim.replayKey);
    if (other === undefined) throw new PkiError('internal', 'an accepted enrolment cannot be read');
    return await this.#again(policy, other, request);
  }

  /** A request that was held comes again, and has no certificate: whatever was decided is done now. */
  async #afterHold(
    policy: Course,
    seen: EnrolmentRecord,
    held: HeldRecord,
    request: EnrolmentRequest,
  ): Promise<Outcome> {
    const { store, clock, holding } = this.#options;
    const { requestID, decidedBy = '', comment = '' } = held;
    switch (held.status) {
      case 'pending':
        return clock.now() < held.expiresAt
          ? { outcome: 'pending', requestID }
          : await this.refuse('approval_expired', `it waited until ${held.expiresAt.toISOString()}`, request);
      case 'denied':
        if (seen.notifiedAt === undefined) {
          // All of them had accepted.
          await this.#notifyFailure(
            policy.validators,
            request,
            CERTSRV_E_ADMIN_DENIED_REQUEST,
            'approval_denied',
          );
          await store.recordNotified(seen, clock.now());
        }
        return await this.refuse(
          'approval_denied',
          `request ${held.id}, by ${decidedBy}: ${comment}`,
          request,
        );
      case 'issued':
        throw new PkiError('enrolment_busy', `request ${requestID} was issued in this instant`);
      case 'approved': {
        const { approvable } = openSealedRequest(holding.sealKey, held);
        // Of the CA and the template that the person has read, whatever the endpoint enrols for since.
        const approved = { ...policy, issuer: held.issuer, template: held.template };
        const under = { requestID, approvedBy: decidedBy };
        const certificate = await this.#issue(approved, approvable, request, under);
        if (certificate === undefined)
          throw new PkiError('internal', 'a claim that is on record cannot be lost');
        return await this.#deliver(approved, seen, request, certificate);
      }
    }
  }

  /** The certificate of a request, waiting a little while another process is signing it. */
  async #settled(requestID: string): Promise<CertificateRecord | undefined> {
    const { ca } = this.#options;
    let record = await ca.certificateOf(requestID);
    for (let waitedMs = 0; record?.status === 'intent' && waitedMs < BUSY_WAIT_MS; waitedMs += BUSY_POLL_MS) {
      await new Promise((resolve) => setTimeout(resolve, BUSY_POLL_MS));
      record = await ca.certificateOf(requestID);
    }
    return record;
  }

  /** Step 5: the CA issues what the RA approved: under a claim that is made now, or for one that is on record. */
  async #issue(
    policy: EnrolmentPolicy,
    approved: Approvable,
    request: EnrolmentRequest,
    under:
      | { readonly claim: AcceptedEnrolment }
      | { readonly requestID: string; readonly approvedBy?: string },
  ): Promise<Certificate | undefined> {
    const { ca, log, serviceIdentity } = this.#options;
    const requestID = 'claim' in under ? under.claim.requestID : under.requestID;
    if (!('claim' in under)) await this.notifications.expect(policy, requestID);
    if (approved.ignored.length > 0)
      log.info({ requestID, dropped: approved.ignored }, 'dropped what the template does not give');
    try {
      return await ca.issue(
        await this.#minted({
          requestID,
          issuer: policy.issuer,
          template: policy.template,
          csr: request.csr,
          subject: approved.subject,
          subjectAltName: approved.subjectAltName,
          ...(approved.securityIdentifier === undefined
            ? {}
            : { securityIdentifier: approved.securityIdentifier }),
          ...(approved.keyUsage === undefined ? {} : { keyUsage: approved.keyUsage }),
          ...(approved.extKeyUsage === undefined ? {} : { extKeyUsage: approved.extKeyUsage }),
          requester: serviceIdentity,
          device: approved.device,
          ...('claim' in under
            ? { claim: under.claim }
            : under.approvedBy === undefined
              ? {}
              : { approvedBy: under.approvedBy }),
        }),
      );
    } catch (cause) {
      await this.#notifyFailure(policy.validators, request, NTE_FAIL, errorCodeOf(cause));
      throw cause;
    }
  }

  /** The RA's yes, signed where the template wants the CA to believe a key and not this process. */
  async #minted(approval: Approval): Promise<ApprovedRequest> {
    const { ca, approvalSigner } = this.#options;
    if (ca.template(approval.template).raSignature === 'none' || approvalSigner === undefined)
      return ApprovedRequest.mint(approval);
    const raSignature = await signApproval(approval, await approvalSigner());
    return ApprovedRequest.mint({ ...approval, raSignature });
  }

  /**
   * Step 6: tell the validators before the device gets anything. What they refuse is revoked; while they do not answer, it
   * is withheld, and the device may ask again.
   */
  async #deliver(
    policy: EnrolmentPolicy,
    enrolment: EnrolmentRecord,
    request: EnrolmentRequest,
    certificate: Certificate,
    madeAt = this.#options.clock.now(),
  ): Promise<Outcome> {
    const untold = await this.notifications.tell(policy, enrolment, request, certificate, madeAt);
    return untold === undefined
      ? { outcome: 'issued', certificate: certificate.raw }
      : await this.refuse('notification_failed', untold, request);
  }

  /** Tells validators that nothing comes of what they accepted. Whatever becomes of it changes no answer. */
  async #notifyFailure(
    validators: readonly Validator[],
    request: EnrolmentRequest,
    hResult: number,
    code: ErrorCode,
  ): Promise<void> {
    for (const validator of validators) {
      try {
        await validator.notifyFailure?.(request, { hResult, description: errorTable[code].text });
      } catch (cause) {
        this.#options.log.error({ err: cause, validator: validator.name }, 'failureNotification failed');
      }
    }
  }

  async #declined(
    policy: EnrolmentPolicy,
    decision: Extract<Decision, { decision: 'refuse' | 'postpone' }>,
    verdicts: readonly Verdict[],
    request: EnrolmentRequest,
  ): Promise<Outcome> {
    if (decision.decision === 'postpone') {
      return await this.refuse('validator_unreachable', decision.detail, request);
    }
    // Who accepted must hear that nothing comes of it; who refused knows.
    const accepted = policy.validators.filter((_, index) => verdicts[index]?.verdict === 'accept');
    await this.#notifyFailure(accepted, request, CERTSRV_E_TEMPLATE_DENIED, decision.code);
    return await this.refuse(decision.code, decision.detail, request);
  }

  /**
   * Says no and puts it on record; for a code of kind `unavailable` it is “not now”. For the RA's own decisions, and for
   * requests that a door could not even read as far as a decision. `detail` goes into the audit list alone.
   *
   * Never throws: if the audit list cannot be written, nothing is decided and the device may try again.
   */
  async refuse(code: ErrorCode, detail: string, context: RefusalContext): Promise<Refusal> {
    if (this.#options.mode === 'standby') return NOT_HERE;
    const outcome = errorTable[code].kind === 'unavailable' ? 'unavailable' : 'refused';
    try {
      const reference = await this.#record(`enrolment.${outcome}`, code, detail, context);
      return { outcome, code, reference };
    } catch (cause) {
      this.#options.log.error({ err: cause }, 'the audit log cannot be written');
      return { outcome: 'unavailable', code: 'store_unavailable', reference: '' };
    }
  }

  async #record(event: string, code: ErrorCode, detail: string, context: RefusalContext): Promise<string> {
    const { store, clock, log, serviceIdentity } = this.#options;
    const reference = newReference();
    const { endpoint, transactionID, source, csr } = context;
    log.warn({ event, code, reference, endpoint, transactionID, source, detail }, errorTable[code].text);
    await store.appendAudit({
      at: clock.now(),
      event,
      actor: serviceIdentity,
      reference,
      code,
      text: errorTable[code].text,
      detail: {
        endpoint,
        transactionID,
        source,
        detail,
        ...(csr === undefined
          ? {}
          : {
              subject: nameToString(csr.subject).slice(0, AUDITED_SUBJECT_CHARACTERS_MAX),
              publicKeyHash: fingerprintsOf(csr).publicKeyHash,
            }),
      },
    });
    return reference;
  }
}

/** What is to be revoked once the request has its certificate. */
function replacedBy({ renews }: Course): Pick<AcceptedEnrolment, 'replaces'> {
  const revokeAfterMs = renews?.policy.revokeReplacedAfterMs;
  if (renews === undefined || revokeAfterMs === undefined) return {};
  const { issuer, serialNumber } = renews.record;
  return { replaces: { issuer, serialNumber, revokeAfterMs } };
}

function wantsChallenge({ challengeUse }: Validator): boolean {
  return challengeUse !== 'none';
}

function asksAnew(validator: Validator): boolean {
  return !wantsChallenge(validator);
}

/**
 * What makes an enrolment single. A challenge that serves one key is the key itself; under a shared secret it is the
 * transaction with the public key, so that a lost answer is sent again and a new transaction gets a new certificate. Under
 * an older certificate alone it is that certificate with what is asked.
 */
function replayKeyOf(policy: Course, request: EnrolmentRequest): string {
  const single = policy.validators.some((validator) => validator.challengeUse === 'single');
  const digest = createHash('sha256');
  if (single && request.challengePassword !== '')
    digest.update('challenge\0').update(request.challengePassword);
  else if (policy.renews !== undefined && !policy.validators.some(wantsChallenge))
    digest
      .update('renewal\0')
      .update(policy.renews.certificate.raw)
      .update(fingerprintsOf(request.csr).requestHash);
  else digest.update('transaction\0').update(request.transactionID).update('\0').update(request.csr.spki);
  return digest.digest('base64url');
}

const fingerprintCache = new WeakMap<CertificationRequest, { publicKeyHash: string; requestHash: string }>();

function fingerprintsOf(csr: CertificationRequest): {
  readonly publicKeyHash: string;
  readonly requestHash: string;
} {
  let fingerprints = fingerprintCache.get(csr);
  if (fingerprints === undefined) {
    fingerprints = {
      publicKeyHash: hash('sha256', csr.spki, 'hex'),
      requestHash: hash('sha256', csr.certificationRequestInfo, 'hex'),
    };
    fingerprintCache.set(csr, fingerprints);
  }
  return fingerprints;
}

/** Grows with time, so that new rows go to the end of their index; the random half makes it unique. */
function freshRequestID(at: Date): string {
  return at.getTime().toString(16).padStart(12, '0') + hex(randomOctets(10));
}

/** Milliseconds with one decimal, for the log. */
function rounded(ms: number): number {
  return Math.round(ms * 10) / 10;
}
