/** Stands between a SCEP client and the edge, and remembers what the client sent. */
import { createServer, request as httpRequest } from 'node:http';
import type { AddressInfo } from 'node:net';
import { parseEnvelopedData, parsePublicKeyInfo } from '../src/codec/index.ts';
import { PkiError } from '../src/errors.ts';
import {
  decodeMessageParameter,
  type MessageType,
  parseScepQuery,
  readPkiMessage,
  verifyPkiMessage,
} from '../src/scep/index.ts';

/** One PKIMessage, as far as the clear tells. */
export interface SeenMessage {
  readonly messageType: MessageType | undefined;
  /** `RSA-2048` or a curve: of the certificate that signed it. */
  readonly signerKey: string;
  readonly digest: string;
  /** Empty if there is no envelope. */
  readonly cipher: string;
  readonly keyTransport: string;
}

/** A running recorder. */
export interface Recorder {
  /** The URL that takes the place of the target's. */
  readonly url: string;
  /** Names of the operations that were asked for, each once. */
  readonly operations: ReadonlySet<string>;
  readonly messages: readonly SeenMessage[];
  close(): Promise<void>;
}

/** Forwards whatever comes to a URL on loopback. */
export async function startRecorder(target: string): Promise<Recorder> {
  const { origin, pathname, port } = new URL(target);
  const operations = new Set<string>();
  const messages: SeenMessage[] = [];
  const server = createServer((incoming, outgoing) => {
    const chunks: Buffer[] = [];
    incoming.on('data', (chunk: Buffer) => chunks.push(chunk));
    incoming.on('end', () => {
      const body = Buffer.concat(chunks);
      const query = parseScepQuery(incoming.url?.split('?')[1] ?? '');
      operations.add(query.operation ?? '');
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
          answer.pipe(outgoing);
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
  try {
    const { messageType, digest, pkcsPKIEnvelope, signer } = verifyPkiMessage(readPkiMessage(bytes));
    const key = parsePublicKeyInfo(signer.spki);
    const envelope = pkcsPKIEnvelope === undefined ? undefined : parseEnvelopedData(pkcsPKIEnvelope);
    return {
      messageType,
      digest,
      signerKey: key.type === 'rsa' ? `RSA-${key.bits}` : key.type === 'ec' ? key.curve : key.oid,
      cipher: envelope?.cipher.name ?? '',
      keyTransport: envelope?.recipients[0]?.keyTransport.name ?? '',
    };
  } catch (cause) {
    if (!(cause instanceof PkiError)) throw cause;
    return undefined;
  }
}
