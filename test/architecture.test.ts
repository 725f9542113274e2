import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import { describe, expect, it } from 'vitest';
import { errorRegistry } from '../src/domain/errors/registry.ts';

/** The rules of the house (docs/adr/0003, CONTRIBUTING), kept by a test instead of by good will. */

const root = resolve(import.meta.dirname, '..');
const files = readdirSync(join(root, 'src'), { recursive: true, withFileTypes: true })
  .filter((entry) => entry.isFile() && entry.name.endsWith('.ts') && !entry.name.endsWith('.d.ts'))
  .map((entry) => relative(root, join(entry.parentPath, entry.name)));
const text = new Map(files.map((file) => [file, readFileSync(join(root, file), 'utf8')]));
const code = (file: string): string => (text.get(file) ?? '').replace(/\/\*[\s\S]*?\*\//g, '').replace(/^\s*\/\/.*$/gm, '');

interface Import {
  readonly from: string;
  readonly specifier: string;
}
const imports: Import[] = files.flatMap((file) =>
  [...code(file).matchAll(/(?:from\s+|import\(\s*|import\s+|require\(\s*)['"]([^'"]+)['"]/g)].map((match) => ({
    from: file,
    specifier: match[1] ?? '',
  })),
);
const internal = imports
  .filter((each) => each.specifier.startsWith('.'))
  .map((each) => ({ from: each.from, to: relative(root, resolve(root, dirname(each.from), each.specifier)) }));
const packageOf = (specifier: string): string =>
  specifier
    .split('/')
    .slice(0, specifier.startsWith('@') ? 2 : 1)
    .join('/');
const external = imports
  .filter((each) => !each.specifier.startsWith('.'))
  .map((each) => ({ from: each.from, name: packageOf(each.specifier) }));

/** Top-level room of a file: "domain", "plan", …; files directly below src are rooms of their own. */
const room = (file: string): string =>
  file.startsWith('src/') ? (file.split('/').length > 2 ? (file.split('/')[1] ?? '') : file) : 'outside';

/** Which rooms a room may look into. */
const allowed: Readonly<Record<string, readonly string[]>> = {
  domain: ['domain'],
  'src/ports.ts': ['domain'],
  ports: ['domain'],
  plan: ['domain', 'plan'],
  probes: ['domain', 'src/ports.ts', 'ports', 'probes'],
  adapters: ['domain', 'src/ports.ts', 'ports', 'adapters', 'outside'],
  engine: ['domain', 'src/ports.ts', 'ports', 'plan', 'probes', 'engine'],
  api: ['domain', 'src/ports.ts', 'ports', 'api'],
  cli: ['domain', 'plan', 'cli'],
};

/** The only files that may import each package. */
const importers: Readonly<Record<string, RegExp>> = {
  pm2: /^src\/adapters\/pm2/,
  execa: /^src\/adapters\/shell\/shell\.ts$/,
  'simple-git': /^src\/adapters\/git/,
  chokidar: /^src\/adapters\/file/,
  systeminformation: /^src\/adapters\/hardware/,
  undici: /^src\/(adapters\/(comfyui|sources\/download)|cli\/client\/client)/,
  pino: /^src\/adapters\/log/,
  fastify: /^src\/api\//,
  '@fastify/swagger': /^src\/api\//,
  'fastify-type-provider-zod': /^src\/api\//,
  commander: /^src\/cli\//,
  'prom-client': /^src\/adapters\/prometheus\//,
  yaml: /^src\/(plan|adapters)\//,
  'node:sqlite': /^src\/adapters\/sqlite\//,
  zod: /./,
};

const where = (pattern: RegExp, but: (file: string) => boolean = () => false): string[] =>
  files.filter((file) => !but(file) && pattern.test(code(file)));

describe('architecture', () => {
  it('there is something to check', () => {
    expect(files.length).toBeGreaterThan(60);
    expect(imports.length).toBeGreaterThan(200);
  });

  it('rooms look only where they may', () => {
    const wrong = internal.filter(({ from, to }) => {
      const rooms = allowed[room(from)];
      return rooms !== undefined && !rooms.includes(room(to));
    });
    expect(wrong).toEqual([]);
  });

  it('one package, one importer', () => {
    const wrong = external.filter(({ from, name }) =>
      name.startsWith('node:') && importers[name] === undefined ? false : !(importers[name] ?? /^never$/).test(from),
    );
    expect(wrong).toEqual([]);
  });

  it('plan is pure: no await, no clock, no chance, no outside', () => {
    const inPlan = (file: string) => !file.startsWith('src/plan/');
    expect(
      where(
        /\bawait\b|\basync\b(?!-)|Date\.now\(|new Date\(\)|Math\.random|\bprocess\.(env|exit|cwd|argv|platform|hrtime|std)|setTimeout|\bfetch\(/,
        inPlan,
      ),
    ).toEqual([]);
    expect(external.filter(({ from, name }) => from.startsWith('src/plan/') && name.startsWith('node:') && name !== 'node:path')).toEqual(
      [],
    );
  });

  it('domain has no outside either', () => {
    expect(
      external.filter(({ from, name }) => from.startsWith('src/domain/') && !['zod', 'node:crypto', 'node:buffer'].includes(name)),
    ).toEqual([]);
  });

  it('only main reads the environment and ends the process', () => {
    expect(where(/process\.env/, (file) => file === 'src/main.ts' || file.startsWith('src/adapters/pm2'))).toEqual([]);
    expect(where(/process\.exit\(/, (file) => file === 'src/main.ts' || file.startsWith('src/adapters/pm2/daemon'))).toEqual([]);
  });

  it('no default exports, no barrels, no any, no enums, no console', () => {
    expect(where(/export default/)).toEqual([]);
    expect(where(/export \* from/)).toEqual([]);
    expect(where(/:\s*any\b|<any>|as any\b/)).toEqual([]);
    expect(where(/^\s*(export )?(const )?enum /m)).toEqual([]);
    expect(where(/console\.(log|error|warn)\(/)).toEqual([]);
  });

  it('no module-level mutable state', () => {
    expect(where(/^(export )?let /m)).toEqual([]);
  });

  it('files stay readable', () => {
    const long = files
      .map((file) => ({ file, lines: (text.get(file) ?? '').split('\n').length }))
      .filter(({ file, lines }) => lines > (file === 'src/ports.ts' ? 560 : 320));
    expect(long).toEqual([]);
    expect(files.filter((file) => /(utils|helpers|-v2|enhanced-)/.test(file))).toEqual([]);
  });

  it('tests never replace our own modules', () => {
    const tests = readdirSync(join(root, 'test'), { recursive: true, withFileTypes: true }).filter(
      (entry) => entry.isFile() && entry.name.endsWith('.ts') && entry.name !== 'architecture.test.ts',
    );
    const wrong = tests.filter((entry) => /vi\.mock\(/.test(readFileSync(join(entry.parentPath, entry.name), 'utf8')));
    expect(wrong.map((entry) => entry.name)).toEqual([]);
  });

  it('every error code raised is registered, and every registered one is raised', () => {
    const raised = new Set(
      files.flatMap((file) =>
        file === 'src/domain/errors/registry.ts'
          ? []
          : [...code(file).matchAll(/'([A-Z][A-Z0-9]+(?:_[A-Z0-9]+)*)'/g)].map((match) => match[1] ?? ''),
      ),
    );
    expect(Object.keys(errorRegistry).filter((each) => !raised.has(each))).toEqual([]);
    const thrown = files.flatMap((file) => [...code(file).matchAll(/new AgentError\(\s*'([A-Z0-9_]+)'/g)].map((match) => match[1] ?? ''));
    expect(thrown.filter((each) => !(each in errorRegistry))).toEqual([]);
  });
});
