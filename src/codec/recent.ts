/** Remembers what was last made of some octets. */
import { sameOctets } from './der.ts';

interface Kept<Value> {
  readonly octets: Uint8Array;
  readonly value: Value;
}

/**
 * Values by the octets that they were made of. Each has one place, which two of its octets choose; whoever comes there
 * next takes it. That costs a comparison to ask, and who fills the places of others costs them time and nothing else.
 */
export class Recent<Value> {
  readonly #places: (Kept<Value> | undefined)[];

  /** @param size at most this many are kept */
  constructor(size: number) {
    this.#places = Array.from({ length: size });
  }

  /** The value that is kept for these octets, else what `make` answers, which is then kept. Throws what `make` throws. */
  of(octets: Uint8Array, make: (octets: Uint8Array) => Value): Value {
    // In the middle of a public key lie octets of its own.
    const middle = octets.length >> 1;
    const place = (((octets[middle] ?? 0) << 8) | (octets[middle + 1] ?? 0)) % this.#places.length;
    const kept = this.#places[place];
    if (kept !== undefined && sameOctets(kept.octets, octets)) return kept.value;
    const value = make(octets);
    // A copy: the octets may be a view of a whole message, which must not be kept in memory for them.
    this.#places[place] = { octets: Uint8Array.from(octets), value };
    return value;
  }
}
