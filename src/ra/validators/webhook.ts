/** Asks a service of the operator's own whether a request may have a certificate. `docs/webhook.md` is its contract. */
import { createHmac, hash, randomUUID } from 'node:crypto';
import { z } from 'zod';
import { isSecurityIdentifier } from '../../ca/index.ts';
import {
  buildGeneralName,
  buildPem,
  type Certificate,
  type CertificationRequest,
  extKeyUsageOf,
  type GeneralName,
  generalNameFromString,
  generalNamesToString,
  nameFromString,
  nameToString,
  subjectAltNameOf,
  thumbprintOf,
} from '../../codec/index.ts';
import { PkiError } from '../../errors.ts';
import { type Clock, type Log, systemClock } from '../../telemetry.ts';
import type { DirectoryEntry, EnrolmentRequest, Validator, Verdict } from '../validator.ts';
import { deadlineIn, HttpsClient, type HttpsResponse, NoResponse } from './https-client.ts';

/** What the webhook validator takes. */
export interface WebhookValidatorOptions {
  /** Where to ask; https. */
  readonly url: string;
  /** Key of the signatures; at least 32 characters. */
  readonly secret: string;
  /** `single`, the default: one challenge serves one key, whatever the service says about it later. */
  readonly challengeUse?: 'single' | 'shared' | undefined;
  /**
   * `outcome`: the service is told what became of what it accepted, and must take it before the device gets its
   * certificate. `off`, the default: it is only asked.
   */
  readonly notifications?: 'off' | 'outcome' | undefined;
  /** PEM of further CAs to trust for these calls. */
  readonly extraCa?: string | undefined;
  /** Shown if the service asks for one; both PEM. */
  readonly clientCertificate?: { readonly cert: string; readonly key: string } | undefined;
  /** Bound of one HTTP attempt; default 10 s. */
  readonly timeoutMs?: number | undefined;
  /** Bound of one question with all its attempts; default 30 s. */
  readonly budgetMs?: number | undefined;
  readonly log: Log;
  readonly clock?: Clock | undefined;
}

/** A validator that holds connections. */
export interface WebhookValidator extends Validator {
  /** Ends its connections. */
  close(): Promise<void>;
}

const TIMEOUT_MS = 10_000;
const BUDGET_MS = 30_000;
/** An answer is a few hundred octets; a whole directory entry with many names fits. */
const RESPONSE_BYTES_MAX = 64 * 1024;
/** Output of the MAC: a shorter key would be the weaker part (RFC 2104 §3). */
const SECRET_CHARACTERS_MIN = 32;

/** What comes back goes into audit entries and views: no control characters, and an end. */
const line = (charactersMax: number) =>
  z
    .string()
    .min(1)
    .max(charactersMax)
    .regex(/^\P{Cc}*$/u);

const acceptance = z.strictObject({
  id: z.string(),
  decision: z.literal('accept'),
  device: line(256).optional(),
  names: z.enum(['vouched', 'claimed']).default('claimed'),
  directory: z
    .union([
      z.literal('as-requested'),
      z.strictObject({
        subject: line(1024).optional(),
        subjectAltName: z.array(line(1024)).max(64).optional(),
        securityIdentifier: z.string().refine(isSecurityIdentifier).optional(),
      }),
    ])
    .optional(),
});
const refusal = z.strictObject({
  id: z.string(),
  decision: z.literal('refuse'),
  reason: line(256).optional(),
});
const answerTo = {
  validate: z.discriminatedUnion('decision', [acceptance, refusal]),
  notify: z.strictObject({ id: z.string(), decision: z.literal('noted') }),
};

/**
 * A validator that asks over HTTPS.
 *
 * Promise: it accepts on HTTP 200 with a well-formed answer that says `accept` and repeats the question's id, and on
 * nothing else. A well-formed `refuse` refuses; whatever else comes, or does not come, is `unreachable`. A question is sent
 * again, with the same id, only as `HttpsClient.send` does it. Secret, challenge, request and answer are in no log and in
 * no verdict, but for the reason that the service gives with a refusal.
 *
 * Trust: who can answer in the service's place, or holds its secret and its name, can obtain any certificate of the endpoint's
 * template.
 *
 * @throws PkiError `config_invalid` if the URL is not https, the secret is too short, or the client certificate unusable.
 */
export function webhookValidator(options: WebhookValidatorOptions): WebhookValidator {
  const { url, secret, log, clock = systemClock, budgetMs = BUDGET_MS } = options;
  if (!URL.canParse(url) || new URL(url).protocol !== 'https:')
    throw new PkiError('config_invalid', 'the url of a webhook must be https');
  if (secret.length < SECRET_CHARACTERS_MIN)
    throw new PkiError(
      'config_invalid',
      `the secret of a webhook needs at least ${SECRET_CHARACTERS_MIN} characters`,
    );
  const client = new HttpsClient({
    extraCa: options.extraCa,
    clientCertificate: options.clientCertificate,
    timeoutMs: options.timeoutMs ?? TIMEOUT_MS,
    responseBytesMax: RESPONSE_BYTES_MAX,
  });

  const post = async (id: string, content: object): Promise<unknown> => {
    const body = JSON.stringify({ version: 1, id, ...content });
    const timestamp = String(Math.floor(clock.now().getTime() / 1000));
    const mac = createHmac('sha256', secret).update(`${timestamp}.${body}`).digest('hex');
    const response = await client.send(
      {
        method: 'POST',
        url,
        headers: {
          'content-type': 'application/json',
          accept: 'application/json',
          'leafgate-timestamp': timestamp,
          'leafgate-signature': `v1=${mac}`,
        },
        body,
      },
      deadlineIn(budgetMs),
    );
    return jsonIn(response);
  };

  /** Asks, and says in the log how it went. */
  const ask = async (
    type: keyof typeof answerTo,
    { endpoint, transactionID }: EnrolmentRequest,
    question: () => object,
  ): Promise<Verdict> => {
    const id = randomUUID();
    const verdict = await verdictOf(id, async () => {
      const answer = answerTo[type].safeParse(await post(id, { type, ...question() }));
      // The name of the first field that is wrong, and never what stands in it.
      if (!answer.success)
        throw new Unusable(`malformed answer: ${answer.error.issues[0]?.path.join('.') || 'not an answer'}`);
      if (answer.data.id !== id) throw new Unusable('the answer to another question');
      return answer.data.decision === 'noted' ? noted : verdictIn(answer.data);
    });
    const fields = {
      type,
      id,
      endpoint,
      transactionID,
      verdict: verdict.verdict,
      ...('detail' in verdict && { detail: verdict.detail }),
    };
    if (verdict.verdict === 'unreachable') log.warn(fields, 'the webhook gives no answer');
    else log.debug(fields, 'the webhook answers');
    return verdict;
  };

  const notifications: Pick<Validator, 'notifySuccess' | 'notifyFailure'> = {
    notifySuccess: (request, certificate) =>
      ask('notify', request, () => ({
        outcome: 'issued',
        ...factsOf(request),
        certificate: certificateFacts(certificate),
      })),
    notifyFailure: async (request, { hResult, description }) => {
      await ask('notify', request, () => ({
        outcome: 'failed',
        ...factsOf(request),
        failure: { hResult, description },
      }));
    },
  };
  return {
    name: 'webhook',
    challengeUse: options.challengeUse ?? 'single',
    validate: (request) =>
      ask('validate', request, () => ({ ...factsOf(request), ...requestFacts(request) })),
    ...(options.notifications === 'outcome' ? notifications : {}),
    close: async () => client.close(),
  };
}

/** What tells a request from others, in questions and notifications. */
function factsOf({ endpoint, transactionID, csr }: EnrolmentRequest) {
  return {
    endpoint,
    transactionID,
    subject: nameToString(csr.subject),
    publicKeyHash: hash('sha256', csr.spki, 'hex'),
  };
}

function requestFacts({ challengePassword, csr }: EnrolmentRequest) {
  return {
    challenge: challengePassword,
    subjectAltName: namesOf(csr),
    extKeyUsage: extKeyUsageOf(csr) ?? [],
    certificationRequest: buildPem('CERTIFICATE REQUEST', csr.raw),
  };
}

function certificateFacts(certificate: Certificate) {
  return {
    serialNumber: certificate.serialNumber,
    issuer: nameToString(certificate.issuer),
    notAfter: certificate.notAfter.toISOString(),
    thumbprint: thumbprintOf(certificate.raw),
    pem: buildPem('CERTIFICATE', certificate.raw),
  };
}

function namesOf(csr: CertificationRequest): string[] {
  return subjectAltNameOf(csr).map((name) => generalNamesToString([name]));
}

/** The service took a notification. */
const noted: Verdict = { verdict: 'accept', names: 'claimed' };

/** Why an answer is none, in words that are fit for log and audit. */
class Unusable extends Error {}

async function verdictOf(id: string, act: () => Promise<Verdict>): Promise<Verdict> {
  try {
    return await act();
  } catch (cause) {
    // A part of the request that cannot be read: not the service's fault, and no use to try again.
    if (cause instanceof PkiError && cause.kind === 'malformed')
      return { verdict: 'refuse', code: cause.code, detail: cause.message };
    const reason =
      cause instanceof NoResponse
        ? cause.reason
        : cause instanceof Unusable
          ? cause.message
          : `unexpected ${cause instanceof Error ? cause.name : typeof cause}`;
    return { verdict: 'unreachable', detail: `${reason} (webhook question ${id})` };
  }
}

/** @throws Unusable if the response is not JSON with HTTP 200. */
function jsonIn({ status, headers, body }: HttpsResponse): unknown {
  if (status !== 200) throw new Unusable(`HTTP ${status}`);
  if (!/^application\/json *(;|$)/i.test(headers['content-type'] ?? '')) throw new Unusable('not JSON');
  try {
    return JSON.parse(body);
  } catch {
    throw new Unusable('not JSON');
  }
}

/** @throws Unusable if a name cannot be read. */
function verdictIn(answer: z.output<typeof acceptance> | z.output<typeof refusal>): Verdict {
  if (answer.decision === 'refuse')
    return {
      verdict: 'refuse',
      code: 'validator_refused',
      detail: `${answer.reason ?? 'no reason given'} (webhook question ${answer.id})`,
    };
  const { names, device, directory } = answer;
  return {
    verdict: 'accept',
    names,
    ...(device === undefined ? {} : { device }),
    ...(directory === undefined
      ? {}
      : { directory: directory === 'as-requested' ? directory : directoryEntryOf(directory) }),
  };
}

/** Built once, so that a name which cannot stand in a certificate is the service's fault and not the device's. */
function generalName(text: string): GeneralName {
  const name = generalNameFromString(text);
  buildGeneralName(name);
  return name;
}

function directoryEntryOf({
  subject,
  subjectAltName,
  securityIdentifier,
}: Exclude<z.output<typeof acceptance>['directory'], undefined | 'as-requested'>): DirectoryEntry {
  try {
    return {
      ...(subject === undefined ? {} : { subject: nameFromString(subject) }),
      ...(subjectAltName === undefined ? {} : { subjectAltName: subjectAltName.map(generalName) }),
      ...(securityIdentifier === undefined ? {} : { securityIdentifier }),
    };
  } catch {
    throw new Unusable('malformed answer: directory');
  }
}
