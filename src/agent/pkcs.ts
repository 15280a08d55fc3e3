/** A PFX that a connector encrypted to this device: opened with the device's delivery key, checked, installed. */
import {
  basicConstraintsOf,
  type Certificate,
  nameFromString,
  nameToString,
  openEnvelopedData,
  type Pkcs12,
  parseEnvelopedData,
  parsePkcs12,
  thumbprintOf,
} from '../codec/index.ts';
import { PkiError } from '../errors.ts';
import type { PrivateKey } from '../keys/index.ts';
import { buildSelfSigned } from '../scep/index.ts';
import type { Clock } from '../telemetry.ts';
import type { EventLog } from './event-log.ts';
import type { PfxProfile } from './mdm-client.ts';
import { findTrustedPath, type Trust } from './registration-authority.ts';
import type { DeviceFolder, PfxRecord } from './state.ts';

/** It is a name for a key, which is made anew with the device's folder; nobody looks at its dates but this device. */
const DELIVERY_LIFETIME_MS = 10 * 365 * 24 * 60 * 60 * 1000;

/** The certificate that keys for this device are encrypted to. The MDM vouches for it, by the device's token. */
export async function newDelivery(key: PrivateKey, deviceId: string, now: Date): Promise<Certificate> {
  return await buildSelfSigned(
    {
      subject: nameFromString(`CN=${deviceId},OU=PFX delivery`),
      spki: key.spki,
      notBefore: now,
      notAfter: new Date(now.getTime() + DELIVERY_LIFETIME_MS),
    },
    (algorithm, data) => key.sign(algorithm, data),
  );
}

/** What installing takes. */
export interface PfxOptions {
  readonly folder: DeviceFolder;
  readonly profile: PfxProfile;
  readonly trust: Trust | undefined;
  readonly events: EventLog;
  readonly clock: Clock;
}

/** What became of it. */
export type PfxResult =
  | { readonly outcome: 'installed'; readonly certificate: Certificate; readonly eventId: number }
  | { readonly outcome: 'failed'; readonly detail: string; readonly eventId: number };

/**
 * Opens the PFX of a profile and installs it: the key in its encrypted file first, then the certificates, then the record
 * that makes them count.
 *
 * A PFX that cannot be opened, or whose certificate does not lead to a root of this device through the CA of the profile, is
 * refused and leaves nothing behind.
 *
 * @throws PkiError `device_folder`, and whatever the file system throws.
 */
export async function installPfx(options: PfxOptions): Promise<PfxResult> {
  const { folder, profile, events } = options;
  const { kind, profileId, displayName, version } = profile;
  let opened: Pkcs12 | undefined;
  try {
    opened = await openDelivered(folder, profile);
    const [leaf, ...chain] = pathOf(opened, options);
    const keyFile = await folder.importKey(opened.privateKey);
    for (const intermediate of chain.slice(0, -1)) await folder.putCertificate('intermediate', intermediate);
    await folder.putCertificate('my', leaf);
    const record: PfxRecord = {
      kind,
      profileId,
      version,
      displayName,
      thumbprint: thumbprintOf(leaf.raw),
      keyFile,
      serialNumber: leaf.serialNumber,
      notBefore: leaf.notBefore,
      notAfter: leaf.notAfter,
      chain: chain.map(({ raw }) => thumbprintOf(raw)),
    };
    await folder.putProfile(record);
    const { thumbprint, serialNumber } = record;
    const eventId = await events.write(
      'pfxInstalled',
      `PFX: Certificate and key installed successfully. Thumbprint: (${thumbprint}), Issuer: (${nameToString(leaf.issuer)}).`,
      { profileId, thumbprint, serialNumber, notAfter: leaf.notAfter.toISOString() },
    );
    return { outcome: 'installed', certificate: leaf, eventId };
  } catch (cause) {
    if (!(cause instanceof PkiError) || (cause.kind !== 'malformed' && cause.kind !== 'refused')) throw cause;
    const message = `PFX: The key and certificate of profile ${displayName} were refused: ${cause.message}.`;
    const eventId = await events.write('pfxRefused', message, { profileId, code: cause.code });
    return { outcome: 'failed', detail: cause.message, eventId };
  } finally {
    opened?.privateKey.fill(0);
  }
}

async function openDelivered(folder: DeviceFolder, profile: PfxProfile): Promise<Pkcs12> {
  const { profileId, encryptedPfxBlob, encryptedPfxPassword } = profile;
  const delivery = await folder.delivery();
  if (delivery === undefined || encryptedPfxBlob === undefined || encryptedPfxPassword === undefined)
    throw new PkiError('pfx_unopened', 'it is not for this device');
  return await openPfx({ profileId, encryptedPfxBlob, encryptedPfxPassword }, delivery.key);
}

/**
 * Opens a PFX that a connector encrypted to `key`: both parts are CMS EnvelopedData (RFC 5652 §6), around the PFX (RFC 7292)
 * and around its password in UTF-8. The caller overwrites the private key.
 *
 * @throws PkiError `pfx_unopened` if either part is not encrypted to this key, or was changed; as `parsePkcs12` besides.
 */
export async function openPfx(
  profile: {
    readonly profileId: string;
    readonly encryptedPfxBlob: Uint8Array;
    readonly encryptedPfxPassword: Uint8Array;
  },
  key: PrivateKey,
): Promise<Pkcs12> {
  const open = async (envelope: Uint8Array) => {
    try {
      return await openEnvelopedData(parseEnvelopedData(envelope), key.decrypt);
    } catch (cause) {
      if (!(cause instanceof PkiError) || cause.kind !== 'malformed') throw cause;
      throw new PkiError(
        'pfx_unopened',
        `the PFX of ${profile.profileId} cannot be opened: it is not encrypted to this recipient, or was changed`,
        { cause },
      );
    }
  };
  const password = await open(profile.encryptedPfxPassword);
  let pfx: Uint8Array | undefined;
  try {
    pfx = await open(profile.encryptedPfxBlob);
    return await parsePkcs12(pfx, Buffer.from(password).toString('utf8'));
  } finally {
    password.fill(0);
    pfx?.fill(0);
  }
}

/** From the certificate to a root of this device. Anybody can encrypt to the device: only this says who made the key. */
function pathOf(
  { certificate, chain }: Pkcs12,
  { trust, clock }: PfxOptions,
): readonly [Certificate, ...Certificate[]] {
  if (trust === undefined)
    throw new PkiError('pfx_unopened', 'the trusted certificate of the profile is not on this device');
  if (basicConstraintsOf(certificate)?.ca === true)
    throw new PkiError('pfx_unopened', 'it holds the key of a CA');
  const path = findTrustedPath(certificate, trust, chain, clock.now());
  if (path.path === 'none') throw new PkiError('pfx_unopened', path.detail);
  const [leaf = certificate, ...above] = path.certificates;
  return [leaf, ...above];
}
