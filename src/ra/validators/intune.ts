/** Asks Intune, by its third-party CA contract, whether a request is the one that its challenge was made for. */
import { randomUUID } from 'node:crypto';
import { type Certificate, nameToString, thumbprintOf } from '../../codec/index.ts';
import type { ErrorCode } from '../../errors.ts';
import type { Metrics } from '../../metrics.ts';
import type { Log } from '../../telemetry.ts';
import type { EnrolmentRequest, Validator, Verdict } from '../validator.ts';
import { deadlineIn, type HttpsResponse } from './https-client.ts';
import { intuneResultCodes } from './intune-codes.ts';
import {
  fieldOf,
  type IntuneConnection,
  IntuneService,
  jsonOf,
  reasonOf,
  statusOf,
  Unreachable,
  wordOf,
} from './intune-service.ts';

/** What the Intune validator takes. */
export interface IntuneValidatorOptions extends IntuneConnection {
  /** `callerInfo` of every call: `Leafgate/0.1.0`. */
  readonly providerNameAndVersion: string;
  /** Bound of validation and notification of one request together, with all their calls and retries; default 60 s. */
  readonly budgetMs?: number | undefined;
  readonly log: Log;
  /** Nothing is counted if absent. */
  readonly metrics?: Metrics | undefined;
}

/** A validator that holds connections. */
export interface IntuneValidator extends Validator {
  /** Ends its connections. */
  close(): Promise<void>;
}

/** Below the 85 s after which Entra application proxy gives up, with room for what else a request costs. */
const BUDGET_MS = 60_000;
const ERROR_DESCRIPTION_CHARACTERS_MAX = 255;
/** Codes that Intune does not document and that are counted under their own names nevertheless. */
const FOREIGN_CODES_MAX = 50;

/**
 * A validator that asks Intune, or whatever speaks its contract.
 *
 * Promise: it accepts on HTTP 200 with the code `Success` and on nothing else. Every other code refuses; every failure to
 * get a code is `unreachable`. Calls are repeated where Intune permits it (see `HttpsClient.send`); the same request may
 * be validated and notified twice. Neither the secret nor challenge, request or answer is logged or put into a verdict.
 *
 * @throws PkiError `config_invalid` if a base URL is not https.
 */
export function intuneValidator(options: IntuneValidatorOptions): IntuneValidator {
  const { log, metrics, budgetMs = BUDGET_MS } = options;
  const service = new IntuneService(options);

  const foreignCodes = new Set<string>();
  /** The code as it is counted: whoever answers in Intune's place cannot make up ever more of them. */
  const countedAs = (code: string): string => {
    if (code === 'Success' || Object.hasOwn(intuneResultCodes, code) || foreignCodes.has(code)) return code;
    if (wordOf(code) === undefined || foreignCodes.size >= FOREIGN_CODES_MAX) return 'other';
    foreignCodes.add(code);
    return code;
  };

  const act = async (
    action: string,
    { endpoint, transactionID }: EnrolmentRequest,
    body: unknown,
  ): Promise<Verdict> => {
    const activityId = randomUUID();
    const { code, verdict } = await answerOf(
      () =>
        service.post({
          service: 'scepValidation',
          path: `ScepActions/${action}`,
          body,
          activityId,
          // Half for validation, half for notification.
          deadline: deadlineIn(budgetMs / 2),
        }),
      activityId,
    );
    metrics?.count('leafgate_intune_results_total', {
      tenant: options.tenant,
      endpoint,
      action,
      verdict: verdict.verdict,
      code: code === undefined ? '' : countedAs(code),
    });
    const fields = { action, transactionID, activityId, ...verdict };
    if (verdict.verdict === 'accept') log.debug(fields, 'Intune accepts');
    else if (verdict.verdict === 'refuse') log.info(fields, 'Intune refuses');
    else log.warn(fields, 'Intune gives no answer');
    return verdict;
  };

  return {
    name: 'intune',
    challengeUse: 'single',
    validate: (request) => act('validateRequest', request, { request: commonFields(request, options) }),
    notifySuccess: (request, certificate) =>
      act('successNotification', request, {
        notification: { ...commonFields(request, options), ...certificateFields(certificate) },
      }),
    notifyFailure: async (request, failure) => {
      await act('failureNotification', request, {
        notification: {
          ...commonFields(request, options),
          hResult: failure.hResult,
          errorDescription: errorDescriptionOf(failure.description),
        },
      });
    },
    close: async () => service.close(),
  };
}

function commonFields(request: EnrolmentRequest, options: IntuneValidatorOptions) {
  return {
    transactionId: request.transactionID,
    // The request byte for byte as it was in the envelope: Intune takes the challenge out of it itself.
    certificateRequest: Buffer.from(request.csr.raw).toString('base64'),
    callerInfo: options.providerNameAndVersion,
  };
}

function certificateFields(certificate: Certificate) {
  return {
    certificateThumbprint: thumbprintOf(certificate.raw),
    certificateSerialNumber: certificate.serialNumber.toUpperCase(),
    certificateExpirationDateUtc: certificate.notAfter.toISOString(),
    issuingCertificateAuthority: nameToString(certificate.issuer),
    // Handed back in revocation requests; the serial number and the issuer suffice to find a certificate.
    caConfiguration: null,
    certificateAuthority: null,
  };
}

/** Intune wants at least one character and at most 255. */
function errorDescriptionOf(description: string): string {
  return description.trim().slice(0, ERROR_DESCRIPTION_CHARACTERS_MAX) || 'no description';
}

/** Intune's code, if it gave one, and what follows from it. */
async function answerOf(
  post: () => Promise<HttpsResponse>,
  activityId: string,
): Promise<{ readonly code?: string; readonly verdict: Verdict }> {
  try {
    const code = resultCodeOf(await post());
    if (code === 'Success')
      return { code, verdict: { verdict: 'accept', names: 'vouched', directory: 'as-requested' } };
    const detail = `${code} (client-request-id ${activityId})`;
    return { code, verdict: { verdict: 'refuse', code: errorCodeOf(code), detail } };
  } catch (cause) {
    const detail = `${reasonOf(cause)} (client-request-id ${activityId})`;
    return { verdict: { verdict: 'unreachable', detail } };
  }
}

/** What a result code is in our error table; one that Microsoft may invent later refuses, too. */
function errorCodeOf(code: string): ErrorCode {
  return Object.hasOwn(intuneResultCodes, code)
    ? (intuneResultCodes[code]?.code ?? 'validator_refused')
    : 'validator_refused';
}

/** The code of an answer. Only HTTP 200 carries one. */
function resultCodeOf(response: HttpsResponse): string {
  if (response.status !== 200) throw new Unreachable('service', statusOf(response));
  const code = fieldOf(jsonOf(response.body), 'code');
  if (typeof code !== 'string' || code === '')
    throw new Unreachable('service', 'HTTP 200 without a result code');
  // A code that is no plain word may quote what we sent; it is a refusal all the same.
  return wordOf(code) ?? 'a code that is not a word';
}
