/** A device as the MDM knows it. */

/** The platforms that a device can name itself as. */
export const platforms = ['windows', 'macOS', 'iOS', 'android', 'linux'] as const;

/** What a device may call itself: 64 characters at most, none of them a control character. */
export const claimPattern = /^[^\p{C}]{1,64}$/u;

/** One of `platforms`. */
export type Platform = (typeof platforms)[number];

/**
 * Life of a device. A `lost` one may be found again; once `retired` or `wiped` it gets no profile and no certificate, and
 * never comes back as itself.
 */
export const deviceStates = ['enrolled', 'lost', 'retired', 'wiped'] as const;

/** One of `deviceStates`. */
export type DeviceState = (typeof deviceStates)[number];

/** The person whom a device belongs to. Set by an administrator, never by the device. */
export interface DeviceUser {
  /** Object id of the user, a GUID. */
  readonly userId: string;
  readonly userPrincipalName: string;
  readonly userName?: string | undefined;
  readonly emailAddress?: string | undefined;
  /** `S-1-5-21-…`, from the directory. */
  readonly onPremisesSecurityIdentifier?: string | undefined;
  /** Distinguished name of the user in the on-premises directory. */
  readonly onPremisesDistinguishedName?: string | undefined;
  readonly onPremisesSamAccountName?: string | undefined;
}

/** What the directory knows of a device. Set by an administrator, never by the device. */
export interface DeviceAttributes {
  readonly imei?: string | undefined;
  readonly meid?: string | undefined;
  readonly wifiMacAddress?: string | undefined;
  /** Of a Windows device that is joined to a domain. */
  readonly fullyQualifiedDomainName?: string | undefined;
  /** `S-1-5-21-…` of the computer account. */
  readonly onPremisesSecurityIdentifier?: string | undefined;
}

/** What a device that breaks the rules for too long loses: its certificates for a while, or for good. */
export const complianceMeasures = ['hold', 'revoke'] as const;

/** One of `complianceMeasures`. */
export type ComplianceMeasure = (typeof complianceMeasures)[number];

/** A device that breaks the rules. Until `graceUntil` nothing happens to it. */
export interface NonCompliance {
  readonly since: Date;
  readonly graceUntil: Date;
  readonly measure: ComplianceMeasure;
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
  readonly attributes?: DeviceAttributes;
  /** Absent while the device keeps the rules. */
  readonly nonCompliance?: NonCompliance;
}
