/** What runs: a part of a configuration at work. */

/** A running part. */
export interface Part {
  readonly name: string;
  /** Where it is reached, for people. */
  readonly addresses: readonly string[];
  close(): Promise<void>;
}
