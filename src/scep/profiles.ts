/** Client profiles: what an endpoint does where RFC 8894 leaves a choice and clients do not agree. */
import { buildCertsOnly } from '../codec/index.ts';
import { PkiError } from '../errors.ts';
import { type Capability, rfcCapabilities, serverCapabilities } from './capabilities.ts';
import { contentTypes } from './transport.ts';

/** Names of the profiles, as the configuration has them. */
export const clientProfileNames = [
  'standard',
  'windows',
  'apple',
  'android',
  'cisco',
  'embedded',
  'strict',
] as const;

/** Name of a profile. */
export type ClientProfileName = (typeof clientProfileNames)[number];

/** A certificate of an endpoint by its part: the RA's two, the issuing CA, and what stands above that up to the root. */
export type CertificatePart = 'signing' | 'encryption' | 'issuer' | 'above';

/** What a profile decides, and for each of its choices that is not the standard one, why and on whose word. */
export interface ClientProfile {
  /** In a few words, for the documentation. */
  readonly for: string;
  /**
   * GetCACert (§4.2.1): the certificates in their order, in a degenerate SignedData; or `one`, the RA's only certificate by
   * itself, for which its endpoint must have an RA certificate that serves both roles.
   */
  readonly caCertificates: readonly CertificatePart[] | 'one';
  /** Keywords of GetCACaps, without those that depend on the endpoint. */
  readonly capabilities: readonly Capability[];
  /** Whether an endpoint that renews by certificate says so in GetCACaps. */
  readonly renewal: 'advertised' | 'unmentioned';
  /** What follows the issued certificate in its envelope (§3.4: further certificates MAY be there). */
  readonly enclosed: readonly CertificatePart[];
  /** Certificates of the CertRep's outer SignedData, in their order. */
  readonly outer: readonly CertificatePart[];
  /** What a CertRep without an envelope has for content: an empty one, or none. */
  readonly withoutEnvelope: 'empty' | 'absent';
  /** By choice: the reason, and where it is known from. */
  readonly reasons: Readonly<Partial<Record<ProfileChoice, string>>>;
}

/** What a profile chooses. */
export type ProfileChoice = Exclude<keyof ClientProfile, 'for' | 'reasons'>;

const standard: ClientProfile = {
  for: 'every client that is not named below, and any mixture of clients',
  caCertificates: ['signing', 'encryption', 'issuer', 'above'],
  capabilities: serverCapabilities,
  renewal: 'advertised',
  enclosed: [],
  outer: ['signing', 'issuer'],
  withoutEnvelope: 'empty',
  reasons: {
    caCertificates:
      'certmonger and jscep find the RA certificates by their key usage and want the chain up to the root, as NDES gives it',
    capabilities: 'strongSwan 5.9 takes AES for supported only if SHA-384 is listed, which is not in the RFC',
    enclosed:
      'Apple pairs its key with the first certificate, and Juniper refuses a CA certificate there (EJBCA)',
    withoutEnvelope: 'certmonger asks again if the content is absent',
  },
};

/** The profiles. `standard` serves every client that could be tried; the others do better for one kind. */
export const clientProfiles: Readonly<Record<ClientProfileName, ClientProfile>> = {
  standard,
  windows: {
    ...standard,
    for: 'Windows 10 and 11, enrolled by Intune or another MDM',
    capabilities: rfcCapabilities,
    renewal: 'unmentioned',
    reasons: {
      caCertificates:
        'the thumbprint of the profile must be that of a certificate served: issuing CA and root both are (event 32, “hash value is not correct”)',
      renewal: 'Windows renews with a new key, a new challenge and a PKCSReq (SCEPman)',
    },
  },
  apple: {
    ...standard,
    for: 'iOS, iPadOS, macOS',
    caCertificates: ['signing', 'encryption', 'issuer'],
    capabilities: rfcCapabilities,
    renewal: 'unmentioned',
    reasons: {
      caCertificates:
        'a Mac took no other answer than the issuing CA with the RA’s two certificates (jscep); it trusts the root by its own profile and stores none from here',
      renewal: 'some versions of macOS complain about the keyword, and renew by PKCSReq anyway',
      enclosed:
        'the key is paired with the first certificate of the answer: “mismatching public keys”, 22008',
    },
  },
  android: {
    ...standard,
    for: 'Android by Intune, ChromeOS, and others that are built on jscep',
    capabilities: rfcCapabilities,
    reasons: {
      caCertificates:
        'the thumbprint of an Android profile is that of the root, which must be served (SCEPman)',
    },
  },
  cisco: {
    ...standard,
    for: 'Cisco routers, switches and firewalls',
    capabilities: rfcCapabilities,
    enclosed: ['issuer'],
    reasons: { enclosed: 'Cisco’s VPN devices require the CA certificate in the answer (EJBCA)' },
  },
  embedded: {
    ...standard,
    for: 'devices that know a CA certificate and no RA: printers, cameras, small routers',
    caCertificates: 'one',
    capabilities: rfcCapabilities,
    renewal: 'unmentioned',
    outer: ['signing'],
    reasons: {
      caCertificates:
        'RFC 8894 §4.2.1.1: one certificate, for clients that encrypt to it and verify with it whatever it says of itself',
      renewal: 'nothing is known of one that renews; it enrols anew',
      outer: 'the client has this certificate and looks for no other',
    },
  },
  strict: {
    ...standard,
    for: 'clients that verify the RFC to the letter, and test suites',
    capabilities: rfcCapabilities,
    outer: ['signing', 'issuer', 'above'],
    withoutEnvelope: 'absent',
    reasons: {
      capabilities: 'RFC 8894 §3.5.2: its keywords alone',
      outer: 'RFC 5652 §5.1: enough for a chain to a recognised root',
      withoutEnvelope: 'RFC 8894 §3.3.2.2, §3.3.2.3: the pkcsPKIEnvelope is omitted',
    },
  },
};

/** DER of an endpoint's certificates. */
export interface EndpointCertificates {
  readonly signing: Uint8Array;
  /** The same as `signing` if one certificate serves both roles. */
  readonly encryption: Uint8Array;
  /** Issuing CA first, root last. */
  readonly chain: readonly Uint8Array[];
}

/** The certificates of some parts, in this order and each of them once. */
export function certificatesOf(
  parts: readonly CertificatePart[],
  { signing, encryption, chain }: EndpointCertificates,
): Uint8Array[] {
  const found: Readonly<Record<CertificatePart, readonly Uint8Array[]>> = {
    signing: [signing],
    encryption: [encryption],
    issuer: chain.slice(0, 1),
    above: chain.slice(1),
  };
  return [...new Set(parts.flatMap((part) => found[part]))];
}

/**
 * The answer to GetCACert (§4.2.1).
 *
 * @throws PkiError `key_capability` if the profile is for one certificate and the RA has two.
 */
export function buildCaCertificates(
  { caCertificates }: ClientProfile,
  certificates: EndpointCertificates,
): { readonly contentType: string; readonly body: Uint8Array } {
  if (caCertificates !== 'one') {
    return {
      contentType: contentTypes.caAndRaCertificates,
      body: buildCertsOnly(certificatesOf(caCertificates, certificates)),
    };
  }
  if (certificates.signing !== certificates.encryption)
    throw new PkiError('key_capability', 'this client profile needs one RA certificate for both roles');
  return { contentType: contentTypes.caCertificate, body: certificates.signing };
}

/**
 * The keywords of an endpoint (§3.5.2): those of its profile, and what it offers besides, without what it refuses.
 * QUIRK macOS: some versions complain of `Renewal`, so that a profile may leave it unmentioned.
 */
export function capabilitiesOf(
  profile: ClientProfile,
  offers: readonly ('Renewal' | 'GetNextCACert')[] = [],
  refused: readonly Capability[] = [],
): string[] {
  return [
    ...profile.capabilities.filter((capability) => !refused.includes(capability)),
    ...offers.filter((offer) => offer !== 'Renewal' || profile.renewal === 'advertised'),
  ].toSorted();
}
