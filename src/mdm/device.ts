/** A device as the MDM knows it. */

/** The platforms that a device can name itself as. */
export const platforms = ['windows', 'macOS', 'iOS', 'android', 'linux'] as const;

/** One of `platforms`. */
export type Platform = (typeof platforms)[number];

/** Life of a device: once `retired` or `wiped` it gets no profile and no certificate, and never comes back as itself. */
export type DeviceState = 'enrolled' | 'retired' | 'wiped';

/** The person whom a device belongs to. Set by an administrator, never by the device. */
export interface DeviceUser {
  /** Object id of the user, a GUID. */
  readonly userId: string;
  readonly userPrincipalName: string;
  readonly userName?: string | undefined;
  readonly emailAddress?: string | undefined;
  /** `S-1-5-21-…`, from the directory. */
  readonly onPremisesSecurityIdentifier?: string | undefined;
}

/** A device. `deviceName`, `serialNumber` and `platform` are the device's own claims; the rest is the MDM's word. */
export interface Device {
  /** GUID, chosen by the MDM when the device joins. */
  readonly deviceId: string;
  /** GUID of the device's object in the directory. */
  readonly azureADDeviceId: string;
  readonly deviceName: string;
  readonly serialNumber: string;
  readonly platform: Platform;
  readonly enrolledAt: Date;
  readonly lastSyncAt?: Date;
  readonly state: DeviceState;
  readonly user?: DeviceUser;
}
