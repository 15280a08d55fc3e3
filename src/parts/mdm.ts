/** The stand-in for Intune as a part. */
import type { Config } from '../config.ts';
import { secretFromReference } from '../keys/index.ts';
import type { ChallengeRecipient, ChallengeSigner, Mdm } from '../mdm/index.ts';
import type { Clock, Log } from '../telemetry.ts';
import { openIdentity, tlsIdentity } from './identity.ts';
import type { Part } from './part.ts';

/** Starts the stand-in for Intune. */
export async function startMdm(config: NonNullable<Config['mdm']>, log: Log, clock: Clock): Promise<Part> {
  const mdm = await openMdmOf(config, log, clock);
  return { name: 'MDM', addresses: [mdm.publicUrl], close: () => mdm.close() };
}

/**
 * Opens the stand-in for Intune without its doors, for one command of an administrator, and closes it again.
 *
 * @throws PkiError as `start` does, and whatever `work` throws.
 */
export async function withMdm<T>(
  config: NonNullable<Config['mdm']>,
  log: Log,
  clock: Clock,
  work: (mdm: Mdm) => Promise<T>,
): Promise<T> {
  const { Mdm, MdmStore } = await import('../mdm/index.ts');
  const store = MdmStore.open(config.databaseFile);
  try {
    return await work(new Mdm({ store, ...(await challengeParties(config)), clock, log }));
  } finally {
    store.close();
  }
}

async function challengeParties(config: NonNullable<Config['mdm']>): Promise<{
  readonly challengeSigner: ChallengeSigner;
  readonly challengeRecipient: ChallengeRecipient;
}> {
  const signer = await openIdentity(config.challengeSigner, 'sign');
  const recipient = await openIdentity(config.challengeRecipient, 'decrypt');
  return {
    challengeSigner: {
      certificate: signer.certificate,
      sign: (algorithm, data) => signer.key.sign(algorithm, data),
    },
    challengeRecipient: {
      certificate: recipient.certificate,
      decrypt: (keyTransport, encryptedKey) => recipient.key.decrypt(keyTransport, encryptedKey),
    },
  };
}

async function openMdmOf(config: NonNullable<Config['mdm']>, log: Log, clock: Clock) {
  const { openMdm } = await import('../mdm/index.ts');
  const tls =
    config.certificate === undefined || config.key === undefined
      ? undefined
      : tlsIdentity({ certificate: config.certificate, key: config.key });
  return await openMdm({
    databaseFile: config.databaseFile,
    ...config.listen,
    tls,
    publicUrl: config.publicUrl,
    tenant: config.tenant,
    applications: config.applications.map(({ appId, secret, roles }) => ({
      appId,
      secret: secretFromReference(secret),
      roles,
    })),
    pkcsConnectors: config.pkcsConnectors.map(({ name, secret }) => ({
      name,
      secret: secretFromReference(secret),
    })),
    ...(await challengeParties(config)),
    log,
    clock,
  });
}
