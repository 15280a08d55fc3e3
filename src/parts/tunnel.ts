/** The two ends of the tunnel as parts. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Config } from '../config.ts';
import type { ErrorCode } from '../errors.ts';
import type { PkiStore } from '../store/index.ts';
import type { Clock, Log } from '../telemetry.ts';
import type { RefusalReason } from '../tunnel/index.ts';
import { readText, tlsIdentity } from './identity.ts';
import type { Part } from './part.ts';

/** Starts the edge: the listener that devices reach. */
export async function startEdge(config: NonNullable<Config['edge']>, log: Log, clock: Clock): Promise<Part> {
  const { defaultAllowRules, openEdge } = await import('../tunnel/index.ts');
  const edge = await openEdge({
    ...(config.http === undefined ? {} : { http: config.http }),
    ...(config.https === undefined
      ? {}
      : { https: { ...config.https.listen, ...tlsIdentity(config.https) } }),
    tunnel: {
      ...config.tunnel.listen,
      ...tlsIdentity(config.tunnel),
      connectorCa: readText(config.tunnel.connectorCa),
      connectors: config.tunnel.connectors,
    },
    allow: config.allow ?? defaultAllowRules,
    log,
    clock,
  });
  const addresses: string[] = [];
  if (config.http !== undefined) addresses.push(`http://${config.http.host}:${edge.http?.port}`);
  if (config.https !== undefined) addresses.push(`https://${config.https.listen.host}:${edge.https?.port}`);
  addresses.push(`tunnel ${config.tunnel.listen.host}:${edge.tunnel.port}`);
  return { name: 'edge', addresses, close: () => edge.close() };
}

/** What a refusal of the edge is in the audit list. */
const edgeRefusalCodes: Readonly<Record<RefusalReason, ErrorCode>> = {
  path: 'path_denied',
  method: 'path_denied',
  'target-size': 'request_too_large',
  'body-size': 'request_too_large',
  malformed: 'http_malformed',
};

/** How long a start waits for the edge before it goes on without. */
const EDGE_WAIT_MS = 5_000;

/**
 * Starts the connector, which dials the edge. It resolves when it is connected, or after a while without.
 */
export async function startConnector(
  config: NonNullable<Config['connector']>,
  store: PkiStore | undefined,
  log: Log,
  clock: Clock,
): Promise<Part> {
  const { defaultAllowRules, openConnector } = await import('../tunnel/index.ts');
  const connector = openConnector({
    edge: {
      ...config.edge.address,
      servername: config.edge.servername,
      ca: readText(config.edge.ca),
    },
    identity: tlsIdentity(config),
    target: config.target,
    allow: config.allow ?? defaultAllowRules,
    // What the edge refused belongs in the audit log where there is one; elsewhere the connector logs it.
    ...(store === undefined
      ? {}
      : {
          onRefusals: async (refusals) => {
            for (const refusal of refusals) {
              await store.appendAudit({
                at: refusal.at,
                event: 'edge.refused',
                actor: 'edge',
                reference: refusal.reference,
                code: edgeRefusalCodes[refusal.reason],
                text: `${refusal.method} ${refusal.path} was not forwarded`,
                detail: { reason: refusal.reason, source: refusal.source, count: String(refusal.count) },
              });
            }
          },
        }),
    log,
    clock,
  });
  // An edge that is down now is dialled again and again; the server does not wait for it.
  await Promise.race([connector.ready, sleep(EDGE_WAIT_MS, undefined, { ref: false })]);
  if (connector.connected() === 0) log.warn({ edge: config.edge.address }, 'the edge does not answer yet');
  return {
    name: 'connector',
    addresses: [`to ${config.edge.address.host}:${config.edge.address.port}`],
    close: () => connector.close(),
  };
}
