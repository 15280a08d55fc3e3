/** A CA as an administrator sets it up: root, two issuing CAs and a server, all by the product's own command line. */
import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { copyFile, mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { stringify } from 'yaml';
import { leafgate } from './command.ts';
import { freePort } from './ports.ts';
import { type PartProcess, startPart } from './processes.ts';
import { ensureSoftHsm, newSoftToken, softHsmModule } from './third-party/softhsm.ts';

const OPENSSL = '/usr/bin/openssl';
const TOKEN = 'leafgate demo';
const ORGANISATION = 'O=LAB – NOT TRUSTED';
const OPENSSL_MS_MAX = 30_000;

/** An issuing CA, as the server's configuration has it. */
export interface IssuerEntry {
  readonly name: string;
  /** PEM chain in the server's folder. */
  certificate: string;
  readonly key: object;
  readonly crlUrls: readonly string[];
  readonly caIssuersUrls: readonly string[];
  readonly ocspUrls: readonly string[];
  readonly [setting: string]: unknown;
}

/** A CA that is only shown. */
export interface PublishedEntry {
  readonly name: string;
  certificate: string;
  readonly crl: string;
}

/** Standard output and error of OpenSSL, and its exit status. */
export interface OpenSslAnswer {
  readonly stdout: string;
  readonly stderr: string;
  readonly status: number;
}

/** Runs OpenSSL, and answers whatever its exit status is. */
export async function tryOpenssl(...args: readonly string[]): Promise<OpenSslAnswer> {
  const options = { maxBuffer: 64 * 1024 * 1024, timeout: OPENSSL_MS_MAX };
  return await promisify(execFile)(OPENSSL, [...args], options).then(
    (said) => ({ ...said, status: 0 }),
    (cause: Partial<OpenSslAnswer> & { readonly code?: unknown; readonly message: string }) => {
      if (typeof cause.code !== 'number') throw new Error(`openssl ${args[0]}: ${cause.message}`);
      return { stdout: cause.stdout ?? '', stderr: cause.stderr ?? '', status: cause.code };
    },
  );
}

/** Runs OpenSSL; its standard output. @throws Error with what it said if its exit status is not 0. */
export async function openssl(...args: readonly string[]): Promise<string> {
  const { stdout, stderr, status } = await tryOpenssl(...args);
  if (status !== 0) throw new Error(`openssl ${args[0]}: ${stderr.trim()}`);
  return stdout;
}

/** The CA in one folder. Its server runs from `start` to `stop`. */
export class CaSite {
  readonly folder: string;
  /** Where its server is reached. */
  readonly url: string;
  /** Where its admin API is. */
  readonly adminUrl: string;
  readonly issuers: IssuerEntry[] = [];
  readonly published: PublishedEntry[] = [];
  /** Targets of `server.publish`. */
  readonly targets: object[] = [];
  /** Entries of `server.ocsp.signers`; for the other CAs the server makes keys. */
  readonly ocspSigners: object[] = [];
  readonly #port: number;
  readonly #adminPort: number;
  #server: PartProcess | undefined;

  private constructor(folder: string, port: number, adminPort: number) {
    this.folder = folder;
    this.#port = port;
    this.#adminPort = adminPort;
    this.url = `http://127.0.0.1:${port}`;
    this.adminUrl = `http://127.0.0.1:${adminPort}`;
  }

  /** Makes the folders, the secrets, and a token of SoftHSM2. */
  static async prepare(folder: string): Promise<CaSite> {
    const site = new CaSite(folder, await freePort(), await freePort());
    await ensureSoftHsm();
    for (const name of ['server', 'public', 'leaves']) await mkdir(site.at(name), { mode: 0o700 });
    await site.#secret('pin', await newSoftToken(folder, TOKEN));
    for (const name of ['root', 'ec', 'ra', 'ocsp', 'challenge-hash']) await site.#secret(name);
    return site;
  }

  /** The name of a CA. */
  subjectOf(name: 'root' | 'rsa' | 'ec'): string {
    return `CN=Leafgate Demo ${name.toUpperCase()} CA,${ORGANISATION}`;
  }

  /** A path in its folder. */
  at(...names: readonly string[]): string {
    return join(this.folder, ...names);
  }

  /** The configuration of its server. */
  get config(): string {
    return this.at('server', 'leafgate.yaml');
  }

  /** Where a key in its token is, as a configuration says it. */
  tokenPlace(label: string): object {
    return {
      pkcs11: { module: softHsmModule, token: TOKEN, label, pin: `file:${this.at('pin.secret')}` },
    };
  }

  /** The same, as options of a command. */
  inToken(label: string): readonly string[] {
    const pin = `file:${this.at('pin.secret')}`;
    return ['--module', softHsmModule, '--token', TOKEN, '--label', label, '--pin', pin];
  }

  /** Options that open the offline root. */
  get withRoot(): readonly string[] {
    return ['--root', this.at('offline-root'), '--passphrase', this.passphrase('root'), '--yes'];
  }

  /** A reference to a secret of the site. */
  passphrase(name: string): string {
    return `file:${this.at(`${name}.secret`)}`;
  }

  /** What a ceremony says of a CA's URLs, as the keys `crlUrls` and `caUrls`. */
  urlsOf(name: string): { crlUrls: [string]; caUrls: [string] } {
    return { crlUrls: [`${this.url}/crl/${name}.crl`], caUrls: [`${this.url}/aia/${name}.crt`] };
  }

  /** The same, as options of a command. */
  urlOptions(name: string): readonly string[] {
    return ['--crl-url', `${this.url}/crl/${name}.crl`, '--ca-url', `${this.url}/aia/${name}.crt`];
  }

  /** The answers file of a ceremony with a root P-384, an issuing CA in the token and one in a file. */
  async writeAnswers(): Promise<string> {
    await writeFile(this.at('rsa.place.yaml'), stringify(this.tokenPlace('rsa')));
    const file = this.at('ceremony.yaml');
    await writeFile(
      file,
      stringify({
        operator: 'the demo',
        root: {
          folder: 'offline-root',
          subject: this.subjectOf('root'),
          algorithm: 'p-384',
          passphrase: this.passphrase('root'),
          ...this.urlsOf('root'),
        },
        issuing: [
          {
            name: 'rsa',
            folder: 'server',
            subject: this.subjectOf('rsa'),
            algorithm: 'rsa-3072',
            keyPlace: 'rsa.place.yaml',
            ...this.urlsOf('rsa'),
          },
          {
            name: 'ec',
            folder: 'server',
            subject: this.subjectOf('ec'),
            algorithm: 'p-256',
            passphrase: this.passphrase('ec'),
            ...this.urlsOf('ec'),
          },
        ],
        publish: 'public',
      }),
    );
    return file;
  }

  /** Adds an issuing CA to the configuration of the server. */
  addIssuer(name: string, certificate: string, key: object, settings: object): void {
    const { crlUrls, caUrls: caIssuersUrls } = this.urlsOf(name);
    const ocspUrls = [`${this.url}/ocsp`];
    this.issuers.push({ name, certificate, key, crlUrls, caIssuersUrls, ocspUrls, ...settings });
  }

  /** Adds a root, or sets another certificate for it: nothing of it stays in the root's folder. */
  async show(name: string, certificate: string, crl: string): Promise<void> {
    await copyFile(certificate, this.at('server', `${name}.pem`));
    await copyFile(crl, this.at('server', `${name}.crl`));
    if (this.published.every((each) => each.name !== name))
      this.published.push({ name, certificate: `${name}.pem`, crl: `${name}.crl` });
  }

  /** Makes the RA's keys, and lets the first issuing CA certify them. */
  async certifyRa(): Promise<void> {
    await this.writeConfig();
    for (const name of ['ra-signing', 'ra-encryption']) {
      const key = ['--file', this.at('server', `${name}.key.pem`), '--passphrase', this.passphrase('ra')];
      const csr = this.at('leaves', `${name}.csr`);
      await leafgate('key', 'generate', '--algorithm', 'rsa-2048', ...key);
      await leafgate('key', 'request', ...key, `CN=Leafgate Demo ${name},${ORGANISATION}`, csr);
      await leafgate('ca', 'issue', name, csr, this.at('server', `${name}.pem`), '--config', this.config);
    }
  }

  /** Writes the configuration of the server as the site stands. */
  async writeConfig(): Promise<void> {
    const raKey = (name: string) => ({
      certificate: `${name}.pem`,
      key: { file: `${name}.key.pem`, passphrase: this.passphrase('ra') },
    });
    const server = {
      listen: `127.0.0.1:${this.#port}`,
      admin: { listen: `127.0.0.1:${this.#adminPort}` },
      dataFolder: 'data',
      serviceIdentity: 'LAB\\svc-leafgate-ra',
      issuers: this.issuers,
      ocsp: { passphrase: this.passphrase('ocsp'), signers: this.ocspSigners },
      published: this.published,
      ...(this.targets.length === 0 ? {} : { publish: { targets: this.targets } }),
      ra: {
        signing: raKey('ra-signing'),
        encryption: raKey('ra-encryption'),
        challengeHashKey: this.passphrase('challenge-hash'),
      },
      endpoints: [
        {
          name: 'one-time',
          paths: ['/scep/one-time'],
          issuer: this.issuers[0]?.name,
          template: 'client-authentication',
          validators: [{ oneTime: {} }],
        },
      ],
    };
    await writeFile(this.config, stringify({ server }), { mode: 0o600 });
  }

  /** Starts the server with the configuration as the site stands; ends the one before. */
  async start(): Promise<void> {
    await this.stop();
    await this.writeConfig();
    this.#server = await startPart('server', this.config, this.folder);
  }

  /** Ends the server. */
  async stop(): Promise<void> {
    await this.#server?.stop();
    this.#server = undefined;
  }

  async #secret(name: string, text = randomBytes(32).toString('base64url')): Promise<void> {
    await writeFile(this.at(`${name}.secret`), `${text}\n`, { mode: 0o600 });
  }
}
