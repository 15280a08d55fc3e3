/**
 * One process of the CA benchmark: `node bench/issuing.ts WHAT SECONDS CONFIG`, where WHAT is `issue` (certificates by RA
 * and CA, recorded durably) or `sign-rsa-2048` / `sign-p-256` (the bare signature in a loop). It gets ready, says so to
 * its parent, begins when it is told to, and answers how many a second.
 */
import { generateKeyPairSync, randomBytes, sign } from 'node:crypto';
import { certificationRequestOf, clientKeys } from '../lab/requests.ts';
import { parseCertificationRequest } from '../src/codec/index.ts';
import { readConfig } from '../src/config.ts';
import { openAuthorities } from '../src/parts/authorities.ts';
import { openLog, systemClock } from '../src/telemetry.ts';

/** What one process is to do. */
export type IssuingWork = 'issue' | 'sign-rsa-2048' | 'sign-p-256';

/** Requests in flight, as many devices would have them. */
const CONCURRENCY = 64;
/** Distinct requests, of more keys than the CA keeps in mind. */
const REQUESTS = 512;
/** V8 compiles in steps; after so many certificates it is done. */
const WARM_UP = 3_000;
/** About as long as the TBSCertificate of a client certificate. */
const TBS_BYTES = 900;

interface Ready {
  /** Does it for so long; answers how many a second. */
  run(seconds: number): Promise<number>;
  close(): Promise<void>;
}

function readyToSign(work: IssuingWork): Ready {
  const { privateKey } =
    work === 'sign-p-256'
      ? generateKeyPairSync('ec', { namedCurve: 'P-256' })
      : generateKeyPairSync('rsa', { modulusLength: 2048 });
  const data = randomBytes(TBS_BYTES);
  for (let i = 0; i < WARM_UP; i += 1) sign('sha256', data, privateKey);
  return {
    run: async (seconds) => {
      const start = performance.now();
      let count = 0;
      for (; performance.now() - start < seconds * 1000; count += 1) sign('sha256', data, privateKey);
      return count / ((performance.now() - start) / 1000);
    },
    close: async () => {},
  };
}

async function readyToIssue(configFile: string): Promise<Ready> {
  const { server } = readConfig(configFile);
  const issuer = server?.issuers[0]?.name;
  if (server === undefined || issuer === undefined) throw new Error('the configuration has no issuing CA');
  const authorities = await openAuthorities(server, openLog('error', 'bench'), systemClock);
  const run = randomBytes(4).toString('hex');
  const keys = await clientKeys(REQUESTS);
  const requests = await Promise.all(
    Array.from({ length: REQUESTS }, (_, index) => {
      const key = keys[index % keys.length];
      if (key === undefined) throw new Error('there are no keys');
      return certificationRequestOf(key, `device-${run}-${index}`);
    }),
  );
  let next = 0;
  const issueWhile = async (goesOn: () => boolean): Promise<number> => {
    let count = 0;
    const one = async () => {
      while (goesOn()) {
        const csr = parseCertificationRequest(requests[next++ % requests.length] ?? new Uint8Array());
        await authorities.ra.enrolService({
          issuer,
          template: 'client-authentication',
          csr,
          operator: 'bench',
        });
        count += 1;
      }
    };
    await Promise.all(Array.from({ length: CONCURRENCY }, one));
    return count;
  };
  let warm = 0;
  await issueWhile(() => warm++ < WARM_UP);
  return {
    run: async (seconds) => {
      const start = performance.now();
      const count = await issueWhile(() => performance.now() - start < seconds * 1000);
      return count / ((performance.now() - start) / 1000);
    },
    close: () => authorities.close(),
  };
}

if (import.meta.main) {
  const [, , work, seconds = '3', config = ''] = process.argv as [
    string,
    string,
    IssuingWork,
    ...(string | undefined)[],
  ];
  const ready = work === 'issue' ? await readyToIssue(config) : readyToSign(work);
  process.once('message', async () => {
    const perSecond = await ready.run(Number(seconds));
    await ready.close();
    process.send?.({ perSecond }, () => process.disconnect?.());
  });
  process.send?.('ready');
}
