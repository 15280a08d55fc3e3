/** What commands share: the configuration file, and the CA side opened for one command. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { type Config, readConfig } from '../config.ts';
import { PkiError } from '../errors.ts';
import { type Authorities, databaseOf, openAuthorities, type ServerConfig } from '../parts/authorities.ts';
import { openPkiStore, type PkiStore } from '../store/index.ts';
import { openLog, systemClock } from '../telemetry.ts';

/** Places where the configuration of a part is looked for if none is named: the working folder, then the lab in it. */
const usualPlaces = (part: 'server' | 'mdm'): string[] => [
  'leafgate.yaml',
  join('leafgate-lab', part, 'leafgate.yaml'),
  '/etc/leafgate/leafgate.yaml',
];

/** Help text of the option that names the configuration. */
export const configOption = [
  '-c, --config <file>',
  'configuration file (default: $LEAFGATE_CONFIG, leafgate.yaml, or the lab in this folder)',
] as const;

/**
 * The configuration that a command works with.
 *
 * @throws PkiError `config_invalid`.
 */
export function loadConfig(path: string | undefined, part: 'server' | 'mdm' = 'server'): Config {
  const places = usualPlaces(part);
  const found = path ?? process.env.LEAFGATE_CONFIG ?? places.find((place) => existsSync(place));
  if (found === undefined) {
    throw new PkiError(
      'config_invalid',
      `no configuration file: name one with --config (looked for ${places.join(', ')})`,
    );
  }
  return readConfig(found);
}

/**
 * The server's part of the configuration that a command works with.
 *
 * @throws PkiError `config_invalid`, also if there is no such part.
 */
export function loadServerConfig(path: string | undefined): ServerConfig {
  const { server } = loadConfig(path);
  if (server === undefined) throw new PkiError('config_invalid', 'the configuration has no `server` part');
  return server;
}

/**
 * Opens the store alone for one command, beside a server that may be running, and closes it again. No key is opened.
 *
 * @throws PkiError as `loadServerConfig` and `openPkiStore`, and whatever `work` throws.
 */
export async function withStore<T>(
  path: string | undefined,
  work: (store: PkiStore) => Promise<T>,
): Promise<T> {
  const server = loadServerConfig(path);
  const store = await openPkiStore(databaseOf(server), server.standby ? 'read' : 'write');
  try {
    return await work(store);
  } finally {
    await store.close();
  }
}

/**
 * Opens the CA side for one command, beside a server that may be running, and closes it again.
 *
 * @throws PkiError `config_invalid` if the configuration has no `server` part, and whatever `work` throws.
 */
export async function withAuthorities<T>(
  path: string | undefined,
  work: (authorities: Authorities, config: ServerConfig) => Promise<T>,
): Promise<T> {
  const server = loadServerConfig(path);
  const authorities = await openAuthorities(server, openLog('warn', 'cli'), systemClock);
  try {
    return await work(authorities, server);
  } finally {
    await authorities.close();
  }
}
