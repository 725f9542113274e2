import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { external, files, filesBelow, ofNode, ROOT, textOf, where } from './source.ts';

/** The only files that may import each package. */
const importers: Readonly<Record<string, RegExp>> = {
  pm2: /^src\/adapters\/pm2\//,
  execa: /^src\/adapters\/shell\/shell\.ts$/,
  'simple-git': /^src\/adapters\/git\//,
  chokidar: /^src\/adapters\/files\//,
  systeminformation: /^src\/adapters\/hardware\//,
  undici: /^src\/(adapters\/comfyui\/|adapters\/sources\/download\.ts$|cli\/client\/client\.ts$)/,
  pino: /^src\/adapters\/logs\//,
  fastify: /^src\/api\//,
  '@fastify/swagger': /^src\/api\//,
  'fastify-type-provider-zod': /^src\/api\//,
  commander: /^src\/cli\//,
  'prom-client': /^src\/adapters\/prometheus\//,
  yaml: /^src\/(plan|adapters)\//,
  zod: /./,
};

describe('packages', () => {
  it('each has one importer', () => {
    expect(external.filter(({ from, name }) => !(importers[name] ?? /^never$/).test(from))).toEqual([]);
    const imported = new Set(external.map(({ name }) => name));
    expect(Object.keys(importers).filter((name) => !imported.has(name))).toEqual([]);
  });

  it('sqlite too, although it is of node', () => {
    expect(ofNode.filter(({ from, name }) => name === 'sqlite' && !from.startsWith('src/adapters/sqlite/'))).toEqual([]);
  });
});

describe('code', () => {
  it('plan is pure: no await, no clock, no chance, no outside', () => {
    const pattern =
      /\bawait\b|\basync\b(?!-)|Date\.now\(|new Date\(\)|Math\.random|\bprocess\.(env|exit|cwd|argv|platform|hrtime|std)|setTimeout|\bfetch\(/;
    expect(where(pattern, (file) => !file.startsWith('src/plan/'))).toEqual([]);
  });

  it('only main reads the environment and ends the process', () => {
    expect(where(/process\.env/, (file) => file === 'src/main.ts' || file.startsWith('src/adapters/pm2/'))).toEqual([]);
    expect(where(/process\.exit\(/, (file) => file === 'src/main.ts' || file === 'src/adapters/pm2/daemon.ts')).toEqual([]);
  });

  it('no default exports, no barrels, no any, no enums, no console', () => {
    expect(where(/export default/)).toEqual([]);
    expect(where(/export (\*|\{[^}]*\}) from/)).toEqual([]);
    expect(where(/:\s*any\b|<any>|as any\b/)).toEqual([]);
    expect(where(/^\s*(export )?(const )?enum /m)).toEqual([]);
    expect(where(/console\.(log|error|warn)\(/)).toEqual([]);
  });

  it('no module-level mutable state', () => {
    expect(where(/^(export )?let /m)).toEqual([]);
  });

  it('files stay readable', () => {
    const long = files.map((file) => ({ file, lines: textOf(file).split('\n').length })).filter(({ lines }) => lines > 320);
    expect(long).toEqual([]);
    expect(files.filter((file) => /(utils|helpers|-v2|enhanced-)/.test(file))).toEqual([]);
  });

  it('tests never replace our own modules', () => {
    const tests = filesBelow('test').filter((file) => file.endsWith('.ts') && !file.startsWith('test/architecture/'));
    expect(tests.filter((file) => /vi\.mock\(/.test(readFileSync(join(ROOT, file), 'utf8')))).toEqual([]);
  });
});
