/** A validator whose calls are counted and timed. */
import type { Metrics } from '../metrics.ts';
import type { Validator, Verdict } from './validator.ts';

/** What is done with a validator, in the words that Intune has for it. */
type Call = 'validate' | 'successNotification' | 'failureNotification';

/** The validator of an endpoint, which says and promises the same; what it says, and how long it takes, is in `metrics`. */
export function measured(validator: Validator, endpoint: string, metrics: Metrics): Validator {
  const { name, challengeUse, notifySuccess, notifyFailure } = validator;
  const labels = { endpoint, validator: name };

  const timed = async <T>(call: Call, work: () => Promise<T>): Promise<T> => {
    const beginMs = performance.now();
    try {
      return await work();
    } finally {
      const tookMs = performance.now() - beginMs;
      metrics.observe('leafgate_validator_duration_seconds', { ...labels, call }, tookMs);
    }
  };
  const judged = async (call: Call, work: () => Promise<Verdict>): Promise<Verdict> => {
    const verdict = await timed(call, work);
    metrics.count('leafgate_validator_verdicts_total', { ...labels, call, verdict: verdict.verdict });
    return verdict;
  };

  const calls: readonly Call[] =
    notifySuccess === undefined ? ['validate'] : ['validate', 'successNotification'];
  for (const call of calls)
    for (const verdict of ['accept', 'refuse', 'unreachable'] satisfies Verdict['verdict'][])
      metrics.count('leafgate_validator_verdicts_total', { ...labels, call, verdict }, 0);
  return {
    name,
    challengeUse,
    validate: (request) => judged('validate', () => validator.validate(request)),
    // Who does not listen must not seem to: nobody would wait for him.
    ...(notifySuccess === undefined
      ? {}
      : {
          notifySuccess: (request, certificate) =>
            judged('successNotification', () => notifySuccess.call(validator, request, certificate)),
        }),
    ...(notifyFailure === undefined
      ? {}
      : {
          notifyFailure: (request, failure) =>
            timed('failureNotification', () => notifyFailure.call(validator, request, failure)),
        }),
  };
}
