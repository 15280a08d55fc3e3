/** `certutil -v -template` and `certutil -v -dstemplate`: the certificate templates of a forest, as text. */
import { PkiError } from '../errors.ts';

/** A template as certutil shows it. Numbers are flags of MS-CRTD §2. */
export interface CertificateTemplateDump {
  /** What registries and requests name it by. */
  readonly commonName: string;
  readonly friendlyName: string;
  /** Dotted. */
  readonly oid?: string;
  readonly schemaVersion: number;
  readonly majorVersion: number;
  readonly minorVersion: number;
  /** Dotted; empty for all purposes. */
  readonly extKeyUsage: readonly string[];
  /** Issuance policies, dotted. */
  readonly certificatePolicies: readonly string[];
  /** Common names of the templates that this one supersedes. */
  readonly supersedes: readonly string[];
  /** First octet of the keyUsage bits; absent if the dump does not show it. */
  readonly keyUsageBits?: number;
  /** 0 if the dump does not show it. */
  readonly keyBitsMin: number;
  /** `RSA`, `ECDSA_P256`, …; absent means RSA. */
  readonly keyAlgorithm?: string;
  readonly raSignatures: number;
  readonly enrollmentFlags: number;
  readonly subjectNameFlags: number;
  readonly privateKeyFlags: number;
  readonly generalFlags: number;
  /** `1 Years`, `6 Weeks`, as it is shown: in the language of the server. */
  readonly validity: string;
  readonly renewal: string;
}

const TEMPLATES_MAX = 10_000;

/**
 * Reads a dump of either form. Names of properties and attributes are the same in every language of Windows; headings,
 * and the units of periods, are not.
 *
 * @param text as `decodeWindowsText` gives it
 * @throws PkiError `config_invalid` if there is no template in it, or one without a name.
 */
export function parseTemplateDump(text: string): CertificateTemplateDump[] {
  const templates = /^\s*pKIExpirationPeriod\s*=/m.test(text)
    ? directoryTemplates(text)
    : policyTemplates(text);
  if (templates.length === 0 || templates.length > TEMPLATES_MAX)
    throw new PkiError('config_invalid', 'no template in the dump: make it with `certutil -v -template`');
  const short = templates.find(({ validity }) => validity === '');
  if (short !== undefined)
    throw new PkiError(
      'config_invalid',
      `the dump shows no validity of template ${short.commonName}: make it with \`certutil -v -template\`; without -v it has names alone`,
    );
  return templates;
}

/** `-template`: what the enrolment policy server says, a property after the other; the name is the first. */
function policyTemplates(text: string): CertificateTemplateDump[] {
  return text
    .split(/^(?=\s*TemplatePropCommonName =)/m)
    .filter((block) => block.includes('TemplatePropCommonName ='))
    .map(policyTemplateIn);
}

function policyTemplateIn(block: string): CertificateTemplateDump {
  const text = (name: string): string | undefined =>
    new RegExp(`^[ \\t]*TemplateProp${name} =[ \\t]*(.*)$`, 'm').exec(block)?.[1]?.trim();
  // certutil writes numbers in hexadecimal, and behind those above nine the decimal one in brackets.
  const number = (name: string): number => {
    const shown = text(name)?.split(/[\s(]/)[0] ?? '';
    return /^[0-9a-f]{1,8}$/i.test(shown) ? Number.parseInt(shown, 16) : 0;
  };
  /** The lines below a property, up to an empty one. */
  const below = (name: string): string =>
    new RegExp(`^[ \\t]*TemplateProp${name} =[ \\t]*\\n((?:[ \\t]*\\S.*\\n?)*)`, 'm').exec(block)?.[1] ?? '';
  const oids = (lines: string): string[] =>
    [...lines.matchAll(/^\s*(\d+(?:\.\d+){2,})(?:\s|$)/gm)].map((match) => match[1] ?? '');

  const commonName = text('CommonName');
  if (commonName === undefined || commonName === '')
    throw new PkiError('config_invalid', 'a template without TemplatePropCommonName in the dump');
  const [identifier] = oids(below('OID'));
  // 2.5.29.15 with its flags, a heading, and the bits with their octets in brackets.
  const usage = /2\.5\.29\.15:[^\n]*\n[^\n]*\n[^\n]*\(([0-9a-f]{2})(?:[ ,][0-9a-f]{2})*\)\s*$/im.exec(
    block,
  )?.[1];
  const keyAlgorithm = text('AsymmetricAlgorithm');
  const extKeyUsage = oids(below('EKUs'));
  return {
    commonName,
    friendlyName: text('FriendlyName') ?? commonName,
    ...(identifier === undefined ? {} : { oid: identifier }),
    schemaVersion: number('SchemaVersion'),
    majorVersion: number('MajorRevision'),
    minorVersion: number('MinorRevision'),
    extKeyUsage: extKeyUsage.length > 0 ? extKeyUsage : oids(below('V1ApplicationPolicy')),
    certificatePolicies: oids(below('CertificatePolicies')),
    supersedes: [...below('Supersede').matchAll(/^\s*\d+: (.+)$/gm)].map((match) => (match[1] ?? '').trim()),
    ...(usage === undefined ? {} : { keyUsageBits: Number.parseInt(usage, 16) }),
    keyBitsMin: number('MinimumKeySize'),
    ...(keyAlgorithm === undefined || keyAlgorithm === '' ? {} : { keyAlgorithm }),
    raSignatures: number('RASignatureCount'),
    enrollmentFlags: number('EnrollmentFlags'),
    subjectNameFlags: number('SubjectNameFlags'),
    privateKeyFlags: number('PrivateKeyFlags'),
    generalFlags: number('GeneralFlags'),
    validity: text('ValidityPeriod') ?? '',
    renewal: text('RenewalPeriod') ?? '',
  };
}

/** `-dstemplate`: the objects of the directory, `[name]` and then their attributes (MS-CRTD §3). */
function directoryTemplates(text: string): CertificateTemplateDump[] {
  return text
    .split(/^(?=\s*\[[^\]\n]+\]\s*$)/m)
    .filter((block) => /^\s*pKIExpirationPeriod\s*=/m.test(block))
    .map(directoryTemplateIn);
}

function directoryTemplateIn(block: string): CertificateTemplateDump {
  // An attribute's values go on in the lines below, each in quotation marks; flags explain themselves without.
  const attributes = new Map<string, string[]>();
  let values: string[] = [];
  for (const line of block.split('\n')) {
    const start = /^\s*([A-Za-z][\w-]*)\s*=(?:\s|$)/.exec(line);
    if (start !== null) {
      values = [];
      attributes.set((start[1] ?? '').toLowerCase(), values);
    }
    values.push(...[...line.matchAll(/"([^"]*)"/g)].map((match) => match[1] ?? ''));
  }
  const all = (name: string) => attributes.get(name.toLowerCase()) ?? [];
  const text = (name: string): string | undefined => all(name)[0];
  // LDAP has signed numbers, where flags use the highest bit.
  const number = (name: string): number => (Number.parseInt(text(name) ?? '0', 10) || 0) >>> 0;
  const oids = (name: string) => all(name).filter((value) => /^\d+(\.\d+){2,}$/.test(value));

  const commonName = text('cn') ?? '';
  if (commonName === '') throw new PkiError('config_invalid', 'a template without cn in the dump');
  const identifier = text('msPKI-Cert-Template-OID');
  const usage = /^[0-9a-f]{2}/i.exec(text('pKIKeyUsage') ?? '')?.[0];
  // MS-CRTD §2.23: version 3 and later keep it among the properties of the RA's application policies.
  const keyAlgorithm = /msPKI-Asymmetric-Algorithm`PZPWSTR`([^`]+)`/.exec(
    all('msPKI-RA-Application-Policies').join(),
  )?.[1];
  return {
    commonName,
    friendlyName: text('displayName') ?? commonName,
    ...(identifier === undefined ? {} : { oid: identifier }),
    // MS-CRTD §2.16: absent in version 1.
    schemaVersion: number('msPKI-Template-Schema-Version') || 1,
    majorVersion: number('revision'),
    minorVersion: number('msPKI-Template-Minor-Revision'),
    extKeyUsage: oids('pKIExtendedKeyUsage'),
    certificatePolicies: oids('msPKI-Certificate-Policy'),
    supersedes: all('msPKI-Supersede-Templates'),
    ...(usage === undefined ? {} : { keyUsageBits: Number.parseInt(usage, 16) }),
    keyBitsMin: number('msPKI-Minimal-Key-Size'),
    ...(keyAlgorithm === undefined ? {} : { keyAlgorithm }),
    raSignatures: number('msPKI-RA-Signature'),
    enrollmentFlags: number('msPKI-Enrollment-Flag'),
    subjectNameFlags: number('msPKI-Certificate-Name-Flag'),
    privateKeyFlags: number('msPKI-Private-Key-Flag'),
    generalFlags: number('flags'),
    validity: text('pKIExpirationPeriod') ?? '',
    renewal: text('pKIOverlapPeriod') ?? '',
  };
}
