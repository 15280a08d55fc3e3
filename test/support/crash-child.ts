/**
 * A server that dies while it works: `node crash-child.ts FOLDER WORK WRITE MOMENT [SERIAL]`. It opens the store in the
 * folder, does the work, and is killed, as a power cut would, at the first write of that name: before the store is asked,
 * or when it has answered. It ends with status 3 if that write never comes. The folder holds the request, and the issuing CA
 * as `issuing.key.pem` and `issuing.pem`.
 */
import { createPrivateKey } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseCertificate, parseCertificationRequest, parsePem } from '../../src/codec/index.ts';
import type { PkiStore } from '../../src/store/index.ts';
import { FixtureClock, fixtureKey, issuer, openTestAuthorities } from './authorities-fixture.ts';

const [folder = '', work = '', write = '', moment = '', serialNumber = ''] = process.argv.slice(2);

function killAt(store: PkiStore): PkiStore {
  return new Proxy(store, {
    get: (target, property) => {
      const member: unknown = Reflect.get(target, property, target);
      if (typeof member !== 'function') return member;
      if (property !== write) return (...parameters: unknown[]) => Reflect.apply(member, target, parameters);
      return async (...parameters: unknown[]) => {
        if (moment === 'persisted, but an error') await Reflect.apply(member, target, parameters);
        process.kill(process.pid, 'SIGKILL');
        // The signal is on its way: nothing after this write may happen.
        await new Promise(() => {});
      };
    },
  });
}

const read = (name: string) => readFileSync(join(folder, name), 'utf8');
const certificate = parseCertificate(parsePem(read('issuing.pem'), 'CERTIFICATE')[0]);
const clock = new FixtureClock();
const { ca, ra } = await openTestAuthorities({
  folder,
  storeOf: killAt,
  clock,
  issuer: {
    ...issuer,
    certificate,
    chain: [certificate.raw],
    key: fixtureKey(createPrivateKey(read('issuing.key.pem'))),
  },
});
const change = { issuer: 'issuing', serialNumber, actor: 'operator test', text: '' };
const works: Readonly<Record<string, () => Promise<unknown>>> = {
  enrol: () =>
    ra.enrol({
      endpoint: 'scripted',
      transactionID: 'transaction-1',
      csr: parseCertificationRequest(readFileSync(join(folder, 'request.csr'))),
      challengePassword: 'the challenge',
      source: 'test',
      receivedAt: clock.now(),
    }),
  revoke: () => ca.revoke({ ...change, reason: 'keyCompromise' }),
  hold: () => ca.revoke({ ...change, reason: 'certificateHold' }),
  release: () => ca.release(change),
  publish: () => ca.publishCrls('issuing'),
};
await works[work]?.();
process.exit(3);
