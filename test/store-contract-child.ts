/**
 * Another process on the same store, for `store-contract.ts`: it opens the store as the JSON in its first argument says,
 * prints `ready`, waits for a line on standard input, and works. What it prints after that has resolved before.
 */

import { once } from 'node:events';
import { writeSync } from 'node:fs';
import type { PkiDatabase, PkiStore } from '../src/store/index.ts';
import {
  auditOf,
  challengeOf,
  claimOf,
  type Elsewhere,
  heldOf,
  hex,
  instant,
  intentOf,
  issuedOf,
} from './support/store-fixture.ts';

/** What a child is told to do. */
export type ChildTask =
  | {
      /** Fight over the same serials, replayKeys, certificates and CRL numbers as the others; print what was won. */
      readonly task: 'race';
      readonly name: string;
      readonly rounds: number;
    }
  /** Write until killed, one line for each write that has resolved. */
  | { readonly task: 'write'; readonly name: string }
  /** Take the lead, print what came of it, and keep it until killed. */
  | { readonly task: 'lead' };

/** What a racing child has won. */
export interface Spoils {
  readonly serials: number[];
  readonly claims: number[];
  /** Held requests that it decided about, and the only certificates of devices that may have one. */
  readonly decisions: number[];
  readonly limits: number[];
  readonly revocations: number[];
  readonly crlNumbers: number[];
}

const { elsewhere, job } = JSON.parse(process.argv[2] ?? '') as { elsewhere: Elsewhere; job: ChildTask };
const module = (await import(elsewhere.module)) as Record<
  string,
  (argument: PkiDatabase) => Promise<PkiStore>
>;
const store = await module[elsewhere.open]?.(elsewhere.argument);
if (store === undefined) throw new Error(`${elsewhere.module} has no ${elsewhere.open}`);
print('ready');
await once(process.stdin, 'data');
process.stdin.unref();
if (job.task === 'race') print(JSON.stringify(await race(store, job.name, job.rounds)));
else if (job.task === 'write') await write(store, job.name);
else await lead(store);
await store.close();

async function race(store: PkiStore, name: string, rounds: number): Promise<Spoils> {
  const spoils: Spoils = {
    serials: [],
    claims: [],
    decisions: [],
    limits: [],
    revocations: [],
    crlNumbers: [],
  };
  // In an order of its own, or the first to start would stay ahead and win them all.
  const order = Array.from({ length: rounds }, (_, round) => ({ round, at: Math.random() }))
    .sort((a, b) => a.at - b.at)
    .map(({ round }) => round);
  const run = async () => {
    for (let round = order.pop(); round !== undefined; round = order.pop()) {
      const own = `${name}-${round}`;
      const held = await store.heldRequest({ requestID: `held-${round}` });
      const [decision, limited, serial, claim, revocation, crlNumber] = await Promise.all([
        // All children decide about the same request …
        store.decideRequest({
          id: held?.id ?? 0,
          status: name === 'one' ? 'approved' : 'denied',
          at: instant(1),
          by: name,
          comment: '',
          audit: auditOf({ actor: name }),
        }),
        // … want the one certificate that a device may have …
        store.reserveSerial(
          intentOf({
            requestID: `${own}-limit`,
            serialNumber: `04${hex(name)}${hex(round)}`,
            device: `limited ${round}`,
          }),
          undefined,
          'process',
          { certificatesMax: 1, notAfterLater: instant(0) },
        ),
        // … the same serial for requests of their own …
        store.reserveSerial(intentOf({ requestID: `${own}-serial`, serialNumber: `00${hex(round)}` })),
        // … the same challenge for serials of their own …
        store.reserveSerial(
          intentOf({ requestID: `${own}-claim`, serialNumber: `01${hex(name)}${hex(round)}` }),
          claimOf({ requestID: `${own}-claim`, replayKey: `challenge-${round}` }),
        ),
        // … and to revoke the same certificate, which the parent has made.
        store.revoke({
          issuer: 'issuing',
          serialNumber: `02${hex(round)}`,
          reason: 'superseded',
          at: instant(1),
          audit: auditOf({ actor: name }),
        }),
        store.reserveCrlNumber('issuing'),
      ]);
      if (decision === 'decided') spoils.decisions.push(round);
      if (limited === 'reserved') spoils.limits.push(round);
      if (serial === 'reserved') spoils.serials.push(round);
      if (claim === 'reserved') spoils.claims.push(round);
      if (revocation === 'revoked') spoils.revocations.push(round);
      spoils.crlNumbers.push(crlNumber);
    }
  };
  await Promise.all(Array.from({ length: 6 }, run));
  return spoils;
}

async function lead(store: PkiStore): Promise<void> {
  const taken = await store.takeLead();
  print(taken !== undefined && (await taken.isHeld()) ? 'leads' : 'follows');
  if (taken !== undefined) await new Promise((resolve) => setTimeout(resolve, 300_000));
}

async function write(store: PkiStore, name: string): Promise<never> {
  for (let round = 0; ; round++) {
    const own = `${name}-${round}`;
    const intent = intentOf({ requestID: own, serialNumber: `03${hex(round)}` });
    await store.reserveSerial(intent, claimOf({ requestID: own, replayKey: own }));
    print(`reserved ${round}`);
    await store.recordCertificate(issuedOf(intent, { event: 'enrolment.issued', reference: own }));
    print(`issued ${round}`);
    await store.recordNotified({ endpoint: 'intune', replayKey: own }, instant(2));
    print(`notified ${round}`);
    await store.revoke({
      issuer: intent.issuer,
      serialNumber: intent.serialNumber,
      reason: 'keyCompromise',
      at: instant(3),
      audit: auditOf({ event: 'certificate.revoked', reference: own }),
    });
    print(`revoked ${round}`);
    await store.createChallenge(challengeOf({ challengeHash: own }));
    print(`challenge ${round}`);
    const held = `held-${own}`;
    await store.holdRequest({
      request: heldOf({ requestID: held, replayKey: held }),
      waitingMax: 1000,
      audit: auditOf({ event: 'enrolment.held', reference: held }),
    });
    print(`held ${round}`);
    await store.decideRequest({
      id: (await store.heldRequest({ requestID: held }))?.id ?? 0,
      status: 'approved',
      at: instant(1),
      by: name,
      comment: '',
      audit: auditOf({ event: 'enrolment.approved', reference: held }),
    });
    print(`approved ${round}`);
    const crlNumber = await store.reserveCrlNumber(name);
    await store.recordCrl({
      issuer: name,
      partition: 0,
      kind: 'full',
      crlNumber,
      thisUpdate: instant(4),
      nextUpdate: instant(5),
      change: round,
      crl: Buffer.from(own),
    });
    print(`crl ${crlNumber}`);
  }
}

/** Synchronously: what was printed is out, whatever kills the process next. */
function print(line: string): void {
  writeSync(1, `${line}\n`);
}
