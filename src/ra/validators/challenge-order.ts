/** What an operator or a program asks a one-time challenge for, in words; and the order that the words make. */
import { isSecurityIdentifier, purposeByWord } from '../../ca/index.ts';
import {
  buildGeneralName,
  generalNameFromString,
  generalNamesToString,
  nameFromString,
  nameToString,
} from '../../codec/index.ts';
import { PkiError } from '../../errors.ts';
import type { ChallengeRecord } from '../../store/index.ts';

/** What a one-time challenge is made for; an absent pin is free within the template. */
export interface ChallengeOrder {
  readonly endpoint: string;
  readonly pinned: ChallengeRecord['pinned'];
  /** The device it is for, as views show it. */
  readonly device: string;
  readonly lifetimeMs: number;
  /** How many random octets it consists of; 20 if absent. */
  readonly octets?: number;
}

/** The words; whoever sends them is signed in, and is told which of them is wrong. */
export interface AskedChallenge {
  readonly endpoint: string;
  readonly device?: string | undefined;
  /** RFC 4514: `CN=printer-7,O=Example`. */
  readonly subject?: string | undefined;
  /** One name each: `DNS:printer-7.example`. */
  readonly subjectAltName?: readonly string[] | undefined;
  /** Words of `purposeByWord`, or object identifiers. */
  readonly extKeyUsage?: readonly string[] | undefined;
  readonly securityIdentifier?: string | undefined;
  readonly lifetimeMs: number;
  readonly octets?: number | undefined;
}

/** A challenge that is older lies forgotten somewhere. */
const LIFETIME_MS_MAX = 366 * 24 * 60 * 60_000;
const DEVICE_CHARACTERS_MAX = 256;

/**
 * The order that the words make, in the very form that requests are compared in.
 *
 * @throws PkiError `request_malformed`, `name_malformed`; the message says what is wrong.
 */
export function challengeOrderOf(asked: AskedChallenge): ChallengeOrder {
  const { endpoint, device = '', lifetimeMs, octets } = asked;
  const refuse = (text: string) => {
    throw new PkiError('request_malformed', text);
  };
  if (!(lifetimeMs > 0 && lifetimeMs <= LIFETIME_MS_MAX)) refuse('a challenge lives for at most a year');
  if (device.length > DEVICE_CHARACTERS_MAX || /\p{Cc}/u.test(device))
    refuse(`a device has at most ${DEVICE_CHARACTERS_MAX} characters, and none that controls a terminal`);
  const { securityIdentifier } = asked;
  if (securityIdentifier !== undefined && !isSecurityIdentifier(securityIdentifier))
    refuse(`“${securityIdentifier}” is not a security identifier`);
  const subject = asked.subject === undefined ? undefined : nameToString(nameFromString(asked.subject));
  const subjectAltName = asked.subjectAltName?.map((text) => {
    const name = generalNameFromString(text);
    buildGeneralName(name);
    return name;
  });
  const extKeyUsage = asked.extKeyUsage?.map((word) => {
    if (Object.hasOwn(purposeByWord, word)) return purposeByWord[word as keyof typeof purposeByWord];
    if (!/^[0-2](\.\d+)+$/.test(word))
      refuse(`“${word}” is neither an object identifier nor one of ${Object.keys(purposeByWord).join(', ')}`);
    return word;
  });
  return {
    endpoint,
    device,
    lifetimeMs,
    ...(octets === undefined ? {} : { octets }),
    pinned: {
      ...(subject === undefined ? {} : { subject }),
      ...(subjectAltName === undefined ? {} : { subjectAltName: generalNamesToString(subjectAltName) }),
      ...(extKeyUsage === undefined ? {} : { extKeyUsage }),
      ...(securityIdentifier === undefined ? {} : { securityIdentifier }),
    },
  };
}
