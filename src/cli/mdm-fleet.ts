/** `leafgate mdm`: users, groups, assignments, and the life of devices and their certificates. */
import { type Command, Option } from 'commander';
import { PkiError } from '../errors.ts';
import type { Assignment } from '../mdm/index.ts';
import { configOption } from './context.ts';
import { fileText } from './input.ts';
import { type MdmOptions, rowsOf, run, userNamed } from './mdm-context.ts';
import { printRows } from './output.ts';

interface GroupOptions extends MdmOptions {
  readonly name?: string;
  readonly platform?: string;
  readonly namePrefix?: string;
  readonly upnSuffix?: string;
}

interface AssignOptions extends MdmOptions {
  readonly all?: boolean;
  readonly nobody?: boolean;
  readonly group?: readonly string[];
  readonly device?: readonly string[];
  readonly notGroup?: readonly string[];
  readonly notDevice?: readonly string[];
}

interface NonCompliantOptions extends MdmOptions {
  readonly graceHours: number;
  readonly measure: 'hold' | 'revoke';
}

const HOUR_MS = 3_600_000;
const LISTED_MAX = 10_000;

/** Adds the commands. */
export function addMdmFleet(mdm: Command): void {
  addDirectory(mdm);
  addGroups(mdm);
  addLifecycle(mdm);
  addProfiles(mdm);
  addImportedPfx(mdm);
}

function addDirectory(mdm: Command): void {
  mdm
    .command('import-users')
    .description('take users over from a CSV file; those that are there are changed')
    .argument('<file>', 'first line: userPrincipalName,userName,emailAddress,onPremisesSecurityIdentifier,…')
    .option(...configOption)
    .action(async (file: string, options: MdmOptions) => {
      const { parseUsers } = await import('../mdm/index.ts');
      const rows = parseUsers(fileText(file));
      const users = await run(options, (opened) => opened.importUsers(rows));
      console.log(`${users.length} users`);
    });
  mdm
    .command('users')
    .description('users')
    .option(...configOption)
    .option('--json', 'for machines')
    .action(async (options: MdmOptions) => {
      const rows = await run(options, async (opened) => rowsOf(opened.users()));
      printRows(
        rows,
        { userPrincipalName: 'Name', userName: 'Display name', emailAddress: 'E-mail', userId: 'User id' },
        options,
      );
    });
  mdm
    .command('import-devices')
    .description(
      'take devices over from a CSV file: a line with deviceId changes one that joined, one with serialNumber makes an enrolment token for it',
    )
    .argument('<file>', 'first line: serialNumber,userPrincipalName,groups,imei,…')
    .option(...configOption)
    .option('--hours <n>', 'lifetime of the tokens', Number, 24)
    .option('--json', 'for machines')
    .action(async (file: string, options: MdmOptions & { readonly hours: number }) => {
      const { parseDevices } = await import('../mdm/index.ts');
      const rows = parseDevices(fileText(file));
      const tokens = await run(options, (opened) =>
        opened.importDevices(rows, { lifetimeMs: options.hours * HOUR_MS }),
      );
      const changed = rows.length - tokens.length;
      if (options.json !== true && changed > 0) console.log(`${changed} devices changed`);
      if (options.json === true || tokens.length > 0)
        printRows(
          rowsOf(tokens),
          { serialNumber: 'Serial number', token: 'Token', expiresAt: 'Expires' },
          options,
        );
    });
}

function addGroups(mdm: Command): void {
  mdm
    .command('group')
    .description('create or change a group of devices; with a rule it has its members by it')
    .argument('<groupId>')
    .option(...configOption)
    .option('--name <text>', 'display name; the groupId if absent')
    .option('--platform <platform>', 'rule: windows, macOS, iOS, android or linux')
    .option('--name-prefix <text>', 'rule: what the names of the devices begin with')
    .option('--upn-suffix <text>', 'rule: what the names of their users end with')
    .action(async (groupId: string, options: GroupOptions) => {
      const rule = Object.fromEntries(
        Object.entries({
          platform: options.platform,
          deviceNamePrefix: options.namePrefix,
          userPrincipalNameSuffix: options.upnSuffix,
        }).filter(([, value]) => value !== undefined),
      );
      const group = {
        groupId,
        displayName: options.name ?? groupId,
        ...(Object.keys(rule).length === 0 ? {} : { rule }),
      };
      await run(options, (opened) => opened.upsertGroup(group));
      console.log(`${groupId}: stored`);
    });
  mdm
    .command('groups')
    .description('groups')
    .option(...configOption)
    .option('--json', 'for machines')
    .action(async (options: MdmOptions) => {
      const groups = await run(options, async (opened) => opened.groups());
      const rows = groups.map((group) => ({
        ...group,
        rule: group.rule === undefined ? '' : JSON.stringify(group.rule),
      }));
      printRows(rows, { groupId: 'Group', displayName: 'Name', rule: 'Rule' }, options);
    });
  mdm
    .command('member')
    .description('put a device into a group')
    .argument('<groupId>')
    .argument('<deviceId>')
    .option(...configOption)
    .option('--remove', 'take it out instead')
    .action(
      async (groupId: string, deviceId: string, options: MdmOptions & { readonly remove?: boolean }) => {
        const membership = options.remove === true ? 'out' : 'in';
        await run(options, (opened) => opened.setMember(groupId, deviceId, membership));
        console.log(`${deviceId}: ${membership} ${groupId}`);
      },
    );
  mdm
    .command('assign')
    .description('say whom a profile is for, this and nothing else; without options, show it')
    .argument('<profileId>')
    .option(...configOption)
    .option('--all', 'every device')
    .option('--nobody', 'no device')
    .option('--group <groupId...>', 'these groups')
    .option('--device <deviceId...>', 'these devices')
    .option('--not-group <groupId...>', 'but not these groups')
    .option('--not-device <deviceId...>', 'but not these devices')
    .option('--json', 'for machines')
    .action(async (profileId: string, options: AssignOptions) => {
      const assignments = assignmentsIn(options);
      const rows = await run(options, async (opened) => {
        if (assignments.length > 0 || options.nobody === true) {
          await opened.setAssignments(profileId, assignments);
        }
        return opened.assignments(profileId);
      });
      printRows(
        rows.map(({ intent, target }) => ({
          intent,
          target: target.kind,
          id: 'id' in target ? target.id : '',
        })),
        { intent: 'Intent', target: 'Target', id: 'Id' },
        options,
      );
    });
}

function assignmentsIn(options: AssignOptions): Assignment[] {
  const of =
    (intent: Assignment['intent'], kind: 'group' | 'device') =>
    (id: string): Assignment => ({ intent, target: { kind, id } });
  const assignments = [
    ...(options.all === true ? [{ intent: 'include', target: { kind: 'allDevices' } } as const] : []),
    ...(options.group ?? []).map(of('include', 'group')),
    ...(options.device ?? []).map(of('include', 'device')),
    ...(options.notGroup ?? []).map(of('exclude', 'group')),
    ...(options.notDevice ?? []).map(of('exclude', 'device')),
  ];
  if (options.nobody === true && assignments.length > 0) {
    throw new PkiError('command_invalid', '--nobody goes with no other option');
  }
  return assignments;
}

/** Commands that change a device's state, and what each does. */
const transitions = {
  retire: ['retired', 'retire a device: its certificates are revoked and removed, and it gets no other'],
  wipe: ['wiped', 'wipe a device: as retire, and the device deletes all that it has'],
  lost: ['lost', 'a device is lost: its certificates are put on hold and it gets no other'],
  found: ['enrolled', 'a lost device was found: its certificates are released'],
} as const;

function addLifecycle(mdm: Command): void {
  for (const [name, [state, description]] of Object.entries(transitions)) {
    mdm
      .command(name)
      .description(description)
      .argument('<deviceId>')
      .option(...configOption)
      .action(async (deviceId: string, options: MdmOptions) => {
        await run(options, (opened) => opened.setDeviceState(deviceId, state));
        console.log(`${deviceId}: ${state}`);
      });
  }
  mdm
    .command('non-compliant')
    .description('a device breaks the rules: after a time of grace its certificates are held or revoked')
    .argument('<deviceId>')
    .option(...configOption)
    .option('--grace-hours <n>', 'until then nothing happens', Number, 0)
    .addOption(
      new Option('--measure <measure>', 'what happens then').choices(['hold', 'revoke']).default('hold'),
    )
    .action(async (deviceId: string, options: NonCompliantOptions) => {
      const { graceHours, measure } = options;
      await run(options, (opened) =>
        opened.setNonCompliant(deviceId, { graceMs: graceHours * HOUR_MS, measure }),
      );
      console.log(`${deviceId}: non-compliant, ${measure} in ${graceHours} hours`);
    });
  mdm
    .command('compliant')
    .description('a device keeps the rules again: what was on hold is released')
    .argument('<deviceId>')
    .option(...configOption)
    .action(async (deviceId: string, options: MdmOptions) => {
      await run(options, (opened) => opened.setCompliant(deviceId));
      console.log(`${deviceId}: compliant`);
    });
  mdm
    .command('certificates')
    .description('certificates that devices were given')
    .option(...configOption)
    .option('--device <deviceId>', 'only of this device')
    .option('--json', 'for machines')
    .action(async (options: MdmOptions & { readonly device?: string }) => {
      const rows = await run(options, async (opened) => rowsOf(opened.certificates(options.device)));
      printRows(
        rows,
        {
          serialNumber: 'Serial number',
          deviceId: 'Device id',
          profileId: 'Profile',
          standing: 'Standing',
          reason: 'Reason',
          revokeStatus: 'Revocation',
          notAfter: 'Expires',
        },
        options,
      );
    });
  mdm
    .command('revocations')
    .description('what the CA is asked to revoke, hold or release, and has not answered')
    .option(...configOption)
    .option('--json', 'for machines')
    .action(async (options: MdmOptions) => {
      const rows = await run(options, async (opened) =>
        rowsOf(await opened.revocationRequests({ limit: 1000 })),
      );
      printRows(
        rows,
        {
          requestedAt: 'Since',
          action: 'Action',
          reason: 'Reason',
          serialNumber: 'Serial number',
          issuerName: 'Issuer',
        },
        options,
      );
    });
}

function addProfiles(mdm: Command): void {
  mdm
    .command('profiles')
    .description('profiles')
    .option(...configOption)
    .option('--json', 'for machines')
    .action(async (options: MdmOptions) => {
      const records = await run(options, async (opened) => opened.profiles());
      const rows = records.map(({ profile, version, updatedAt }) => ({
        profileId: profile.profileId,
        kind: profile.kind,
        platform: profile.platform ?? 'any',
        displayName: profile.displayName,
        version,
        updatedAt,
      }));
      printRows(
        rows,
        {
          profileId: 'Profile',
          kind: 'Kind',
          platform: 'Platform',
          displayName: 'Name',
          version: 'Version',
          updatedAt: 'Changed',
        },
        options,
      );
    });
  mdm
    .command('remove-profile')
    .description('delete a profile: devices lose it, and their certificates of it are revoked')
    .argument('<profileId>')
    .option(...configOption)
    .action(async (profileId: string, options: MdmOptions) => {
      await run(options, (opened) => opened.deleteProfile(profileId));
      console.log(`${profileId}: deleted`);
    });
}

function addImportedPfx(mdm: Command): void {
  mdm
    .command('imported-pfx')
    .description('PFX that were imported for users (`leafgate pfx import`)')
    .option(...configOption)
    .option('--user <userPrincipalName>', 'only of this user')
    .option('--json', 'for machines')
    .action(async (options: MdmOptions & { readonly user?: string }) => {
      const rows = await run(options, async (opened) =>
        opened.importedPfx.certificates({
          userId: options.user === undefined ? undefined : userNamed(opened, options.user).userId,
          limit: LISTED_MAX,
        }),
      );
      printRows(
        rows,
        {
          userPrincipalName: 'User',
          intendedPurpose: 'Purpose',
          thumbprint: 'Thumbprint',
          startDateTime: 'From',
          expirationDateTime: 'Expires',
          keyName: 'Key',
          lastModifiedDateTime: 'Imported',
        },
        options,
      );
    });
  mdm
    .command('remove-imported-pfx')
    .description('delete an imported PFX: the user’s devices lose it at their next check-in')
    .argument('<userPrincipalName>')
    .argument('<thumbprint>', 'SHA-1 of its certificate')
    .option(...configOption)
    .action(async (userPrincipalName: string, thumbprint: string, options: MdmOptions) => {
      await run(options, async (opened) => {
        const { userId } = userNamed(opened, userPrincipalName);
        if (!(await opened.importedPfx.delete({ userId, thumbprint: thumbprint.toUpperCase() })))
          throw new PkiError('request_malformed', `${userPrincipalName} has no PFX ${thumbprint}`);
      });
      console.log(`${thumbprint.toUpperCase()}: deleted`);
    });
}
