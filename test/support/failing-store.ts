/** A real store whose next write fails: before it is on record, or after, when only the answer is lost. */
import { PkiError } from '../../src/errors.ts';
import type { PkiStore } from '../../src/store/index.ts';

/** When a write fails. */
export type FailureMoment = 'not persisted' | 'persisted, but an error';

/** Both moments, for tables. */
export const failureMoments: readonly FailureMoment[] = ['not persisted', 'persisted, but an error'];

/** Writes of a store, and the read that a renewal rests on. */
export type StoreWrite =
  | 'appendAudit'
  | 'reserveSerial'
  | 'recordCertificate'
  | 'abandonIntents'
  | 'revoke'
  | 'release'
  | 'reserveCrlNumber'
  | 'recordCrl'
  | 'recordNotified'
  | 'holdRequest'
  | 'decideRequest'
  | 'createChallenge'
  | 'forgetReplaced'
  | 'certificateBySerial';

/** Makes writes fail; everything else goes to the real store. */
export class StoreFailures {
  readonly #planned: { write: StoreWrite; moment: FailureMoment; times: number }[] = [];
  /** How often each write was tried. */
  readonly tried = new Map<string, number>();

  /** The next calls of this write fail with `store_unavailable`. */
  plan(write: StoreWrite, moment: FailureMoment, times = 1): void {
    this.#planned.push({ write, moment, times });
  }

  /** Failures that have not happened yet. */
  get pending(): number {
    return this.#planned.reduce((sum, { times }) => sum + times, 0);
  }

  /** The store with failures. */
  readonly wrap = (store: PkiStore): PkiStore =>
    new Proxy(store, {
      get: (target, property) => {
        const member: unknown = Reflect.get(target, property, target);
        if (typeof member !== 'function') return member;
        return (...parameters: unknown[]) => {
          this.tried.set(String(property), (this.tried.get(String(property)) ?? 0) + 1);
          const plan = this.#planned.find(({ write }) => write === property);
          if (plan === undefined) return Reflect.apply(member, target, parameters);
          plan.times -= 1;
          if (plan.times === 0) this.#planned.splice(this.#planned.indexOf(plan), 1);
          return this.#fail(plan.moment, () => Reflect.apply(member, target, parameters));
        };
      },
    });

  async #fail(moment: FailureMoment, write: () => unknown): Promise<never> {
    if (moment === 'persisted, but an error') await write();
    throw new PkiError('store_unavailable', `a planned failure: ${moment}`);
  }
}
