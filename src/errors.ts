/**
 * The error table: every code that Leafgate can answer with, once, with what each door says about it.
 *
 * Expected answers travel as values (a `Verdict`, a `Decision`); a `PkiError` is thrown for broken bytes and a broken
 * world. Only the doors translate a code to a wire, and they do it with this table. `docs/errors.md` is made from it.
 */

/** What kind of event a code stands for; it decides how every door answers. */
export type ErrorKind =
  /** Bytes break a standard. */
  | 'malformed'
  /** Policy says no. */
  | 'refused'
  /** Something that we depend on does not answer. Never an accept. */
  | 'unavailable'
  /** The configuration cannot work; the program refuses to start. */
  | 'misconfigured'
  /** One of our own invariants broke. */
  | 'bug';

/** failInfo names of RFC 8894 §3.2.1.4. */
export type FailInfo = 'badAlg' | 'badMessageCheck' | 'badRequest' | 'badTime' | 'badCertId';

/** One row of the error table. */
export interface ErrorRow {
  readonly kind: ErrorKind;
  /** HTTP status that an HTTP door answers with when no protocol answer of its own can be built. */
  readonly http: number;
  /** failInfo of a SCEP answer; absent where SCEP never answers with this code. */
  readonly failInfo?: FailInfo;
  /** What anyone may read: no secret, no detail that an attacker lacks. */
  readonly text: string;
  /** Why it happens, for the administrator. */
  readonly cause: string;
  /** What the administrator does about it. */
  readonly mend: string;
}

const table = {
  // --- malformed: the bytes -------------------------------------------------------------------------------------
  der_malformed: {
    kind: 'malformed',
    http: 400,
    failInfo: 'badMessageCheck',
    text: 'the message is not valid DER',
    cause: 'A structure is truncated, longer than it says, or not in the distinguished encoding.',
    mend: 'Capture the request and look at it with `openssl asn1parse`; the client or a proxy damaged it.',
  },
  der_limit: {
    kind: 'malformed',
    http: 413,
    failInfo: 'badMessageCheck',
    text: 'the message exceeds a size, depth or count limit',
    cause: 'The message is larger, deeper or longer than any real client sends.',
    mend: 'If a real device sends it, raise it as a bug with the captured message.',
  },
  pem_malformed: {
    kind: 'malformed',
    http: 400,
    text: 'the text is not PEM',
    cause: 'A BEGIN or END line, or the base64 between them, is wrong.',
    mend: 'Check the file that is named in the message.',
  },
  name_malformed: {
    kind: 'malformed',
    http: 400,
    failInfo: 'badMessageCheck',
    text: 'the distinguished name cannot be read',
    cause: 'A name in the configuration or a profile is not in the RFC 4514 form `CN=…,O=…`.',
    mend: 'Escape `, + " \\ < > ;` with a backslash and use known attribute names.',
  },
  certificate_malformed: {
    kind: 'malformed',
    http: 400,
    failInfo: 'badMessageCheck',
    text: 'the certificate breaks RFC 5280',
    cause: 'A certificate in the message or a file cannot be read.',
    mend: 'Look at it with `openssl x509 -text`.',
  },
  csr_malformed: {
    kind: 'malformed',
    http: 400,
    failInfo: 'badMessageCheck',
    text: 'the certification request breaks RFC 2986',
    cause: 'The PKCS #10 request cannot be read.',
    mend: 'Look at it with `openssl req -text`.',
  },
  csr_signature: {
    kind: 'malformed',
    http: 400,
    failInfo: 'badMessageCheck',
    // The words of scep_envelope: who changed the ciphertext must not learn that it still reads as a request.
    text: 'the message could not be opened',
    cause: 'Proof of possession failed: the signature of the PKCS #10 request does not verify.',
    mend: 'The client is faulty or the request was changed on its way.',
  },
  crl_malformed: {
    kind: 'malformed',
    http: 400,
    text: 'the CRL breaks RFC 5280',
    cause: 'A certificate revocation list cannot be read.',
    mend: 'Look at it with `openssl crl -text`.',
  },
  ocsp_malformed: {
    kind: 'malformed',
    http: 400,
    text: 'the OCSP message breaks RFC 6960',
    cause:
      'An OCSP request or response cannot be read, or a request has a critical extension that is not known.',
    mend: 'Look at it with `openssl ocsp -reqin FILE -req_text`; the client is told malformedRequest.',
  },
  cms_malformed: {
    kind: 'malformed',
    http: 400,
    failInfo: 'badMessageCheck',
    text: 'the CMS message breaks RFC 5652',
    cause: 'SignedData or EnvelopedData cannot be read.',
    mend: 'Look at it with `openssl cms -cmsout -print -inform DER`.',
  },
  pkcs12_malformed: {
    kind: 'malformed',
    http: 400,
    text: 'the PFX breaks RFC 7292',
    cause: 'A PKCS #12 file is damaged, is no PFX, or holds no private key with its certificate, or several.',
    mend: 'Look at it with `openssl pkcs12 -info -noenc`; export one key with its certificate.',
  },
  pkcs12_password: {
    kind: 'refused',
    http: 403,
    text: 'the password does not open the PFX',
    cause: 'The password is wrong, or the PKCS #12 file was changed: its MAC tells no difference.',
    mend: 'Compare the password with the one that the file was exported under.',
  },
  algorithm_unsupported: {
    kind: 'malformed',
    http: 400,
    failInfo: 'badAlg',
    text: 'an algorithm of the message is not supported',
    cause: 'The client used an algorithm that is unknown, or one that is refused everywhere (MD5, RC2).',
    mend: 'Let the client use AES-128 and SHA-256; see `GetCACaps`.',
  },
  scep_body: {
    kind: 'malformed',
    http: 400,
    text: 'no PKIMessage could be read from the request',
    cause: 'An empty or undecodable body, or a `message` parameter that is not base64.',
    mend: 'A proxy may cut long URLs or bodies: allow 40 KB request lines and 2 MiB bodies.',
  },
  scep_operation: {
    kind: 'malformed',
    http: 400,
    text: 'the operation parameter is missing or unknown',
    cause: 'The query has no `operation`, or one that is none of GetCACaps, GetCACert, PKIOperation.',
    mend: 'Check the SCEP URL in the profile; it must not carry a query of its own.',
  },
  scep_signature: {
    kind: 'malformed',
    http: 400,
    failInfo: 'badMessageCheck',
    text: 'the signature of the PKIMessage does not verify',
    cause: 'RFC 8894 §3.2: the outer SignedData is not signed by the certificate that it carries.',
    mend: 'The message was changed on its way, or the client is faulty.',
  },
  scep_attributes: {
    kind: 'malformed',
    http: 400,
    failInfo: 'badMessageCheck',
    text: 'a SCEP attribute is missing or malformed',
    cause: 'RFC 8894 §3.2.1: transactionID, messageType or a nonce is absent, doubled or of the wrong type.',
    mend: 'The client is faulty; its own log names the version.',
  },
  scep_envelope: {
    kind: 'malformed',
    http: 400,
    failInfo: 'badMessageCheck',
    text: 'the message could not be opened',
    cause:
      'The envelope cannot be decrypted to a PKCS #10 request. The cause is hidden on purpose: telling padding from content errors would make the server a decryption oracle.',
    mend: 'Most often the client holds an old RA encryption certificate: let it fetch GetCACert again.',
  },
  http_malformed: {
    kind: 'malformed',
    http: 400,
    text: 'the request is not valid HTTP',
    cause:
      'The edge could not read the request, or its length could be read in two ways (request smuggling).',
    mend: 'Nothing for scans of the internet. For a real device, look for a proxy in between that damages requests.',
  },
  request_malformed: {
    kind: 'malformed',
    http: 400,
    text: 'the request is not what this interface takes',
    cause: 'A JSON or form body lacks a field, has one of the wrong type, or has one that is not known.',
    mend: 'Mend what the message names; at a door the log has it. If an agent or a connector sent it, compare both versions.',
  },
  profile_invalid: {
    kind: 'malformed',
    http: 400,
    text: 'the profile is not valid',
    cause:
      'A field of a trusted-certificate or SCEP profile has an impossible value, or refers to a profile that is absent.',
    mend: 'The message names the field and what it takes.',
  },
  scep_refused: {
    kind: 'refused',
    http: 502,
    text: 'the SCEP server refused the request',
    cause: 'The server answered FAILURE, with the failInfo and the text that the message repeats.',
    mend: 'Take the reference of the message to the server’s administrator: there `leafgate explain REFERENCE` shows the reason.',
  },
  ca_unverified: {
    kind: 'refused',
    http: 403,
    text: 'nobody vouches for the CA that the SCEP server shows',
    cause:
      'GetCACert is not authenticated: whoever stands between could show a CA of his own and read the challenge.',
    mend: 'Compare the fingerprint with the one that the CA’s administrator gives you, and pass it with --ca-fingerprint; or name the root with --root.',
  },
  scep_folder: {
    kind: 'misconfigured',
    http: 500,
    text: 'the folder of the SCEP client cannot be used',
    cause:
      'It holds nothing, holds a certificate or a request already, is damaged, or shows secrets to others.',
    mend: 'The message names what to do: `leafgate scep poll` for a request that waits, `renew` for a certificate, or another --folder.',
  },
  server_answer: {
    kind: 'malformed',
    http: 502,
    text: 'the server’s answer is not what was asked for',
    cause:
      'A device got a web page, a redirect, an error status or another content type from the MDM or SCEP server.',
    mend: 'Compare the URL in the profile; look for a proxy, sign-in page or load balancer that answers in its place.',
  },
  answer_unencryptable: {
    kind: 'malformed',
    http: 400,
    failInfo: 'badAlg',
    text: 'no answer could be encrypted to the key that signed the message',
    cause:
      'The client signs with an elliptic-curve key, which nothing can be encrypted to, and its message holds no challenge to encrypt the answer under (RFC 8894 §3.1), or asks by PKCSReq for a certificate for another key; or its RSA key is too short for the key transport that it used.',
    mend: 'Let the client put a challenge into its request, and ask for a pending certificate by sending that request again instead of CertPoll; or use an RSA key. See docs/scep.md.',
  },
  // --- refused: the policy --------------------------------------------------------------------------------------
  message_type_unsupported: {
    kind: 'refused',
    http: 400,
    failInfo: 'badRequest',
    text: 'this message type is not served',
    cause: 'The PKIMessage is none of the types that this endpoint answers; it never issues.',
    mend: 'Let the client enrol with PKCSReq.',
  },
  certificate_unknown: {
    kind: 'refused',
    http: 404,
    failInfo: 'badCertId',
    text: 'no certificate matches the identifier',
    cause: 'GetCert, GetCRL or CertPoll named a certificate or a transaction that is not known.',
    mend: 'Compare issuer and serial number with `leafgate ca list`; a device enrols again.',
  },
  crl_unserved: {
    kind: 'refused',
    http: 404,
    failInfo: 'badCertId',
    text: 'the CRL is not served this way',
    cause: 'A GetCRL asked for a CRL of over 1 MiB, or for one that is not made yet.',
    mend: 'Let the client fetch it from the URL in its certificate; divide the CRL with `crlPartitions`.',
  },
  reference_unknown: {
    kind: 'refused',
    http: 404,
    text: 'there is no event with this reference',
    cause: 'A reference (`LG-…`) is mistyped, belongs to another server, or its entry was pruned.',
    mend: 'Compare it with what the device shows; `leafgate audit list --event enrolment.` lists what was refused.',
  },
  operation_unsupported: {
    kind: 'refused',
    http: 404,
    text: 'this operation is not served',
    cause: 'The SCEP operation exists but is not offered here (it is not in GetCACaps).',
    mend: 'Nothing, unless a client depends on it.',
  },
  path_denied: {
    kind: 'refused',
    http: 404,
    text: 'not found',
    cause: 'The edge was asked for a method and path outside its allow-list; nothing was forwarded.',
    mend: 'Admin and CA paths are never published. For a SCEP URL, compare it with `edge.allow`.',
  },
  request_too_large: {
    kind: 'refused',
    http: 413,
    text: 'the request is too large',
    cause: 'The request line or body is larger than the allow-list permits.',
    mend: 'Raise the size of the matching `edge.allow` rule if a real client needs it.',
  },
  algorithm_refused: {
    kind: 'refused',
    http: 403,
    failInfo: 'badAlg',
    text: 'an algorithm of the message is not allowed here',
    cause:
      'The message uses an algorithm that the endpoint refuses: single DES, or one that `algorithms.refuse` names.',
    mend: 'The audit entry names the algorithm. Update the client, or give it an endpoint that allows it.',
  },
  challenge_missing: {
    kind: 'refused',
    http: 403,
    failInfo: 'badRequest',
    text: 'the request carries no challenge password',
    cause: 'The PKCS #10 request has no challengePassword attribute.',
    mend: 'Check that the profile or the client was given a challenge.',
  },
  challenge_unknown: {
    kind: 'refused',
    http: 403,
    failInfo: 'badRequest',
    text: 'the challenge is not valid',
    cause: 'No such challenge was given out, or the shared secret is wrong.',
    mend: 'Make a new challenge with `leafgate challenge create`, or correct the secret in the profile.',
  },
  challenge_invalid: {
    kind: 'refused',
    http: 403,
    failInfo: 'badRequest',
    text: 'the challenge is not valid',
    cause:
      'The validation service could not decrypt, verify or decode the challenge: it is foreign or was changed.',
    mend: 'Sync the device so that it gets a fresh profile. If it persists, compare tenants.',
  },
  challenge_expired: {
    kind: 'refused',
    http: 403,
    failInfo: 'badRequest',
    text: 'the challenge has expired',
    cause: 'More time than the lifetime (60 minutes by default) has passed since the challenge was made.',
    mend: 'Sync the device; it gets a new challenge. Check both clocks if it happens at once.',
  },
  challenge_reused: {
    kind: 'refused',
    http: 403,
    failInfo: 'badRequest',
    text: 'the challenge was already used',
    cause:
      'A one-time challenge came back with another key or another request. A security event: it may be stolen.',
    mend: 'Look at both requests in the audit list; revoke the certificate if the first was not the device.',
  },
  challenge_foreign: {
    kind: 'refused',
    http: 403,
    failInfo: 'badRequest',
    text: 'the challenge belongs to another device or user',
    cause:
      'The challenge was made for another device, user or certificate request than the one that used it.',
    mend: 'A security event unless profiles were copied by hand: find out how the challenge left its device.',
  },
  device_unknown: {
    kind: 'refused',
    http: 403,
    failInfo: 'badRequest',
    text: 'the device is not enrolled',
    cause: 'The challenge names a device that is not, or no longer, enrolled in the MDM.',
    mend: 'Enrol the device again, or remove its SCEP profile. `leafgate mdm devices` shows ids and states.',
  },
  profile_not_assigned: {
    kind: 'refused',
    http: 403,
    failInfo: 'badRequest',
    text: 'the SCEP profile is no longer assigned to the device',
    cause: 'ScepProfileNoLongerTargetedToTheClient: the assignment was removed after the challenge was made.',
    mend: 'Assign the profile again if the device should have it.',
  },
  profile_unresolvable: {
    kind: 'refused',
    http: 409,
    text: 'the profile cannot be made out for this device',
    cause:
      'A variable such as {{UserPrincipalName}} has no value for the device, or its value does not fit its place.',
    mend: 'Give the device a user, or use a variable that every targeted device has.',
  },
  pfx_lease_over: {
    kind: 'refused',
    http: 409,
    text: 'the PKCS request is no longer in this connector’s hands',
    cause:
      'A PKCS connector brought a PFX too late: its lease is over, the device is gone, or another connector has the request.',
    mend: 'Nothing: the connector revokes the certificate. If it happens often, find out why it is slow.',
  },
  import_refused: {
    kind: 'refused',
    http: 502,
    text: 'Graph does not take the PFX',
    cause:
      'The app registration lacks the permission, the user is not known there, or a field is not as Graph has it: its own words are in the message.',
    mend: 'Give the app registration DeviceManagementConfiguration.ReadWrite.All (in the built-in MDM: `mdm.applications[].roles`); import the user first.',
  },
  pfx_unopened: {
    kind: 'refused',
    http: 403,
    text: 'the PFX cannot be opened',
    cause:
      'An archived or delivered PFX is not encrypted to the keys that were shown, or was changed; or the password of an imported one is not encrypted to a key of the connector (`server.pfx.importKeys`).',
    mend: 'Compare the fingerprints of the certificates with those that it was encrypted to; both recovery keys are needed. Import a PFX again with the connector’s public key and its name.',
  },
  subject_missing: {
    kind: 'refused',
    http: 403,
    failInfo: 'badRequest',
    text: 'the request has no subject',
    cause: 'The template or the profile wants a subject name and the request has none.',
    mend: 'Correct the subject name format of the profile.',
  },
  subject_mismatch: {
    kind: 'refused',
    http: 403,
    failInfo: 'badRequest',
    text: 'the subject is not the one that the challenge was made for',
    cause:
      'The subject of the request differs from the profile’s (the comparison is textual), or it has a value that the template forbids: too long, or with characters that mislead readers.',
    mend: 'Avoid backslash-escaped characters in the subject name format; then sync the device.',
  },
  san_missing: {
    kind: 'refused',
    http: 403,
    failInfo: 'badRequest',
    text: 'the request lacks its subject alternative name',
    cause: 'The profile or the template demands a subject alternative name that the request does not carry.',
    mend: 'Correct the subject alternative name of the profile; then sync the device.',
  },
  san_mismatch: {
    kind: 'refused',
    http: 403,
    failInfo: 'badRequest',
    text: 'the subject alternative name is not the one that the challenge was made for',
    cause:
      'The request names other identities than the profile gave to the device, or kinds that the template forbids.',
    mend: 'Correct the profile or the template; if neither is wrong, treat it as a security event.',
  },
  eku_mismatch: {
    kind: 'refused',
    http: 403,
    failInfo: 'badRequest',
    text: 'the extended key usage is not permitted',
    cause: 'The request asks for a purpose that the profile or the template does not give.',
    mend: 'Let profile and template name the same purposes.',
  },
  key_usage_mismatch: {
    kind: 'refused',
    http: 403,
    failInfo: 'badRequest',
    text: 'the key usage is not permitted',
    cause: 'The key usage of the request differs from the profile’s or exceeds the template’s.',
    mend: 'Let profile and template name the same key usage.',
  },
  key_size_mismatch: {
    kind: 'refused',
    http: 403,
    failInfo: 'badRequest',
    text: 'the key size is not permitted',
    cause: 'The key is smaller than the template’s minimum, or of another size than the profile says.',
    mend: 'Set the key size of the profile to at least 2048.',
  },
  key_algorithm: {
    kind: 'refused',
    http: 403,
    failInfo: 'badRequest',
    text: 'the key algorithm is not permitted',
    cause: 'The public key is of a kind or curve that the template does not list.',
    mend: 'Use RSA, or extend `keyAlgorithms` of the template.',
  },
  key_weak: {
    kind: 'refused',
    http: 403,
    failInfo: 'badRequest',
    text: 'the public key is weak',
    cause: 'The RSA exponent or modulus is outside what key policy allows.',
    mend: 'Make a new key with a current library.',
  },
  template_denied: {
    kind: 'refused',
    http: 403,
    failInfo: 'badRequest',
    text: 'the template is not available here',
    cause: 'The endpoint or the service identity may not enrol for this template.',
    mend: 'Correct `template` of the endpoint.',
  },
  identity_unvouched: {
    kind: 'refused',
    http: 403,
    failInfo: 'badRequest',
    text: 'nobody vouches for the identity that the certificate would name',
    cause:
      'The template takes the subject, the subject alternative name or the SID from the directory, and no validator of the endpoint said what it is; or two said different things.',
    mend: 'Pin the names when the challenge is made, use a validator that knows them, or change the template.',
  },
  issuance_limit: {
    kind: 'refused',
    http: 403,
    failInfo: 'badRequest',
    text: 'the device has as many certificates as it may have',
    cause: 'The template limits how many certificates a device may have before their renewal period.',
    mend: 'Revoke those that are not used any more, or raise `certificatesPerDeviceMax` of the template.',
  },
  approval_denied: {
    kind: 'refused',
    http: 403,
    failInfo: 'badRequest',
    text: 'the request was denied',
    cause: 'A certificate manager has looked at the request and denied it.',
    mend: 'The audit entry says who and why. If it was a mistake, let the device enrol anew.',
  },
  approval_expired: {
    kind: 'refused',
    http: 403,
    failInfo: 'badRequest',
    text: 'nobody has decided about the request in time',
    cause: 'The request has waited for a certificate manager for longer than `server.approval.expiresAfter`.',
    mend: 'Let the device enrol anew, and look at `leafgate ca pending` more often.',
  },
  approval_missing: {
    kind: 'refused',
    http: 403,
    failInfo: 'badRequest',
    text: 'the template needs the approval of a certificate manager',
    cause:
      'The CA was asked to issue a certificate of a template with `approval: certificateManager`, and nobody has approved it.',
    mend: 'Let the device try again; its request then waits in `leafgate ca pending`.',
  },
  request_unknown: {
    kind: 'refused',
    http: 404,
    text: 'there is no such request',
    cause: 'No request that waits, or waited, for a certificate manager has this number.',
    mend: 'List them: `leafgate ca pending`.',
  },
  request_decided: {
    kind: 'refused',
    http: 409,
    text: 'the request is decided already',
    cause: 'A certificate manager has approved or denied the request before, or it has expired.',
    mend: 'An approved one: revoke its certificate. A denied or expired one: let the device enrol anew.',
  },
  ra_signature: {
    kind: 'refused',
    http: 403,
    failInfo: 'badRequest',
    text: 'the request is not signed by a registration authority',
    cause:
      'The template asks for the RA’s signature (`raSignature: required`), and there is none, or it is not of a certificate that the configuration names, or that certificate is expired, revoked or without the purpose certificateRequestAgent.',
    mend: 'Compare `server.ra.signing` with `server.ra.authorizedSigners`; issue a new RA certificate if it has ended.',
  },
  validator_refused: {
    kind: 'refused',
    http: 403,
    failInfo: 'badRequest',
    text: 'the validator refused the request',
    cause:
      'The validation service refused with a code that has no row of its own; the audit entry keeps it verbatim.',
    mend: 'Run `leafgate explain` with the reference, or with Intune’s code. What it does not know is in the validation service’s documentation.',
  },
  certificate_revoked: {
    kind: 'refused',
    http: 403,
    failInfo: 'badRequest',
    text: 'the certificate of this request was revoked',
    cause: 'The same request was sent again after the certificate that it got was revoked or withheld.',
    mend: 'Let the device enrol with a new challenge.',
  },
  renewal_denied: {
    kind: 'refused',
    http: 403,
    failInfo: 'badRequest',
    text: 'this endpoint does not renew by certificate',
    cause: 'A RenewalReq came to an endpoint without `renewal` in its configuration.',
    mend: 'Let the device enrol again with a new challenge, or configure `renewal` of the endpoint.',
  },
  renewal_foreign: {
    kind: 'refused',
    http: 403,
    failInfo: 'badRequest',
    text: 'the request is not signed with a certificate of this CA',
    cause:
      'A renewal is signed with a certificate that is in no record of the endpoint’s CA: self-signed, of another CA, forged, or pruned.',
    mend: 'Let the device enrol with a challenge. One that bears the CA’s name and is not on record was forged: find out who sent it.',
  },
  renewal_revoked: {
    kind: 'refused',
    http: 403,
    failInfo: 'badRequest',
    text: 'the certificate to be renewed was revoked',
    cause: 'A renewal is signed with a certificate that was revoked.',
    mend: 'Nothing if the device was shut out; else let it enrol with a new challenge.',
  },
  renewal_held: {
    kind: 'refused',
    http: 403,
    failInfo: 'badRequest',
    text: 'the certificate to be renewed is on hold',
    cause: 'A renewal is signed with a certificate that is on hold.',
    mend: 'Release the certificate with `leafgate ca release`, or revoke it for good.',
  },
  renewal_expired: {
    kind: 'refused',
    http: 403,
    failInfo: 'badRequest',
    text: 'the certificate to be renewed is not valid now',
    cause: 'A renewal is signed with a certificate that has expired, or is not valid yet.',
    mend: 'Let the device enrol with a new challenge; let devices renew earlier.',
  },
  renewal_early: {
    kind: 'refused',
    http: 403,
    failInfo: 'badRequest',
    text: 'it is too early to renew the certificate',
    cause:
      'The certificate lasts longer than the `window` of the endpoint’s `renewal`, or the renewal period of its template.',
    mend: 'Let the device renew later, or widen `renewal.window` of the endpoint.',
  },
  renewal_template: {
    kind: 'refused',
    http: 403,
    failInfo: 'badRequest',
    text: 'the certificate to be renewed is of another kind',
    cause: 'The certificate was issued by another template than the one that the endpoint enrols for.',
    mend: 'Let the device renew where it enrolled, or enrol here with a challenge.',
  },
  renewal_names: {
    kind: 'refused',
    http: 403,
    failInfo: 'badRequest',
    text: 'a renewal cannot change the names of the certificate',
    cause: 'The request names another subject or subjectAltName than the certificate that it renews.',
    mend: 'Let the device ask for the names that it has; a device with new names enrols with a challenge. If neither is wrong, treat it as a security event.',
  },
  renewal_same_key: {
    kind: 'refused',
    http: 403,
    failInfo: 'badRequest',
    text: 'a renewal needs a new key here',
    cause: 'The request has the key of the certificate that it renews, and `renewal.key` is `changed`.',
    mend: 'Let the device make a new key, or set `renewal.key` of the endpoint to `changedOrSame`.',
  },
  root_refused: {
    kind: 'refused',
    http: 403,
    text: 'the root does not sign this',
    cause: 'The request was altered or signed already, or what is asked for exceeds what the root may give.',
    mend: 'The message names the reason and the way out. Nothing was signed.',
  },
  chain_invalid: {
    kind: 'refused',
    http: 403,
    text: 'the certificates make no chain to the root',
    cause: 'A certificate is of another root or of another key than the one that was named.',
    mend: 'Compare the fingerprints with the transcript of the ceremony, and name the files that belong together.',
  },
  token_refused: {
    kind: 'refused',
    http: 401,
    text: 'not authorised',
    cause: 'A bearer token, an enrolment token or a client secret is missing, wrong or expired.',
    mend: 'Make a new one; check the clock.',
  },
  access_denied: {
    kind: 'refused',
    http: 403,
    text: 'not permitted',
    cause: 'Whoever is signed in to the admin API has no role that may do this, or not for this endpoint.',
    mend: 'Make a token with the role that is needed: `leafgate admin token create --role …`.',
  },
  // --- unavailable: the world -----------------------------------------------------------------------------------
  validator_unreachable: {
    kind: 'unavailable',
    http: 503,
    failInfo: 'badRequest',
    text: 'the request cannot be validated now; try again',
    cause: 'The validation service (Intune) did not answer in time, or answered with an error of its own.',
    mend: 'At an Intune endpoint run `leafgate intune check`: it names what to mend. Else check the network path and the service’s health.',
  },
  notification_failed: {
    kind: 'unavailable',
    http: 503,
    failInfo: 'badRequest',
    text: 'the request cannot be completed now; try again',
    cause:
      'The certificate was made, but the validation service did not take successNotification: the device does not get it. If the service said no, or does not answer within an hour, the certificate is revoked; until then the service is told again every half minute.',
    mend: 'Nothing if it was a passing fault: the device asks again and gets the certificate. Else look up the service’s code and activity id in the audit list.',
  },
  key_unavailable: {
    kind: 'unavailable',
    http: 503,
    failInfo: 'badRequest',
    text: 'the request cannot be served now; try again',
    cause: 'A private key could not be used: its file, token or vault does not answer.',
    mend: 'Check the key provider named in the log.',
  },
  pfx_not_made: {
    kind: 'unavailable',
    http: 503,
    text: 'no connector brought the PFX in time',
    cause:
      'Profiles were exported, one of them brings a PFX, and no PKCS connector brought it while the command waited: none runs, or none reaches the MDM. Nothing was written, and a connector that still makes one revokes its certificate.',
    mend: 'See that the MDM runs, and a server with `server.pfx` that reaches it (its log says); then try again, with a longer `--wait` if it is only slow. `--without-pfx` leaves such profiles out.',
  },
  store_unavailable: {
    kind: 'unavailable',
    http: 503,
    failInfo: 'badRequest',
    text: 'the request cannot be served now; try again',
    cause: 'The database did not take a durable write.',
    mend: 'Check the disk: space, permissions, errors.',
  },
  store_read_only: {
    kind: 'unavailable',
    http: 503,
    failInfo: 'badRequest',
    text: 'the request cannot be served here; try again',
    cause:
      'The server is a standby (`server.standby`), or its database takes no writes: it shows what is there and issues nothing.',
    mend: 'Send devices, and give commands, to the primary. If it is lost, make the replica the primary and start this server without `standby`.',
  },
  approval_queue_full: {
    kind: 'unavailable',
    http: 503,
    failInfo: 'badRequest',
    text: 'too many requests wait for a decision; try again later',
    cause:
      'As many requests of the endpoint wait for a certificate manager as `server.approval.waitingMax` allows.',
    mend: 'Decide about those in `leafgate ca pending`; if they are not your devices’, give the endpoint a challenge.',
  },
  enrolment_busy: {
    kind: 'unavailable',
    http: 503,
    failInfo: 'badRequest',
    text: 'the same request is being served; try again',
    cause: 'The request arrived again while its first copy was still being worked on.',
    mend: 'Nothing: the retry gets the same certificate.',
  },
  rate_limited: {
    kind: 'unavailable',
    http: 429,
    text: 'too many requests; try again later',
    cause:
      'A source sent more wrong challenges, or more requests, than the endpoint’s `limits` allow, or all together did. The log names the source.',
    mend: 'Find out why it is refused so often: an old challenge in a profile, or someone who guesses. If many devices share the address, raise `limits`.',
  },
  overloaded: {
    kind: 'unavailable',
    http: 503,
    text: 'the server is busy; try again later',
    cause:
      'More requests came than could have been answered within half a second, or their bodies took more memory than there is for them (docs/limits.md); these were not even begun.',
    mend: 'Nothing if it passes: devices try again. Else give the server more cores or start a second one.',
  },
  tunnel_unavailable: {
    kind: 'unavailable',
    http: 503,
    text: 'the service is not connected; try again',
    cause: 'No connector is connected to the edge, or the connector cannot reach the SCEP server.',
    mend: 'Check that the connector runs and that its certificate is valid.',
  },
  tunnel_busy: {
    kind: 'unavailable',
    http: 429,
    text: 'too many requests at once; try again',
    cause:
      'The edge, or every connector that is connected to it, already carries as many requests as it may.',
    mend: 'Nothing if it passes: devices try again. Else find out why the SCEP server answers slowly.',
  },
  tunnel_timeout: {
    kind: 'unavailable',
    http: 504,
    text: 'the service did not answer in time',
    cause: 'The SCEP server did not answer within the edge’s time limit.',
    mend: 'Check the server’s log at that time.',
  },
  server_unreachable: {
    kind: 'unavailable',
    http: 503,
    text: 'the server cannot be reached; try again',
    cause: 'A device got no answer from the MDM or SCEP server, or one that asks it to come back later.',
    mend: 'Check name resolution, the network path, the TLS certificate and both clocks. After HTTP 429 or 503 come again later: the server’s log has the reason.',
  },
  publish_failed: {
    kind: 'unavailable',
    http: 503,
    text: 'what is published cannot be brought to its target; it is tried again',
    cause:
      'A folder, container or bucket cannot be reached, refuses the credentials, or holds a CRL with a higher number.',
    mend: 'The message names the target and its answer. A higher number there: the database is older than what it published; see docs/publishing.md.',
  },
  // --- misconfigured: refuses to start ----------------------------------------------------------------------------
  config_invalid: {
    kind: 'misconfigured',
    http: 500,
    text: 'the configuration is not valid',
    cause: 'A key of the configuration file is unknown, missing or has an impossible value.',
    mend: 'The message names the key and what it takes.',
  },
  command_invalid: {
    kind: 'misconfigured',
    http: 500,
    text: 'the command cannot be run as it was given',
    cause:
      'An option or argument of a command is missing, has an impossible value, or names what is not there.',
    mend: 'The same command with --help lists what it takes.',
  },
  key_capability: {
    kind: 'misconfigured',
    http: 500,
    text: 'a key cannot do what it is configured for',
    cause:
      'A key or its certificate is of the wrong kind: an RA key must be RSA, a certificate must match its key.',
    mend: 'The message names the key and what to use instead.',
  },
  key_locked: {
    kind: 'misconfigured',
    http: 500,
    text: 'a private key cannot be opened',
    cause:
      'The key file is missing, readable by others, or its passphrase is wrong; or a token or vault refuses the PIN or identity, or has no such key.',
    mend: 'Check the place that the message names, then run `leafgate key check`. Files of secrets have mode 0600.',
  },
  key_exists: {
    kind: 'misconfigured',
    http: 500,
    text: 'a private key exists already',
    cause: 'A new key was to be written where a file is; key files are never overwritten.',
    mend: 'Use the key that is there, or move its file away first.',
  },
  file_exists: {
    kind: 'misconfigured',
    http: 500,
    text: 'a file exists already',
    cause:
      'A new file was to be written where another one is; certificates and requests are never overwritten.',
    mend: 'Name another file, or move the old one away first.',
  },
  file_unwritable: {
    kind: 'misconfigured',
    http: 500,
    text: 'a file cannot be written',
    cause: 'The folder is missing or not yours, the disk is full, or the medium is read-only.',
    mend: 'Check the folder that is named in the message. A command goes on where it stopped when it is run again; a server tries again by itself.',
  },
  root_folder: {
    kind: 'misconfigured',
    http: 500,
    text: 'the folder of the offline root cannot be used',
    cause: 'It holds no root, holds one already, is damaged, or another command works in it.',
    mend: 'Name the folder that `leafgate ca init-root` made, with `--root`. If it is damaged, restore its copy.',
  },
  ceremony_answers: {
    kind: 'misconfigured',
    http: 500,
    text: 'the ceremony lacks an answer',
    cause:
      'An option or a key of the answers file is missing, unknown or impossible, or the operator said no.',
    mend: 'The message names it. See docs/ceremony.md for every key of the answers file.',
  },
  publish_url: {
    kind: 'misconfigured',
    http: 500,
    text: 'a URL of the certificates does not serve what was published',
    cause: 'A URL of `crlUrls` or `caIssuersUrls` answers something else, or nothing.',
    mend: 'The message names the URL. Publish to where it points, or set `publish.urlCheck` to `warn`.',
  },
  runtime_unfit: {
    kind: 'misconfigured',
    http: 500,
    text: 'this runtime cannot serve SCEP safely',
    cause: 'The start-up self-test failed: PKCS #1 v1.5 decryption with implicit rejection is missing.',
    mend: 'Use Node.js 24 or newer with its own OpenSSL 3.2 or newer.',
  },
  store_newer: {
    kind: 'misconfigured',
    http: 500,
    text: 'the database belongs to a newer version',
    cause: 'The schema version in the database is higher than this program knows.',
    mend: 'Run the newer version, or restore a backup from before the upgrade.',
  },
  store_older: {
    kind: 'misconfigured',
    http: 500,
    text: 'the database belongs to an older version',
    cause: 'A standby only reads, and the database lacks steps of the schema that this program needs.',
    mend: 'Update the primary first and start it once; its steps reach the replica by themselves.',
  },
  backup_failed: {
    kind: 'misconfigured',
    http: 500,
    text: 'the backup cannot be made or used',
    cause: 'A file is in the way, or the backup is not what its manifest describes.',
    mend: 'Read the message: name another file, take another backup, or allow the store to be set aside.',
  },
  store_not_durable: {
    kind: 'misconfigured',
    http: 500,
    text: 'the database does not keep what it commits',
    cause:
      'PostgreSQL runs with `fsync`, `full_page_writes` or `synchronous_commit` off: a power failure would lose certificates.',
    mend: 'Switch them on for this database; see docs/database.md.',
  },
  store_driver: {
    kind: 'misconfigured',
    http: 500,
    text: 'the part that speaks to PostgreSQL is not installed',
    cause: 'The optional package `pg` is missing.',
    mend: 'Install it beside Leafgate: `npm install pg`.',
  },
  audit_damaged: {
    kind: 'refused',
    http: 409,
    text: 'the audit log is damaged',
    cause:
      'An entry of the audit log was changed or removed in the database, or a checkpoint does not fit it.',
    mend: 'Keep the database as evidence, find out who could write it, and compare it with a backup.',
  },
  store_locked: {
    kind: 'misconfigured',
    http: 500,
    text: 'another server uses this data folder',
    cause: 'Two servers on one data folder would take each other’s work for dead.',
    mend: 'Stop the other server, or give this one a data folder of its own.',
  },
  listen_failed: {
    kind: 'misconfigured',
    http: 500,
    text: 'a listener could not be opened',
    cause: 'The address is in use, not on this machine, or not permitted.',
    mend: 'Change the address in the configuration or stop the other program.',
  },
  device_folder: {
    kind: 'misconfigured',
    http: 500,
    text: 'the device’s folder cannot be used',
    cause: 'The folder holds no device, holds one already, is damaged, or shows secrets to other users.',
    mend: 'The message names the file. Join into an empty folder, or set the mode of its secrets to 0600.',
  },
  // --- bug: our own invariants --------------------------------------------------------------------------------------
  lint_failed: {
    kind: 'bug',
    http: 500,
    failInfo: 'badRequest',
    text: 'the certificate could not be made',
    cause: 'The certificate to be signed broke a rule; it was not signed.',
    mend: 'The audit entry names the rule. Correct the template, or raise it as a bug.',
  },
  internal: {
    kind: 'bug',
    http: 500,
    failInfo: 'badRequest',
    text: 'an internal error occurred',
    cause: 'An invariant of the program broke.',
    mend: 'Raise it as a bug with the reference and the log lines around it.',
  },
} as const satisfies Record<string, ErrorRow>;

/** Every error code, in the order of the table. */
export type ErrorCode = keyof typeof table;

/** The error table, by code. */
export const errorTable: Readonly<Record<ErrorCode, ErrorRow>> = table;

/**
 * A broken message or a broken world. `message` is for the log and the administrator; the doors send only
 * `errorTable[code].text`.
 */
export class PkiError extends Error {
  readonly code: ErrorCode;

  constructor(code: ErrorCode, message: string, options?: { readonly cause?: unknown }) {
    super(message, options);
    this.name = 'PkiError';
    this.code = code;
  }

  get kind(): ErrorKind {
    return errorTable[this.code].kind;
  }
}

/** The code of anything that was thrown: its own if it is a `PkiError`, else `internal`. */
export function errorCodeOf(thrown: unknown): ErrorCode {
  return thrown instanceof PkiError ? thrown.code : 'internal';
}
