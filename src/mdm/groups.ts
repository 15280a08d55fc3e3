/** Which devices a profile is meant for. */
import { z } from 'zod';
import { type Device, platforms } from './device.ts';

const groupId = z.string().regex(/^[A-Za-z0-9-]{1,64}$/, 'letters, digits and hyphens, at most 64');

/**
 * Devices that belong to a group by what they are. All that is given must hold.
 *
 * Trust: platform and name are the device's own claims. Such a rule is good for choosing which profile suits a device, not
 * for keeping a device from one.
 */
export const groupRule = z
  .strictObject({
    platform: z.enum(platforms).optional(),
    deviceNamePrefix: z.string().min(1).max(64).optional(),
    /** `@example.com`; compared without regard to case. */
    userPrincipalNameSuffix: z.string().min(1).max(256).optional(),
  })
  .refine((rule) => Object.values(rule).some((value) => value !== undefined), 'names nothing');

/** See `groupRule`. */
export type GroupRule = z.infer<typeof groupRule>;

/** The form of a `Group`. */
export const group = z.strictObject({
  groupId,
  displayName: z.string().min(1).max(200),
  /** Absent: the group has exactly those devices that were put into it. */
  rule: groupRule.optional(),
});

/** Some devices under one name. */
export type Group = z.infer<typeof group>;

/** The form of an `Assignment`. */
export const assignment = z.strictObject({
  intent: z.enum(['include', 'exclude']),
  target: z.discriminatedUnion('kind', [
    z.strictObject({ kind: z.literal('allDevices') }),
    z.strictObject({ kind: z.literal('group'), id: groupId }),
    z.strictObject({ kind: z.literal('device'), id: z.guid() }),
  ]),
});

/** Whom a profile is for, or not for. An exclusion wins over every inclusion. */
export type Assignment = z.infer<typeof assignment>;

/** What a new profile starts with, unless something else is said. */
export const everyDevice: readonly Assignment[] = [{ intent: 'include', target: { kind: 'allDevices' } }];

/** Whether a rule holds for a device. */
export function isRuledIn(
  rule: GroupRule,
  device: Pick<Device, 'platform' | 'deviceName' | 'user'>,
): boolean {
  const { platform, deviceNamePrefix, userPrincipalNameSuffix } = rule;
  if (platform !== undefined && device.platform !== platform) return false;
  if (deviceNamePrefix !== undefined && !device.deviceName.startsWith(deviceNamePrefix)) return false;
  if (userPrincipalNameSuffix === undefined) return true;
  return (
    device.user?.userPrincipalName.toLowerCase().endsWith(userPrincipalNameSuffix.toLowerCase()) === true
  );
}

/**
 * Whether assignments reach a device.
 *
 * @param groupIds groups that the device is in
 */
export function isReached(
  assignments: readonly Assignment[],
  deviceId: string,
  groupIds: ReadonlySet<string>,
): boolean {
  const reaches = ({ target }: Assignment) =>
    target.kind === 'allDevices' ||
    (target.kind === 'group' ? groupIds.has(target.id) : target.id === deviceId);
  const reaching = assignments.filter(reaches);
  return reaching.length > 0 && reaching.every(({ intent }) => intent === 'include');
}
