/** Puts a generated OpenAPI document into the form people and generators like. Pure. */

export type JsonObject = { [key: string]: unknown };

export const isRecord = (value: unknown): value is JsonObject => value !== null && typeof value === 'object' && !Array.isArray(value);

const PREFIX = '#/components/schemas/';

export function tidy(document: JsonObject): JsonObject {
  const cleaned = clean(withLongAddresses(document)) as JsonObject;
  const components = isRecord(cleaned['components']) ? cleaned['components'] : {};
  const schemas = isRecord(components['schemas']) ? components['schemas'] : {};
  const used = reachable(cleaned['paths'], schemas);
  const requests = reachable(requestBodies(cleaned['paths']), schemas);
  // The generator makes two components of each schema, for reading and for writing ("NameInput"); most are used one way only.
  const names = new Map([...used].map((name) => [name, name.endsWith('Input') && !used.has(name.slice(0, -5)) ? name.slice(0, -5) : name]));
  const kept = [...used]
    .sort()
    .map((name) => [names.get(name) ?? name, requests.has(name) ? schemas[name] : opened(schemas[name])] as const);
  return rename({ ...cleaned, components: { ...components, schemas: Object.fromEntries(kept) } }, names) as JsonObject;
}

/** Part of an address that is too long is answered where there is such a part. */
function withLongAddresses(document: JsonObject): JsonObject {
  const paths = isRecord(document['paths']) ? document['paths'] : {};
  const told = (operation: unknown): unknown => {
    const responses = isRecord(operation) && isRecord(operation['responses']) ? operation['responses'] : null;
    return !isRecord(operation) || responses === null || responses['400'] === undefined
      ? operation
      : { ...operation, responses: { ...responses, 414: responses['400'] } };
  };
  const entries = Object.entries(paths).map(([path, item]) =>
    path.includes('{') && isRecord(item)
      ? [path, Object.fromEntries(Object.entries(item).map(([method, operation]) => [method, told(operation)]))]
      : [path, item],
  );
  return { ...document, paths: Object.fromEntries(entries) };
}

/** Drops what says nothing: the limits of whole numbers, and a pattern beside a format that means the same. */
function clean(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(clean);
  if (!isRecord(value)) return value;
  const result: JsonObject = {};
  for (const [key, member] of Object.entries(value)) {
    if ((key === 'minimum' || key === 'maximum') && Math.abs(Number(member)) === Number.MAX_SAFE_INTEGER) continue;
    if (key === 'pattern' && value['format'] === 'date-time') continue;
    if (key === 'propertyNames' && isRecord(member) && Object.keys(member).join() === 'type' && member['type'] === 'string') continue;
    if (key === 'description' && member === 'Default Response') result[key] = 'the answer';
    else result[key] = clean(member);
  }
  return result;
}

/** Answers may gain fields later, so a client must not be told that there are no others. */
function opened(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(opened);
  if (!isRecord(value)) return value;
  return Object.fromEntries(
    Object.entries(value)
      .filter(([key, member]) => !(key === 'additionalProperties' && member === false))
      .map(([key, member]) => [key, opened(member)]),
  );
}

function references(value: unknown, found: Set<string>): Set<string> {
  if (Array.isArray(value)) for (const member of value) references(member, found);
  else if (isRecord(value)) {
    for (const [key, member] of Object.entries(value)) {
      if (key === '$ref' && typeof member === 'string' && member.startsWith(PREFIX)) found.add(member.slice(PREFIX.length));
      else references(member, found);
    }
  }
  return found;
}

function reachable(from: unknown, schemas: JsonObject): ReadonlySet<string> {
  const found = references(from, new Set());
  // A set also visits what is added while it is walked.
  for (const name of found) references(schemas[name], found);
  return found;
}

const requestBodies = (paths: unknown): unknown[] =>
  isRecord(paths)
    ? Object.values(paths).flatMap((item) =>
        isRecord(item) ? Object.values(item).map((operation) => (isRecord(operation) ? operation['requestBody'] : null)) : [],
      )
    : [];

function rename(value: unknown, names: ReadonlyMap<string, string>): unknown {
  if (Array.isArray(value)) return value.map((member) => rename(member, names));
  if (!isRecord(value)) return value;
  return Object.fromEntries(
    Object.entries(value).map(([key, member]) => {
      if (key !== '$ref' || typeof member !== 'string' || !member.startsWith(PREFIX)) return [key, rename(member, names)];
      const name = member.slice(PREFIX.length);
      return [key, `${PREFIX}${names.get(name) ?? name}`];
    }),
  );
}
