/** Remembers what was last made of some octets. */
import { latin1 } from './der.ts';

/** Values by the octets that they were made of; the least recently used goes when there are too many. */
export class Recent<Value> {
  readonly #values = new Map<string, Value>();
  readonly #size: number;

  /** @param size how many are kept */
  constructor(size: number) {
    this.#size = size;
  }

  /** The value that is kept for these octets, else what `make` answers, which is then kept. Throws what `make` throws. */
  of(octets: Uint8Array, make: (octets: Uint8Array) => Value): Value {
    // A copy: the octets may be a view of a whole message, which must not be kept in memory for them.
    const key = latin1(octets);
    let value = this.#values.get(key);
    if (value === undefined) value = make(octets);
    else this.#values.delete(key);
    // Whoever was set last goes last.
    this.#values.set(key, value);
    if (this.#values.size > this.#size) {
      for (const oldest of this.#values.keys()) {
        this.#values.delete(oldest);
        break;
      }
    }
    return value;
  }
}
