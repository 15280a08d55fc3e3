/** What Intune and Entra say when they say no: their words, our code, the cause, and what an administrator does. */
import type { ErrorCode } from '../../errors.ts';

/** One of Intune's result codes. */
export interface IntuneResultCode {
  /** What it is in our error table. */
  readonly code: ErrorCode;
  readonly cause: string;
  readonly mend: string;
}

const SYNC = 'Sync the device: the next check-in brings a new challenge';
const PROFILE_CHANGED =
  'Sync the device: the profile was most likely changed between its challenge and its request. If it stays so, assign the profile anew';

/**
 * Intune's failing result codes of its contract for third-party CAs, all 24, by their words. A word that is not here refuses
 * all the same, as `validator_refused`. Microsoft documents the words and little of their meaning: the causes are what the
 * words say and what its other documents tell of such failures.
 */
export const intuneResultCodes: Readonly<Record<string, IntuneResultCode>> = {
  Unknown: {
    code: 'validator_refused',
    cause: 'Intune refused and does not say why.',
    mend: `${SYNC}. If it stays so, give Microsoft’s support the client-request-id`,
  },
  CertificateRequestDecodingFailed: {
    code: 'validator_refused',
    cause: 'Intune cannot read the certification request.',
    mend: 'The device, or what stands between it and the server, changed the request. Sync the device; look whether other devices of its kind get certificates',
  },
  ChallengePasswordMissing: {
    code: 'challenge_missing',
    cause: 'The request has no challenge: it is none of Intune’s.',
    mend: 'Somebody else asks at the URL that is Intune’s. Give him an endpoint with another validator, or none',
  },
  ChallengeDeserializationError: {
    code: 'challenge_invalid',
    cause: 'The challenge can be opened but not read.',
    mend: SYNC,
  },
  ChallengeDecryptionError: {
    code: 'challenge_invalid',
    cause: 'Intune cannot open the challenge: it was made for another tenant.',
    mend: 'Compare `tenant` of the endpoint with the tenant whose profile names its URL. Several tenants: one endpoint each',
  },
  ChallengeDecodingError: {
    code: 'challenge_invalid',
    cause:
      'What the request has as its challenge is no challenge of Intune’s. A self-test’s is none, and is refused like this.',
    mend: 'Somebody else asks at the URL that is Intune’s, or the challenge was cut. Sync the device',
  },
  ChallengeInvalidTimestamp: {
    code: 'challenge_invalid',
    cause: 'The time within the challenge is impossible.',
    mend: SYNC,
  },
  ChallengeExpired: {
    code: 'challenge_expired',
    cause: 'More than an hour has passed since Intune made the challenge.',
    mend: `${SYNC}. If it happens to many, the device does not reach the server in time: look at the edge and at its log`,
  },
  SubjectNameMissing: {
    code: 'subject_missing',
    cause: 'The request has no subject, and the profile wants one.',
    mend: 'A variable of “Subject name format” is empty for this device or user. Fill it in Entra, or use another',
  },
  SubjectNameMismatch: {
    code: 'subject_mismatch',
    cause: 'The subject of the request is not the one of the profile.',
    mend: 'A comma, plus, semicolon or equals sign in a name: put the value into quotes in “Subject name format”, CN="{{UserName}}". Or the device or user was renamed: sync',
  },
  SubjectAltNameMissing: {
    code: 'san_missing',
    cause: 'The request has no alternative name, and the profile wants one.',
    mend: 'A variable of “Subject alternative name” is empty for this device or user, often the on-premises SID or the e-mail address. Fill it in Entra, or use another',
  },
  SubjectAltNameMismatch: {
    code: 'san_mismatch',
    cause: 'The alternative names of the request are not those of the profile.',
    mend: 'The device or user was renamed, or a variable has another value now: sync the device',
  },
  KeyUsageMismatch: {
    code: 'key_usage_mismatch',
    cause: 'The key usage of the request is not the one of the profile.',
    mend: PROFILE_CHANGED,
  },
  KeyLengthMismatch: {
    code: 'key_size_mismatch',
    cause: 'The key of the request has not the size of the profile.',
    mend: 'A TPM seldom makes more than 2048 bits: set “Key size” to 2048, or “Key storage provider” to the software KSP',
  },
  EnhancedKeyUsageMissing: {
    code: 'eku_mismatch',
    cause: 'The request names no purpose, and the profile wants one.',
    mend: PROFILE_CHANGED,
  },
  EnhancedKeyUsageMismatch: {
    code: 'eku_mismatch',
    cause: 'The purposes of the request are not those of the profile.',
    mend: PROFILE_CHANGED,
  },
  AadKeyIdentifierListMissing: {
    code: 'validator_refused',
    cause:
      'The profile is for Windows Hello for Business, and Entra knows no key of this user on this device.',
    mend: 'The user has to set up Windows Hello for Business on this device first; then sync',
  },
  RegisteredKeyMismatch: {
    code: 'validator_refused',
    cause: 'The key of the request is not the Windows Hello for Business key that Entra knows.',
    mend: 'The user has to set up Windows Hello for Business on this device anew; then sync',
  },
  SigningCertThumbprintMismatch: {
    code: 'validator_refused',
    cause:
      'By its name: the certificate that signs the request is not the one that Intune expects of this device.',
    mend: 'Sync the device. If it stays so, give Microsoft’s support the client-request-id',
  },
  ScepProfileNoLongerTargetedToTheClient: {
    code: 'profile_not_assigned',
    cause: 'The profile is not assigned to this device or user any more.',
    mend: 'Nothing if that is meant. Else look at the profile’s assignments, and at the groups that it excludes',
  },
  SignatureValidationFailed: {
    code: 'challenge_invalid',
    cause: 'The challenge is not signed by Intune, or was changed on its way.',
    mend: `${SYNC}. If it stays so, the request may be forged`,
  },
  BadCertificateRequestIdInChallenge: {
    code: 'challenge_foreign',
    cause:
      'The challenge was made for another request, or the notification is about one that Intune has not validated.',
    mend: `${SYNC}. If it stays so, somebody uses another device’s challenge`,
  },
  BadDeviceIdInChallenge: {
    code: 'device_unknown',
    cause: 'Intune does not know the device any more: it was retired, wiped, deleted or enrolled anew.',
    mend: 'Nothing if that is meant. Else enrol the device in Intune anew',
  },
  BadUserIdInChallenge: {
    code: 'challenge_foreign',
    cause: 'The challenge was made for another user.',
    mend: `${SYNC}. If the device has got another user, let him sign in first`,
  },
};

const APP = 'Entra admin center > Entra ID > App registrations > your application';
const consent = (api: string, permission: string) =>
  `${APP} > API permissions > Add a permission > ${api} > Application permissions > ${permission}; then “Grant admin consent”. A new permission is in new tokens alone: wait some minutes and check again`;

/** What to do where a permission is missing. */
export const consentMends = {
  intune: consent('Intune', 'scep_challenge_provider'),
  graph: consent('Microsoft Graph', 'Application.Read.All'),
} as const;

/** What to do where it seems to be another tenant, or another of Microsoft's clouds. */
export const CLOUD_MEND = 'Set `cloud` to the one that your tenant is in: public, usGov, usGovDoD or china';

/** What Entra's numbers of errors mean for an administrator. */
export const entraMends: Readonly<Record<string, string>> = {
  AADSTS7000222: `The client secret has expired. ${APP} > Certificates & secrets > Client secrets > New client secret; put its Value into the file that \`secret\` names, and restart the server`,
  AADSTS7000215: `The client secret is not valid. \`secret\` must hold the Value of the client secret, not its Secret ID, in a text file of one line: ${APP} > Certificates & secrets`,
  AADSTS700016: `The application is not in this tenant. Compare \`appId\` with Application (client) ID, and \`tenant\` with Directory (tenant) ID: ${APP} > Overview`,
  AADSTS700027: `Entra does not know the certificate, or it has expired. Upload it: ${APP} > Certificates & secrets > Certificates`,
  AADSTS7000112:
    'The application is disabled. Entra admin center > Entra ID > Enterprise apps > your application > Properties > Enabled for users to sign-in',
  AADSTS90002: `The tenant is not found. Compare \`tenant\` with Directory (tenant) ID. ${CLOUD_MEND}`,
  AADSTS900023: 'The tenant is neither a GUID nor a domain name. Compare `tenant` with Directory (tenant) ID',
  AADSTS500011: `Intune is not known in this tenant: it has no Intune licence, or lies in another cloud. ${CLOUD_MEND}`,
  AADSTS70011: `The resource is not known in this cloud. ${CLOUD_MEND}`,
  AADSTS1002012: `The resource is not known in this cloud. ${CLOUD_MEND}`,
  AADSTS53003:
    'Conditional Access for workload identities blocks the sign-in. Entra admin center > Entra ID > Conditional Access: exclude the application, or allow the address of this server',
};

/** Where Microsoft explains any of Entra's numbers. */
export const ENTRA_ERRORS = 'https://login.microsoftonline.com/error';

/** Entra's number of an error in a text, such as AADSTS7000222. */
export function entraNumberIn(text: string): string | undefined {
  return /AADSTS\d{1,10}/.exec(text)?.[0];
}

/** Intune's word in the detail of an audit entry, as the validator writes it there; `undefined` if there is none. */
export function resultCodeIn(detail: string): string | undefined {
  const [, word = ''] = /(?:^|: )([A-Za-z]{1,64}) \(client-request-id /.exec(detail) ?? [];
  return Object.hasOwn(intuneResultCodes, word) ? word : undefined;
}
