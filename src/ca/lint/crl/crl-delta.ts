/** RFC 5280 §5.2.4, §5.2.6: delta CRLs. */
import { DerReader, hex, oid } from '../../../codec/index.ts';
import type { ExtensionElement } from '../elements.ts';
import type { CrlRule } from '../rule.ts';

function numberIn(extension: ExtensionElement): bigint {
  const reader = new DerReader(extension.value);
  const number = reader.integer();
  reader.end();
  return BigInt(`0x${hex(number)}`);
}

/** A delta builds on a CRL that was there before it or came with it, and on no other delta. */
export const crlDelta: CrlRule = {
  name: 'crl_delta',
  severity: 'error',
  citation: 'RFC 5280 §5.2.4, §5.2.6',
  requires: 'A delta CRL builds on a CRL with no higher number than its own, and has no freshestCRL.',
  check: (subject) => {
    const base = subject.extension(oid.deltaCRLIndicator);
    if (base === undefined) return undefined;
    if (subject.extension(oid.freshestCRL) !== undefined) return 'freshestCRL in a delta CRL';
    const number = subject.extension(oid.crlNumber);
    return number !== undefined && numberIn(base) <= numberIn(number)
      ? undefined
      : 'a delta CRL whose base has a higher number';
  },
};
