/** The SCEP endpoints of a configuration, as views show them: from its files, without opening a key. */
import { listRaCertificates } from '../ca/index.ts';
import { type Certificate, commonNameOf, nameToString, parseCertificate } from '../codec/index.ts';
import {
  capabilitiesOf,
  clientProfiles,
  refusedByDefault,
  refusedCapabilities,
  type WeakAlgorithm,
} from '../scep/index.ts';
import type { ServerConfig } from './authorities.ts';
import { readChain } from './identity.ts';
import { raFolderOf, raPlacesOf } from './ra-identities.ts';

type EndpointConfig = ServerConfig['endpoints'][number];

/** One endpoint. */
export interface EndpointView {
  readonly endpoint: string;
  /** On the listener of the server; devices come by the edge, with the same path. */
  readonly urls: readonly string[];
  /** Name of the issuing CA in the configuration, and its common name. */
  readonly issuer: string;
  readonly ca: string;
  readonly template: string;
  readonly validators: readonly string[];
  readonly client: string;
  readonly capabilities: readonly string[];
  readonly ra: 'automatic' | 'explicit';
  /** When the RA certificate that ends first does so; absent if they were not made yet. */
  readonly raEnds?: Date;
  /** When the RA certificates that were made last become those that are served, if that is still to come. */
  readonly raSwitches?: Date;
  /** The CA that GetNextCACert shows. */
  readonly nextCa?: string;
}

/** What an endpoint lists in GetCACaps. */
export function endpointCapabilities(endpoint: EndpointConfig, succession: 'succeeded' | 'alone'): string[] {
  return capabilitiesOf(
    clientProfiles[endpoint.client],
    [
      ...(succession === 'alone' ? [] : (['GetNextCACert'] as const)),
      // RFC 8894 §3.5.2: only what an old certificate proves is a renewal.
      ...(endpoint.renewal === undefined ? [] : (['Renewal'] as const)),
    ],
    refusedCapabilities(refusedAlgorithmsOf(endpoint)),
  );
}

/** What messages to an endpoint may not be made of. */
export function refusedAlgorithmsOf(endpoint: EndpointConfig): ReadonlySet<WeakAlgorithm> {
  return new Set<WeakAlgorithm>([
    ...endpoint.algorithms.refuse,
    ...(endpoint.dangerAllowSingleDes ? [] : refusedByDefault),
  ]);
}

/**
 * All endpoints, in the order of the configuration.
 *
 * @throws PkiError `config_invalid` if a file cannot be read, `certificate_malformed`.
 */
export async function viewEndpoints(config: ServerConfig, now: Date): Promise<EndpointView[]> {
  return await Promise.all(
    config.endpoints.map(async (endpoint): Promise<EndpointView> => {
      const issuer = config.issuers.find(({ name }) => name === endpoint.issuer);
      const nextCa = issuer?.next === undefined ? undefined : nameIn(issuer.next.certificate);
      const { certificates, activeFrom } = await raCertificatesOf(config, endpoint);
      const host = config.listen.host.includes(':') ? `[${config.listen.host}]` : config.listen.host;
      const ends = certificates.map(({ notAfter }) => notAfter.getTime());
      return {
        endpoint: endpoint.name,
        urls: endpoint.paths.map((path) => `http://${host}:${config.listen.port}${path}`),
        issuer: endpoint.issuer,
        ca: issuer === undefined ? '' : nameIn(issuer.certificate),
        template: endpoint.template,
        validators: endpoint.validators.flatMap((choice) =>
          Object.entries(choice).flatMap(([name, value]) => (value === undefined ? [] : [name])),
        ),
        client: endpoint.client,
        capabilities: endpointCapabilities(endpoint, nextCa === undefined ? 'alone' : 'succeeded'),
        ra: raPlacesOf(config, endpoint) === undefined ? 'automatic' : 'explicit',
        ...(ends.length === 0 ? {} : { raEnds: new Date(Math.min(...ends)) }),
        ...(activeFrom !== undefined && activeFrom > now ? { raSwitches: activeFrom } : {}),
        ...(nextCa === undefined ? {} : { nextCa }),
      };
    }),
  );
}

async function raCertificatesOf(
  config: ServerConfig,
  endpoint: EndpointConfig,
): Promise<{ readonly certificates: readonly Certificate[]; readonly activeFrom?: Date }> {
  const places = raPlacesOf(config, endpoint);
  if (places === undefined)
    return (await listRaCertificates(raFolderOf(config, endpoint))).at(-1) ?? { certificates: [] };
  return {
    certificates: [places.signing, places.encryption].map(({ certificate }) =>
      parseCertificate(readChain(certificate)[0]),
    ),
  };
}

function nameIn(path: string): string {
  const { subject } = parseCertificate(readChain(path)[0]);
  return commonNameOf(subject) ?? nameToString(subject);
}
