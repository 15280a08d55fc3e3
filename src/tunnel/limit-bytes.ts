/** A bound for a body that has no declared length, or does not keep to it. */
import { Transform } from 'node:stream';
import { PkiError } from '../errors.ts';

/** Passes bytes on until there are more than `bytesMax`; then fails with PkiError `request_too_large`. */
export function limitBytes(bytesMax: number): Transform {
  let bytes = 0;
  return new Transform({
    transform(chunk: Buffer, _encoding, done) {
      bytes += chunk.length;
      if (bytes > bytesMax) done(new PkiError('request_too_large', `more than ${bytesMax} bytes`));
      else done(null, chunk);
    },
  });
}
