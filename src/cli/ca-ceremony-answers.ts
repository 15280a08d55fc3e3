/** What a whole ceremony is told: read from a YAML file, or asked for at the terminal. */
import { readFileSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { parse as parseYaml } from 'yaml';
import { z } from 'zod';
import { PkiError } from '../errors.ts';
import type { KeyAlgorithm } from '../keys/index.ts';
import type { Dialogue } from './dialogue.ts';

/** Kinds of CA keys, best first. */
export const caKeyAlgorithms = [
  'p-384',
  'p-256',
  'rsa-4096',
  'rsa-3072',
  'rsa-2048',
] as const satisfies readonly KeyAlgorithm[];

const text = z.string().trim().min(1);
const path = text;
const secret = z
  .string()
  .regex(/^(file|env):.+/, 'a reference: file:PATH or env:NAME; never the secret itself');
const urls = z.array(z.url({ protocol: /^https?$/ })).min(1);
const years = z.number().positive().max(50);
const name = z.string().regex(/^[a-z0-9][a-z0-9-]{0,62}$/, 'lower-case letters, digits and hyphens');
const algorithm = z.enum(caKeyAlgorithms);

const answersSchema = z.strictObject({
  operator: text,
  witnesses: z.array(text).default([]),
  root: z.strictObject({
    folder: path,
    subject: text,
    algorithm: algorithm.default('p-384'),
    years: years.default(20),
    pathLength: z.int().min(1).max(10).optional(),
    crlUrls: urls,
    caUrls: urls,
    crlDays: z.int().min(1).max(3660).default(180),
    passphrase: secret.optional(),
    keyPlace: path.optional(),
  }),
  issuing: z
    .array(
      z.strictObject({
        name,
        folder: path,
        subject: text,
        algorithm: algorithm.default('rsa-3072'),
        years: years.default(10),
        pathLength: z.int().min(0).max(9).default(0),
        permitted: z.array(text).default([]),
        excluded: z.array(text).default([]),
        crlUrls: urls,
        caUrls: urls,
        passphrase: secret.optional(),
        keyPlace: path.optional(),
      }),
    )
    .min(1)
    .refine((list) => new Set(list.map((item) => item.name)).size === list.length, 'two of one name'),
  publish: path,
});

/** Everything that a ceremony is told; paths are absolute. Secrets are references or are typed. */
export type CeremonyAnswers = z.output<typeof answersSchema>;

/**
 * Reads an answers file; its paths are relative to its folder.
 *
 * @throws PkiError `ceremony_answers` naming the key and what it takes.
 */
export function readAnswers(file: string): CeremonyAnswers {
  let raw: unknown;
  try {
    raw = parseYaml(readFileSync(file, 'utf8'), { maxAliasCount: 0 });
  } catch (cause) {
    throw new PkiError('ceremony_answers', `${file} cannot be read, or is not YAML`, { cause });
  }
  return parseAnswers(raw, dirname(resolve(file)));
}

/** Checks answers. Throws like `readAnswers`. */
function parseAnswers(raw: unknown, folder: string): CeremonyAnswers {
  const parsed = answersSchema.safeParse(raw);
  if (!parsed.success) {
    throw new PkiError(
      'ceremony_answers',
      parsed.error.issues
        .map((issue) => `${issue.path.join('.') || 'the answers'}: ${issue.message}`)
        .join('\n'),
    );
  }
  const { root, issuing, publish, ...people } = parsed.data;
  const placed = <
    T extends {
      readonly folder: string;
      readonly passphrase?: string | undefined;
      readonly keyPlace?: string | undefined;
    },
  >(
    part: T,
  ): T => ({
    ...part,
    folder: resolve(folder, part.folder),
    ...(part.keyPlace === undefined ? {} : { keyPlace: resolve(folder, part.keyPlace) }),
    ...(part.passphrase?.startsWith('file:') === true
      ? { passphrase: `file:${resolve(folder, part.passphrase.slice(5))}` }
      : {}),
  });
  return { ...people, root: placed(root), issuing: issuing.map(placed), publish: resolve(folder, publish) };
}

/** Asks for everything. Throws like `readAnswers` if an answer is impossible. */
export async function askAnswers(dialogue: Dialogue, folder: string): Promise<CeremonyAnswers> {
  const { ask } = { ask: (question: string, proposal?: string) => dialogue.ask(question, proposal) };
  const listOf = (answer: string) => answer.split(/[;\s]+/).filter((part) => part !== '' && part !== 'none');
  const optional = (answer: string) => (answer === 'ask' ? {} : { passphrase: answer });
  const operator = await ask('Your name, for the transcript');
  const witnesses = (await ask('Witnesses, separated by semicolons', 'none'))
    .split(';')
    .map((witness) => witness.trim())
    .filter((witness) => witness !== '' && witness !== 'none');
  const organisation = await ask('Organisation');
  const base = (
    await ask('Base URL where CRLs and CA certificates will be found', 'http://pki.example')
  ).replace(/\/+$/, '');
  const escapedOrganisation = organisation.replaceAll(/[\\",+;<>]/g, '\\$&');
  const root = {
    folder: await ask(
      'Folder of the offline root, on a medium that is locked away afterwards',
      'offline-root',
    ),
    subject: await ask('Subject of the root', `CN=${escapedOrganisation} Root CA,O=${escapedOrganisation}`),
    algorithm: await ask(`Key of the root (${caKeyAlgorithms.join(', ')})`, 'p-384'),
    years: Number(await ask('Years of the root', '20')),
    crlUrls: listOf(await ask('URL of the root’s CRL', `${base}/crl/root.crl`)),
    caUrls: listOf(await ask('URL of the root’s certificate', `${base}/aia/root.crt`)),
    crlDays: Number(await ask('Days until the root’s next CRL, which needs its key again', '180')),
    ...optional(await ask('Passphrase of the root’s key: file:PATH, env:NAME, or ask', 'ask')),
  };
  const issuing: unknown[] = [];
  do {
    const issuingName = await ask(
      'Name of the issuing CA in the configuration',
      issuing.length === 0 ? 'issuing' : undefined,
    );
    issuing.push({
      name: issuingName,
      folder: await ask('Folder of the issuing CA, on its server', 'server'),
      subject: await ask(
        'Subject of the issuing CA',
        `CN=${escapedOrganisation} Issuing CA ${issuing.length + 1},O=${escapedOrganisation}`,
      ),
      algorithm: await ask(`Key of the issuing CA (${caKeyAlgorithms.join(', ')})`, 'rsa-3072'),
      years: Number(await ask('Years of the issuing CA', '10')),
      permitted: listOf(await ask('Permitted name spaces, such as DNS:example.com', 'none')),
      excluded: listOf(await ask('Excluded name spaces', 'none')),
      crlUrls: listOf(await ask('URL of its CRL', `${base}/crl/${issuingName}.crl`)),
      caUrls: listOf(await ask('URL of its certificate', `${base}/aia/${issuingName}.crt`)),
      ...optional(await ask('Passphrase of its key: file:PATH, env:NAME, or ask', 'ask')),
    });
  } while ((await ask('Another issuing CA? (yes or no)', 'no')) === 'yes');
  const publish = await ask('Folder for what is published: trust bundle and the root’s CRL', 'publish');
  return parseAnswers({ operator, witnesses, root, issuing, publish }, folder);
}
