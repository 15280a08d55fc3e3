/** HRESULT: the numbers that Windows writes into its event log, since those are what administrators search for. */

/** HRESULTs of this device, by the name that Windows gives them. The sentences are ours. */
export const hResults = {
  S_OK: { value: 0x00000000, text: 'The operation completed successfully.' },
  E_FAIL: { value: 0x80004005, text: 'Unspecified failure.' },
  CRYPT_E_HASH_VALUE: { value: 0x80091007, text: 'The hash value is not correct.' },
  CERT_E_UNTRUSTEDROOT: {
    value: 0x800b0109,
    text: 'A certificate chain does not end in a root certificate that is trusted.',
  },
  CERT_E_EXPIRED: {
    value: 0x800b0101,
    text: 'A certificate has expired or is not yet valid by the clock of this device.',
  },
  TRUST_E_CERT_SIGNATURE: { value: 0x80096004, text: 'A signature cannot be verified.' },
  NTE_BAD_PUBLIC_KEY: {
    value: 0x80090015,
    text: 'The public key of the certificate is not that of the request.',
  },
  NTE_FAIL: { value: 0x80090020, text: 'The key could not be made or used.' },
  CRYPT_E_ASN1_BADTAG: { value: 0x8009310b, text: 'A message could not be decoded.' },
  SCARD_E_NO_SUCH_CERTIFICATE: { value: 0x8010002c, text: 'The requested certificate does not exist.' },
  ERROR_WINHTTP_TIMEOUT: { value: 0x80072ee2, text: 'The server did not answer in time.' },
  ERROR_WINHTTP_NAME_NOT_RESOLVED: {
    value: 0x80072ee7,
    text: 'The name of the server could not be resolved.',
  },
  ERROR_WINHTTP_CANNOT_CONNECT: {
    value: 0x80072efd,
    text: 'A connection with the server could not be made.',
  },
  ERROR_WINHTTP_CONNECTION_ERROR: { value: 0x80072efe, text: 'The connection with the server ended early.' },
  ERROR_WINHTTP_SECURE_FAILURE: {
    value: 0x80072f8f,
    text: 'The TLS connection failed: the server’s certificate is not trusted, or the clock is wrong.',
  },
  ERROR_WINHTTP_INVALID_SERVER_RESPONSE: { value: 0x80072f78, text: 'The server’s answer is not valid.' },
} as const;

/** Name of an HRESULT. */
export type HResultName = keyof typeof hResults;

/** The HRESULT of an HTTP status: facility 0x19 and the status itself, so that 404 is 0x80190194. */
export function hResultOfHttpStatus(status: number): number {
  return 0x80190000 + (status & 0xffff);
}

/** The sentence and the number, as an event shows them: `The hash value is not correct. (0x80091007)`. */
export function hResultText(value: number): string {
  const row = Object.values(hResults).find((candidate) => candidate.value === value);
  const httpStatus = value - 0x80190000;
  const text =
    row?.text ??
    (httpStatus >= 100 && httpStatus < 600
      ? `The server answered with HTTP status ${httpStatus}.`
      : 'Unknown error.');
  return `${text} (0x${value.toString(16).padStart(8, '0')})`;
}
