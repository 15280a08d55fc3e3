/** Which names may be certified. */
import { domainToASCII, domainToUnicode } from 'node:url';
import { type GeneralName, generalNamesToString, type Name, oid, sameOctets } from '../codec/index.ts';
import type { ErrorCode } from '../errors.ts';
import type { CertificateTemplate } from './template.ts';

/** Names that may be certified, or why they may not. */
export type NameVerdict =
  | { readonly verdict: 'accept' }
  | {
      readonly verdict: 'refuse';
      readonly code: Extract<
        ErrorCode,
        'subject_missing' | 'subject_mismatch' | 'san_missing' | 'san_mismatch'
      >;
      readonly detail: string;
    };

/**
 * Judges subject and subjectAltName by a template, whoever supplied them.
 *
 * What is certified is shown to people and compared by programs. A name that is read in two ways is refused, also where a
 * standard would let it pass: controls of writing direction, a DNS name that looks like an address, a wildcard that no
 * pattern asks for.
 */
export function judgeNames(
  template: CertificateTemplate,
  subject: Name,
  subjectAltName: readonly GeneralName[],
): NameVerdict {
  if (subject.rdns.length === 0 && template.subject === 'required')
    return refuse('subject_missing', 'the template wants a subject');
  for (const { oid: type, value } of subject.rdns.flat()) {
    if (!template.subjectAttributes.includes(type))
      return refuse('subject_mismatch', `attribute ${type} is not in the template`);
    const fault = faultOfAttribute(type, value);
    if (fault !== undefined) return refuse('subject_mismatch', `attribute ${type} ${fault}`);
  }
  const { subjectFrom, subjectFixed } = template;
  if (subjectFrom === 'fixed' && !(subjectFixed && sameOctets(subject.raw, subjectFixed.raw)))
    return refuse('subject_mismatch', 'the template has a subject of its own');

  if (subjectAltName.length === 0 && template.subjectAltName === 'required')
    return refuse('san_missing', 'the template wants a subjectAltName');
  for (const name of subjectAltName) {
    const fault = faultOfName(template, name);
    if (fault !== undefined) return refuse('san_mismatch', fault);
  }
  if (
    template.subjectAltNameFrom === 'fixed' &&
    generalNamesToString(subjectAltName) !== generalNamesToString(template.subjectAltNameFixed)
  )
    return refuse('san_mismatch', 'the template has a subjectAltName of its own');
  return { verdict: 'accept' };
}

/** Whether a text is a security identifier of Windows ([MS-DTYP] §2.4.2.1): `S-1-5-21-…`. */
export function isSecurityIdentifier(text: string): boolean {
  return /^S-1-\d{1,15}(-\d{1,10}){1,15}$/.test(text);
}

/** RFC 5280 appendix A.1: upper bounds. */
const attributeCharactersMax: Readonly<Record<string, number>> = {
  [oid.commonName]: 64,
  [oid.organizationName]: 64,
  [oid.organizationalUnitName]: 64,
  [oid.serialNumber]: 64,
  [oid.title]: 64,
  [oid.localityName]: 128,
  [oid.stateOrProvinceName]: 128,
  [oid.domainComponent]: 63,
};
/** Of those without a bound of their own. */
const ATTRIBUTE_CHARACTERS_MAX = 255;
const MAILBOX_CHARACTERS_MAX = 254;
const NAME_CHARACTERS_MAX = 2048;

/** Controls, separators of lines, and what turns the direction of writing or is seen by nobody. */
const misleading =
  /[\p{Cc}\p{Co}\p{Cs}\p{Zl}\p{Zp}\u061c\u200b\u200e\u200f\u202a-\u202e\u2060-\u2069\ufeff]/u;

function faultOfAttribute(type: string, value: string): string | undefined {
  if (value.trim() === '') return 'is empty';
  if (misleading.test(value)) return 'has a character that misleads readers';
  const max = attributeCharactersMax[type] ?? ATTRIBUTE_CHARACTERS_MAX;
  if ([...value].length > max) return `is longer than ${max} characters`;
  if (type === oid.countryName && !/^[A-Z]{2}$/.test(value)) return 'is not two capital letters';
  return undefined;
}

function faultOfName(template: CertificateTemplate, name: GeneralName): string | undefined {
  if (
    name.type === 'directoryName' ||
    name.type === 'other' ||
    !template.subjectAltNameTypes.includes(name.type)
  )
    return `${name.type} is not in the template`;
  const { type, value } = name;
  const patterns = template.subjectAltNamePatterns[type];
  if (patterns !== undefined && !patterns.some((pattern) => pattern.matches(value)))
    return `“${value.slice(0, ATTRIBUTE_CHARACTERS_MAX)}” fits no pattern of the template`;
  switch (type) {
    case 'dNSName':
      // RFC 9525 §6.3: a star is the whole first label. No pattern but \* lets one in, and none at all does not.
      if (value.startsWith('*.') && patterns !== undefined) return faultOfDomain(value.slice(2), 2);
      return faultOfDomain(value, 1);
    case 'rfc822Name':
      return faultOfMailbox(value);
    case 'userPrincipalName':
      return /^[^@\s]+@[^@\s]+$/.test(value) && value.length <= NAME_CHARACTERS_MAX && !misleading.test(value)
        ? undefined
        : 'a user principal name that is none';
    case 'uniformResourceIdentifier':
      // RFC 5280 §4.2.1.6: absolute, and without what RFC 3986 §2 does not know.
      return /^[A-Za-z][A-Za-z0-9+.-]*:[!#-;=?-[\]_a-z~]+$/.test(value) &&
        value.length <= NAME_CHARACTERS_MAX &&
        hasHostIfAny(value)
        ? undefined
        : 'a URI that is none';
    case 'iPAddress':
      return undefined;
  }
}

/** RFC 5280 §4.2.1.6: where a URI has an authority, it names a host; and one of HTTP has (RFC 9110 §4.2.1). */
function hasHostIfAny(uri: string): boolean {
  const authority = /^[^:]+:\/\/([^/?#]*)/.exec(uri)?.[1];
  if (authority === undefined) return !/^https?:/i.test(uri);
  return authority.replace(/^.*@/, '').replace(/:\d*$/, '') !== '';
}

/** The preferred syntax (RFC 1034 §3.5), underscores besides; international names in valid ASCII form (RFC 5890 §2.3.2.1). */
function faultOfDomain(text: string, labelsMin: number): string | undefined {
  const labels = text.split('.');
  if (
    text.length > 253 ||
    labels.length < labelsMin ||
    !labels.every((label) => /^[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?$/.test(label))
  )
    return `“${text.slice(0, ATTRIBUTE_CHARACTERS_MAX)}” is not a DNS name`;
  // RFC 1123 §2.1: an address has digits at its end, a name has not; some readers take one for the other.
  if (/^\d+$/.test(labels.at(-1) ?? '')) return `“${text}” looks like an address`;
  if (labels.some((label) => /^xn--/i.test(label) && !isInternational(label)))
    return `“${text}” is not a valid international name`;
  return undefined;
}

/** Whether an A-label stands for something, and that for it. */
function isInternational(label: string): boolean {
  const text = domainToUnicode(label);
  // What cannot be decoded comes back empty or as it was.
  return text !== '' && text !== label.toLowerCase() && domainToASCII(text) === label.toLowerCase();
}

/** RFC 5321 §4.1.2: a dot-string; quoted local parts are read in many ways. */
function faultOfMailbox(text: string): string | undefined {
  const [local = '', domain, ...more] = text.split('@');
  if (
    text.length > MAILBOX_CHARACTERS_MAX ||
    domain === undefined ||
    more.length > 0 ||
    !/^[\w!#$%&'*+/=?^`{|}~-]+(?:\.[\w!#$%&'*+/=?^`{|}~-]+)*$/.test(local)
  )
    return 'an e-mail address that is none';
  return faultOfDomain(domain, 1);
}

function refuse(code: Extract<NameVerdict, { verdict: 'refuse' }>['code'], detail: string): NameVerdict {
  return { verdict: 'refuse', code, detail };
}
