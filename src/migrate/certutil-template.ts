/** `certutil -v -template`: the certificate templates of a forest, as text. */
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
  /** First octet of the keyUsage bits; absent if the dump does not show it. */
  readonly keyUsageBits?: number;
  readonly keyBitsMin: number;
  /** `RSA`, `ECDSA_P256`, …; absent means RSA. */
  readonly keyAlgorithm?: string;
  readonly raSignatures: number;
  readonly enrollmentFlags: number;
  readonly subjectNameFlags: number;
  readonly privateKeyFlags: number;
  readonly generalFlags: number;
  /** `1 Years`, `6 Weeks`, as it is shown. */
  readonly validity: string;
  readonly renewal: string;
}

const TEMPLATES_MAX = 10_000;

/**
 * Reads the dump. Property names are the same in every language of Windows.
 *
 * @param text as `decodeWindowsText` gives it
 * @throws PkiError `config_invalid` if there is no template in it, or one without a name.
 */
export function parseTemplateDump(text: string): CertificateTemplateDump[] {
  // The number of the template stands before each; `-template NAME` shows one in the same form.
  const blocks = text.split(/^\s*Template\[\d+\]:\s*$/m).slice(1);
  if (blocks.length === 0 || blocks.length > TEMPLATES_MAX)
    throw new PkiError('config_invalid', 'no template in the dump: make it with `certutil -v -template`');
  return blocks.map(templateIn);
}

function templateIn(block: string): CertificateTemplateDump {
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
  return {
    commonName,
    friendlyName: text('FriendlyName') ?? commonName,
    ...(identifier === undefined ? {} : { oid: identifier }),
    schemaVersion: number('SchemaVersion'),
    majorVersion: number('MajorRevision'),
    minorVersion: number('MinorRevision'),
    extKeyUsage: oids(below('EKUs')),
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
