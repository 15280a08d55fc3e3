/** One request over one HTTP/2 stream, and its answer back. */
import type { IncomingMessage, ServerResponse } from 'node:http';
import {
  type ClientHttp2Stream,
  constants,
  type IncomingHttpHeaders,
  type IncomingHttpStatusHeader,
} from 'node:http2';
import type { Transform } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { PkiError } from '../errors.ts';
import { endToEndHeaders } from './headers.ts';
import { limitBytes } from './limit-bytes.ts';
import { hearWhetherWhole, sayWhenWhole } from './whole-body.ts';

/**
 * An answer without a declared length is held up to this size to declare it: old and HTTP/1.0 clients cannot read
 * chunks. SCEP answers have some kilobytes; what is larger is a CRL, and is passed on as it comes.
 */
const HELD_ANSWER_BYTES_MAX = 1024 * 1024;

/** RFC 9110 §15: answers that never have a body. The length that 304 may carry is that of another answer. */
const bodylessStatuses = new Set([204, 205, 304]);

/**
 * Sends the body of `request` up the stream and the stream's answer to `response`, each no faster than its reader.
 * Resolves when the answer is complete. Whatever goes wrong, the stream is closed.
 *
 * @throws PkiError `request_too_large` (more than `bodyBytesMax` came), `tunnel_timeout` (no head of an answer within
 *   `timeoutMs`), `tunnel_unavailable` (the connection or the answer broke off, or stood still for `timeoutMs`). If
 *   `response.headersSent` then, part of the answer is out.
 */
export async function forward(exchange: {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  readonly stream: ClientHttp2Stream;
  readonly bodyBytesMax: number;
  readonly timeoutMs: number;
}): Promise<void> {
  const { request, response, stream, timeoutMs } = exchange;
  // The client is gone: nobody waits for the answer.
  response.once('close', () => stream.close(constants.NGHTTP2_CANCEL));
  const isWhole = hearWhetherWhole(stream);
  const limited = limitBytes(exchange.bodyBytesMax);
  try {
    const head = answerHead(stream, limited, timeoutMs);
    if (stream.writable) {
      if (request.headers.expect !== undefined) response.writeContinue();
      sayWhenWhole(stream, limited);
      request.pipe(limited).pipe(stream);
    }
    await relay(await head, stream, response, isWhole, timeoutMs);
  } finally {
    request.unpipe(limited);
    stream.close(constants.NGHTTP2_CANCEL);
  }
}

type AnswerHead = IncomingHttpHeaders & IncomingHttpStatusHeader;

function answerHead(stream: ClientHttp2Stream, body: Transform, timeoutMs: number): Promise<AnswerHead> {
  return new Promise((resolve, reject) => {
    const deadline = setTimeout(
      () => reject(new PkiError('tunnel_timeout', `no answer within ${timeoutMs} ms`)),
      timeoutMs,
    );
    stream.once('response', (head) => {
      clearTimeout(deadline);
      resolve(head);
    });
    body.on('error', (error) => {
      reject(error);
      stream.close(constants.NGHTTP2_CANCEL);
    });
    stream.once('close', () => {
      clearTimeout(deadline);
      reject(brokenOff());
    });
  });
}

async function relay(
  head: AnswerHead,
  stream: ClientHttp2Stream,
  response: ServerResponse,
  isWhole: () => boolean,
  timeoutMs: number,
): Promise<void> {
  const status = head[':status'] ?? 0;
  if (status < 200 || status > 599) {
    throw new PkiError('tunnel_unavailable', `the answer has status ${status}`);
  }
  stream.setTimeout(timeoutMs, () => stream.close(constants.NGHTTP2_CANCEL));

  const headers = endToEndHeaders(head);
  if (bodylessStatuses.has(status)) {
    response.writeHead(status, headers).end();
    return;
  }
  if (headers['content-length'] === undefined) {
    const held = await hold(stream, HELD_ANSWER_BYTES_MAX);
    if (held !== 'too-long') {
      if (!isWhole()) throw brokenOff();
      response.writeHead(status, { ...headers, 'content-length': held.length }).end(held);
      return;
    }
  }
  response.writeHead(status, headers);
  await pipeline(stream, response, { end: false }).catch((cause: unknown) => {
    throw brokenOff(cause);
  });
  if (!isWhole()) throw brokenOff();
  response.end();
}

/** Reads all of the stream; if it is longer than `bytesMax`, puts back what was read. */
function hold(stream: ClientHttp2Stream, bytesMax: number): Promise<Buffer | 'too-long'> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    let bytes = 0;
    const take = (chunk: Buffer) => {
      chunks.push(chunk);
      bytes += chunk.length;
      if (bytes <= bytesMax) return;
      stream.off('data', take).pause();
      stream.unshift(Buffer.concat(chunks));
      resolve('too-long');
    };
    if (stream.destroyed) reject(brokenOff());
    stream.on('data', take);
    stream.once('end', () => resolve(Buffer.concat(chunks)));
    stream.once('close', () => reject(brokenOff()));
  });
}

function brokenOff(cause?: unknown): PkiError {
  return new PkiError('tunnel_unavailable', 'the connection or the answer broke off', { cause });
}
