import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { stringify } from 'yaml';
import { z } from 'zod';
import { Config } from '../src/domain/configuration/config.ts';
import { namesOf } from '../src/plan/configuration/environment-names.ts';
import { allowedValues, type ConfigSection, configTree } from '../src/plan/configuration/keys.ts';

/** Writes config/agent.schema.json and config/agent.example.yaml from the schema; `--check` fails when they differ from it. */

const schema = {
  $id: 'agent.schema.json',
  title: 'comfylet configuration',
  ...z.toJSONSchema(Config, { io: 'input', unrepresentable: 'any' }),
};

const yamlValue = (value: unknown): string => stringify(value, { collectionStyle: 'flow', lineWidth: 0 }).trimEnd();

/** Lines with `##` explain, lines with one `#` are keys with their defaults. */
function example(section: ConfigSection, indent = ''): string[] {
  return [...section.members].flatMap(([name, member]) => {
    if (member.kind === 'section') return [...(indent === '' ? [''] : []), `#${indent}${name}:`, ...example(member, `${indent}  `)];
    const names = namesOf(member.key);
    const allowed = allowedValues(member);
    const about = [
      member.description,
      /^text(, or null)?$/.test(allowed) || allowed.startsWith(member.description ?? '\0') ? null : `allowed: ${allowed}`,
      names.length === 0 ? null : `environment: ${names.join(', ')}`,
    ].filter((part) => part !== null && part !== '');
    return [...about.map((part) => `## ${indent}${part}`), `#${indent}${name}: ${yamlValue(member.defaultValue)}`];
  });
}

const header = [
  '# yaml-language-server: $schema=./agent.schema.json',
  '## Every key of the configuration with its default. Remove the # before the keys you change, and before their sections.',
  // biome-ignore lint/suspicious/noTemplateCurlyInString: the syntax of the file
  '## Text may hold ${VARIABLE} or ${VARIABLE:-default}. Relative paths count from the root. Secrets have no keys here:',
  '## AGENT_TOKEN or api.tokenFile, SSH_KEY_FILE or CUT_PK_1..3.',
  '',
];

const outputs: readonly (readonly [path: string, content: string])[] = [
  ['config/agent.schema.json', `${JSON.stringify(schema, null, 2)}\n`],
  ['config/agent.example.yaml', `${[...header, ...example(configTree())].join('\n')}\n`],
];

const root = resolve(import.meta.dirname, '..');
for (const [path, content] of outputs) {
  const file = resolve(root, path);
  const before = existsSync(file) ? readFileSync(file, 'utf8') : null;
  if (!process.argv.includes('--check')) {
    mkdirSync(resolve(root, 'config'), { recursive: true });
    writeFileSync(file, content);
  } else if (before !== content) {
    console.error(`${path} does not match src/domain/configuration/config.ts: run node scripts/generate-schema.ts`);
    process.exitCode = 1;
  }
}
