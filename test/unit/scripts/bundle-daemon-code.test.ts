import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { type BuildOptions, build } from 'esbuild';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { daemonCode, findDaemonCode, leaveDaemonCode } from '../../../scripts/bundle-daemon-code.ts';

const { loadProgram } = createRequire(import.meta.url)('../../../scripts/load-program.cjs') as {
  loadProgram(name: string, options: object): Record<string, unknown>;
};
let root: string;

/** A command line with one light verb, one that needs a package, and one light verb that asks for such code on its way. */
const SOURCES: Readonly<Record<string, string>> = {
  'package.json': '{"type":"module"}',
  'node_modules/heavy/package.json': '{"name":"heavy","main":"index.js"}',
  'node_modules/heavy/index.js': 'exports.weight = "a heavy package";',
  'src/main.ts': `
    export const light = async () => (await import('./light.ts')).light();
    export const both = async () => (await import('./both.ts')).both();
    export const direct = async () => (await import('heavy')).weight;
    import { name } from './shared.ts';
    export const own = name;`,
  'src/shared.ts': 'export const name = "shared";',
  'src/light.ts': `import { name } from './shared.ts';
    export const light = async () => name + ' light ' + (await import('./daemon.ts')).daemon();`,
  'src/both.ts': `import { daemon } from './daemon.ts'; export const both = () => 'both ' + daemon();`,
  'src/daemon.ts': `import { weight } from 'heavy'; import { name } from './shared.ts';
    let runs = 0; export const daemon = () => name + ' ' + weight + ' ' + ++runs;`,
};

beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'agent-cut-'));
  for (const [name, text] of Object.entries(SOURCES)) {
    await mkdir(dirname(join(root, name)), { recursive: true });
    await writeFile(join(root, name), text);
  }
});
afterEach(() => rm(root, { recursive: true }));

const common = (): BuildOptions => ({
  absWorkingDir: root,
  bundle: true,
  platform: 'node',
  format: 'cjs',
  metafile: true,
  logLevel: 'silent',
  banner: { js: '(function(exports,require,module,__filename,__dirname,bundleUrl){' },
  footer: { js: '})' },
});

async function cut(): Promise<ReadonlySet<string>> {
  const entryPoints = [join(root, 'src/main.ts')];
  const whole = await build({ ...common(), entryPoints, write: false, outdir: join(root, 'out') });
  const modules = findDaemonCode(whole.metafile as NonNullable<typeof whole.metafile>);
  await build({ ...common(), entryPoints, outfile: join(root, 'out/agent.cli.js'), plugins: [leaveDaemonCode(root, modules)] });
  await build({ ...common(), stdin: daemonCode(root, modules), outfile: join(root, 'out/agent.daemon.js') });
  return modules;
}

it('goes through the imports on demand that need a package', async () => {
  expect([...(await cut())].sort()).toEqual(['node_modules/heavy/index.js', 'src/both.ts', 'src/daemon.ts']);
  expect(await readFile(join(root, 'out/agent.cli.js'), 'utf8')).not.toContain('a heavy package');
});

it('leaves a program that does the same, and reads its second part once, when it is asked for', async () => {
  await cut();
  const parts: string[] = [];
  const directory = join(root, 'out');
  const program = loadProgram('agent.cli.js', {
    directory,
    mode: '',
    require: createRequire(import.meta.url),
    read: (name: string) => createRequire(import.meta.url)('node:fs').readFileSync(join(directory, name)),
    onScript: (name: string) => parts.push(name),
  }) as Record<'light' | 'both' | 'direct', () => Promise<string>> & { own: string };
  expect(program.own).toBe('shared');
  expect(parts).toEqual(['agent.cli.js']);
  expect(await program.both()).toBe('both shared a heavy package 1');
  // The same module, not one of its own for each that asks.
  expect(await program.light()).toBe('shared light shared a heavy package 2');
  expect(await program.direct()).toBe('a heavy package');
  expect(parts).toEqual(['agent.cli.js', 'agent.daemon.js']);
});

it('fails the build when every command would load a package', async () => {
  await writeFile(join(root, 'src/shared.ts'), `import { weight } from 'heavy'; export const name = weight;`);
  await expect(cut()).rejects.toThrow('node_modules/heavy/index.js is loaded by every command');
});
