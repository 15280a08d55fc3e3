/** What the admin API offers: each route with what it takes, what it answers, and what it asks of whoever calls. */
import { z } from 'zod';
import type { CertificateAuthority } from '../ca/index.ts';
import { PkiError } from '../errors.ts';
import { type AskedChallenge, decideAbout, type OneTimeChallenges } from '../ra/index.ts';
import type {
  CertificateCriteria,
  CertificateRecord,
  HeldRecord,
  HeldRequestStore,
  PkiStore,
} from '../store/index.ts';
import type { Clock } from '../telemetry.ts';
import { type Action, type Actor, authorise } from './authorise.ts';

/** What the routes work with. */
export interface AdminParts {
  readonly store: Pick<PkiStore, 'certificates'> & HeldRequestStore;
  readonly ca: CertificateAuthority;
  readonly oneTime: OneTimeChallenges;
  /** Endpoints with the one-time validator. */
  readonly challengeEndpoints: readonly string[];
  /** How the server is: all that `serverHealth` describes but `status`. Never throws. */
  readonly health: () => Promise<object & { readonly problems: readonly string[] }>;
  readonly clock: Clock;
}

/** RFC 6750 §2.1, RFC 7617 §2. */
export type SignInScheme = 'Bearer' | 'Basic';

/** One route. */
export interface AdminRoute {
  readonly method: 'GET' | 'POST';
  /** As in OpenAPI: `/admin/v1/certificates/{issuer}/{serialNumber}`. */
  readonly path: string;
  readonly operationId: string;
  readonly summary: string;
  readonly action: Action;
  readonly status: 200 | 201;
  /** How one signs in: `Basic` too where a caller may know nothing else. */
  readonly schemes: readonly SignInScheme[];
  readonly mediaType: 'application/json' | 'text/plain';
  readonly params: z.ZodObject;
  readonly query: z.ZodObject;
  readonly body: z.ZodObject | undefined;
  readonly answer: z.ZodType;
  /** Input is parsed; the actor may do `action`. */
  readonly handle: (input: AdminInput, actor: Actor, parts: AdminParts) => Promise<unknown>;
}

/** What a request says, parsed by its route. */
export interface AdminInput {
  readonly params: Readonly<Record<string, unknown>>;
  readonly query: Readonly<Record<string, unknown>>;
  readonly body: Readonly<Record<string, unknown>>;
}

/** Ties the parsed types of a route to its handler. */
function route<P extends z.ZodObject, Q extends z.ZodObject, B extends z.ZodObject>(definition: {
  readonly method: 'GET' | 'POST';
  readonly path: string;
  readonly operationId: string;
  readonly summary: string;
  readonly action: Action;
  readonly status?: 201;
  readonly schemes?: readonly SignInScheme[];
  readonly mediaType?: 'text/plain';
  readonly params?: P;
  readonly query?: Q;
  readonly body?: B;
  readonly answer: z.ZodType;
  readonly handle: (
    input: { readonly params: z.output<P>; readonly query: z.output<Q>; readonly body: z.output<B> },
    actor: Actor,
    parts: AdminParts,
  ) => Promise<unknown>;
}): AdminRoute {
  const nothing = z.strictObject({});
  return {
    ...definition,
    status: definition.status ?? 200,
    schemes: definition.schemes ?? ['Bearer'],
    mediaType: definition.mediaType ?? 'application/json',
    params: definition.params ?? nothing,
    query: definition.query ?? nothing,
    body: definition.body,
    handle: definition.handle as unknown as AdminRoute['handle'],
  };
}

// --- shapes -----------------------------------------------------------------------------------------------------------

const MINUTE_MS = 60_000;
const PAGE_ROWS_MAX = 1000;

const moment = z.iso.datetime();
const line = (charactersMax: number) =>
  z
    .string()
    .max(charactersMax)
    .regex(/^\P{Cc}*$/u, 'a line of text');
const word = line(1024).min(1);
const serialNumber = z
  .string()
  .transform((text) => text.toLowerCase().replaceAll(':', ''))
  .pipe(z.string().regex(/^([0-9a-f]{2}){1,20}$/, 'hexadecimal, two digits an octet'));
const page = {
  limit: z.coerce.number().int().min(1).max(PAGE_ROWS_MAX).default(100).describe('At most this many.'),
  after: z.coerce
    .number()
    .int()
    .min(1)
    .optional()
    .describe('The next page: the `id` (or `number`) of the last row of the one before.'),
};
const comment = line(1024).default('').describe('Goes into the audit list.');

const certificateStatus = z.enum(['intent', 'issued', 'revoked', 'abandoned']);
const revocationReason = z.enum([
  'unspecified',
  'keyCompromise',
  'affiliationChanged',
  'superseded',
  'cessationOfOperation',
  'certificateHold',
  'privilegeWithdrawn',
]);

const certificate = z.strictObject({
  id: z.int(),
  issuer: z.string(),
  serialNumber: z.string(),
  status: certificateStatus,
  template: z.string(),
  subject: z.string(),
  subjectAltName: z.string(),
  requester: z.string(),
  device: z.string(),
  publicKeyHash: z.string(),
  thumbprint: z.string().optional(),
  notBefore: moment,
  notAfter: moment,
  reservedAt: moment,
  revokedAt: moment.optional(),
  revocationReason: z.string().optional(),
  releasedAt: moment.optional(),
  der: z.base64().optional().describe('Of one certificate, not in lists.'),
});

const heldRequest = z.strictObject({
  id: z.int(),
  endpoint: z.string(),
  transactionID: z.string(),
  status: z.enum(['pending', 'approved', 'denied', 'issued']),
  issuer: z.string(),
  template: z.string(),
  subject: z.string(),
  subjectAltName: z.string(),
  device: z.string(),
  publicKeyHash: z.string(),
  acceptedAt: moment,
  expiresAt: moment,
  decidedAt: moment.optional(),
  decidedBy: z.string().optional(),
  comment: z.string().optional(),
});

const auditEntry = z.strictObject({
  number: z.int(),
  at: moment,
  event: z.string(),
  actor: z.string(),
  reference: z.string(),
  code: z.string(),
  text: z.string(),
  detail: z.record(z.string(), z.string()),
});

const serverHealth = z.looseObject({
  status: z.enum(['ok', 'alarm']).describe('`ok` if there are no problems.'),
  problems: z.array(z.string()).describe('What a person should look at, a sentence each.'),
  at: moment,
  role: z
    .enum(['leads', 'follows', 'standby', 'beside'])
    .describe('The server that leads does what one of all servers of the database does.'),
  store: z.enum(['available', 'unavailable']),
  issuers: z.array(z.strictObject({ issuer: z.string(), notAfter: moment })),
  crls: z.array(
    z.strictObject({
      issuer: z.string(),
      partition: z.int(),
      kind: z.enum(['full', 'delta']),
      crlNumber: z.int(),
      thisUpdate: moment,
      nextUpdate: moment,
      ageSeconds: z.int(),
      overdue: z
        .boolean()
        .describe('Its successor is missing; relying parties refuse every certificate when it ends.'),
    }),
  ),
  targets: z
    .array(
      z.strictObject({
        target: z.string(),
        place: z.string(),
        status: z.enum(['unknown', 'current', 'behind']),
        since: moment,
        objects: z.int().describe('How many CRLs and certificates it is known to hold.'),
        endsAt: moment.optional().describe('When the first of these ends.'),
        lastError: z.strictObject({ at: moment, text: z.string() }).optional(),
        alarm: z.boolean(),
      }),
    )
    .describe('Targets of publishing; known to the server that leads.'),
  ocspSigners: z.array(
    z.strictObject({
      issuer: z.string(),
      notAfter: moment.optional().describe('Absent if nobody can sign.'),
    }),
  ),
  raCertificates: z
    .array(
      z.strictObject({
        endpoint: z.string(),
        notAfter: moment.optional().describe('Absent if there are none.'),
      }),
    )
    .describe('Of those of each endpoint, the one that ends first.'),
  notificationsWaiting: z
    .int()
    .describe(
      'Certificates whose validators do not take successNotification now; known to the server that leads.',
    ),
  revocationRequests: z
    .array(
      z.strictObject({
        source: z.string().describe('Tenant and application.'),
        backlog: z.int(),
        oldest: moment.optional(),
        succeededAt: moment.optional(),
        lastError: z.strictObject({ at: moment, text: z.string() }).optional(),
      }),
    )
    .describe('What Intune wants revoked and has no answer of; known to the server that leads.'),
  selfTests: z
    .array(
      z.strictObject({
        endpoint: z.string(),
        url: z.string(),
        at: moment,
        durationMs: z.number(),
        outcome: z.enum(['works', 'fails']),
        reach: z.enum(['enrolled', 'refused', 'answered']),
        step: z.string().optional().describe('Where it failed.'),
        detail: z.string(),
        raEnds: moment.optional(),
        succeededAt: moment.optional().describe('When the newest one that worked began.'),
      }),
    )
    .describe('How the self-tests of the endpoints went; known to the server that leads.'),
});

/** QUIRK Jamf: what is sent besides differs between versions and senders; a device that cannot be read has no name. */
const deviceOfEvent = z
  .looseObject({ serialNumber: line(256) })
  .optional()
  .catch(undefined);

// --- the table --------------------------------------------------------------------------------------------------------

/** Where the API begins. */
export const ADMIN_PREFIX = '/admin/v1';

const namedCertificate = z.strictObject({ issuer: word.describe('Name of the issuing CA.'), serialNumber });
const namedRequest = z.strictObject({ id: z.coerce.number().int().min(1) });

/** All routes. */
export const adminRoutes: readonly AdminRoute[] = [
  route({
    method: 'POST',
    path: `${ADMIN_PREFIX}/challenges`,
    operationId: 'createChallenge',
    summary: 'Makes a one-time challenge. It is told once.',
    action: 'challenge.create',
    status: 201,
    body: z.strictObject({
      endpoint: word.describe('An endpoint with the one-time validator.'),
      minutes: z
        .int()
        .min(1)
        .max(366 * 24 * 60)
        .default(60)
        .describe('How long it lives.'),
      device: line(256).default('').describe('The device it is for, as views show it.'),
      subject: word.optional().describe('Pins the subject: `CN=printer-7,O=Example`.'),
      subjectAltName: z
        .array(word)
        .max(64)
        .optional()
        .describe('Pins the subject alternative name: `DNS:printer-7.example`.'),
      extKeyUsage: z
        .array(word)
        .max(16)
        .optional()
        .describe('Pins the purposes: words such as `clientAuth`, or object identifiers.'),
      securityIdentifier: word
        .optional()
        .describe('SID of the account that the certificate is mapped to: `S-1-5-21-…`.'),
    }),
    answer: z.strictObject({ challenge: z.string(), endpoint: z.string(), expires: moment }),
    handle: async ({ body }, actor, parts) => {
      const { minutes, ...asked } = body;
      const made = await orderChallenge(parts, actor, { ...asked, lifetimeMs: minutes * MINUTE_MS });
      return { challenge: made.challenge, endpoint: body.endpoint, expires: made.expiresAt };
    },
  }),
  route({
    method: 'POST',
    path: `${ADMIN_PREFIX}/scep-challenge/{endpoint}`,
    operationId: 'scepChallenge',
    summary:
      'Makes a one-time challenge for an MDM that sends Jamf’s event SCEPChallenge. It is the whole answer.',
    action: 'challenge.create',
    schemes: ['Bearer', 'Basic'],
    mediaType: 'text/plain',
    params: z.strictObject({ endpoint: word.describe('An endpoint with the one-time validator.') }),
    query: z.strictObject({
      minutes: z.coerce.number().int().min(1).max(1440).default(60).describe('How long it lives.'),
    }),
    body: z.looseObject({
      webhook: z.looseObject({ webhookEvent: z.literal('SCEPChallenge') }),
      event: z
        .looseObject({ targetDevice: deviceOfEvent, device: deviceOfEvent })
        .optional()
        .describe('The serial number of the device, if it is there, is shown in views.'),
    }),
    answer: z.string(),
    handle: async ({ params: { endpoint }, query, body: { event } }, actor, parts) => {
      const device = (event?.targetDevice ?? event?.device)?.serialNumber;
      const lifetimeMs = query.minutes * MINUTE_MS;
      return (await orderChallenge(parts, actor, { endpoint, device, lifetimeMs })).challenge;
    },
  }),
  route({
    method: 'GET',
    path: `${ADMIN_PREFIX}/requests`,
    operationId: 'listRequests',
    summary:
      'Requests that wait for a certificate manager, and those that one has decided about; newest first.',
    action: 'request.read',
    query: z.strictObject({
      status: z.enum(['pending', 'approved', 'denied', 'issued']).optional(),
      endpoint: word.optional(),
      ...page,
    }),
    answer: z.strictObject({ requests: z.array(heldRequest) }),
    handle: async ({ query: { status, endpoint, after, limit } }, _actor, { store }) => ({
      requests: (
        await store.heldRequests({
          limit,
          ...(status === undefined ? {} : { status }),
          ...(endpoint === undefined ? {} : { endpoint }),
          ...(after === undefined ? {} : { after }),
        })
      ).map(requestFacts),
    }),
  }),
  route({
    method: 'POST',
    path: `${ADMIN_PREFIX}/requests/{id}/approve`,
    operationId: 'approveRequest',
    summary: 'Lets a request through that waits: the device gets its certificate when it asks again.',
    action: 'request.decide',
    params: namedRequest,
    body: z.strictObject({ comment }),
    answer: z.strictObject({ id: z.int(), status: z.literal('approved') }),
    handle: ({ params: { id }, body }, actor, parts) =>
      decideRequest(parts, actor, id, 'approved', body.comment),
  }),
  route({
    method: 'POST',
    path: `${ADMIN_PREFIX}/requests/{id}/deny`,
    operationId: 'denyRequest',
    summary: 'Refuses a request that waits.',
    action: 'request.decide',
    params: namedRequest,
    body: z.strictObject({ comment }),
    answer: z.strictObject({ id: z.int(), status: z.literal('denied') }),
    handle: ({ params: { id }, body }, actor, parts) =>
      decideRequest(parts, actor, id, 'denied', body.comment),
  }),
  route({
    method: 'GET',
    path: `${ADMIN_PREFIX}/certificates`,
    operationId: 'listCertificates',
    summary: 'Certificates, newest first; all given conditions must hold.',
    action: 'certificate.read',
    query: z.strictObject({
      issuer: word.optional(),
      status: certificateStatus.optional(),
      device: word.optional(),
      template: word.optional(),
      requester: word.optional(),
      nameContains: word.optional().describe('Occurs in subject or subject alternative name.'),
      serialNumber: serialNumber.optional(),
      ...page,
    }),
    answer: z.strictObject({ certificates: z.array(certificate) }),
    handle: async ({ query: { limit, after, ...criteria } }, _actor, { store }) => ({
      certificates: (
        await store.certificates({
          ...(criteria as CertificateCriteria),
          limit,
          ...(after === undefined ? {} : { after }),
        })
      ).map(certificateFacts),
    }),
  }),
  route({
    method: 'GET',
    path: `${ADMIN_PREFIX}/certificates/{issuer}/{serialNumber}`,
    operationId: 'certificate',
    summary: 'One certificate, with its DER in base64.',
    action: 'certificate.read',
    params: namedCertificate,
    answer: certificate,
    handle: async ({ params }, _actor, { ca }) => {
      const record = await knownCertificate(ca, params);
      const { certificate: der } = record;
      return {
        ...certificateFacts(record),
        ...(der === undefined ? {} : { der: Buffer.from(der).toString('base64') }),
      };
    },
  }),
  route({
    method: 'POST',
    path: `${ADMIN_PREFIX}/certificates/{issuer}/{serialNumber}/revoke`,
    operationId: 'revokeCertificate',
    summary: 'Revokes a certificate, or puts it on hold. The CRL follows within seconds.',
    action: 'certificate.revoke',
    params: namedCertificate,
    body: z.strictObject({
      // Nothing but certificateHold can be taken back: nobody shall revoke by an empty body.
      reason: revocationReason.describe('RFC 5280 §5.3.1; `certificateHold` can be released.'),
      comment,
    }),
    answer: z.strictObject({
      status: z.enum(['revoked', 'already']).describe('`already`: it was, and nothing has changed.'),
    }),
    handle: async ({ params, body }, actor, { ca }) => {
      const outcome = await ca.revoke({
        ...params,
        reason: body.reason,
        actor: actor.name,
        text: textOf(`revoked by ${actor.name}`, body.comment),
      });
      if (outcome === 'unknown') throw noSuchCertificate();
      return { status: outcome };
    },
  }),
  route({
    method: 'POST',
    path: `${ADMIN_PREFIX}/certificates/{issuer}/{serialNumber}/release`,
    operationId: 'releaseCertificate',
    summary: 'Releases a certificate from hold. The CRL follows within seconds.',
    action: 'certificate.revoke',
    params: namedCertificate,
    body: z.strictObject({ comment }),
    answer: z.strictObject({ status: z.enum(['released', 'not-held']) }),
    handle: async ({ params, body }, actor, { ca }) => {
      const outcome = await ca.release({
        ...params,
        actor: actor.name,
        text: textOf(`released by ${actor.name}`, body.comment),
      });
      if (outcome === 'unknown') throw noSuchCertificate();
      return { status: outcome };
    },
  }),
  route({
    method: 'GET',
    path: `${ADMIN_PREFIX}/audit`,
    operationId: 'listAudit',
    summary: 'The audit list, newest first.',
    action: 'audit.read',
    query: z.strictObject({
      event: word.optional().describe('How the event begins: `enrolment.`'),
      reference: word.optional().describe('What a refused device was told: `LG-…`.'),
      ...page,
    }),
    answer: z.strictObject({ entries: z.array(auditEntry) }),
    handle: async ({ query: { event, reference, after, limit } }, _actor, { store }) => ({
      entries: await store.auditEntries({
        limit,
        ...(event === undefined ? {} : { event }),
        ...(reference === undefined ? {} : { reference }),
        ...(after === undefined ? {} : { after }),
      }),
    }),
  }),
  route({
    method: 'GET',
    path: `${ADMIN_PREFIX}/health`,
    operationId: 'health',
    summary: 'How the server is, and what a person should look at.',
    action: 'health.read',
    answer: serverHealth,
    handle: async (_input, _actor, { health }) => {
      const facts = await health();
      return { status: facts.problems.length === 0 ? 'ok' : 'alarm', ...facts };
    },
  }),
];

// --- what the routes share --------------------------------------------------------------------------------------------

/**
 * Makes a challenge for an actor who may.
 *
 * @throws PkiError `access_denied`, `request_malformed`, `name_malformed`, `store_unavailable`.
 */
export async function orderChallenge(
  { oneTime, challengeEndpoints }: AdminParts,
  actor: Actor,
  asked: AskedChallenge,
): ReturnType<OneTimeChallenges['order']> {
  authorise(actor, 'challenge.create', asked.endpoint);
  if (!challengeEndpoints.includes(asked.endpoint))
    throw new PkiError(
      'request_malformed',
      `there is no endpoint “${asked.endpoint}” with one-time challenges`,
    );
  return await oneTime.order(asked, actor.name);
}

/** @throws PkiError `request_unknown`, `request_decided`, `store_unavailable`. */
async function decideRequest(
  { store, clock }: AdminParts,
  actor: Actor,
  id: number,
  status: 'approved' | 'denied',
  why: string,
): Promise<{ readonly id: number; readonly status: string }> {
  await decideAbout(store, { id, status, by: actor.name, comment: why, at: clock.now() });
  return { id, status };
}

async function knownCertificate(
  ca: CertificateAuthority,
  { issuer, serialNumber: serial }: z.output<typeof namedCertificate>,
): Promise<CertificateRecord> {
  const record = await ca.certificate(issuer, serial);
  if (record === undefined) throw noSuchCertificate();
  return record;
}

function noSuchCertificate(): PkiError {
  return new PkiError('certificate_unknown', 'this CA has issued no certificate with this serial number');
}

function certificateFacts(record: CertificateRecord) {
  const { certificate: _der, requestID: _request, crlPartition: _partition, ...facts } = record;
  return facts;
}

/** Without what is sealed, and without the hashes that only the RA compares. */
function requestFacts(record: HeldRecord) {
  const {
    requestID: _request,
    replayKey: _replay,
    requestHash: _hash,
    signerKeyHash: _signer,
    sealed: _sealed,
    ...facts
  } = record;
  return facts;
}

function textOf(what: string, why: string): string {
  return why === '' ? what : `${what}: ${why}`;
}
