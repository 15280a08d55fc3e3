/** RFC 5280 §5.1.2.7, §5.2: the list of extensions. */
import { oid } from '../../../codec/index.ts';
import { faultOfExtensions } from '../elements.ts';
import type { CrlRule } from '../rule.ts';

/** §5.2.4, §5.2.5: a reader that does not know them must not take the CRL for a full one. */
const critical: ReadonlySet<string> = new Set([oid.deltaCRLIndicator, oid.issuingDistributionPoint]);

/** Each extension once, and critical exactly where misunderstanding is dangerous. */
export const crlExtensions: CrlRule = {
  name: 'crl_extensions',
  severity: 'error',
  citation: 'RFC 5280 §5.1.2.7, §5.2',
  requires:
    'There are extensions; each occurs once; deltaCRLIndicator and issuingDistributionPoint are critical, and no other.',
  check: ({ elements }) => {
    if (elements.extensions === undefined) return 'no extensions';
    const fault = faultOfExtensions(elements.extensions);
    if (fault !== undefined) return fault;
    for (const extension of elements.extensions)
      if (critical.has(extension.oid) !== (extension.critical === 'TRUE'))
        return `extension ${extension.oid} is ${extension.critical === 'TRUE' ? '' : 'not '}critical`;
    return undefined;
  },
};
