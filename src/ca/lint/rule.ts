/** What a rule is, and how rules are asked. */
import { PkiError } from '../../errors.ts';
import type { CertificateUnderLint } from './certificate-under-lint.ts';
import type { CrlUnderLint } from './crl-under-lint.ts';

/** `error`: a demand of the standard, nothing is signed that breaks it. `warning`: a recommendation; audits name it. */
export type Severity = 'error' | 'warning';

/** One rule for certificates or CRLs. */
export interface Rule<Subject> {
  /** Stands in findings, in the audit list and in docs/lint.md. */
  readonly name: string;
  readonly severity: Severity;
  /** Where it stands. */
  readonly citation: string;
  /** What it demands, in a sentence. */
  readonly requires: string;
  /** If this one is broken, the rules after it cannot be asked. */
  readonly fundamental?: true;
  /** What is wrong, or `undefined` if the rule is kept. A PkiError of the codec counts as its message. */
  readonly check: (subject: Subject) => string | undefined;
}

/** A rule for certificates. */
export type CertificateRule = Rule<CertificateUnderLint>;

/** A rule for CRLs. */
export type CrlRule = Rule<CrlUnderLint>;

/** A broken rule. */
export interface Finding {
  readonly rule: string;
  readonly severity: Severity;
  readonly citation: string;
  readonly detail: string;
}

/** What one rule finds; what cannot even be read is a finding too. */
export function findingOf<Subject>(rule: Rule<Subject>, subject: Subject): string | undefined {
  try {
    return rule.check(subject);
  } catch (cause) {
    if (!(cause instanceof PkiError)) throw cause;
    return cause.message;
  }
}

/** Asks the rules in their order, and stops after a fundamental one that is broken. */
export function findingsOf<Subject>(rules: readonly Rule<Subject>[], subject: Subject): Finding[] {
  const findings: Finding[] = [];
  for (const rule of rules) {
    const detail = findingOf(rule, subject);
    if (detail === undefined) continue;
    findings.push({ rule: rule.name, severity: rule.severity, citation: rule.citation, detail });
    if (rule.fundamental === true) break;
  }
  return findings;
}

/**
 * Asks the rules in their order, and throws at the first that is broken; warnings are not asked for.
 *
 * @throws PkiError `lint_failed` naming the rule and its citation.
 */
export function assertKept<Subject>(rules: readonly Rule<Subject>[], subject: Subject): void {
  for (const rule of rules) {
    if (rule.severity === 'warning') continue;
    const detail = findingOf(rule, subject);
    if (detail !== undefined) throw new PkiError('lint_failed', `${rule.name}: ${detail} (${rule.citation})`);
  }
}
