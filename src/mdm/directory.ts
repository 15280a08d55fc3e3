/** What an administrator brings in from a directory: users and devices, as tables of text or as JSON. */
import { z } from 'zod';
import { PkiError } from '../errors.ts';
import type { DeviceAttributes, DeviceUser } from './device.ts';

/** Text of one line that fits into a certificate. */
const text = z.string().regex(/^[^\p{C}]{1,256}$/u, 'text of one line, at most 256 characters');
const securityIdentifier = z.string().regex(/^S-1-\d{1,15}(-\d{1,10}){1,15}$/, 'a SID: S-1-5-21-…');
const userPrincipalName = z.string().regex(/^[^@\s\p{C}]{1,113}@[^@\s\p{C}]{1,113}$/u, 'name@domain');

const userRow = z.strictObject({
  /** Object id; made up if it is absent and the user is new. */
  userId: z.guid().optional(),
  userPrincipalName,
  userName: text.optional(),
  emailAddress: z
    .string()
    .regex(/^[^@\s\p{C}]{1,64}@[a-z0-9.-]{1,253}$/iu, 'an e-mail address')
    .optional(),
  onPremisesSecurityIdentifier: securityIdentifier.optional(),
  onPremisesDistinguishedName: z
    .string()
    .regex(/^[^\p{C}]{1,1024}$/u, 'a distinguished name')
    .optional(),
  onPremisesSamAccountName: z
    .string()
    .regex(/^[^\p{C}"/\\[\]:;|=,+*?<>@]{1,256}$/u, 'an account name')
    .optional(),
}) satisfies z.ZodType<Omit<DeviceUser, 'userId'>>;

/** A user as he is imported. */
export type UserRow = z.infer<typeof userRow>;

const deviceRow = z
  .strictObject({
    /** Of a device that has joined. */
    deviceId: z.guid().optional(),
    /** Of one that will join: an enrolment token is made that serves this serial number alone. */
    serialNumber: z
      .string()
      .regex(/^[^\p{C}]{1,64}$/u, 'at most 64 characters')
      .optional(),
    userPrincipalName: userPrincipalName.optional(),
    /** Names of static groups, with `;` between them. */
    groups: z
      .string()
      .regex(/^[A-Za-z0-9-]{1,64}(;[A-Za-z0-9-]{1,64}){0,31}$/, 'group ids with ; between them')
      .optional(),
    imei: z
      .string()
      .regex(/^\d{15}$/, '15 digits')
      .optional(),
    meid: z
      .string()
      .regex(/^[0-9A-Fa-f]{14}$/, '14 hexadecimal digits')
      .optional(),
    wifiMacAddress: z
      .string()
      .regex(/^([0-9A-Fa-f]{2}[:-]?){5}[0-9A-Fa-f]{2}$/, 'a MAC address')
      .optional(),
    fullyQualifiedDomainName: z
      .string()
      .regex(/^(?!.{254})[a-z0-9-]{1,63}(\.[a-z0-9-]{1,63})+$/i, 'host.domain')
      .optional(),
    onPremisesSecurityIdentifier: securityIdentifier.optional(),
  })
  .refine(
    (row) => (row.deviceId === undefined) !== (row.serialNumber === undefined),
    'either deviceId or serialNumber',
  ) satisfies z.ZodType<DeviceAttributes>;

/** A device as it is imported. */
export type DeviceRow = z.infer<typeof deviceRow>;

const ROWS_MAX = 100_000;

const userKeyOf = (row: UserRow) => row.userPrincipalName.toLowerCase();
const deviceKeyOf = (row: DeviceRow) => row.deviceId?.toLowerCase() ?? `serial ${row.serialNumber}`;
const AGAIN = 'the same user or device as in a line before';
const isDistinct =
  <T>(keyOf: (row: T) => string) =>
  (rows: readonly T[]) =>
    new Set(rows.map(keyOf)).size === rows.length;

/** Users as JSON has them; no user twice. */
export const userRows = z.array(userRow).max(ROWS_MAX).refine(isDistinct(userKeyOf), AGAIN);

/** Devices as JSON has them; no device twice. */
export const deviceRows = z.array(deviceRow).max(ROWS_MAX).refine(isDistinct(deviceKeyOf), AGAIN);

/**
 * Reads a table of users: RFC 4180, UTF-8, with a first line of field names, those of `UserRow`. Empty fields are absent.
 *
 * @throws PkiError `request_malformed` naming line and field. All lines are good, or none is taken.
 */
export function parseUsers(csv: string): UserRow[] {
  return rowsOf(csv, userRow, userKeyOf);
}

/**
 * Reads a table of devices, as `parseUsers` does.
 *
 * @throws PkiError `request_malformed`.
 */
export function parseDevices(csv: string): DeviceRow[] {
  return rowsOf(csv, deviceRow, deviceKeyOf);
}

/** The directory's facts in a row. */
export function attributesIn(row: DeviceRow): DeviceAttributes {
  const { imei, meid, wifiMacAddress, fullyQualifiedDomainName, onPremisesSecurityIdentifier } = row;
  return { imei, meid, wifiMacAddress, fullyQualifiedDomainName, onPremisesSecurityIdentifier };
}

function rowsOf<S extends z.ZodType>(
  csv: string,
  schema: S,
  keyOf: (row: z.output<S>) => string,
): z.output<S>[] {
  const [head, ...lines] = recordsOf(csv);
  if (head === undefined) throw malformed(1, 'the table is empty');
  const names = head.fields.map((name) => name.trim());
  if (new Set(names).size !== names.length) throw malformed(head.line, 'a field is named twice');
  if (lines.length > ROWS_MAX) throw malformed(head.line, `more than ${ROWS_MAX} lines`);
  const seen = new Set<string>();
  return lines.map(({ line, fields }) => {
    if (fields.length !== names.length) {
      throw malformed(line, `${fields.length} fields, the first line names ${names.length}`);
    }
    const pairs = names.map((name, index): [string, string] => [name, (fields[index] ?? '').trim()]);
    const parsed = schema.safeParse(Object.fromEntries(pairs.filter(([, value]) => value !== '')));
    if (!parsed.success) {
      const issue = parsed.error.issues[0];
      throw malformed(line, `${issue?.path.join('.') || 'line'}: ${issue?.message ?? 'not valid'}`);
    }
    const key = keyOf(parsed.data);
    if (seen.has(key)) throw malformed(line, AGAIN);
    seen.add(key);
    return parsed.data;
  });
}

function malformed(line: number, why: string): PkiError {
  return new PkiError('request_malformed', `line ${line}: ${why}`);
}

interface CsvRecord {
  /** Where it begins; from 1. */
  readonly line: number;
  readonly fields: readonly string[];
}

/** RFC 4180 §2. Blank lines are passed over; a byte order mark, which Excel writes, too. */
function recordsOf(csv: string): CsvRecord[] {
  const source = csv.startsWith('\uFEFF') ? csv.slice(1) : csv;
  const field = /"((?:[^"]|"")*)"(?=,|\r?\n|$)|([^",\r\n]*)(?=,|\r?\n|$)/y;
  const records: CsvRecord[] = [];
  let fields: string[] = [];
  let line = 1;
  let begin = 1;
  let at = 0;
  while (at < source.length || fields.length > 0) {
    field.lastIndex = at;
    const found = field.exec(source);
    if (found === null) throw malformed(line, 'a quotation mark in the wrong place');
    const value = found[1]?.replaceAll('""', '"') ?? found[2] ?? '';
    fields.push(value);
    line += value.split('\n').length - 1;
    at = field.lastIndex;
    if (source[at] === ',') {
      at += 1;
      continue;
    }
    if (fields.length > 1 || fields[0] !== '') records.push({ line: begin, fields });
    fields = [];
    if (at >= source.length) break;
    at += source[at] === '\r' ? 2 : 1;
    line += 1;
    begin = line;
  }
  return records;
}
