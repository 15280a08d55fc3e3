/** What the CA does by itself while it runs. */
import type { CertificateAuthority } from '../ca/index.ts';
import type { Clock, Log } from '../telemetry.ts';
import type { ServerConfig } from './authorities.ts';
import type { Ocsp } from './ocsp.ts';

/** How often the server looks whether a CRL or an OCSP signer is due and whether intents are dead. */
const HOUSEKEEPING_MS = 5_000;
/** A worker that lives has signed this long after its intent; what is open then is taken for the dead one's. */
const SIGNING_MS_MAX = 2_000;

/** The regular work of the one process that looks after the store. */
export interface Housekeeping {
  /** To be told at once when a worker has died: what it was signing is given up, so that its devices need not wait. */
  settleAfterDeath(): void;
  stop(): Promise<void>;
}

/** Keeps CRLs and OCSP signers fresh and settles what dead workers left; one at a time. */
export function startHousekeeping(
  ca: CertificateAuthority,
  config: ServerConfig,
  ocsp: Ocsp | undefined,
  log: Log,
  clock: Clock,
): Housekeeping {
  let stopped = false;
  let running: Promise<void> = Promise.resolve();
  const settle = (moment: Parameters<CertificateAuthority['abandonDeadIntents']>[0]) => {
    running = running.then(async () => {
      if (stopped) return;
      try {
        await ca.abandonDeadIntents(moment);
        for (const issuer of config.issuers) await ca.publishCrl(issuer.name);
        await ocsp?.renewSigners();
      } catch (cause) {
        log.error({ err: cause }, 'housekeeping failed; it is tried again');
      }
    });
  };
  const timer = setInterval(() => settle('while-running'), HOUSEKEEPING_MS);
  return {
    settleAfterDeath: () => {
      const diedAt = clock.now();
      setTimeout(() => settle({ diedAt }), SIGNING_MS_MAX).unref();
    },
    stop: async () => {
      stopped = true;
      clearInterval(timer);
      await running;
    },
  };
}
