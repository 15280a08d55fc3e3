/** OCSP in a configuration: a responder for all issuing CAs, and the signers that each of them needs. */
import { join } from 'node:path';
import {
  type CertificateAuthority,
  type Issuer,
  judgeKey,
  type OcspKeys,
  OcspResponder,
  type OcspSigner,
  OcspSigners,
} from '../ca/index.ts';
import { sameOctets } from '../codec/index.ts';
import { errorTable, PkiError } from '../errors.ts';
import { describePlace, openKey, secretFromReference } from '../keys/index.ts';
import type { Clock, Log } from '../telemetry.ts';
import type { Authorities, ServerConfig } from './authorities.ts';

/** The template that signers are issued by. */
const TEMPLATE = 'ocsp-signing';
/** Stands as the requester in the CA's list. */
const OPERATOR = 'OCSP responder';

/** OCSP at work on one thread. */
export interface Ocsp {
  readonly responder: OcspResponder;
  /** By issuer: who signs now, as `OcspSigners.current`. */
  readonly signers: readonly { readonly issuer: string; current(): Promise<OcspSigner | undefined> }[];
  /**
   * Renews the signers that are due. For the one process that looks after the data folder; never throws for what may
   * pass: the signers that there are go on, and it is tried again.
   *
   * @throws PkiError of kind `misconfigured`.
   */
  renewSigners(): Promise<void>;
}

/**
 * Opens OCSP; `undefined` if the configuration has none.
 *
 * @throws PkiError `key_locked` if the passphrase or a certificate cannot be read, `key_capability` if a key or its
 *   certificate cannot be a responder's, `key_unavailable` if a key's token or vault does not answer.
 */
export async function openOcsp(
  config: ServerConfig,
  { ca, ra, issuers, store }: Pick<Authorities, 'ca' | 'ra' | 'issuers' | 'store'>,
  log: Log,
  clock: Clock,
): Promise<Ocsp | undefined> {
  const { ocsp } = config;
  if (ocsp === undefined) return undefined;
  const { neverIssued, responseLifetime } = ocsp;
  const served = await Promise.all(
    issuers.map(async (issuer) => {
      const { name, certificate } = issuer;
      const keys = await keysFor(issuer, ocsp, ca);
      const signers = new OcspSigners({
        issuer: name,
        issuerCertificate: certificate,
        folder: join(config.dataFolder, 'ocsp'),
        keys,
        enrol: (csr) => ra.enrolService({ issuer: name, template: TEMPLATE, csr, operator: OPERATOR }),
        store,
        clock,
        log,
      });
      // An operator's certificate that does not fit is said now and not to a relying party.
      if ('certificateFile' in keys) await signers.current();
      return { name, certificate, signers };
    }),
  );
  const responder = new OcspResponder({
    issuers: served.map(({ name, certificate, signers }) => ({
      name,
      certificate,
      signer: () => signers.current(),
    })),
    store,
    neverIssued,
    lifetimeMs: responseLifetime,
    clock,
    log,
  });
  return {
    responder,
    signers: served.map(({ name, signers }) => ({ issuer: name, current: () => signers.current() })),
    renewSigners: async () => {
      for (const { name, signers } of served) {
        try {
          await signers.renewIfDue();
        } catch (cause) {
          if (cause instanceof PkiError && errorTable[cause.code].kind === 'misconfigured') throw cause;
          log.error({ err: cause, issuer: name }, 'no new OCSP signer; it is tried again');
        }
      }
    },
  };
}

/** The key that the configuration names for an issuer's responder, or the way to make some. */
async function keysFor(
  issuer: Issuer,
  { passphrase, signers }: NonNullable<ServerConfig['ocsp']>,
  ca: Pick<CertificateAuthority, 'template'>,
): Promise<OcspKeys> {
  const choice = signers.find((signer) => signer.issuer === issuer.name);
  if (choice === undefined) {
    if (passphrase === undefined)
      throw new PkiError('config_invalid', 'server.ocsp: neither a passphrase nor a key for every issuer');
    return { passphrase: secretFromReference(passphrase) };
  }
  const key = await openKey(choice.key, 'sign');
  const place = describePlace(choice.key);
  if (sameOctets(key.spki, issuer.certificate.spki)) {
    throw new PkiError(
      'key_capability',
      `${place} is the key of the CA “${issuer.name}” itself: give its responder a key of its own`,
    );
  }
  if (choice.certificate !== undefined) return { key, certificateFile: choice.certificate };
  const judged = judgeKey(key.spki, ca.template(TEMPLATE));
  if (judged.verdict === 'refuse') {
    throw new PkiError(
      'key_capability',
      `${place} cannot have a certificate of the template “${TEMPLATE}”: ${judged.detail}; use RSA 2048, P-256 or P-384`,
    );
  }
  return { key };
}
