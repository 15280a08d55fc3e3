/** RFC 5280 §4.1.2.4, appendix A.1: how names are written. */
import { DerReader, isPrintable, latin1, oid, tag } from '../../../codec/index.ts';
import type { CertificateRule } from '../rule.ts';

/** Types of their own; everything else is a DirectoryString. */
const stringTypes: Readonly<Record<string, readonly number[]>> = {
  [oid.domainComponent]: [tag.ia5String],
  [oid.emailAddress]: [tag.ia5String],
  [oid.countryName]: [tag.printableString],
};
const directoryString: readonly number[] = [tag.printableString, tag.utf8String];

/** One way to write each name, so that comparing octets is comparing names. */
export const nameEncoding: CertificateRule = {
  name: 'name_encoding',
  severity: 'error',
  citation: 'RFC 5280 §4.1.2.4, appendix A.1; X.690 §11.6',
  requires:
    'Attributes of the subject are PrintableString or UTF8String (domain component and e-mail address IA5String, country PrintableString), and stand in the order of DER.',
  check: ({ elements }) => {
    const name = new DerReader(elements.subject).enter(tag.sequence);
    while (!name.done) {
      const rdn = name.enter(tag.set);
      let before: Uint8Array | undefined;
      while (!rdn.done) {
        const raw = rdn.raw(tag.sequence);
        if (before !== undefined && Buffer.compare(before, raw) >= 0)
          return 'the attributes of an RDN are not in ascending order';
        before = raw;
        const attribute = new DerReader(raw).enter(tag.sequence);
        const type = attribute.oid();
        const value = attribute.element();
        if (!(stringTypes[type] ?? directoryString).includes(value.tag))
          return `attribute ${type} has string type ${value.tag.toString(16)}`;
        if (value.tag === tag.printableString && !isPrintable(latin1(value.content)))
          return `attribute ${type} holds what no PrintableString can`;
      }
    }
    return undefined;
  },
};
