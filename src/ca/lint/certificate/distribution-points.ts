/** RFC 5280 §4.2.1.13, §4.2.1.15: how CRLs are pointed to. */
import { contextConstructed, contextPrimitive, oid, readDer, tag } from '../../../codec/index.ts';
import type { CertificateRule } from '../rule.ts';
import { faultOfUrl } from '../urls.ts';

/** What is wrong with CRLDistributionPoints; FreshestCRL has the same syntax. */
function faultOf(value: Uint8Array): string | undefined {
  return readDer(value, tag.sequence, (points) => {
    let fault: string | undefined = points.done ? 'no distribution point' : undefined;
    while (!points.done) {
      const point = points.enter(tag.sequence);
      const name = point.enterOptional(contextConstructed(0));
      const hasReasons = point.optional(contextPrimitive(1)) !== undefined;
      const crlIssuer = point.optional(contextConstructed(2));
      point.end();
      // A point must not consist of reasons alone; without crlIssuer it has a name.
      if (name === undefined) {
        if (crlIssuer === undefined) fault ??= 'a distribution point without a name';
        continue;
      }
      if (hasReasons) fault ??= 'a distribution point for some reasons only';
      const names = name.enterOptional(contextConstructed(0));
      if (names === undefined) fault ??= 'a distribution point by a relative name';
      else {
        if (names.done) fault ??= 'a distribution point of no URL';
        while (!names.done) {
          const urlFault = faultOfUrl(names.element());
          fault ??= urlFault;
        }
      }
    }
    return fault;
  });
}

/** Fetched by everybody, with nothing to be verified first. */
export const distributionPoints: CertificateRule = {
  name: 'distribution_points',
  severity: 'error',
  citation: 'RFC 5280 §4.2.1.13, §4.2.1.15, §8',
  requires:
    'Every CRL distribution point, also of delta CRLs, has http URLs and nothing else, and covers all reasons.',
  check: (subject) => {
    for (const type of [oid.cRLDistributionPoints, oid.freshestCRL]) {
      const extension = subject.extension(type);
      const fault = extension === undefined ? undefined : faultOf(extension.value);
      if (fault !== undefined) return fault;
    }
    return undefined;
  },
};
