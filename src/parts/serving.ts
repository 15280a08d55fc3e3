/** The doors of the SCEP server, on one thread. */
import { readFileSync } from 'node:fs';
import type { Issuer } from '../ca/index.ts';
import { keyUsageOf, parseCrl, parsePublicKeyInfo, verifyCertificateSignature } from '../codec/index.ts';
import { PkiError } from '../errors.ts';
import {
  addOcspDoor,
  addRepositoryDoor,
  addScepDoor,
  type HttpServer,
  openHttpServer,
  type PortSharing,
  type ScepEndpoint,
} from '../http/index.ts';
import { capabilitiesOf, refusedByDefault, type WeakAlgorithm } from '../scep/index.ts';
import type { Clock, Log } from '../telemetry.ts';
import type { Authorities, ServerConfig } from './authorities.ts';
import { type Identity, openIdentity, readChain } from './identity.ts';
import { openOcsp } from './ocsp.ts';

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
): Promise<{ readonly port: number; close(): Promise<void> }> {
  const { ca, ra, issuers } = authorities;
  const ocsp = await openOcsp(config, authorities, log, clock);
  const signing = await openIdentity(config.ra.signing, 'sign');
  const encryption = await openIdentity(config.ra.encryption, 'decrypt');
  assertRa('signing', signing, 'digitalSignature', issuers, clock);
  assertRa('encryption', encryption, 'keyEncipherment', issuers, clock);
  const endpoints = config.endpoints.map((endpoint): ScepEndpoint => {
    const issuer = ca.issuer(endpoint.issuer);
    return {
      name: endpoint.name,
      paths: endpoint.paths,
      signer: {
        certificate: signing.certificate,
        chain: [signing.certificate.raw, issuer.certificate.raw],
        sign: (algorithm, data) => signing.key.sign(algorithm, data),
      },
      encryption: {
        certificate: encryption.certificate,
        decrypt: (keyTransport, encryptedKey) => encryption.key.decrypt(keyTransport, encryptedKey),
      },
      refusedAlgorithms: new Set<WeakAlgorithm>([
        ...endpoint.algorithms.refuse,
        ...(endpoint.dangerAllowSingleDes ? [] : refusedByDefault),
      ]),
      capabilities: capabilitiesOf('enrols-anew'),
      caChain: issuer.chain,
      limits: endpoint.limits,
    };
  });
  const server: HttpServer = await openHttpServer({
    ...config.listen,
    forwarders: config.forwarders,
    sharing,
    log,
    doors: (app) => {
      addScepDoor(app, { endpoints, ra, clock, log });
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
  return { port: server.address.port, close: () => server.close() };
}

function readPublishedCrl(path: string): { readonly crl: Uint8Array; readonly nextUpdate: Date } | undefined {
  const crl = readFileSync(path);
  return { crl, nextUpdate: parseCrl(crl).nextUpdate ?? new Date(0) };
}

function assertRa(
  role: string,
  { certificate }: Identity,
  usage: 'digitalSignature' | 'keyEncipherment',
  issuers: readonly Issuer[],
  clock: Clock,
): void {
  const now = clock.now();
  if (certificate.notAfter <= now || certificate.notBefore > now) {
    throw new PkiError('key_capability', `the RA ${role} certificate is not valid now: issue a new one`);
  }
  // Clients verify the answer with the chain of GetCACert (RFC 8894 §4.2).
  if (!issuers.some((issuer) => verifyCertificateSignature(certificate, issuer.certificate.spki))) {
    throw new PkiError('key_capability', `the RA ${role} certificate is not of one of the issuing CAs`);
  }
  if (parsePublicKeyInfo(certificate.spki).type !== 'rsa') {
    throw new PkiError('key_capability', `the RA ${role} key must be RSA: every SCEP client expects it`);
  }
  if (keyUsageOf(certificate)?.includes(usage) !== true) {
    throw new PkiError('key_capability', `the RA ${role} certificate needs the key usage ${usage}`);
  }
}
