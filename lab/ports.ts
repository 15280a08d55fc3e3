/** Ports on loopback for the parts of a lab. */
import { createServer } from 'node:net';

/** Whether nobody listens on a loopback port. */
function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const probe = createServer();
    probe.once('error', () => resolve(false));
    probe.listen(port, '127.0.0.1', () => probe.close(() => resolve(true)));
  });
}

function anyFree(): Promise<number> {
  return new Promise((resolve, reject) => {
    const probe = createServer();
    probe.once('error', reject);
    probe.listen(0, '127.0.0.1', () => {
      const address = probe.address();
      probe.close(() => resolve(typeof address === 'object' && address !== null ? address.port : 0));
    });
  });
}

/** The preferred port if it is free, else another free one. */
export async function freePort(preferred?: number): Promise<number> {
  return preferred !== undefined && (await isFree(preferred)) ? preferred : await anyFree();
}
