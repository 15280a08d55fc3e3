/** Which public keys may be certified. */
import { hash } from 'node:crypto';
import { hex, type PublicKeyInfo, parsePublicKeyInfo, publicKeyOf, Recent } from '../codec/index.ts';
import { type ErrorCode, PkiError } from '../errors.ts';
import { knownKeys } from './known-keys.ts';
import { closeFactorsOf, type Effort, hasRocaMark, smallFactorOf } from './rsa-factors.ts';
import type { CertificateTemplate } from './template.ts';

export type { Effort } from './rsa-factors.ts';

/** SP 800-57 Part 1 Rev. 5 §5.6.1: 112 bits of security, the least that is still allowed. */
const RSA_BITS_MIN = 2048;
/** No client makes larger ones, and verifying them costs the server dearly. */
const RSA_BITS_MAX = 8192;

/** Code of a refusal that concerns the key. */
type KeyCode = Extract<ErrorCode, `key_${string}`>;

/** A key that may be certified, or why it may not. */
export type KeyVerdict =
  | { readonly verdict: 'accept' }
  | { readonly verdict: 'refuse'; readonly code: KeyCode; readonly detail: string };

/** A key as the rules see it. */
interface KeyUnderRules {
  readonly spki: Uint8Array;
  readonly info: PublicKeyInfo;
  /** Modulus of an RSA key; 0 for others. */
  readonly modulus: bigint;
  readonly effort: Effort;
}

/** One rule for public keys, whatever the template. */
export interface KeyRule {
  readonly name: string;
  readonly code: KeyCode;
  /** Where it stands. */
  readonly citation: string;
  /** What it demands, in a sentence. */
  readonly requires: string;
  /** What is wrong with the key, or `undefined`. Throws PkiError `algorithm_unsupported` like `publicKeyOf`. */
  readonly check: (key: KeyUnderRules) => string | undefined;
}

type RsaInfo = Extract<PublicKeyInfo, { type: 'rsa' }>;

const forRsa =
  (check: (info: RsaInfo, key: KeyUnderRules) => string | undefined): KeyRule['check'] =>
  (key) =>
    key.info.type === 'rsa' ? check(key.info, key) : undefined;

/** The rules, cheap ones first: one that fails spares the rest. */
export const keyRules: readonly KeyRule[] = [
  {
    name: 'key_kind',
    code: 'key_algorithm',
    citation: 'RFC 3279 §2.3.1; RFC 5480 §2.1.1',
    requires: 'The key is RSA, or on P-256, P-384 or P-521; the template says which of them.',
    check: ({ info }) => (info.type === 'other' ? `a key of type ${info.oid}` : undefined),
  },
  {
    name: 'rsa_size',
    code: 'key_size_mismatch',
    citation: 'SP 800-57 Part 1 Rev. 5 §5.6.1; CA/Browser Forum Baseline Requirements §6.1.5',
    requires: `An RSA modulus has ${RSA_BITS_MIN} to ${RSA_BITS_MAX} bits, a multiple of eight; the template may want more.`,
    check: forRsa(({ bits }) =>
      bits < RSA_BITS_MIN || bits > RSA_BITS_MAX || bits % 8 !== 0
        ? `RSA-${bits}; what is taken is ${RSA_BITS_MIN} to ${RSA_BITS_MAX} bits, a multiple of eight`
        : undefined,
    ),
  },
  {
    name: 'rsa_exponent',
    code: 'key_weak',
    citation: 'FIPS 186-5 §5.4 (e)',
    requires: 'The RSA exponent is odd, at least 65537 and below 2^256.',
    // Above 2^256 the codec does not read it.
    check: forRsa(({ exponent }) =>
      exponent <= 65_536n || exponent % 2n === 0n ? `exponent ${exponent}` : undefined,
    ),
  },
  {
    name: 'known_key',
    code: 'key_weak',
    citation: 'RFC 9500 §1; CA/Browser Forum Baseline Requirements §6.1.1.3',
    requires: 'The private half was not published.',
    check: ({ spki }) => {
      const origin = knownKeys.get(hash('sha256', spki, 'hex'));
      return origin === undefined ? undefined : `the private key is public: ${origin}`;
    },
  },
  {
    name: 'rsa_small_factors',
    code: 'key_weak',
    citation: 'SP 800-56B Rev. 2 §6.4.2.2',
    requires: 'The RSA modulus is odd and has no prime factor below 752; in an audit, none below 65536.',
    check: forRsa((_, { modulus, effort }) => {
      if (modulus % 2n === 0n) return 'the modulus is even';
      const factor = smallFactorOf(modulus, effort);
      return factor === undefined ? undefined : `the modulus is divisible by ${factor}`;
    }),
  },
  {
    name: 'rsa_roca',
    code: 'key_weak',
    citation: 'CVE-2017-15361 (ROCA)',
    requires:
      'The RSA modulus is not a power of 65537 modulo every small prime, as those of a broken chip are.',
    check: forRsa((_, { modulus }) =>
      hasRocaMark(modulus) ? 'the modulus bears the mark of CVE-2017-15361 (ROCA)' : undefined,
    ),
  },
  {
    name: 'rsa_close_primes',
    code: 'key_weak',
    citation: 'CVE-2022-26320; CA/Browser Forum Baseline Requirements §6.1.1.3',
    requires:
      'Fermat’s method does not factor the RSA modulus within 100 rounds; in an audit, not within 10000.',
    check: forRsa((_, { modulus, effort }) =>
      closeFactorsOf(modulus, effort) === undefined ? undefined : 'the two primes are too close together',
    ),
  },
  {
    name: 'ec_point',
    code: 'key_weak',
    citation: 'SP 800-56A Rev. 3 §5.6.2.3.3; RFC 5480 §2.2',
    requires: 'The point lies on the named curve and is not its neutral element.',
    check: ({ spki, info }) => {
      if (info.type !== 'ec') return undefined;
      try {
        publicKeyOf(spki);
        return undefined;
      } catch (cause) {
        if (!(cause instanceof PkiError)) throw cause;
        return `no point on ${info.curve}`;
      }
    },
  },
];

/** What is wrong with a key whatever the template, and the rule that says so. */
export interface KeyFinding {
  readonly rule: KeyRule;
  readonly detail: string;
}

/** RA, CA and lint ask about the same key within one request, while other requests are on their way. */
const RECENT_KEYS = 64;
/** What was found of the keys that were looked at last; `sound` if nothing. */
const recentFindings: Readonly<Record<Effort, Recent<KeyFinding | 'sound'>>> = {
  quick: new Recent(RECENT_KEYS),
  thorough: new Recent(RECENT_KEYS),
};

/**
 * Looks at the key of a SubjectPublicKeyInfo by every rule that holds whatever the template; `undefined` if none is
 * broken. The last few answers are kept.
 *
 * @throws PkiError `der_malformed`.
 */
export function findingOfKey(spki: Uint8Array, effort: Effort = 'quick'): KeyFinding | undefined {
  const finding = recentFindings[effort].of(spki, () => examine(spki, effort) ?? 'sound');
  return finding === 'sound' ? undefined : finding;
}

function examine(spki: Uint8Array, effort: Effort): KeyFinding | undefined {
  const info = parsePublicKeyInfo(spki);
  // An oversized modulus costs nothing: its size is looked at before it is divided.
  const modulus = info.type === 'rsa' && info.bits <= RSA_BITS_MAX ? BigInt(`0x${hex(info.modulus)}`) : 0n;
  for (const rule of keyRules) {
    const detail = rule.check({ spki, info, modulus, effort });
    if (detail !== undefined) return { rule, detail };
  }
  return undefined;
}

/** Judges the key of a SubjectPublicKeyInfo by a template. Throws PkiError `der_malformed`. */
export function judgeKey(
  spki: Uint8Array,
  template: Pick<CertificateTemplate, 'keyAlgorithms' | 'rsaBitsMin'>,
): KeyVerdict {
  const key = parsePublicKeyInfo(spki);
  const algorithms: readonly string[] = template.keyAlgorithms;
  if (key.type === 'rsa' && !algorithms.includes('rsa'))
    return refuse('key_algorithm', 'RSA is not in the template');
  if (key.type === 'ec' && !algorithms.includes(key.curve))
    return refuse('key_algorithm', `${key.curve} is not in the template`);
  if (key.type === 'rsa' && key.bits < template.rsaBitsMin)
    return refuse('key_size_mismatch', `RSA-${key.bits}; the template wants ${template.rsaBitsMin} bits`);
  const finding = findingOfKey(spki);
  return finding === undefined ? { verdict: 'accept' } : refuse(finding.rule.code, finding.detail);
}

function refuse(code: KeyCode, detail: string): KeyVerdict {
  return { verdict: 'refuse', code, detail };
}
