/** RFC 5280 §4.2.1.10: which names a CA may give. */
import { contextConstructed, oid, readDer, tag } from '../../../codec/index.ts';
import type { CertificateRule } from '../rule.ts';

/** Constraints on a name space: in a CA's certificate only, and such that they constrain. */
export const nameConstraints: CertificateRule = {
  name: 'name_constraints',
  severity: 'error',
  citation: 'RFC 5280 §4.2.1.10; X.690 §11.5',
  requires:
    'nameConstraints stands only in a CA’s certificate, permits or excludes something, and has neither minimum nor maximum.',
  check: (subject) => {
    const extension = subject.extension(oid.nameConstraints);
    if (extension === undefined) return undefined;
    if (subject.role === 'end-entity') return 'nameConstraints in an end entity’s certificate';
    return readDer(extension.value, tag.sequence, (reader) => {
      let fault: string | undefined = reader.done ? 'nameConstraints that constrain nothing' : undefined;
      for (const place of [contextConstructed(0), contextConstructed(1)]) {
        const subtrees = reader.enterOptional(place);
        if (subtrees?.done === true) fault ??= 'an empty list of subtrees';
        while (subtrees?.done === false) {
          const subtree = subtrees.enter(tag.sequence);
          subtree.skip();
          if (!subtree.done) fault ??= 'a subtree with a minimum or maximum';
        }
      }
      return fault;
    });
  },
};
