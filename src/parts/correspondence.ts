/** What the server that leads tells validation services and asks of them by itself, beside any device's request. */
import type { RegistrationAuthority } from '../ra/index.ts';
import type { IntuneRevocation, RevocationState } from '../ra/validators/intune-revocation.ts';
import type { Clock, Log } from '../telemetry.ts';
import type { Authorities, ServerConfig } from './authorities.ts';
import { type IntuneChoice, intuneConnectionOf } from './validators.ts';

/** Notifications that wait, and revocation connectors, at work. */
export interface Correspondence {
  state(): CorrespondenceState;
  /** Ends connections; a round that is under way ends first. */
  close(): Promise<void>;
}

/** How it stands. */
export interface CorrespondenceState {
  /** Certificates that a validator was told of in vain in the last round. */
  readonly notificationsWaiting: number;
  readonly revocationRequests: readonly RevocationState[];
}

/** How often it is looked whether a notification is due. */
const NOTIFICATIONS_MS = 10_000;

/** One connection to Intune whose requests are fetched, for all endpoints that have it. */
interface Source {
  readonly choice: IntuneChoice;
  readonly issuers: Set<string>;
  readonly everyMs: number;
}

/**
 * Prepares it; what comes back begins it, and can be called again after `close`.
 *
 * @throws PkiError `config_invalid` if a secret or a file cannot be read.
 */
export async function openCorrespondence(
  config: ServerConfig,
  { ca, ra, store }: Pick<Authorities, 'ca' | 'ra' | 'store'>,
  log: Log,
  clock: Clock,
): Promise<() => Correspondence> {
  const sources = sourcesIn(config);
  // Loaded where it is wanted: few servers have Intune.
  const revocation = sources.length === 0 ? undefined : await import('../ra/validators/intune-revocation.ts');
  const opened = sources.map(({ choice, issuers, everyMs }) => ({
    everyMs,
    options: {
      ...intuneConnectionOf(choice),
      ca,
      store,
      issuers: [...issuers],
      actor: config.serviceIdentity,
      log,
      clock,
    },
  }));
  return () =>
    startCorrespondence({
      ra,
      connectors: opened.flatMap(({ everyMs, options }) =>
        revocation === undefined ? [] : [{ connector: revocation.intuneRevocation(options), everyMs }],
      ),
      log,
    });
}

/** Endpoints that ask as the same application of the same tenant share one connector, which asks as often as the most eager. */
function sourcesIn(config: Pick<ServerConfig, 'endpoints'>): Source[] {
  const sources = new Map<string, Source>();
  for (const { issuer, validators } of config.endpoints)
    for (const { intune } of validators) {
      if (intune?.revocation === undefined) continue;
      const key = sourceOf(intune);
      const known = sources.get(key);
      const everyMs = Math.min(intune.revocation.every, known?.everyMs ?? Number.POSITIVE_INFINITY);
      sources.set(key, { choice: intune, issuers: new Set([...(known?.issuers ?? []), issuer]), everyMs });
    }
  return [...sources.values()];
}

/** Of notifications, for a look at what waits. */
const WAITING_MAX = 500;
/** Whoever enrols tells the validators at once: what has been signed so long and not been told of waits. */
const WAITS_AFTER_MS = 60_000;

/**
 * How it stands, as the database has it for whoever is not the server that leads. What Intune last said is not there.
 *
 * @throws PkiError `store_unavailable`.
 */
export async function correspondenceOnRecord(
  config: Pick<ServerConfig, 'endpoints'>,
  { ca, store }: Pick<Authorities, 'ca' | 'store'>,
  clock: Clock,
): Promise<CorrespondenceState> {
  const nowMs = clock.now().getTime();
  // Each is looked at again within a minute.
  const due = await store.notificationsDue({
    at: new Date(nowMs + WAITS_AFTER_MS),
    limit: WAITING_MAX,
  });
  const records = await Promise.all(due.map(({ requestID }) => ca.certificateOf(requestID)));
  const waiting = records.filter(
    (record) => record?.status === 'issued' && nowMs - record.reservedAt.getTime() > WAITS_AFTER_MS,
  );
  const revocationRequests = await Promise.all(
    sourcesIn(config).map(async ({ choice }): Promise<RevocationState> => {
      const source = sourceOf(choice);
      const { count, oldest } = await store.revocationBacklog(source);
      return { source, backlog: count, ...(oldest === undefined ? {} : { oldest }) };
    }),
  );
  return { notificationsWaiting: waiting.length, revocationRequests };
}

/** The name of a connection, under which the connector keeps what it was asked. */
const sourceOf = ({ tenant, appId }: IntuneChoice): string => `${tenant}/${appId}`.toLowerCase();

/** Begins at once, and goes on. */
function startCorrespondence({
  ra,
  connectors,
  log,
}: {
  readonly ra: Pick<RegistrationAuthority, 'notifications'>;
  readonly connectors: readonly { readonly connector: IntuneRevocation; readonly everyMs: number }[];
  readonly log: Log;
}): Correspondence {
  let notificationsWaiting = 0;
  const states = new Map<IntuneRevocation, RevocationState>();
  const rounds = [
    repeat(NOTIFICATIONS_MS, async () => {
      notificationsWaiting = await ra.notifications.tellPending();
      if (notificationsWaiting > 0)
        log.warn({ notificationsWaiting }, 'certificates wait for their validators to answer');
    }),
    ...connectors.map(({ connector, everyMs }) =>
      repeat(everyMs, async () => {
        states.set(connector, await connector.work());
      }),
    ),
  ];
  return {
    state: () => ({ notificationsWaiting, revocationRequests: [...states.values()] }),
    close: async () => {
      for (const { connector } of connectors) connector.close();
      await Promise.all(rounds.map((stop) => stop()));
    },
  };

  /** Does the work now, and so long after each time that it has ended; what comes back ends it. */
  function repeat(pauseMs: number, work: () => Promise<void>): () => Promise<void> {
    let stopped = false;
    let timer: NodeJS.Timeout | undefined;
    let running = Promise.resolve();
    const round = () => {
      running = work()
        .catch((cause: unknown) => log.error({ err: cause }, 'a round failed; it is tried again'))
        .finally(() => {
          if (!stopped) timer = setTimeout(round, pauseMs);
        });
    };
    round();
    return async () => {
      stopped = true;
      clearTimeout(timer);
      await running;
    };
  }
}
