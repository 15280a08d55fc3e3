/** `leafgate mdm`: the administrator's side of the built-in stand-in for Intune. */
import { type Command, Option } from 'commander';
import { PkiError } from '../errors.ts';
import { replaceFile } from '../keys/index.ts';
import { type Platform, platforms } from '../mdm/device.ts';
import type { Device } from '../mdm/index.ts';
import { type ExportOrder, exportFormats, exportProfiles } from '../parts/profile-export.ts';
import { openLog, systemClock } from '../telemetry.ts';
import { configOption, loadConfig } from './context.ts';
import { fileText } from './input.ts';
import { loadMdmConfig, type MdmOptions, run, userNamed } from './mdm-context.ts';
import { addMdmFleet } from './mdm-fleet.ts';
import { positiveInteger, printFacts, printRows } from './output.ts';

interface ExportOptions extends MdmOptions {
  readonly format: (typeof exportFormats)[number];
  readonly output: string;
  readonly unsigned?: boolean;
  readonly organization: string;
  readonly wait: number;
  readonly withoutPfx?: boolean;
  readonly pfxForm?: 'modern' | 'legacy';
  readonly askPassword?: boolean;
  readonly replace?: boolean;
  readonly pkcs12?: string;
  readonly pkcs12Password?: string;
}

interface DeviceOptions extends MdmOptions {
  readonly platform: Platform;
  readonly serial: string;
  readonly user?: string;
  readonly group?: readonly string[];
}

interface TokenOptions extends MdmOptions {
  readonly uses: number;
  readonly hours: number;
  readonly user?: string;
  readonly group?: readonly string[];
}

const deviceColumns = {
  deviceId: 'Device id',
  deviceName: 'Name',
  serialNumber: 'Serial number',
  platform: 'Platform',
  userPrincipalName: 'User',
  state: 'State',
  compliance: 'Compliance',
  lastSyncAt: 'Last check-in',
};
const stateColumns = {
  deviceId: 'Device id',
  profileId: 'Profile',
  status: 'Status',
  issuanceState: 'State',
  hResult: 'Error',
  thumbprint: 'Thumbprint',
  notAfter: 'Expires',
};

/** Adds the commands. */
export function addMdm(program: Command): void {
  const mdm = program
    .command('mdm')
    .description('devices, users, groups, enrolment tokens and profiles of the built-in MDM');
  addMdmFleet(mdm);
  mdm
    .command('token')
    .description('make an enrolment token; it is shown once')
    .option(...configOption)
    .option('--uses <n>', 'how many devices may join with it', Number, 1)
    .option('--hours <n>', 'lifetime', Number, 24)
    .option('--user <userPrincipalName>', 'whose devices they become')
    .option('--group <groupId...>', 'groups that they come into')
    .option('--json', 'for machines')
    .action(async (options: TokenOptions) => {
      if (!(options.uses >= 1) || !(options.hours > 0)) {
        throw new PkiError('command_invalid', '--uses and --hours: positive numbers');
      }
      const made = await run(options, async (opened) =>
        opened.createEnrolmentToken({
          uses: options.uses,
          lifetimeMs: options.hours * 3_600_000,
          user: options.user === undefined ? undefined : userNamed(opened, options.user),
          groupIds: options.group,
        }),
      );
      printFacts({ token: made.token, expires: made.expiresAt }, options);
    });
  mdm
    .command('devices')
    .description('devices that joined')
    .option(...configOption)
    .option('--json', 'for machines')
    .action(async (options: MdmOptions) => {
      const devices = await run(options, async (opened) => opened.devices());
      const rows = devices.map((device) => ({
        ...device,
        userPrincipalName: device.user?.userPrincipalName,
        compliance: complianceOf(device),
      }));
      printRows(rows, deviceColumns, options);
    });
  mdm
    .command('add-device')
    .description('take in a device without an agent, to export its profiles as a file')
    .argument('<name>', 'what it is called')
    .option(...configOption)
    .addOption(new Option('--platform <platform>', 'what it is').choices(platforms).makeOptionMandatory())
    .option('--serial <number>', 'serial number', 'none')
    .option('--user <userPrincipalName>', 'whose device it is')
    .option('--group <groupId...>', 'groups that it comes into')
    .option('--json', 'for machines')
    .action(async (deviceName: string, options: DeviceOptions) => {
      const device = await run(options, async (opened) =>
        opened.addDevice(
          { deviceName, platform: options.platform, serialNumber: options.serial },
          {
            user: options.user === undefined ? undefined : userNamed(opened, options.user),
            groupIds: options.group,
          },
        ),
      );
      printFacts({ deviceId: device.deviceId }, options);
    });
  mdm
    .command('states')
    .description('how far each profile has come on each device')
    .option(...configOption)
    .option('--device <deviceId>', 'only this device')
    .option('--json', 'for machines')
    .action(async (options: MdmOptions & { readonly device?: string }) => {
      const { profileStatusOf } = await import('../mdm/index.ts');
      const states = await run(options, async (opened) => opened.profileStates(options.device));
      const rows = states.map((state) => ({
        ...state,
        status: profileStatusOf(state.issuanceState),
        hResult: state.errorCode === undefined ? undefined : hex(state.errorCode),
      }));
      printRows(rows, stateColumns, options);
    });
  mdm
    .command('profile')
    .description('create or change a profile from a JSON file')
    .argument('<file>')
    .option(...configOption)
    .option('--server <file>', 'configuration of the SCEP server, to see that its templates agree')
    .action(async (file: string, options: MdmOptions & { readonly server?: string }) => {
      const profile = profileIn(file);
      await assertAgreement(profile, options);
      const record = await run(options, (opened) => opened.upsertProfile(profile));
      console.log(`${record.profile.profileId}: version ${record.version}`);
    });
  mdm
    .command('export')
    .description('write a device’s profiles as a file for Apple’s, Windows’ or any other device management')
    .argument('<deviceId>')
    .option(...configOption)
    .addOption(
      new Option('--format <format>', 'form of the file').choices(exportFormats).default('mobileconfig'),
    )
    .requiredOption('-o, --output <file>', 'the file, which holds challenges and keys: mode 0600')
    .option('--unsigned', 'do not sign the mobileconfig')
    .option('--organization <name>', 'who gives the profiles, as the device shows it', 'Leafgate')
    .option('--wait <seconds>', 'how long a connector may take to bring the PFX', positiveInteger, 120)
    .option('--without-pfx', 'leave out profiles that bring a PFX')
    .addOption(
      new Option('--pfx-form <form>', 'how PFX are packed; json: modern, else legacy').choices([
        'modern',
        'legacy',
      ]),
    )
    .option('--ask-password', 'the PFX’s password is not in the file: shown once here, asked by the device')
    .option('--replace', 'syncml: the device first deletes what an earlier file installed')
    .option('--pkcs12 <file>', 'a PFX of yours that goes along')
    .option('--pkcs12-password <reference>', 'its password: file:PATH or env:NAME')
    .action(exportTo);
}

async function exportTo(deviceId: string, options: ExportOptions): Promise<void> {
  const { format, output } = options;
  const { profiles, leftOut, missing, identities, password } = await exportProfiles(
    loadMdmConfig(options.config),
    exportOrderOf(deviceId, options),
    {
      write: async (file) => {
        try {
          await replaceFile(output, file);
        } catch (cause) {
          const why = (cause as NodeJS.ErrnoException).code ?? 'unknown';
          throw new PkiError('command_invalid', `cannot write ${output}: ${why}`, { cause });
        }
      },
      onWait: (profileId) =>
        console.error(
          `${profileId}: waiting for a connector to bring the PFX, ${options.wait} seconds at most`,
        ),
    },
    openLog('warn', 'cli'),
    systemClock,
  );
  console.log(
    `${output}: ${format} for ${deviceId}: ${profiles.map(({ profileId }) => profileId).join(', ')}`,
  );
  if (profiles.some(({ kind }) => kind === 'scep'))
    console.log('its challenges are good once each, for an hour');
  for (const { profileId, serialNumber, notAfter } of identities)
    console.log(`${profileId}: PFX of certificate ${serialNumber}, good until ${notAfter?.toISOString()}`);
  if (password !== undefined)
    console.log(`password of the PFX, which is shown here alone and not in the file: ${password}`);
  for (const { profileId, why } of missing) console.log(`${profileId}: not in the file: ${why}`);
  if (leftOut.length > 0) console.log(`left out: ${leftOut.join(', ')}`);
}

/** Throws PkiError `command_invalid` for options that do not go together. */
function exportOrderOf(deviceId: string, options: ExportOptions): ExportOrder {
  const { format, organization, pkcs12, pkcs12Password, pfxForm } = options;
  const refuse = (why: string) => {
    throw new PkiError('command_invalid', why);
  };
  if (options.replace === true && format !== 'syncml') refuse('--replace goes with --format syncml alone');
  if (options.unsigned === true && format !== 'mobileconfig')
    refuse('--unsigned goes with --format mobileconfig alone');
  if (options.askPassword === true && format === 'syncml')
    refuse('--ask-password: Windows asks nobody for the password of a PFX');
  if (pkcs12Password !== undefined && pkcs12 === undefined) refuse('--pkcs12-password goes with --pkcs12');
  if (options.withoutPfx === true && (options.askPassword === true || pfxForm !== undefined))
    refuse('--without-pfx goes with neither --ask-password nor --pfx-form');
  return {
    deviceId,
    format,
    organization,
    signature: options.unsigned === true ? 'unsigned' : 'signed',
    earlier: options.replace === true ? 'deleted' : 'kept',
    pfx:
      options.withoutPfx === true
        ? 'left out'
        : {
            waitMs: options.wait * 1000,
            password: options.askPassword === true ? 'asked' : 'in the file',
            ...(pfxForm === undefined ? {} : { form: pfxForm }),
          },
    ...(pkcs12 === undefined
      ? {}
      : { pkcs12: { file: pkcs12, ...(pkcs12Password === undefined ? {} : { password: pkcs12Password }) } }),
  };
}

/** An HRESULT as Windows shows it, whether it was stored signed or unsigned. */
function hex(hResult: number): string {
  return `0x${(hResult >>> 0).toString(16).padStart(8, '0')}`;
}

/** What an administrator has said of a device, and since when it counts. */
function complianceOf({ nonCompliance }: Device): string {
  if (nonCompliance === undefined) return 'compliant';
  const { graceUntil, measure } = nonCompliance;
  const isOver = graceUntil <= systemClock.now();
  return `non-compliant: ${measure} ${isOver ? 'since' : 'from'} ${graceUntil.toISOString().slice(0, 16)}Z`;
}

function profileIn(file: string): unknown {
  try {
    return JSON.parse(fileText(file));
  } catch (cause) {
    if (cause instanceof PkiError) throw cause;
    throw new PkiError('command_invalid', `${file} is not JSON`, { cause });
  }
}

/** Throws PkiError `profile_invalid` if the server, where it is known, would not give what the profile asks for. */
async function assertAgreement(
  value: unknown,
  options: MdmOptions & { readonly server?: string },
): Promise<void> {
  const { server } =
    options.server === undefined ? loadConfig(options.config, 'mdm') : loadConfig(options.server);
  if (server === undefined) {
    if (options.server === undefined) return;
    throw new PkiError('config_invalid', `${options.server} has no \`server\` part`);
  }
  const { parseProfile } = await import('../mdm/index.ts');
  const { disagreementsOf } = await import('../parts/template-agreement.ts');
  const [disagreement] = disagreementsOf(parseProfile(value), server);
  if (disagreement !== undefined) throw new PkiError('profile_invalid', disagreement);
}
