/** The configuration: one documented schema, one strict parser. Nobody else sees raw configuration. */
import { readFileSync } from 'node:fs';
import { BlockList, isIPv6 } from 'node:net';
import { dirname, isAbsolute, resolve } from 'node:path';
import { parse as parseYaml } from 'yaml';
import { z } from 'zod';
import { builtInTemplates, keyAlgorithms, subjectAltNameTypes } from './ca/template.ts';
import { needsDirectory, purposeByWord, resolveTemplates } from './ca/template-definition.ts';
import { keyUsages } from './codec/extension.ts';
import { oid } from './codec/oid.ts';
import { PkiError } from './errors.ts';
import type { KeyPlace } from './keys/index.ts';
import { knownRoles } from './mdm/access-tokens.ts';
import { clientProfileNames } from './scep/profiles.ts';

const UNITS_MS: Readonly<Record<string, number>> = {
  ms: 1,
  s: 1000,
  m: 60_000,
  h: 3_600_000,
  d: 86_400_000,
};

/** Beyond this a duration is a slip of the pen, and adding it to a date may leave the calendar. */
const DURATION_MS_MAX = 36_500 * 86_400_000;

/** `90d`, `12h`, `30s`: a number and a unit. */
const durationMs = z
  .string()
  .regex(/^\d{1,9}(ms|s|m|h|d)$/, 'a number and a unit: 500ms, 30s, 10m, 12h, 90d')
  .transform((text) => Number.parseInt(text, 10) * (UNITS_MS[text.replace(/^\d+/, '')] ?? Number.NaN))
  .refine((ms) => ms > 0 && ms <= DURATION_MS_MAX, 'more than nothing and at most 36500d');

const file = z.string().min(1).describe('Path, from the folder of the configuration file.');
const secret = z
  .string()
  .regex(/^(file|env):.+/, 'a reference: file:PATH or env:NAME; secrets themselves never stand here')
  .describe('Where a secret is: `file:PATH` (mode 0600) or `env:NAME`.');
const name = z.string().regex(/^[a-z0-9][a-z0-9-]{0,62}$/, 'lower-case letters, digits and hyphens');
const urls = z.array(z.url({ protocol: /^https?$/ })).min(1);

const listen = z
  .string()
  .regex(/^(\[[0-9A-Fa-f:.]+\]|[^:\s]+):\d{1,5}$/, 'an address and a port: 127.0.0.1:8080')
  .transform((text) => {
    const colon = text.lastIndexOf(':');
    return { host: text.slice(0, colon).replace(/^\[(.*)\]$/, '$1'), port: Number(text.slice(colon + 1)) };
  });

const fileKey = z
  .strictObject({
    file: file.describe('Encrypted PKCS #8 file, mode 0600.'),
    passphrase: secret,
  })
  .describe('A private key in a file.');

const tokenKey = z
  .strictObject({
    module: file.describe('The PKCS #11 library of the token’s maker.'),
    token: z.string().min(1).optional().describe('Label of the token.'),
    serial: z.string().min(1).optional().describe('Serial number of the token, if several have the label.'),
    label: z.string().min(1).optional().describe('Label of the private key (CKA_LABEL).'),
    id: z
      .string()
      .regex(/^([0-9a-f]{2})+$/, 'an even number of hexadecimal digits, in lower case')
      .optional()
      .describe('Identifier of the private key (CKA_ID), hexadecimal.'),
    pin: secret.describe('User PIN: `file:PATH` (mode 0600) or `env:NAME`.'),
  })
  .refine(({ token, serial }) => (token ?? serial) !== undefined, { message: 'token, serial, or both' })
  .refine(({ label, id }) => (label ?? id) !== undefined, { message: 'label, id, or both' })
  .describe('In a PKCS #11 token: a hardware security module.');

const entraId = z.string().min(1);
const vaultKey = z
  .strictObject({
    vault: z.url({ protocol: /^https$/ }).describe('Address of the vault: https://NAME.vault.azure.net.'),
    name: z
      .string()
      .regex(/^[0-9A-Za-z-]{1,127}$/, 'letters, digits and hyphens')
      .describe('Name of the key.'),
    version: z
      .string()
      .regex(/^[0-9a-f]{32}$/, '32 hexadecimal digits')
      .describe('Its version, which is pinned: a rotated key no longer fits its certificate.'),
    credential: z
      .strictObject({
        managedIdentity: z.strictObject({ clientId: entraId.optional() }).optional(),
        workloadIdentity: z
          .strictObject({ tenant: entraId.optional(), clientId: entraId.optional() })
          .optional(),
        clientCertificate: z
          .strictObject({
            tenant: entraId,
            clientId: entraId,
            certificate: file.describe('PEM: the certificate and its clear key.'),
          })
          .optional(),
        clientSecret: z.strictObject({ tenant: entraId, clientId: entraId, secret }).optional(),
      })
      .refine((choice) => Object.values(choice).filter((value) => value !== undefined).length === 1, {
        message: 'exactly one of managedIdentity, workloadIdentity, clientCertificate, clientSecret',
      })
      .describe('Who asks the vault.'),
    authority: z
      .url({ protocol: /^https$/ })
      .optional()
      .describe('Token authority of a national cloud; Microsoft’s public cloud if absent.'),
    extraCa: file.optional().describe('PEM of further CAs to trust for these calls.'),
  })
  .describe('In Azure Key Vault or Managed HSM.');

const key = z
  .strictObject({
    ...fileKey.partial().shape,
    pkcs11: tokenKey.optional(),
    keyVault: vaultKey.optional(),
  })
  .transform((choice, context) => {
    const { file: path, passphrase, pkcs11, keyVault } = choice;
    const places = [path ?? passphrase, pkcs11, keyVault].filter((place) => place !== undefined);
    if (places.length === 1) {
      if (pkcs11 !== undefined) return { pkcs11 };
      if (keyVault !== undefined) return { keyVault };
      if (path !== undefined && passphrase !== undefined) return { file: path, passphrase };
    }
    context.addIssue({ code: 'custom', message: 'exactly one of file with passphrase, pkcs11, keyVault' });
    return z.NEVER;
  })
  .describe('A private key: `file` with `passphrase`, or `pkcs11`, or `keyVault`.');

const identity = z.strictObject({
  certificate: file.describe('PEM certificate, followed by its issuers.'),
  key,
});

const issuer = z
  .strictObject({
    name: name.describe('Names the CA in endpoints, URLs and views.'),
    certificate: file.describe('PEM: the issuing CA’s certificate, then its issuers up to the root.'),
    key,
    next: z
      .strictObject({
        certificate: file.describe('PEM: the next CA’s certificate, then its issuers up to the root.'),
      })
      .optional()
      .describe('The CA that will take over, while devices are told of it by GetNextCACert.'),
    crlUrls: urls.describe('Where relying parties find this CA’s CRL; goes into every certificate.'),
    caIssuersUrls: urls.describe(
      'Where relying parties find this CA’s certificate; goes into every certificate.',
    ),
    ocspUrls: urls
      .optional()
      .describe('Where relying parties ask about certificates of this CA; goes into every certificate.'),
    crlPeriod: durationMs
      .default(7 * 86_400_000)
      .describe('How long a CRL is the current one. AD CS: one week.'),
    crlOverlap: durationMs
      .default(43_200_000)
      .describe('How long before its end a CRL is followed by the next. AD CS: 12 hours.'),
    deltaCrlPeriod: durationMs
      .optional()
      .describe('How long a delta CRL is the current one (AD CS: one day); there are none if absent.'),
    crlAtRevocation: z
      .enum(['full', 'delta', 'scheduled'])
      .optional()
      .describe(
        'What a revocation brings at once: a full CRL, a delta, or nothing before its time. If absent, a delta where there are deltas, else a full CRL.',
      ),
    crlPartitions: z
      .int()
      .min(1)
      .max(1000)
      .default(1)
      .describe(
        'Over how many CRLs the revocations of new certificates are spread. Each certificate names its own for life, so all that ever were are kept up.',
      ),
  })
  .superRefine((config, context) => {
    const report = (key: string, message: string) =>
      context.addIssue({ code: 'custom', path: [key], message });
    const { deltaCrlPeriod, crlAtRevocation, crlPartitions, crlUrls } = config;
    if (crlAtRevocation === 'delta' && deltaCrlPeriod === undefined)
      report('crlAtRevocation', 'delta CRLs need a deltaCrlPeriod');
    if (deltaCrlPeriod !== undefined && deltaCrlPeriod >= config.crlPeriod)
      report('deltaCrlPeriod', 'shorter than crlPeriod');
    // Partition and kind stand before it: ca.3.delta.crl.
    if ((deltaCrlPeriod !== undefined || crlPartitions > 1) && !crlUrls.every((url) => url.endsWith('.crl')))
      report('crlUrls', 'must end in .crl where there are deltas or partitions');
  });

const ocspSigner = z.strictObject({
  issuer: name.describe('Name of the issuing CA whose answers it signs.'),
  key: key.describe('A key of its own; not the CA’s.'),
  certificate: file
    .optional()
    .describe(
      'PEM, if an operator renews it, as for a standby. If absent, the server has certificates for this key issued and renewed by itself.',
    ),
});

const ocsp = z
  .strictObject({
    passphrase: secret
      .optional()
      .describe(
        'Encrypts the keys that the responder makes for itself in `dataFolder`/ocsp; needed unless every issuer stands in `signers`.',
      ),
    signers: z
      .array(ocspSigner)
      .default([])
      .refine((signers) => new Set(signers.map(({ issuer }) => issuer)).size === signers.length, {
        message: 'two signers for the same issuer',
      })
      .describe('Keys of responders that are in a token, a vault or a file of yours.'),
    neverIssued: z
      .enum(['unknown', 'revoked'])
      .default('unknown')
      .describe('What is said of serial numbers that a CA never used (RFC 6960 §2.2).'),
    responseLifetime: durationMs
      .default(3_600_000)
      .describe('How long an answer counts, from its signature to its nextUpdate.'),
  })
  .describe('The OCSP responder at `/ocsp`, for all issuing CAs.');

const published = z.strictObject({
  name,
  certificate: file.describe('PEM certificate of a CA whose key is not here: the offline root.'),
  crl: file.describe('DER of its CRL, as the ceremony wrote it.'),
});

const intune = z
  .strictObject({
    tenant: z.string().min(1).describe('Tenant id or domain.'),
    appId: z.string().min(1).describe('Client id of the app registration with `scep_challenge_provider`.'),
    secret: secret.optional().describe('Reference to the client secret of the app registration.'),
    clientCertificate: z
      .strictObject({ certificate: file, key: fileKey })
      .optional()
      .describe('The certificate that the app registration knows, in the place of a secret. RSA.'),
    cloud: z
      .enum(['public', 'usGov', 'usGovDoD', 'china'])
      .default('public')
      .describe(
        'Microsoft’s cloud of the tenant. `usGov`: GCC High; GCC itself is in the public one. `china`: 21Vianet.',
      ),
    authority: z
      .url({ protocol: /^https$/ })
      .optional()
      .describe('Token authority; that of the cloud if absent.'),
    graph: z
      .url({ protocol: /^https$/ })
      .optional()
      .describe('Microsoft Graph; that of the cloud if absent.'),
    intuneResource: z
      .url({ protocol: /^https$/ })
      .optional()
      .describe('Intune’s resource; that of the cloud if absent.'),
    extraCa: file.optional().describe('PEM of further CAs to trust for these calls.'),
    timeout: durationMs.default(20_000).describe('Of one HTTP attempt.'),
    budget: durationMs
      .default(60_000)
      .refine((ms) => ms <= 75_000, 'at most 75s: Entra application proxy gives up after 85s')
      .describe('Of validation and notification of a request together, with all retries.'),
    revocation: z
      .strictObject({
        every: durationMs
          .default(5 * 60_000)
          .refine((ms) => ms >= 1000, 'at least 1s')
          .describe('How often Intune is asked what it wants revoked.'),
      })
      .optional()
      .describe('Fetches Intune’s revocation requests for the endpoint’s CA; not fetched if absent.'),
  })
  .refine(({ secret, clientCertificate }) => (secret === undefined) !== (clientCertificate === undefined), {
    message: 'exactly one of secret, clientCertificate',
  })
  .describe('Microsoft Intune, or whatever speaks its contract.');

const webhook = z
  .strictObject({
    url: z.url({ protocol: /^https$/ }).describe('The service that is asked; see webhook.md.'),
    secret: secret.describe('Reference to the key of the signatures; at least 32 characters.'),
    challengeUse: z
      .enum(['single', 'shared'])
      .default('single')
      .describe('`single`: a challenge serves one key. `shared`: many devices may have the same.'),
    notifications: z
      .enum(['off', 'outcome'])
      .default('off')
      .describe(
        '`outcome`: the service is told what became of what it accepted, and must take it before the device gets its certificate.',
      ),
    extraCa: file.optional().describe('PEM of further CAs to trust for these calls.'),
    clientCertificate: z
      .strictObject({ certificate: file, key: fileKey })
      .optional()
      .describe('Shown to the service if it asks for one.'),
    timeout: durationMs.default(10_000).describe('Of one attempt.'),
    budget: durationMs
      .default(30_000)
      .describe('Of one question with all its attempts. A device waits meanwhile.'),
  })
  .describe('A service of your own that says who may have a certificate.');

const validator = z
  .strictObject({
    intune: intune.optional(),
    oneTime: z
      .strictObject({})
      .optional()
      .describe('One-time challenges, made with `leafgate challenge create` or by the admin API.'),
    staticSecret: z
      .strictObject({
        hash: secret.describe('Reference to the hash that `leafgate challenge hash` prints.'),
        previousHash: secret
          .optional()
          .describe(
            'Reference to the hash of the secret before, which is taken too while devices change over.',
          ),
      })
      .optional()
      .describe('One secret that many devices share. Prefer anything else.'),
    webhook: webhook.optional(),
    manualApproval: z
      .strictObject({})
      .optional()
      .describe('A certificate manager approves each request: `leafgate ca pending`. Asks for no challenge.'),
  })
  .refine((choice) => Object.values(choice).filter((value) => value !== undefined).length === 1, {
    message: 'exactly one of intune, oneTime, staticSecret, webhook, manualApproval',
  });

const purposes = z
  .array(z.string().regex(/^([A-Za-z]+|\d+(\.\d+)+)$/, 'a word or an object identifier'))
  .min(1);
const purposeWords = Object.keys(purposeByWord)
  .map((word) => `\`${word}\``)
  .join(', ');
const nameSource = z.enum(['request', 'directory', 'fixed']);
const need = z.enum(['required', 'optional']);
const patterns = z.array(z.string()).optional();

const template = z.strictObject({
  name: name.describe('A new name, or that of a built-in template, which it then replaces.'),
  extend: name
    .optional()
    .describe(
      `What is not said here is as there: one of ${builtInTemplates.map((item) => `\`${item.name}\``).join(', ')}, or a template before this one.`,
    ),
  displayName: z.string().min(1).optional().describe('As views show it.'),
  validity: durationMs.optional().describe('A year if nothing is extended.'),
  renewalPeriod: durationMs
    .optional()
    .describe(
      'The end of the validity in which a certificate is due for renewal, and no longer counts for `certificatesPerDeviceMax`. Six weeks if nothing is extended.',
    ),
  backdate: durationMs
    .optional()
    .describe('How far notBefore lies in the past. Ten minutes if nothing is extended.'),
  keyAlgorithms: z.array(z.enum(keyAlgorithms)).min(1).optional().describe('`rsa`, `P-256`, `P-384`.'),
  rsaBitsMin: z.int().min(2048).max(8192).optional().describe('2048 if nothing is extended.'),
  keyUsage: z
    .array(z.enum(keyUsages))
    .min(1)
    .optional()
    .describe('All bits that a certificate may have (RFC 5280 §4.2.1.3).'),
  keyUsageDefault: z
    .array(z.enum(keyUsages))
    .min(1)
    .optional()
    .describe('Those that it has if the request says nothing; all of `keyUsage` if absent.'),
  extKeyUsage: purposes
    .optional()
    .describe(`All purposes that a certificate may have: object identifiers, or ${purposeWords}.`),
  extKeyUsageDefault: purposes
    .optional()
    .describe('Those that it has if the request says nothing; all of `extKeyUsage` if absent.'),
  subjectFrom: nameSource
    .optional()
    .describe('`request`, `directory` (what a validator vouches for) or `fixed`.'),
  subject: need.optional().describe('`required` or `optional`.'),
  subjectAttributes: z
    .array(z.string().min(1))
    .optional()
    .describe('What a subject may have: `CN`, `O`, … or object identifiers. Others are dropped.'),
  subjectFixed: z
    .string()
    .min(1)
    .optional()
    .describe('The subject, with `subjectFrom: fixed`: `CN=kiosk,O=Example`.'),
  subjectAltNameFrom: nameSource.optional().describe('As `subjectFrom`.'),
  subjectAltName: need.optional().describe('`required` or `optional`.'),
  subjectAltNameTypes: z
    .array(z.enum(subjectAltNameTypes))
    .optional()
    .describe('Kinds of names that may stand there; others are refused.'),
  subjectAltNamePatterns: z
    .strictObject({
      dNSName: patterns,
      rfc822Name: patterns,
      uniformResourceIdentifier: patterns,
      iPAddress: patterns,
      userPrincipalName: patterns,
    } satisfies Record<(typeof subjectAltNameTypes)[number], typeof patterns>)
    .optional()
    .describe('A name of a kind that stands here must fit a pattern: `*.corp.example`; see templates.md.'),
  subjectAltNameFixed: z
    .array(z.string().min(1))
    .optional()
    .describe('The names, with `subjectAltNameFrom: fixed`: `DNS:kiosk.example`.'),
  securityIdentifier: z
    .enum(['never', 'ifKnown', 'required'])
    .optional()
    .describe('Microsoft’s SID extension, on the word of a validator alone.'),
  ocspNoCheck: z.boolean().optional().describe('OCSP-nocheck, for `ocspSigning` alone.'),
  templateInformation: z
    .strictObject({
      oid: z.string().regex(/^\d+(\.\d+)+$/, 'an object identifier'),
      majorVersion: z.int().min(0).max(65_535),
      minorVersion: z.int().min(0).max(65_535),
    })
    .optional()
    .describe('Microsoft’s template extension, for relying parties that decide by it.'),
  certificatesPerDeviceMax: z
    .int()
    .min(1)
    .optional()
    .describe('Certificates of this template that a device may have before their renewal period.'),
  approval: z
    .enum(['none', 'certificateManager'])
    .optional()
    .describe('`certificateManager`: each request waits until a person approves it; see approval.md.'),
  raSignature: z
    .enum(['none', 'required'])
    .optional()
    .describe('`required`: the CA issues only what an RA has signed with `server.ra.approvalSigning`.'),
});

const SECONDS_OF_UNIT: Readonly<Record<string, number>> = { s: 1, m: 60, h: 3600 };
const rate = z
  .strictObject({
    rate: z
      .string()
      .regex(/^[1-9]\d{0,6}\/(s|m|h)$/, 'a number for a second, a minute or an hour: 10/s, 60/m, 1000/h')
      .describe('How many are taken in the long run: `60/m`.'),
    burst: z.int().min(1).max(1_000_000).describe('How many may come at once.'),
  })
  .transform(({ rate: text, burst }) => {
    const [count, unit = ''] = text.split('/');
    return { burst, perSecond: Number(count) / (SECONDS_OF_UNIT[unit] ?? Number.NaN) };
  });
const limits = z
  .strictObject({
    perSource: z
      .strictObject({
        failures: rate
          .prefault({ rate: '300/m', burst: 300 })
          .describe('Wrong challenges, and messages that do not open: what only a guess or a mistake sends.'),
        requests: rate
          .optional()
          .describe('All requests. Not limited if absent, because many devices may share an address.'),
      })
      .prefault({})
      .describe('For each address that requests come from; of IPv6 for each network of 64 bits.'),
    perEndpoint: z
      .strictObject({ requests: rate.optional().describe('Not limited if absent.') })
      .prefault({})
      .describe('For all requests together.'),
  })
  .describe('Beyond them the answer is 429 with Retry-After. Each thread and process counts for itself.');

const renewal = z
  .strictObject({
    window: durationMs
      .optional()
      .describe(
        'How long before its end a certificate can be renewed; its template’s `renewalPeriod` if absent.',
      ),
    challenge: z
      .enum(['required', 'notNeeded'])
      .default('required')
      .describe(
        '`required`: the validators must accept as well. `notNeeded`: the old certificate is enough, and no validator is asked.',
      ),
    key: z
      .enum(['changedOrSame', 'changed'])
      .default('changedOrSame')
      .describe('`changed`: the new certificate must be for a new key.'),
    names: z
      .enum(['asBefore', 'asEnrolled'])
      .default('asBefore')
      .describe(
        '`asBefore`: the names of the old certificate. `asEnrolled`: whatever the validators let in, as at an enrolment; needs the challenge.',
      ),
    revokeReplacedAfter: durationMs
      .optional()
      .describe(
        'How long after its renewal the old certificate is revoked (`superseded`); it is not if absent.',
      ),
  })
  .refine(({ challenge, names }) => challenge === 'required' || names === 'asBefore', {
    path: ['names'],
    message: 'without a challenge nobody vouches for new names: `asBefore`, or `challenge: required`',
  })
  .describe(
    'Renewal by an older certificate of this endpoint, as RenewalReq or PKCSReq. If absent, a device enrols anew with a challenge.',
  );

const endpoint = z.strictObject({
  name,
  paths: z
    .array(z.string().regex(/^(\/[A-Za-z0-9._-]+)+$/, 'a path such as /certsrv/mscep/mscep.dll'))
    .min(1)
    .describe('Paths, without regard to case; everything below them belongs to the endpoint.'),
  issuer: name.describe('Name of an issuing CA.'),
  template: name.describe('Name of a template.'),
  validators: z
    .array(validator)
    .min(1, 'an endpoint without a validator would let anyone in')
    .describe('All of them must accept.'),
  renewal: renewal.optional(),
  client: z
    .enum(clientProfileNames)
    .default('standard')
    .describe(
      `What its clients need where they do not agree: ${clientProfileNames.map((item) => `\`${item}\``).join(', ')}; see endpoints.md.`,
    ),
  ra: z
    .strictObject({ signing: identity, encryption: identity })
    .optional()
    .describe('RA certificates of this endpoint alone, from its issuer; those of `server.ra` if absent.'),
  dangerAllowSingleDes: z
    .boolean()
    .default(false)
    .describe(
      'Serve clients that encrypt with single DES, which RFC 8894 forbids. For old gear, on an endpoint of its own.',
    ),
  algorithms: z
    .strictObject({
      refuse: z
        .array(z.enum(['sha1', 'des3', 'pkcs1v15']))
        .default([])
        .describe(
          'Algorithms that clients of this endpoint may not use: `sha1` in signatures, `des3` (triple DES), `pkcs1v15` (key transport by RSAES-PKCS1-v1_5).',
        ),
    })
    .prefault({})
    .describe('What messages to this endpoint may be made of.'),
  limits: limits.prefault({}),
});

const blobPrefix = z
  .string()
  .regex(/^([A-Za-z0-9._-]+\/)*$/, 'empty, or a path that ends in a slash: pki/')
  .default('')
  .describe('Before each name: empty, or a path that ends in a slash.');

const azureBlob = z
  .strictObject({
    connectionString: secret.optional().describe('Reference to the storage account’s connection string.'),
    sasUrl: secret
      .optional()
      .describe('Reference to the container’s URL with a shared access signature (read, create, write).'),
    entra: z
      .strictObject({
        account: z.url({ protocol: /^https$/ }).describe('`https://NAME.blob.core.windows.net`'),
        tenant: z.string().min(1).describe('Tenant id or domain.'),
        appId: z.string().min(1).describe('Client id; its role is Storage Blob Data Contributor.'),
        secret,
        authority: z
          .url({ protocol: /^https$/ })
          .optional()
          .describe('Token authority; Microsoft’s public cloud if absent.'),
      })
      .optional()
      .describe('A client of Entra ID with a secret.'),
    container: z
      .string()
      .regex(/^(\$web|\$root|[a-z0-9](-?[a-z0-9]){2,62})$/, 'a container’s name')
      .optional()
      .describe('Name of the container; it stands in `sasUrl` already.'),
    prefix: blobPrefix,
  })
  .superRefine(({ connectionString, sasUrl, entra, container }, context) => {
    const ways = [connectionString, sasUrl, entra].filter((way) => way !== undefined).length;
    if (ways !== 1)
      context.addIssue({ code: 'custom', message: 'exactly one of connectionString, sasUrl, entra' });
    else if ((sasUrl === undefined) !== (container !== undefined))
      context.addIssue({
        code: 'custom',
        message: 'a container beside connectionString or entra, none beside sasUrl',
      });
  })
  .describe('A container of Azure Blob Storage. It must exist.');

const s3 = z
  .strictObject({
    bucket: z.string().regex(/^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$/, 'a bucket’s name'),
    region: z.string().regex(/^[A-Za-z0-9-]{1,64}$/, 'a region’s name'),
    endpoint: z
      .url({ protocol: /^https?$/ })
      .optional()
      .describe('Base URL of the service; Amazon’s own for the region if absent.'),
    addressing: z
      .enum(['host', 'path'])
      .default('host')
      .describe(
        'Where the bucket stands: before the host’s name, or in the path (most services but Amazon’s).',
      ),
    prefix: blobPrefix,
    accessKeyId: z.string().min(1),
    secretAccessKey: secret,
  })
  .describe('A bucket of S3 or of what speaks its protocol. It must exist.');

const publish = z
  .strictObject({
    targets: z
      .array(
        z
          .strictObject({
            name: name.describe('Names the target in logs and views.'),
            folder: file.optional().describe('A folder that a web server of yours serves.'),
            azureBlob: azureBlob.optional(),
            s3: s3.optional(),
          })
          .refine(
            ({ folder, azureBlob, s3 }) =>
              [folder, azureBlob, s3].filter((kind) => kind !== undefined).length === 1,
            {
              message: 'exactly one of folder, azureBlob, s3',
            },
          ),
      )
      .min(1)
      .refine((targets) => new Set(targets.map((target) => target.name)).size === targets.length, {
        message: 'two targets have the same name',
      })
      .describe('Where CRLs and CA certificates go, besides the server’s own pages.'),
    alarmAfter: durationMs
      .default(3_600_000)
      .describe(
        'How long a target may be behind before the log has an alarm; half of what is left of its CRL, if that is less.',
      ),
    urlCheck: z
      .enum(['refuse', 'warn', 'off'])
      .default('warn')
      .describe(
        'What the start does about a URL of `crlUrls` or `caIssuersUrls` that does not serve what was published.',
      ),
  })
  .describe('Shows CRLs and CA certificates elsewhere.');

const database = z
  .strictObject({
    postgres: z.strictObject({
      host: z.string().min(1).describe('Name or address of the server, or the folder of its Unix socket.'),
      port: z.int().min(1).max(65_535).default(5432),
      database: z.string().min(1).describe('A database that exists, for Leafgate alone.'),
      user: z.string().min(1),
      password: secret.optional(),
      ca: file
        .optional()
        .describe(
          'PEM of the CA of the server’s certificate; the system’s if absent. Not needed on one machine.',
        ),
      connectionsMax: z.int().min(1).max(1000).default(10).describe('For each thread and process.'),
    }),
  })
  .describe('Where the PKI is remembered; a SQLite file in `dataFolder` if absent.');

/** Loopback, private (RFC 1918, RFC 4193) and link-local addresses. */
const privateAddresses = (() => {
  const list = new BlockList();
  list.addSubnet('127.0.0.0', 8, 'ipv4');
  list.addSubnet('10.0.0.0', 8, 'ipv4');
  list.addSubnet('172.16.0.0', 12, 'ipv4');
  list.addSubnet('192.168.0.0', 16, 'ipv4');
  list.addSubnet('169.254.0.0', 16, 'ipv4');
  list.addAddress('::1', 'ipv6');
  list.addSubnet('fc00::', 7, 'ipv6');
  list.addSubnet('fe80::', 10, 'ipv6');
  return list;
})();
const isPrivateHost = (host: string) =>
  host === 'localhost' || privateAddresses.check(host, isIPv6(host) ? 'ipv6' : 'ipv4');
const isLoopbackHost = (host: string) => host === 'localhost' || host === '::1' || /^127\./.test(host);

const ndesPage = z.strictObject({
  endpoint: name.describe('An endpoint with the one-time validator, for which the page makes challenges.'),
  path: z
    .string()
    .regex(/^(\/[A-Za-z0-9_-]+)+$/, 'a path such as /certsrv/mscep_admin')
    .default('/certsrv/mscep_admin')
    .describe('Where the page is; case does not matter.'),
  challengeLifetime: durationMs
    .default(3_600_000)
    .refine((ms) => ms >= 60_000, 'at least a minute')
    .describe('NDES: 60 minutes.'),
  encoding: z
    .enum(['utf-16le', 'utf-8'])
    .default('utf-16le')
    .describe('NDES writes UTF-16LE, and most tools expect it.'),
  thumbprint: z
    .enum(['md5', 'sha1', 'sha256'])
    .default('md5')
    .describe('Of the issuing CA’s certificate. NDES shows MD5.'),
});

const admin = z
  .strictObject({
    listen: listen.describe('Loopback or a private address; a port of its own.'),
    https: z
      .strictObject({ certificate: file.describe('PEM chain.'), key: fileKey })
      .optional()
      .describe('Needed unless it listens on loopback: tokens pass here.'),
    ndesPages: z
      .array(ndesPage)
      .default([])
      .describe('Pages as NDES’s `mscep_admin`, for tools that read challenges from them.'),
    metrics: z
      .enum(['token', 'listener'])
      .default('token')
      .describe(
        'Who may read `/metrics`: who has a token, or whoever reaches this listener; see metrics.md.',
      ),
  })
  .superRefine(({ listen: { host }, https, ndesPages }, context) => {
    const report = (path: PropertyKey[], message: string) =>
      context.addIssue({ code: 'custom', path, message });
    if (!isPrivateHost(host)) report(['listen'], 'loopback or a private address, nothing else');
    else if (https === undefined && !isLoopbackHost(host))
      report(['https'], 'needed where others than this machine can listen to tokens');
    for (const [index, { path }] of ndesPages.entries()) {
      if (ndesPages.findIndex((other) => other.path.toLowerCase() === path.toLowerCase()) < index)
        report(['ndesPages', index, 'path'], `“${path}” is there already`);
    }
  })
  .describe('The admin API: never through the edge. See admin-api.md.');

const server = z
  .strictObject({
    listen: listen.describe('Loopback or a private address; devices come by the edge.'),
    admin: admin.optional(),
    forwarders: z
      .array(z.union([z.ipv4(), z.ipv6(), z.cidrv4(), z.cidrv6()], 'an address or a network: 10.0.0.5'))
      .default([])
      .describe(
        'Addresses of connectors on other hosts, whose word on where a request came from is believed. This machine’s own is believed always, nobody else’s.',
      ),
    workers: z
      .int()
      .min(1)
      .max(64)
      .default(1)
      .describe('Processes that serve requests. With more than one, each has one thread.'),
    threads: z
      .int()
      .min(1)
      .max(64)
      .optional()
      .describe(
        'Threads of a single process. If absent one a core on Linux, where several can share a port, else one.',
      ),
    dataFolder: file.describe('Database and lock.'),
    database: database.optional(),
    standby: z
      .boolean()
      .default(false)
      .describe(
        'Only reads its database, which may be a read-only replica or a copy: serves CRLs, CA certificates and OCSP, and answers enrolments 503.',
      ),
    serviceIdentity: z
      .string()
      .min(1)
      .default('svc-leafgate-ra')
      .describe('The name that certificates are requested under (AD CS: Requester Name).'),
    issuers: z.array(issuer).min(1),
    ocsp: ocsp.optional(),
    published: z.array(published).default([]).describe('CAs that are only shown: the offline root.'),
    publish: publish.optional(),
    ra: z
      .strictObject({
        automatic: z
          .strictObject({
            passphrase: secret.describe('Encrypts the keys.'),
            folder: file
              .optional()
              .describe('Keys and certificates; `dataFolder`/ra if absent. Several servers must share it.'),
          })
          .optional()
          .describe('The server makes the RA’s keys and certificates itself, and renews them in time.'),
        signing: identity
          .optional()
          .describe('Signs the answers (AD CS: Exchange Enrollment Agent). RSA. Instead of `automatic`.'),
        encryption: identity
          .optional()
          .describe('Opens the requests (AD CS: CEP Encryption). RSA. Instead of `automatic`.'),
        challengeHashKey: secret.describe(
          'Key under which one-time challenges are hashed, and waiting requests sealed; at least 32 characters.',
        ),
        approvalSigning: identity
          .optional()
          .describe(
            'Signs what is approved, for templates with `raSignature: required`. The certificate is of template `ra-signing`.',
          ),
        authorizedSigners: file
          .optional()
          .describe(
            'PEM: certificates of the RAs whose signature the CA takes; that of `approvalSigning` if absent.',
          ),
      })
      .refine(
        ({ automatic, signing, encryption }) =>
          (automatic === undefined) !== (signing === undefined) &&
          (signing === undefined) === (encryption === undefined),
        { message: 'either automatic, or signing and encryption' },
      ),
    approval: z
      .strictObject({
        expiresAfter: durationMs
          .default(30 * 86_400_000)
          .describe('How long a request can wait for a certificate manager.'),
        waitingMax: z
          .int()
          .min(1)
          .max(100_000)
          .default(1000)
          .describe('How many requests of an endpoint may wait at once; others are told to come later.'),
      })
      .prefault({})
      .describe('Requests that wait for a certificate manager.'),
    selfTest: z
      .strictObject({
        every: durationMs
          .default(15 * 60_000)
          .refine((ms) => ms >= 60_000, 'at least a minute')
          .describe('How often each endpoint is tested.'),
        endpoints: z.array(name).min(1).optional().describe('Which endpoints; all if absent.'),
        publicUrl: z
          .url({ protocol: /^https?$/ })
          .optional()
          .describe(
            'Where devices find the server, without a path: `https://scep.example.com`. The tests go that way, through the edge; to `listen` if absent.',
          ),
        extraCa: file.optional().describe('PEM of further CAs to trust for `publicUrl`.'),
      })
      .optional()
      .describe('Endpoints are tested by a device of the server’s own; see self-test.md.'),
    pfx: z
      .strictObject({
        mdm: z.url({ protocol: /^https$/ }).describe('The MDM that requests wait at.'),
        extraCa: file.optional().describe('PEM of further CAs to trust for it.'),
        secret: secret.describe('The token of this connector; `mdm.pkcsConnectors` has the same.'),
        requester: z
          .string()
          .min(1)
          .max(100)
          .describe('The name that its certificates are requested under (AD CS: Requester Name).'),
        issuer: name.describe('Name of the issuing CA.'),
        templates: z
          .array(
            z.strictObject({
              name,
              archival: z
                .enum(['none', 'required'])
                .default('none')
                .describe('`required`: each key of it is archived before it is delivered.'),
            }),
          )
          .min(1)
          .describe('What the connector may ask for.'),
        form: z
          .enum(['modern', 'legacy'])
          .default('modern')
          .describe('Of the PFX: AES-256 and SHA-256; or Triple DES and SHA-1, for old importers.'),
        importKeys: z
          .array(
            z.strictObject({
              name: z.string().min(1).max(256).describe('As importers name it: `--key-name`.'),
              key: key.describe('RSA. No other machine needs it.'),
            }),
          )
          .default([])
          .describe('Keys that the passwords of imported PFX are encrypted to.'),
        every: durationMs.default(30_000).describe('How often it looks for requests.'),
        archive: z
          .strictObject({
            folder: file.describe('Sealed keys.'),
            recovery: z
              .array(z.strictObject({ certificate: file.describe('PEM. RSA.') }))
              .length(2)
              .describe('Both of their keys are needed to open what is archived.'),
          })
          .optional()
          .describe('Key archival under dual control.'),
      })
      .refine(
        ({ templates, archive }) =>
          archive !== undefined || templates.every(({ archival }) => archival === 'none'),
        {
          path: ['archive'],
          message: 'is needed where a template is archived',
        },
      )
      .optional()
      .describe('The PKCS connector: makes keys for devices; see pfx.md.'),
    templates: z
      .array(template)
      .default([])
      .describe('Certificate templates beside the built-in ones, or in their place.'),
    endpoints: z.array(endpoint).min(1),
  })
  .superRefine((config, context) => {
    // What is named twice would be found once: a request could meet the policy of another endpoint.
    const report = (path: PropertyKey[], message: string) =>
      context.addIssue({ code: 'custom', path, message });
    if (config.workers > 1 && config.threads !== undefined && config.threads > 1)
      report(['threads'], 'several processes (workers) have one thread each: choose one of the two');
    const cas = [
      ...config.issuers.map((item, index) => ({ name: item.name, path: ['issuers', index, 'name'] })),
      ...config.published.map((item, index) => ({ name: item.name, path: ['published', index, 'name'] })),
    ];
    const endpoints = config.endpoints.map((item, index) => ({
      name: item.name,
      path: ['endpoints', index, 'name'],
    }));
    const paths = config.endpoints.flatMap((item, index) =>
      item.paths.map((text, place) => ({
        name: text.toLowerCase(),
        path: ['endpoints', index, 'paths', place],
      })),
    );
    for (const named of [cas, endpoints, paths]) {
      for (const [index, item] of named.entries()) {
        if (named.findIndex((other) => other.name === item.name) < index)
          report(item.path, `“${item.name}” is there already`);
      }
    }
    for (const [index, item] of config.issuers.entries()) {
      if (item.ocspUrls !== undefined && config.ocsp === undefined)
        report(
          ['issuers', index, 'ocspUrls'],
          'certificates would name a responder that is not there: add ocsp',
        );
    }
    for (const [index, tested] of (config.selfTest?.endpoints ?? []).entries()) {
      if (!config.endpoints.some((item) => item.name === tested))
        report(['selfTest', 'endpoints', index], `there is no endpoint “${tested}”`);
    }
    for (const [index, { endpoint: of }] of (config.admin?.ndesPages ?? []).entries()) {
      const named = config.endpoints.find((item) => item.name === of);
      if (named?.validators.some(({ oneTime }) => oneTime !== undefined) !== true)
        report(
          ['admin', 'ndesPages', index, 'endpoint'],
          `there is no endpoint “${of}” with the oneTime validator`,
        );
    }
    if (config.ocsp !== undefined) {
      const { signers, passphrase } = config.ocsp;
      for (const [index, { issuer: signerOf }] of signers.entries()) {
        if (!config.issuers.some((item) => item.name === signerOf))
          report(['ocsp', 'signers', index, 'issuer'], `there is no issuing CA “${signerOf}”`);
      }
      const without = config.issuers.filter((item) => !signers.some(({ issuer: of }) => of === item.name));
      if (passphrase === undefined && without.length > 0)
        report(
          ['ocsp', 'passphrase'],
          `needed for the keys that sign for ${without.map((item) => item.name).join(', ')}`,
        );
    }
    const { templates, faults } = resolveTemplates(config.templates);
    for (const { index, key, text } of faults) report(['templates', index, key], text);
    for (const [index, item] of faults.length > 0 ? [] : config.endpoints.entries()) {
      const path = ['endpoints', index, 'template'];
      const template = templates.find((other) => other.name === item.template);
      if (template === undefined) {
        report(path, `there is no template “${item.template}”`);
        continue;
      }
      if (
        needsDirectory(template) &&
        item.validators.every(
          ({ staticSecret, manualApproval }) => (staticSecret ?? manualApproval) !== undefined,
        )
      )
        report(
          path,
          `“${item.template}” takes names from the directory, and none of the validators knows one`,
        );
      if (template.raSignature === 'required' && config.ra.approvalSigning === undefined)
        report(path, `“${item.template}” wants the signature of an RA: add ra.approvalSigning`);
      // RFC 6960 §4.2.2.2: whoever holds such a certificate answers for the whole CA.
      if (template.extKeyUsage.includes(oid.ocspSigning))
        report(path, `“${item.template}” would let devices sign OCSP answers for the CA`);
    }
    for (const [index, item] of config.endpoints.entries()) {
      // Intune is asked about every certificate, and a renewal is one: it carries a fresh challenge. What it has let in by one
      // endpoint must not be renewed behind its back by another.
      const asksIntune = config.endpoints.find(
        (other) =>
          other.issuer === item.issuer &&
          other.template === item.template &&
          other.validators.some(({ intune }) => intune !== undefined),
      );
      if (item.renewal?.challenge === 'notNeeded' && asksIntune !== undefined)
        report(
          ['endpoints', index, 'renewal', 'challenge'],
          `Intune, which “${asksIntune.name}” has for the same CA and template, wants to be asked about renewals: \`required\`, no \`renewal\`, or another template`,
        );
      if (!config.issuers.some((other) => other.name === item.issuer))
        report(['endpoints', index, 'issuer'], `there is no issuing CA “${item.issuer}”`);
    }
  })
  .describe('SCEP server, RA and CA.');

const allow = z
  .array(
    z.strictObject({
      name,
      methods: z.array(z.enum(['GET', 'POST'])).min(1),
      path: z.string().regex(/^\//),
      requestTargetBytesMax: z.int().min(1),
      bodyBytesMax: z.int().min(0),
    }),
  )
  .min(1)
  .optional()
  .describe('What may pass; SCEP, OCSP, CRLs and CA certificates if absent.');

const edge = z
  .strictObject({
    http: listen.optional().describe('Plain HTTP for devices and relying parties (SCEP, CRLs).'),
    https: z
      .strictObject({ listen, certificate: file, key: fileKey })
      .optional()
      .describe('HTTPS for devices.'),
    tunnel: z.strictObject({
      listen: listen.describe('Where connectors dial in.'),
      certificate: file,
      key: fileKey,
      connectorCa: file.describe('PEM of the CA whose connector certificates are taken.'),
      connectors: z
        .array(z.string().min(1))
        .min(1)
        .describe('Common names of the connectors that are taken.'),
    }),
    allow,
  })
  .describe('The published side: takes requests from any network, hands them to connectors that dialled in.');

const connector = z
  .strictObject({
    edge: z.strictObject({
      address: listen.describe('Where to dial.'),
      servername: z.string().min(1).describe('Name in the edge’s certificate.'),
      ca: file.describe('PEM of the CA that the edge’s certificate must come from.'),
    }),
    certificate: file,
    key: fileKey,
    target: z.url({ protocol: /^http$/ }).describe('The SCEP server: loopback or a private address.'),
    allow,
  })
  .describe('Dials out to the edge and carries requests to the SCEP server.');

const mdm = z
  .strictObject({
    listen,
    publicUrl: z.url({ protocol: /^https?$/ }).optional(),
    certificate: file.optional().describe('PEM chain for HTTPS.'),
    key: fileKey.optional(),
    databaseFile: file,
    tenant: z.string().min(1),
    applications: z
      .array(
        z.strictObject({
          appId: z.string().min(1),
          secret,
          roles: z
            .array(z.enum(knownRoles))
            .min(1)
            .optional()
            .describe('Application permissions; those that a SCEP server needs if absent.'),
        }),
      )
      .min(1)
      .describe('App registrations: who may ask for tokens.'),
    pkcsConnectors: z
      .array(z.strictObject({ name: z.string().min(1).max(100), secret }))
      .default([])
      .describe('Who may take PKCS requests, and bring keys and certificates.'),
    challengeSigner: identity.describe('Signs challenges.'),
    challengeRecipient: identity.describe('The validation service: challenges are encrypted to it. RSA.'),
    profileSigner: identity
      .optional()
      .describe('Signs configuration profiles of `leafgate mdm export`; devices should trust its issuer.'),
  })
  .describe('The built-in stand-in for Intune.');

/** The schema of the whole file. */
export const configSchema = z
  .strictObject({
    log: z
      .enum(['debug', 'info', 'warn', 'error', 'silent'])
      .default('info')
      .describe('Least level that is logged.'),
    server: server.optional(),
    edge: edge.optional(),
    connector: connector.optional(),
    mdm: mdm.optional(),
  })
  .refine((parts) => parts.server ?? parts.edge ?? parts.connector ?? parts.mdm, {
    message: 'names no part: one of server, edge, connector, mdm',
  })
  .refine(
    ({ connector: from, server: to }) =>
      from === undefined ||
      to?.admin === undefined ||
      Number(new URL(from.target).port) !== to.admin.listen.port,
    { path: ['connector', 'target'], message: 'is the port of the admin API, which no edge may reach' },
  );

/** A configuration as the parts take it: durations in milliseconds, paths absolute, defaults filled in. */
export type Config = z.output<typeof configSchema>;

/**
 * Reads a configuration.
 *
 * @param text YAML
 * @param folder what paths in it are relative to
 * @throws PkiError `config_invalid` naming the key, what it takes, and for an unknown key the nearest known one.
 */
export function parseConfig(text: string, folder: string): Config {
  let raw: unknown;
  try {
    raw = parseYaml(text, { maxAliasCount: 0 });
  } catch (cause) {
    throw new PkiError('config_invalid', `not YAML: ${cause instanceof Error ? cause.message : cause}`, {
      cause,
    });
  }
  const parsed = configSchema.safeParse(raw);
  if (!parsed.success)
    throw new PkiError('config_invalid', parsed.error.issues.map(describeIssue).join('\n'));
  return deepFreeze(absolutePaths(parsed.data, folder));
}

/** Reads a configuration file. Throws PkiError `config_invalid`. */
export function readConfig(path: string): Config {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (cause) {
    throw new PkiError('config_invalid', `cannot read ${path}`, { cause });
  }
  return parseConfig(text, dirname(resolve(path)));
}

/**
 * Reads a file that says where one key is, as a configuration says it below `key`.
 *
 * @throws PkiError `config_invalid`.
 */
export function readKeyPlace(path: string): KeyPlace {
  let raw: unknown;
  try {
    raw = parseYaml(readFileSync(path, 'utf8'), { maxAliasCount: 0 });
  } catch (cause) {
    throw new PkiError('config_invalid', `${path} cannot be read, or is not YAML`, { cause });
  }
  const parsed = key.safeParse(raw);
  if (parsed.success) return absolutePaths(parsed.data, dirname(resolve(path)));
  throw new PkiError(
    'config_invalid',
    `${path}: ${parsed.error.issues.map(({ message }) => message).join('; ')}`,
  );
}

function describeIssue(issue: z.core.$ZodIssue): string {
  const place = issue.path.join('.');
  if (issue.code === 'unrecognized_keys') {
    const known = keysAt(issue.path);
    return issue.keys
      .map((unknown) => {
        const nearest = known.toSorted((a, b) => distance(a, unknown) - distance(b, unknown))[0];
        const where = place === '' ? '' : ` in ${place}`;
        return `unknown key “${unknown}”${where}${nearest === undefined ? '' : `; did you mean “${nearest}”?`}`;
      })
      .join('\n');
  }
  return `${place === '' ? 'the file' : place}: ${issue.message}`;
}

/** The keys that the schema knows at a place. */
function keysAt(path: readonly PropertyKey[]): string[] {
  let schema: z.core.$ZodType = configSchema;
  for (const step of path) schema = stepInto(schema, step) ?? schema;
  const object = unwrapped(schema);
  return object instanceof z.ZodObject ? Object.keys(object.shape) : [];
}

function stepInto(schema: z.core.$ZodType, step: PropertyKey): z.core.$ZodType | undefined {
  const inner = unwrapped(schema);
  if (inner instanceof z.ZodArray) return inner.element;
  return inner instanceof z.ZodObject ? inner.shape[String(step)] : undefined;
}

/** The schema below optional, default and pipe. */
export function unwrapped(schema: z.core.$ZodType): z.core.$ZodType {
  if (schema instanceof z.ZodOptional || schema instanceof z.ZodDefault || schema instanceof z.ZodPrefault)
    return unwrapped(schema.def.innerType);
  if (schema instanceof z.ZodPipe) return unwrapped(schema.def.in);
  return schema;
}

/** Levenshtein distance. */
function distance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, index) => index);
  for (let i = 1; i <= a.length; i += 1) {
    const next = [i];
    for (let j = 1; j <= b.length; j += 1) {
      const substitution = (row[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1);
      next.push(Math.min(substitution, (row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1));
    }
    row = next;
  }
  return row[b.length] ?? 0;
}

/** Keys whose values are paths; references to secrets in files are resolved too. */
const pathKeys = new Set([
  'file',
  'module',
  'certificate',
  'crl',
  'dataFolder',
  'extraCa',
  'connectorCa',
  'ca',
  'databaseFile',
  'authorizedSigners',
  'folder',
]);

function absolutePaths<T>(value: T, folder: string): T {
  if (Array.isArray(value)) return value.map((item) => absolutePaths(item, folder)) as T;
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(
    Object.entries(value).map(([keyName, item]) => {
      if (typeof item !== 'string') return [keyName, absolutePaths(item, folder)];
      if (pathKeys.has(keyName)) return [keyName, absolute(item, folder)];
      return [keyName, item.startsWith('file:') ? `file:${absolute(item.slice(5), folder)}` : item];
    }),
  ) as T;
}

function absolute(path: string, folder: string): string {
  return isAbsolute(path) ? path : resolve(folder, path);
}

function deepFreeze<T>(value: T): T {
  if (typeof value === 'object' && value !== null) {
    for (const item of Object.values(value)) deepFreeze(item);
    Object.freeze(value);
  }
  return value;
}
