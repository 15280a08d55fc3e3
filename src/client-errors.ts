/**
 * What devices and SCEP clients say when an enrolment fails, and where its cause is to be looked for on our side: each
 * code or sentence once. `leafgate explain` reads it, and `docs/client-errors.md` is made from it.
 */
import { type HResultName, hResults } from './agent/h-result.ts';
import { type ErrorCode, type ErrorRow, errorTable, type FailInfo } from './errors.ts';

/** Who shows an error. */
export const errorClients = [
  'Windows',
  'Windows event log',
  'NDES event log',
  'Intune Certificate Connector',
  'Apple',
  'Android',
  'strongSwan',
  'sscep',
  'certmonger',
  'micromdm scepclient',
  'Cisco IOS',
  'any SCEP client',
  'any HTTP client',
] as const;

/** One of them. */
export type ErrorClient = (typeof errorClients)[number];

/** How well the meaning is founded. */
export type ErrorBasis =
  /** The maker, or an RFC, says so. */
  | 'documented'
  /** Read in the client's public source code, or seen in our runs with it. */
  | 'seen'
  /** People report it in public threads; it may have other causes. */
  | 'reported';

/** One error of a client. */
export interface ClientError {
  readonly client: ErrorClient;
  /** As the client shows it: `0x8010002c`, `22013`, `32`, or the beginning of a sentence. */
  readonly code: string;
  /** Its symbolic name, if it has one. */
  readonly name?: string;
  /** What the client is saying. */
  readonly means: string;
  /** Usual causes on the server's side, the most frequent first. */
  readonly causes: readonly string[];
  /** What to look at, in this order. */
  readonly look: readonly string[];
  /** Our own codes that end in it. */
  readonly ours?: readonly ErrorCode[];
  readonly basis: ErrorBasis;
}

const AUDIT =
  'The refusal in `leafgate audit list --event enrolment.`; with its reference, `leafgate explain REF`.';
const PROFILE_URL =
  'The SCEP URL of the profile: `curl -i URL?operation=GetCACaps` from the device’s network must show keywords.';
const RA_CERTIFICATES =
  '`leafgate scep decode` on the GetCACert answer: the RA certificates, their key usage and purposes.';
const CAPTURED = 'A captured message: `leafgate scep decode FILE` names what is wrong in it.';
const NOT_REACHED =
  'Whether the request reached the server at all: its log, then the edge’s, then the proxy’s.';

const rows: readonly (readonly [ErrorCode, ErrorRow])[] = Object.entries(errorTable) as [
  ErrorCode,
  ErrorRow,
][];

/** Our codes that a SCEP client sees as this failInfo. */
const codesWithFailInfo = (failInfo: FailInfo): readonly ErrorCode[] =>
  rows.filter(([, row]) => row.failInfo === failInfo && row.kind !== 'unavailable').map(([code]) => code);

/** Our codes that a client sees as this HTTP status. */
const codesWithStatus = (status: number): readonly ErrorCode[] =>
  rows
    .filter(([, row]) => row.http === status && row.kind !== 'misconfigured')
    .filter(([, row]) => row.kind === 'unavailable' || row.failInfo === undefined)
    .map(([code]) => code);

type Rest = Omit<ClientError, 'client' | 'code' | 'name' | 'means'>;

function windows(code: string, name: string, means: string, rest: Rest): ClientError {
  return { client: 'Windows', code, name, means, ...rest };
}

/** One that our own agent writes too: its number and sentence stand there. */
function shared(name: HResultName, rest: Rest): ClientError {
  const { value, text } = hResults[name];
  return windows(`0x${value.toString(16).padStart(8, '0')}`, name, text, rest);
}

/** Every error that is known, by client. */
export const clientErrors: readonly ClientError[] = [
  // --- Windows: HRESULTs ----------------------------------------------------------------------------------------
  shared('SCARD_E_NO_SUCH_CERTIFICATE', {
    causes: [
      'GetCACert was answered, but Windows found no RA certificate that it would use: with one certificate for both, KeyUsage must have digitalSignature and keyEncipherment; the purposes must have Certificate Request Agent or serverAuth. It never sends a PKIOperation then.',
    ],
    look: [RA_CERTIFICATES, 'Whether the RA certificates have expired: `leafgate config check`.'],
    basis: 'reported',
  }),
  shared('CRYPT_E_HASH_VALUE', {
    causes: [
      'The CA thumbprint of the profile is that of no certificate in the GetCACert answer: the profile’s “root certificate” is another CA’s, or an old one of a renewed CA. Windows goes by the issuing CA, Android by the root.',
    ],
    look: [
      'The trusted certificate that the SCEP profile names, against the thumbprints that `leafgate scep decode` prints of the GetCACert answer.',
      'Whether the CA was renewed lately.',
    ],
    basis: 'documented',
  }),
  shared('CERT_E_UNTRUSTEDROOT', {
    causes: [
      'The root certificate is not on the device: its trusted-certificate profile is assigned to another group than the SCEP profile.',
      'The RA certificates are still those of the CA before its renewal.',
      'The HTTPS certificate of the edge is of a root that the device does not know.',
    ],
    look: ['Assignments of both profiles.', RA_CERTIFICATES],
    basis: 'documented',
  }),
  shared('CERT_E_EXPIRED', {
    causes: [
      'An RA certificate, the issuing CA or the web server certificate has expired.',
      'The device’s clock is wrong; during set-up it may be hours slow.',
    ],
    look: [RA_CERTIFICATES, 'The device’s clock.'],
    basis: 'documented',
  }),
  shared('TRUST_E_CERT_SIGNATURE', {
    causes: [
      'A certificate of the answer was not signed by the issuer that it names, or a proxy changed the answer.',
    ],
    look: [RA_CERTIFICATES, 'Proxies that rewrite bodies.'],
    basis: 'documented',
  }),
  shared('NTE_BAD_PUBLIC_KEY', {
    causes: ['The certificate in the answer is not for the key of the request.'],
    look: [CAPTURED],
    basis: 'documented',
  }),
  shared('NTE_FAIL', {
    causes: [
      'The device could not make its key: the TPM, or its firmware. Seldom the server.',
      'In Intune’s own reports: Leafgate tells it when its CA could not sign.',
    ],
    look: ['Key storage and size of the profile: many TPMs make RSA keys of 2048 bits at most.'],
    basis: 'documented',
  }),
  shared('CRYPT_E_ASN1_BADTAG', {
    causes: [
      'Something else than a SCEP answer arrived: a sign-in page, an error page, an answer that was cut off.',
    ],
    look: [
      PROFILE_URL,
      'Pre-authentication of the reverse proxy: it must be off (pass-through) for SCEP.',
      CAPTURED,
    ],
    ours: ['server_answer'],
    basis: 'documented',
  }),
  shared('ERROR_WINHTTP_TIMEOUT', {
    causes: ['A firewall drops the connection, or the validation service answers too slowly.'],
    look: [NOT_REACHED, 'Entries `validator_unreachable` and `tunnel_timeout` at that time.'],
    ours: ['tunnel_timeout', 'validator_unreachable'],
    basis: 'documented',
  }),
  shared('ERROR_WINHTTP_NAME_NOT_RESOLVED', {
    causes: ['The host name of the SCEP URL has no address in the device’s network.'],
    look: ['Name resolution there.', 'The machine’s WinHTTP proxy: enrolment runs as SYSTEM.'],
    basis: 'documented',
  }),
  shared('ERROR_WINHTTP_CANNOT_CONNECT', {
    causes: ['Nobody listens there, or a firewall refuses.'],
    look: ['That the edge runs and listens.', 'Firewalls on the way.'],
    basis: 'documented',
  }),
  shared('ERROR_WINHTTP_CONNECTION_ERROR', {
    causes: [
      'A proxy or firewall cut the connection: a URL or body that is too long for it, a TLS version that it refuses.',
    ],
    look: ['Limits of proxies: request lines of 64 KiB, bodies of 2 MiB.', NOT_REACHED],
    basis: 'documented',
  }),
  shared('ERROR_WINHTTP_SECURE_FAILURE', {
    causes: [
      'The web server certificate is of a root that the device does not trust, has expired, or is for another name.',
      'The listener takes TLS 1.3 alone: Windows’ SCEP client speaks up to 1.2.',
      'The device’s clock is wrong.',
    ],
    look: ['`openssl s_client -tls1_2 -connect HOST:443 -servername HOST`', 'The device’s clock.'],
    basis: 'documented',
  }),
  shared('ERROR_WINHTTP_INVALID_SERVER_RESPONSE', {
    causes: [
      'The listener asks for a client certificate in the middle of the connection.',
      'Something that is not HTTP answers at that port.',
    ],
    look: ['Client-certificate settings of the proxy before the SCEP path: off.'],
    basis: 'reported',
  }),
  shared('E_FAIL', {
    causes: ['Windows says no more. Behind it is often a refusal of the server.'],
    look: [AUDIT, 'The events before it in the same log.'],
    basis: 'documented',
  }),
  windows('0x800700ce', 'ERROR_FILENAME_EXCED_RANGE', 'The file name or extension is too long.', {
    causes: ['The answer was an HTML page: Windows takes it for something else and reports this.'],
    look: [PROFILE_URL, 'Error pages that a proxy puts in the place of ours.'],
    ours: ['server_answer'],
    basis: 'reported',
  }),
  windows('0x80070057', 'E_INVALIDARG', 'A parameter is not valid.', {
    causes: ['The profile: a subject name or SAN that cannot be encoded, no key usage, an empty thumbprint.'],
    look: ['The subject name format of the profile, with the device’s own values filled in.'],
    basis: 'reported',
  }),
  windows('0x80070005', 'E_ACCESSDENIED', 'Access is denied.', {
    causes: [
      'A SCEP server that stands on NDES: its service account may not enrol. Leafgate never sends it.',
    ],
    look: ['That the profile’s URL is Leafgate’s.'],
    basis: 'documented',
  }),
  windows('0x800706ba', 'RPC_S_SERVER_UNAVAILABLE', 'The RPC server is unavailable.', {
    causes: ['An NDES or an AD CS is meant: Leafgate speaks no RPC. The profile points to the old server.'],
    look: ['The SCEP URL of the profile.'],
    basis: 'documented',
  }),
  windows('0x80091004', 'CRYPT_E_INVALID_MSG_TYPE', 'The type of a cryptographic message is not valid.', {
    causes: ['A message of a kind that was not expected.'],
    look: [CAPTURED],
    basis: 'documented',
  }),
  windows('0x8009100e', 'CRYPT_E_SIGNER_NOT_FOUND', 'The signer cannot be found.', {
    causes: ['The CertRep does not carry the certificate that signed it.'],
    look: [CAPTURED],
    basis: 'documented',
  }),
  windows(
    '0x80091006',
    'CRYPT_E_AUTH_ATTR_MISSING',
    'The cryptographic message does not contain an expected authenticated attribute.',
    {
      causes: [
        'The CertRep lacks an attribute that Windows wants, most often senderNonce or recipientNonce.',
      ],
      look: [CAPTURED],
      basis: 'reported',
    },
  ),
  windows(
    '0x8009100b',
    'CRYPT_E_RECIPIENT_NOT_FOUND',
    'The recipient of the enveloped message cannot be found.',
    {
      causes: ['The answer was encrypted to another certificate than the one that signed the request.'],
      look: [CAPTURED],
      basis: 'documented',
    },
  ),
  windows('0x80090005', 'NTE_BAD_DATA', 'Bad data.', {
    causes: [
      'An envelope that the key does not open: the RA certificates were replaced and the device, or a proxy’s cache, holds the old ones.',
    ],
    look: [RA_CERTIFICATES, 'Caches before the GetCACert answer.'],
    ours: ['scep_envelope'],
    basis: 'documented',
  }),
  windows('0x80090008', 'NTE_BAD_ALGID', 'The algorithm is not valid.', {
    causes: [
      'The hash algorithm of the profile is not offered by GetCACaps, or a message was signed by one that Windows does not know, such as RSASSA-PSS.',
    ],
    look: ['`hash algorithm` of the profile, and GetCACaps of the endpoint.'],
    ours: ['algorithm_unsupported'],
    basis: 'documented',
  }),
  windows('0x80092004', 'CRYPT_E_NOT_FOUND', 'An object or a property cannot be found.', {
    causes: [
      'A certificate that Windows looks for is not there: the RA’s in the GetCACert answer, or the device’s own in its store.',
    ],
    look: [RA_CERTIFICATES],
    basis: 'documented',
  }),
  windows('0x80092013', 'CRYPT_E_REVOCATION_OFFLINE', 'The revocation server was offline.', {
    causes: ['The CRL or OCSP URL in the certificate does not answer, or the CRL has expired.'],
    look: [
      'The CRL itself: `leafgate ca crl NAME FILE` writes the one that is current.',
      'The URLs of the certificate, from the device’s network.',
    ],
    basis: 'documented',
  }),
  windows(
    '0x80092012',
    'CRYPT_E_NO_REVOCATION_CHECK',
    'The revocation of the certificate could not be checked.',
    {
      causes: ['The certificate names no CRL and no OCSP responder, or they cannot be read.'],
      look: ['`crlUrls` and `ocspUrls` of the issuer.'],
      basis: 'documented',
    },
  ),
  windows('0x800b010a', 'CERT_E_CHAINING', 'A certificate chain could not be built to a trusted root.', {
    causes: ['The issuing CA’s certificate is not on the device, and its AIA URL cannot be reached.'],
    look: [
      'Trusted-certificate profiles for root and issuing CA.',
      '`caIssuersUrls` from the device’s network.',
    ],
    basis: 'documented',
  }),
  windows('0x800b010c', 'CERT_E_REVOKED', 'A certificate was revoked by its issuer.', {
    causes: [
      'The device’s certificate was revoked: by an operator, by the MDM, or because its notification failed.',
    ],
    look: ['`leafgate ca list --serial NUMBER`: state and reason.'],
    ours: ['certificate_revoked', 'notification_failed'],
    basis: 'documented',
  }),
  windows('0x800b010f', 'CERT_E_CN_NO_MATCH', 'The certificate’s name does not match.', {
    causes: ['The web server certificate of the edge is for another host name than the SCEP URL’s.'],
    look: ['The host name of the SCEP URL.'],
    basis: 'documented',
  }),
  windows('0x800b0110', 'CERT_E_WRONG_USAGE', 'The certificate is not valid for the requested usage.', {
    causes: ['A certificate lacks a purpose: the device’s clientAuth, or the server’s serverAuth.'],
    look: ['Purposes of the template.'],
    ours: ['eku_mismatch'],
    basis: 'documented',
  }),
  windows(
    '0x80094800',
    'CERTSRV_E_UNSUPPORTED_CERT_TYPE',
    'The CA does not support the requested certificate template.',
    {
      causes: ['AD CS behind NDES: the template that NDES names is not to be had. Leafgate never sends it.'],
      look: ['The SCEP URL of the profile.'],
      basis: 'documented',
    },
  ),
  windows(
    '0x80094811',
    'CERTSRV_E_KEY_LENGTH',
    'The public key does not have the minimum size that the template asks for.',
    {
      causes: ['The profile’s key size is below the template’s minimum.'],
      look: ['Key size of the profile: 2048 at least.'],
      ours: ['key_size_mismatch'],
      basis: 'documented',
    },
  ),
  windows(
    '0x80094012',
    'CERTSRV_E_TEMPLATE_DENIED',
    'The permissions on the template do not allow this enrolment.',
    {
      causes: ['Leafgate tells it to Intune when its own policy refuses what Intune accepted.'],
      look: [AUDIT],
      ours: ['template_denied', 'subject_mismatch', 'san_mismatch', 'eku_mismatch'],
      basis: 'documented',
    },
  ),
  windows('0x80094014', 'CERTSRV_E_ADMIN_DENIED_REQUEST', 'An administrator denied the request.', {
    causes: ['A certificate manager said no.'],
    look: [AUDIT],
    ours: ['approval_denied'],
    basis: 'documented',
  }),
  windows('0x800b0114', 'CERT_E_INVALID_NAME', 'The certificate has a name that is not valid.', {
    causes: ['The subject or a SAN is outside the name constraints of the CA, or forbidden by the template.'],
    look: [AUDIT],
    ours: ['subject_mismatch', 'san_mismatch'],
    basis: 'documented',
  }),
  windows(
    '0x80072f06',
    'ERROR_INTERNET_SEC_CERT_CN_INVALID',
    'The host name in the certificate is not that of the server.',
    {
      causes: ['The web server certificate of the edge is for another host name than the SCEP URL’s.'],
      look: ['The host name of the SCEP URL.'],
      basis: 'documented',
    },
  ),
  windows(
    '0x80072f0d',
    'ERROR_INTERNET_INVALID_CA',
    'The authority of the server’s certificate is not known.',
    {
      causes: ['The web server certificate is of a root that the device does not trust.'],
      look: ['Trusted-certificate profiles, or a public certificate for the edge.'],
      basis: 'documented',
    },
  ),
  windows(
    '0x02ab0003',
    'MDM status',
    'CspExecute was accepted: the enrolment goes on in the background. No error.',
    {
      causes: ['None: event 306 shows it when the profile’s Enroll command was taken.'],
      look: ['The events 36, 39 and 32 that follow.'],
      basis: 'documented',
    },
  ),
  // --- Windows: event log -----------------------------------------------------------------------------------------
  {
    client: 'Windows event log',
    code: '30',
    means:
      'Events up to 39 of DeviceManagement-Enterprise-Diagnostics-Provider/Admin tell of SCEP; this one is not documented in what we know.',
    causes: ['Read it with the events 31, 32, 36 and 39 of the same minute.'],
    look: ['The HRESULT in its text: `leafgate explain 0x…`.'],
    basis: 'reported',
  },
  {
    client: 'Windows event log',
    code: '31',
    means: 'As 30, not documented in what we know. In NDES’s own log 31 is another event: see there.',
    causes: ['Read it with the events 32, 36 and 39 of the same minute.'],
    look: ['The HRESULT in its text: `leafgate explain 0x…`.'],
    basis: 'reported',
  },
  {
    client: 'Windows event log',
    code: '32',
    means: 'SCEP: the certificate enrolment failed. Its text has the HRESULT.',
    causes: ['Anything; most often the CA thumbprint (`0x80091007`), or a refusal of the server.'],
    look: ['The HRESULT in its text: `leafgate explain 0x…`.', AUDIT],
    basis: 'documented',
  },
  {
    client: 'Windows event log',
    code: '36',
    means: 'SCEP: the certificate request was generated; its text shows the URL with `/pkiclient.exe`.',
    causes: [
      'None: it is information. If neither 39 nor 32 follows, the request did not arrive or was not answered.',
    ],
    look: [NOT_REACHED],
    basis: 'documented',
  },
  {
    client: 'Windows event log',
    code: '39',
    means: 'SCEP: the certificate was installed.',
    causes: ['None.'],
    look: ['If Wi-Fi still fails, the relying party: chain, revocation, mapping of names.'],
    basis: 'documented',
  },
  {
    client: 'Windows event log',
    code: '306',
    means: 'SCEP: CspExecute; the device has taken the command to enrol.',
    causes: ['None.'],
    look: ['The events 36, 39 and 32 that follow.'],
    basis: 'documented',
  },
  {
    client: 'Windows event log',
    code: '307',
    means: 'Failed to initialize SCEP enrollment with NDES Server: GetCACaps or GetCACert failed.',
    causes: [
      'The URL cannot be reached, is not a SCEP server’s, or TLS fails.',
      'The GetCACert answer has no certificate that Windows would use.',
    ],
    look: ['The HRESULT in its text.', PROFILE_URL, RA_CERTIFICATES],
    basis: 'documented',
  },
  {
    client: 'Windows event log',
    code: '86',
    name: 'CertificateServicesClient-CertEnroll',
    means:
      'SCEP certificate enrollment initialization failed; its text names the stage (GetCACaps, GetCACert) and an HRESULT.',
    causes: [
      'As 307. Windows also enrols attestation keys with Microsoft: an event whose URL ends in `microsoftaik.azure.net` is none of ours.',
    ],
    look: ['The URL in its text first.', 'The HRESULT: `leafgate explain 0x…`.'],
    basis: 'documented',
  },
  {
    client: 'Windows event log',
    code: '87',
    name: 'CertificateServicesClient-CertEnroll',
    means: 'SCEP certificate enrollment failed; its text has PkiStatus, FailInfo and an HRESULT.',
    causes: ['A signed FAILURE of the server: see the failInfo (`badRequest`, …).'],
    look: ['The reference LG-… if the text of the answer is shown.', AUDIT],
    basis: 'documented',
  },
  // --- NDES, connector --------------------------------------------------------------------------------------------
  ...(
    [
      ['2', 'The service could not start.', 'Its account, or its RA certificates.'],
      ['6', 'No permission to enrol for a password.', 'Template permissions of the user at mscep_admin.'],
      ['7', 'GetCACert failed.', 'RA certificates missing or expired.'],
      [
        '16',
        'An HTTP message could not be decoded.',
        'A message that is cut off or is no base64; Leafgate: `scep_body`.',
      ],
      [
        '17',
        'transactionID, messageType or signer are missing.',
        'A broken client; Leafgate: `scep_attributes`, `scep_body`.',
      ],
      [
        '18',
        'The inner message could not be decrypted.',
        'The client encrypted to another certificate; Leafgate: `scep_envelope`.',
      ],
      [
        '28',
        'A renewal was not taken.',
        'The certificate that signed it is of another CA, or the CA is a standalone one.',
      ],
      [
        '29',
        'The challenge password is wrong or was used.',
        'Leafgate: `challenge_unknown`, `challenge_reused`, `challenge_expired`.',
      ],
      [
        '31',
        'The request could not be submitted to the CA.',
        'Template, key size, RPC, or a CRL that is offline; Leafgate: `template_denied`, `key_size_mismatch`.',
      ],
    ] as const
  ).map(
    ([code, means, cause]): ClientError => ({
      client: 'NDES event log',
      code,
      means,
      causes: [cause],
      look: [
        'An NDES wrote it, not Leafgate: while both run, find out which of them the profile’s URL names.',
      ],
      basis: 'documented',
    }),
  ),
  ...(
    [
      ['4000', 'A SCEP certificate was issued and Intune was notified.', 'None.'],
      ['4001', 'Issuing failed and Intune was notified.', 'The CA or its template.'],
      [
        '4002',
        'The request was processed, but Intune could not be notified.',
        'Leafgate: `notification_failed`; it withholds the certificate.',
      ],
      ['4003', 'A SCEP request was received.', 'None.'],
      [
        '4005',
        'Intune refused the challenge.',
        'Leafgate: `challenge_invalid`, `challenge_expired`, `subject_mismatch` and the like.',
      ],
      ['4007', 'The CA did not issue.', 'The CA or its template.'],
      ['4009', 'An attempt to notify Intune failed.', 'Network, or Intune itself.'],
      ['0x411', 'CRPSCEPChallenge_Expired: the challenge has expired.', 'Leafgate: `challenge_expired`.'],
      ['0x408', 'CRPSCEPCert_NotFound: a certificate was not found.', 'The connector’s own certificate.'],
      ['0x400', 'The CA is not available.', 'AD CS, or the way to it.'],
    ] as const
  ).map(
    ([code, means, cause]): ClientError => ({
      client: 'Intune Certificate Connector',
      code,
      means,
      causes: [cause],
      look: ['Microsoft’s connector wrote it, not Leafgate: it is not needed beside Leafgate.'],
      basis: 'documented',
    }),
  ),
  // --- Apple --------------------------------------------------------------------------------------------------------
  ...(
    [
      [
        '22000',
        'Invalid key usage.',
        'Key usage of the payload, or of the certificates that were served.',
        RA_CERTIFICATES,
      ],
      [
        '22001',
        'A key pair could not be made.',
        'Key size or type of the payload.',
        'Key size of the payload.',
      ],
      [
        '22002',
        'The CA’s answer (GetCACert) is not valid.',
        'Not a certificate or PKCS #7: a web page, an empty body; or the wrong content type.',
        PROFILE_URL,
      ],
      [
        '22003',
        'The registration authority’s response is invalid.',
        'The GetCACert answer lacks RA certificates with the key usage that Apple looks for, or a chain is signed by RSASSA-PSS; or the payload’s CA is an intermediate.',
        RA_CERTIFICATES,
      ],
      [
        '22004',
        'The certificate configuration is not supported.',
        'The served certificates fit no way of enrolling that the device knows.',
        RA_CERTIFICATES,
      ],
      ['22005', 'Network error.', 'The URL cannot be reached, or TLS fails.', PROFILE_URL],
      [
        '22006',
        'The CA does not have the required capability.',
        'GetCACaps has no digest of SHA-1, SHA-256, SHA-512 or no cipher that the device has; or a proxy answered in its place.',
        PROFILE_URL,
      ],
      [
        '22007',
        'The signed certificate is not valid.',
        'The certificate in the answer does not fit the request.',
        CAPTURED,
      ],
      [
        '22008',
        'The identity could not be made: key and certificate do not match.',
        'The CertRep has another certificate first than the device’s. Leafgate sends the device’s alone.',
        CAPTURED,
      ],
      [
        '22011',
        'The request could not be made.',
        'Subject or SAN of the payload.',
        'The subject of the payload.',
      ],
      [
        '22013',
        'The SCEP server returned an invalid response.',
        'The server refused (a FAILURE shows like this too), answered with HTTP 4xx or 5xx, or the served certificates were not liked: an expired one in the chain is enough.',
        AUDIT,
      ],
    ] as const
  ).map(
    ([code, means, cause, look]): ClientError => ({
      client: 'Apple',
      code,
      name: 'MCSCEPErrorDomain',
      means,
      causes: [cause],
      look: [
        look,
        'The device’s log: `log stream --predicate \'process == "mdmclient" OR process == "profiled"\'` on a Mac.',
      ],
      basis: ['22003', '22008', '22013'].includes(code) ? 'reported' : 'documented',
    }),
  ),
  {
    client: 'Apple',
    code: '15002',
    name: 'MDM-SCEP',
    means: 'macOS did not get its certificate, although the server may have answered 200.',
    causes: [
      'The answer was a FAILURE, or a certificate without what the device wants; renewals are the usual case.',
    ],
    look: [AUDIT, CAPTURED],
    basis: 'reported',
  },
  {
    client: 'Apple',
    code: '-67731',
    name: 'NSOSStatusErrorDomain',
    means: 'The key usage is incorrect: SCEP failed to find candidate RA certificates.',
    causes: [
      'The answer came as `application/x-x509-ca-ra-cert` and has no certificate with digitalSignature and none with keyEncipherment beside the CA’s.',
    ],
    look: [RA_CERTIFICATES],
    basis: 'reported',
  },
  {
    client: 'Apple',
    code: '-50',
    name: 'errSecParam',
    means: 'A parameter is not valid.',
    causes: ['One certificate does everything and lacks digitalSignature or keyEncipherment.'],
    look: [RA_CERTIFICATES],
    basis: 'reported',
  },
  {
    client: 'Apple',
    code: '-603',
    name: 'NSOSStatusErrorDomain',
    means: 'SCEPRequestCertSignature failed: no usable answer to the PKIOperation.',
    causes: ['The server answered HTTP 5xx, or the device sent an empty body after a redirect.'],
    look: [NOT_REACHED, 'Redirects from HTTP to HTTPS: name the final URL in the profile.'],
    basis: 'reported',
  },
  {
    client: 'Apple',
    code: '4001',
    name: 'MCInstallationErrorDomain',
    means: 'Profile installation failed; the error below it names the cause.',
    causes: ['See the MCSCEPErrorDomain code below it.'],
    look: ['The nested error in the device’s log.'],
    basis: 'reported',
  },
  {
    client: 'Apple',
    code: '1009',
    name: 'MCProfileErrorDomain',
    means: 'The profile could not be installed; the error below it names the cause.',
    causes: ['See the MCSCEPErrorDomain code below it.'],
    look: ['The nested error in the device’s log.'],
    basis: 'reported',
  },
  {
    client: 'Apple',
    code: '-2016341112',
    name: 'Intune’s number for an Apple device',
    means: 'The device is busy: locked, or idle.',
    causes: ['None: it passes when the device is unlocked and syncs.'],
    look: ['Nothing on the server.'],
    basis: 'reported',
  },
  {
    client: 'Apple',
    code: "Server capabilities lack support for 3DES but we're going to use it anyway",
    means: 'A remark of macOS, no error.',
    causes: ['The endpoint does not list DES3.'],
    look: ['If triple DES is refused on the endpoint, the request ends with badAlg.'],
    ours: ['algorithm_unsupported'],
    basis: 'reported',
  },
  // --- Android --------------------------------------------------------------------------------------------------------
  {
    client: 'Android',
    code: 'CLEARTEXT communication to',
    means: 'The SCEP URL is plain HTTP.',
    causes: ['Android takes HTTPS alone.'],
    look: ['The SCEP URL of the profile.'],
    basis: 'documented',
  },
  {
    client: 'Android',
    code: 'Trust anchor for certification path not found',
    means: 'The HTTPS certificate of the server is not trusted.',
    causes: [
      'The edge’s certificate is of a private root that is not on the device, or an intermediate is missing.',
    ],
    look: [
      '`openssl s_client -showcerts -connect HOST:443 -servername HOST`',
      'Trusted-certificate profiles for each certificate of the chain.',
    ],
    basis: 'documented',
  },
  {
    client: 'Android',
    code: 'org.jscep.transaction.FailInfo',
    means: 'The server answered FAILURE; what follows is its failInfo.',
    causes: ['A refusal.'],
    look: [AUDIT],
    basis: 'reported',
  },
  // --- third-party clients --------------------------------------------------------------------------------------------
  {
    client: 'strongSwan',
    code: 'transaction ID of scep response does not match',
    means: 'The answer belongs to another request.',
    causes: ['A cache before the server: a POST, or a GET PKIOperation, must never be cached.'],
    look: ['Caches and proxies.'],
    basis: 'seen',
  },
  {
    client: 'strongSwan',
    code: 'unable to verify PKCS#7 container',
    means: 'The signature of the answer does not verify with the certificates that were given.',
    causes: [
      '`--cacert-sig` is not the RA’s signing certificate, or the root (`--cacert`) is missing; 5.9.8 wants rsaEncryption as the signature algorithm.',
    ],
    look: ['Fetch the certificates again with `pki --scepca`.'],
    basis: 'seen',
  },
  {
    client: 'strongSwan',
    code: 'error parsing the scep response',
    means: 'The answer is no CMS.',
    causes: ['A text came: HTTP 400 or 503, or a proxy’s page.'],
    look: [PROFILE_URL, NOT_REACHED],
    ours: ['scep_body', 'server_answer'],
    basis: 'seen',
  },
  {
    client: 'strongSwan',
    code: 'scep response is not PKCS#7 signed-data',
    means: 'The answer is CMS, but not a signed one.',
    causes: ['Another server answers there.'],
    look: [CAPTURED],
    basis: 'seen',
  },
  {
    client: 'sscep',
    code: 'reason: Transaction not permitted or supported',
    means: 'A FAILURE with badRequest.',
    causes: ['The challenge is wrong, spent or expired, or policy says no.'],
    look: [AUDIT],
    ours: ['challenge_unknown', 'challenge_reused', 'challenge_expired', 'validator_refused'],
    basis: 'reported',
  },
  {
    client: 'sscep',
    code: 'illegal size of payload',
    means: 'Follows a FAILURE: there is no certificate in the answer. Not an error of its own.',
    causes: ['See the line `reason:` above it.'],
    look: ['The lines pkistatus and reason above it.'],
    basis: 'reported',
  },
  {
    client: 'sscep',
    code: 'wrong (or missing) MIME content type',
    means: 'The answer was a text or a page.',
    causes: ['HTTP 4xx or 5xx: a wrong path, a missing operation, a service that is not available.'],
    look: [PROFILE_URL],
    ours: ['scep_operation', 'scep_body', 'path_denied', 'server_answer'],
    basis: 'reported',
  },
  {
    client: 'sscep',
    code: 'cannot parse response',
    means: 'The HTTP answer could not be read.',
    causes: [
      'Nothing, or something else than HTTP, answers there; versions 0.9.1 and 0.10.0 are stricter than 0.9.0.',
    ],
    look: [PROFILE_URL],
    basis: 'reported',
  },
  {
    client: 'sscep',
    code: 'error while sending message',
    means: 'The exchange failed; the line above names the cause.',
    causes: ['See the line above it.'],
    look: [NOT_REACHED],
    basis: 'reported',
  },
  {
    client: 'certmonger',
    code: 'CA_UNREACHABLE',
    means:
      'No usable answer; in spite of its name also an answer that it could not read. `ca-error` says more.',
    causes: [
      'The connection failed; HTTP 503; an answer that it does not take: an unknown content type, or a signer whose issuer it was not given (`-N`).',
    ],
    look: ['`getcert list`: the line ca-error.', NOT_REACHED],
    ours: ['server_unreachable', 'validator_unreachable', 'tunnel_unavailable'],
    basis: 'seen',
  },
  {
    client: 'certmonger',
    code: 'CA_REJECTED',
    means: 'A FAILURE: the server said no.',
    causes: ['The challenge is wrong, spent or expired, or policy says no.'],
    look: [AUDIT],
    ours: ['challenge_unknown', 'challenge_reused', 'challenge_expired'],
    basis: 'seen',
  },
  {
    client: 'certmonger',
    code: 'CA_UNCONFIGURED',
    means: 'certmonger lacks something to enrol with.',
    causes: ['The CA was added without a URL or certificates.'],
    look: ['`getcert list-cas`'],
    basis: 'documented',
  },
  {
    client: 'certmonger',
    code: 'CA_WORKING',
    means: 'The request is pending; certmonger asks again by itself.',
    causes: ['The endpoint has manual approval and nobody has decided yet.'],
    look: ['Requests that wait for a certificate manager: `leafgate ca pending`.'],
    basis: 'documented',
  },
  {
    client: 'certmonger',
    code: 'Server reply was of unexpected MIME type',
    means: 'The answer was a text or a page.',
    causes: ['HTTP 4xx or 5xx, or another server.'],
    look: [PROFILE_URL],
    ours: ['scep_body', 'server_answer'],
    basis: 'reported',
  },
  {
    client: 'micromdm scepclient',
    code: 'PKCSReq (19) request failed, failInfo:',
    means: 'A FAILURE; what follows is its failInfo.',
    causes: ['A refusal.'],
    look: [AUDIT],
    basis: 'reported',
  },
  {
    client: 'micromdm scepclient',
    code: 'pkcs7: cannot decrypt data',
    means: 'The answer is encrypted in a way that this version does not open.',
    causes: [
      'The client encrypts in single DES unless told otherwise, and its endpoint must permit it (`dangerAllowSingleDes`).',
    ],
    look: ['A newer version of the client.'],
    basis: 'reported',
  },
  {
    client: 'Cisco IOS',
    code: '%PKI-6-CERTFAIL',
    means: 'Certificate enrolment failed.',
    causes: [
      'A FAILURE; or the request never arrived: its GET has a path of its own (`/cgi-bin/pkiclient.exe`) and old algorithms.',
    ],
    look: [AUDIT, NOT_REACHED],
    basis: 'documented',
  },
  {
    client: 'Cisco IOS',
    code: '%PKI-6-CERTREJECT',
    means: 'The certificate authority rejected the enrolment.',
    causes: ['A FAILURE: challenge, subject name, or an algorithm (`badAlg`: single DES or MD5).'],
    look: [AUDIT],
    ours: ['algorithm_unsupported', 'challenge_unknown', 'subject_mismatch'],
    basis: 'documented',
  },
  // --- the protocol -----------------------------------------------------------------------------------------------------
  {
    client: 'any SCEP client',
    code: 'badAlg',
    name: 'failInfo 0',
    means: 'An algorithm of the message is not supported (RFC 8894 §3.2.1.4).',
    causes: [
      'Single DES, MD5 or RC2; an algorithm that the endpoint refuses; a signer whose key is not RSA and so cannot be answered.',
    ],
    look: [CAPTURED, AUDIT],
    ours: codesWithFailInfo('badAlg'),
    basis: 'documented',
  },
  {
    client: 'any SCEP client',
    code: 'badMessageCheck',
    name: 'failInfo 1',
    means: 'The integrity of the message could not be verified (RFC 8894 §3.2.1.4).',
    causes: [
      'The client encrypted to an old RA certificate.',
      'The message was changed on its way.',
      'The request inside is not signed by its own key.',
    ],
    look: [CAPTURED, 'With the RA’s key: `leafgate scep decode FILE --config leafgate.yaml`.', AUDIT],
    ours: codesWithFailInfo('badMessageCheck'),
    basis: 'documented',
  },
  {
    client: 'any SCEP client',
    code: 'badRequest',
    name: 'failInfo 2',
    means: 'The transaction is not permitted or supported (RFC 8894 §3.2.1.4): every refusal by policy.',
    causes: [
      'The challenge, the names, the key or the purposes; or a message type that the endpoint does not serve.',
    ],
    look: ['The text of the answer ends in a reference: `leafgate explain REF`.', AUDIT],
    ours: codesWithFailInfo('badRequest'),
    basis: 'documented',
  },
  {
    client: 'any SCEP client',
    code: 'badTime',
    name: 'failInfo 3',
    means: 'signingTime is not close enough to the server’s time (RFC 8894 §3.2.1.4).',
    causes: ['Leafgate does not compare it and never answers so.'],
    look: ['Which server answered.'],
    basis: 'documented',
  },
  {
    client: 'any SCEP client',
    code: 'badCertId',
    name: 'failInfo 4',
    means: 'No certificate matches what was asked for (RFC 8894 §3.2.1.4).',
    causes: [
      'A poll for a transaction that is not known, or GetCert or GetCRL for a certificate that is not ours.',
    ],
    look: [AUDIT],
    ours: codesWithFailInfo('badCertId'),
    basis: 'documented',
  },
  {
    client: 'any SCEP client',
    code: 'PENDING',
    name: 'pkiStatus 3',
    means: 'The request waits for approval (RFC 8894 §3.3.2.3); the client has to poll.',
    causes: ['The endpoint has manual approval. Windows and Apple give up after their retries.'],
    look: ['Requests that wait for a certificate manager: `leafgate ca pending`.'],
    basis: 'documented',
  },
  // --- HTTP -----------------------------------------------------------------------------------------------------------------
  ...(
    [
      [
        '400',
        'The request could not be read.',
        'A message that is cut off, that is no base64, or that has no operation.',
      ],
      [
        '401',
        'Sign-in is asked for.',
        'The SCEP path never asks; a reverse proxy does. It must let it pass.',
      ],
      [
        '403',
        'A visit without an operation is answered so, as NDES does: the server works.',
        'If a device sees it, its URL has lost the query.',
      ],
      [
        '404',
        'Nothing is served at this path, or the operation is not served.',
        'The path of the SCEP URL, or the allow-list of the edge.',
      ],
      ['405', 'The method is not permitted.', 'Something before the server takes no POST.'],
      ['411', 'A length is missing.', 'A proxy that does not take chunked bodies.'],
      [
        '413',
        'The message is too large.',
        'A limit of a proxy, of the edge, or a message that no real client sends.',
      ],
      [
        '414',
        'The URL is too long.',
        'A proxy with a short limit: SCEP by GET needs 40 KB. Leafgate takes 64 KiB.',
      ],
      ['429', 'Too many requests at once.', 'Overload; clients try again.'],
      ['431', 'The header is too large.', 'A proxy with a short limit: SCEP by GET needs 40 KB.'],
      ['500', 'An internal error.', 'A bug of ours, or of something before us.'],
      ['502', 'A proxy got no valid answer.', 'The connector or the server is down.'],
      [
        '503',
        'Not now: something that the server depends on does not answer. The client may try again.',
        'Intune, a key, the database or the tunnel.',
      ],
      ['504', 'No answer in time.', 'The server is slow, or the validation service is.'],
    ] as const
  ).map(
    ([code, means, cause]): ClientError => ({
      client: 'any HTTP client',
      code,
      name: `HTTP ${code}`,
      means,
      causes: [cause],
      look: [NOT_REACHED],
      ours: codesWithStatus(Number(code)),
      basis: 'documented',
    }),
  ),
];

/** What was found for a code or sentence. */
export interface ClientErrorMatch {
  /** Rows that are meant; empty if the code is not known. */
  readonly exact: readonly ClientError[];
  /** Rows that look alike, nearest first, if none is meant. */
  readonly near: readonly ClientError[];
  /** What the number itself says, if it is an HRESULT: its facility and what it carries. */
  readonly anatomy?: string;
}

/** Facilities of HRESULTs that occur around certificates (MS-ERREF §2.1). */
const facilities: Readonly<Record<number, string>> = {
  0: 'FACILITY_NULL',
  1: 'FACILITY_RPC',
  7: 'FACILITY_WIN32, an error of Windows itself',
  9: 'FACILITY_SECURITY, certificates and cryptography',
  11: 'FACILITY_CERT, certificate chains',
  16: 'FACILITY_SCARD, smart cards and key containers',
  25: 'FACILITY_HTTP, an HTTP status',
};
const NEAR_MAX = 5;

/**
 * The HRESULT that a text writes: `0x8010002c`, `8010002C`, `-2146435028` or `2148532268`.
 */
export function hResultOf(text: string): number | undefined {
  const plain = text.trim().toLowerCase();
  if (/^(0x)?[0-9a-f]{8}$/.test(plain)) return Number.parseInt(plain.replace(/^0x/, ''), 16);
  if (/^0x[0-9a-f]{1,7}$/.test(plain)) return Number.parseInt(plain.slice(2), 16);
  if (!/^-?\d{9,10}$/.test(plain)) return undefined;
  const number = Number(plain);
  if (number < -0x80000000 || number > 0xffffffff) return undefined;
  return number < 0 ? number + 0x100000000 : number;
}

const hexText = (value: number): string => `0x${value.toString(16).padStart(8, '0')}`;

/** Finds what a client's error means. Knows numbers in each of their spellings, names, and parts of sentences. */
export function explainClientError(text: string): ClientErrorMatch {
  const wanted = text.trim().toLowerCase();
  const value = hResultOf(text);
  const spelt = value === undefined ? undefined : hexText(value);
  // 0x8019nnnn carries an HTTP status; so do the words `HTTP 404`.
  const status =
    value !== undefined && value >>> 16 === 0x8019
      ? String(value & 0xffff)
      : /^http[ /]*(?:1\.[01] )?(\d{3})$/.exec(wanted)?.[1];
  const exact = clientErrors.filter((row) => {
    const code = row.code.toLowerCase();
    const shown = [code, row.name?.toLowerCase(), `${row.name} ${row.code}`.toLowerCase()];
    if (status !== undefined) return row.client === 'any HTTP client' && row.code === status;
    return (
      shown.includes(wanted) ||
      (spelt !== undefined && hResultOf(code) === value && /^(0x|-)/.test(code)) ||
      // A sentence is given with what stood around it, or in part.
      (code.includes(' ') && wanted.length >= 8 && (wanted.includes(code) || code.includes(wanted))) ||
      // Windows shows the meaning of its numbers; two words alone occur in many.
      (wanted.split(/\s+/).length >= 3 && plain(row.means).includes(plain(wanted)))
    );
  });
  const anatomy = value === undefined || value < 0x80000000 ? undefined : anatomyOf(value);
  const near =
    exact.length > 0
      ? []
      : clientErrors
          .map((row) => ({ row, distance: distanceTo(row, spelt ?? wanted) }))
          // Every short code is near to every other.
          .filter(({ distance }) => distance <= Math.min(2, Math.floor(wanted.length / 4)))
          .toSorted((a, b) => a.distance - b.distance)
          .slice(0, NEAR_MAX)
          .map(({ row }) => row);
  return { exact, near, ...(anatomy === undefined ? {} : { anatomy }) };
}

/** As it is typed: without a full stop, and with the apostrophe of a keyboard. */
const plain = (sentence: string): string => sentence.toLowerCase().replaceAll('’', "'").replace(/\.$/, '');

function anatomyOf(value: number): string {
  const facility = (value >>> 16) & 0x7ff;
  const code = value & 0xffff;
  const named = facilities[facility] ?? `facility ${facility}, which is not one that we know`;
  const carries =
    facility === 25
      ? `HTTP status ${code}`
      : facility === 7
        ? `Windows error ${code} (\`net helpmsg ${code}\` prints it on a Windows machine)`
        : `code 0x${code.toString(16)}`;
  return `${hexText(value)}: ${named}; ${carries}`;
}

function distanceTo({ code, name }: ClientError, wanted: string): number {
  const spellings = [code.toLowerCase(), ...(name === undefined ? [] : [name.toLowerCase()])];
  return Math.min(...spellings.map((spelling) => editDistance(spelling, wanted)));
}

/** Levenshtein distance; far ones are all the same. */
function editDistance(a: string, b: string): number {
  if (Math.abs(a.length - b.length) > 2 || a.length > 64) return 99;
  let row = Array.from({ length: b.length + 1 }, (_, index) => index);
  for (let i = 1; i <= a.length; i += 1) {
    const next = [i];
    for (let j = 1; j <= b.length; j += 1) {
      const substituted = (row[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1);
      next.push(Math.min(substituted, (row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1));
    }
    row = next;
  }
  return row[b.length] ?? 99;
}
