/** What becomes of a device's certificates when the device, its owner or its assignments change. */
import type { Device } from './device.ts';

/** What a certificate is worth. `revoked` is for good. */
export type Standing = 'good' | 'held' | 'revoked';

/** What is asked of the CA. */
export type RevocationAction = 'revoke' | 'hold' | 'release';

/** Reasons that this MDM gives (RFC 5280 §5.3.1, CRLReason). */
export type RevocationReason =
  | 'affiliationChanged'
  | 'superseded'
  | 'cessationOfOperation'
  | 'certificateHold'
  | 'privilegeWithdrawn';

/** What a certificate should be worth, and why. `reason` is absent exactly if it is good. */
export interface Entitlement {
  readonly standing: Standing;
  readonly reason?: RevocationReason;
}

const good: Entitlement = { standing: 'good' };

/**
 * What the state of a device leaves its certificates.
 *
 * | device | certificates |
 * |---|---|
 * | retired, wiped | revoked |
 * | non-compliant, grace period over | held or revoked, as the administrator said |
 * | lost | held |
 * | any other | good |
 *
 * A lost device whose grace period ends with `revoke` loses them: what is for good wins.
 */
export function entitlementOfDevice(device: Pick<Device, 'state' | 'nonCompliance'>, now: Date): Entitlement {
  if (device.state === 'retired' || device.state === 'wiped') {
    return { standing: 'revoked', reason: 'cessationOfOperation' };
  }
  const { nonCompliance } = device;
  const isOverdue = nonCompliance !== undefined && nonCompliance.graceUntil <= now;
  if (isOverdue && nonCompliance.measure === 'revoke') {
    return { standing: 'revoked', reason: 'privilegeWithdrawn' };
  }
  if (isOverdue || device.state === 'lost') return { standing: 'held', reason: 'certificateHold' };
  return good;
}

/** Whether the device's own state lets it have certificates. */
export function isEntitled(device: Pick<Device, 'state' | 'nonCompliance'>, now: Date): boolean {
  return entitlementOfDevice(device, now).standing === 'good';
}

/** What a certificate is judged by. */
export interface CertificateFacts {
  readonly device: Pick<Device, 'state' | 'nonCompliance' | 'user'>;
  /** Of a user certificate: whom it was made for. */
  readonly userId?: string | undefined;
  readonly assignment: 'targeted' | 'not targeted';
  /** Whether the device has a certificate of a later version of the profile in use. */
  readonly succession: 'current' | 'superseded';
}

/**
 * What a certificate should be worth.
 *
 * Beside the state of its device: a profile that does not target the device any more, another user, and a successor made
 * for a changed profile each revoke it. A renewal under the same version revokes nothing: both are good until they expire.
 */
export function entitlementOf(facts: CertificateFacts, now: Date): Entitlement {
  const ofDevice = entitlementOfDevice(facts.device, now);
  if (ofDevice.standing === 'revoked') return ofDevice;
  if (facts.assignment === 'not targeted') return { standing: 'revoked', reason: 'privilegeWithdrawn' };
  if (facts.userId !== undefined && facts.userId !== facts.device.user?.userId) {
    return { standing: 'revoked', reason: 'affiliationChanged' };
  }
  if (facts.succession === 'superseded') return { standing: 'revoked', reason: 'superseded' };
  return ofDevice;
}

/** What leads from one standing to another; `undefined` if nothing does or has to. Nothing leads back from `revoked`. */
export function revocationActionFor(from: Standing, to: Standing): RevocationAction | undefined {
  if (from === to || from === 'revoked') return undefined;
  return ({ good: 'release', held: 'hold', revoked: 'revoke' } as const)[to];
}
