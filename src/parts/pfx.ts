/** The PKCS connector in a server: it looks at the MDM again and again. */
import { mkdirSync, readdirSync, readFileSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseCertificate, parsePublicKeyInfo, thumbprintOf } from '../codec/index.ts';
import { errorCodeOf, PkiError } from '../errors.ts';
import { openKey, replaceFile, secretFromReference } from '../keys/index.ts';
import type { Metrics } from '../metrics.ts';
import { PfxConnector, PkcsQueue } from '../pfx/index.ts';
import type { Log } from '../telemetry.ts';
import type { Authorities, ServerConfig } from './authorities.ts';
import { readChain, readText } from './identity.ts';

type PfxConfig = NonNullable<ServerConfig['pfx']>;

/** A connector that runs. */
export interface RunningPfx {
  /** Ends the looking; what is under way is brought to its end. */
  stop(): Promise<void>;
}

/**
 * Starts the connector.
 *
 * @throws PkiError `config_invalid`, `template_denied` if it could never issue; `key_locked` for a secret; as `openKey`.
 */
export async function startPfx(
  config: PfxConfig,
  { ra, ca, issuers }: Pick<Authorities, 'ra' | 'ca' | 'issuers'>,
  log: Log,
  metrics: Metrics,
): Promise<RunningPfx> {
  const issuer = ca.issuer(config.issuer);
  for (const { name } of config.templates) ca.template(name);
  const importKeys = await Promise.all(
    config.importKeys.map(async ({ name, key }) => {
      const opened = await openKey(key, 'decrypt');
      return { name, decrypt: opened.decrypt.bind(opened) };
    }),
  );
  const queue = new PkcsQueue({
    url: config.mdm,
    secret: secretFromReference(config.secret),
    extraCa: config.extraCa === undefined ? undefined : readText(config.extraCa),
  });
  const connector = new PfxConnector({
    queue,
    ra,
    requester: config.requester,
    issuer: config.issuer,
    chain: issuers.find(({ name }) => name === issuer.name)?.chain.map(parseCertificate) ?? [],
    templates: config.templates,
    importKeys,
    form: config.form,
    archive: config.archive === undefined ? undefined : openArchive(config.archive),
    log,
  });
  const stopping = new AbortController();
  const running = look(connector, config.every, stopping.signal, { log, metrics });
  return {
    stop: async () => {
      stopping.abort();
      await running;
      queue.close();
    },
  };
}

async function look(
  connector: PfxConnector,
  everyMs: number,
  signal: AbortSignal,
  { log, metrics }: { readonly log: Log; readonly metrics: Metrics },
): Promise<void> {
  let trouble = '';
  while (!signal.aborted) {
    let isMore = false;
    try {
      const round = await connector.round();
      isMore = round.delivered > 0;
      trouble = '';
      metrics.count('leafgate_pkcs_rounds_total', { outcome: 'worked' });
      for (const [outcome, requests] of Object.entries(round))
        metrics.count('leafgate_pkcs_requests_total', { outcome }, requests);
      if (Object.values(round).some((count) => count > 0)) log.info(round, 'PKCS requests worked on');
    } catch (cause) {
      metrics.count('leafgate_pkcs_rounds_total', { outcome: 'failed' });
      const reason = cause instanceof PkiError ? cause.message : 'an invariant broke';
      // Once: an MDM that is down for a day is to leave one line, and not one for each look.
      if (reason !== trouble)
        log.error({ code: errorCodeOf(cause), reason }, 'no PKCS requests can be had; it is tried again');
      trouble = reason;
    }
    // What is delivered makes room for what waits behind it.
    if (!isMore) await sleep(everyMs, undefined, { signal }).catch(() => {});
  }
}

/** A folder of sealed keys, one file for each certificate. */
function openArchive(config: NonNullable<PfxConfig['archive']>) {
  const [first, second] = config.recovery.map(({ certificate }) =>
    parseCertificate(readChain(certificate)[0]),
  );
  if (first === undefined || second === undefined)
    throw new PkiError('config_invalid', 'server.pfx.archive.recovery: two certificates');
  for (const { spki } of [first, second])
    if (parsePublicKeyInfo(spki).type !== 'rsa')
      throw new PkiError('config_invalid', 'server.pfx.archive.recovery: keys must be RSA');
  if (thumbprintOf(first.raw) === thumbprintOf(second.raw) || Buffer.from(first.spki).equals(second.spki))
    throw new PkiError('config_invalid', 'server.pfx.archive.recovery: two keys, not one twice');
  mkdirSync(config.folder, { recursive: true, mode: 0o700 });
  const pathFor = (requestID: string) => join(config.folder, `${requestID}.p7m`);
  return {
    recovery: [first, second] as const,
    put: (requestID: string, sealed: Uint8Array) => replaceFile(pathFor(requestID), sealed),
    remove: (requestID: string) => rm(pathFor(requestID), { force: true }),
  };
}

/** The archived keys in a folder, by the requestID of their certificate. Throws PkiError `config_invalid`. */
export function archivedIn(folder: string): string[] {
  try {
    return readdirSync(folder)
      .filter((name) => name.endsWith('.p7m'))
      .map((name) => name.slice(0, -4))
      .sort();
  } catch (cause) {
    throw new PkiError('config_invalid', `the archive ${folder} cannot be read`, { cause });
  }
}

/** One archived key, sealed. Throws PkiError `config_invalid`. */
export function archivedKey(folder: string, requestID: string): Uint8Array {
  if (!/^[a-z0-9-]{1,100}$/.test(requestID) || !archivedIn(folder).includes(requestID))
    throw new PkiError('config_invalid', `the archive holds nothing for ${requestID}`);
  return readFileSync(join(folder, `${requestID}.p7m`));
}
