/** RFC 5280 §4.2.2.1: where the issuer's certificate and its OCSP responder are. */
import { oid, readDer, tag } from '../../../codec/index.ts';
import type { CertificateRule } from '../rule.ts';
import { faultOfUrl } from '../urls.ts';

/** Fetched before anything is verified: by http, or it would take a certificate to get a certificate. */
export const informationAccess: CertificateRule = {
  name: 'information_access',
  severity: 'error',
  citation: 'RFC 5280 §4.2.2.1, §8; RFC 6960 §3.1',
  requires: 'authorityInfoAccess names caIssuers and OCSP responders, at least one, by http URLs.',
  check: (subject) => {
    const extension = subject.extension(oid.authorityInfoAccess);
    if (extension === undefined) return undefined;
    return readDer(extension.value, tag.sequence, (descriptions) => {
      let fault: string | undefined = descriptions.done ? 'no access description' : undefined;
      while (!descriptions.done) {
        const description = descriptions.enter(tag.sequence);
        const method = description.oid();
        const location = description.element();
        description.end();
        fault ??=
          method === oid.caIssuers || method === oid.ocsp ? faultOfUrl(location) : `access method ${method}`;
      }
      return fault;
    });
  },
};
