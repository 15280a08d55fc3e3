/**
 * What may pass the tunnel: default deny, by method, path and size.
 *
 * Edge and connector both judge every request with their own copy of the rules: the edge so that nothing else leaves
 * the DMZ, the connector so that an edge that was taken over reaches nothing more.
 *
 * Trust: every byte of a request was written by anyone on the internet.
 */
import { PkiError } from '../errors.ts';

/** One thing that may be asked for. The rules are a union: a request passes if one of them lets it. */
export interface AllowRule {
  /** For the log. */
  readonly name: string;
  readonly methods: readonly ('GET' | 'POST')[];
  /**
   * A path, compared without regard to case (NDES lives on IIS): exactly this one, or, if it ends in a slash and a
   * star, the path before them and everything below it (`/crl/*` is `/crl`, `/crl/` and `/crl/a/b`, but not `/crls`).
   *
   * If it ends in `/{base64}`, one value in base64 stands below the path before it, which is not allowed itself. Its
   * digits `+`, `/` and `=` may be percent-encoded, as OCSP clients do or do not (RFC 6960 §A.1.1).
   */
  readonly path: string;
  /** Length of path and query together. At most 65,536: HTTP/2 header compression carries no longer value. */
  readonly requestTargetBytesMax: number;
  /** Length of a POST body. A GET never has one. */
  readonly bodyBytesMax: number;
}

/** Which part of a request no rule allows. */
export type DenialReason = 'path' | 'method' | 'target-size' | 'body-size';

/** What is known of a request when its head has arrived. */
export interface RequestHead {
  readonly method: string;
  /** The request target as it came (RFC 9112 §3.2), never decoded. */
  readonly target: string;
  /** Declared length of the body; 0 if there is none, 1 ("at least one") if it comes without a declared length. */
  readonly bodyBytes: number;
}

/** The answer of the allow-list. */
export type Judgement =
  | { readonly allowed: true; readonly rule: AllowRule }
  | { readonly allowed: false; readonly reason: DenialReason };

const REQUEST_TARGET_BYTES_MAX = 65_536;
/** PKIOperation by GET: 9 to 40 KB are seen, and IIS is configured for 65,534 in every NDES guide. */
const SCEP_TARGET_BYTES_MAX = REQUEST_TARGET_BYTES_MAX;
/** Other SCEP servers settled on 2 MiB; a real PKIMessage has a few kilobytes. */
const SCEP_BODY_BYTES_MAX = 2 * 1024 * 1024;
/** RFC 6960 §A.1.1: a GET of up to 255 characters; some clients do not keep to it. */
const OCSP_TARGET_BYTES_MAX = 4_096;
/** A request with a few dozen certificates, or with the signature of who asks. */
const OCSP_BODY_BYTES_MAX = 16 * 1024;
/** The URL of a CRL or of a CA certificate. */
const FILE_TARGET_BYTES_MAX = 2_048;

/**
 * Rules that publish SCEP, OCSP, CRLs and CA certificates, and nothing else. `/certsrv/mscep_admin`, where NDES hands out
 * challenges, is not below `/certsrv/mscep/`.
 */
export const defaultAllowRules: readonly AllowRule[] = [
  scepRule('scep-ndes', '/certsrv/mscep/*'),
  scepRule('scep-cgi', '/cgi-bin/pkiclient.exe'),
  scepRule('scep', '/scep/*'),
  fileRule('crl', '/crl/*'),
  fileRule('aia', '/aia/*'),
  {
    name: 'ocsp-get',
    methods: ['GET'],
    path: '/ocsp/{base64}',
    requestTargetBytesMax: OCSP_TARGET_BYTES_MAX,
    bodyBytesMax: 0,
  },
  {
    name: 'ocsp-post',
    methods: ['POST'],
    path: '/ocsp',
    requestTargetBytesMax: OCSP_TARGET_BYTES_MAX,
    bodyBytesMax: OCSP_BODY_BYTES_MAX,
  },
];

/** Whether a request may pass, and by which rule; else what is wrong with it. Pure; never throws. */
export function judgeRequest(rules: readonly AllowRule[], head: RequestHead): Judgement {
  const path = canonicalPath(head.target);
  const here = rules.filter((rule) =>
    isBase64Rule(rule) ? matchesBase64(rule, head.target) : path !== undefined && matchesPath(rule, path),
  );
  if (here.length === 0) return denied('path');

  const byMethod = here.filter((rule) => rule.methods.some((method) => method === head.method));
  if (byMethod.length === 0) return denied('method');

  const byTarget = byMethod.filter((rule) => head.target.length <= rule.requestTargetBytesMax);
  if (byTarget.length === 0) return denied('target-size');

  const rule = byTarget.find((candidate) => head.bodyBytes <= bodyBytesMaxOf(candidate, head.method));
  return rule === undefined ? denied('body-size') : { allowed: true, rule };
}

/**
 * How many body bytes a request of this method may send under the rule.
 *
 * RFC 9110 §9.3.1: content in a GET has no meaning and invites request smuggling.
 */
export function bodyBytesMaxOf(rule: AllowRule, method: string): number {
  return method === 'POST' ? rule.bodyBytesMax : 0;
}

/**
 * Refuses rules that cannot work or that publish everything.
 *
 * @throws PkiError `config_invalid`
 */
export function checkAllowRules(rules: readonly AllowRule[]): void {
  for (const { name, methods, path, requestTargetBytesMax, bodyBytesMax } of rules) {
    const refuse = (why: string) => new PkiError('config_invalid', `allow rule ${name}: ${why}`);
    const ending = ['/*', BASE64_ENDING].find((text) => path.endsWith(text)) ?? '';
    const base = path.slice(0, path.length - ending.length);
    if (base === '') throw refuse('a rule for every path would publish everything; name a path');
    if (canonicalPath(base) !== base.toLowerCase()) {
      throw refuse(`${path} is not a plain path; use segments of letters, digits and -_.!()+,=@`);
    }
    if (methods.length === 0) throw refuse('name at least one method, GET or POST');
    if (!(requestTargetBytesMax > 0 && requestTargetBytesMax <= REQUEST_TARGET_BYTES_MAX)) {
      throw refuse(`requestTargetBytesMax must be between 1 and ${REQUEST_TARGET_BYTES_MAX}`);
    }
    if (!(bodyBytesMax >= 0 && Number.isSafeInteger(bodyBytesMax))) {
      throw refuse('bodyBytesMax must be 0 or more');
    }
  }
}

/** Visible ASCII without the fragment sign, which has no place in a request target (RFC 9112 §3.2). */
const targetShape = /^[!-"$-~]*$/;

/**
 * A segment that every server reads alike. No percent-encoding, backslash, colon, semicolon or tilde: servers disagree
 * on what they mean (encoded slashes, NTFS streams, path parameters, 8.3 names). No dot at either end: dot segments
 * and hidden files begin with one, and Windows drops those at the end. SCEP clients and CRL URLs need none of it.
 */
const segmentShape = /^(?!\.)[A-Za-z0-9_.!()+,=@-]+(?<!\.)$/;

/** The path of a request target in lower case, or `undefined` if two servers could understand it differently. */
function canonicalPath(target: string): string | undefined {
  // RFC 9112 §3.2: only the origin-form. An absolute URI, an authority and `*` do not begin with a slash.
  if (!target.startsWith('/') || !targetShape.test(target)) return undefined;
  const query = target.indexOf('?');
  const path = query === -1 ? target : target.slice(0, query);
  const segments = path.slice(1).split('/');
  // A slash at the very end leaves one empty segment; an empty segment elsewhere is `//`.
  if (segments.at(-1) === '') segments.pop();
  return segments.every((segment) => segmentShape.test(segment)) ? path.toLowerCase() : undefined;
}

const BASE64_ENDING = '/{base64}';

/**
 * Base64 of RFC 4648 §4, each digit plain or, if it is none of the unreserved characters of a URL, percent-encoded.
 * None of it can be read as a dot segment or as another separator than the slash: whoever decodes or joins slashes is
 * still below the path of the rule.
 */
const base64Shape = /^(?:[A-Za-z0-9+/]|%2[BbFf])+(?:=|%3[Dd]){0,2}$/;

function isBase64Rule(rule: AllowRule): boolean {
  return rule.path.endsWith(BASE64_ENDING);
}

function matchesBase64(rule: AllowRule, target: string): boolean {
  const base = rule.path.slice(0, -BASE64_ENDING.length + 1).toLowerCase();
  return target.slice(0, base.length).toLowerCase() === base && base64Shape.test(target.slice(base.length));
}

function matchesPath(rule: AllowRule, path: string): boolean {
  const rulePath = rule.path.toLowerCase();
  if (!rulePath.endsWith('/*')) return path === rulePath;
  return path === rulePath.slice(0, -2) || path.startsWith(rulePath.slice(0, -1));
}

function denied(reason: DenialReason): Judgement {
  return { allowed: false, reason };
}

function scepRule(name: string, path: string): AllowRule {
  return {
    name,
    methods: ['GET', 'POST'],
    path,
    requestTargetBytesMax: SCEP_TARGET_BYTES_MAX,
    bodyBytesMax: SCEP_BODY_BYTES_MAX,
  };
}

function fileRule(name: string, path: string): AllowRule {
  return { name, methods: ['GET'], path, requestTargetBytesMax: FILE_TARGET_BYTES_MAX, bodyBytesMax: 0 };
}
