/**
 * The crypto limit: the private-key operations of one enrolment in a bare loop, and nothing else. Run as a program it
 * measures for the given time and prints rounds a second.
 */
import { spawn } from 'node:child_process';
import {
  constants,
  generateKeyPairSync,
  privateDecrypt,
  publicEncrypt,
  randomBytes,
  sign,
} from 'node:crypto';

/** One enrolment with RSA-2048 throughout: open the envelope, sign the certificate, sign the answer. */
function measure(seconds: number): number {
  const ra = generateKeyPairSync('rsa', { modulusLength: 2048 });
  const ca = generateKeyPairSync('rsa', { modulusLength: 2048 });
  const padding = constants.RSA_PKCS1_PADDING;
  const envelope = publicEncrypt({ key: ra.publicKey, padding }, randomBytes(16));
  const certificate = randomBytes(900);
  const attributes = randomBytes(300);
  const round = () => {
    privateDecrypt({ key: ra.privateKey, padding }, envelope);
    sign('sha256', certificate, ca.privateKey);
    sign('sha256', attributes, ra.privateKey);
  };
  for (let i = 0; i < 100; i += 1) round();
  const start = performance.now();
  let rounds = 0;
  for (; performance.now() - start < seconds * 1000; rounds += 1) round();
  return rounds / ((performance.now() - start) / 1000);
}

/** Runs the loop in so many processes at once; the sum of their rounds a second. */
export async function cryptoLimit(processes: number, seconds: number): Promise<number> {
  const rates = await Promise.all(
    Array.from({ length: processes }, async () => {
      const child = spawn(process.execPath, [import.meta.filename, String(seconds)], {
        stdio: ['ignore', 'pipe', 'inherit'],
      });
      let text = '';
      child.stdout.setEncoding('utf8').on('data', (chunk: string) => {
        text += chunk;
      });
      const code = await new Promise((resolve) => child.once('close', resolve));
      if (code !== 0) throw new Error('the crypto loop failed');
      return Number(text);
    }),
  );
  return rates.reduce((sum, rate) => sum + rate, 0);
}

if (process.argv[1] === import.meta.filename) console.log(measure(Number(process.argv[2])));
