import { nearestName } from '../text/edit-distance.ts';
import { type Positioned, readYaml } from '../text/positioned-text.ts';
import { shown } from '../text/problem.ts';
import { looksSecret } from '../text/redact-config.ts';
import { type Environment, keyOfName } from './environment-names.ts';
import { boolean, integer } from './environment-values.ts';
import { expandReferences } from './expand.ts';
import { allowedValues, type ConfigLeaf, type ConfigSection, leavesOf } from './keys.ts';
import type { ConfigProblem, Setting } from './setting.ts';

export interface ConfigFileText {
  readonly path: string;
  readonly text: string;
}

export interface FileReading {
  readonly settings: readonly Setting[];
  readonly problems: readonly ConfigProblem[];
  /** Line of a key or of something below it. */
  readonly lineOf: Positioned['lineOf'];
}

/** The configuration file (YAML, or JSON, which is a part of it) as settings, with every problem of form. */
export function readConfigFile(file: ConfigFileText, tree: ConfigSection, environment: Environment): FileReading {
  const read = readYaml(file.text, { path: file.path });
  const fault = (key: string, line: number | null, message: string): ConfigProblem => ({
    key,
    source: 'file',
    origin: file.path,
    line,
    code: 'CONFIG_INVALID',
    message,
  });
  if (!read.ok) return { settings: [], problems: read.problems.map(({ line, message }) => fault('', line, message)), lineOf: () => null };
  const { value, lineOf } = read.text;
  const settings: Setting[] = [];
  const problems: ConfigProblem[] = [];

  const walk = (node: unknown, section: ConfigSection): void => {
    // A section of nothing but comments is null.
    if (node === null || node === undefined) return;
    const line = section.key === '' ? 1 : lineOf(section.key.split('.'));
    if (typeof node !== 'object' || Array.isArray(node)) {
      problems.push(
        fault(
          section.key,
          line,
          `found ${looksSecret(section.key) ? 'a value' : shown(node)}; allowed: a section with ${[...section.members.keys()].slice(0, 5).join(', ')}…`,
        ),
      );
      return;
    }
    for (const [name, member] of Object.entries(node)) {
      const known = section.members.get(name);
      const key = section.key === '' ? name : `${section.key}.${name}`;
      if (known === undefined) problems.push(fault(key, lineOf(key.split('.')), unknownKey(name, section, tree)));
      else if (known.kind === 'section') walk(member, known);
      else leaf(member, known);
    }
  };

  const leaf = (written: unknown, known: ConfigLeaf): void => {
    const { key } = known;
    const line = lineOf(key.split('.'));
    if (written === null && !known.isNullable) {
      problems.push(fault(key, line, `is empty; allowed: ${allowedValues(known)}`));
      return;
    }
    const troubles: string[] = [];
    const value = expandDeep(written, environment, troubles);
    for (const trouble of troubles) problems.push(fault(key, line, trouble));
    if (troubles.length > 0) return;
    settings.push({
      key,
      value: value === written ? written : fromExpanded(value, known),
      written,
      source: 'file',
      origin: file.path,
      line,
    });
  };

  walk(value, tree);
  return { settings, problems, lineOf };
}

function unknownKey(name: string, section: ConfigSection, tree: ConfigSection): string {
  const where = section.key === '' ? '' : ` in ${section.key}`;
  if (looksSecret(name))
    return `there is no such key${where}: secrets are given by environment (AGENT_TOKEN) or in files of their own (api.tokenFile, ssh.keyFile)`;
  const variable = keyOfName(name);
  if (variable !== null) return `is the name of an environment variable; the key is ${variable}`;
  const sibling = nearestName(name, section.members.keys());
  if (sibling !== null) return `there is no such key${where}; did you mean ${section.key === '' ? sibling : `${section.key}.${sibling}`}?`;
  const leaves = leavesOf(tree).map(({ key }) => key);
  const elsewhere = leaves.filter((key) => key.endsWith(`.${name}`)).slice(0, 3);
  if (elsewhere.length > 0) return `there is no such key${where}; did you mean ${elsewhere.join(' or ')}?`;
  return `there is no such key${where}; known are ${[...section.members.keys()].join(', ')}`;
}

/** Every string inside a value, expanded. The same value comes back when there was nothing to expand. */
function expandDeep(value: unknown, environment: Environment, troubles: string[]): unknown {
  if (typeof value === 'string') {
    const expansion = expandReferences(value, environment);
    for (const name of expansion.unset)
      troubles.push(`names the variable ${name}, which is not set; set it, or write \${${name}:-default}`);
    for (const reference of expansion.malformed)
      troubles.push(`${reference} names no variable; write \${NAME}, or $\${ for the characters themselves`);
    return expansion.text;
  }
  if (Array.isArray(value)) {
    const items = value.map((item) => expandDeep(item, environment, troubles));
    return items.every((item, index) => item === value[index]) ? value : items;
  }
  if (value !== null && typeof value === 'object') {
    const members = Object.entries(value).map(([key, member]) => [key, expandDeep(member, environment, troubles)] as const);
    return members.every(([key, member]) => member === (value as Record<string, unknown>)[key]) ? value : Object.fromEntries(members);
  }
  return value;
}

/** `port: ${PORT}` is text after expansion, where a number or true and false are wanted. */
function fromExpanded(value: unknown, leaf: ConfigLeaf): unknown {
  if (typeof value !== 'string') return value;
  if (value === '' && leaf.isNullable) return null;
  const type = leaf.schema.type;
  const reading = type === 'number' || type === 'int' ? integer(value) : type === 'boolean' ? boolean(value) : null;
  return reading !== null && 'value' in reading ? reading.value : value;
}
