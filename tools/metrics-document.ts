/** `docs/metrics.md`: its tables are made from the metrics themselves. */
import type { MetricRow } from '../src/metrics.ts';
import { table } from './markdown.ts';

/** What the metrics are about, and the names of each group: a metric belongs where its name first fits. */
const groups: readonly (readonly [title: string, names: RegExp])[] = [
  ['The server', /^leafgate_(build_info|problems|leads|database_available)$/],
  ['SCEP', /^leafgate_(pki_operation|weak_algorithm)/],
  ['Validators and Intune', /^leafgate_(validator|intune|notifications|certificates_withheld)/],
  ['Intune’s revocation requests', /^leafgate_revocation_requests/],
  ['Self-tests', /^leafgate_self_test/],
  ['What ends', /^leafgate_(\w+_not_after|crl)_/],
  ['Publishing', /^leafgate_publish/],
  ['PKCS connector', /^leafgate_pkcs/],
];

/** The whole document. */
export function metricsDocument(rows: Readonly<Record<string, MetricRow>>): string {
  const left = new Map(Object.entries(rows));
  const sections = groups.map(([title, names]) => {
    const found = [...left].filter(([name]) => names.test(name));
    for (const [name] of found) left.delete(name);
    const cells = found.map(([name, { kind, labels, help }]) => [
      `\`${name}\``,
      kind,
      labels.map((label) => `\`${label}\``).join(', '),
      help,
    ]);
    return `### ${title}\n\n${table(['Metric', 'Kind', 'Labels', 'Meaning'], cells)}\n`;
  });
  if (left.size > 0) throw new Error(`metrics of no group: ${[...left.keys()].join(', ')}`);
  return `<!-- Made from \`src/metrics.ts\` and \`tools/metrics-document.ts\` by \`npm run docs\`. Do not edit. -->

# Metrics

The server counts what it does and says how it is, in the text format of Prometheus, at \`GET /metrics\` on the listener of the
[admin API](admin-api.md). It is served there alone: never on \`server.listen\`, and never through the edge.

\`\`\`yaml
server:
  admin:
    listen: 10.0.0.5:8446
    https: { certificate: admin.pem, key: { file: admin.key.pem, passphrase: 'file:admin.passphrase' } }
    metrics: token      # or listener
\`\`\`

| \`metrics\` | who may read |
|---|---|
| \`token\` (the default) | who has a token. Give monitoring one with the role \`monitor\`: it opens metrics, health and the description, and nothing else. |
| \`listener\` | whoever reaches this listener. For a listener on loopback with a collector beside it. |

\`\`\`sh
leafgate admin token create prometheus --role monitor --days 365
curl --cacert ca.pem -H "Authorization: Bearer $TOKEN" https://10.0.0.5:8446/metrics
\`\`\`

In Prometheus' own configuration; the file holds the token alone:

\`\`\`yaml
scrape_configs:
  - job_name: leafgate
    scrape_interval: 30s
    scheme: https
    tls_config: { ca_file: leafgate-ca.pem }
    authorization: { credentials_file: leafgate.token }
    static_configs:
      - targets: ['10.0.0.5:8446']
\`\`\`

Tokens are looked up in the database. While it is away, a scrape with a token gets 503 and counts as \`up == 0\`; with
\`listener\` it is answered, and \`leafgate_database_available\` is 0.

## How it counts

- Counters and histograms are sums over all threads and worker processes of this server. They are gathered when they are asked
  for. What a worker counted between the last scrape and its death is lost; what was shown before is kept, so sums never shrink
  while the server runs.
- Gauges are the facts of the [health](operations.md#health), taken at each scrape: one source, two views.
- Several servers on one database are several targets. What the server that leads alone knows is absent elsewhere.
- Labels have few values: names of your configuration, words of Leafgate, codes of [errors.md](errors.md), Intune's result codes. No device, no
  subject, no transaction and no address is in a label.
- [Self-tests](self-test.md) go through the door as devices do, and are counted like them. At an Intune endpoint each brings one refusal.
- Moments are in seconds since 1970. A certificate that is not there at all ends at 0, so that a rule about its end fires.
- A histogram's buckets end at 5, 10, 25, 50, 100, 250 and 500 ms, and at 1, 2.5, 5, 10, 30 and 60 s.

## All metrics

${sections.join('\n')}
## Alerts

Rules for Prometheus. Take what fits, and change the numbers: they are for a server that tests itself every 15 minutes.

${'```'}yaml
${alertRules}${'```'}

\`leafgate health\` says in sentences what the numbers say here; what to do about a failing self-test is in
[self-test.md](self-test.md#where-it-is-seen), about codes in [errors.md](errors.md), about Intune in [intune.md](intune.md).
`;
}

const alertRules = `groups:
  - name: leafgate
    rules:
      - alert: LeafgateDown
        expr: up{job="leafgate"} == 0
        for: 5m
        labels: { severity: critical }
        annotations: { summary: 'No metrics from {{ $labels.instance }}: the server, its database or the token.' }
      - alert: LeafgateDatabaseAway
        expr: leafgate_database_available == 0
        for: 2m
        labels: { severity: critical }
        annotations: { summary: 'The database of {{ $labels.instance }} does not answer: every enrolment gets 503.' }
      - alert: LeafgateNobodyLeads
        expr: sum by (job) (leafgate_leads) < 1
        for: 5m
        labels: { severity: critical }
        annotations: { summary: 'No server makes CRLs, publishes and tells Intune.' }

      - alert: LeafgateSelfTestFails
        expr: leafgate_self_test_success == 0
        for: 1m
        labels: { severity: critical }
        annotations: { summary: 'The self-test of {{ $labels.endpoint }} fails: devices will, too.' }
      - alert: LeafgateSelfTestSilent
        expr: time() - leafgate_self_test_run_timestamp_seconds > 3600
        labels: { severity: warning }
        annotations: { summary: '{{ $labels.endpoint }} has not been tested for an hour.' }

      - alert: LeafgateRaCertificateEnds
        expr: leafgate_ra_not_after_timestamp_seconds - time() < 7 * 86400
        labels: { severity: critical }
        annotations: { summary: 'No device can enrol at {{ $labels.endpoint }} when its RA certificate has ended.' }
      - alert: LeafgateCaCertificateEnds
        expr: leafgate_ca_not_after_timestamp_seconds - time() < 90 * 86400
        labels: { severity: warning }
        annotations: { summary: 'The issuing CA {{ $labels.issuer }} ends in less than 90 days.' }
      - alert: LeafgateOcspSignerEnds
        expr: leafgate_ocsp_signer_not_after_timestamp_seconds - time() < 2 * 86400
        labels: { severity: critical }
        annotations: { summary: 'Soon nobody can sign OCSP answers for {{ $labels.issuer }}.' }
      - alert: LeafgateCrlOverdue
        expr: leafgate_crl_overdue == 1
        for: 10m
        labels: { severity: critical }
        annotations: { summary: 'The {{ $labels.kind }} CRL of {{ $labels.issuer }} has no successor.' }
      - alert: LeafgateCrlEnds
        expr: leafgate_crl_next_update_timestamp_seconds - time() < 3600
        labels: { severity: critical }
        annotations: { summary: 'Within the hour relying parties refuse every certificate of {{ $labels.issuer }}.' }
      - alert: LeafgatePublishingBehind
        expr: leafgate_publish_target_alarm == 1
        labels: { severity: warning }
        annotations: { summary: 'The target {{ $labels.target }} does not get CRLs.' }

      - alert: LeafgateIntuneRefusesAll
        expr: |
          sum by (tenant, endpoint) (increase(leafgate_intune_results_total{action="validateRequest",verdict="refuse"}[1h])) > 10
          unless
          sum by (tenant, endpoint) (increase(leafgate_intune_results_total{action="validateRequest",verdict="accept"}[1h])) > 0
        labels: { severity: critical }
        annotations: { summary: 'Intune refuses every device at {{ $labels.endpoint }}: look at the codes.' }
      - alert: LeafgateIntuneUnreachable
        expr: sum by (tenant, endpoint) (increase(leafgate_intune_results_total{verdict="unreachable"}[15m])) > 3
        for: 5m
        labels: { severity: critical }
        annotations: { summary: 'Intune gives no answer for {{ $labels.endpoint }}: leafgate intune check.' }
      - alert: LeafgateNotificationsWait
        expr: leafgate_notifications_waiting > 0
        for: 15m
        labels: { severity: warning }
        annotations: { summary: 'Certificates are kept back; after an hour they are revoked.' }
      - alert: LeafgateCertificatesWithheld
        expr: increase(leafgate_certificates_withheld_total[1h]) > 0
        labels: { severity: warning }
        annotations: { summary: 'Certificates of {{ $labels.issuer }} were revoked before their devices had them.' }
      - alert: LeafgateRevocationBacklog
        expr: time() - leafgate_revocation_requests_oldest_timestamp_seconds > 3600
        labels: { severity: critical }
        annotations: { summary: 'A wish of Intune to revoke is an hour old ({{ $labels.source }}).' }
      - alert: LeafgateRevocationFails
        expr: leafgate_revocation_requests_failing == 1
        for: 30m
        labels: { severity: warning }
        annotations: { summary: 'Revocation requests of {{ $labels.source }} cannot be fetched or answered.' }

      - alert: LeafgateUnavailable
        expr: |
          sum by (endpoint) (rate(leafgate_pki_operations_total{outcome="unavailable"}[10m]))
          > 0.1 * sum by (endpoint) (rate(leafgate_pki_operations_total[10m]))
        for: 10m
        labels: { severity: warning }
        annotations: { summary: 'One in ten requests at {{ $labels.endpoint }} is told to come again.' }
      - alert: LeafgateOverloaded
        expr: sum by (endpoint) (rate(leafgate_pki_operations_total{outcome="turned_away",code="overloaded"}[5m])) > 0.1
        for: 10m
        labels: { severity: warning }
        annotations: { summary: 'More comes to {{ $labels.endpoint }} than the server can do.' }
      - alert: LeafgateSlow
        expr: histogram_quantile(0.99, sum by (endpoint, le) (rate(leafgate_pki_operation_duration_seconds_bucket[10m]))) > 30
        for: 10m
        labels: { severity: warning }
        annotations: { summary: 'One in a hundred devices waits more than 30 s at {{ $labels.endpoint }}.' }
      - alert: LeafgatePkcsConnector
        expr: increase(leafgate_pkcs_rounds_total{outcome="failed"}[15m]) > 5
        labels: { severity: warning }
        annotations: { summary: 'The PKCS connector cannot reach its MDM.' }
      - alert: LeafgateProblems
        expr: leafgate_problems > 0
        for: 30m
        labels: { severity: info }
        annotations: { summary: 'leafgate health on {{ $labels.instance }} has something to say.' }
`;
