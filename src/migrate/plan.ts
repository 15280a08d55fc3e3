/** What takes NDES's place: templates, endpoints and policy as a configuration, and what could not be carried over. */
import { oid } from '../codec/index.ts';
import type { CertificateTemplateDump } from './certutil-template.ts';
import type { IssuedCertificate } from './certutil-view.ts';
import type { NdesSettings } from './ndes-settings.ts';

/** Something that an administrator should know. */
export interface MigrationNote {
  /** What it is about: `template X`, `NDES`, … */
  readonly about: string;
  /** `changed`: carried over in another way. `notCarried`: lost, and why. `todo`: for the administrator to fill in. */
  readonly kind: 'changed' | 'notCarried' | 'todo';
  readonly text: string;
}

/** A certificate that must be replaced before it ends. */
export interface ExpiringCertificate extends IssuedCertificate {
  /** Common name of the template, if the dump of templates has it. */
  readonly templateName: string;
  /** Whether NDES enrols for this template. */
  readonly byNdes: boolean;
}

/** What is proposed. */
export interface MigrationPlan {
  /** A configuration that `parseConfig` accepts; files, tenant and URLs in it are to be filled in. */
  readonly configuration: { readonly server: Readonly<Record<string, unknown>> };
  readonly notes: readonly MigrationNote[];
  /** Valid certificates, those that end first before the others. */
  readonly certificates: readonly ExpiringCertificate[];
}

/** Flags of MS-CRTD §2.26–2.28 and §2.4. */
const flag = {
  enrolleeSuppliesSubject: 0x1,
  enrolleeSuppliesSubjectAltName: 0x1_0000,
  pendAllRequests: 0x2,
  noSecurityExtension: 0x8_0000,
  archivePrivateKey: 0x1,
  exportableKey: 0x10,
  isCa: 0x80,
} as const;

const DISPOSITION_ISSUED = 20;
const RSA_BITS_MIN = 2048;
const keyUsageBits: readonly (readonly [bit: number, name: string])[] = [
  [0x80, 'digitalSignature'],
  [0x40, 'nonRepudiation'],
  [0x20, 'keyEncipherment'],
  [0x10, 'dataEncipherment'],
  [0x08, 'keyAgreement'],
];
const curves: Readonly<Record<string, string>> = {
  RSA: 'rsa',
  ECDSA_P256: 'P-256',
  ECDSA_P384: 'P-384',
  ECDH_P256: 'P-256',
  ECDH_P384: 'P-384',
};
/** Purposes that no device may have from an endpoint: whoever holds one acts for others, or for the CA. */
const refusedPurposes: ReadonlyMap<string, string> = new Map([
  [oid.anyExtendedKeyUsage, 'any purpose'],
  [oid.certificateRequestAgent, 'Certificate Request Agent'],
  [oid.ocspSigning, 'OCSP Signing'],
]);
const DAYS: Readonly<Record<string, number>> = { Hour: 1 / 24, Day: 1, Week: 7, Month: 30, Year: 365 };
const NDES_PATHS = ['/certsrv/mscep/mscep.dll', '/certsrv/mscep'];

/**
 * Proposes what takes the place of an NDES server.
 *
 * @param now certificates that have ended by then are left out
 */
export function planMigration(
  settings: NdesSettings,
  templates: readonly CertificateTemplateDump[],
  issued: readonly IssuedCertificate[],
  now: Date,
): MigrationPlan {
  const notes: MigrationNote[] = [];
  const note = (kind: MigrationNote['kind'], about: string, text: string) =>
    notes.push({ kind, about, text });
  const issuer = issuerOf(settings, note);
  const validators = validatorsOf(settings, note);
  const { signature, encryption, generalPurpose } = settings.templates;
  // The general-purpose template comes first: it keeps NDES’s URL.
  const used = [...new Set([generalPurpose, signature, encryption])];
  const names = namesFor(used);
  const definitions = used.map((commonName) => {
    const dump = templates.find((template) => template.commonName.toLowerCase() === commonName.toLowerCase());
    const name = names.get(commonName) ?? '';
    if (dump !== undefined) return templateOf(dump, name, validators, note);
    note(
      'todo',
      `template ${commonName}`,
      'is not in the dump of templates; the proposal extends `client-authentication`: check validity, key usage and purposes',
    );
    return { name, extend: 'client-authentication', displayName: commonName };
  });
  const endpoints = used.map((commonName) => {
    const name = names.get(commonName) ?? '';
    const isFirst = commonName === generalPurpose;
    if (!isFirst)
      note(
        'changed',
        `template ${commonName}`,
        `NDES chooses it by the key usage of a request at its one URL; here it has a URL of its own: change profiles that ask for ${
          commonName === signature ? 'digitalSignature' : 'keyEncipherment'
        } alone to /scep/${name}`,
      );
    return {
      name: isFirst ? 'ndes' : name,
      paths: isFirst ? NDES_PATHS : [`/scep/${name}`],
      issuer,
      template: name,
      validators,
      client: 'standard',
    };
  });
  for (const value of settings.unknown)
    note('notCarried', 'NDES', `the registry value ${value} is not known here`);
  note(
    'todo',
    'CA',
    'certificate and key of the issuing CA, and its URLs: make them by ceremony.md, or take those that are there',
  );

  const configuration = {
    server: {
      listen: '127.0.0.1:8080',
      dataFolder: 'data',
      serviceIdentity: 'svc-leafgate-ra',
      issuers: [
        {
          name: issuer,
          certificate: 'issuing-chain.pem',
          key: { file: 'issuing.key.pem', passphrase: 'file:issuing.passphrase' },
          crlUrls: [`http://pki.example.com/crl/${issuer}.crl`],
          caIssuersUrls: [`http://pki.example.com/aia/${issuer}.crt`],
        },
      ],
      ra: {
        automatic: { passphrase: 'file:ra.passphrase' },
        challengeHashKey: 'file:challenge-hash.key',
      },
      templates: definitions,
      endpoints,
      ...adminOf(settings, validators, note),
    },
  };
  return { configuration, notes, certificates: expiring(templates, issued, used, now) };
}

type Note = (kind: MigrationNote['kind'], about: string, text: string) => void;
type ValidatorChoice = Readonly<Record<string, object>>;

function issuerOf({ caConfiguration }: NdesSettings, note: Note): string {
  const [, name = 'issuing'] = caConfiguration?.split('\\') ?? [];
  if (caConfiguration === undefined)
    note('todo', 'CA', 'the registry does not name the CA (CAInfo\\Configuration)');
  else
    note(
      'changed',
      'CA',
      `NDES asked ${caConfiguration}; the new issuing CA has a name, a key and CRLs of its own`,
    );
  return slug(name);
}

function validatorsOf(settings: NdesSettings, note: Note): readonly [ValidatorChoice] {
  if (settings.policyModule !== undefined) {
    note(
      'todo',
      'NDES',
      `the policy module ${settings.policyModule} asks Intune about each request; here the endpoint does: fill in tenant, appId and secret (intune.md). Is it another module than Intune’s, take \`webhook\``,
    );
    return [{ intune: { tenant: 'TENANT', appId: 'APP-ID', secret: 'file:intune.secret' } }];
  }
  switch (settings.challenge) {
    case 'none':
      note(
        'notCarried',
        'NDES',
        'EnforcePassword is 0: whoever reaches NDES gets a certificate. No endpoint here lets anyone in; in the proposal a person approves each request',
      );
      return [{ manualApproval: {} }];
    case 'shared':
      note(
        'changed',
        'NDES',
        'UseSinglePassword is 1: make a secret with `leafgate challenge hash`; better, change to one-time challenges (`oneTime`)',
      );
      return [{ staticSecret: { hash: 'file:static.hash' } }];
    case 'single':
      return [{ oneTime: {} }];
  }
}

/** NDES's page with challenges, for tools that read it. */
function adminOf(
  settings: NdesSettings,
  [validator]: readonly [ValidatorChoice],
  note: Note,
): { readonly admin?: object } {
  if (!('oneTime' in validator)) return {};
  note(
    'notCarried',
    'NDES',
    `PasswordMax (${settings.passwordMax}): any number of challenges may be outstanding; each is good once, and for ${settings.passwordValidityMinutes} minutes on the page`,
  );
  note(
    'changed',
    'NDES',
    'the page with challenges is on the admin API’s listener, and asks for a token instead of a Windows sign-in (`leafgate admin token`)',
  );
  const path = `/${settings.passwordPath.replaceAll(/^\/+|\/+$/g, '').toLowerCase()}`;
  return {
    admin: {
      listen: '127.0.0.1:8081',
      ndesPages: [
        {
          endpoint: 'ndes',
          path: /^(\/[a-z0-9_-]+)+$/.test(path) ? path : '/certsrv/mscep_admin',
          challengeLifetime: `${Math.max(1, settings.passwordValidityMinutes)}m`,
        },
      ],
    },
  };
}

function templateOf(
  dump: CertificateTemplateDump,
  name: string,
  [validator]: readonly [ValidatorChoice],
  note: Note,
): object {
  const about = `template ${dump.commonName}`;
  const extKeyUsage = dump.extKeyUsage.filter((purpose) => {
    const refused = refusedPurposes.get(purpose);
    if (refused !== undefined)
      note('notCarried', about, `the purpose ${refused} (${purpose}): who holds it acts for others`);
    return refused === undefined;
  });
  if (extKeyUsage.length === 0) {
    note(
      'changed',
      about,
      'without a purpose a certificate is good for everything; the proposal says client authentication',
    );
    extKeyUsage.push(oid.clientAuth);
  }
  const keyUsage = usageOf(dump, extKeyUsage, about, note);
  if (dump.keyBitsMin < RSA_BITS_MIN)
    note('changed', about, `keys of ${dump.keyBitsMin} bits are refused: at least ${RSA_BITS_MIN}`);
  const algorithm = curves[dump.keyAlgorithm ?? 'RSA'];
  if (algorithm === undefined)
    note('notCarried', about, `the key algorithm ${dump.keyAlgorithm ?? ''}; the proposal says RSA`);
  const suppliesSubject = (dump.subjectNameFlags & flag.enrolleeSuppliesSubject) !== 0;
  if (!suppliesSubject)
    note(
      'changed',
      about,
      'its names come from Active Directory, which SCEP never had: the proposal takes them from the request, as NDES does',
    );
  if ((dump.generalFlags & flag.isCa) !== 0)
    note('notCarried', about, 'it makes CAs; no endpoint does. The proposal makes end entities');
  if ((dump.privateKeyFlags & flag.archivePrivateKey) !== 0)
    note('notCarried', about, 'archival of private keys: SCEP keys never leave their device');
  if ((dump.privateKeyFlags & flag.exportableKey) !== 0)
    note('notCarried', about, 'exportable keys: that is the device’s profile to say');
  if (dump.raSignatures > 0)
    note(
      'notCarried',
      about,
      `${dump.raSignatures} signature(s) of an enrolment agent: the RA is part of this server; \`raSignature: required\` is the same for several hosts (approval.md)`,
    );
  const pends = (dump.enrollmentFlags & flag.pendAllRequests) !== 0;
  if (pends && 'intune' in validator)
    note('notCarried', about, 'approval by a certificate manager: Intune knows no requests that wait');
  const validity = durationOf(dump.validity);
  const renewal = durationOf(dump.renewal);
  if (validity === undefined)
    note('todo', about, `the validity “${dump.validity}” cannot be read; the proposal says a year`);
  const lives = validity ?? DAYS.Year ?? 365;
  const isRenewable = renewal !== undefined && renewal < lives;
  if (!isRenewable)
    note('changed', about, `the renewal period “${dump.renewal}” is set to a tenth of the validity`);
  return {
    name,
    displayName: dump.friendlyName,
    validity: text(lives),
    renewalPeriod: text(isRenewable ? renewal : lives / 10),
    keyAlgorithms: [algorithm ?? 'rsa'],
    rsaBitsMin: Math.min(Math.max(dump.keyBitsMin, RSA_BITS_MIN), 8192),
    keyUsage,
    extKeyUsage,
    // AD CS lets a request have any names: those that MDMs ask for are let in.
    subject: 'required',
    subjectAltName: 'optional',
    subjectAltNameTypes: [
      'dNSName',
      'rfc822Name',
      'uniformResourceIdentifier',
      'userPrincipalName',
      ...(extKeyUsage.includes(oid.serverAuth) ? ['iPAddress'] : []),
    ],
    securityIdentifier: (dump.enrollmentFlags & flag.noSecurityExtension) !== 0 ? 'never' : 'ifKnown',
    ...(dump.oid === undefined || dump.schemaVersion < 2
      ? {}
      : {
          templateInformation: {
            oid: dump.oid,
            majorVersion: Math.min(dump.majorVersion, 65_535),
            minorVersion: Math.min(dump.minorVersion, 65_535),
          },
        }),
    ...(pends && !('intune' in validator) ? { approval: 'certificateManager' } : {}),
  };
}

function usageOf(
  { keyUsageBits: bits }: CertificateTemplateDump,
  extKeyUsage: readonly string[],
  about: string,
  note: Note,
): string[] {
  if (bits === undefined) note('todo', about, 'the dump does not show its key usage; the proposal says both');
  const usage = keyUsageBits.filter(([bit]) => ((bits ?? 0xa0) & bit) !== 0).map(([, name]) => name);
  if (((bits ?? 0) & 0x06) !== 0) note('notCarried', about, 'the key usages of a CA (keyCertSign, cRLSign)');
  // RFC 5280 §4.2.1.12: these purposes go with a signature.
  const signs = [oid.clientAuth, oid.smartcardLogon, oid.codeSigning].some((purpose) =>
    extKeyUsage.includes(purpose),
  );
  if (usage.length === 0 || (signs && !usage.includes('digitalSignature'))) {
    note('changed', about, 'digitalSignature is added to its key usage: its purposes need it');
    usage.unshift('digitalSignature');
  }
  return usage;
}

/** Days of `1 Years`, `6 Weeks`; `undefined` for words of another language. */
function durationOf(shown: string): number | undefined {
  const match = /^(\d{1,5}) (Hour|Day|Week|Month|Year)s?$/i.exec(shown);
  const unit = (match?.[2] ?? '').toLowerCase().replace(/^./, (letter) => letter.toUpperCase());
  const days = Number(match?.[1]) * (DAYS[unit] ?? Number.NaN);
  return days > 0 && days <= 36_500 ? days : undefined;
}

/** As a configuration writes it. */
function text(days: number): string {
  return Number.isInteger(days) ? `${days}d` : `${Math.max(1, Math.round(days * 24))}h`;
}

/** Names for configurations: unique, of lower-case letters, digits and hyphens. */
function namesFor(commonNames: readonly string[]): ReadonlyMap<string, string> {
  const names = new Map<string, string>();
  for (const commonName of commonNames) {
    const base = slug(commonName);
    let name = base;
    for (let number = 2; [...names.values()].includes(name); number += 1)
      name = `${base.slice(0, 58)}-${number}`;
    names.set(commonName, name);
  }
  return names;
}

function slug(name: string): string {
  const plain = name
    .normalize('NFKD')
    .replaceAll(/\p{M}/gu, '')
    .toLowerCase()
    .replaceAll(/[^a-z0-9]+/g, '-')
    .replaceAll(/^-+|-+$/g, '');
  // “ndes” is the endpoint’s.
  return plain === '' || plain === 'ndes' ? 'migrated' : plain.slice(0, 62).replace(/-+$/, '');
}

function expiring(
  templates: readonly CertificateTemplateDump[],
  issued: readonly IssuedCertificate[],
  used: readonly string[],
  now: Date,
): ExpiringCertificate[] {
  const lower = used.map((name) => name.toLowerCase());
  return issued
    .filter(
      ({ disposition = DISPOSITION_ISSUED, notAfter }) =>
        disposition === DISPOSITION_ISSUED && notAfter > now,
    )
    .map((certificate) => {
      const dump = templates.find(({ oid: id, commonName }) =>
        [id, commonName].includes(certificate.template),
      );
      const templateName = dump?.commonName ?? certificate.template;
      return { ...certificate, templateName, byNdes: lower.includes(templateName.toLowerCase()) };
    })
    .sort((a, b) => a.notAfter.getTime() - b.notAfter.getTime() || a.requestID - b.requestID);
}
