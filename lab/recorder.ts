/** Stands between a SCEP client and a server, and remembers what both sent. */
import { createServer, request as httpRequest } from 'node:http';
import type { AddressInfo } from 'node:net';
import { parseEnvelopedData } from '../src/codec/index.ts';
import { PkiError } from '../src/errors.ts';
import {
  decodeMessageParameter,
  type MessageType,
  type PkiMessage,
  type PkiStatus,
  parseScepQuery,
  pkiStatusOf,
  readPkiMessage,
  verifyPkiMessage,
} from '../src/scep/index.ts';

/** How a message was signed and encrypted. */
export interface SeenManner {
  readonly digest: string;
  /** Empty if there is no envelope. */
  readonly cipher: string;
  /** Of the first recipient; empty if it is no key transport, as with a key on a curve. */
  readonly keyTransport: string;
}

/** One PKIMessage, as far as the clear tells. */
export interface SeenMessage extends SeenManner {
  readonly messageType: MessageType | undefined;
  readonly transactionID: string;
  /** DER of the public key that signed it. */
  readonly signerSpki: Uint8Array;
  /** What came back; absent if nothing did yet, or no CertRep. */
  answer?: SeenManner & { readonly pkiStatus: PkiStatus };
}

/** A running recorder. */
export interface Recorder {
  /** The URL that takes the place of the target's. */
  readonly url: string;
  /** Names of the operations that were asked for, as they came. */
  readonly operations: readonly string[];
  readonly messages: readonly SeenMessage[];
  close(): Promise<void>;
}

/** Forwards whatever comes to a URL on loopback. */
export async function startRecorder(target: string): Promise<Recorder> {
  const { origin, pathname, port } = new URL(target);
  const operations: string[] = [];
  const messages: SeenMessage[] = [];
  const server = createServer((incoming, outgoing) => {
    const chunks: Buffer[] = [];
    incoming.on('data', (chunk: Buffer) => chunks.push(chunk));
    incoming.on('end', () => {
      const body = Buffer.concat(chunks);
      const query = parseScepQuery(incoming.url?.split('?')[1] ?? '');
      operations.push(query.operation ?? '');
      const message = body.length > 0 ? body : decoded(query);
      const seen = message === undefined ? undefined : seenIn(message);
      if (seen !== undefined) messages.push(seen);
      const forwarded = httpRequest(
        {
          host: '127.0.0.1',
          port,
          path: incoming.url,
          method: incoming.method,
          headers: { ...incoming.headers, host: new URL(origin).host },
        },
        (answer) => {
          outgoing.writeHead(answer.statusCode ?? 502, answer.headers);
          const answered: Buffer[] = [];
          answer.on('data', (chunk: Buffer) => answered.push(chunk));
          answer.on('end', () => {
            const read = answerIn(Buffer.concat(answered));
            if (seen !== undefined && read !== undefined) seen.answer = read;
            outgoing.end(Buffer.concat(answered));
          });
          answer.on('error', () => outgoing.destroy());
        },
      );
      forwarded.on('error', () => outgoing.destroy());
      forwarded.end(body);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port: own } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${own}${pathname}`,
    operations,
    messages,
    close: async () => {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

function decoded({ operation, message }: ReturnType<typeof parseScepQuery>): Uint8Array | undefined {
  if (operation?.toLowerCase() !== 'pkioperation' || message === undefined) return undefined;
  try {
    return decodeMessageParameter(message);
  } catch {
    return undefined;
  }
}

/** What cannot be read is the server's to judge. */
function seenIn(bytes: Uint8Array): SeenMessage | undefined {
  return ifReadable(() => {
    const message = verifyPkiMessage(readPkiMessage(bytes));
    const { messageType, transactionID, signer } = message;
    return { messageType, transactionID, signerSpki: signer.spki, ...mannerIn(message) };
  });
}

/** Nor is what is no CertRep ours: the client judges it. */
function answerIn(bytes: Uint8Array): SeenMessage['answer'] {
  return ifReadable(() => {
    const message = verifyPkiMessage(readPkiMessage(bytes));
    return { pkiStatus: pkiStatusOf(message.signerInfo), ...mannerIn(message) };
  });
}

function mannerIn({ digest, pkcsPKIEnvelope }: PkiMessage): SeenManner {
  // An answer that is not SUCCESS may have empty content.
  const envelope =
    pkcsPKIEnvelope === undefined || pkcsPKIEnvelope.length === 0
      ? undefined
      : parseEnvelopedData(pkcsPKIEnvelope);
  const transport = envelope?.recipients[0]?.keyTransport;
  const name = transport?.name === 'rsaes-oaep' ? `oaep-${transport.digest}` : transport?.name;
  return { digest, cipher: envelope?.cipher.name ?? '', keyTransport: name ?? '' };
}

function ifReadable<Read>(read: () => Read): Read | undefined {
  try {
    return read();
  } catch (cause) {
    if (!(cause instanceof PkiError)) throw cause;
    return undefined;
  }
}
