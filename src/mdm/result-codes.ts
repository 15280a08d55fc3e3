/** The answers of Intune's validation service, and what each of them stands for here. */

/** The result codes that this validation service can answer with. */
export type ResultCode = keyof typeof resultCodes;

/**
 * Intune documents the words and little of their meaning. This is the meaning that we give to each, in the order of the
 * checks; where several apply, the first is the `code` and all stand in `errorDescription`.
 *
 * Four words of Intune's list are never used: Unknown, and three that belong to Windows Hello for Business
 * (AadKeyIdentifierListMissing, RegisteredKeyMismatch, SigningCertThumbprintMismatch).
 */
export const resultCodes = {
  Success: 'all checks passed',
  CertificateRequestDecodingFailed:
    'certificateRequest is not base64 of a PKCS #10 request signed by its own key',
  ChallengePasswordMissing: 'the request has no challengePassword, or an empty one',
  ChallengeDecodingError:
    'the challengePassword is not base64 of CMS SignedData: garbled, or not a challenge at all',
  SignatureValidationFailed: 'the challenge is not, octet for octet, one that this tenant’s signer made',
  ChallengeDecryptionError: 'the challenge is signed but not encrypted to this validation service',
  ChallengeDeserializationError:
    'the decrypted challenge has not the fields of a challenge of a known version',
  ChallengeInvalidTimestamp: 'the challenge was made in the future, or lives longer than challenges do',
  ChallengeExpired: 'more than 60 minutes have passed',
  BadCertificateRequestIdInChallenge:
    'the certificate request id is not one that was given out for this device and profile, or the request names another device of this tenant; in a notification: validateRequest has not accepted this very request',
  BadDeviceIdInChallenge: 'the device is unknown, retired, wiped or lost, or broke the rules for too long',
  BadUserIdInChallenge: 'the device belongs to another user, or to none, by now',
  ScepProfileNoLongerTargetedToTheClient: 'the profile was deleted, or no longer targets the device',
  SubjectNameMissing: 'the request has an empty subject',
  SubjectNameMismatch: 'the subject is not the challenge’s, compared as RFC 4514 text',
  SubjectAltNameMissing: 'the challenge names alternative names and the request has none',
  SubjectAltNameMismatch: 'the alternative names are not the same set, compared as text',
  KeyUsageMismatch: 'the key usage is absent or not the same set',
  EnhancedKeyUsageMissing: 'the request has no extKeyUsage',
  EnhancedKeyUsageMismatch: 'the purposes are not the same set',
  KeyLengthMismatch: 'the key is not RSA, or of another length',
} as const;
