/** SCEP servers of a tenant as processes of their own, with their databases as a test chooses them; and devices that enrol. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { parse, stringify } from 'yaml';
import { freePort } from '../../lab/ports.ts';
import { type PartProcess, startPart } from '../../lab/processes.ts';
import { type PreparedRequest, prepareRequests } from '../../lab/requests.ts';
import type { Tenant } from '../../lab/tenant.ts';
import { type Certificate, type Crl, parseCrl } from '../../src/codec/index.ts';
import { parseCaCertificates, parseCertRep } from '../../src/scep/index.ts';
import type { PostgresDatabase } from '../../src/store/index.ts';

/** A server of a tenant that runs. */
export interface TestServerProcess {
  readonly config: string;
  readonly base: string;
  readonly part: PartProcess;
  /** What it has logged so far. */
  log(): string;
}

/** The keys of the server's part that a test changes. */
export type ServerChanges = Readonly<Record<string, unknown>>;

/**
 * Writes a configuration of the tenant's server, without the tunnel and the MDM, and with a data folder, a port and a
 * folder of publishing of its own.
 */
export async function serverConfig(
  tenant: Tenant,
  name: string,
  changes: ServerChanges,
): Promise<{ readonly path: string; readonly base: string }> {
  const raw = parse(await readFile(tenant.configs.server, 'utf8')) as {
    server: {
      endpoints: { readonly name: string }[];
      ra: { automatic?: Record<string, unknown>; signing?: unknown };
    };
    connector?: unknown;
  };
  delete raw.connector;
  // Any of the servers may get the request of a device that has asked another for the RA's certificates.
  if (raw.server.ra.signing === undefined)
    raw.server.ra.automatic = { ...raw.server.ra.automatic, folder: 'ra-of-all' };
  const port = await freePort();
  Object.assign(raw.server, {
    listen: `127.0.0.1:${port}`,
    dataFolder: `data-${name}`,
    threads: 1,
    publish: { targets: [{ name: 'folder', folder: `published-${name}` }], urlCheck: 'off' },
    endpoints: raw.server.endpoints.filter((endpoint) => endpoint.name !== 'intune'),
    ...changes,
  });
  const path = join(tenant.folder, 'server', `${name}.yaml`);
  await writeFile(path, stringify(raw), { mode: 0o600 });
  return { path, base: `http://127.0.0.1:${port}` };
}

/** How a configuration names a PostgreSQL database; the password is in a file beside it. */
export async function databaseConfig(tenant: Tenant, database: PostgresDatabase): Promise<object> {
  const { password = '', ...rest } = database;
  const file = join(tenant.folder, 'server', 'database.password');
  await writeFile(file, `${password}\n`, { mode: 0o600 });
  return { postgres: { ...rest, password: `file:${file}` } };
}

/** Starts a server of such a configuration; resolves when it serves. */
export async function startServerProcess(
  tenant: Tenant,
  name: string,
  changes: ServerChanges,
): Promise<TestServerProcess> {
  const { path, base } = await serverConfig(tenant, name, changes);
  const part = await startPart(name, path, tenant.folder);
  return { config: path, base, part, log: () => readFileSync(part.logFile, 'utf8') };
}

/** The full CRL that a server serves. */
export async function crlAt(base: string, issuer: string): Promise<Crl> {
  const answer = await fetch(`${base}/crl/${issuer}.crl`);
  assert.equal(answer.status, 200);
  return parseCrl(new Uint8Array(await answer.arrayBuffer()));
}

/** A device's request at the endpoint `static`, which can be sent again and again. */
export class TestDevice {
  readonly #request: PreparedRequest;
  readonly #signers: readonly Certificate[];

  private constructor(request: PreparedRequest, signers: readonly Certificate[]) {
    this.#request = request;
    this.#signers = signers;
  }

  /** So many devices with what a server offers. */
  static async make(tenant: Tenant, base: string, count: number): Promise<TestDevice[]> {
    const served = await caCertificatesAt(base);
    const requests = await prepareRequests(count, served.encryption, tenant.staticSecret);
    return requests.map((request) => new TestDevice(request, served.all));
  }

  /** Sends the request to a server: the serial number of the certificate, or the HTTP status of another answer. */
  async enrol(base: string): Promise<{ readonly serialNumber: string } | { readonly status: number }> {
    const { body, transactionID, senderNonce, key } = this.#request;
    const answer = await fetch(`${base}/scep/static?operation=PKIOperation`, {
      method: 'POST',
      headers: { 'content-type': 'application/x-pki-message' },
      body: body as Uint8Array<ArrayBuffer>,
      signal: AbortSignal.timeout(30_000),
    });
    const octets = new Uint8Array(await answer.arrayBuffer());
    if (answer.status !== 200) {
      if (answer.status === 503) assert.notEqual(answer.headers.get('retry-after'), null);
      return { status: answer.status };
    }
    const certRep = await parseCertRep(octets, {
      signers: this.#signers,
      transactionID,
      senderNonce,
      decrypt: (transport, encryptedKey) => key.decrypt(transport, encryptedKey),
    });
    assert.equal(certRep.pkiStatus, 'SUCCESS', JSON.stringify(certRep));
    const [certificate] = certRep.certificates;
    assert.ok(certificate);
    return { serialNumber: certificate.serialNumber };
  }
}

async function caCertificatesAt(base: string) {
  const answer = await fetch(`${base}/scep/static?operation=GetCACert`);
  assert.equal(answer.status, 200);
  return parseCaCertificates(
    new Uint8Array(await answer.arrayBuffer()),
    answer.headers.get('content-type') ?? '',
  );
}

/** Asks until it holds, for half a minute at most. */
export async function until(what: string, holds: () => boolean | Promise<boolean>): Promise<void> {
  const end = Date.now() + 30_000;
  while (!(await holds())) {
    assert.ok(Date.now() < end, `it did not come to it: ${what}`);
    await sleep(100);
  }
}
