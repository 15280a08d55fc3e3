/** Random octets in small portions. */
import { randomFillSync } from 'node:crypto';

const POOL_BYTES = 4096;
const pool = Buffer.allocUnsafeSlow(POOL_BYTES);
let next = POOL_BYTES;

/**
 * So many fresh octets of the system's generator, for nonces, serial numbers and identifiers: at most 256. They are drawn
 * in larger portions, because one call for a few octets costs as much as for thousands; each is given out once. For keys
 * call the generator itself: what lies in the pool is known to whoever reads this process's memory now.
 */
export function randomOctets(count: number): Uint8Array {
  if (next + count > POOL_BYTES) {
    randomFillSync(pool);
    next = 0;
  }
  const octets = new Uint8Array(count);
  octets.set(pool.subarray(next, next + count));
  pool.fill(0, next, next + count);
  next += count;
  return octets;
}
