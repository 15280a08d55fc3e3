/**
 * One process of the CA benchmark: `node bench/crl-million.ts ENTRIES` builds and signs a CRL of so many entries, from a
 * database with as many revoked certificates, and prints as JSON how long it took and the most memory that it needed.
 */
import { generateKeyPairSync } from 'node:crypto';
import {
  buildCrl,
  crlNumberExtension,
  nameFromString,
  parseCrl,
  verifyCrlSignature,
} from '../src/codec/index.ts';
import { privateKeyOf } from '../src/keys/index.ts';

/** What it measured. */
export interface MillionResult {
  readonly entries: number;
  readonly seconds: number;
  readonly bytes: number;
  /** Largest resident size of the process, Node.js itself included. */
  readonly peakMiB: number;
  /** The same before the first entry. */
  readonly idleMiB: number;
}

const REASONS = ['keyCompromise', 'superseded', 'cessationOfOperation', 'unspecified'] as const;

/** Serial numbers of 16 octets, as the CA makes them, without a random source to wait for. */
function* entries(count: number): Generator<{
  readonly serialNumber: string;
  readonly revocationDate: Date;
  readonly reason: (typeof REASONS)[number];
}> {
  const since = Date.UTC(2026, 0, 1);
  for (let i = 0; i < count; i += 1) {
    const low = Math.imul(i, 0x9e3779b1) >>> 0;
    yield {
      serialNumber: `5${(0x1000000 + (i >>> 4)).toString(16)}${low.toString(16).padStart(8, '0')}${i
        .toString(16)
        .padStart(16, '0')}`.slice(0, 32),
      revocationDate: new Date(since + (i % 10_000_000) * 1000),
      reason: REASONS[i % REASONS.length] ?? 'unspecified',
    };
  }
}

const peakMiB = () => process.resourceUsage().maxRSS / 1024;

if (import.meta.main) {
  const count = Number(process.argv[2] ?? 1_000_000);
  const key = privateKeyOf(generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey);
  const idleMiB = peakMiB();
  const start = performance.now();
  const crl = await buildCrl(
    {
      signatureAlgorithm: 'rsa-sha256',
      issuer: nameFromString('CN=Issuing CA'),
      thisUpdate: new Date(),
      nextUpdate: new Date(Date.now() + 7 * 86_400_000),
      revoked: entries(count),
      extensions: [crlNumberExtension(1)],
    },
    (algorithm, data) => key.sign(algorithm, data),
  );
  const seconds = (performance.now() - start) / 1000;
  const result: MillionResult = { entries: count, seconds, bytes: crl.length, peakMiB: peakMiB(), idleMiB };
  // Outside of the measurement: what was built must be what it claims to be.
  const parsed = parseCrl(crl);
  if (!verifyCrlSignature(parsed, key.spki)) throw new Error('the CRL does not verify');
  process.stdout.write(JSON.stringify(result));
}
