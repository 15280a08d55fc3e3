/** What the CA does by itself while it runs. */
import type { CertificateAuthority } from '../ca/index.ts';
import type { CrlState } from '../store/index.ts';
import type { Clock, Log } from '../telemetry.ts';
import type { Authorities, ServerConfig } from './authorities.ts';
import type { Ocsp } from './ocsp.ts';
import type { Publishing } from './publishing.ts';
import type { RaUpkeep } from './ra-identities.ts';

/** How often the server looks whether a CRL or an OCSP signer is due and whether intents are dead. */
const HOUSEKEEPING_MS = 5_000;
/** A worker that lives has signed this long after its intent; what is open then is taken for the dead one's. */
const SIGNING_MS_MAX = 2_000;
/** How long the newest audit entries are without a signature at most. */
const AUDIT_SIGNATURE_MS = 60 * 60 * 1000;
/** How often an operator is reminded of a CRL whose successor is missing. */
const ALARM_MS = 10 * 60 * 1000;

/** The regular work of the one process that looks after the store. */
export interface Housekeeping {
  /** To be told at once when a worker has died: what it was signing is given up, so that its devices need not wait. */
  settleAfterDeath(): void;
  stop(): Promise<void>;
}

/** Keeps CRLs, OCSP signers and the RA's certificates fresh, has new CRLs published, settles what dead workers left, revokes what was renewed, has the audit log signed; one at a time. */
export function startHousekeeping(
  { ca, ra }: Pick<Authorities, 'ca' | 'ra'>,
  config: ServerConfig,
  ocsp: Ocsp | undefined,
  raUpkeep: RaUpkeep,
  publishing: Publishing,
  signAudit: () => Promise<void>,
  log: Log,
  clock: Clock,
): Housekeeping {
  let stopped = false;
  let auditSignedAt = clock.now().getTime();
  let running: Promise<void> = Promise.resolve();
  /** By CRL: when it was last reported as overdue. */
  const reported = new Map<string, number>();
  const alarm = async () => {
    const now = clock.now().getTime();
    for (const crl of await ca.overdueCrls()) {
      const key = `${crl.issuer} ${crl.partition} ${crl.kind}`;
      if (now - (reported.get(key) ?? Number.NEGATIVE_INFINITY) < ALARM_MS) continue;
      reported.set(key, now);
      log.error(
        { crl },
        'ALARM: a CRL has no successor; relying parties refuse every certificate when it ends',
      );
    }
  };
  const settle = (moment: Parameters<CertificateAuthority['abandonDeadIntents']>[0]) => {
    running = running.then(async () => {
      if (stopped) return;
      try {
        await ca.abandonDeadIntents(moment);
        await ra.revokeReplaced();
        const crls: CrlState[] = [];
        for (const issuer of config.issuers) crls.push(...(await ca.publishCrls(issuer.name)));
        publishing.noteCrls(crls);
        await ocsp?.renewSigners();
        await raUpkeep.renewIfDue();
        if (clock.now().getTime() - auditSignedAt >= AUDIT_SIGNATURE_MS) {
          await signAudit();
          auditSignedAt = clock.now().getTime();
        }
      } catch (cause) {
        log.error({ err: cause }, 'housekeeping failed; it is tried again');
      }
      // A store that cannot be read has been reported already.
      await alarm().catch(() => {});
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
