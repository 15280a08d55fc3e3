/** RFC 5280 appendix A.1: the country. */
import { oid } from '../../../codec/index.ts';
import type { CertificateRule } from '../rule.ts';

/** A code, not a word. */
export const countryName: CertificateRule = {
  name: 'country_name',
  severity: 'error',
  citation: 'RFC 5280 appendix A.1 (X520countryName); ISO 3166-1',
  requires: 'A country is two capital letters.',
  check: ({ certificate }) =>
    certificate.subject.rdns.some((rdn) =>
      rdn.some(({ oid: type, value }) => type === oid.countryName && !/^[A-Z]{2}$/.test(value)),
    )
      ? 'the country is not two capital letters'
      : undefined,
};
