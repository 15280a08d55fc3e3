/** Publishing in a server: the targets of a configuration, what goes there, and the URLs that must serve it. */
import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { crlUrlsOf, type Issuer } from '../ca/index.ts';
import { PkiError } from '../errors.ts';
import { secretFromReference } from '../keys/index.ts';
import {
  azureBlobTarget,
  caCertificateObjects,
  checkUrls,
  crlObject,
  folderTarget,
  type PublishedObject,
  type PublishedUrl,
  Publisher,
  s3Target,
  type Target,
  type TargetState,
  type UrlFinding,
} from '../publish/index.ts';
import type { CaStore, CrlState } from '../store/index.ts';
import type { Clock, Log } from '../telemetry.ts';
import type { ServerConfig } from './authorities.ts';
import { readChain } from './identity.ts';

type TargetConfig = NonNullable<ServerConfig['publish']>['targets'][number];

/** What publishing needs of the CA side. */
interface Sources {
  readonly store: Pick<CaStore, 'crlStates' | 'latestCrl'>;
  readonly issuers: readonly Issuer[];
}

/** Opens the targets of a configuration. Throws PkiError `config_invalid`, `key_locked` for a secret. */
export async function openTargets(config: ServerConfig): Promise<Target[]> {
  return await Promise.all((config.publish?.targets ?? []).map(openTarget));
}

async function openTarget({ name, folder, azureBlob, s3 }: TargetConfig): Promise<Target> {
  if (folder !== undefined) return folderTarget({ name, folder });
  if (s3 !== undefined)
    return await s3Target({ name, ...s3, secretAccessKey: secretFromReference(s3.secretAccessKey) });
  const { connectionString, sasUrl, entra, container = '', prefix = '' } = azureBlob ?? {};
  if (connectionString !== undefined) {
    const credential = {
      type: 'connectionString',
      connectionString: secretFromReference(connectionString),
      container,
    } as const;
    return await azureBlobTarget({ name, credential, prefix });
  }
  if (sasUrl !== undefined) {
    const credential = { type: 'sasUrl', sasUrl: secretFromReference(sasUrl) } as const;
    return await azureBlobTarget({ name, credential, prefix });
  }
  if (entra === undefined) throw new PkiError('config_invalid', `the target ${name} has no place`);
  const { account: accountUrl, secret, ...client } = entra;
  const credential = {
    type: 'entra',
    ...client,
    accountUrl,
    secret: secretFromReference(secret),
    container,
  } as const;
  return await azureBlobTarget({ name, credential, prefix });
}

/** A CRL as it is published, and where relying parties look for it. */
interface Shown {
  readonly object: PublishedObject;
  readonly urls: readonly string[];
}

/**
 * Everything that is to be published now, CRLs first, with the URLs of the configuration that must serve it.
 *
 * @throws PkiError `store_unavailable`, `config_invalid` if a file is missing, `crl_malformed`.
 */
export async function publishedNow(config: ServerConfig, { store, issuers }: Sources): Promise<Shown[]> {
  const crls: Shown[] = [];
  const certificates: Shown[] = [];
  for (const issuer of issuers) {
    for (const { partition, kind } of await store.crlStates(issuer.name)) {
      const record = await store.latestCrl(issuer.name, partition, kind);
      if (record === undefined) continue;
      const stem = `${issuer.name}${partition === 0 ? '' : `.${partition}`}${kind === 'full' ? '' : '.delta'}`;
      crls.push({ object: crlObject(stem, record.crl), urls: crlUrlsOf(issuer, partition, kind) });
    }
    const [first, ...rest] = issuer.chain;
    if (first !== undefined)
      certificates.push(...certificatesShown(issuer.name, [first, ...rest], issuer.caIssuersUrls));
  }
  for (const { name, certificate, crl } of config.published) {
    crls.push({ object: crlObject(name, readCrlFile(crl)), urls: [] });
    certificates.push(...certificatesShown(name, readChain(certificate), []));
  }
  return [...crls, ...certificates];
}

function readCrlFile(path: string): Uint8Array {
  try {
    return readFileSync(path);
  } catch (cause) {
    throw new PkiError('config_invalid', `cannot read ${path}`, { cause });
  }
}

/** The URLs serve the certificate alone, or all of them as certs-only CMS if they end like that. */
function certificatesShown(
  name: string,
  chain: [Uint8Array, ...Uint8Array[]],
  urls: readonly string[],
): Shown[] {
  return caCertificateObjects(name, chain).map((object) => ({
    object,
    urls: urls.filter((url) =>
      new URL(url).pathname.endsWith('.p7c') ? object.name.endsWith('.p7c') : object.name.endsWith('.crt'),
    ),
  }));
}

/** The URLs of the configuration with what each must serve. */
export function publishedUrls(shown: readonly Shown[]): PublishedUrl[] {
  return shown.flatMap(({ object, urls }) => urls.map((url) => ({ url, object })));
}

/** Publishing while a server runs. */
export interface Publishing {
  /** To be told which CRLs count, after each look at them: what is new is published at once. */
  noteCrls(states: readonly CrlState[]): void;
  /** How it stands with each target. */
  state(): TargetState[];
  close(): Promise<void>;
}

/** Pauses before each look at the URLs: an edge, a cache or another server may need a moment. */
const URL_CHECK_PAUSES_MS = [3_000, 15_000, 60_000] as const;
/** How long a start that may refuse waits until every target was tried. */
const FIRST_ATTEMPT_MS_MAX = 130_000;

/** When a server comes to publish: as it starts, or later, in the place of one that has lost the lead. */
export type LeadMoment = 'at-start' | 'taken-over';

/**
 * Begins to publish, in the one process that looks after the store, and checks the URLs of the configuration. Only a server
 * that starts can refuse to: one that takes over warns.
 *
 * @throws PkiError `config_invalid`, `key_locked`; `publish_url` if a URL is wrong and the configuration says `refuse`.
 *   Then nothing keeps running.
 */
export async function startPublishing(
  config: ServerConfig,
  sources: Sources,
  moment: LeadMoment,
  log: Log,
  clock: Clock,
): Promise<Publishing> {
  const targets = await openTargets(config);
  const publisher = new Publisher({
    targets,
    objects: async () => (await publishedNow(config, sources)).map(({ object }) => object),
    alarmAfterMs: config.publish?.alarmAfter ?? 0,
    log,
    clock,
  });
  const ending = new AbortController();
  const look = async () =>
    await checkUrls(publishedUrls(await publishedNow(config, sources)), clock.now(), ending.signal);
  const configured = config.publish?.urlCheck ?? 'warn';
  const urlCheck = moment === 'taken-over' && configured === 'refuse' ? 'warn' : configured;
  let checking: Promise<void> = Promise.resolve();
  if (urlCheck === 'refuse') {
    try {
      await whenTried(publisher);
      const wrong = (await look()).filter(({ verdict }) => verdict === 'wrong');
      if (wrong.length > 0)
        throw new PkiError('publish_url', wrong.map(({ url, text }) => `${url} ${text}`).join('\n'));
    } catch (cause) {
      await publisher.close();
      throw cause;
    }
  } else if (urlCheck === 'warn') checking = warnOfUrls(look, log, ending.signal);

  let known: string | undefined;
  return {
    noteCrls: (states) => {
      const now = states.map((crl) => `${crl.issuer} ${crl.partition} ${crl.kind} ${crl.crlNumber}`).join();
      if (known !== now) publisher.wake();
      known = now;
    },
    state: () => publisher.state(),
    close: async () => {
      ending.abort();
      await publisher.close();
      await checking;
    },
  };
}

async function whenTried(publisher: Publisher): Promise<void> {
  const end = Date.now() + FIRST_ATTEMPT_MS_MAX;
  while (publisher.state().some(({ status }) => status === 'unknown') && Date.now() < end) await sleep(20);
}

/**
 * Looks until all is well, or for the last time; then it says loudly what is wrong. Never throws.
 *
 * @param pausesMs before each look
 */
export async function warnOfUrls(
  look: () => Promise<UrlFinding[]>,
  log: Log,
  signal: AbortSignal,
  pausesMs: readonly number[] = URL_CHECK_PAUSES_MS,
): Promise<void> {
  let findings: readonly UrlFinding[] = [];
  for (const pauseMs of pausesMs) {
    try {
      await sleep(pauseMs, undefined, { signal, ref: false });
      findings = await look();
    } catch (cause) {
      if (signal.aborted) return;
      log.warn({ err: cause }, 'the URLs in the certificates could not be checked');
      continue;
    }
    if (signal.aborted) return;
    if (findings.every(({ verdict }) => verdict === 'served')) {
      log.info({ urls: findings.length }, 'the URLs in the certificates serve what was published');
      return;
    }
  }
  for (const { url, object, verdict, text } of findings) {
    if (verdict === 'older') log.warn({ url, object, finding: text }, 'a URL in the certificates is behind');
    if (verdict === 'wrong') {
      log.error(
        { url, object, finding: text, alarm: 'publish-url' },
        'ALARM: a URL in the certificates does not serve what was published; relying parties will refuse certificates',
      );
    }
  }
}
