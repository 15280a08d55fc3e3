/** A list of checks that a run makes before the reader's eyes, and its exit status. */
import { styleText } from 'node:util';

/** Makes checks and remembers whether all of them held. */
export class Checks {
  #failed = 0;
  #held = 0;

  /** Runs one check: it holds if `work` answers without throwing; what it answers is printed behind the title. */
  async check(title: string, work: () => Promise<string | undefined>): Promise<void> {
    const start = performance.now();
    const paint = (style: 'green' | 'red', text: string) =>
      process.stdout.isTTY ? styleText(style, text) : text;
    try {
      const said = await work();
      this.#held += 1;
      const ms = Math.round(performance.now() - start);
      console.log(`  ${paint('green', 'ok')}    ${title}${said === undefined ? '' : `: ${said}`} (${ms} ms)`);
    } catch (cause) {
      this.#failed += 1;
      console.log(
        `  ${paint('red', 'FAIL')}  ${title}: ${cause instanceof Error ? cause.message : String(cause)}`,
      );
    }
  }

  /** A heading between groups of checks. */
  section(title: string): void {
    console.log(`\n${process.stdout.isTTY ? styleText('bold', title) : title}`);
  }

  /** Prints the sum and answers the exit status: 0 only if there were checks and all held. */
  conclude(): 0 | 1 {
    console.log(`\n${this.#held} passed, ${this.#failed} failed`);
    return this.#failed === 0 && this.#held > 0 ? 0 : 1;
  }
}

/** Fails the running check. */
export function demand(condition: boolean, otherwise: string): asserts condition {
  if (!condition) throw new Error(otherwise);
}
