/**
 * The door for who imports PFX, in the shape of Graph (beta) `deviceManagement/userPfxCertificates`: what `leafgate pfx import`
 * and Microsoft's own importer send.
 */
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { z } from 'zod';
import { bodyOf } from './device-door.ts';
import type { PfxImport } from './imported-pfx.ts';
import type { Mdm } from './mdm.ts';
import { intendedPurposes } from './profiles.ts';
import { type ListedUserPfx, paddingSchemes, type UserPfxId } from './user-pfx-store.ts';

/** What the door works with. */
export interface UserPfxDoorParts {
  readonly mdm: Pick<Mdm, 'importedPfx' | 'user'>;
  readonly publicUrl: () => string;
  /** Whether the caller may; if not, he has his answer. */
  readonly isCaller: (request: FastifyRequest, reply: FastifyReply) => boolean;
  /** Answers with Graph's error body. */
  readonly refuse: (reply: FastifyReply, status: number, code: string, message: string) => FastifyReply;
}

const COLLECTION = '/beta/deviceManagement/userPfxCertificates';
/** How many a listing has; Graph would page. */
const LISTED_MAX = 10_000;
/** Base64 of 256 KiB. */
const BLOB_CHARACTERS_MAX = 349_528;
/** Base64 of what an RSA key of 8192 bits encrypts. */
const PASSWORD_CHARACTERS_MAX = 1368;

/** Words of Graph in whatever case: Microsoft's importer has them in another one than the reference. */
function word<const W extends readonly string[]>(words: W) {
  return z.string().transform((text, context): W[number] => {
    const known = words.find((each) => each.toLowerCase() === text.toLowerCase());
    if (known !== undefined) return known;
    context.addIssue({ code: 'custom', message: `one of ${words.join(', ')}` });
    return z.NEVER;
  });
}

const instant = z.iso.datetime({ offset: true }).transform((text) => new Date(text));
const keyNameText = z.string().regex(/^[^\p{C}]{1,256}$/u, 'at most 256 characters');

/** What is left out here is set by the service, whatever the importer says. */
const importBody = z.object({
  thumbprint: z
    .string()
    .regex(/^[0-9A-Fa-f]{40}$/, 'SHA-1, 40 hexadecimal digits')
    .transform((text) => text.toUpperCase()),
  intendedPurpose: word(intendedPurposes),
  userPrincipalName: z.string().min(1).max(256),
  startDateTime: instant,
  expirationDateTime: instant,
  providerName: keyNameText,
  keyName: keyNameText,
  // `none` is the default, which is the strongest.
  paddingScheme: word([...paddingSchemes, 'none']).transform((scheme) =>
    scheme === 'none' ? 'oaepSha512' : scheme,
  ),
  encryptedPfxBlob: z.base64().min(4).max(BLOB_CHARACTERS_MAX),
  encryptedPfxPassword: z.base64().min(4).max(PASSWORD_CHARACTERS_MAX),
}) satisfies z.ZodType<PfxImport>;

/** Adds the routes. */
export function addUserPfxDoor(app: FastifyInstance, parts: UserPfxDoorParts): void {
  const { importedPfx } = parts.mdm;
  const context = () => `${parts.publicUrl()}/beta/$metadata#deviceManagement/userPfxCertificates`;
  const notFound = (reply: FastifyReply) =>
    parts.refuse(reply, 404, 'ResourceNotFound', 'no PFX with this id was imported');

  app.post(COLLECTION, async (request, reply) => {
    if (!parts.isCaller(request, reply)) return reply;
    const stored = await importedPfx.import(bodyOf(request, importBody));
    return reply.code(201).send({ '@odata.context': `${context()}/$entity`, ...entityOf(stored) });
  });

  app.get<{ Querystring: { readonly $filter?: string } }>(COLLECTION, async (request, reply) => {
    if (!parts.isCaller(request, reply)) return reply;
    const filter = filterIn(request.query.$filter);
    if (filter === undefined)
      return parts.refuse(reply, 400, 'BadRequest', 'this $filter is not served: see docs/pfx.md');
    const userId =
      filter.userPrincipalName === undefined ? undefined : parts.mdm.user(filter.userPrincipalName)?.userId;
    const isNobody = filter.userPrincipalName !== undefined && userId === undefined;
    const found = isNobody ? [] : importedPfx.certificates({ userId, limit: LISTED_MAX });
    const value = found
      .filter(({ thumbprint }) => filter.thumbprint === undefined || thumbprint === filter.thumbprint)
      .map(entityOf);
    return { '@odata.context': context(), value };
  });

  const ofOne = `${COLLECTION}*`;
  app.get<{ Params: { readonly '*': string } }>(ofOne, async (request, reply) => {
    if (!parts.isCaller(request, reply)) return reply;
    const id = idIn(request.params['*']);
    const found = id === undefined ? undefined : importedPfx.certificate(id);
    if (found === undefined) return notFound(reply);
    return { '@odata.context': `${context()}/$entity`, ...entityOf(found) };
  });

  // Microsoft's importer sends the whole of it, as it does to import.
  app.patch<{ Params: { readonly '*': string } }>(ofOne, async (request, reply) => {
    if (!parts.isCaller(request, reply)) return reply;
    const id = idIn(request.params['*']);
    if (id === undefined || importedPfx.certificate(id) === undefined) return notFound(reply);
    const body = bodyOf(request, importBody);
    const isSame =
      body.thumbprint === id.thumbprint && parts.mdm.user(body.userPrincipalName)?.userId === id.userId;
    if (!isSame) return parts.refuse(reply, 400, 'BadRequest', 'user and thumbprint are those of the id');
    return { '@odata.context': `${context()}/$entity`, ...entityOf(await importedPfx.import(body)) };
  });

  app.delete<{ Params: { readonly '*': string } }>(ofOne, async (request, reply) => {
    if (!parts.isCaller(request, reply)) return reply;
    const id = idIn(request.params['*']);
    if (id === undefined || !(await importedPfx.delete(id))) return notFound(reply);
    return reply.code(204).send();
  });
}

/** Graph's key of an entity: `/ID`, `(ID)` or `('ID')` behind the collection, ID being the user's and the thumbprint. */
function idIn(text: string): UserPfxId | undefined {
  const [, userId, thumbprint] =
    /^(?:\/|\('?)([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})-([0-9a-f]{40})(?:'?\))?$/i.exec(text) ?? [];
  return userId === undefined || thumbprint === undefined
    ? undefined
    : { userId: userId.toLowerCase(), thumbprint: thumbprint.toUpperCase() };
}

/** The two filters of Microsoft's importer; `undefined` if it is another one. */
function filterIn(
  text: string | undefined,
): { readonly userPrincipalName?: string; readonly thumbprint?: string } | undefined {
  if (text === undefined) return {};
  const [, userPrincipalName, thumbprint] =
    /^tolower\(userPrincipalName\) eq '([^']{1,256})'(?: and tolower\(thumbprint\) eq '([0-9a-f]{40})')?$/i.exec(
      text,
    ) ?? [];
  if (userPrincipalName === undefined) return undefined;
  return { userPrincipalName, ...(thumbprint === undefined ? {} : { thumbprint: thumbprint.toUpperCase() }) };
}

/** As Graph shows it: what is in it is never given back. */
function entityOf(pfx: ListedUserPfx): Record<string, unknown> {
  const { userId, thumbprint, ...rest } = pfx;
  return {
    id: `${userId}-${thumbprint.toLowerCase()}`,
    thumbprint: thumbprint.toLowerCase(),
    ...rest,
    encryptedPfxBlob: 'AA==',
    encryptedPfxPassword: '',
  };
}
