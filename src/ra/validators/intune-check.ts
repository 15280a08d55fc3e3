/** Tries a connection to Intune step by step, and says what an administrator has to mend. */
import { randomUUID } from 'node:crypto';
import { deadlineIn, NoResponse } from './https-client.ts';
import {
  fieldOf,
  type IntuneConnection,
  IntuneService,
  type IntuneServiceName,
  intuneServices,
  jsonOf,
  reasonOf,
  statusOf,
} from './intune-service.ts';

/** What is tried, in this order. */
export type IntuneCheckStep =
  | 'sign-in'
  | 'permission of Intune'
  | 'permission of Graph'
  | 'discovery'
  | 'validation service'
  | 'revocation service';

/** How a step went. `unknown`: it cannot be told. `skipped`: an earlier one has to be mended first. */
export interface IntuneCheckResult {
  readonly step: IntuneCheckStep;
  readonly outcome: 'ok' | 'failed' | 'unknown' | 'skipped';
  readonly detail: string;
  /** What to do, in the words of Microsoft's admin centers; empty if nothing. */
  readonly mend: string;
}

/** What is tried. */
export interface IntuneCheckOptions extends IntuneConnection {
  /** Whether revocation requests are to be fetched. */
  readonly revocation: 'wanted' | 'unwanted';
  readonly providerNameAndVersion: string;
}

/** Bound of one step with all its calls. */
const STEP_MS = 45_000;
/** A name that no CA has: the service is asked for requests, and hands out nobody's. */
const NO_ISSUER = 'CN=Leafgate connection check';

const APP = 'Entra admin center > Identity > Applications > App registrations > your application';
const consent = (api: string, permission: string) =>
  `${APP} > API permissions > Add a permission > ${api} > Application permissions > ${permission}; then “Grant admin consent”. A new permission is in new tokens alone: wait some minutes and check again`;
const INTUNE_CONSENT = consent('Intune', 'scep_challenge_provider');
const GRAPH_CONSENT = consent('Microsoft Graph', 'Application.Read.All');
const NETWORK =
  'Open TCP 443 from this server to the address, resolve its name, and name the CA of an inspecting proxy in extraCa';
const CLOUD = 'Set `cloud` to the one that your tenant is in: public, usGov, usGovDoD or china';

/** What Entra's numbers mean for an administrator. */
const entraMends: Readonly<Record<string, string>> = {
  AADSTS7000222: `The client secret has expired. ${APP} > Certificates & secrets > Client secrets > New client secret; put its Value into the file that \`secret\` names, and restart`,
  AADSTS7000215: `The client secret is not valid. \`secret\` must hold the Value of the client secret, not its Secret ID: ${APP} > Certificates & secrets`,
  AADSTS700016: `The application is not in this tenant. Compare \`appId\` with Application (client) ID, and \`tenant\` with Directory (tenant) ID: ${APP} > Overview`,
  AADSTS700027: `Entra does not know the certificate, or it has expired. Upload it: ${APP} > Certificates & secrets > Certificates`,
  AADSTS7000112:
    'The application is disabled. Entra admin center > Enterprise applications > your application > Properties > Enabled for users to sign-in',
  AADSTS90002: `The tenant is not found. Compare \`tenant\` with Directory (tenant) ID. ${CLOUD}`,
  AADSTS900023: 'The tenant is neither a GUID nor a domain name. Compare `tenant` with Directory (tenant) ID',
  AADSTS500011: `Intune is not known in this tenant: it has no Intune licence, or lies in another cloud. ${CLOUD}`,
  AADSTS70011: `The resource is not known in this cloud. ${CLOUD}`,
  AADSTS1002012: `The resource is not known in this cloud. ${CLOUD}`,
  AADSTS53003:
    'Conditional Access for workload identities blocks the sign-in. Entra admin center > Protection > Conditional Access: exclude the application, or allow the address of this server',
};

/**
 * Tries the connection. Changes nothing at Intune: it asks for the judgement on a request that is none, and for the
 * revocation requests of a CA that does not exist. Never throws for what it finds.
 *
 * @throws PkiError `config_invalid` as `IntuneService`.
 */
export async function checkIntune(options: IntuneCheckOptions): Promise<IntuneCheckResult[]> {
  const service = new IntuneService(options);
  try {
    return await new Check(options, service).run();
  } finally {
    service.close();
  }
}

class Check {
  readonly #options: IntuneCheckOptions;
  readonly #service: IntuneService;
  readonly #results: IntuneCheckResult[] = [];

  constructor(options: IntuneCheckOptions, service: IntuneService) {
    this.#options = options;
    this.#service = service;
  }

  async run(): Promise<IntuneCheckResult[]> {
    const token = await this.#try('sign-in', [], async () => {
      const said = await this.#service.token('intune', deadlineIn(STEP_MS));
      return { detail: 'Entra gives a token for Intune', said };
    });
    const needsToken: IntuneCheckStep[] = ['sign-in'];
    await this.#try('permission of Intune', needsToken, async () =>
      roleIn(token ?? '', 'scep_challenge_provider', INTUNE_CONSENT),
    );
    await this.#try('permission of Graph', needsToken, async () =>
      roleIn(await this.#service.token('graph', deadlineIn(STEP_MS)), 'Application.Read.All', GRAPH_CONSENT),
    );
    await this.#try('discovery', needsToken, async () => ({ detail: await this.#find('scepValidation') }));
    await this.#try('validation service', ['discovery'], async () => await this.#probeValidation());
    if (this.#options.revocation === 'wanted')
      await this.#try('revocation service', ['discovery'], async () => await this.#probeRevocation());
    return this.#results;
  }

  async #find(service: IntuneServiceName): Promise<string> {
    return `${intuneServices[service].provider} at ${await this.#service.discover(service, deadlineIn(STEP_MS))}`;
  }

  /** Any result code is an answer: the service has read the call and the token. */
  async #probeValidation(): Promise<Finding> {
    const { providerNameAndVersion: callerInfo } = this.#options;
    return await this.#probe('scepValidation', 'ScepActions/validateRequest', {
      request: { transactionId: 'leafgate-check', certificateRequest: 'MAA=', callerInfo },
    });
  }

  async #probeRevocation(): Promise<Finding> {
    return await this.#probe('pkiConnector', 'CertificateAuthorityRequests/downloadRevocationRequests', {
      downloadParameters: { maxRequests: 1, issuerName: NO_ISSUER },
    });
  }

  async #probe(service: IntuneServiceName, path: string, body: unknown): Promise<Finding> {
    const activityId = randomUUID();
    const deadline = deadlineIn(STEP_MS);
    const response = await this.#service.post({ service, path, body, activityId, deadline });
    const where = `client-request-id ${activityId}`;
    if (response.status === 200) {
      const code = fieldOf(jsonOf(response.body), 'code');
      const said = typeof code === 'string' ? `, with the code ${code.slice(0, 64)} as it should` : '';
      return { detail: `answers${said} (${where})` };
    }
    const detail = `${statusOf(response)} (${where})`;
    if (response.status === 401 || response.status === 403)
      return { outcome: 'failed', detail, mend: INTUNE_CONSENT };
    // It judged the empty request in its own way: it is there, and took the token.
    if (response.status === 400) return { detail: `answers: ${detail}` };
    return {
      outcome: 'failed',
      detail,
      mend: 'The service is there but not well. Microsoft 365 admin center > Health > Service health > Microsoft Intune; with the client-request-id, ask Microsoft’s support',
    };
  }

  /** Takes one step, unless one that it needs has failed. */
  async #try(
    step: IntuneCheckStep,
    needs: readonly IntuneCheckStep[],
    act: () => Promise<Finding>,
  ): Promise<string | undefined> {
    const missing = needs.find((need) =>
      this.#results.some(({ step: done, outcome }) => done === need && outcome !== 'ok'),
    );
    if (missing !== undefined) {
      this.#results.push({ step, outcome: 'skipped', detail: `after ${missing}`, mend: '' });
      return undefined;
    }
    try {
      const { outcome = 'ok', detail, mend = '', said } = await act();
      this.#results.push({ step, outcome, detail, mend });
      return said;
    } catch (cause) {
      this.#results.push({ step, outcome: 'failed', detail: reasonOf(cause), mend: mendFor(step, cause) });
      return undefined;
    }
  }
}

interface Finding extends Partial<Pick<IntuneCheckResult, 'outcome' | 'mend'>> {
  readonly detail: string;
  /** What later steps need. */
  readonly said?: string;
}

/** Whether a token names a role. It is read and not verified: it came from Entra a moment ago, and opens nothing here. */
function roleIn(token: string, role: string, mend: string): Finding {
  const claims = jsonOf(Buffer.from(token.split('.')[1] ?? '', 'base64url').toString('utf8'));
  if (typeof claims !== 'object' || claims === null)
    return { outcome: 'unknown', detail: 'the token cannot be read; the services will say' };
  const roles = fieldOf(claims, 'roles');
  if (Array.isArray(roles) && roles.includes(role)) return { detail: `the token has the role ${role}` };
  return { outcome: 'failed', detail: `the token has not the role ${role}`, mend };
}

function mendFor(step: IntuneCheckStep, cause: unknown): string {
  const reason = reasonOf(cause);
  const number = /AADSTS\d+/.exec(reason)?.[0];
  if (number !== undefined)
    return entraMends[number] ?? `Look ${number} up at https://login.microsoftonline.com/error`;
  // MSAL asks for the tenant's metadata before it asks for a token.
  if (/endpoints_resolution_error|openid_config_error/.test(reason))
    return `Entra does not tell where tokens of this tenant are. Compare \`tenant\` with Directory (tenant) ID. ${CLOUD}. ${NETWORK}`;
  if (cause instanceof NoResponse || !/HTTP|endpoint of|AADSTS/.test(reason)) return NETWORK;
  if (/HTTP 40[13]/.test(reason)) return GRAPH_CONSENT;
  if (step === 'discovery' || step === 'revocation service')
    return `The tenant lists no such service: it has no Intune licence, or lies in another cloud. ${CLOUD}`;
  return NETWORK;
}
