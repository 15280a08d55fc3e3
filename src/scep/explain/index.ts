/** A SCEP message as a person would read it, with everything that is wrong with it. */

export type { Section } from './describe.ts';
export { type Finding, type FindingName, findingRules, type Severity } from './findings.ts';
export { type ExplainOptions, type Explanation, explainScep, type RecipientKey } from './message.ts';
