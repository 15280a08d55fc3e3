/** What an NDES server is set to, from its registry. */
import { PkiError } from '../errors.ts';
import type { RegistryValue } from './registry-file.ts';

/** NDES’s settings; those that do not stand in the registry have NDES’s defaults. */
export interface NdesSettings {
  /** Names of templates, by what a request asks for. */
  readonly templates: {
    /** digitalSignature alone. */
    readonly signature: string;
    /** keyEncipherment alone. */
    readonly encryption: string;
    /** Both, or nothing. */
    readonly generalPurpose: string;
  };
  /** `server\CA name`; absent if the export does not say. */
  readonly caConfiguration?: string;
  /** Whether a challenge is asked for at all. */
  readonly challenge: 'none' | 'single' | 'shared';
  readonly passwordMax: number;
  readonly passwordValidityMinutes: number;
  /** Octets, which NDES shows as twice as many hexadecimal digits. */
  readonly passwordLength: number;
  /** Path of the page with challenges. */
  readonly passwordPath: string;
  /** The policy module, such as Intune’s connector; absent if there is none. */
  readonly policyModule?: string;
  /** Whether the module is that of Intune’s connector, which Configuration Manager has, too. */
  readonly isIntune: boolean;
  /** Whether a renewal may have another subject than the certificate that signs it. */
  readonly renewsAnySubject: boolean;
  /** Values that are not known here, as `key\name`. */
  readonly unknown: readonly string[];
}

/** The Certificate Connector for Intune, as far as its registry tells. */
export interface ConnectorSettings {
  /** EnableSidSecurityExtension: certificates of PKCS profiles have the SID extension. */
  readonly writesSecurityIdentifier: boolean;
}

const CONNECTOR = 'hkey_local_machine\\software\\microsoft\\microsoftintune\\pfxcertificateconnector';
const ROOT = 'hkey_local_machine\\software\\microsoft\\cryptography\\mscep';
/** What NDES takes if the registry says nothing: “IPSec (Offline request)”. */
const DEFAULT_TEMPLATE = 'IPSECIntermediateOffline';
const PASSWORD_MAX = 5;
const PASSWORD_VALIDITY_MINUTES = 60;
const PASSWORD_LENGTH = 8;
const PASSWORD_PATH = 'CertSrv/mscep_admin';

/** Known, and of no meaning for what comes after NDES. */
const withoutSuccessor = [
  'catype\\catype',
  'certsinmystore\\certsinmystore',
  'refresh\\refresh',
  'cacherequest\\cacherequest',
  // Follows a request: Leafgate answers with the digest that the request has.
  'hashalgorithm\\hashalgorithm',
];

/**
 * Reads NDES’s settings.
 *
 * @throws PkiError `config_invalid` if the export does not hold NDES’s key, or a value of it is of the wrong kind.
 */
export function ndesSettingsOf(values: readonly RegistryValue[]): NdesSettings {
  const found = new Map<string, RegistryValue>();
  for (const value of values) {
    const key = keyOf(value);
    if (key !== ROOT && !key.startsWith(`${ROOT}\\`)) continue;
    const path = [...key.slice(ROOT.length).split('\\').filter(Boolean), value.name.toLowerCase()].join('\\');
    found.set(path, value);
  }
  if (found.size === 0)
    throw new PkiError(
      'config_invalid',
      'no value of NDES in the registry export: export HKLM\\SOFTWARE\\Microsoft\\Cryptography\\MSCEP on the NDES server',
    );
  const seen = new Set<string>();
  // Most settings stand in a key of their own name, and some servers have them in the key above.
  const take = (name: string, ...parents: readonly string[]): RegistryValue['data'] | undefined => {
    const lower = name.toLowerCase();
    const places = [
      `${lower}\\${lower}`,
      lower,
      ...parents.map((parent) => `${parent.toLowerCase()}\\${lower}`),
    ];
    for (const place of places) seen.add(place);
    return places.map((place) => found.get(place)?.data).find((data) => data !== undefined);
  };
  const text = (name: string, ...parents: readonly string[]): string | undefined => {
    const data = take(name, ...parents);
    if (data === undefined || data === '') return undefined;
    if (typeof data !== 'string') throw new PkiError('config_invalid', `registry: ${name} is not text`);
    return data;
  };
  const number = (name: string, fallback: number): number => {
    const data = take(name) ?? fallback;
    if (typeof data !== 'number') throw new PkiError('config_invalid', `registry: ${name} is not a number`);
    return data;
  };
  const caConfiguration = text('Configuration', 'CAInfo');
  const enforced = number('EnforcePassword', 1) !== 0;
  const shared = number('UseSinglePassword', 0) !== 0;
  const modules = [...found].filter(([path]) => path.startsWith('modules\\'));
  for (const [path] of modules) seen.add(path);
  // `Modules` names the module in force; the modules' own settings stand in keys below.
  const inForce = found.get('modules\\policy')?.data;
  const below = modules
    .find(([path]) => path.split('\\').length > 2)?.[1]
    .key.split('\\')
    .at(-1);
  const policyModule = typeof inForce === 'string' && inForce !== '' ? inForce : below;
  const settings = {
    templates: {
      signature: text('SignatureTemplate') ?? DEFAULT_TEMPLATE,
      encryption: text('EncryptionTemplate') ?? DEFAULT_TEMPLATE,
      generalPurpose: text('GeneralPurposeTemplate') ?? DEFAULT_TEMPLATE,
    },
    ...(caConfiguration === undefined ? {} : { caConfiguration }),
    challenge: !enforced ? ('none' as const) : shared ? ('shared' as const) : ('single' as const),
    passwordMax: number('PasswordMax', PASSWORD_MAX),
    passwordValidityMinutes: number('PasswordValidity', PASSWORD_VALIDITY_MINUTES),
    passwordLength: number('PasswordLength', PASSWORD_LENGTH),
    passwordPath: text('PasswordVDir') ?? PASSWORD_PATH,
    ...(policyModule === undefined ? {} : { policyModule }),
    isIntune: /^NDESPolicy\b/i.test(policyModule ?? ''),
    renewsAnySubject: number('DisableRenewalSubjectNameMatch', 0) !== 0,
  };
  const unknown = [...found]
    .filter(([path]) => !seen.has(path) && !withoutSuccessor.includes(path))
    .map(([, { key, name }]) => `${key}\\${name}`);
  return { ...settings, unknown };
}

const keyOf = ({ key }: RegistryValue) => key.toLowerCase().replace(/^hklm\\/, 'hkey_local_machine\\');

/** The connector's settings; absent if the export does not hold its key. */
export function connectorSettingsOf(values: readonly RegistryValue[]): ConnectorSettings | undefined {
  const own = values.filter(
    (value) => keyOf(value) === CONNECTOR || keyOf(value).startsWith(`${CONNECTOR}\\`),
  );
  if (own.length === 0) return undefined;
  const sid = own.find(({ name }) => name.toLowerCase() === 'enablesidsecurityextension')?.data;
  return { writesSecurityIdentifier: sid === 1 };
}
