/** What an AD CS CA is set to, from its registry. */
import { periodDays } from './period.ts';
import type { RegistryValue } from './registry-file.ts';

/** Settings of a CA; what does not stand in the export is absent. */
export interface CaSettings {
  readonly name: string;
  readonly serverDnsName?: string;
  /** AD CS shortens what a template gives to this. */
  readonly validityDaysMax?: number;
  readonly crlPeriodDays?: number;
  /** Absent if there are no delta CRLs. */
  readonly deltaCrlPeriodDays?: number;
  readonly clockSkewMinutes?: number;
  /** What stands in issued certificates: where their CRL is. Variables are replaced as far as the export tells. */
  readonly crlUrls: readonly string[];
  /** As `crlUrls`: where the CA's certificate is. */
  readonly caIssuersUrls: readonly string[];
  /** As `crlUrls`: the OCSP responders. */
  readonly ocspUrls: readonly string[];
  /** What may stand in subjects, in AD CS's words. */
  readonly subjectTemplate?: readonly string[];
  /** EDITF_ATTRIBUTESUBJECTALTNAME2: any request may have any alternative name. */
  readonly takesAnySubjectAltName: boolean;
  /** A policy module that is not Microsoft's. */
  readonly policyModule?: string;
}

const ROOT = 'hkey_local_machine\\system\\currentcontrolset\\services\\certsvc\\configuration\\';
const DEFAULT_MODULE = 'certificateauthority_microsoftdefault.policy';
const EDITF_ATTRIBUTESUBJECTALTNAME2 = 0x4_0000;
/** Flags before each publication URL (CSURL_* of certsrv.h). */
const flag = { addToCertificate: 0x2, addToOcsp: 0x20 } as const;

/**
 * Reads the settings of the CAs in an export of `HKLM\SYSTEM\CurrentControlSet\Services\CertSvc\Configuration`; none if the
 * export holds no such key. A host has one CA, and an export of several hosts has several.
 */
export function caSettingsOf(values: readonly RegistryValue[]): CaSettings[] {
  const cas = new Map<string, Map<string, RegistryValue['data']>>();
  for (const { key, name, data } of values) {
    const full = key
      .replace(/^HKLM\\/i, 'HKEY_LOCAL_MACHINE\\')
      .replace(/\\ControlSet\d+\\/i, '\\CurrentControlSet\\');
    if (!full.toLowerCase().startsWith(ROOT)) continue;
    const [ca = '', ...path] = full.slice(ROOT.length).split('\\');
    const settings = cas.get(ca) ?? new Map<string, RegistryValue['data']>();
    settings.set([...path, name].join('\\').toLowerCase(), data);
    cas.set(ca, settings);
  }
  return [...cas].map(([name, settings]) => settingsIn(name, settings));
}

function settingsIn(key: string, settings: ReadonlyMap<string, RegistryValue['data']>): CaSettings {
  const text = (name: string): string | undefined => {
    const data = settings.get(name.toLowerCase());
    return typeof data === 'string' && data !== '' ? data : undefined;
  };
  const number = (name: string): number | undefined => {
    const data = settings.get(name.toLowerCase());
    return typeof data === 'number' ? data : undefined;
  };
  const list = (name: string): readonly string[] | undefined => {
    const data = settings.get(name.toLowerCase());
    return Array.isArray(data) ? (data as readonly string[]) : undefined;
  };
  /** `ValidityPeriod` has the unit and `ValidityPeriodUnits` the number. */
  const days = (name: string): number | undefined => periodDays(`${number(`${name}Units`)} ${text(name)}`);
  const name = text('CommonName') ?? key;
  const serverDnsName = text('CAServerName');
  const urls = (setting: string, bit: number): string[] =>
    (list(setting) ?? []).flatMap((line) => {
      const [, flags = '0', url = ''] = /^(\d+):(.*)$/.exec(line) ?? [];
      return (Number(flags) & bit) === 0 ? [] : [readable(url, name, serverDnsName)];
    });
  const validityDaysMax = days('ValidityPeriod');
  const crlPeriodDays = days('CRLPeriod');
  const deltaCrlPeriodDays = days('CRLDeltaPeriod');
  const clockSkewMinutes = number('ClockSkewMinutes');
  const subjectTemplate = list('SubjectTemplate');
  const active = text('PolicyModules\\Active') ?? DEFAULT_MODULE;
  const editFlags = number(`PolicyModules\\${active}\\EditFlags`) ?? 0;
  return {
    name,
    ...(serverDnsName === undefined ? {} : { serverDnsName }),
    ...(validityDaysMax === undefined ? {} : { validityDaysMax }),
    ...(crlPeriodDays === undefined ? {} : { crlPeriodDays }),
    ...(deltaCrlPeriodDays === undefined ? {} : { deltaCrlPeriodDays }),
    ...(clockSkewMinutes === undefined ? {} : { clockSkewMinutes }),
    crlUrls: urls('CRLPublicationURLs', flag.addToCertificate),
    caIssuersUrls: urls('CACertPublicationURLs', flag.addToCertificate),
    ocspUrls: urls('CACertPublicationURLs', flag.addToOcsp),
    ...(subjectTemplate === undefined ? {} : { subjectTemplate }),
    takesAnySubjectAltName: (editFlags & EDITF_ATTRIBUTESUBJECTALTNAME2) !== 0,
    ...(active.toLowerCase() === DEFAULT_MODULE ? {} : { policyModule: active }),
  };
}

/** The variables of AD CS's URLs that an export tells; what a renewed key or a delta CRL adds (%4, %8, %9) is left out. */
function readable(url: string, name: string, serverDnsName: string | undefined): string {
  const known: Readonly<Record<string, string | undefined>> = {
    1: serverDnsName,
    2: serverDnsName?.split('.')[0],
    3: name,
    4: '',
    7: name,
    8: '',
    9: '',
  };
  return url.replaceAll(/%(1[0-4]|[1-9])/g, (all, variable: string) => known[variable] ?? all);
}
