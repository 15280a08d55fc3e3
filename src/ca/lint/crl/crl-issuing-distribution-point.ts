/** RFC 5280 §5.2.5: what part of the whole a CRL covers. */
import { contextConstructed, contextPrimitive, hex, oid, readDer, tag } from '../../../codec/index.ts';
import type { CrlRule } from '../rule.ts';
import { faultOfUrl } from '../urls.ts';

/** Scope, and nothing of what nobody understands. */
export const crlIssuingDistributionPoint: CrlRule = {
  name: 'crl_issuing_distribution_point',
  severity: 'error',
  citation: 'RFC 5280 §5.2.5',
  requires:
    'issuingDistributionPoint is not empty, has http URLs where it has a name, covers all reasons, is not indirect, and is for at most one of users, CAs and attributes.',
  check: (subject) => {
    const extension = subject.extension(oid.issuingDistributionPoint);
    if (extension === undefined) return undefined;
    return readDer(extension.value, tag.sequence, (reader) => {
      let fault: string | undefined = reader.done ? 'an empty issuingDistributionPoint' : undefined;
      const names = reader.enterOptional(contextConstructed(0))?.enterOptional(contextConstructed(0));
      while (names?.done === false) {
        const urlFault = faultOfUrl(names.element());
        fault ??= urlFault;
      }
      let kinds = 0;
      while (!reader.done) {
        const { tag: field, content } = reader.element();
        if (field === contextPrimitive(3)) fault ??= 'a CRL for some reasons only';
        else if (field === contextPrimitive(4)) fault ??= 'an indirect CRL';
        // X.690 §11.5: FALSE is the default of each, and is left out.
        else if (hex(content) !== 'ff') fault ??= 'a scope that is spelled out and does not hold';
        else kinds += 1;
      }
      return fault ?? (kinds > 1 ? 'a CRL for two kinds of certificates' : undefined);
    });
  },
};
