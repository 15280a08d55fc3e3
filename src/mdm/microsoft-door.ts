/**
 * The door for the RA and for who imports PFX, in Microsoft's shape: Entra's token endpoint, Graph's service discovery and
 * imported PFX, Intune's SCEP actions; same paths, bodies and codes, so that the same client works against the real ones.
 */
import { randomUUID } from 'node:crypto';
import type { FastifyError, FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { z } from 'zod';
import { errorTable, PkiError } from '../errors.ts';
import { RETRY_AFTER_SECONDS } from '../retry-after.ts';
import type { Clock, Log } from '../telemetry.ts';
import {
  type AccessTokens,
  type ApplicationRegistration,
  type Audience,
  directoryRole,
  importRole,
  neededRoles,
  sameSecret,
} from './access-tokens.ts';
import { bearerTokenOf, bodyOf, codeOfFailure, logFailure } from './device-door.ts';
import { addDirectoryDoor, type DirectoryDoorParts } from './directory-door.ts';
import type { Mdm } from './mdm.ts';
import { addUserPfxDoor } from './user-pfx-door.ts';
import {
  failureNotification,
  type ServiceAnswer,
  successNotification,
  type ValidationServiceParts,
  validateRequest,
} from './validation-service.ts';

/** What the door works with. */
export interface MicrosoftDoorParts {
  /** GUID or name of the tenant. */
  readonly tenant: string;
  readonly applications: readonly ApplicationRegistration[];
  /** Resource that a token for the validation service names; no trailing slash. */
  readonly intuneResource: string;
  /** Where this server is reached, `https://host:port`: the resource that a token for discovery names. */
  readonly publicUrl: () => string;
  readonly tokens: AccessTokens;
  readonly validationService: ValidationServiceParts;
  /** Has the revocation requests, imported PFX, and the directory. */
  readonly mdm: Pick<Mdm, 'revocationRequests' | 'recordRevocationResult' | 'importedPfx' | 'user'> &
    DirectoryDoorParts['mdm'];
  readonly clock: Clock;
  readonly log: Log;
}

/** Application id of Intune itself, whose service endpoints Graph lists. */
const INTUNE_APP_ID = '0000000a-0000-0000-c000-000000000000';
/** Behind a scale unit's host name in the real service; callers learn it by discovery and never build it. */
const GATEWAY = '/RACerts/ScepRequestValidationFEService/Gateway/StatelessScepRequestValidationService';
/** Of the service that hands out revocation requests. */
const PKI_GATEWAY = '/RACerts/StatelessPkiConnectorService/Gateway/StatelessPkiConnectorService';
/** Sent as headers, not in the query; the second is what Microsoft's clients send, odd as its year is. */
const API_VERSION = '2018-02-20';
const PKI_API_VERSION = '5019-05-05';
/** Requests that are handed out at once. */
const REVOCATION_REQUESTS_MAX = 500;

const certificateRequest = z.string().min(1);
const transactionId = z.string().min(1).max(1024);
const callerInfo = z.string().max(1024);

const validateBody = z.strictObject({
  request: z.strictObject({ transactionId, certificateRequest, callerInfo }),
});

const successBody = z.strictObject({
  notification: z.strictObject({
    transactionId,
    certificateRequest,
    certificateThumbprint: z.string().regex(/^[0-9A-Fa-f]{40}$/, 'SHA-1, 40 hexadecimal digits'),
    certificateSerialNumber: z.string().regex(/^[0-9A-Fa-f]{1,40}$/, 'hexadecimal, at most 20 octets'),
    certificateExpirationDateUtc: z
      .string()
      .regex(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}(Z|[+-]\d\d:\d\d)$/, 'YYYY-MM-DDThh:mm:ss.sssTZD')
      .refine((text) => !Number.isNaN(Date.parse(text)), 'not a date'),
    issuingCertificateAuthority: z.string().min(1).max(1024),
    callerInfo,
    caConfiguration: z.string().max(1024).nullable().default(null),
    certificateAuthority: z.string().max(1024).nullable().default(null),
  }),
});

const failureBody = z.strictObject({
  notification: z.strictObject({
    transactionId,
    certificateRequest,
    /** An HRESULT, read as signed or as unsigned. */
    hResult: z.int().min(-0x8000_0000).max(0xffff_ffff),
    errorDescription: z.string().min(1).max(255),
    callerInfo,
  }),
});

const downloadBody = z.strictObject({
  downloadParameters: z.strictObject({
    maxRequests: z.int().min(1).max(REVOCATION_REQUESTS_MAX),
    issuerName: z.string().max(1024).nullable().default(null),
  }),
});

const uploadBody = z.strictObject({
  results: z
    .array(
      z
        .strictObject({
          requestContext: z.string().min(1),
          succeeded: z.boolean(),
          /** A name or a number of Microsoft's list. */
          errorCode: z.string().regex(/^[A-Za-z0-9]{1,64}$/),
          errorMessage: z.string().max(4096).nullable().default(null),
        })
        .refine(
          ({ succeeded, errorCode }) => succeeded === (errorCode === 'None' || errorCode === '0'),
          'a success has the errorCode None, a failure another one',
        ),
    )
    .max(REVOCATION_REQUESTS_MAX),
});

const tokenBody = z.object({
  grant_type: z.string().optional(),
  client_id: z.string().optional(),
  client_secret: z.string().optional(),
  scope: z.string().optional(),
});

/** Adds the routes of Microsoft's shape. */
export function addMicrosoftDoor(app: FastifyInstance, parts: MicrosoftDoorParts): void {
  app.addContentTypeParser(
    'application/x-www-form-urlencoded',
    { parseAs: 'string' },
    (_request, body, done) => done(null, Object.fromEntries(new URLSearchParams(String(body)))),
  );
  app.setErrorHandler((error: FastifyError, request, reply) => answerError(error, request, reply, parts.log));

  addEntra(app, parts);
  addGraph(app, parts);
  addIntune(app, parts);
  addPkiConnector(app, parts);
}

// --- Entra ------------------------------------------------------------------------------------------------------------

function addEntra(app: FastifyInstance, parts: MicrosoftDoorParts): void {
  app.get<{ Params: { tenant: string } }>(
    '/:tenant/v2.0/.well-known/openid-configuration',
    async (request, reply) => {
      if (!isTenant(request.params.tenant, parts)) return entraError(reply, 'tenant');
      const base = `${parts.publicUrl()}/${parts.tenant}`;
      return {
        issuer: `${base}/v2.0`,
        authorization_endpoint: `${base}/oauth2/v2.0/authorize`,
        token_endpoint: `${base}/oauth2/v2.0/token`,
        jwks_uri: `${base}/discovery/v2.0/keys`,
        token_endpoint_auth_methods_supported: ['client_secret_post'],
        grant_types_supported: ['client_credentials'],
        response_types_supported: ['code'],
        subject_types_supported: ['pairwise'],
        id_token_signing_alg_values_supported: ['RS256'],
      };
    },
  );

  app.post<{ Params: { tenant: string } }>('/:tenant/oauth2/v2.0/token', async (request, reply) => {
    reply.header('cache-control', 'no-store');
    if (!isTenant(request.params.tenant, parts)) return entraError(reply, 'tenant');
    const form = tokenBody.safeParse(request.body);
    if (!form.success || form.data.grant_type === undefined) return entraError(reply, 'parameter');
    const { grant_type, client_id, client_secret, scope } = form.data;
    if (grant_type !== 'client_credentials') return entraError(reply, 'grant');
    if (client_id === undefined || client_secret === undefined || scope === undefined) {
      return entraError(reply, 'parameter');
    }
    const application = parts.applications.find(
      ({ appId }) => appId.toLowerCase() === client_id.toLowerCase(),
    );
    if (application === undefined) return entraError(reply, 'application');
    if (!sameSecret(application.secret, client_secret)) return entraError(reply, 'secret');
    if (application.secretEnds !== undefined && application.secretEnds <= parts.clock.now())
      return entraError(reply, 'secretEnded');
    const audience = audienceOf(scope, parts);
    if (audience === undefined) return entraError(reply, 'scope');
    const { accessToken, expiresInSeconds } = parts.tokens.create(audience, application);
    return {
      token_type: 'Bearer',
      expires_in: expiresInSeconds,
      ext_expires_in: expiresInSeconds,
      access_token: accessToken,
    };
  });
}

function isTenant(tenant: string, parts: MicrosoftDoorParts): boolean {
  return tenant.toLowerCase() === parts.tenant.toLowerCase();
}

/**
 * Intune's resource ends in a slash of its own, so its scope has two: `https://api.manage.microsoft.com//.default`. Entra
 * takes the part before `/.default` for the resource and refuses one that is not registered, slash included.
 */
function audienceOf(scope: string, parts: MicrosoftDoorParts): Audience | undefined {
  if (scope === `${parts.publicUrl()}/.default`) return 'graph';
  if (scope === `${parts.intuneResource}//.default`) return 'intune';
  return undefined;
}

/** Entra's refusals: number (`AADSTS…`), OAuth error (RFC 6749 §5.2), HTTP status, and our own words. */
const entraErrors = {
  tenant: { number: 90002, error: 'invalid_request', status: 400, text: 'the tenant is not known here' },
  parameter: {
    number: 900144,
    error: 'invalid_request',
    status: 400,
    text: 'a required parameter is missing',
  },
  grant: {
    number: 70003,
    error: 'unsupported_grant_type',
    status: 400,
    text: 'only client_credentials is served',
  },
  application: {
    number: 700016,
    error: 'unauthorized_client',
    status: 400,
    text: 'the application is not known',
  },
  secret: { number: 7000215, error: 'invalid_client', status: 401, text: 'the client secret is not valid' },
  secretEnded: {
    number: 7000222,
    error: 'invalid_client',
    status: 401,
    text: 'the client secret has expired',
  },
  scope: {
    number: 70011,
    error: 'invalid_scope',
    status: 400,
    text: 'the scope is not that of a known resource',
  },
} as const;

function entraError(reply: FastifyReply, name: keyof typeof entraErrors): FastifyReply {
  const { number, error, status, text } = entraErrors[name];
  return reply.code(status).send({
    error,
    error_description: `AADSTS${number}: ${text}`,
    error_codes: [number],
    trace_id: randomUUID(),
    correlation_id: randomUUID(),
  });
}

// --- Graph ------------------------------------------------------------------------------------------------------------

function addGraph(app: FastifyInstance, parts: MicrosoftDoorParts): void {
  app.get(`/v1.0/servicePrincipals/appId=${INTUNE_APP_ID}/endpoints`, async (request, reply) => {
    if (!isGraphCaller(request, reply, parts, neededRoles.graph)) return reply;
    const endpoint = (name: string, gateway: string) => ({
      capability: name,
      providerName: name,
      serviceName: name,
      providerResourceId: name,
      uri: `${parts.publicUrl()}${gateway}`,
    });
    return {
      value: [
        endpoint('ScepRequestValidationFEService', GATEWAY),
        endpoint('PkiConnectorFEService', PKI_GATEWAY),
      ],
    };
  });
  addUserPfxDoor(app, {
    mdm: parts.mdm,
    publicUrl: parts.publicUrl,
    isCaller: (request, reply) => isGraphCaller(request, reply, parts, importRole),
    refuse: serviceError,
  });
  addDirectoryDoor(app, {
    mdm: parts.mdm,
    isCaller: (request, reply) => isGraphCaller(request, reply, parts, directoryRole),
  });
}

/** Whether who calls Graph may; if not, he has his answer. */
function isGraphCaller(
  request: FastifyRequest,
  reply: FastifyReply,
  parts: MicrosoftDoorParts,
  role: string,
): boolean {
  const application = applicationOf(request, parts, 'graph');
  if (application?.roles.includes(role) === true) return true;
  if (application === undefined)
    serviceError(reply, 401, 'InvalidAuthenticationToken', 'the access token is missing or not valid here');
  else
    serviceError(reply, 403, 'Authorization_RequestDenied', `the application lacks the permission ${role}`);
  return false;
}

// --- Intune -----------------------------------------------------------------------------------------------------------

function addIntune(app: FastifyInstance, parts: MicrosoftDoorParts): void {
  const action = (name: string, act: (request: FastifyRequest) => Promise<ServiceAnswer>) =>
    app.post(`${GATEWAY}/ScepActions/${name}`, async (request, reply) => {
      const application = intuneCallerOf(request, reply, parts, API_VERSION);
      if (application === undefined) return reply;
      const answer = await act(request);
      const activityId = String(request.headers['client-request-id'] ?? '').slice(0, 64);
      parts.log.info(
        { action: name, code: answer.code, appId: application.appId, activityId },
        'SCEP action answered',
      );
      return answer;
    });

  action('validateRequest', (request) =>
    validateRequest(parts.validationService, bodyOf(request, validateBody).request),
  );
  action('successNotification', (request) =>
    successNotification(parts.validationService, bodyOf(request, successBody).notification),
  );
  action('failureNotification', (request) =>
    failureNotification(parts.validationService, bodyOf(request, failureBody).notification),
  );
}

/** What the CA's revocation connector calls. The same requests are handed out until their results have come. */
function addPkiConnector(app: FastifyInstance, parts: MicrosoftDoorParts): void {
  app.post(
    `${PKI_GATEWAY}/CertificateAuthorityRequests/downloadRevocationRequests`,
    async (request, reply) => {
      if (intuneCallerOf(request, reply, parts, PKI_API_VERSION) === undefined) return reply;
      const { maxRequests, issuerName } = bodyOf(request, downloadBody).downloadParameters;
      const waiting = await parts.mdm.revocationRequests({
        ...(issuerName === null ? {} : { issuerName }),
        limit: maxRequests,
      });
      return {
        '@odata.context': `${parts.publicUrl()}${PKI_GATEWAY}/$metadata#Collection(microsoft.management.services.api.caRevocationRequest)`,
        value: waiting.map(({ requestContext, serialNumber, issuerName: issuer, action, reason }) => ({
          requestContext,
          serialNumber,
          issuerName: issuer,
          caConfiguration: null,
          // Two fields that Intune does not have: it knows neither hold nor reasons.
          ...(action === 'revoke' ? {} : { action }),
          ...(reason === undefined ? {} : { reason }),
        })),
      };
    },
  );

  app.post(`${PKI_GATEWAY}/CertificateAuthorityRequests/uploadRevocationResults`, async (request, reply) => {
    if (intuneCallerOf(request, reply, parts, PKI_API_VERSION) === undefined) return reply;
    for (const { errorMessage, ...result } of bodyOf(request, uploadBody).results)
      await parts.mdm.recordRevocationResult({
        ...result,
        ...(errorMessage === null ? {} : { errorMessage }),
      });
    return { value: true };
  });
}

/** Who calls a service of Intune; if he may not, he has his answer. */
function intuneCallerOf(
  request: FastifyRequest,
  reply: FastifyReply,
  parts: MicrosoftDoorParts,
  apiVersion: string,
): ReturnType<AccessTokens['verify']> {
  const application = applicationOf(request, parts, 'intune');
  if (application === undefined) {
    serviceError(reply, 401, 'Unauthorized', 'the access token is missing or not valid here');
    return undefined;
  }
  if (!application.roles.includes(neededRoles.intune)) {
    serviceError(reply, 403, 'Forbidden', `the application lacks the permission ${neededRoles.intune}`);
    return undefined;
  }
  if (request.headers['api-version'] !== apiVersion) {
    serviceError(reply, 400, 'BadRequest', `the header api-version must be ${apiVersion}`);
    return undefined;
  }
  return application;
}

function applicationOf(
  request: FastifyRequest,
  parts: MicrosoftDoorParts,
  audience: Audience,
): ReturnType<AccessTokens['verify']> {
  const token = bearerTokenOf(request);
  return token === undefined ? undefined : parts.tokens.verify(token, audience);
}

/** The error body of Graph and Intune. */
function serviceError(reply: FastifyReply, status: number, code: string, message: string): FastifyReply {
  return reply.code(status).send({ error: { code, message } });
}

function answerError(
  error: FastifyError,
  request: FastifyRequest,
  reply: FastifyReply,
  log: Log,
): FastifyReply {
  const code = codeOfFailure(error);
  logFailure(log, error, request, code);
  const { http, kind, text } = errorTable[code];
  if (http === 503) reply.header('retry-after', RETRY_AFTER_SECONDS);
  // A body's own fault is named: who writes a client against this contract needs to know the field.
  const message = error instanceof PkiError && code === 'request_malformed' ? error.message : text;
  return serviceError(reply, http, kind === 'malformed' ? 'BadRequest' : 'InternalError', message);
}
