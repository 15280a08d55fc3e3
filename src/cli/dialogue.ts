/** Questions to the operator at the terminal, or to whatever is piped into the program. */
import { createInterface } from 'node:readline';
import { type Readable, Writable } from 'node:stream';
import { PkiError } from '../errors.ts';

/** Where questions go and answers come from. */
export interface DialogueStreams {
  readonly input: Readable & { readonly isTTY?: boolean };
  readonly output: Writable;
}

/** Asks one question after the other. Nothing is read before the first one. */
export class Dialogue {
  readonly #input: DialogueStreams['input'];
  readonly #output: Writable;
  #opened: { readonly lines: AsyncIterator<string>; close(): void } | undefined;
  #echo: 'shown' | 'hidden' = 'shown';

  constructor({ input, output }: DialogueStreams = { input: process.stdin, output: process.stderr }) {
    this.#input = input;
    this.#output = output;
  }

  #open(): AsyncIterator<string> {
    if (this.#opened === undefined) {
      const terminal = this.#input.isTTY === true;
      const echo = new Writable({
        write: (chunk, _encoding, done) => {
          if (this.#echo === 'shown') this.#output.write(chunk);
          done();
        },
      });
      const source = createInterface({
        input: this.#input,
        terminal,
        historySize: 0,
        ...(terminal ? { output: echo } : {}),
      });
      this.#opened = { lines: source[Symbol.asyncIterator](), close: () => source.close() };
    }
    return this.#opened.lines;
  }

  /**
   * The answer, or the proposal if it is empty.
   *
   * @throws PkiError `ceremony_answers` if there is no answer and no proposal, or the input has ended.
   */
  async ask(question: string, proposal?: string): Promise<string> {
    const answer = (
      await this.#read(proposal === undefined ? `${question}: ` : `${question} [${proposal}]: `)
    ).trim();
    if (answer !== '') return answer;
    if (proposal === undefined) throw unanswered(question);
    return proposal;
  }

  /** The answer, of which nothing is shown. Throws like `ask`. */
  async askSecret(question: string): Promise<string> {
    this.#output.write(`${question}: `);
    this.#echo = 'hidden';
    try {
      const answer = await this.#read('');
      if (answer === '') throw unanswered(question);
      return answer;
    } finally {
      this.#echo = 'shown';
      this.#output.write('\n');
    }
  }

  /** A new secret, asked for twice. Throws `ceremony_answers` also if the two differ. */
  async askNewSecret(question: string): Promise<string> {
    const first = await this.askSecret(question);
    if ((await this.askSecret(`${question}, again`)) === first) return first;
    throw new PkiError('ceremony_answers', `${question}: the two answers differ`);
  }

  /**
   * Goes on at `yes` alone.
   *
   * @throws PkiError `ceremony_answers` at every other answer.
   */
  async confirm(question: string): Promise<void> {
    const answer = await this.ask(`${question} Type yes to go on`);
    if (answer.toLowerCase() !== 'yes')
      throw new PkiError('ceremony_answers', `${question} The answer was no.`);
  }

  /** Lets the program end. */
  close(): void {
    this.#opened?.close();
  }

  async #read(prompt: string): Promise<string> {
    // The terminal’s line editor knows only what is written once it is there.
    const lines = this.#open();
    this.#output.write(prompt);
    const { value, done } = await lines.next();
    if (done === true) {
      throw new PkiError(
        'ceremony_answers',
        `${prompt === '' ? 'a secret' : `“${prompt.trim()}”`} was asked for and nobody answers: give it as an option`,
      );
    }
    return value;
  }
}

function unanswered(question: string): PkiError {
  return new PkiError('ceremony_answers', `${question}: there is no answer`);
}
