/** RFC 5280 §4.2.1.6: IP addresses. */
import { contextPrimitive, oid, readDer, tag } from '../../../codec/index.ts';
import type { CertificateRule } from '../rule.ts';

const IP_ADDRESS = contextPrimitive(7);

/** An address, not a network and not a text. */
export const ipAddresses: CertificateRule = {
  name: 'ip_addresses',
  severity: 'error',
  citation: 'RFC 5280 §4.2.1.6',
  requires: 'An iPAddress has 4 or 16 octets.',
  check: (subject) => {
    const extension = subject.extension(oid.subjectAltName);
    if (extension === undefined) return undefined;
    return readDer(extension.value, tag.sequence, (names) => {
      let fault: string | undefined;
      while (!names.done) {
        const { tag: kind, content } = names.element();
        if (kind === IP_ADDRESS && content.length !== 4 && content.length !== 16)
          fault ??= `an IP address of ${content.length} octets`;
      }
      return fault;
    });
  },
};
