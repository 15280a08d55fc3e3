/** The command line in this process, and a server's folder for it to work with. */
import { writeFileSync } from 'node:fs';
import { mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Command } from 'commander';
import { buildProgram } from '../../src/cli/index.ts';
import { buildPem } from '../../src/codec/index.ts';
import { hashStaticSecret } from '../../src/ra/index.ts';
import { certificates, type FixtureKey, keys, staticSecret } from './authorities-fixture.ts';

/** Makes a temporary folder with a configuration over the keys of the fixture, endpoints `one-time` and `static`; whoever calls removes it. */
export async function newSite(): Promise<{ readonly folder: string; readonly config: string }> {
  const folder = await mkdtemp(join(tmpdir(), 'leafgate-cli-'));
  const write = (name: string, text: string) => writeFileSync(join(folder, name), text, { mode: 0o600 });
  const writeKey = (name: string, { keyObject }: FixtureKey) => {
    const passphrase = `passphrase of ${name}`;
    const pem = keyObject.export({ type: 'pkcs8', format: 'pem', cipher: 'aes-256-cbc', passphrase });
    write(`${name}.key.pem`, String(pem));
    write(`${name}.passphrase`, passphrase);
    return { file: `${name}.key.pem`, passphrase: `file:${name}.passphrase` };
  };
  const pem = (...list: readonly { readonly raw: Uint8Array }[]) =>
    list.map(({ raw }) => buildPem('CERTIFICATE', raw)).join('');
  write('chain.pem', pem(certificates.issuing, certificates.root));
  write('ra-signing.pem', pem(certificates.raSigning, certificates.issuing));
  write('ra-encryption.pem', pem(certificates.raEncryption, certificates.issuing));
  write('hash.key', 'k'.repeat(32));
  write('static.hash', await hashStaticSecret(staticSecret));
  const endpoint = (name: string, validator: object) => ({
    name,
    paths: [`/scep/${name}`],
    issuer: 'issuing',
    template: 'client-authentication',
    validators: [validator],
  });
  write(
    'leafgate.yaml',
    JSON.stringify({
      server: {
        listen: '127.0.0.1:0',
        dataFolder: 'data',
        issuers: [
          {
            name: 'issuing',
            certificate: 'chain.pem',
            key: writeKey('issuing', keys.issuing),
            crlUrls: ['http://pki.test/crl/issuing.crl'],
            caIssuersUrls: ['http://pki.test/aia/issuing.crt'],
          },
        ],
        ra: {
          signing: { certificate: 'ra-signing.pem', key: writeKey('ra-signing', keys.raSigning) },
          encryption: { certificate: 'ra-encryption.pem', key: writeKey('ra-encryption', keys.raEncryption) },
          challengeHashKey: 'file:hash.key',
        },
        endpoints: [
          endpoint('one-time', { oneTime: {} }),
          endpoint('static', { staticSecret: { hash: 'file:static.hash' } }),
        ],
      },
    }),
  );
  return { folder, config: join(folder, 'leafgate.yaml') };
}

/** Everything that a command wrote. */
export interface Output {
  readonly out: string;
  readonly error: string;
}

/** What is written to the console while `act` runs. */
export async function outputOf(act: () => unknown): Promise<Output> {
  const log = console.log;
  const errorLog = console.error;
  const out: string[] = [];
  const error: string[] = [];
  console.log = (...parts: unknown[]) => out.push(`${parts.join(' ')}\n`);
  console.error = (...parts: unknown[]) => error.push(`${parts.join(' ')}\n`);
  try {
    await act();
  } finally {
    console.log = log;
    console.error = errorLog;
  }
  return { out: out.join(''), error: error.join('') };
}

/** Makes a command throw where it would end the process. */
export function thrownInstead(command: Command): Command {
  command.exitOverride().configureOutput({ writeErr: () => {}, writeOut: () => {} });
  for (const inner of command.commands) thrownInstead(inner);
  return command;
}

/** Runs a command in this process; rejects with what it throws. */
export async function leafgate(...words: string[]): Promise<string> {
  const program = thrownInstead(buildProgram());
  const { out } = await outputOf(() => program.parseAsync(['node', 'leafgate', ...words]));
  return out;
}
