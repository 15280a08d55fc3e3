/** Every SCEP client through every operation, over the edge; and the table of what was seen. */
import { X509Certificate } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type Checks, demand } from './checks.ts';
import { leafgate, leafgateJson } from './command.ts';
import { enrolWithLeafgate } from './our-client.ts';
import { type Recorder, type SeenMessage, startRecorder } from './recorder.ts';
import type { Tenant } from './tenant.ts';
import {
  clients,
  type Enrolled,
  type EnrolmentResult,
  type EnrolmentTask,
  type KeyAlgorithm,
  type ScepClient,
  type ThirdParty,
} from './third-party/index.ts';

/** Where the clients are tried. */
export interface MatrixGround {
  readonly tenant: Tenant;
  /** A folder of this run alone. */
  readonly folder: string;
  readonly thirdParty: ThirdParty;
  readonly caCertificatesPem: readonly string[];
}

/** A certificate that a client has, for others to look at. */
export interface MadeCertificate {
  readonly name: string;
  readonly file: string;
}

/** Endpoints that the matrix needs besides the lab's own; each also for clients with single DES (`-legacy`). */
export const matrixEndpoints = [
  { name: 'one-time', validators: [{ oneTime: {} }] },
  { name: 'static' },
  { name: 'approval', validators: [{ oneTime: {} }, { manualApproval: {} }] },
  {
    name: 'renewal',
    validators: [{ oneTime: {} }],
    // As long as a certificate of the template lives: what has just been made can be renewed.
    renewal: { window: '365d', challenge: 'notNeeded' },
  },
] as const;

type EndpointName = (typeof matrixEndpoints)[number]['name'];

/** What became of a visit, and what the client sent. */
interface Visit {
  readonly result: EnrolmentResult;
  readonly operations: ReadonlySet<string>;
  readonly messages: readonly SeenMessage[];
}

/** One row of the table. */
interface Row {
  readonly client: string;
  readonly key: string;
  readonly message: string;
  caCertificates: string;
  enrol: string;
  poll: string;
  renew: string;
  refuse: string;
}

interface AuditRow {
  readonly code: string;
}

interface HeldRow {
  readonly id: number;
  readonly subject: string;
}

const keyNames: Readonly<Record<KeyAlgorithm, string>> = {
  'rsa-2048': 'RSA-2048',
  'rsa-3072': 'RSA-3072',
  'rsa-4096': 'RSA-4096',
  'p-256': 'P-256',
  'p-384': 'P-384',
};

/** Manners that our own client is tried with, besides the best that the server offers. */
const manners = [
  { digest: 'sha512', cipher: 'aes-256-cbc', keyTransport: 'oaep-sha256' },
  { digest: 'sha256', cipher: 'aes-192-cbc', keyTransport: 'pkcs1v15' },
  { digest: 'sha1', cipher: 'des-ede3-cbc', keyTransport: 'pkcs1v15' },
] as const;

const HELD_WAIT_MS = 40_000;
const HELD_LOOK_MS = 500;

/** Runs the clients; every check that fails is a failure of the run. */
export class Matrix {
  readonly #checks: Checks;
  readonly #ground: MatrixGround;
  readonly #rows: Row[] = [];
  readonly #made: MadeCertificate[] = [];
  readonly #recorders = new Map<string, Promise<Recorder>>();
  #count = 0;

  constructor(checks: Checks, ground: MatrixGround) {
    this.#checks = checks;
    this.#ground = ground;
  }

  /** The certificates that the clients have got. */
  get made(): readonly MadeCertificate[] {
    return this.#made;
  }

  /** Takes every client through every operation. */
  async run(): Promise<void> {
    // The slowest operation, which is mostly waiting, begins first and is looked at last.
    const polls = Object.entries(clients).map(([name, client]) => ({ name, polled: this.#poll(client) }));
    for (const [name, client] of Object.entries(clients)) {
      this.#checks.section(name);
      await this.#runClient(name, client, 'rsa-2048');
      for (const key of client.keys) await this.#runClient(name, client, key);
    }
    this.#checks.section('leafgate scep, other algorithms');
    for (const manner of manners) {
      await this.#checks.check(`enrols with ${Object.values(manner).join(', ')}`, async () => {
        const { row } = await this.#enrolAt('one-time', 'leafgate scep', 'rsa-2048', (task) =>
          enrolWithLeafgate(task, manner),
        );
        return row.message;
      });
    }
    this.#checks.section('polling to approval');
    for (const { name, polled } of polls) {
      await this.#checks.check(`${name} has its certificate after the approval`, async () => {
        const seen = await polled;
        const row = this.#rows.find(({ client, key }) => client === name && key === 'RSA-2048');
        if (row !== undefined) row.poll = seen;
        return seen;
      });
    }
  }

  async #runClient(name: string, client: ScepClient, key: KeyAlgorithm): Promise<void> {
    const { enrol } = client;
    const perform = (task: EnrolmentTask) => enrol(this.#ground.thirdParty, { ...task, key });
    let enrolled: Enrolled | undefined;
    let row: Row | undefined;
    await this.#checks.check(`enrols with a one-time challenge, ${keyNames[key]}`, async () => {
      const done = await this.#enrolAt('renewal', name, key, perform, client.singleDes);
      ({ enrolled, row } = done);
      this.#rows.push(row);
      return row.message;
    });
    if (enrolled === undefined || row === undefined) return;
    const first: Enrolled = enrolled;
    const told: Row = row;
    await this.#checks.check(`renews, ${keyNames[key]}`, async () => {
      const renewed = await this.#at('renewal', client.singleDes, '', (task) =>
        perform({ ...task, ...namesIn(first.certificatePem), renewalOf: first }),
      );
      const certificate = demandEnrolled(renewed.result);
      demand(certificate.certificatePem !== first.certificatePem, 'it is the old certificate');
      const dialect = renewed.messages.at(-1)?.messageType ?? 'nothing';
      const sameKey = publicKeyIn(certificate.certificatePem) === publicKeyIn(first.certificatePem);
      told.renew = `${dialect}, ${sameKey ? 'same' : 'new'} key`;
      await this.#keep(`${name}, ${keyNames[key]}, renewed`, certificate);
      return told.renew;
    });
    await this.#checks.check(`is refused with a wrong challenge, ${keyNames[key]}`, async () => {
      const refused = await this.#at('one-time', client.singleDes, 'not-the-challenge', perform);
      told.refuse = await this.#demandRefused(refused.result, 'challenge_unknown');
      return told.refuse;
    });
    if (key !== 'rsa-2048') return;
    await this.#checks.check('enrols with the static secret', async () => {
      const { staticSecret } = this.#ground.tenant;
      const done = await this.#at('static', client.singleDes, staticSecret, perform);
      const certificate = demandEnrolled(done.result);
      await this.#keep(`${name}, static secret`, certificate);
      return new X509Certificate(certificate.certificatePem).serialNumber;
    });
    await this.#checks.check('is refused with a wrong static secret', async () => {
      const refused = await this.#at('static', client.singleDes, 'not-the-secret', perform);
      return await this.#demandRefused(refused.result, 'challenge_unknown');
    });
    if (client.singleDes) {
      await this.#checks.check('is refused where single DES is not allowed', async () => {
        const refused = await this.#at('static', undefined, this.#ground.tenant.staticSecret, perform);
        return await this.#demandRefused(refused.result, 'algorithm_refused');
      });
    }
  }

  async #enrolAt(
    endpoint: EndpointName,
    client: string,
    key: KeyAlgorithm,
    perform: (task: EnrolmentTask) => Promise<EnrolmentResult>,
    singleDes?: true,
  ): Promise<{ readonly enrolled: Enrolled; readonly row: Row }> {
    const { result, operations, messages } = await this.#at(endpoint, singleDes, 'fresh', perform);
    const enrolled = demandEnrolled(result);
    const seen = messages.at(-1);
    if (seen === undefined) throw new Error('the client has sent nothing');
    demand(operations.has('GetCACert'), 'the client has not asked for the CA certificates');
    const row: Row = {
      client,
      key: keyNames[key],
      message: mannerOf(seen),
      caCertificates: 'GetCACert',
      enrol: seen.messageType ?? '',
      poll: '',
      renew: '',
      refuse: '',
    };
    await this.#keep(`${client}, ${keyNames[key]}, ${row.message}`, enrolled);
    return { enrolled, row };
  }

  /** Enrols where a person has to approve, approves, and answers how the client came to its certificate. */
  async #poll(client: ScepClient): Promise<string> {
    this.#count += 1;
    const common = `waits-${this.#count}`;
    let isOver = false;
    const going = this.#at('approval', client.singleDes, 'fresh', (task) =>
      client.enrol(this.#ground.thirdParty, { ...task, commonName: common }),
    ).finally(() => {
      isOver = true;
    });
    // Heard of below; until then it must not count as forgotten.
    going.catch(() => {});
    const config = ['--config', this.#ground.tenant.configs.server];
    const deadline = performance.now() + HELD_WAIT_MS;
    for (;;) {
      const held = await leafgateJson<HeldRow[]>('ca', 'pending', ...config, '--limit', '50');
      const own = held.find(({ subject }) => subject.includes(common));
      if (own !== undefined) {
        await leafgate('ca', 'approve', String(own.id), ...config, '--comment', 'interop');
        break;
      }
      if (isOver || performance.now() > deadline) break;
      await new Promise((resolve) => setTimeout(resolve, HELD_LOOK_MS));
    }
    const { result, messages } = await going;
    const certificate = demandEnrolled(result);
    await this.#keep(`approved ${common}`, certificate);
    const last = messages.at(-1)?.messageType;
    demand(messages.length > 1, 'it had its certificate at once');
    return last === 'CertPoll' ? 'CertPoll' : `${last} again`;
  }

  /** One visit to an endpoint. `fresh`: with a new one-time challenge. */
  async #at(
    endpoint: EndpointName,
    singleDes: true | undefined,
    challenge: string,
    perform: (task: EnrolmentTask) => Promise<EnrolmentResult>,
  ): Promise<Visit> {
    this.#count += 1;
    const number = this.#count;
    const name = singleDes === undefined ? endpoint : `${endpoint}-legacy`;
    const recorder = await this.#recorderFor(name, endpoint === 'approval' ? number : 0);
    const before = recorder.messages.length;
    const result = await perform({
      url: recorder.url,
      workFolder: join(this.#ground.folder, 'clients', String(number)),
      challenge: challenge === 'fresh' ? await this.#oneTime(name, number) : challenge,
      commonName: `interop-${number}`,
      // QUIRK micromdm scepclient: has no subjectAltName in a renewal.
      ...(singleDes === undefined ? { dnsName: `interop-${number}.lab.test` } : {}),
      caCertificatesPem: this.#ground.caCertificatesPem,
    });
    return { result, operations: recorder.operations, messages: recorder.messages.slice(before) };
  }

  /** A client may come back to its URL; those that are there at the same time have one each. */
  #recorderFor(endpoint: string, visitor: number): Promise<Recorder> {
    const key = `${endpoint} ${visitor}`;
    let recorder = this.#recorders.get(key);
    if (recorder === undefined) {
      const { edgeHttp } = this.#ground.tenant.ports;
      recorder = startRecorder(`http://127.0.0.1:${edgeHttp}/scep/${endpoint}`);
      this.#recorders.set(key, recorder);
    }
    return recorder;
  }

  /** Lets the recorders go. */
  async close(): Promise<void> {
    for (const recorder of this.#recorders.values()) await (await recorder).close();
  }

  async #oneTime(endpoint: string, number: number): Promise<string> {
    const config = ['--config', this.#ground.tenant.configs.server];
    const device = ['--device', `interop-${number}`];
    const made = await leafgateJson<{ challenge: string }>(
      'challenge',
      'create',
      endpoint,
      ...config,
      ...device,
    );
    return made.challenge;
  }

  /** A refusal proves something only if the server refused, and for the expected reason. */
  async #demandRefused(result: EnrolmentResult, code: string): Promise<string> {
    demand(!result.ok, 'a certificate was issued');
    const [newest] = await leafgateJson<AuditRow[]>(
      ...['audit', 'list', '--config', this.#ground.tenant.configs.server],
      ...['--event', 'enrolment.refused', '--limit', '1'],
    );
    demand(
      newest?.code === code,
      `the audit list says ${newest?.code}; the client: ${result.log.slice(-600)}`,
    );
    return code;
  }

  async #keep(name: string, { certificatePem }: Enrolled): Promise<void> {
    const file = join(this.#ground.folder, `made-${this.#made.length}.pem`);
    await writeFile(file, certificatePem);
    this.#made.push({ name, file });
  }

  /** The table for docs/interop.md. */
  table(versions: Readonly<Record<string, string>>): string {
    const rows = this.#rows.map((row) => {
      const { version } = clients[row.client] ?? {};
      const shown = version === undefined ? '' : ` ${upstream(versions[version])}`;
      const client = `${row.client.replace(/ \d+(\.\d+)*$/, '')}${shown}`;
      return [client, row.key, row.message, row.caCertificates, row.enrol, row.poll, row.renew, row.refuse];
    });
    const head = [
      ...[
        'client',
        'key',
        'message',
        'CA certificates',
        'enrol',
        'poll to approval',
        'renew',
        'wrong challenge',
      ],
    ];
    const line = (cells: readonly string[]) => `| ${cells.map((cell) => cell || '–').join(' | ')} |`;
    return [line(head), `|${'---|'.repeat(head.length)}`, ...rows.map(line)].join('\n');
  }
}

/** Without Debian's own revision, which changes with every security update. */
function upstream(version = 'unknown'): string {
  return version.replace(/^\d+:/, '').replace(/[-+].*$/, '');
}

function mannerOf({ digest, cipher, keyTransport }: SeenMessage): string {
  const transport = keyTransport === 'rsaes-pkcs1-v1_5' ? 'PKCS #1 v1.5' : 'OAEP';
  return [
    digest.toUpperCase().replace('SHA', 'SHA-'),
    cipher.replace('-cbc', '').toUpperCase(),
    transport,
  ].join(', ');
}

function demandEnrolled(result: EnrolmentResult): Enrolled {
  if (!result.ok) throw new Error(result.log.slice(-2000));
  return result;
}

function namesIn(certificatePem: string): Pick<EnrolmentTask, 'commonName' | 'dnsName'> {
  const { subject, subjectAltName } = new X509Certificate(certificatePem);
  const commonName = /CN=([^\n]+)/.exec(subject)?.[1] ?? '';
  const dnsName = /DNS:([^,]+)/.exec(subjectAltName ?? '')?.[1];
  return { commonName, ...(dnsName === undefined ? {} : { dnsName }) };
}

function publicKeyIn(certificatePem: string): string {
  return new X509Certificate(certificatePem).publicKey.export({ format: 'jwk' }).n ?? certificatePem;
}
