/** A third-party eye on certificates and CRLs: zlint. */
import type { ThirdParty } from './debian.ts';
import { describeAnswer, runProgram } from './program.ts';

/** One lint that did not pass. */
export interface LintFinding {
  /** zlint's own name of the rule, e.g. `e_sub_cert_aia_missing`. */
  readonly name: string;
  readonly result: LintResult;
  /** What zlint says about it; often empty. */
  readonly details: string;
}

/** zlint's verdicts other than pass and not applicable, from mild to grave. */
export type LintResult = 'notice' | 'warn' | 'error' | 'fatal';

/** What zlint found; both lists empty is a clean bill. */
export interface LintReport {
  /** How many rules were applicable, passed or not. Zero means that zlint looked at nothing. */
  readonly rulesApplied: number;
  /** `error` and `fatal`: a standard is broken. */
  readonly faults: readonly LintFinding[];
  /** `warn` and `notice`: a recommendation is not followed. */
  readonly remarks: readonly LintFinding[];
}

/**
 * The rules that bind a private CA. Those of the CA/Browser Forum and the browsers are for publicly trusted ones and
 * would complain about every device certificate.
 */
const SOURCES = 'RFC5280,RFC5480,RFC5891,Community';

/**
 * Lints one certificate or CRL.
 *
 * @param pem one PEM block; zlint would look at the first of several only.
 * @throws Error if zlint cannot read it or does not answer.
 */
export async function zlint(thirdParty: Pick<ThirdParty, 'zlint'>, pem: string): Promise<LintReport> {
  const answer = await runProgram({
    program: thirdParty.zlint,
    args: ['-includeSources', SOURCES, '-'],
    input: pem,
    timeoutMs: 20_000,
  });
  if (answer.exitCode !== 0) throw new Error(`zlint failed: ${describeAnswer(answer)}`);
  return parseLintReport(answer.stdout);
}

/** Reads zlint's JSON: an object of `rule: { result, details? }`. @throws Error if it is anything else. */
export function parseLintReport(json: string): LintReport {
  const faults: LintFinding[] = [];
  const remarks: LintFinding[] = [];
  let rulesApplied = 0;
  const rules: unknown = JSON.parse(json);
  if (typeof rules !== 'object' || rules === null) throw new Error('zlint answered no object');
  for (const [name, verdict] of Object.entries(
    rules as Record<string, { result?: unknown; details?: unknown }>,
  )) {
    const result = verdict.result;
    const details = typeof verdict.details === 'string' ? verdict.details : '';
    if (result === 'NA' || result === 'NE') continue;
    rulesApplied += 1;
    if (result === 'error' || result === 'fatal') faults.push({ name, result, details });
    else if (result === 'warn' || result === 'notice') remarks.push({ name, result, details });
    // `info` is zlint's older word for notice.
    else if (result === 'info') remarks.push({ name, result: 'notice', details });
    else if (result !== 'pass') throw new Error(`zlint answered ${String(result)} for ${name}`);
  }
  return { rulesApplied, faults, remarks };
}
