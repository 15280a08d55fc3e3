/** The doors of the SCEP server, on one thread. */
import { readFileSync } from 'node:fs';
import { assertSuccessor, type Issuer } from '../ca/index.ts';
import { parseCertificate, parseCrl, type Sign } from '../codec/index.ts';
import {
  addOcspDoor,
  addRepositoryDoor,
  addScepDoor,
  type HttpServer,
  openHttpServer,
  type ScepEndpoint,
} from '../http/index.ts';
import type { PortSharing } from '../listener.ts';
import type { Metrics } from '../metrics.ts';
import { buildNextCaCertificates } from '../scep/index.ts';
import type { Clock, Log } from '../telemetry.ts';
import type { Authorities, ServerConfig } from './authorities.ts';
import { endpointCapabilities, refusedAlgorithmsOf } from './endpoints.ts';
import { readChain } from './identity.ts';
import { openOcsp } from './ocsp.ts';
import { openRaIdentities } from './ra-identities.ts';

/**
 * Opens the listener with the SCEP and repository doors on the calling thread.
 *
 * @throws PkiError `key_capability` if the RA's identities cannot do their work, `listen_failed`.
 */
export async function serve(
  config: ServerConfig,
  authorities: Authorities,
  sharing: PortSharing,
  log: Log,
  clock: Clock,
  metrics: Metrics,
): Promise<{ readonly port: number; close(): Promise<void> }> {
  const { ca, ra, issuers } = authorities;
  const ocsp = await openOcsp(config, authorities, log, clock);
  const identities = await openRaIdentities(config, authorities, log, clock);
  const nextCas = await signNextCas(config, issuers);
  const endpoints = config.endpoints.map((endpoint): ScepEndpoint => {
    const nextCaCertificates = nextCas.get(endpoint.issuer);
    return {
      name: endpoint.name,
      paths: endpoint.paths,
      ra: identities.of(endpoint),
      refusedAlgorithms: refusedAlgorithmsOf(endpoint),
      capabilities: endpointCapabilities(endpoint, nextCaCertificates === undefined ? 'alone' : 'succeeded'),
      ...(nextCaCertificates === undefined ? {} : { nextCaCertificates }),
      limits: endpoint.limits,
    };
  });
  const server: HttpServer = await openHttpServer({
    ...config.listen,
    forwarders: config.forwarders,
    sharing,
    log,
    doors: (app) => {
      addScepDoor(app, { endpoints, ra, clock, log, metrics });
      if (ocsp !== undefined) addOcspDoor(app, { responder: ocsp.responder, clock, log });
      addRepositoryDoor(
        app,
        [
          ...issuers.map(({ name, certificate }) => ({
            name,
            certificate: certificate.raw,
            crl: (partition: number, kind: 'full' | 'delta') => ca.latestCrl(name, partition, kind),
          })),
          ...config.published.map((published) => {
            const [certificate] = readChain(published.certificate);
            return {
              name: published.name,
              certificate,
              crl: async (partition: number, kind: 'full' | 'delta') =>
                partition === 0 && kind === 'full' ? readPublishedCrl(published.crl) : undefined,
            };
          }),
        ],
        clock,
      );
    },
  });
  const close = async () => {
    identities.close();
    await server.close();
  };
  return { port: server.address.port, close };
}

function readPublishedCrl(path: string): { readonly crl: Uint8Array; readonly nextUpdate: Date } | undefined {
  const crl = readFileSync(path);
  return { crl, nextUpdate: parseCrl(crl).nextUpdate ?? new Date(0) };
}

/**
 * The answers to GetNextCACert, by issuing CA. Signed once, here: the CA's key is nobody's to use as often as he asks.
 *
 * @throws PkiError `key_capability` if what is named cannot succeed its CA.
 */
async function signNextCas(
  config: ServerConfig,
  issuers: readonly Issuer[],
): Promise<ReadonlyMap<string, Uint8Array>> {
  const found = new Map<string, Uint8Array>();
  for (const { name, next } of config.issuers) {
    const issuer = issuers.find((other) => other.name === name);
    if (next === undefined || issuer === undefined) continue;
    const chain = readChain(next.certificate);
    assertSuccessor(parseCertificate(chain[0]), chain, issuer);
    const { certificate, key } = issuer;
    const sign: Sign = (algorithm, data) => key.sign(algorithm, data);
    found.set(name, await buildNextCaCertificates(chain, { certificate, sign }));
  }
  return found;
}
