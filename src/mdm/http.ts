/** Opens an MDM: its database, its doors, its listener. */
import type { FastifyInstance, FastifyReply } from 'fastify';
import { type ErrorCode, errorTable, PkiError } from '../errors.ts';
import { boundedServer, type ListenAddress, listen, type TlsServerCertificate } from '../listener.ts';
import { type Clock, type Log, systemClock } from '../telemetry.ts';
import { AccessTokens, type ApplicationRegistration } from './access-tokens.ts';
import type { ChallengeRecipient, ChallengeSigner } from './challenges.ts';
import { addDeviceDoor, deviceOf } from './device-door.ts';
import { Mdm } from './mdm.ts';
import { MdmStore } from './mdm-store.ts';
import { addMicrosoftDoor } from './microsoft-door.ts';
import { addPkcsDoor, type PkcsConnector } from './pkcs-door.ts';

/** What `openMdm` takes. */
export interface MdmOptions extends ListenAddress {
  /** Path of the MDM's own SQLite file; created if absent. */
  readonly databaseFile: string;
  /** Without it the MDM speaks plain HTTP, which is for loopback alone: device tokens and challenges pass here. */
  readonly tls?: TlsServerCertificate | undefined;
  /** `https://host:port` as clients reach it; from the bound address unless it is given. */
  readonly publicUrl?: string | undefined;
  /** GUID or domain name that stands for the tenant. */
  readonly tenant: string;
  /** Who may call the validation service: one app registration an RA. */
  readonly applications: readonly ApplicationRegistration[];
  /** Default `https://api.manage.microsoft.com`, as in the public cloud. It is a name; nobody connects to it here. */
  readonly intuneResource?: string | undefined;
  /** Who may take PKCS requests; nobody if absent. */
  readonly pkcsConnectors?: readonly PkcsConnector[] | undefined;
  readonly challengeSigner: ChallengeSigner;
  /** An RSA key that decrypts RSAES-OAEP with SHA-256. */
  readonly challengeRecipient: ChallengeRecipient;
  readonly log: Log;
  readonly clock?: Clock | undefined;
}

/** An MDM that listens. */
export interface OpenMdm {
  readonly mdm: Mdm;
  readonly address: ListenAddress;
  readonly publicUrl: string;
  /** New TLS handshakes get this certificate; running connections keep theirs. */
  renewTls(tls: TlsServerCertificate): void;
  /** Stops listening, ends running requests, closes the database. */
  close(): Promise<void>;
}

/** Certification requests with their challenge are some 5 KiB; nothing here needs more. */
const BODY_BYTES_MAX = 1024 * 1024;
const CONNECTIONS_MAX = 2000;
const LIFECYCLE_INTERVAL_MS = 30_000;

/**
 * Opens the database and listens.
 *
 * @throws PkiError `store_unavailable`, `store_newer`, `listen_failed`, `config_invalid`.
 */
export async function openMdm(options: MdmOptions): Promise<OpenMdm> {
  const { log, clock = systemClock } = options;
  const store = MdmStore.open(options.databaseFile);
  const mdm = new Mdm({
    store,
    challengeSigner: options.challengeSigner,
    challengeRecipient: options.challengeRecipient,
    clock,
    log,
  });
  const name = 'the MDM';
  let app: FastifyInstance | undefined;
  let port: number;
  let publicUrl = (options.publicUrl ?? '').replace(/\/+$/, '');
  try {
    app = boundedServer(
      { name, tls: options.tls, bodyBytesMax: BODY_BYTES_MAX, connectionsMax: CONNECTIONS_MAX },
      // A URL that cannot be decoded, which the library would give back with words of its own.
      {
        frameworkErrors: (_error, _request, reply) => {
          answerError(reply, 'http_malformed');
        },
      },
    );
    app.setNotFoundHandler((_request, reply) => answerError(reply, 'path_denied'));
    await app.register(async (scope) => {
      addDeviceDoor(scope, mdm, log);
      addPkcsDoor(
        scope,
        mdm.pkcs,
        options.pkcsConnectors ?? [],
        (request) => deviceOf(request, mdm).deviceId,
      );
    });
    await app.register(async (scope) =>
      addMicrosoftDoor(scope, {
        tenant: options.tenant,
        applications: options.applications,
        intuneResource: (options.intuneResource ?? 'https://api.manage.microsoft.com').replace(/\/+$/, ''),
        publicUrl: () => publicUrl,
        tokens: new AccessTokens(clock),
        validationService: mdm.validationService,
        mdm,
        clock,
        log,
      }),
    );
    ({ port } = await listen(app, name, options));
  } catch (cause) {
    await app?.close();
    store.close();
    throw cause;
  }
  const opened = app;
  if (publicUrl === '') {
    const host = options.host.includes(':') ? `[${options.host}]` : options.host;
    publicUrl = `${options.tls === undefined ? 'http' : 'https'}://${host}:${port}`;
  }
  log.info({ host: options.host, port }, 'MDM listens');
  // What is left of a crash, and grace periods that run out.
  const lifecycle = setInterval(() => {
    mdm.enforceLifecycle().catch((cause: unknown) => log.error({ cause }, 'lifecycle not enforced'));
  }, LIFECYCLE_INTERVAL_MS);
  lifecycle.unref();
  return {
    mdm,
    address: { host: options.host, port },
    publicUrl,
    renewTls: (tls) => {
      if (!('setSecureContext' in opened.server)) {
        throw new PkiError('config_invalid', 'the MDM was opened without TLS');
      }
      (opened.server as import('node:https').Server).setSecureContext({ ...tls, minVersion: 'TLSv1.2' });
    },
    close: async () => {
      clearInterval(lifecycle);
      await opened.close();
      store.close();
    },
  };
}

function answerError(reply: FastifyReply, code: ErrorCode): FastifyReply {
  const { http, text } = errorTable[code];
  return reply.code(http).send({ error: code, message: text });
}
