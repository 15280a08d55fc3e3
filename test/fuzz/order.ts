/** What the fuzzing thread is asked, and what it answers. */
import { INPUT_BYTES_MAX } from './mutate.ts';

/** Names of the targets in `targets.ts`, for whoever must not load what it fuzzes. */
export const targetNames: readonly string[] = [
  'der',
  'certificate',
  'crl',
  'csr',
  'cms',
  'scep-server',
  'scep-client',
  'scep-query',
  'ocsp-request',
  'ocsp-response',
];

/** What it is started with. */
export interface FuzzOrder {
  readonly target: string;
  readonly seconds: number;
  readonly seed: number;
  /** Further inputs to begin with. */
  readonly seeds: readonly Uint8Array[];
  /** Where it writes what it is at: four octets of count, four of length, the input. */
  readonly shared: SharedArrayBuffer;
}

/** What it tells when it is done. */
export interface FuzzReport {
  readonly executions: number;
  readonly seconds: number;
  readonly branches: number;
  /** Of them, those that the committed corpus did not reach. */
  readonly newBranches: number;
  readonly counters: number;
  readonly corpusSize: number;
  readonly minimized: readonly Uint8Array[];
  readonly slowestMs: number;
  /** Octets that stayed in use between the first fifth and the end, beside what the corpus itself takes. */
  readonly heapGrowthBytes: number;
  readonly crash?: { readonly input: Uint8Array; readonly text: string };
}

/** Offset of the input in the shared memory. */
export const SHARED_HEAD_BYTES = 8;
/** Size of the shared memory. */
export const SHARED_BYTES = SHARED_HEAD_BYTES + INPUT_BYTES_MAX;
