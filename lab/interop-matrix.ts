/** Every SCEP client through every operation, over the edge; and the table of what was seen. */
import { X509Certificate } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { parsePem, parsePublicKeyInfo, sameOctets } from '../src/codec/index.ts';
import { type Checks, demand } from './checks.ts';
import { leafgate, leafgateJson } from './command.ts';
import { enrolWithLeafgate } from './our-client.ts';
import { type Recorder, type SeenManner, type SeenMessage, startRecorder } from './recorder.ts';
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

/** What became of a visit, what the client was to ask for, and what it sent. */
interface Visit {
  readonly task: EnrolmentTask;
  readonly endpoint: string;
  readonly result: EnrolmentResult;
  readonly operations: readonly string[];
  readonly messages: readonly SeenMessage[];
}

/** A client at work: enrols or renews, as the task says. */
type Perform = (task: EnrolmentTask) => Promise<EnrolmentResult>;

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
  readonly detail: { readonly endpoint?: string; readonly transactionID?: string };
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

/** As the codec calls it. */
const PKCS1 = 'rsaes-pkcs1-v1_5';
const HELD_WAIT_MS = 100_000;
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
    // Until then a failure must not end the run.
    for (const { polled } of polls) polled.catch(() => {});
    for (const [name, client] of Object.entries(clients)) {
      this.#checks.section(name);
      await this.#runClient(name, client, 'rsa-2048');
      for (const key of client.keys) await this.#runClient(name, client, key);
    }
    this.#checks.section('leafgate scep, other algorithms');
    for (const manner of manners) {
      await this.#checks.check(`enrols with ${Object.values(manner).join(', ')}`, async () => {
        const { row, seen } = await this.#enrolAt('one-time', 'leafgate scep', 'rsa-2048', (task) =>
          enrolWithLeafgate(task, manner),
        );
        const { digest, cipher, keyTransport } = seen;
        const want = { ...manner, keyTransport: manner.keyTransport.replace(/^pkcs1v15$/, PKCS1) };
        demandSame({ digest, cipher, keyTransport }, want, 'the message is not made as it was asked for');
        return row.message;
      });
    }
    await this.#runOtherOperations();
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
    const perform: Perform = (task) => enrol(this.#ground.thirdParty, task);
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
      const asked = { key, ...namesIn(first.certificatePem), renewalOf: first };
      const renewed = await this.#at('renewal', client.singleDes, '', perform, asked);
      const certificate = demandAsAsked(renewed);
      const [before, after] = [first, certificate].map((each) => new X509Certificate(each.certificatePem));
      demand(before?.serialNumber !== after?.serialNumber, 'it is the old certificate');
      demandSame(after?.subject, before?.subject, 'the subject is not the old one');
      demandSame(after?.subjectAltName, before?.subjectAltName, 'the subjectAltName is not the old one');
      const sent = demandMirrored(renewed);
      // Nothing else vouches for it: there was no challenge.
      demand(
        sameOctets(sent.signerSpki, spkiIn(first.certificatePem)),
        'another key than the old one signed',
      );
      const isSame = sameOctets(spkiIn(certificate.certificatePem), spkiIn(first.certificatePem));
      told.renew = `${sent.messageType}, ${isSame ? 'same' : 'new'} key`;
      await this.#keep(`${name}, ${keyNames[key]}, renewed`, certificate);
      return told.renew;
    });
    await this.#checks.check(`is refused with a wrong challenge, ${keyNames[key]}`, async () => {
      const refused = await this.#at('one-time', client.singleDes, 'not-the-challenge', perform, { key });
      told.refuse = await this.#demandRefused(refused, 'challenge_unknown');
      return told.refuse;
    });
    if (key !== 'rsa-2048') return;
    await this.#checks.check('enrols with the static secret', async () => {
      const { staticSecret } = this.#ground.tenant;
      const done = await this.#at('static', client.singleDes, staticSecret, perform);
      const certificate = demandAsAsked(done);
      await this.#keep(`${name}, static secret`, certificate);
      return new X509Certificate(certificate.certificatePem).serialNumber;
    });
    await this.#checks.check('is refused with a wrong static secret', async () => {
      const refused = await this.#at('static', client.singleDes, 'not-the-secret', perform);
      return await this.#demandRefused(refused, 'challenge_unknown');
    });
    if (client.singleDes) {
      await this.#checks.check('is refused where single DES is not allowed', async () => {
        const refused = await this.#at('static', undefined, this.#ground.tenant.staticSecret, perform);
        return await this.#demandRefused(refused, 'algorithm_refused');
      });
    }
  }

  async #enrolAt(
    endpoint: EndpointName,
    client: string,
    key: KeyAlgorithm,
    perform: Perform,
    singleDes?: true,
  ): Promise<{ readonly enrolled: Enrolled; readonly row: Row; readonly seen: SeenMessage }> {
    const visit = await this.#at(endpoint, singleDes, 'fresh', perform, { key });
    const enrolled = demandAsAsked(visit);
    const seen = demandMirrored(visit);
    demand(visit.operations.includes('GetCACert'), 'the client has not asked for the CA certificates');
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
    return { enrolled, row, seen };
  }

  /** Enrols where a person has to approve, approves, and answers how the client came to its certificate. */
  async #poll(client: ScepClient): Promise<string> {
    this.#count += 1;
    const common = `waits-${this.#count}`;
    let isOver = false;
    let isApproved = false;
    const perform: Perform = (task) => client.enrol(this.#ground.thirdParty, task);
    const asked = { commonName: common, timeoutMs: HELD_WAIT_MS };
    const going = this.#at('approval', client.singleDes, 'fresh', perform, asked).finally(() => {
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
        isApproved = true;
        break;
      }
      if (isOver || performance.now() > deadline) break;
      await new Promise((resolve) => setTimeout(resolve, HELD_LOOK_MS));
    }
    const visit = await going;
    demand(isApproved || !visit.result.ok, 'it had its certificate before anybody approved');
    const certificate = demandAsAsked(visit);
    await this.#keep(`approved ${common}`, certificate);
    const [first] = visit.messages;
    demandSame(first?.answer?.pkiStatus, 'PENDING', 'the first answer');
    const { messageType } = demandMirrored(visit);
    return messageType === 'CertPoll' ? messageType : `${messageType} again`;
  }

  /** One visit to an endpoint. `fresh`: with a new one-time challenge. */
  async #at(
    endpoint: EndpointName,
    singleDes: true | undefined,
    challenge: string,
    perform: Perform,
    asked: Partial<EnrolmentTask> = {},
  ): Promise<Visit> {
    this.#count += 1;
    const number = this.#count;
    const name = singleDes === undefined ? endpoint : `${endpoint}-legacy`;
    const recorder = await this.#recorderFor(name, endpoint === 'approval' ? number : 0);
    const before = { messages: recorder.messages.length, operations: recorder.operations.length };
    const task: EnrolmentTask = {
      url: recorder.url,
      workFolder: join(this.#ground.folder, 'clients', String(number)),
      challenge: challenge === 'fresh' ? await this.#oneTime(name, number) : challenge,
      commonName: `interop-${number}`,
      // QUIRK micromdm scepclient: has no subjectAltName in a renewal.
      ...(singleDes === undefined ? { dnsName: `interop-${number}.lab.test` } : {}),
      caCertificatesPem: this.#ground.caCertificatesPem,
      ...asked,
    };
    const result = await perform(task);
    return {
      task,
      endpoint: name,
      result,
      operations: recorder.operations.slice(before.operations),
      messages: recorder.messages.slice(before.messages),
    };
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

  /** A refusal proves something only if the server refused this very visit, and for the expected reason. */
  async #demandRefused(visit: Visit, code: string): Promise<string> {
    const { result, endpoint, messages } = visit;
    demand(!result.ok, 'a certificate was issued');
    const told = `the client: ${result.log.slice(-600)}`;
    const sent = messages.at(-1);
    demandSame(sent?.answer?.pkiStatus, 'FAILURE', `the answer; ${told}`);
    const refusals = await leafgateJson<AuditRow[]>(
      ...['audit', 'list', '--config', this.#ground.tenant.configs.server],
      ...['--event', 'enrolment.refused', '--limit', '20'],
    );
    // Clients make it from their key, which is new with each visit.
    const refusal = refusals.find(
      ({ detail }) => detail.endpoint === endpoint && detail.transactionID === sent?.transactionID,
    );
    demandSame(refusal?.code, code, `the audit list; ${told}`);
    return code;
  }

  /** What only our own client asks for: the inquiries of RFC 8894 §3.3.4 and §3.3.5. */
  async #runOtherOperations(): Promise<void> {
    this.#checks.section('leafgate scep, other operations');
    const done = await this.#at('renewal', undefined, 'fresh', (task) => enrolWithLeafgate(task));
    const certificate = demandAsAsked(done);
    const folder = ['--folder', join(certificate.workFolder, 'client')];
    const { serialNumber } = new X509Certificate(certificate.certificatePem);
    const other = this.#made[0];
    if (other === undefined) throw new Error('no client has a certificate');
    const file = join(this.#ground.folder, 'fetched.pem');
    const recorder = await this.#recorderFor('renewal', 0);
    const inquire = async (messageType: string, ...command: readonly string[]) => {
      await leafgate('scep', ...command, ...folder, '--out', file);
      const { messageType: sent, answer } = recorder.messages.at(-1) ?? {};
      demandSame([sent, answer?.pkiStatus], [messageType, 'SUCCESS'], 'the exchange');
      return await readFile(file, 'utf8');
    };
    for (const [whose, pem] of [
      ['its own certificate', certificate.certificatePem],
      ['that of another client', await readFile(other.file, 'utf8')],
    ] as const)
      await this.#checks.check(`GetCert fetches ${whose}`, async () => {
        const want = new X509Certificate(pem);
        const fetched = new X509Certificate(await inquire('GetCert', 'cert', want.serialNumber));
        demand(fetched.raw.equals(want.raw), 'it is another certificate');
        return want.serialNumber;
      });
    await this.#checks.check('GetCRL fetches the CRL that is published', async () => {
      const [fetched] = parsePem(await inquire('GetCRL', 'crl'), 'X509 CRL');
      const answer = await fetch(this.#ground.tenant.urls.crl);
      const published = new Uint8Array(await answer.arrayBuffer());
      demand(answer.ok && sameOctets(fetched ?? Uint8Array.of(), published), 'it is another CRL');
      return `${published.length} octets`;
    });
    await this.#checks.check('GetCert of a certificate that does not exist is badCertId', async () => {
      const said = await leafgate('scep', 'cert', '0badc0de', ...folder).then(
        () => 'a certificate came',
        (cause: { readonly stderr?: string }) => cause.stderr ?? '',
      );
      demand(/refused, badCertId: /.test(said), said);
      return `asked by the holder of ${serialNumber}`;
    });
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
  const transport = keyTransport === PKCS1 ? 'PKCS #1 v1.5' : 'OAEP';
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

function spkiIn(certificatePem: string): Uint8Array {
  return new X509Certificate(certificatePem).publicKey.export({ format: 'der', type: 'spki' });
}

function demandSame(found: unknown, want: unknown, what: string): void {
  demand(
    isDeepStrictEqual(found, want),
    `${what}: ${JSON.stringify(found)} instead of ${JSON.stringify(want)}`,
  );
}

/** A certificate with the names and the key that the client was told to ask for. */
function demandAsAsked({ result, task }: Visit): Enrolled {
  const enrolled = demandEnrolled(result);
  const { subject, subjectAltName, publicKey } = new X509Certificate(enrolled.certificatePem);
  const { commonName, dnsName, key = 'rsa-2048' } = task;
  // QUIRK micromdm scepclient: adds a country and a unit of its own.
  const has = (attribute: string) => subject.split('\n').includes(attribute);
  demand(has(`CN=${commonName}`) && has('O=Lab'), `the subject is ${JSON.stringify(subject)}`);
  demandSame(subjectAltName, dnsName === undefined ? undefined : `DNS:${dnsName}`, 'the subjectAltName');
  const { modulusLength, namedCurve } = publicKey.asymmetricKeyDetails ?? {};
  const curves: Readonly<Record<string, KeyAlgorithm>> = { prime256v1: 'p-256', secp384r1: 'p-384' };
  demandSame(curves[namedCurve ?? ''] ?? `rsa-${modulusLength}`, key, 'the key');
  return enrolled;
}

/** The message that was answered with the certificate, in the client's own algorithms. */
function demandMirrored({ messages }: Visit): SeenMessage {
  const sent = messages.at(-1);
  if (sent === undefined) throw new Error('the client has sent nothing');
  demandSame(sent.answer?.pkiStatus, 'SUCCESS', 'the last answer');
  const { digest, cipher, keyTransport } = sent;
  // RFC 8894 §3.1: to a key on a curve nothing is transported.
  const isRsa = parsePublicKeyInfo(sent.signerSpki).type === 'rsa';
  const want: SeenManner = { digest, cipher, keyTransport: isRsa ? keyTransport : '' };
  const { pkiStatus: _, ...found } = sent.answer ?? {};
  demandSame(found, want, 'the answer is not made like the message');
  return sent;
}
