/** What takes NDES's place: templates, endpoints and policy as a configuration, and what could not be carried over. */
import { oid } from '../codec/index.ts';
import type { CaSettings } from './ca-settings.ts';
import type { CertificateTemplateDump } from './certutil-template.ts';
import type { IssuedCertificate } from './certutil-view.ts';
import type { ConnectorSettings, NdesSettings } from './ndes-settings.ts';
import { periodDays } from './period.ts';

/** What is known of the set-up that is left. */
export interface NdesInventory {
  readonly ndes: NdesSettings;
  /** None if the CA's registry was not exported. */
  readonly cas: readonly CaSettings[];
  /** Absent if its registry was not exported, or it is not there. */
  readonly connector?: ConnectorSettings | undefined;
  readonly templates: readonly CertificateTemplateDump[];
  /** None if the CA's database was not shown. */
  readonly issued: readonly IssuedCertificate[];
}

/** Something that an administrator should know. */
export interface MigrationNote {
  /** What it is about: `template X`, `NDES`, … */
  readonly about: string;
  /**
   * `kept`: carried over as it is. `changed`: carried over in another way. `notCarried`: lost, and why. `todo`: for the
   * administrator to fill in or to decide.
   */
  readonly kind: 'kept' | 'changed' | 'notCarried' | 'todo';
  readonly text: string;
}

/** A certificate that must be replaced before it ends. */
export interface ExpiringCertificate extends IssuedCertificate {
  /** Common name of the template, if the dump of templates has it. */
  readonly templateName: string;
  /** Whether NDES enrols for this template, or for one that supersedes it. */
  readonly byNdes: boolean;
  /** When a device of Intune asks for the next one: in the last fifth of its life, if its profile has the usual threshold. */
  readonly renewalDue?: Date;
}

/** What must go on where it is, until nothing depends on it. */
export interface Remainder {
  /** Of the CA that NDES asks: what its certificates name, where the export tells. */
  readonly crlUrls: readonly string[];
  readonly caIssuersUrls: readonly string[];
  readonly ocspUrls: readonly string[];
  /** NDES's own certificates: without them it answers nobody. Those that end first before the others. */
  readonly raCertificates: readonly ExpiringCertificate[];
}

/** What is proposed. */
export interface MigrationPlan {
  /** A configuration that `parseConfig` accepts; files, tenant and URLs in it are to be filled in. */
  readonly configuration: { readonly server: Readonly<Record<string, unknown>> };
  readonly notes: readonly MigrationNote[];
  /** Valid certificates, those that end first before the others. */
  readonly certificates: readonly ExpiringCertificate[];
  readonly remainder: Remainder;
}

/** Flags of MS-CRTD §2.26–2.28 and §2.4. */
const flag = {
  enrolleeSuppliesSubject: 0x1,
  pendAllRequests: 0x2,
  publishToDirectory: 0x8,
  noRevocationInformation: 0x4000,
  noSecurityExtension: 0x8_0000,
  archivePrivateKey: 0x1,
  exportableKey: 0x10,
  alternateSignatureAlgorithm: 0x40,
  attestPreferred: 0x1000,
  attestRequired: 0x2000,
  isCa: 0x80,
} as const;

const DISPOSITION_ISSUED = 20;
/** What `leafgate ca import` calls it, too. Not the old CA’s name: that would be taken for the old CA. */
const ISSUER = 'issuing';
const RSA_BITS_MIN = 2048;
const RSA_BITS_MAX = 8192;
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
/** Purposes that no device may have from an endpoint, and why. */
const refusedPurposes: ReadonlyMap<string, string> = new Map([
  [oid.anyExtendedKeyUsage, 'any purpose: it is good for everything, also for what nobody meant'],
  [oid.certificateRequestAgent, 'Certificate Request Agent: who holds it acts for others'],
  [oid.ocspSigning, 'OCSP Signing: who holds it speaks for the CA'],
]);
/** AD CS's own ClockSkewMinutes, and what a template here has if it says nothing. */
const CLOCK_SKEW_MINUTES = 10;
const YEAR_DAYS = 365;
/** Intune's threshold, if a profile says nothing. */
const RENEWAL_THRESHOLD = 0.2;
/** AD CS's SubjectTemplate, if nobody has changed it. */
const usualSubject = [
  'EMail',
  'CommonName',
  'OrganizationalUnit',
  'Organization',
  'Locality',
  'State',
  'DomainComponent',
  'Country',
];
/** “Exchange Enrollment Agent (Offline request)” and “CEP Encryption”: NDES’s own, which nothing renews by itself. */
const raTemplates = ['enrollmentagentoffline', 'cepencryption'];
const NDES_PATHS = ['/certsrv/mscep/mscep.dll', '/certsrv/mscep'];

/**
 * Proposes what takes the place of an NDES server.
 *
 * @param now certificates that have ended by then are left out
 */
export function planMigration(inventory: NdesInventory, now: Date): MigrationPlan {
  const { ndes, templates, issued } = inventory;
  const notes: MigrationNote[] = [];
  const note = (kind: MigrationNote['kind'], about: string, text: string) =>
    notes.push({ kind, about, text });
  const ca = caOf(inventory, note);
  noteIssuer(ndes, ca, note);
  const validators = validatorsOf(ndes, note);
  noteConnector(inventory, note);
  const { signature, encryption, generalPurpose } = ndes.templates;
  // The general-purpose template comes first: it keeps NDES’s URL.
  const used = distinct([generalPurpose, signature, encryption]);
  const names = namesFor(used);
  const definitions = used.map((commonName) => {
    const dump = templates.find((template) => sameName(template.commonName, commonName));
    const name = names.get(commonName) ?? '';
    if (dump !== undefined) return templateOf(dump, { name, ca, validator: validators[0], templates }, note);
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
    if (isFirst)
      note(
        'kept',
        'NDES',
        `its URL ${NDES_PATHS[0]} (\`pkiclient.exe\` below it, too) leads to the endpoint \`ndes\`, which gives template ${commonName}`,
      );
    else
      note(
        'changed',
        `template ${commonName}`,
        `NDES chooses it by the key usage of a request at its one URL; here it has a URL of its own: change profiles that ask for ${
          sameName(commonName, signature) ? 'digitalSignature' : 'keyEncipherment'
        } alone to /scep/${name}`,
      );
    return {
      name: isFirst ? 'ndes' : name,
      paths: isFirst ? NDES_PATHS : [`/scep/${name}`],
      issuer: ISSUER,
      template: name,
      validators,
      client: 'standard',
    };
  });
  note(
    'changed',
    'NDES',
    'a request that is signed with a certificate of the old CA is no renewal here: it needs a challenge like any other. Intune’s devices always have one; routers that renew by their old certificate alone must be enrolled anew',
  );
  if (ndes.renewsAnySubject)
    note(
      'notCarried',
      'NDES',
      'DisableRenewalSubjectNameMatch is 1: here a renewal by certificate has the names of the old one (`renewal.names`)',
    );
  for (const value of ndes.unknown)
    note('notCarried', 'NDES', `the registry value ${value} is not known here`);
  note(
    'todo',
    'CA',
    'certificate and key of the issuing CA, and its URLs, which stand in every certificate: make them by ceremony.md, or take those that are there',
  );

  const configuration = {
    server: {
      listen: '127.0.0.1:8080',
      dataFolder: 'data',
      serviceIdentity: 'svc-leafgate-ra',
      issuers: [
        {
          name: ISSUER,
          certificate: 'issuing-chain.pem',
          key: { file: 'issuing.key.pem', passphrase: 'file:issuing.passphrase' },
          crlUrls: [`http://pki.example.com/crl/${ISSUER}.crl`],
          caIssuersUrls: [`http://pki.example.com/aia/${ISSUER}.crt`],
          ...crlPeriodsOf(ca, note),
        },
      ],
      ra: {
        automatic: { passphrase: 'file:ra.passphrase' },
        challengeHashKey: 'file:challenge-hash.key',
      },
      templates: definitions,
      endpoints,
      selfTest: { every: '15m' },
      ...adminOf(ndes, validators, note),
    },
  };
  const certificates = expiring(templates, issued, used, now);
  return {
    configuration,
    notes,
    certificates,
    remainder: {
      crlUrls: ca?.crlUrls ?? [],
      caIssuersUrls: ca?.caIssuersUrls ?? [],
      ocspUrls: ca?.ocspUrls ?? [],
      raCertificates: certificates.filter(({ templateName }) =>
        raTemplates.includes(templateName.toLowerCase()),
      ),
    },
  };
}

type Note = (kind: MigrationNote['kind'], about: string, text: string) => void;
type ValidatorChoice = Readonly<Record<string, object>>;

const sameName = (a: string, b: string) => a.toLowerCase() === b.toLowerCase();

/** Without those that differ in case alone, which AD CS takes for the same. */
function distinct(names: readonly string[]): string[] {
  return names.filter((name, index) => names.findIndex((other) => sameName(other, name)) === index);
}

/** The CA that NDES asks, if its registry is there. */
function caOf({ ndes, cas }: NdesInventory, note: Note): CaSettings | undefined {
  const asked = ndes.caConfiguration?.split('\\')[1];
  const ca =
    cas.find(({ name }) => asked !== undefined && sameName(name, asked)) ??
    (asked === undefined ? cas[0] : undefined);
  if (ca === undefined) {
    note(
      'todo',
      'CA',
      cas.length === 0
        ? 'its registry is not among the exports: whether it shortens the validity of templates, how long its CRLs live and where they are is not known'
        : `NDES asks “${asked}”, and the exports have ${cas.map(({ name }) => `“${name}”`).join(', ')}: export the registry of the right CA`,
    );
    return undefined;
  }
  if (ca.takesAnySubjectAltName)
    note(
      'notCarried',
      'CA',
      'EDITF_ATTRIBUTESUBJECTALTNAME2 is set: whoever may enrol at all gets any alternative name, an administrator’s too. Clear it today; nothing here is like it',
    );
  if (ca.policyModule !== undefined)
    note(
      'notCarried',
      'CA',
      `its policy module ${ca.policyModule} is not Microsoft’s: what it decides, templates and validators must do`,
    );
  const { subjectTemplate } = ca;
  if (subjectTemplate !== undefined && subjectTemplate.join() !== usualSubject.join())
    note(
      'todo',
      'CA',
      `SubjectTemplate is ${subjectTemplate.join(', ')}: say so in \`subjectAttributes\` if it matters to you`,
    );
  return ca;
}

function noteIssuer({ caConfiguration }: NdesSettings, ca: CaSettings | undefined, note: Note): void {
  const name = caConfiguration ?? ca?.name;
  if (caConfiguration === undefined)
    note('todo', 'CA', 'NDES’s registry does not name the CA (CAInfo\\Configuration)');
  if (name !== undefined)
    note(
      'changed',
      'CA',
      `NDES asked ${name}; the new issuing CA is another one, with a name, a key and CRLs of its own. In the configuration it is called \`${ISSUER}\``,
    );
}

function crlPeriodsOf(
  ca: CaSettings | undefined,
  note: Note,
): { readonly crlPeriod?: string; readonly deltaCrlPeriod?: string } {
  const { crlPeriodDays, deltaCrlPeriodDays } = ca ?? {};
  if (crlPeriodDays === undefined) return {};
  const hasDeltas = deltaCrlPeriodDays !== undefined && deltaCrlPeriodDays < crlPeriodDays;
  note(
    'kept',
    'CA',
    `a CRL lives ${text(crlPeriodDays)}${hasDeltas ? `, a delta ${text(deltaCrlPeriodDays)}` : ', without deltas'}; a revocation brings a new one at once, which AD CS does not`,
  );
  return {
    crlPeriod: text(crlPeriodDays),
    ...(hasDeltas ? { deltaCrlPeriod: text(deltaCrlPeriodDays) } : {}),
  };
}

function validatorsOf(settings: NdesSettings, note: Note): readonly [ValidatorChoice] {
  const { policyModule, isIntune } = settings;
  if (policyModule !== undefined) {
    note(
      'todo',
      'NDES',
      isIntune
        ? `the policy module ${policyModule} has Intune judge each request; here the endpoint asks Intune itself: fill in tenant, appId and secret (intune.md). If the module is Configuration Manager’s, there is nothing like it: take \`webhook\``
        : `the policy module ${policyModule} is not Intune’s: in the proposal the endpoint asks Intune; take \`webhook\` if another service judges requests`,
    );
    note(
      'kept',
      'NDES',
      'revocation: Intune’s requests for certificates of the new CA are fetched by the endpoint (`revocation`); for those of the old CA the old connector goes on',
    );
    return [
      {
        intune: {
          tenant: 'TENANT',
          appId: 'APP-ID',
          secret: 'file:intune.secret',
          revocation: { every: '5m' },
        },
      },
    ];
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
        'UseSinglePassword is 1: make a secret with `leafgate challenge hash`; better, change to one-time challenges (`oneTime`). The old password is encrypted for the old server and cannot be taken over',
      );
      return [{ staticSecret: { hash: 'file:static.hash' } }];
    case 'single':
      note('kept', 'NDES', 'a challenge for each request, good once (`oneTime`)');
      return [{ oneTime: {} }];
  }
}

function noteConnector({ ndes, connector }: NdesInventory, note: Note): void {
  if (connector === undefined) return;
  const about = 'Intune connector';
  note(
    'notCarried',
    about,
    'PKCS profiles: Intune speaks with its own connector alone. If you have any, the connector and the old CA stay for them; imported PFX works (pfx.md)',
  );
  if (connector.writesSecurityIdentifier)
    note(
      'changed',
      about,
      'EnableSidSecurityExtension is 1, for PKCS profiles alone. For SCEP put the SID into the profile as a URI; the template writes the extension from it (intune.md)',
    );
  if (ndes.policyModule === undefined)
    note(
      'todo',
      about,
      'the connector is there, and NDES has no policy module: this NDES server is not the one that Intune’s devices ask',
    );
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

interface TemplateContext {
  readonly name: string;
  readonly ca: CaSettings | undefined;
  readonly validator: ValidatorChoice;
  /** All of the dump. */
  readonly templates: readonly CertificateTemplateDump[];
}

function templateOf(dump: CertificateTemplateDump, context: TemplateContext, note: Note): object {
  const { name, ca, validator, templates } = context;
  const about = `template ${dump.commonName}`;
  const extKeyUsage = purposesOf(dump, about, note);
  const keyUsage = usageOf(dump, extKeyUsage, about, note);
  const keys = keysOf(dump, about, note);
  noteWhatIsLost(dump, templates, about, note);
  const pends = (dump.enrollmentFlags & flag.pendAllRequests) !== 0;
  if (pends)
    note(
      'intune' in validator ? 'notCarried' : 'kept',
      about,
      'intune' in validator
        ? 'approval by a certificate manager: Intune knows no requests that wait'
        : 'approval by a certificate manager (approval.md)',
    );
  const { validityDays, renewalDays } = periodsOf(dump, ca, about, note);
  const skew = ca?.clockSkewMinutes;
  const hasOid = dump.oid !== undefined && dump.schemaVersion >= 2;
  note(
    'kept',
    about,
    [
      `validity ${text(validityDays)}, renewal in the last ${text(renewalDays)}`,
      `keys ${keys.keyAlgorithms.join(', ')}${keys.keyAlgorithms.includes('rsa') ? ` from ${keys.rsaBitsMin} bits` : ''}`,
      `key usage ${keyUsage.join(', ')}`,
      `purposes ${extKeyUsage.join(', ')}`,
      ...(hasOid ? [`template information ${dump.oid} ${dump.majorVersion}.${dump.minorVersion}`] : []),
    ].join('; '),
  );
  return {
    name,
    displayName: dump.friendlyName,
    validity: text(validityDays),
    renewalPeriod: text(renewalDays),
    ...(skew === undefined || skew === CLOCK_SKEW_MINUTES ? {} : { backdate: `${skew}m` }),
    ...keys,
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
    ...(hasOid
      ? {
          templateInformation: {
            oid: dump.oid,
            majorVersion: Math.min(dump.majorVersion, 65_535),
            minorVersion: Math.min(dump.minorVersion, 65_535),
          },
        }
      : {}),
    ...(pends && !('intune' in validator) ? { approval: 'certificateManager' } : {}),
  };
}

function purposesOf(dump: CertificateTemplateDump, about: string, note: Note): string[] {
  const purposes = dump.extKeyUsage.filter((purpose) => {
    const why = refusedPurposes.get(purpose);
    if (why !== undefined) note('notCarried', about, `the purpose ${purpose}, ${why}`);
    return why === undefined;
  });
  if (purposes.length > 0) return purposes;
  note(
    'changed',
    about,
    dump.extKeyUsage.length === 0
      ? 'without a purpose a certificate is good for everything; the proposal says client authentication'
      : 'no purpose is left; the proposal says client authentication',
  );
  return [oid.clientAuth];
}

function keysOf(
  dump: CertificateTemplateDump,
  about: string,
  note: Note,
): { readonly keyAlgorithms: readonly string[]; readonly rsaBitsMin: number } {
  const named = dump.keyAlgorithm ?? 'RSA';
  const algorithm = curves[named];
  if (algorithm === undefined)
    note('notCarried', about, `the key algorithm ${named}; the proposal says RSA from ${RSA_BITS_MIN} bits`);
  if (algorithm !== 'rsa') return { keyAlgorithms: [algorithm ?? 'rsa'], rsaBitsMin: RSA_BITS_MIN };
  if (dump.keyBitsMin === 0)
    note(
      'todo',
      about,
      `the dump does not show the size of its keys; the proposal says ${RSA_BITS_MIN} bits`,
    );
  else if (dump.keyBitsMin < RSA_BITS_MIN)
    note(
      'changed',
      about,
      `keys of ${dump.keyBitsMin} bits are refused: at least ${RSA_BITS_MIN}. Set the key size in the profiles that say less, or those devices get none`,
    );
  return {
    keyAlgorithms: ['rsa'],
    rsaBitsMin: Math.min(Math.max(dump.keyBitsMin, RSA_BITS_MIN), RSA_BITS_MAX),
  };
}

/** What the proposal has no words for. */
function noteWhatIsLost(
  dump: CertificateTemplateDump,
  templates: readonly CertificateTemplateDump[],
  about: string,
  note: Note,
): void {
  // Templates of version 1 have this flag among the general ones.
  if (
    ((dump.subjectNameFlags | (dump.schemaVersion < 2 ? dump.generalFlags : 0)) &
      flag.enrolleeSuppliesSubject) ===
    0
  )
    note(
      'changed',
      about,
      'its names come from Active Directory, by which NDES would give each device its own account’s name: the proposal takes them from the request, and the validator vouches for them',
    );
  if ((dump.generalFlags & flag.isCa) !== 0)
    note('notCarried', about, 'it makes CAs; no endpoint does. The proposal makes end entities');
  if ((dump.privateKeyFlags & flag.archivePrivateKey) !== 0)
    note('notCarried', about, 'archival of private keys: SCEP keys never leave their device');
  if (((dump.privateKeyFlags | (dump.schemaVersion < 2 ? dump.generalFlags : 0)) & flag.exportableKey) !== 0)
    note('notCarried', about, 'exportable keys: that is the device’s profile to say');
  if ((dump.privateKeyFlags & (flag.attestPreferred | flag.attestRequired)) !== 0)
    note('notCarried', about, 'key attestation: nothing here judges where a key is');
  if ((dump.privateKeyFlags & flag.alternateSignatureAlgorithm) !== 0)
    note(
      'notCarried',
      about,
      'RSASSA-PSS signatures (AlternateSignatureAlgorithm): Apple’s devices refuse them',
    );
  if ((dump.enrollmentFlags & flag.publishToDirectory) !== 0)
    note('notCarried', about, 'publishing certificates in Active Directory: nothing here writes there');
  if ((dump.enrollmentFlags & flag.noRevocationInformation) !== 0)
    note('changed', about, 'its certificates do not say where their CRL is; here all of them do');
  if (dump.certificatePolicies.length > 0)
    note(
      'notCarried',
      about,
      `issuance policies (${dump.certificatePolicies.join(', ')}): there are none here yet`,
    );
  if (dump.raSignatures > 0)
    note(
      'notCarried',
      about,
      `${dump.raSignatures} signature(s) of an enrolment agent: the RA is part of this server; \`raSignature: required\` is the same for several hosts (approval.md)`,
    );
  if (dump.schemaVersion < 2)
    note(
      'notCarried',
      about,
      `it is of version 1, whose certificates name it by “${dump.commonName}” (1.3.6.1.4.1.311.20.2); the new ones name no template. Look whether a relying party decides by that`,
    );
  if (dump.supersedes.length > 0)
    note(
      'kept',
      about,
      `it supersedes ${dump.supersedes.join(', ')}: certificates of those count as NDES’s in the plan below`,
    );
  const successors = templates.filter(({ supersedes }) =>
    supersedes.some((old) => sameName(old, dump.commonName)),
  );
  if (successors.length > 0)
    note(
      'todo',
      about,
      `${successors.map(({ commonName }) => commonName).join(', ')} supersedes it in Active Directory, which NDES does not know: look which of them you mean`,
    );
}

function periodsOf(
  dump: CertificateTemplateDump,
  ca: CaSettings | undefined,
  about: string,
  note: Note,
): { readonly validityDays: number; readonly renewalDays: number } {
  const shown = periodDays(dump.validity);
  if (shown === undefined)
    note('todo', about, `the validity “${dump.validity}” cannot be read; the proposal says a year`);
  const asked = shown ?? YEAR_DAYS;
  const validityDays = Math.min(asked, ca?.validityDaysMax ?? asked);
  if (validityDays < asked)
    note(
      'changed',
      about,
      `it says ${text(asked)}, and the CA’s ValidityPeriod has always shortened that to ${text(validityDays)}: so says the proposal`,
    );
  const renewal = periodDays(dump.renewal);
  const isRenewable = renewal !== undefined && renewal < validityDays;
  const renewalDays = isRenewable ? renewal : validityDays / 10;
  if (!isRenewable)
    note(
      'changed',
      about,
      `the renewal period “${dump.renewal}” ${renewal === undefined ? 'cannot be read' : 'is no shorter than the validity'}: a tenth of it, ${text(renewalDays)}`,
    );
  return { validityDays, renewalDays };
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
  const superseded = templates
    .filter(({ commonName }) => used.some((name) => sameName(name, commonName)))
    .flatMap(({ supersedes }) => supersedes);
  const ofNdes = new Set([...used, ...superseded].map((name) => name.toLowerCase()));
  const nameByWord = new Map(
    templates.flatMap(({ oid: id, commonName }) =>
      [commonName.toLowerCase(), ...(id === undefined ? [] : [id])].map(
        (word) => [word, commonName] as const,
      ),
    ),
  );
  return issued
    .filter(
      ({ disposition = DISPOSITION_ISSUED, notAfter }) =>
        disposition === DISPOSITION_ISSUED && notAfter > now,
    )
    .map((certificate): ExpiringCertificate => {
      const { template, notBefore, notAfter } = certificate;
      const templateName = nameByWord.get(template.toLowerCase()) ?? template;
      const lifeMs = notBefore === undefined ? undefined : notAfter.getTime() - notBefore.getTime();
      return {
        ...certificate,
        templateName,
        byNdes: ofNdes.has(templateName.toLowerCase()),
        ...(lifeMs === undefined
          ? {}
          : { renewalDue: new Date(notAfter.getTime() - Math.round(lifeMs * RENEWAL_THRESHOLD)) }),
      };
    })
    .sort((a, b) => a.notAfter.getTime() - b.notAfter.getTime() || a.requestID - b.requestID);
}
