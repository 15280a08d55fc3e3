/** What the commands under `leafgate mdm` share. */
import { PkiError } from '../errors.ts';
import type { Mdm } from '../mdm/index.ts';
import { withMdm } from '../parts/mdm.ts';
import { openLog, systemClock } from '../telemetry.ts';
import { loadConfig } from './context.ts';
import type { ListingOptions } from './output.ts';

/** Options of every command. */
export interface MdmOptions extends ListingOptions {
  readonly config?: string;
}

/**
 * Works on the MDM's database, beside an MDM that may be running.
 *
 * @throws PkiError `config_invalid`, and whatever `work` throws.
 */
export async function run<T>(options: MdmOptions, work: (mdm: Mdm) => Promise<T>): Promise<T> {
  return await withMdm(loadMdmConfig(options.config), openLog('warn', 'cli'), systemClock, work);
}

/** The `mdm` part of the configuration. Throws PkiError `config_invalid` if there is none. */
export function loadMdmConfig(path: string | undefined) {
  const { mdm } = loadConfig(path, 'mdm');
  if (mdm === undefined) throw new PkiError('config_invalid', 'the configuration has no `mdm` part');
  return mdm;
}

/** Rows for printing: the objects as they are. */
export function rowsOf(list: readonly object[]): Record<string, unknown>[] {
  return list.map((item) => ({ ...item }));
}

/** The user of this name. Throws PkiError `request_malformed`. */
export function userNamed(mdm: Mdm, userPrincipalName: string) {
  const user = mdm.user(userPrincipalName);
  if (user === undefined) throw new PkiError('request_malformed', `no user ${userPrincipalName}`);
  return user;
}
