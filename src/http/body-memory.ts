/** How much memory the bodies of requests may take, from their first octet until their request is answered. */
import type { IncomingMessage } from 'node:http';

/**
 * Of all requests that a thread serves at once. As many as may wait and be at work take an eighth of it if their bodies are
 * as long as those of real clients.
 */
const BYTES_MAX = 64 * 1024 * 1024;
/** Of one source: whoever sends long bodies slowly leaves the rest to others. Two thousand bodies of real clients. */
const SOURCE_BYTES_MAX = BYTES_MAX / 4;
/** As long as a PKIMessage with a short challenge is; one of Intune is twice or four times that. */
const FIRST_BYTES = 4 * 1024;

/** Why there is no body: longer than one may be, no memory left for it, or its sender has gone. */
export type NoBody = 'too large' | 'no memory' | 'gone';

/**
 * The memory of all bodies of a thread. Promises that no more than 64 MiB are held at a time, of one source no more than
 * 16 MiB, however many connections there are and however they cut their bodies into pieces. A source is a `sourceKey`.
 */
export class BodyMemory {
  #bytes = 0;
  /** Only of sources that have a body here. */
  readonly #bytesOf = new Map<string, number>();

  /**
   * Reads a body and holds it while `work` is at work with it. If there is none, nothing more of the request is read, and its
   * connection can serve no other.
   *
   * @param bytesMax of one body
   */
  async hold<Result>(
    request: IncomingMessage,
    source: string,
    bytesMax: number,
    work: (body: Uint8Array) => Promise<Result>,
  ): Promise<Result | NoBody> {
    if (Number(request.headers['content-length'] ?? 0) > bytesMax) return 'too large';
    let held = 0;
    /** Counts memory before it is used. */
    const take = (bytes: number): boolean => {
      const ofSource = this.#bytesOf.get(source) ?? 0;
      if (this.#bytes + bytes > BYTES_MAX || ofSource + bytes > SOURCE_BYTES_MAX) return false;
      held += bytes;
      this.#bytes += bytes;
      this.#bytesOf.set(source, ofSource + bytes);
      return true;
    };
    try {
      const body = await read(request, bytesMax, take);
      return typeof body === 'string' ? body : await work(body);
    } finally {
      this.#bytes -= held;
      const left = (this.#bytesOf.get(source) ?? 0) - held;
      if (left > 0) this.#bytesOf.set(source, left);
      else this.#bytesOf.delete(source);
    }
  }
}

/** The whole body, or why there is none. What `take` refuses is not used. */
function read(
  request: IncomingMessage,
  bytesMax: number,
  take: (bytes: number) => boolean,
): Promise<Uint8Array | NoBody> {
  return new Promise((resolve) => {
    // One piece of memory that grows: a list of chunks would cost a hundred octets for a body that comes octet by octet.
    let memory = Buffer.alloc(0);
    let length = 0;
    const end = (body: Uint8Array | NoBody) => {
      request.off('data', onData).off('end', onEnd).off('close', onGone).off('error', onGone);
      // A connection that is being given up may still break; that is nobody's error.
      request.on('error', () => {});
      resolve(body);
    };
    const stop = (why: NoBody) => {
      request.pause();
      end(why);
    };
    const onData = (chunk: Buffer) => {
      const needed = length + chunk.length;
      if (needed > bytesMax) return stop('too large');
      if (needed > memory.length) {
        const size = Math.min(bytesMax, Math.max(FIRST_BYTES, 2 ** Math.ceil(Math.log2(needed))));
        if (!take(size - memory.length)) return stop('no memory');
        const larger = Buffer.allocUnsafeSlow(size);
        memory.copy(larger, 0, 0, length);
        memory = larger;
      }
      chunk.copy(memory, length);
      length = needed;
    };
    const onEnd = () => end(memory.subarray(0, length));
    const onGone = () => end('gone');
    request.on('data', onData).on('end', onEnd).on('close', onGone).on('error', onGone);
  });
}
