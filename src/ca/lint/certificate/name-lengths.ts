/** RFC 5280 appendix A.1: the upper bounds of names. */
import { oid } from '../../../codec/index.ts';
import type { CertificateRule } from '../rule.ts';

/** ub-… of the appendix, in characters. */
const bounds: Readonly<Record<string, number>> = {
  [oid.commonName]: 64,
  [oid.surname]: 32_768,
  [oid.givenName]: 32_768,
  [oid.serialNumber]: 64,
  [oid.localityName]: 128,
  [oid.stateOrProvinceName]: 128,
  [oid.organizationName]: 64,
  [oid.organizationalUnitName]: 64,
  [oid.title]: 64,
  [oid.emailAddress]: 255,
  // RFC 1034 §3.1: one label.
  [oid.domainComponent]: 63,
};

/** Readers with fixed buffers exist. */
export const nameLengths: CertificateRule = {
  name: 'name_lengths',
  severity: 'error',
  citation: 'RFC 5280 appendix A.1',
  requires:
    'No attribute of the subject is empty or beyond its upper bound: common name, organisation and unit 64 characters, locality and state 128.',
  check: ({ certificate }) => {
    for (const rdn of certificate.subject.rdns)
      for (const { oid: type, value } of rdn) {
        if (value === '') return `attribute ${type} is empty`;
        const bound = bounds[type];
        // Code points are never more than code units: most values need no counting.
        if (bound !== undefined && value.length > bound && [...value].length > bound)
          return `attribute ${type} is longer than ${bound}`;
      }
    return undefined;
  },
};
