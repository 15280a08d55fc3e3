/** The admin API as a part of the server. */
import { type AdminServer, openAdminServer } from '../admin/index.ts';
import { RequestLimits, sourceKey } from '../http/limits.ts';
import { METRICS_MEDIA_TYPE } from '../metrics.ts';
import type { Clock, Log } from '../telemetry.ts';
import type { Authorities, ServerConfig } from './authorities.ts';
import type { ServerHealth } from './health.ts';
import { tlsIdentity } from './identity.ts';

/** Who mistypes a token is served on; who tries many is not. A token cannot be guessed: this bounds log and audit list. */
const FAILED_SIGN_INS = { burst: 10, perSecond: 1 / 6 };

/** What it shows of the server as a whole. */
export interface AdminViews {
  readonly health: () => Promise<ServerHealth>;
  readonly metricsText: () => Promise<string>;
}

/**
 * Opens the admin API, if the configuration has one. It works with the same store, CA and RA as the doors of devices.
 *
 * @throws PkiError `listen_failed`, `config_invalid`.
 */
export async function openAdmin(
  config: ServerConfig,
  { store, ca, oneTime }: Authorities,
  { health, metricsText }: AdminViews,
  log: Log,
  clock: Clock,
): Promise<(AdminServer & { readonly url: string }) | undefined> {
  if (config.admin === undefined) return undefined;
  const { listen, https, ndesPages, metrics: access } = config.admin;
  const limits = new RequestLimits({ perSource: { failures: FAILED_SIGN_INS }, perEndpoint: {} });
  const server = await openAdminServer({
    ...listen,
    tls: https && tlsIdentity(https),
    store,
    tokens: store,
    ca,
    oneTime,
    health,
    metrics: { access, mediaType: METRICS_MEDIA_TYPE, text: metricsText },
    challengeEndpoints: config.endpoints
      .filter(({ validators }) => validators.some((validator) => validator.oneTime !== undefined))
      .map(({ name }) => name),
    signInLimits: {
      admit: (source) => limits.admit(sourceKey(source)),
      recordFailure: (source) => limits.recordFailure(sourceKey(source)),
    },
    ndesPages: ndesPages.map(({ challengeLifetime, ...page }) => ({
      ...page,
      lifetimeMs: challengeLifetime,
      caCertificate: ca.issuer(issuerOf(config, page.endpoint)).certificate.raw,
    })),
    log,
    clock,
  });
  const host = listen.host.includes(':') ? `[${listen.host}]` : listen.host;
  return { ...server, url: `${https === undefined ? 'http' : 'https'}://${host}:${server.address.port}` };
}

function issuerOf({ endpoints }: ServerConfig, endpoint: string): string {
  return endpoints.find(({ name }) => name === endpoint)?.issuer ?? '';
}
