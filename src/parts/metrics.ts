/** What monitoring reads of a server: the counts of all its threads and processes, and its health as numbers. */
import { type Counts, type GaugeSample, type Metrics, metricsText, sumOf } from '../metrics.ts';
import type { ServerHealth } from './health.ts';
import { PROVIDER_NAME_AND_VERSION } from './validators.ts';

/** Whose counts and whose health are shown. */
export interface MetricsSources {
  /** Of this thread. */
  readonly metrics: Metrics;
  /** What other threads and processes of this server have counted. */
  readonly elsewhere: () => Promise<readonly Counts[]>;
  readonly health: () => Promise<ServerHealth>;
}

/** The metrics of a server as text, gathered when they are asked for; whoever asks meanwhile gets the same. */
export function metricsOf({ metrics, elsewhere, health }: MetricsSources): () => Promise<string> {
  let gathering: Promise<string> | undefined;
  const gather = async () => {
    const [others, facts] = await Promise.all([elsewhere(), health()]);
    return metricsText(sumOf(metrics.counts(), ...others), gaugesOf(facts));
  };
  return () => {
    gathering ??= gather().finally(() => {
      gathering = undefined;
    });
    return gathering;
  };
}

const [, version = ''] = PROVIDER_NAME_AND_VERSION.split('/');

/** Seconds since 1970; 0 for what there is not, so that it looks like what ended long ago. */
const seconds = (moment: Date | undefined) => (moment === undefined ? 0 : moment.getTime() / 1000);
const bit = (fact: boolean) => (fact ? 1 : 0);

/** The facts of the health, as numbers. */
function gaugesOf(health: ServerHealth): GaugeSample[] {
  const nothing = {};
  return [
    { name: 'leafgate_build_info', labels: { version, node: process.version }, value: 1 },
    { name: 'leafgate_problems', labels: nothing, value: health.problems.length },
    { name: 'leafgate_leads', labels: nothing, value: bit(health.role === 'leads') },
    { name: 'leafgate_database_available', labels: nothing, value: bit(health.store === 'available') },
    ...certificateGauges(health),
    ...health.crls.flatMap(({ issuer, partition, kind, thisUpdate, nextUpdate, overdue }): GaugeSample[] => {
      const labels = { issuer, partition: String(partition), kind };
      return [
        { name: 'leafgate_crl_this_update_timestamp_seconds', labels, value: seconds(thisUpdate) },
        { name: 'leafgate_crl_next_update_timestamp_seconds', labels, value: seconds(nextUpdate) },
        { name: 'leafgate_crl_overdue', labels, value: bit(overdue) },
      ];
    }),
    ...health.targets.flatMap(({ target, status, alarm, objects }): GaugeSample[] => [
      ...(['unknown', 'current', 'behind'] as const).map(
        (state): GaugeSample => ({
          name: 'leafgate_publish_target_state',
          labels: { target, state },
          value: bit(status === state),
        }),
      ),
      { name: 'leafgate_publish_target_alarm', labels: { target }, value: bit(alarm) },
      { name: 'leafgate_publish_target_objects', labels: { target }, value: objects },
    ]),
    ...(health.role === 'leads' ? leadersGauges(health) : []),
  ];
}

function certificateGauges({ issuers, raCertificates, ocspSigners }: ServerHealth): GaugeSample[] {
  return [
    ...issuers.map(
      ({ issuer, notAfter }): GaugeSample => ({
        name: 'leafgate_ca_not_after_timestamp_seconds',
        labels: { issuer },
        value: seconds(notAfter),
      }),
    ),
    ...raCertificates.map(
      ({ endpoint, notAfter }): GaugeSample => ({
        name: 'leafgate_ra_not_after_timestamp_seconds',
        labels: { endpoint },
        value: seconds(notAfter),
      }),
    ),
    ...ocspSigners.map(
      ({ issuer, notAfter }): GaugeSample => ({
        name: 'leafgate_ocsp_signer_not_after_timestamp_seconds',
        labels: { issuer },
        value: seconds(notAfter),
      }),
    ),
  ];
}

/** What the server that leads alone knows. */
function leadersGauges({ notificationsWaiting, revocationRequests, selfTests }: ServerHealth): GaugeSample[] {
  return [
    { name: 'leafgate_notifications_waiting', labels: {}, value: notificationsWaiting },
    ...revocationRequests.flatMap(({ source, backlog, oldest, succeededAt, lastError }): GaugeSample[] => {
      const labels = { source };
      return [
        { name: 'leafgate_revocation_requests_waiting', labels, value: backlog },
        { name: 'leafgate_revocation_requests_failing', labels, value: bit(lastError !== undefined) },
        ...ifKnown('leafgate_revocation_requests_oldest_timestamp_seconds', labels, oldest),
        ...ifKnown('leafgate_revocation_requests_success_timestamp_seconds', labels, succeededAt),
      ];
    }),
    ...selfTests.flatMap(({ endpoint, outcome, at, durationMs, succeededAt }): GaugeSample[] => {
      const labels = { endpoint };
      return [
        { name: 'leafgate_self_test_success', labels, value: bit(outcome === 'works') },
        { name: 'leafgate_self_test_run_timestamp_seconds', labels, value: seconds(at) },
        { name: 'leafgate_self_test_duration_seconds', labels, value: durationMs / 1000 },
        ...ifKnown('leafgate_self_test_success_timestamp_seconds', labels, succeededAt),
      ];
    }),
  ];
}

function ifKnown<Name extends GaugeSample['name']>(
  name: Name,
  labels: Extract<GaugeSample, { readonly name: Name }>['labels'],
  moment: Date | undefined,
): GaugeSample[] {
  return moment === undefined ? [] : [{ name, labels, value: seconds(moment) } as GaugeSample];
}
