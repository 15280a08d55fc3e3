/** Bodies of answers, up to a size. */

/**
 * The octets of an answer.
 *
 * @returns `undefined` if there are more than `sizeBytesMax`; the rest is not read
 */
export async function readBody(response: Response, sizeBytesMax: number): Promise<Buffer | undefined> {
  const pieces: Uint8Array[] = [];
  let sizeBytes = 0;
  // Leaving the loop ends the connection.
  for await (const piece of response.body ?? []) {
    sizeBytes += piece.length;
    if (sizeBytes > sizeBytesMax) return undefined;
    pieces.push(piece);
  }
  return Buffer.concat(pieces);
}
