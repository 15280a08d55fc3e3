/** From the templates that a configuration defines to those that the CA works by. */
import {
  type GeneralName,
  generalNameFromString,
  type KeyUsage,
  type Name,
  nameFromString,
  objectIdentifier,
  oid,
  type TemplateInformation,
} from '../codec/index.ts';
import { PkiError } from '../errors.ts';
import { type NamePattern, namePatternOf } from './name-pattern.ts';
import { judgeNames } from './name-policy.ts';
import {
  builtInTemplates,
  type CertificateTemplate,
  type NameSource,
  plainTemplate,
  type SubjectAltNameType,
  type TemplateKeyAlgorithm,
} from './template.ts';

/** Purposes that a configuration names by a word; of others it says the object identifier. */
export const purposeByWord = {
  clientAuth: oid.clientAuth,
  serverAuth: oid.serverAuth,
  emailProtection: oid.emailProtection,
  codeSigning: oid.codeSigning,
  timeStamping: oid.timeStamping,
  ocspSigning: oid.ocspSigning,
  ipsecIKE: oid.ipsecIKE,
  iKEIntermediate: oid.iKEIntermediate,
  smartcardLogon: oid.smartcardLogon,
  pkinitKDC: oid.pkinitKDC,
  certificateRequestAgent: oid.certificateRequestAgent,
} as const;

/** A template as a configuration writes it: what it does not say, it has from the one that it extends. */
export interface TemplateDefinition {
  readonly name: string;
  /** A built-in template, or one that is defined before. */
  readonly extend?: string | undefined;
  readonly displayName?: string | undefined;
  /** Milliseconds, like the two below. */
  readonly validity?: number | undefined;
  readonly renewalPeriod?: number | undefined;
  readonly backdate?: number | undefined;
  readonly keyAlgorithms?: readonly TemplateKeyAlgorithm[] | undefined;
  readonly rsaBitsMin?: number | undefined;
  readonly keyUsage?: readonly KeyUsage[] | undefined;
  readonly keyUsageDefault?: readonly KeyUsage[] | undefined;
  /** Words of `purposeByWord`, or dotted. */
  readonly extKeyUsage?: readonly string[] | undefined;
  readonly extKeyUsageDefault?: readonly string[] | undefined;
  readonly subjectFrom?: NameSource | undefined;
  readonly subject?: 'required' | 'optional' | undefined;
  /** Keywords of RFC 4514 (`CN`, `O`), or dotted. */
  readonly subjectAttributes?: readonly string[] | undefined;
  readonly subjectFixed?: string | undefined;
  readonly subjectAltNameFrom?: NameSource | undefined;
  readonly subjectAltName?: 'required' | 'optional' | undefined;
  readonly subjectAltNameTypes?: readonly SubjectAltNameType[] | undefined;
  readonly subjectAltNamePatterns?:
    | Readonly<Partial<Record<SubjectAltNameType, readonly string[] | undefined>>>
    | undefined;
  /** `DNS:a.example`, … */
  readonly subjectAltNameFixed?: readonly string[] | undefined;
  readonly securityIdentifier?: 'never' | 'ifKnown' | 'required' | undefined;
  readonly ocspNoCheck?: boolean | undefined;
  readonly templateInformation?: TemplateInformation | undefined;
  readonly certificatesPerDeviceMax?: number | undefined;
  readonly approval?: 'none' | 'certificateManager' | undefined;
  readonly raSignature?: 'none' | 'required' | undefined;
}

/** What is wrong with a definition. */
export interface TemplateFault {
  /** Place of the definition in the list. */
  readonly index: number;
  /** The key that is to be changed. */
  readonly key: keyof TemplateDefinition;
  readonly text: string;
}

type Report = (key: keyof TemplateDefinition, text: string) => void;

/**
 * The built-in templates and those of a configuration, and whatever cannot work in them. A definition may take the name of
 * a built-in template, and stands in its place. With a fault, the templates are not to be used.
 */
export function resolveTemplates(definitions: readonly TemplateDefinition[]): {
  readonly templates: readonly CertificateTemplate[];
  readonly faults: readonly TemplateFault[];
} {
  const known = new Map(builtInTemplates.map((template) => [template.name, template]));
  const faults: TemplateFault[] = [];
  for (const [index, definition] of definitions.entries()) {
    const report: Report = (key, text) => faults.push({ index, key, text });
    if (definitions.findIndex(({ name }) => name === definition.name) < index)
      report('name', `“${definition.name}” is there already`);
    const base = definition.extend === undefined ? plainTemplate : known.get(definition.extend);
    if (base === undefined) {
      report('extend', `there is no template “${definition.extend}” before this one`);
      continue;
    }
    const template = extended(base, definition, report);
    for (const { key, text } of faultsOf(template)) report(key, text);
    known.set(template.name, template);
  }
  return { templates: [...known.values()], faults };
}

function extended(
  base: CertificateTemplate,
  definition: TemplateDefinition,
  report: Report,
): CertificateTemplate {
  // An identifier is of one template alone.
  const { keyUsageDefault, extKeyUsageDefault, information: _, ...inherited } = base;
  const subjectFrom = definition.subjectFrom ?? base.subjectFrom;
  const subjectAltNameFrom = definition.subjectAltNameFrom ?? base.subjectAltNameFrom;
  if (definition.subjectFixed !== undefined && subjectFrom !== 'fixed')
    report('subjectFixed', 'counts only with subjectFrom: fixed');
  if (definition.subjectAltNameFixed !== undefined && subjectAltNameFrom !== 'fixed')
    report('subjectAltNameFixed', 'counts only with subjectAltNameFrom: fixed');
  const subjectFixed =
    definition.subjectFixed === undefined
      ? base.subjectFixed
      : read(() => nameFromString(definition.subjectFixed ?? ''), 'subjectFixed', report);
  // A default of the template that is extended belongs to its ceiling: a new ceiling is its own default.
  const usageDefault = definition.keyUsageDefault ?? (definition.keyUsage ? undefined : keyUsageDefault);
  const purposes = definition.extKeyUsage && purposesOf(definition.extKeyUsage, 'extKeyUsage', report);
  const purposesDefault = definition.extKeyUsageDefault
    ? purposesOf(definition.extKeyUsageDefault, 'extKeyUsageDefault', report)
    : purposes
      ? undefined
      : extKeyUsageDefault;
  return {
    ...inherited,
    name: definition.name,
    displayName: definition.displayName ?? definition.name,
    validityMs: definition.validity ?? base.validityMs,
    renewalPeriodMs: definition.renewalPeriod ?? base.renewalPeriodMs,
    backdateMs: definition.backdate ?? base.backdateMs,
    keyAlgorithms: definition.keyAlgorithms ?? base.keyAlgorithms,
    rsaBitsMin: definition.rsaBitsMin ?? base.rsaBitsMin,
    keyUsage: definition.keyUsage ?? base.keyUsage,
    ...(usageDefault === undefined ? {} : { keyUsageDefault: usageDefault }),
    extKeyUsage: purposes ?? base.extKeyUsage,
    ...(purposesDefault === undefined ? {} : { extKeyUsageDefault: purposesDefault }),
    subjectFrom,
    subject: definition.subject ?? base.subject,
    subjectAttributes: definition.subjectAttributes
      ? attributesOf(definition.subjectAttributes, report)
      : base.subjectAttributes,
    ...(subjectFixed === undefined ? {} : { subjectFixed }),
    subjectAltNameFrom,
    subjectAltName: definition.subjectAltName ?? base.subjectAltName,
    subjectAltNameTypes: definition.subjectAltNameTypes ?? base.subjectAltNameTypes,
    subjectAltNamePatterns: definition.subjectAltNamePatterns
      ? patternsOf(definition.subjectAltNamePatterns, report)
      : base.subjectAltNamePatterns,
    subjectAltNameFixed: definition.subjectAltNameFixed
      ? namesOf(definition.subjectAltNameFixed, report)
      : base.subjectAltNameFixed,
    securityIdentifier: definition.securityIdentifier ?? base.securityIdentifier,
    ocspNoCheck: definition.ocspNoCheck ?? base.ocspNoCheck,
    approval: definition.approval ?? base.approval,
    raSignature: definition.raSignature ?? base.raSignature,
    ...(definition.templateInformation && informationOf(definition.templateInformation, report)),
    ...(definition.certificatesPerDeviceMax === undefined
      ? {}
      : { certificatesPerDeviceMax: definition.certificatesPerDeviceMax }),
  };
}

function informationOf(
  information: TemplateInformation,
  report: Report,
): { readonly information: TemplateInformation } {
  if (!isObjectIdentifier(information.oid))
    report('templateInformation', `“${information.oid}” is not an object identifier`);
  return { information };
}

function purposesOf(words: readonly string[], key: keyof TemplateDefinition, report: Report): string[] {
  return words.map((word) => {
    if (Object.hasOwn(purposeByWord, word)) return purposeByWord[word as keyof typeof purposeByWord];
    if (!isObjectIdentifier(word))
      report(
        key,
        `“${word}” is neither an object identifier nor one of ${Object.keys(purposeByWord).join(', ')}`,
      );
    return word;
  });
}

function attributesOf(words: readonly string[], report: Report): string[] {
  return words.flatMap((word) => {
    const name = read(() => nameFromString(`${word}=x`), 'subjectAttributes', report);
    return name?.rdns.flat().map(({ oid: type }) => type) ?? [];
  });
}

function patternsOf(
  texts: NonNullable<TemplateDefinition['subjectAltNamePatterns']>,
  report: Report,
): Partial<Record<SubjectAltNameType, readonly NamePattern[]>> {
  return Object.fromEntries(
    Object.entries(texts).flatMap(([type, list]) => {
      if (list === undefined) return [];
      const patterns = list.flatMap((text) => {
        const result = namePatternOf(type as SubjectAltNameType, text);
        if ('pattern' in result) return [result.pattern];
        report('subjectAltNamePatterns', `${type} “${text}”: ${result.fault}`);
        return [];
      });
      return [[type, patterns]];
    }),
  );
}

function namesOf(texts: readonly string[], report: Report): GeneralName[] {
  return texts.flatMap(
    (text) => read(() => generalNameFromString(text), 'subjectAltNameFixed', report) ?? [],
  );
}

function read<T extends Name | GeneralName>(
  reading: () => T,
  key: keyof TemplateDefinition,
  report: Report,
): T | undefined {
  try {
    return reading();
  } catch (cause) {
    if (!(cause instanceof PkiError)) throw cause;
    report(key, cause.message);
    return undefined;
  }
}

function isObjectIdentifier(text: string): boolean {
  try {
    objectIdentifier(text);
    return /^\d/.test(text);
  } catch (cause) {
    if (!(cause instanceof PkiError)) throw cause;
    return false;
  }
}

/**
 * RFC 5280 §4.2.1.12: the bits that go with a purpose, of which a certificate has at least one; RFC 4945 §5.1.3.2 for
 * IPsec, RFC 4556 §3.2.4 for the KDC. Without one of them no relying party takes the certificate for the purpose.
 */
const usageByPurpose: Readonly<Record<string, readonly KeyUsage[]>> = {
  [oid.clientAuth]: ['digitalSignature', 'keyAgreement'],
  [oid.serverAuth]: ['digitalSignature', 'keyEncipherment', 'keyAgreement'],
  [oid.emailProtection]: ['digitalSignature', 'nonRepudiation', 'keyEncipherment', 'keyAgreement'],
  [oid.codeSigning]: ['digitalSignature'],
  [oid.timeStamping]: ['digitalSignature', 'nonRepudiation'],
  [oid.ocspSigning]: ['digitalSignature', 'nonRepudiation'],
  [oid.ipsecIKE]: ['digitalSignature', 'nonRepudiation'],
  [oid.iKEIntermediate]: ['digitalSignature', 'nonRepudiation'],
  [oid.smartcardLogon]: ['digitalSignature'],
  [oid.pkinitKDC]: ['digitalSignature'],
};

/** What contradicts itself in a template, with the key of the configuration that is to be changed. */
function faultsOf(template: CertificateTemplate): Pick<TemplateFault, 'key' | 'text'>[] {
  const faults: Pick<TemplateFault, 'key' | 'text'>[] = [];
  const fault: Report = (key, text) => faults.push({ key, text });
  const { keyUsage, keyUsageDefault = keyUsage, extKeyUsage, extKeyUsageDefault = extKeyUsage } = template;

  if (template.renewalPeriodMs >= template.validityMs)
    fault('renewalPeriod', 'is as long as the validity: every certificate would be due at once');

  const caBits = keyUsage.filter((bit) => bit === 'keyCertSign' || bit === 'cRLSign');
  if (caBits.length > 0) fault('keyUsage', `${caBits.join(', ')} are a CA’s; a template never makes one`);
  const usageBeyond = keyUsageDefault.filter((bit) => !keyUsage.includes(bit));
  if (usageBeyond.length > 0) fault('keyUsageDefault', `${usageBeyond.join(', ')} is beyond keyUsage`);
  if (keyUsageDefault.length === 0) fault('keyUsageDefault', 'a certificate has at least one bit');
  const left = keyUsageDefault.filter((bit) => bit !== 'keyEncipherment' && bit !== 'dataEncipherment');
  if (
    keyUsageDefault.length > 0 &&
    left.length === 0 &&
    template.keyAlgorithms.some((kind) => kind !== 'rsa')
  )
    fault('keyUsage', 'nothing would be left for a key on an elliptic curve, which enciphers nothing');

  if (extKeyUsage.length === 0) fault('extKeyUsage', 'a certificate has at least one purpose');
  else if (extKeyUsageDefault.length === 0)
    fault('extKeyUsageDefault', 'a certificate has at least one purpose');
  if (extKeyUsage.includes(oid.anyExtendedKeyUsage))
    fault('extKeyUsage', 'any purpose is no purpose; name those that are meant');
  const purposesBeyond = extKeyUsageDefault.filter((purpose) => !extKeyUsage.includes(purpose));
  if (purposesBeyond.length > 0)
    fault('extKeyUsageDefault', `${purposesBeyond.map(wordOf).join(', ')} is beyond extKeyUsage`);
  for (const purpose of extKeyUsage) {
    const wanted = usageByPurpose[purpose];
    if (wanted !== undefined && !wanted.some((bit) => keyUsageDefault.includes(bit)))
      fault('keyUsage', `${wordOf(purpose)} needs ${wanted.join(' or ')} (RFC 5280 §4.2.1.12)`);
  }
  if (template.ocspNoCheck && !extKeyUsage.every((purpose) => purpose === oid.ocspSigning))
    fault(
      'ocspNoCheck',
      'is for a certificate with the purpose ocspSigning alone: nobody would ask whether it is revoked',
    );

  if (template.subject === 'optional' && template.subjectAltName === 'optional')
    fault('subject', 'or subjectAltName must be required: a certificate names somebody (RFC 5280 §4.1.2.6)');
  if (template.subjectFrom === 'fixed' && template.subjectFixed === undefined)
    fault('subjectFixed', 'is missing');
  if (template.subjectAltNameFrom === 'fixed' && template.subjectAltNameFixed.length === 0)
    fault('subjectAltNameFixed', 'is missing');
  if (template.subjectAltName === 'required' && template.subjectAltNameTypes.length === 0)
    fault('subjectAltNameTypes', 'none is allowed, and subjectAltName is required');
  for (const [type, patterns] of Object.entries(template.subjectAltNamePatterns)) {
    if (!template.subjectAltNameTypes.includes(type as SubjectAltNameType))
      fault('subjectAltNamePatterns', `${type} is not in subjectAltNameTypes`);
    if (patterns.length === 0)
      fault('subjectAltNamePatterns', `${type}: no pattern lets no name in; leave the type out`);
  }
  // What is fixed must itself be within the template.
  const free = {
    ...template,
    subjectFrom: 'request',
    subject: 'optional',
    subjectAltNameFrom: 'request',
    subjectAltName: 'optional',
  } as const;
  const subject = judgeNames(free, template.subjectFixed ?? nameFromString(''), []);
  if (template.subjectFrom === 'fixed' && subject.verdict === 'refuse') fault('subjectFixed', subject.detail);
  const names = judgeNames(free, nameFromString(''), template.subjectAltNameFixed);
  if (template.subjectAltNameFrom === 'fixed' && names.verdict === 'refuse')
    fault('subjectAltNameFixed', names.detail);
  return faults;
}

function wordOf(purpose: string): string {
  return Object.entries(purposeByWord).find(([, dotted]) => dotted === purpose)?.[0] ?? purpose;
}

/** Whether a template takes something from the directory that it cannot do without. */
export function needsDirectory(template: CertificateTemplate): boolean {
  return (
    template.subjectFrom === 'directory' ||
    template.subjectAltNameFrom === 'directory' ||
    template.securityIdentifier === 'required'
  );
}
