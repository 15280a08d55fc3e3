/**
 * A hostile Intune: it stands before the Microsoft doors of the stand-in and spoils, by percentages and by a seed, what
 * passes. What it lets pass is the stand-in's own answer.
 */
import { createHash } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { createServer, Agent as HttpsAgent, request as httpsRequest } from 'node:https';
import { join } from 'node:path';
import { parse, stringify } from 'yaml';
import { type ResultCode, resultCodes } from '../src/mdm/index.ts';
import { freePort } from './ports.ts';
import { pseudoRandom } from './pseudo-random.ts';
import type { Tenant } from './tenant.ts';

/** What may go wrong. */
export const faults = {
  unauthorized: 'HTTP 401, and nothing is done',
  throttled: 'HTTP 429 with Retry-After, and nothing is done',
  failedBefore: 'HTTP 500 with an error body, and nothing is done',
  failedAfter: 'HTTP 500 with an error body, although it is done',
  cutAfter: 'the connection ends without an answer, although it is done',
  refused: 'HTTP 200 with a code of Intune’s list that is not Success, and nothing is done',
  unknownCode: 'HTTP 200 with a code that is on no list, and nothing is done',
  slow: 'the right answer, seconds late',
  mixedCase: 'service discovery spells providerName in another case',
  moved: 'the service moves: its old address is HTTP 404, service discovery names another',
  duplicated: 'revocation requests come twice, and again after they were answered',
} as const;

/** One of `faults`. */
export type Fault = keyof typeof faults;

/** How many of a hundred calls meet a fault; of those that it can befall. */
export type Percentages = Readonly<Partial<Record<Fault, number>>>;

/** What is called. */
export const calls = [
  'token',
  'discovery',
  'validateRequest',
  'successNotification',
  'failureNotification',
  'downloadRevocationRequests',
  'uploadRevocationResults',
] as const;

/** One of `calls`. */
export type Call = (typeof calls)[number];

const isScepAction = (call: Call) => call.endsWith('Notification') || call === 'validateRequest';
const isIntunes = (call: Call) => call !== 'token' && call !== 'discovery';

/** Which calls a fault can befall. */
const befalls: Readonly<Record<Fault, (call: Call) => boolean>> = {
  unauthorized: () => true,
  throttled: () => true,
  failedBefore: () => true,
  failedAfter: isIntunes,
  cutAfter: isIntunes,
  refused: isScepAction,
  unknownCode: isScepAction,
  slow: () => true,
  mixedCase: (call) => call === 'discovery',
  moved: isIntunes,
  duplicated: (call) => call === 'downloadRevocationRequests',
};

/** Words of Intune's list that the stand-in never says by itself. */
const neverSaid = [
  'Unknown',
  'AadKeyIdentifierListMissing',
  'RegisteredKeyMismatch',
  'SigningCertThumbprintMismatch',
] as const;

/** All words of Intune's list that are not Success. */
export const failingCodes: readonly string[] = [
  ...neverSaid,
  ...(Object.keys(resultCodes) as ResultCode[]).filter((code) => code !== 'Success'),
];

/** What the RA was told about a request, as the answer went over the wire. */
export interface Told {
  readonly call: Call;
  readonly transactionId: string;
  /** SHA-256 of the certification request, lower-case hexadecimal. */
  readonly requestHash: string;
  /** SHA-1 of the certificate, upper-case hexadecimal; of successNotification alone. */
  readonly thumbprint?: string | undefined;
  /** The result code; `HTTP 500` where there is none, `cut` where there is no answer. */
  readonly answer: string;
  /** When the answer was on its way, as `performance.now()` counts. */
  readonly at: number;
}

/** What a hostile Intune is started with. */
export interface HostileIntuneOptions {
  /** Base URL of the stand-in, where it really listens. */
  readonly target: string;
  readonly port: number;
  readonly tls: { readonly cert: string; readonly key: string; readonly passphrase: string };
  /** PEM of what the stand-in's certificate leads to. */
  readonly ca: string;
  readonly seed: number;
  readonly percentages: Percentages;
  /** The longest that an answer is late. */
  readonly slowMsMax?: number;
}

const SLOW_MS_MAX = 3000;
const RETRY_AFTER_SECONDS = 1;
const BODY_BYTES_MAX = 1024 * 1024;
/** As in `https://fef.msuc02.manage.microsoft.com`: the service of a tenant lives in a unit, and moves now and then. */
const unitPath = /^\/unit-(\d+)(?=\/)/;

interface Answer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Buffer;
}

/** A hostile Intune that listens on loopback. */
export class HostileIntune {
  readonly url: string;
  /** What was told so far, in the order of time. */
  readonly told: Told[] = [];
  readonly #options: HostileIntuneOptions;
  readonly #random: () => number;
  readonly #agent: HttpsAgent;
  readonly #server: ReturnType<typeof createServer>;
  readonly #counts = new Map<string, number>();
  readonly #next: { readonly call: Call; readonly code: string }[] = [];
  /** Revocation requests that were handed out; some of them come again. */
  readonly #handedOut: unknown[] = [];
  readonly #awaited: { readonly call: Call; readonly arrived: () => void }[] = [];
  #percentages: Percentages;
  #unit = 1;

  private constructor(options: HostileIntuneOptions) {
    this.#options = options;
    this.#percentages = options.percentages;
    this.#random = pseudoRandom(options.seed);
    this.#agent = new HttpsAgent({ keepAlive: true, ca: options.ca });
    this.url = `https://127.0.0.1:${options.port}`;
    this.#server = createServer({ ...options.tls, minVersion: 'TLSv1.2' }, (incoming, outgoing) => {
      this.#serve(incoming, outgoing).catch(() => outgoing.destroy());
    });
  }

  static async start(options: HostileIntuneOptions): Promise<HostileIntune> {
    const hostile = new HostileIntune(options);
    await new Promise<void>((resolve, reject) => {
      hostile.#server.once('error', reject);
      hostile.#server.listen(options.port, '127.0.0.1', resolve);
    });
    return hostile;
  }

  /** From now on it spoils so much; `{}` is nothing at all. */
  spoil(percentages: Percentages): void {
    this.#percentages = percentages;
  }

  /** The service moves: its old address is HTTP 404 from now on, and service discovery names another. */
  move(): void {
    this.#unit += 1;
  }

  /** The next such call is answered with HTTP 200 and this code; the stand-in does not hear of it. */
  answerNext(call: Call, code: string): void {
    this.#next.push({ call, code });
  }

  /** Resolves when the next such call has arrived, before anything is done about it. */
  arrival(call: Call): Promise<void> {
    return new Promise((arrived) => this.#awaited.push({ call, arrived }));
  }

  /** How often a fault has befallen a call. */
  count(call: Call, what: Fault | 'calls'): number {
    return this.#counts.get(`${call} ${what}`) ?? 0;
  }

  async close(): Promise<void> {
    this.#agent.destroy();
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  async #serve(incoming: IncomingMessage, outgoing: ServerResponse): Promise<void> {
    const body = await wholeBody(incoming);
    const path = incoming.url ?? '/';
    const call = callOf(path);
    if (call === undefined) return send(outgoing, await this.#pass(incoming, path, body));
    this.#note(call, 'calls');
    for (const { call: awaited, arrived } of this.#awaited) if (awaited === call) arrived();
    const subject = isScepAction(call) ? subjectOf(body) : undefined;
    const answer = await this.#answer(call, incoming, path, body);
    if (subject !== undefined)
      this.told.push({ call, ...subject, answer: wordOf(answer), at: performance.now() });
    if (answer === 'cut') outgoing.destroy();
    else send(outgoing, answer);
  }

  async #answer(call: Call, incoming: IncomingMessage, path: string, body: Buffer): Promise<Answer | 'cut'> {
    const ordered = this.#next.findIndex((each) => each.call === call);
    if (ordered !== -1) {
      const [order] = this.#next.splice(ordered, 1);
      return json(200, { code: order?.code, errorDescription: 'as ordered' });
    }
    const unit = Number(unitPath.exec(path)?.[1] ?? this.#unit);
    // Moved before, and its caller has not noticed yet.
    if (unit !== this.#unit) return notHere();
    const fault = this.#draw(call);
    if (fault !== undefined) this.#note(call, fault);
    const pass = () => this.#pass(incoming, path.replace(unitPath, ''), body);
    switch (fault) {
      case 'unauthorized':
        return call === 'token'
          ? json(401, { error: 'invalid_client', error_description: 'AADSTS7000215: not now' })
          : json(401, { error: { code: 'Unauthorized', message: 'not now' } });
      case 'throttled':
        return {
          ...json(429, { error: { code: 'TooManyRequests', message: 'not so fast' } }),
          headers: { 'content-type': 'application/json', 'retry-after': String(RETRY_AFTER_SECONDS) },
        };
      case 'failedBefore':
        return internalError();
      case 'failedAfter':
        await pass();
        return internalError();
      case 'cutAfter':
        await pass();
        return 'cut';
      case 'refused':
        return json(200, { code: this.#oneOf(failingCodes), errorDescription: 'by chance' });
      case 'unknownCode':
        return json(200, { code: 'NotOnAnyList', errorDescription: 'by chance' });
      case 'moved':
        this.move();
        return notHere();
      case 'slow': {
        const ms = this.#random() * (this.#options.slowMsMax ?? SLOW_MS_MAX);
        await new Promise((resolve) => setTimeout(resolve, ms));
        return call === 'discovery' ? this.#discovery(await pass(), fault) : await pass();
      }
      default: {
        const answer = await pass();
        if (call === 'discovery') return this.#discovery(answer, fault);
        return call === 'downloadRevocationRequests' ? this.#handOut(answer, fault) : answer;
      }
    }
  }

  /** The fault that befalls this call, if one does: one chance for all of them together. */
  #draw(call: Call): Fault | undefined {
    let left = this.#random() * 100;
    for (const fault of Object.keys(faults) as Fault[]) {
      if (!befalls[fault](call)) continue;
      left -= this.#percentages[fault] ?? 0;
      if (left < 0) return fault;
    }
    return undefined;
  }

  #note(call: Call, what: Fault | 'calls'): void {
    const key = `${call} ${what}`;
    this.#counts.set(key, (this.#counts.get(key) ?? 0) + 1);
  }

  #oneOf(words: readonly string[]): string {
    return words[Math.floor(this.#random() * words.length)] ?? 'Unknown';
  }

  /** The list of endpoints, with the unit where the tenant is served now. */
  #discovery(answer: Answer, fault: Fault | undefined): Answer {
    const said = parsed(answer.body);
    if (answer.status !== 200 || !Array.isArray(said?.value)) return answer;
    const value = (said.value as Record<string, unknown>[]).map((endpoint) => {
      const { pathname } = new URL(String(endpoint.uri));
      const names =
        fault === 'mixedCase'
          ? {
              providerName: this.#mixed(String(endpoint.providerName)),
              serviceName: this.#mixed(String(endpoint.serviceName)),
            }
          : {};
      return { ...endpoint, ...names, uri: `${this.url}/unit-${this.#unit}${pathname}` };
    });
    return json(200, { ...said, value });
  }

  #mixed(name: string): string {
    return [...name]
      .map((letter) => (this.#random() < 0.5 ? letter.toLowerCase() : letter.toUpperCase()))
      .join('');
  }

  /** Revocation requests; with the fault each comes twice, and one of those that were handed out before once more. */
  #handOut(answer: Answer, fault: Fault | undefined): Answer {
    const said = parsed(answer.body);
    if (answer.status !== 200 || !Array.isArray(said?.value)) return answer;
    const fresh: readonly unknown[] = said.value;
    const before = this.#handedOut[Math.floor(this.#random() * this.#handedOut.length)];
    this.#handedOut.push(...fresh);
    if (fault !== 'duplicated') return answer;
    return json(200, { ...said, value: [...fresh, ...fresh, ...(before === undefined ? [] : [before])] });
  }

  #pass(incoming: IncomingMessage, path: string, body: Buffer): Promise<Answer> {
    return new Promise((resolve, reject) => {
      const { host: _, connection: __, ...headers } = incoming.headers;
      const outgoing = httpsRequest(
        `${this.#options.target}${path}`,
        { method: incoming.method, headers, agent: this.#agent },
        (answer) => {
          wholeBody(answer).then(
            (whole) =>
              resolve({
                status: answer.statusCode ?? 502,
                headers: {
                  'content-type': answer.headers['content-type'] ?? 'application/json',
                  ...(answer.headers['retry-after'] === undefined
                    ? {}
                    : { 'retry-after': answer.headers['retry-after'] }),
                },
                body: whole,
              }),
            reject,
          );
        },
      );
      outgoing.on('error', reject);
      outgoing.end(body);
    });
  }
}

/** Puts a hostile Intune before a tenant's stand-in: whoever is configured for the one is led to the other. */
export async function startHostileIntune(
  tenant: Tenant,
  seed: number,
  percentages: Percentages,
): Promise<HostileIntune> {
  const port = await freePort();
  const inMdm = (name: string) => readFile(join(tenant.folder, 'mdm', name), 'utf8');
  const hostile = await HostileIntune.start({
    target: tenant.urls.mdm,
    port,
    tls: {
      cert: await inMdm('web.pem'),
      key: await inMdm('web.key.pem'),
      passphrase: (await inMdm('web.passphrase')).trim(),
    },
    ca: await readFile(tenant.rootFile, 'utf8'),
    seed,
    percentages,
  });
  // The stand-in is told where it is reached: it believes no token for another address.
  await rewrite(tenant.configs.mdm, (config) => {
    const { mdm } = config as { readonly mdm: { publicUrl?: string } };
    mdm.publicUrl = hostile.url;
  });
  const server = await readFile(tenant.configs.server, 'utf8');
  await writeFile(tenant.configs.server, server.replaceAll(tenant.urls.mdm, hostile.url));
  return hostile;
}

/** Changes a configuration file. */
export async function rewrite(
  file: string,
  change: (config: Record<string, unknown>) => void,
): Promise<void> {
  const config = parse(await readFile(file, 'utf8')) as Record<string, unknown>;
  change(config);
  // The configuration knows no aliases, which a value that stands twice would become.
  await writeFile(file, stringify(config, { aliasDuplicateObjects: false }), { mode: 0o600 });
}

function callOf(url: string): Call | undefined {
  const [path = ''] = url.split('?');
  if (path.endsWith('/oauth2/v2.0/token')) return 'token';
  if (path.includes('/servicePrincipals/') && path.endsWith('/endpoints')) return 'discovery';
  return calls.find((call) => path.endsWith(`/${call}`));
}

/** What a SCEP action is about. */
function subjectOf(body: Buffer): Pick<Told, 'transactionId' | 'requestHash' | 'thumbprint'> | undefined {
  const said = parsed(body);
  const about = (said?.request ?? said?.notification) as Readonly<Record<string, unknown>> | undefined;
  if (about === undefined) return undefined;
  return {
    transactionId: String(about.transactionId),
    requestHash: createHash('sha256')
      .update(Buffer.from(String(about.certificateRequest), 'base64'))
      .digest('hex'),
    thumbprint:
      about.certificateThumbprint === undefined
        ? undefined
        : String(about.certificateThumbprint).toUpperCase(),
  };
}

function wordOf(answer: Answer | 'cut'): string {
  if (answer === 'cut') return answer;
  const code = answer.status === 200 ? parsed(answer.body)?.code : undefined;
  return code === undefined ? `HTTP ${answer.status}` : String(code);
}

function internalError(): Answer {
  return json(500, { error: { code: 'InternalError', message: 'by chance' } });
}

function notHere(): Answer {
  return json(404, { error: { code: 'NotFound', message: 'no such service here' } });
}

function json(status: number, body: object): Answer {
  return {
    status,
    headers: { 'content-type': 'application/json' },
    body: Buffer.from(JSON.stringify(body), 'utf8'),
  };
}

function parsed(body: Buffer): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(body.toString('utf8'));
    return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : undefined;
  } catch {
    return undefined;
  }
}

function send(outgoing: ServerResponse, { status, headers, body }: Answer): void {
  outgoing.writeHead(status, { ...headers, 'content-length': body.length });
  outgoing.end(body);
}

async function wholeBody(incoming: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of incoming as AsyncIterable<Buffer>) {
    length += chunk.length;
    if (length > BODY_BYTES_MAX) throw new Error('a body that is too large');
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}
