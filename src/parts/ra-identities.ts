/** The RA's certificates in a configuration: those that an operator made, or those that the server makes for itself. */
import { join } from 'node:path';
import {
  firstToEnd,
  type Issuer,
  RA_RELOAD_MS,
  RaCertificates,
  type RaHolder,
  raFaultOf,
} from '../ca/index.ts';
import { type Certificate, parseCertificate, sameOctets } from '../codec/index.ts';
import { errorTable, PkiError } from '../errors.ts';
import type { RaIdentity, ScepEndpoint } from '../http/index.ts';
import { secretFromReference } from '../keys/index.ts';
import {
  buildCaCertificates,
  type ClientProfile,
  certificatesOf,
  clientProfiles,
  recipientOf,
} from '../scep/index.ts';
import type { Clock, Log } from '../telemetry.ts';
import type { Authorities, ServerConfig } from './authorities.ts';
import { openIdentity, readChain } from './identity.ts';

type EndpointConfig = ServerConfig['endpoints'][number];
type RaPlaces = NonNullable<EndpointConfig['ra']>;

/** Before the end of a certificate that nobody renews: a reminder, and then an alarm. */
const REMIND_BEFORE_MS = 30 * 24 * 60 * 60 * 1000;
const ALARM_BEFORE_MS = 7 * 24 * 60 * 60 * 1000;
const REMINDER_MS = 24 * 60 * 60 * 1000;

/** Where an operator has put the RA certificates of an endpoint; `undefined` if the server makes them. */
export function raPlacesOf(config: ServerConfig, endpoint: EndpointConfig): RaPlaces | undefined {
  if (endpoint.ra !== undefined) return endpoint.ra;
  const { signing, encryption } = config.ra;
  return signing === undefined || encryption === undefined ? undefined : { signing, encryption };
}

/** The folder that the server keeps its own RA certificates for an endpoint in. */
export function raFolderOf(config: ServerConfig, endpoint: EndpointConfig): string {
  const folder = config.ra.automatic?.folder ?? join(config.dataFolder, 'ra');
  // A name in the configuration has no dot.
  return join(folder, `${endpoint.issuer}${isCombined(endpoint) ? '.combined' : ''}`);
}

function isCombined({ client }: EndpointConfig): boolean {
  return clientProfiles[client].caCertificates === 'one';
}

/** The certificates that the server makes for itself, by their folders. */
function automaticOf(
  config: ServerConfig,
  { ca, ra, store }: Pick<Authorities, 'ca' | 'ra' | 'store'>,
  log: Log,
  clock: Clock,
): ReadonlyMap<string, RaCertificates> {
  const found = new Map<string, RaCertificates>();
  for (const endpoint of config.endpoints) {
    const folder = raFolderOf(config, endpoint);
    if (raPlacesOf(config, endpoint) !== undefined || found.has(folder)) continue;
    if (config.ra.automatic === undefined)
      throw new PkiError('config_invalid', `endpoint ${endpoint.name} has no RA certificates`);
    const { name, certificate } = ca.issuer(endpoint.issuer);
    const combined = isCombined(endpoint);
    found.set(
      folder,
      new RaCertificates({
        issuer: name,
        issuerCertificate: certificate,
        certificates: combined ? 'one' : 'separate',
        folder,
        passphrase: secretFromReference(config.ra.automatic.passphrase),
        renewalPeriodMs: ca.template(combined ? 'ra-combined' : 'ra-encryption').renewalPeriodMs,
        enrol: (template, csr) =>
          ra.enrolService({ issuer: name, template, csr, operator: config.serviceIdentity }),
        store,
        clock,
        log,
      }),
    );
  }
  return found;
}

/** What the one process that looks after the data folder does for the RA's certificates. */
export interface RaUpkeep {
  /**
   * Has what is due renewed, and says what is about to end. Never throws for what may pass.
   *
   * @throws PkiError of kind `misconfigured`.
   */
  renewIfDue(): Promise<void>;
}

/** Opens the upkeep. Throws PkiError `config_invalid`, `key_locked` for a secret or a file. */
export function openRaUpkeep(
  config: ServerConfig,
  authorities: Pick<Authorities, 'ca' | 'ra' | 'store'>,
  log: Log,
  clock: Clock,
): RaUpkeep {
  const automatic = automaticOf(config, authorities, log, clock);
  let checkedAtMs = Number.NEGATIVE_INFINITY;
  /** By certificate: when its end was last spoken of. */
  const reminded = new Map<string, number>();
  const remind = (what: string, { notAfter, serialNumber }: Certificate) => {
    const now = clock.now().getTime();
    const leftMs = notAfter.getTime() - now;
    if (leftMs > REMIND_BEFORE_MS) return;
    if (now - (reminded.get(serialNumber) ?? Number.NEGATIVE_INFINITY) < REMINDER_MS) return;
    reminded.set(serialNumber, now);
    const facts = { ra: what, serialNumber, notAfter };
    if (leftMs > ALARM_BEFORE_MS) log.warn(facts, 'a certificate of the RA must be renewed');
    else log.error(facts, 'ALARM: a certificate of the RA ends; no device can enrol after that');
  };
  return {
    renewIfDue: async () => {
      const nowMs = clock.now().getTime();
      if (Math.abs(nowMs - checkedAtMs) < RA_RELOAD_MS) return;
      checkedAtMs = nowMs;
      for (const [folder, certificates] of automatic) {
        try {
          await certificates.renewIfDue();
        } catch (cause) {
          if (cause instanceof PkiError && errorTable[cause.code].kind === 'misconfigured') throw cause;
          log.error({ err: cause, folder }, 'no new certificates for the RA; it is tried again');
        }
        const newest = certificates.generations.at(-1);
        if (newest !== undefined) remind(folder, firstToEnd(newest));
      }
      for (const endpoint of config.endpoints) {
        const places = raPlacesOf(config, endpoint);
        for (const place of places === undefined ? [] : [places.signing, places.encryption])
          remind(place.certificate, parseCertificate(readChain(place.certificate)[0]));
      }
    },
  };
}

/**
 * Every key of the RA that opens envelopes, of all endpoints and of all generations that are kept, valid or not: for who
 * reads a message that was captured.
 *
 * @throws PkiError `key_capability`, `key_locked`, `key_unavailable`, `config_invalid`.
 */
export async function openEncryptionKeys(
  config: ServerConfig,
  authorities: Pick<Authorities, 'ca' | 'ra' | 'store'>,
  log: Log,
  clock: Clock,
): Promise<readonly RaHolder[]> {
  const found: RaHolder[] = [];
  for (const certificates of automaticOf(config, authorities, log, clock).values()) {
    await certificates.reload();
    found.push(...certificates.generations.map(({ encryption }) => encryption));
  }
  for (const endpoint of config.endpoints) {
    const places = raPlacesOf(config, endpoint);
    if (places !== undefined) found.push(await openIdentity(places.encryption, 'decrypt'));
  }
  return found;
}

/** The RA's certificates at work on one thread. */
export interface RaIdentities {
  /** What an endpoint is served with. */
  of(endpoint: EndpointConfig): ScepEndpoint['ra'];
  close(): void;
}

/**
 * Opens the certificates and keys of all endpoints, and follows those that the server renews.
 *
 * @throws PkiError `key_capability` if clients could not do with them, `key_locked`, `key_unavailable`.
 */
export async function openRaIdentities(
  config: ServerConfig,
  authorities: Pick<Authorities, 'ca' | 'ra' | 'store'>,
  log: Log,
  clock: Clock,
): Promise<RaIdentities> {
  const { ca } = authorities;
  const automatic = automaticOf(config, authorities, log, clock);
  for (const [folder, certificates] of automatic) {
    await certificates.reload();
    if (certificates.current() === undefined)
      throw new PkiError('key_capability', `there are no valid certificates of the RA in ${folder}`);
  }
  const served = new Map<EndpointConfig, ScepEndpoint['ra']>();
  for (const endpoint of config.endpoints) {
    const profile = clientProfiles[endpoint.client];
    const issuer = ca.issuer(endpoint.issuer);
    const places = raPlacesOf(config, endpoint);
    if (places !== undefined) {
      const identity = identityOf(profile, issuer, await openPlaces(endpoint, places, issuer, clock));
      served.set(endpoint, () => identity);
      continue;
    }
    const certificates = automatic.get(raFolderOf(config, endpoint));
    if (certificates !== undefined) served.set(endpoint, following(certificates, profile, issuer));
  }
  const timer = setInterval(() => {
    for (const certificates of automatic.values())
      certificates.reload().catch((cause: unknown) => {
        log.error({ err: cause }, 'the certificates of the RA cannot be read; it is tried again');
      });
  }, RA_RELOAD_MS).unref();
  return {
    of: (endpoint) => {
      const found = served.get(endpoint);
      if (found === undefined) throw new PkiError('internal', `endpoint ${endpoint.name} has no RA`);
      return found;
    },
    close: () => clearInterval(timer),
  };
}

/** Goes with the generations; a message is served by the one that its sender knows. */
function following(certificates: RaCertificates, profile: ClientProfile, issuer: Issuer): ScepEndpoint['ra'] {
  const identities = new Map<string, RaIdentity>();
  return (received) => {
    // Almost always there is one, and the message need not be read for it.
    const isPlain = received === undefined || certificates.generations.length === 1;
    const generation = isPlain ? certificates.current() : certificates.ofRecipient(recipientOf(received));
    if (generation === undefined)
      throw new PkiError('key_unavailable', 'the certificates of the RA have ended');
    let identity = identities.get(generation.name);
    if (identity === undefined) {
      identity = identityOf(profile, issuer, generation);
      identities.set(generation.name, identity);
    }
    return identity;
  };
}

function identityOf(
  profile: ClientProfile,
  issuer: Issuer,
  { signing, encryption }: { readonly signing: RaHolder; readonly encryption: RaHolder },
): RaIdentity {
  const certificates = {
    signing: signing.certificate.raw,
    encryption: encryption.certificate.raw,
    chain: issuer.chain,
  };
  return {
    signer: {
      certificate: signing.certificate,
      chain: certificatesOf(profile.outer, certificates),
      enclosed: certificatesOf(profile.enclosed, certificates),
      withoutEnvelope: profile.withoutEnvelope,
      sign: (algorithm, data) => signing.key.sign(algorithm, data),
    },
    encryption: {
      certificate: encryption.certificate,
      decrypt: (keyTransport, encryptedKey) => encryption.key.decrypt(keyTransport, encryptedKey),
    },
    caCertificates: buildCaCertificates(profile, certificates),
  };
}

/** Opens what an operator made, and refuses what no client would take. */
async function openPlaces(
  endpoint: EndpointConfig,
  places: RaPlaces,
  issuer: Issuer,
  clock: Clock,
): Promise<{ readonly signing: RaHolder; readonly encryption: RaHolder }> {
  const signing = await openIdentity(places.signing, 'sign');
  const encryption = await openIdentity(places.encryption, 'decrypt');
  assertRa('signing', signing.certificate, issuer, clock);
  assertRa('encryption', encryption.certificate, issuer, clock);
  if (!isCombined(endpoint)) return { signing, encryption };
  if (!sameOctets(signing.certificate.raw, encryption.certificate.raw))
    throw new PkiError(
      'key_capability',
      `endpoint ${endpoint.name}: clients of the profile “${endpoint.client}” know one certificate; name the same one for signing and encryption`,
    );
  return { signing, encryption: { certificate: signing.certificate, key: encryption.key } };
}

function assertRa(
  role: 'signing' | 'encryption',
  certificate: Certificate,
  issuer: Issuer,
  clock: Clock,
): void {
  const now = clock.now();
  if (certificate.notAfter <= now || certificate.notBefore > now)
    throw new PkiError('key_capability', `the RA ${role} certificate is not valid now: issue a new one`);
  const fault = raFaultOf(certificate, role, issuer.certificate);
  if (fault !== undefined) throw new PkiError('key_capability', `the RA ${role} certificate: ${fault}`);
}
