/** The token of a running server is taken away and brought back: nothing is lost, nothing made twice, nobody restarts. */
import { rename } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { hex, parseCertificate, verifyCertificateSignature } from '../src/codec/index.ts';
import { parseCaCertificates, parseCertRep } from '../src/scep/index.ts';
import { tryOpenssl } from './ca-site.ts';
import { type Checks, demand } from './checks.ts';
import { leafgateJson } from './command.ts';
import { type PreparedRequest, prepareRequests } from './requests.ts';

/** A running server with keys in a token. */
export interface TokenServer {
  /** Its configuration file. */
  readonly config: string;
  readonly url: string;
  /** The issuing CA of the endpoint `one-time`, whose key is in the token, and whose OCSP signer's key is as well. */
  readonly issuer: string;
  /** PEM of that CA, and of its root. */
  readonly issuerFile: string;
  readonly rootFile: string;
  /** The folder that SoftHSM2 keeps its tokens in. */
  readonly tokens: string;
}

const REQUESTS = 6;
const AWAY_ROUNDS = 3;
const ANSWER_MS_MAX = 30_000;
/** What was to be signed when the key went is given up after two minutes, since a signature may exist; then it is served. */
const RETURN_MS_MAX = 180_000;
/** Who comes when the token is back waits for the key alone. */
const NEW_MS_MAX = 20_000;
const RETRY_PAUSE_MS = 500;

/** Makes the checks. The server keeps running; the token is back at the end, whatever happened. */
export async function proveTokenLoss(checks: Checks, server: TokenServer): Promise<void> {
  const { url, tokens } = server;
  const scep = `${url}/scep/one-time`;
  const challenges: string[] = [];
  for (let count = 0; count < REQUESTS; count += 1) {
    const made = await leafgateJson<{ readonly challenge: string }>(
      ...['challenge', 'create', 'one-time', '--config', server.config],
    );
    challenges.push(made.challenge);
  }
  const asked = await fetch(`${scep}?operation=GetCACert`);
  const contentType = asked.headers.get('content-type') ?? '';
  const served = parseCaCertificates(new Uint8Array(await asked.arrayBuffer()), contentType);
  const [early, late, ...others] = await prepareRequests(REQUESTS, served.encryption, challenges);
  demand(early !== undefined && late !== undefined, 'there are no requests');

  /** The serial number of the certificate in the answer, or the status of an answer without one. */
  const enrol = async (request: PreparedRequest): Promise<string | number> => {
    const answer = await fetch(`${scep}?operation=PKIOperation`, {
      method: 'POST',
      headers: { 'content-type': 'application/x-pki-message' },
      body: request.body as Uint8Array<ArrayBuffer>,
      signal: AbortSignal.timeout(ANSWER_MS_MAX),
    });
    const body = new Uint8Array(await answer.arrayBuffer());
    if (answer.status !== 200) {
      if (answer.status === 503) demand(answer.headers.has('retry-after'), '503 without Retry-After');
      return answer.status;
    }
    const certRep = await parseCertRep(body, {
      signers: served.all,
      transactionID: request.transactionID,
      senderNonce: request.senderNonce,
      decrypt: (transport, encryptedKey) => request.key.decrypt(transport, encryptedKey),
    });
    const [certificate] = certRep.pkiStatus === 'SUCCESS' ? certRep.certificates : [];
    demand(certificate !== undefined, `${request.commonName}: ${JSON.stringify(certRep)}`);
    const ca = served.all.find(({ subject }) => hex(subject.raw) === hex(certificate.issuer.raw));
    demand(
      ca !== undefined && verifyCertificateSignature(parseCertificate(certificate.raw), ca.spki),
      `${request.commonName}: the certificate is not of the CA`,
    );
    return certificate.serialNumber;
  };
  const ask = async (serial: string): Promise<string> => {
    const { stdout, stderr } = await tryOpenssl(
      ...['ocsp', '-url', `${url}/ocsp`, '-issuer', server.issuerFile, '-serial', `0x${serial}`],
      ...['-CAfile', server.rootFile, '-verify_other', server.issuerFile],
    );
    return `${stdout}${stderr}`;
  };

  const delivered = new Map<PreparedRequest, string>();
  await checks.check('before: a device enrols, and openssl ocsp calls its certificate good', async () => {
    const serial = await enrol(early);
    demand(typeof serial === 'string', `HTTP ${serial}`);
    delivered.set(early, serial);
    const said = await ask(serial);
    demand(/Response verify OK/.test(said) && /: good/.test(said), said);
    return serial;
  });

  const away = `${tokens}-away`;
  await rename(tokens, away);
  try {
    await checks.check('while it is away, every enrolment is answered 503 with Retry-After', async () => {
      for (let round = 0; round < AWAY_ROUNDS; round += 1) {
        const answers = await Promise.all(others.map(enrol));
        demand(
          answers.every((answer) => answer === 503),
          `it answered ${answers.join(', ')}`,
        );
      }
      return `${AWAY_ROUNDS * others.length} requests`;
    });
    await checks.check('… and openssl ocsp is told to try later', async () => {
      const said = await ask(delivered.get(early) ?? '00');
      demand(/trylater/i.test(said), said);
      return undefined;
    });
  } finally {
    await rename(away, tokens);
  }

  const untilServed = async (requests: readonly PreparedRequest[], msMax: number): Promise<string> => {
    const start = performance.now();
    const waiting = new Set(requests);
    while (waiting.size > 0) {
      demand(performance.now() - start < msMax, `${waiting.size} devices are without a certificate`);
      for (const request of waiting) {
        const answer = await enrol(request);
        if (typeof answer === 'string') {
          delivered.set(request, answer);
          waiting.delete(request);
        } else demand(answer === 503, `HTTP ${answer}`);
      }
      if (waiting.size > 0) await sleep(RETRY_PAUSE_MS);
    }
    return `after ${Math.round(performance.now() - start)} ms`;
  };
  await checks.check('when it is back, who comes is served, without a restart', () =>
    untilServed([late], NEW_MS_MAX),
  );
  await checks.check('… and so are the requests that came while it was away, the same octets', () =>
    untilServed(others, RETURN_MS_MAX),
  );
  await checks.check('… and openssl ocsp hears an answer that is signed in the token', async () => {
    for (const serial of delivered.values()) {
      const said = await ask(serial);
      demand(/Response verify OK/.test(said) && /: good/.test(said), said);
    }
    return undefined;
  });
  await checks.check(
    'each request has one live certificate, whenever and however often it came',
    async () => {
      for (const [request, serial] of delivered) {
        const again = await enrol(request);
        demand(again === serial, `${request.commonName} was given ${serial}, and then ${again}`);
      }
      const rows = await leafgateJson<
        { readonly serialNumber: string; readonly status: string; readonly subject: string }[]
      >('ca', 'list', '--issuer', server.issuer, '--limit', '10000', '--config', server.config);
      const serials = rows.map(({ serialNumber }) => serialNumber);
      demand(new Set(serials).size === serials.length, 'a serial number is on record twice');
      for (const [{ commonName }, serial] of delivered) {
        const own = rows.filter(({ subject, status }) => subject.includes(commonName) && status === 'issued');
        demand(
          own.length === 1 && own[0]?.serialNumber === serial,
          `${commonName} has ${own.length} live certificates on record`,
        );
      }
      return `${delivered.size} requests`;
    },
  );
}
