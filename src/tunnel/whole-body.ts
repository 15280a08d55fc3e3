/**
 * The end of a body, said aloud.
 *
 * When an HTTP/2 stream is cancelled, Node.js first ends its body as if it were complete, and a reader sees an end like
 * any other. Half a PKIMessage or half a CRL must not pass for a whole one, so a whole body is followed by a trailer
 * (RFC 9113 §8.1), and a body without the trailer broke off. Streams that send a body are opened or answered with
 * `waitForTrailers`.
 */
import type { Http2Stream } from 'node:http2';
import type { Readable } from 'node:stream';

const trailer = { name: 'leafgate-body', value: 'whole' };

/** Sends the trailer once `body`, which is piped into the stream, has been sent to its end. */
export function sayWhenWhole(stream: Http2Stream, body: Readable): void {
  let whole = false;
  body.once('end', () => {
    whole = true;
  });
  stream.once('wantTrailers', () => {
    if (whole && !stream.closed) stream.sendTrailers({ [trailer.name]: trailer.value });
  });
}

/** Listens for the trailer from now on. Ask when the stream has ended. */
export function hearWhetherWhole(stream: Http2Stream): () => boolean {
  let whole = false;
  stream.once('trailers', (fields) => {
    whole = fields[trailer.name] === trailer.value;
  });
  return () => whole;
}
