/** What a server does by itself while it runs: what it keeps for itself, and for all servers of a store what needs doing once. */
import type { CertificateAuthority } from '../ca/index.ts';
import type { RegistrationAuthority } from '../ra/index.ts';
import type { CrlState, StoreLead, StoreLeadership } from '../store/index.ts';
import type { Clock, Log } from '../telemetry.ts';
import type { Correspondence } from './correspondence.ts';
import type { LeadMoment, Publishing } from './publishing.ts';

/** How often the server looks whether a CRL or a certificate of its own is due, whether intents are dead, and who has the lead. */
const HOUSEKEEPING_MS = 5_000;
/** A worker that lives has signed this long after its intent; what is open then is taken for the dead one's. */
const SIGNING_MS_MAX = 2_000;
/** How long the newest audit entries are without a signature at most. */
const AUDIT_SIGNATURE_MS = 60 * 60 * 1000;
/** How often an operator is reminded of a CRL whose successor is missing. */
const ALARM_MS = 10 * 60 * 1000;

/** What housekeeping works with. */
export interface HousekeepingOptions {
  readonly ca: Pick<CertificateAuthority, 'issuers' | 'abandonDeadIntents' | 'publishCrls' | 'overdueCrls'>;
  readonly ra: Pick<RegistrationAuthority, 'revokeReplaced'>;
  readonly store: StoreLeadership;
  /** Whether other servers may be signing for the same store. */
  readonly sharing: 'alone' | 'shared';
  /** Renews what is due of what each server keeps for itself: keys of OCSP signers and of the RA stay on their host. */
  readonly renewOwn: () => Promise<void>;
  /** Begins to publish, in the server that has the lead. */
  readonly publish: (moment: LeadMoment) => Promise<Publishing>;
  readonly signAudit: () => Promise<void>;
  /** Begins to write to the services that validate, in the server that has the lead. */
  readonly correspond: () => Correspondence;
  readonly log: Log;
  readonly clock: Clock;
}

/** The regular work of the one process that looks after the store for this server. */
export interface Housekeeping {
  /** To be told at once when a worker has died: what it was signing is given up, so that its devices need not wait. */
  settleAfterDeath(): void;
  /** Whether this server does what one of all does. */
  role(): 'leads' | 'follows';
  /** How it stands with each target of publishing; nothing is known of them where another server publishes. */
  targets(): ReturnType<Publishing['state']>;
  /** How it stands with what is told to and asked of validation services; nothing is known of it in other servers. */
  correspondence(): ReturnType<Correspondence['state']> | undefined;
  stop(): Promise<void>;
}

/** What a server has and does while it has the lead. */
interface Leading {
  readonly lead: StoreLead;
  readonly publishing: Publishing;
  readonly correspondence: Correspondence;
  auditSignedAt: number;
}

/**
 * Begins: gives up what servers that died were signing, makes the CRLs that are due, begins to publish, has the audit log
 * signed, unless another server of the same store has the lead; and goes on so, taking the lead when it becomes free. One
 * look at a time: one that takes long is not followed by those that were due meanwhile.
 *
 * @throws PkiError what CA, store and publishing throw; then nothing goes on.
 */
export async function startHousekeeping(options: HousekeepingOptions): Promise<Housekeeping> {
  const { ca, ra, store, log, clock } = options;
  let leading: Leading | undefined;
  let running: Promise<void> | undefined;
  let stopped = false;
  /** The latest death of a worker whose intents are still open. */
  let diedAt: Date | undefined;
  /** By CRL: when it was last reported as overdue. */
  const reported = new Map<string, number>();

  const publishCrls = async () => {
    const crls: CrlState[] = [];
    for (const issuer of ca.issuers) crls.push(...(await ca.publishCrls(issuer.name)));
    return crls;
  };

  const takeLead = async (moment: LeadMoment) => {
    const lead = await store.takeLead();
    if (lead === undefined) return;
    try {
      // A shared database holds what other servers are signing.
      const abandoned = await ca.abandonDeadIntents(
        moment === 'at-start' && options.sharing === 'alone' ? 'at-start' : 'while-running',
      );
      if (abandoned > 0)
        log.warn({ abandoned }, 'certificates that a stopped server was signing are given up');
      await publishCrls();
      const publishing = await options.publish(moment);
      leading = {
        lead,
        publishing,
        correspondence: options.correspond(),
        auditSignedAt: Number.NEGATIVE_INFINITY,
      };
      if (moment === 'taken-over') log.warn('this server looks after the store now: the lead was free');
    } catch (cause) {
      await lead.release();
      throw cause;
    }
  };

  const endLead = async () => {
    const ended = leading;
    leading = undefined;
    await ended?.correspondence.close();
    await ended?.publishing.close();
    await ended?.lead.release();
  };

  const signAuditIfDue = async (of: Leading) => {
    if (clock.now().getTime() - of.auditSignedAt < AUDIT_SIGNATURE_MS) return;
    await options.signAudit();
    of.auditSignedAt = clock.now().getTime();
  };

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

  const work = async () => {
    if (leading !== undefined && !(await leading.lead.isHeld())) {
      log.error('this server has lost the lead: its connection to the database broke');
      await endLead();
    }
    if (leading === undefined) await takeLead('taken-over');
    const died = diedAt;
    // Whoever leads: the worker was this server's.
    if (died !== undefined) await ca.abandonDeadIntents({ diedAt: died });
    if (diedAt === died) diedAt = undefined;
    if (leading !== undefined) {
      await ca.abandonDeadIntents('while-running');
      await ra.revokeReplaced();
      leading.publishing.noteCrls(await publishCrls());
      await signAuditIfDue(leading);
    }
    await options.renewOwn();
  };

  const look = (): Promise<void> => {
    const once = async () => {
      if (stopped) return;
      try {
        await work();
      } catch (cause) {
        log.error({ err: cause }, 'housekeeping failed; it is tried again');
      }
      // A store that cannot be read has been reported already.
      await alarm().catch(() => {});
    };
    running ??= once().finally(() => {
      running = undefined;
    });
    return running;
  };

  try {
    await takeLead('at-start');
    if (leading === undefined) log.info('another server looks after the store');
    await options.renewOwn();
    if (leading !== undefined) await signAuditIfDue(leading);
  } catch (cause) {
    await endLead();
    throw cause;
  }
  const timer = setInterval(() => void look(), HOUSEKEEPING_MS);
  return {
    settleAfterDeath: () => {
      diedAt = clock.now();
      setTimeout(() => void Promise.resolve(running).then(look), SIGNING_MS_MAX).unref();
    },
    role: () => (leading === undefined ? 'follows' : 'leads'),
    targets: () => leading?.publishing.state() ?? [],
    correspondence: () => leading?.correspondence.state(),
    stop: async () => {
      stopped = true;
      clearInterval(timer);
      await running;
      await endLead();
    },
  };
}
