/** The configuration schema as rows, for `leafgate config explain` and the generated reference. */
import { z } from 'zod';
import { configSchema, unwrapped } from '../config.ts';

/** One key of the configuration. */
export interface ConfigKey {
  /** With dots; `[]` marks a list. */
  readonly key: string;
  readonly required: boolean;
  /** As it would be written; absent if there is none. */
  readonly fallback: string | undefined;
  readonly text: string;
}

/** Every key, in the order of the schema. */
export function configReference(): ConfigKey[] {
  return keysOf(configSchema, '');
}

function keysOf(schema: z.core.$ZodType, prefix: string): ConfigKey[] {
  const inner = unwrapped(schema);
  if (inner instanceof z.ZodArray) return keysOf(inner.element, prefix);
  if (!(inner instanceof z.ZodObject)) return [];
  return Object.entries(inner.shape).flatMap(([name, field]) => {
    const key = prefix === '' ? name : `${prefix}.${name}`;
    const isList = unwrapped(field) instanceof z.ZodArray;
    const row: ConfigKey = {
      key: isList ? `${key}[]` : key,
      required: !(field instanceof z.ZodOptional || hasFallback(field)),
      fallback: hasFallback(field) ? fallbackText(field.def.defaultValue) : undefined,
      text: textOf(field),
    };
    return [row, ...keysOf(field, isList ? `${key}[]` : key)];
  });
}

function hasFallback(field: z.core.$ZodType): field is z.ZodDefault | z.ZodPrefault {
  return field instanceof z.ZodDefault || field instanceof z.ZodPrefault;
}

function fallbackText(value: unknown): string {
  // Durations are milliseconds after parsing; in the file they carry a unit.
  if (typeof value === 'number' && value >= 60_000) {
    const hours = value / 3_600_000;
    return hours % 24 === 0 ? `${hours / 24}d` : `${hours}h`;
  }
  return JSON.stringify(value);
}

/** The description on the field itself or on what it wraps. */
function textOf(schema: z.core.$ZodType): string {
  const own = schema instanceof z.ZodType ? schema.description : undefined;
  if (own !== undefined) return own;
  const inner = unwrapped(schema);
  return inner !== schema ? textOf(inner) : '';
}
