/** The repository door: CRLs and CA certificates for relying parties (RFC 5280 §4.2.1.13, RFC 4387 by URL alone). */
import type { FastifyInstance, FastifyReply } from 'fastify';
import { errorTable } from '../errors.ts';
import type { Clock } from '../telemetry.ts';

/** What is published of one CA. */
export interface PublishedCa {
  /** The name in `/crl/NAME.crl` and `/aia/NAME.crt`; has no dot. */
  readonly name: string;
  /** DER of its certificate. */
  readonly certificate: Uint8Array;
  /** Its newest CRL of a partition (0: undivided), in full or as a delta; asked at each request. */
  readonly crl: (
    partition: number,
    kind: 'full' | 'delta',
  ) => Promise<{ readonly crl: Uint8Array; readonly nextUpdate: Date } | undefined>;
}

/** Caches may keep a CRL for a tenth of its life at most, and never longer than this, so that revocations are seen. */
const CRL_MAX_AGE_SECONDS_MAX = 3600;
const CERTIFICATE_MAX_AGE_SECONDS = 86_400;

/** File names of CRLs: `NAME.crl`, partition 3 `NAME.3.crl`, deltas `NAME.delta.crl` and `NAME.3.delta.crl`. */
const crlFile = /^(?<name>[^.]+)(?:\.(?<partition>[1-9]\d{0,4}))?(?<delta>\.delta)?\.crl$/;

/** Adds the CRLs of each CA below `/crl/`, and `/aia/NAME.crt`. */
export function addRepositoryDoor(app: FastifyInstance, cas: readonly PublishedCa[], clock: Clock): void {
  app.get<{ Params: { file: string } }>('/crl/:file', async (request, reply) => {
    const { name, partition, delta } = crlFile.exec(request.params.file.toLowerCase())?.groups ?? {};
    const ca = cas.find((each) => each.name === name);
    const published = await ca?.crl(Number(partition ?? 0), delta === undefined ? 'full' : 'delta');
    if (published === undefined) return notFound(reply);
    const leftSeconds = Math.floor((published.nextUpdate.getTime() - clock.now().getTime()) / 1000);
    const maxAge = Math.max(0, Math.min(CRL_MAX_AGE_SECONDS_MAX, Math.floor(leftSeconds / 10)));
    return reply
      .header('content-type', 'application/pkix-crl')
      .header('cache-control', `public, max-age=${maxAge}`)
      .send(Buffer.from(published.crl));
  });
  for (const ca of cas) {
    app.get(`/aia/${ca.name}.crt`, (_request, reply) =>
      reply
        .header('content-type', 'application/pkix-cert')
        .header('cache-control', `public, max-age=${CERTIFICATE_MAX_AGE_SECONDS}`)
        .send(Buffer.from(ca.certificate)),
    );
  }
}

function notFound(reply: FastifyReply): FastifyReply {
  return reply
    .code(404)
    .header('content-type', 'text/plain; charset=utf-8')
    .send(`${errorTable.path_denied.text}\n`);
}
