/** The SCEP server of a lab tenant under load: alone, without its connector, on a database of its own. */
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { parse, stringify } from 'yaml';
import { type PartProcess, startPart } from '../lab/processes.ts';
import type { Tenant } from '../lab/tenant.ts';
import { type Certificate, sameOctets } from '../src/codec/index.ts';
import { parseCaCertificates } from '../src/scep/index.ts';

/** A server that takes load at its endpoint with the static secret. */
export interface ServerUnderLoad {
  readonly part: PartProcess;
  readonly target: { readonly host: string; readonly port: number; readonly path: string };
  readonly databaseFile: string;
  /** What GetCACert serves. */
  readonly served: ReturnType<typeof parseCaCertificates>;
}

/** Starts it; `name` names its database. Without a limit of failures the product's own is in force. */
export async function startServerUnderLoad(
  tenant: Tenant,
  name: string,
  workers: number,
  limits: { readonly failuresPerSecond?: number } = {},
): Promise<ServerUnderLoad> {
  const config = parse(await readFile(tenant.configs.server, 'utf8')) as {
    server: { workers: number; dataFolder: string; endpoints: { limits?: unknown }[] };
    connector?: unknown;
    log?: string;
  };
  // The load goes straight to the SCEP server, as it does at a peer; a fresh database for each run, as there.
  delete config.connector;
  config.log = 'error';
  config.server.workers = workers;
  config.server.dataFolder = `data-${name}`;
  const { failuresPerSecond } = limits;
  if (failuresPerSecond !== undefined) {
    const failures = { rate: `${failuresPerSecond}/s`, burst: failuresPerSecond };
    for (const endpoint of config.server.endpoints) endpoint.limits = { perSource: { failures } };
  }
  const path = join(tenant.folder, 'server', `bench-${name}.yaml`);
  await writeFile(path, stringify(config, { aliasDuplicateObjects: false }), { mode: 0o600 });
  const part = await startPart(`bench-${name}`, path, tenant.folder);
  try {
    const base = `http://127.0.0.1:${tenant.ports.server}/scep/static`;
    const answer = await fetch(`${base}?operation=GetCACert`);
    const served = parseCaCertificates(
      new Uint8Array(await answer.arrayBuffer()),
      answer.headers.get('content-type') ?? '',
    );
    return {
      part,
      target: {
        host: '127.0.0.1',
        port: tenant.ports.server,
        path: '/scep/static?operation=PKIOperation',
      },
      databaseFile: join(tenant.folder, 'server', config.server.dataFolder, 'pki.sqlite'),
      served,
    };
  } catch (cause) {
    await part.stop();
    throw cause;
  }
}

/** Who issued the RA's certificates issues those of devices too. */
export function issuerIn(all: readonly Certificate[], ra: Certificate): Certificate | undefined {
  return all.find(({ subject }) => sameOctets(subject.raw, ra.issuer.raw));
}
