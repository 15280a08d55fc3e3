/** OCSP in a configuration: a responder for all issuing CAs, and the signers that each of them needs. */
import { join } from 'node:path';
import { OcspResponder, OcspSigners } from '../ca/index.ts';
import { errorTable, PkiError } from '../errors.ts';
import { secretFromReference } from '../keys/index.ts';
import type { Clock, Log } from '../telemetry.ts';
import type { Authorities, ServerConfig } from './authorities.ts';

/** The template that signers are issued by. */
const TEMPLATE = 'ocsp-signing';
/** Stands as the requester in the CA's list. */
const OPERATOR = 'OCSP responder';

/** OCSP at work on one thread. */
export interface Ocsp {
  readonly responder: OcspResponder;
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
 * @throws PkiError `key_locked` if the passphrase cannot be read.
 */
export function openOcsp(
  config: ServerConfig,
  { ra, issuers, store }: Authorities,
  log: Log,
  clock: Clock,
): Ocsp | undefined {
  if (config.ocsp === undefined) return undefined;
  const { neverIssued, responseLifetime, passphrase } = config.ocsp;
  const served = issuers.map(({ name, certificate }) => ({
    name,
    certificate,
    signers: new OcspSigners({
      issuer: name,
      issuerCertificate: certificate,
      folder: join(config.dataFolder, 'ocsp'),
      passphrase: secretFromReference(passphrase),
      enrol: (csr) => ra.enrolService({ issuer: name, template: TEMPLATE, csr, operator: OPERATOR }),
      store,
      clock,
      log,
    }),
  }));
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
