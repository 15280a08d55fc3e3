/** Tries a connection to Intune step by step, and says what an administrator has to mend. */
import { randomUUID } from 'node:crypto';
import { parseCertificate, parsePem } from '../../codec/index.ts';
import { deadlineIn } from './https-client.ts';
import { CLOUD_MEND, consentMends, ENTRA_ERRORS, entraMends, entraNumberIn } from './intune-codes.ts';
import {
  fieldOf,
  type IntuneConnection,
  IntuneService,
  type IntuneServiceName,
  intuneServices,
  jsonOf,
  reasonOf,
  silenceOf,
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

const UNWELL =
  'The service is there but not well. Microsoft 365 admin center > Health > Service health > Microsoft Intune';
/** What to do where nobody answers; the rest of the sentence names the address. */
const UNTRUSTED =
  'The certificate there leads to no CA that this server trusts. Name the CA of your inspecting proxy in extraCa';
const UNRESOLVED = 'The name is not resolved. Look at the DNS of this server, and compare `cloud`';
const CLOSED = 'Open TCP 443 from this server to the address';
const unresolved = /^(ENOTFOUND|EAI_AGAIN|EAI_NODATA)$/;
/** As OpenSSL and Node.js name what is wrong with a certificate. */
const untrusted = /CERT|SIGNATURE|ISSUER|SELF_SIGNED|ALTNAME/;

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
      return { detail: `Entra gives a token for Intune${endOf(this.#options)}`, said };
    });
    const needsToken: IntuneCheckStep[] = ['sign-in'];
    await this.#try('permission of Intune', needsToken, async () =>
      roleIn(token ?? '', 'scep_challenge_provider', consentMends.intune),
    );
    await this.#try('permission of Graph', needsToken, async () =>
      roleIn(
        await this.#service.token('graph', deadlineIn(STEP_MS)),
        'Application.Read.All',
        consentMends.graph,
      ),
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
      return { outcome: 'failed', detail, mend: consentMends.intune };
    // It judged the empty request in its own way: it is there, and took the token.
    if (response.status === 400) return { detail: `answers: ${detail}` };
    return {
      outcome: 'failed',
      detail,
      mend: `${UNWELL}; with the client-request-id, ask Microsoft’s support`,
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

/** When the certificate ends that the application signs in with. Of a secret Entra alone knows it. */
function endOf({ credential }: IntuneConnection): string {
  if ('secret' in credential) return '';
  const [der] = parsePem(credential.certificate, 'CERTIFICATE');
  return `; the application’s certificate ends at ${parseCertificate(der).notAfter.toISOString()}`;
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
  const silence = silenceOf(cause);
  if (silence !== undefined)
    return unresolved.test(silence) ? UNRESOLVED : untrusted.test(silence) ? UNTRUSTED : CLOSED;
  const number = entraNumberIn(reason);
  if (number !== undefined) return entraMends[number] ?? `Look ${number} up at ${ENTRA_ERRORS}`;
  // Before it asks for a token, MSAL asks where the tenant has them.
  if (step === 'sign-in')
    return `Entra does not know the tenant. Compare \`tenant\` with Directory (tenant) ID. ${CLOUD_MEND}`;
  if (/HTTP 40[13]/.test(reason)) return consentMends.graph;
  if (/HTTP (429|5\d\d)/.test(reason)) return UNWELL;
  return `The tenant lists no such service: it has no Intune licence, or lies in another cloud. ${CLOUD_MEND}`;
}
