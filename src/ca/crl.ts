/** CRLs of an issuing CA: full ones and deltas, of everything or partition by partition (RFC 5280 §5). */
import { randomInt } from 'node:crypto';
import {
  authorityKeyIdentifierExtension,
  buildCrl,
  crlNumberExtension,
  deltaCrlIndicatorExtension,
  type Extension,
  freshestCrlExtension,
  issuingDistributionPointExtension,
  keyIdentifier,
  nextCrlPublishExtension,
  type RevokedCertificate,
  subjectKeyIdentifierOf,
} from '../codec/index.ts';
import type { CaStore, CrlBase, CrlEntry, CrlKind, CrlState } from '../store/index.ts';
import type { Clock } from '../telemetry.ts';
import type { Issuer } from './issuer.ts';
import { signCrlAfterLint } from './lint/index.ts';

/** A CRL whose successor should have been there for a while. */
export interface OverdueCrl {
  readonly issuer: string;
  readonly partition: number;
  readonly kind: CrlKind;
  /** Until then relying parties get by with the old one. */
  readonly nextUpdate: Date;
}

/** AD CS: thisUpdate lies ten minutes back, for relying parties whose clock is behind. */
const CRL_BACKDATE_MS = 10 * 60 * 1000;
/** What part of the overlap may pass before a successor that is missing is an alarm. */
const ALARM_FRACTION = 0.1;

/** Makes the CRLs that are due. One process at a time should, but nothing breaks if two do: the higher number counts. */
export class RevocationLists {
  readonly #store: CaStore;
  readonly #clock: Clock;

  constructor(store: CaStore, clock: Clock) {
    this.#store = store;
    this.#clock = clock;
  }

  /**
   * Signs and records what is due of every partition, and answers the state of all that count then.
   *
   * @throws PkiError `store_unavailable`, `key_unavailable`. Partitions that come before the failing one are done.
   */
  async publish(issuer: Issuer): Promise<CrlState[]> {
    const known = await this.#store.crlStates(issuer.name);
    const partitions = partitionsOf(issuer, known);
    // Once there are partitions, the CRL of partition 0 speaks no longer of every certificate and must say so: it is
    // made anew before the first of the others.
    const isDivided = partitions.length > 1;
    const becomesDivided = isDivided && !partitions.slice(1).every((number) => hasFull(known, number));
    const states: CrlState[] = [];
    for (const partition of partitions) {
      const own = known.filter((state) => state.partition === partition);
      const mustBeAnew = partition === 0 && becomesDivided;
      states.push(...(await this.#publishPartition(issuer, partition, { own, isDivided, mustBeAnew })));
    }
    return states;
  }

  async #publishPartition(
    issuer: Issuer,
    partition: number,
    situation: {
      readonly own: readonly CrlState[];
      readonly isDivided: boolean;
      readonly mustBeAnew: boolean;
    },
  ): Promise<CrlState[]> {
    const now = this.#clock.now();
    // In this order: read the latest change, reserve a number, read the entries. So a CRL with a higher number lists
    // every change that one with a lower number knows of, and a delta fits any full CRL from its base on, even if two
    // processes work at once. A change in between stands on this CRL and makes the next one due.
    const change = await this.#store.latestChange(issuer.name, partition);
    const atRevocation = issuer.crlAtRevocation ?? (issuer.deltaCrlPeriodMs === undefined ? 'full' : 'delta');
    let full = situation.own.find(({ kind }) => kind === 'full');
    let delta = situation.own.find(({ kind }) => kind === 'delta');
    const making = { issuer, partition, now, change, isDivided: situation.isDivided };
    let crlNumber: number | undefined;
    if (
      full === undefined ||
      situation.mustBeAnew ||
      now.getTime() >= full.nextUpdate.getTime() - issuer.crlOverlapMs ||
      (atRevocation === 'full' && change !== full.change)
    ) {
      crlNumber = await this.#store.reserveCrlNumber(issuer.name);
      full = await this.#make({ ...making, crlNumber, previous: full });
    }
    if (issuer.deltaCrlPeriodMs === undefined) return [full];
    if (
      delta === undefined ||
      // §5.2.4: whoever holds the previous full CRL learns from the delta what the new one says.
      delta.crlNumber < full.crlNumber ||
      now.getTime() >= delta.nextUpdate.getTime() - deltaOverlapMs(issuer) ||
      (atRevocation === 'delta' && change !== delta.change)
    ) {
      // §5.2.3: a full CRL and a delta that are made at the same time have the same number.
      crlNumber ??= await this.#store.reserveCrlNumber(issuer.name);
      // A base counts until its nextUpdate: caches hold it, and a delta of a later base would be of no use to them.
      const base = delta?.base !== undefined && delta.base.nextUpdate > now ? delta.base : full;
      delta = await this.#make({ ...making, crlNumber, base });
    }
    return [full, delta];
  }

  /** Builds, signs and records one CRL. */
  async #make(making: {
    readonly issuer: Issuer;
    readonly partition: number;
    readonly now: Date;
    readonly change: number;
    readonly isDivided: boolean;
    readonly crlNumber: number;
    /** Of a full CRL: the one that it follows, if there is one. */
    readonly previous?: CrlState | undefined;
    /** Of a delta. */
    readonly base?: CrlBase;
  }): Promise<CrlState> {
    const { issuer, partition, now, crlNumber, base } = making;
    const kind: CrlKind = base === undefined ? 'full' : 'delta';
    const [periodMs, overlapMs] =
      kind === 'full'
        ? [issuer.crlPeriodMs, issuer.crlOverlapMs]
        : [issuer.deltaCrlPeriodMs ?? 0, deltaOverlapMs(issuer)];
    const nextPublish = new Date(now.getTime() + periodMs);
    const state: CrlState = {
      issuer: issuer.name,
      partition,
      kind,
      crlNumber,
      thisUpdate: new Date(now.getTime() - CRL_BACKDATE_MS),
      nextUpdate: new Date(nextPublish.getTime() + overlapMs),
      change: making.change,
      ...(base === undefined ? {} : { base: baseOf(base) }),
    };
    const extensions: Extension[] = [
      authorityKeyIdentifierExtension(issuerKeyIdentifier(issuer)),
      crlNumberExtension(crlNumber),
      ...(base === undefined ? [] : [deltaCrlIndicatorExtension(base.crlNumber)]),
      // §5.2.5: without it the CRL would speak of every certificate of the issuer. A delta has that of its base.
      ...(making.isDivided
        ? [
            issuingDistributionPointExtension({
              urls: crlUrlsOf(issuer, partition, 'full'),
              onlyContains: 'userCerts',
            }),
          ]
        : []),
      ...(kind === 'full' && issuer.deltaCrlPeriodMs !== undefined
        ? [freshestCrlExtension(crlUrlsOf(issuer, partition, 'delta'))]
        : []),
      nextCrlPublishExtension(nextPublish),
    ];
    const crl = await buildCrl(
      {
        signatureAlgorithm: issuer.signatureAlgorithm,
        issuer: issuer.certificate.subject,
        thisUpdate: state.thisUpdate,
        nextUpdate: state.nextUpdate,
        revoked: pagesOf(
          this.#store.crlEntries({
            issuer: issuer.name,
            partition,
            // §3.3: an entry stays until one CRL made after the certificate's end has listed it.
            validAt: base?.thisUpdate ?? making.previous?.thisUpdate ?? now,
            ...(base === undefined ? {} : { changedAfter: base.change }),
          }),
        ),
        extensions,
      },
      signCrlAfterLint((algorithm, data) => issuer.key.sign(algorithm, data), issuer.certificate),
    );
    await this.#store.recordCrl({ ...state, crl });
    return state;
  }

  /**
   * The CRLs whose successor should have been published some time ago, long before they end: whatever keeps it from
   * being made needs a person.
   */
  async overdue(issuer: Issuer): Promise<OverdueCrl[]> {
    const now = this.#clock.now().getTime();
    return (await this.#store.crlStates(issuer.name))
      .filter(({ kind, nextUpdate }) => {
        if (kind === 'delta' && issuer.deltaCrlPeriodMs === undefined) return false;
        const overlapMs = kind === 'full' ? issuer.crlOverlapMs : deltaOverlapMs(issuer);
        return now > nextUpdate.getTime() - overlapMs * (1 - ALARM_FRACTION);
      })
      .map(({ partition, kind, nextUpdate }) => ({ issuer: issuer.name, partition, kind, nextUpdate }));
  }
}

async function* pagesOf(pages: AsyncIterable<readonly CrlEntry[]>): AsyncIterable<RevokedCertificate[]> {
  for await (const page of pages) {
    yield page.map(({ serialNumber, at, reason }) => ({ serialNumber, revocationDate: at, reason }));
  }
}

/** What a delta must remember of the CRL that it is based on. */
function baseOf({ crlNumber, thisUpdate, nextUpdate, change }: CrlBase): CrlBase {
  return { crlNumber, thisUpdate, nextUpdate, change };
}

/** AD CS: a delta overlaps no longer than it lives. */
function deltaOverlapMs(issuer: Issuer): number {
  return Math.min(issuer.crlOverlapMs, issuer.deltaCrlPeriodMs ?? 0);
}

/** Partition 0, those of the configuration, and those of earlier ones: their certificates still point there. */
function partitionsOf(issuer: Issuer, known: readonly CrlState[]): number[] {
  const count = issuer.crlPartitions ?? 1;
  const configured = count > 1 ? Array.from({ length: count }, (_, index) => index + 1) : [];
  return [...new Set([0, ...configured, ...known.map(({ partition }) => partition)])].sort((a, b) => a - b);
}

const hasFull = (states: readonly CrlState[], partition: number): boolean =>
  states.some((state) => state.partition === partition && state.kind === 'full');

/** The partition of a new certificate: 0 where there are none, else one of 1 to `crlPartitions`. */
export function crlPartitionFor(issuer: Issuer): number {
  const count = issuer.crlPartitions ?? 1;
  return count === 1 ? 0 : randomInt(1, count + 1);
}

/**
 * Where a CRL of the issuer is served: its `crlUrls` with partition and kind before the `.crl` at their end. Full and
 * undivided `ca.crl`, partition 3 `ca.3.crl`, its delta `ca.3.delta.crl`.
 */
export function crlUrlsOf(
  issuer: Pick<Issuer, 'crlUrls'>,
  partition: number,
  kind: CrlKind,
): readonly string[] {
  const insert = `${partition === 0 ? '' : `.${partition}`}${kind === 'full' ? '' : '.delta'}`;
  return issuer.crlUrls.map((url) => url.replace(/(?=\.crl$)/, insert));
}

/** The key identifier by which an issuer's certificates and CRLs name its key. */
export function issuerKeyIdentifier(issuer: Pick<Issuer, 'certificate'>): Uint8Array {
  return subjectKeyIdentifierOf(issuer.certificate) ?? keyIdentifier(issuer.certificate.spki);
}
