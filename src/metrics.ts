/** What a server counts and measures while it runs: the table of all metrics, and instruments. A leaf that anyone may import. */

/** A metric, as monitoring knows it. Names and kinds are those of Prometheus. */
export interface MetricRow {
  readonly kind: 'counter' | 'histogram' | 'gauge';
  /** In the order in which they are written. Their values are few: names of the configuration, words of ours, codes. */
  readonly labels: readonly string[];
  /** One or two sentences; what `docs/metrics.md` says, too. */
  readonly help: string;
}

/** Every metric that there is. Times are in seconds, moments in seconds since 1970-01-01 UTC. */
export const metricTable = {
  leafgate_build_info: {
    kind: 'gauge',
    labels: ['version', 'node'],
    help: 'Always 1: the versions of Leafgate and of Node.js.',
  },
  leafgate_problems: {
    kind: 'gauge',
    labels: [],
    help: 'How many sentences stand in `problems` of the health: what a person should look at.',
  },
  leafgate_leads: {
    kind: 'gauge',
    labels: [],
    help: 'Whether this server does what one of all servers of its database does: 1 or 0.',
  },
  leafgate_database_available: {
    kind: 'gauge',
    labels: [],
    help: 'Whether the database answers: 1 or 0.',
  },

  leafgate_pki_operations_total: {
    kind: 'counter',
    labels: ['endpoint', 'message_type', 'outcome', 'code'],
    help: 'PKIOperations by what became of them. `outcome`: `issued`, `pending`, `crl`, `refused`, `unavailable`, `turned_away`; `code`: why, from errors.md. `message_type` is empty where it could not be read.',
  },
  leafgate_pki_operation_duration_seconds: {
    kind: 'histogram',
    labels: ['endpoint'],
    help: 'From the request to the answer of a PKIOperation that was not turned away; validators and the wait for its turn are part of it.',
  },
  leafgate_weak_algorithm_messages_total: {
    kind: 'counter',
    labels: ['endpoint', 'algorithm'],
    help: 'Messages that used an algorithm which the endpoint could refuse (`algorithms.refuse`).',
  },

  leafgate_validator_verdicts_total: {
    kind: 'counter',
    labels: ['endpoint', 'validator', 'call', 'verdict'],
    help: 'What validators said. `call`: `validate` or `successNotification`; `verdict`: `accept`, `refuse`, `unreachable`.',
  },
  leafgate_validator_duration_seconds: {
    kind: 'histogram',
    labels: ['endpoint', 'validator', 'call'],
    help: 'How long calls of validators took, with all retries. `call`: `validate`, `successNotification`, `failureNotification`.',
  },
  leafgate_intune_results_total: {
    kind: 'counter',
    labels: ['tenant', 'endpoint', 'action', 'verdict', 'code'],
    help: 'Intune’s result codes, verbatim; empty where Intune gave none (`unreachable`). Of codes that it does not document, those after the fiftieth are `other`. `action`: `validateRequest`, `successNotification`, `failureNotification`.',
  },
  leafgate_notifications_waiting: {
    kind: 'gauge',
    labels: [],
    help: 'Certificates that are kept back because their validators do not take successNotification now. Of the server that leads.',
  },
  leafgate_certificates_withheld_total: {
    kind: 'counter',
    labels: ['issuer'],
    help: 'Certificates that were issued, kept from their device and revoked: a validator refused successNotification, or took none in time.',
  },

  leafgate_revocation_requests_waiting: {
    kind: 'gauge',
    labels: ['source'],
    help: 'Revocation requests that Intune has handed over and has no answer of. `source`: tenant and application. Of the server that leads.',
  },
  leafgate_revocation_requests_oldest_timestamp_seconds: {
    kind: 'gauge',
    labels: ['source'],
    help: 'When the oldest of them came; absent if none waits.',
  },
  leafgate_revocation_requests_success_timestamp_seconds: {
    kind: 'gauge',
    labels: ['source'],
    help: 'When Intune last answered everything that it was asked about revocation; absent if never.',
  },
  leafgate_revocation_requests_failing: {
    kind: 'gauge',
    labels: ['source'],
    help: 'Whether the last round failed: 1 or 0.',
  },

  leafgate_self_test_success: {
    kind: 'gauge',
    labels: ['endpoint'],
    help: 'Whether the newest self-test of the endpoint worked: 1 or 0. Of the server that leads.',
  },
  leafgate_self_test_run_timestamp_seconds: {
    kind: 'gauge',
    labels: ['endpoint'],
    help: 'When the newest self-test began.',
  },
  leafgate_self_test_success_timestamp_seconds: {
    kind: 'gauge',
    labels: ['endpoint'],
    help: 'When the newest self-test that worked began; absent if none has since the server leads.',
  },
  leafgate_self_test_duration_seconds: {
    kind: 'gauge',
    labels: ['endpoint'],
    help: 'How long the newest self-test took.',
  },

  leafgate_ra_not_after_timestamp_seconds: {
    kind: 'gauge',
    labels: ['endpoint'],
    help: 'When the first of the endpoint’s RA certificates ends; 0 if it has none.',
  },
  leafgate_ca_not_after_timestamp_seconds: {
    kind: 'gauge',
    labels: ['issuer'],
    help: 'When the certificate of the issuing CA ends.',
  },
  leafgate_ocsp_signer_not_after_timestamp_seconds: {
    kind: 'gauge',
    labels: ['issuer'],
    help: 'When the certificate that signs OCSP answers for the CA ends; 0 if nobody can sign.',
  },
  leafgate_crl_this_update_timestamp_seconds: {
    kind: 'gauge',
    labels: ['issuer', 'partition', 'kind'],
    help: 'thisUpdate of the CRL that is served. `kind`: `full` or `delta`.',
  },
  leafgate_crl_next_update_timestamp_seconds: {
    kind: 'gauge',
    labels: ['issuer', 'partition', 'kind'],
    help: 'nextUpdate of the CRL that is served: then relying parties refuse every certificate.',
  },
  leafgate_crl_overdue: {
    kind: 'gauge',
    labels: ['issuer', 'partition', 'kind'],
    help: 'Whether the CRL should have had a successor some time ago: 1 or 0.',
  },
  leafgate_publish_target_state: {
    kind: 'gauge',
    labels: ['target', 'state'],
    help: '1 for the state that the target of publishing is in, 0 for the others: `unknown`, `current`, `behind`. Of the server that leads.',
  },
  leafgate_publish_target_alarm: {
    kind: 'gauge',
    labels: ['target'],
    help: 'Whether the target has been behind for longer than `alarmAfter`: 1 or 0.',
  },
  leafgate_publish_target_objects: {
    kind: 'gauge',
    labels: ['target'],
    help: 'How many CRLs and certificates the target is known to hold.',
  },

  leafgate_pkcs_rounds_total: {
    kind: 'counter',
    labels: ['outcome'],
    help: 'How often the PKCS connector looked for requests at its MDM. `outcome`: `worked`, or `failed` where none could be had.',
  },
  leafgate_pkcs_requests_total: {
    kind: 'counter',
    labels: ['outcome'],
    help: 'What became of requests that it took: `delivered`, `withdrawn`, `refused`; `postponed` ones are taken again.',
  },
} as const satisfies Readonly<Record<string, MetricRow>>;

/** Name of a metric. */
export type MetricName = keyof typeof metricTable;

type NameOf<Kind extends MetricRow['kind']> = {
  [Name in MetricName]: (typeof metricTable)[Name]['kind'] extends Kind ? Name : never;
}[MetricName];

/** Labels of a metric, with their values. */
export type LabelsOf<Name extends MetricName> = Readonly<
  Record<(typeof metricTable)[Name]['labels'][number], string>
>;

/** The value of a gauge now. */
export type GaugeSample = {
  [Name in NameOf<'gauge'>]: {
    readonly name: Name;
    readonly labels: LabelsOf<Name>;
    readonly value: number;
  };
}[NameOf<'gauge'>];

/** The values of a metric's labels in their order; then the count, or of a histogram each bucket's own, and the sum. */
type CountRow = readonly [values: readonly string[], numbers: readonly number[]];

/** All that was counted somewhere up to a moment: plain values, which travel between threads and processes as they are. */
export type Counts = Readonly<Partial<Record<MetricName, readonly CountRow[]>>>;

/** Upper bounds in seconds: from a request that asks nobody to one that waits for Intune's last retry. */
const BUCKETS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60] as const;
/** Buckets with the last one, which has no bound; then the sum. */
const HISTOGRAM_NUMBERS = BUCKETS.length + 2;
/** Whatever goes wrong with labels, memory and answers stay bounded. */
const SERIES_MAX = 2_000;
/** All label values of the series that counts what is beyond. */
const OTHER = 'other';

interface Series {
  readonly values: readonly string[];
  readonly numbers: number[];
}

/**
 * The instruments of one thread. Counting changes numbers in memory, waits for nothing and never throws. Each thread counts
 * for itself; `sumOf` joins what they counted.
 */
export class Metrics {
  readonly #series = new Map<MetricName, Map<string, Series>>();

  /** Counts an event; `by` 0 shows a series before its first event, so that the first one is seen as a change. */
  count<Name extends NameOf<'counter'>>(name: Name, labels: LabelsOf<Name>, by = 1): void {
    const { numbers } = this.#seriesOf(name, labels, 1);
    numbers[0] = (numbers[0] ?? 0) + by;
  }

  /** Notes how long something took. */
  observe<Name extends NameOf<'histogram'>>(name: Name, labels: LabelsOf<Name>, durationMs: number): void {
    const { numbers } = this.#seriesOf(name, labels, HISTOGRAM_NUMBERS);
    const seconds = durationMs / 1000;
    const found = BUCKETS.findIndex((bound) => seconds <= bound);
    const bucket = found < 0 ? BUCKETS.length : found;
    numbers[bucket] = (numbers[bucket] ?? 0) + 1;
    numbers[HISTOGRAM_NUMBERS - 1] = (numbers[HISTOGRAM_NUMBERS - 1] ?? 0) + seconds;
  }

  /** What was counted so far. */
  counts(): Counts {
    return Object.fromEntries(
      Array.from(this.#series, ([name, all]) => [
        name,
        Array.from(all.values(), ({ values, numbers }): CountRow => [values, [...numbers]]),
      ]),
    );
  }

  #seriesOf(name: MetricName, labels: Readonly<Record<string, string>>, size: number): Series {
    const row: MetricRow = metricTable[name];
    let all = this.#series.get(name);
    if (all === undefined) {
      all = new Map();
      this.#series.set(name, all);
    }
    let key = '';
    for (const label of row.labels) key += `${labels[label]}\0`;
    const known = all.get(key);
    if (known !== undefined) return known;
    const beyond = all.size >= SERIES_MAX;
    const values = row.labels.map((label) => (beyond ? OTHER : (labels[label] ?? '')));
    const series = (beyond ? all.get(keyOf(values)) : undefined) ?? {
      values,
      numbers: new Array<number>(size).fill(0),
    };
    all.set(keyOf(values), series);
    return series;
  }
}

function keyOf(values: readonly string[]): string {
  return values.map((value) => `${value}\0`).join('');
}

/** What was counted in several places, added up. */
export function sumOf(...places: readonly Counts[]): Counts {
  const sums = new Map<MetricName, Map<string, Series>>();
  for (const counts of places)
    for (const [name, rows] of Object.entries(counts) as [MetricName, readonly CountRow[]][]) {
      const all = sums.get(name) ?? new Map<string, Series>();
      sums.set(name, all);
      for (const [values, numbers] of rows) {
        const known = all.get(keyOf(values));
        if (known === undefined) all.set(keyOf(values), { values, numbers: [...numbers] });
        else
          for (const [index, number] of numbers.entries())
            known.numbers[index] = (known.numbers[index] ?? 0) + number;
      }
    }
  return Object.fromEntries(
    Array.from(sums, ([name, all]) => [
      name,
      Array.from(all.values(), ({ values, numbers }): CountRow => [values, numbers]),
    ]),
  );
}

// --- the text that monitoring reads -----------------------------------------------------------------------------------

/** Media type of `metricsText`. */
export const METRICS_MEDIA_TYPE = 'text/plain; version=0.0.4; charset=utf-8';

/** Prometheus' text format 0.0.4. Every metric of the table has its heading, also one that has no value yet. */
export function metricsText(counts: Counts, gauges: readonly GaugeSample[]): string {
  const lines: string[] = [];
  for (const [name, row] of Object.entries(metricTable) as [MetricName, MetricRow][]) {
    lines.push(`# HELP ${name} ${escaped(row.help)}`, `# TYPE ${name} ${row.kind}`);
    for (const gauge of gauges)
      if (gauge.name === name)
        lines.push(sampleLine(name, labelPairs(row.labels, gauge.labels), gauge.value));
    for (const [values, numbers] of counts[name] ?? []) {
      const pairs = row.labels.map((label, index): Pair => [label, values[index] ?? '']);
      if (row.kind === 'histogram') lines.push(...histogramLines(name, pairs, numbers));
      else lines.push(sampleLine(name, pairs, numbers[0] ?? 0));
    }
  }
  return `${lines.join('\n')}\n`;
}

type Pair = readonly [label: string, value: string];

function labelPairs(names: readonly string[], labels: Readonly<Record<string, string>>): Pair[] {
  return names.map((name) => [name, labels[name] ?? '']);
}

/** Each bucket counts what is in those below, too. */
function histogramLines(name: string, pairs: readonly Pair[], numbers: readonly number[]): string[] {
  let count = 0;
  const buckets = [...BUCKETS.map(String), '+Inf'].map((bound, index) => {
    count += numbers[index] ?? 0;
    return sampleLine(`${name}_bucket`, [...pairs, ['le', bound]], count);
  });
  return [
    ...buckets,
    sampleLine(`${name}_sum`, pairs, numbers[HISTOGRAM_NUMBERS - 1] ?? 0),
    sampleLine(`${name}_count`, pairs, count),
  ];
}

function sampleLine(name: string, pairs: readonly Pair[], value: number): string {
  const labels = pairs.map(([label, text]) => `${label}="${escaped(text).replaceAll('"', '\\"')}"`);
  return `${name}${labels.length === 0 ? '' : `{${labels.join(',')}}`} ${value}`;
}

function escaped(text: string): string {
  return text.replaceAll('\\', '\\\\').replaceAll('\n', '\\n');
}
