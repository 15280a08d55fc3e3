/** RFC 5280 §4.1.2.9, §4.2: the list of extensions. */
import { faultOfExtensions } from '../elements.ts';
import type { CertificateRule } from '../rule.ts';

/** Each extension once, and none that says what is the default. */
export const extensions: CertificateRule = {
  name: 'extensions',
  severity: 'error',
  citation: 'RFC 5280 §4.1.2.9, §4.2; X.690 §11.5',
  requires: 'There are extensions; each occurs once; one that is not critical does not spell it out.',
  check: ({ elements }) =>
    elements.extensions === undefined ? 'no extensions' : faultOfExtensions(elements.extensions),
};
