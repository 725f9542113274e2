import { z } from 'zod';
import { Config } from '../../domain/configuration/config.ts';

/** One key of the configuration that holds a value. */
export interface ConfigLeaf {
  readonly kind: 'leaf';
  /** `gpu.mode`. */
  readonly key: string;
  /** Without default: what may be written. */
  readonly schema: z.ZodType;
  readonly isNullable: boolean;
  readonly description: string | null;
  readonly defaultValue: unknown;
}

export interface ConfigSection {
  readonly kind: 'section';
  readonly key: string;
  readonly members: ReadonlyMap<string, ConfigLeaf | ConfigSection>;
}

/** The schema as a tree of sections and leaves, in the order of the schema. */
export const configTree = (): ConfigSection => section('', Config);

export const leavesOf = (tree: ConfigSection): ConfigLeaf[] =>
  [...tree.members.values()].flatMap((member) => (member.kind === 'leaf' ? [member] : leavesOf(member)));

function section(key: string, schema: z.ZodObject): ConfigSection {
  const members = Object.entries(schema.shape).map(([name, member]) => {
    const path = key === '' ? name : `${key}.${name}`;
    return [name, describe(path, member as z.ZodType)] as const;
  });
  return { kind: 'section', key, members: new Map(members) };
}

function describe(key: string, outer: z.ZodType): ConfigLeaf | ConfigSection {
  let schema = outer;
  let description = outer.description ?? null;
  let isNullable = false;
  let defaultValue: unknown;
  for (;;) {
    description ??= schema.description ?? null;
    if (schema instanceof z.ZodDefault) {
      defaultValue = schema.def.defaultValue;
      schema = schema.unwrap() as z.ZodType;
    } else if (schema instanceof z.ZodPrefault) schema = schema.unwrap() as z.ZodType;
    else if (schema instanceof z.ZodNullable) {
      isNullable = true;
      schema = schema.unwrap() as z.ZodType;
    } else break;
  }
  return schema instanceof z.ZodObject ? section(key, schema) : { kind: 'leaf', key, schema, isNullable, description, defaultValue };
}

/** What may be written for a key, in words: `actual, mock, cpu`, `a whole number from 1 to 64`. */
export function allowedValues(leaf: ConfigLeaf): string {
  const words = describeType(z.toJSONSchema(leaf.schema, { io: 'input', unrepresentable: 'any' }) as JsonSchema, leaf.description);
  return leaf.isNullable ? `${words}, or null` : words;
}

interface JsonSchema {
  readonly type?: string;
  readonly enum?: readonly unknown[];
  readonly minimum?: number;
  readonly maximum?: number;
  readonly pattern?: string;
  readonly items?: JsonSchema;
  readonly anyOf?: readonly JsonSchema[];
  readonly properties?: Readonly<Record<string, JsonSchema>>;
  readonly required?: readonly string[];
}

function describeType(type: JsonSchema, description: string | null): string {
  if (type.enum !== undefined) return type.enum.map(String).join(', ');
  if (type.anyOf !== undefined) return type.anyOf.map((member) => describeType(member, null)).join(' or ');
  if (type.type === 'boolean') return 'true or false';
  if (type.type === 'integer' || type.type === 'number') {
    const least = type.minimum === undefined || type.minimum <= Number.MIN_SAFE_INTEGER ? null : type.minimum;
    const most = type.maximum === undefined || type.maximum >= Number.MAX_SAFE_INTEGER ? null : type.maximum;
    return [
      'a whole number',
      least === null ? null : `${most === null ? 'of at least' : 'from'} ${least}`,
      most === null ? null : `to ${most}`,
    ]
      .filter((part) => part !== null)
      .join(' ');
  }
  if (type.type === 'array') return `a list of ${describeType(type.items ?? {}, null)}`;
  if (type.properties !== undefined)
    return `{${Object.keys(type.properties)
      .map((name) => (type.required?.includes(name) ? name : `${name}?`))
      .join(', ')}}`;
  if (type.type === 'object') return 'names with text values';
  return type.pattern !== undefined && description !== null ? description : 'text';
}
