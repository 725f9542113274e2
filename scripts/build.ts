import { execFileSync, spawnSync } from 'node:child_process';
import { chmod, cp, mkdir, mkdtemp, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { type BuildOptions, build } from 'esbuild';
import { bundlePm2 } from './bundle-pm2.ts';
import { bundleZod } from './bundle-zod.ts';

/**
 * Makes `dist/`: `agent.cjs` (starts the rest), `agent.main.js` with its compiled code, `agent.pm2.js`, and in `assets/` the
 * files that are read at run time. `--entry FILE --out DIR` bundle another program the same way (tests).
 */

const root = resolve(import.meta.dirname, '..');
const { values } = parseArgs({
  options: { entry: { type: 'string', default: join(root, 'src/main.ts') }, out: { type: 'string', default: join(root, 'dist') } },
});
const out = resolve(values.out);
/** A build that fails leaves the last good one in place. */
const work = `${out}.new`;

function commit(): string {
  try {
    return execFileSync('git', ['rev-parse', '--short=12', 'HEAD'], {
      cwd: root,
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
    }).trim();
  } catch {
    return '';
  }
}

async function versionOf(manifest: string): Promise<string> {
  return (JSON.parse(await readFile(join(root, manifest), 'utf8')) as { version: string }).version;
}

async function bundle(): Promise<void> {
  const common: BuildOptions = {
    absWorkingDir: root,
    bundle: true,
    platform: 'node',
    target: 'node24',
    format: 'cjs',
    minifySyntax: true,
    minifyWhitespace: true,
    keepNames: true,
    legalComments: 'external',
    define: {
      __AGENT_VERSION__: JSON.stringify(await versionOf('package.json')),
      __AGENT_COMMIT__: JSON.stringify(commit()),
      __PM2_VERSION__: JSON.stringify(await versionOf('node_modules/pm2/package.json')),
      // `import.meta` does not exist in this format; the wrapper below has the address of the file.
      'import.meta.url': 'bundleUrl',
    },
    logLevel: 'warning',
  };
  const main = join(work, 'agent.main.js');
  await Promise.all([
    build({
      ...common,
      entryPoints: [resolve(values.entry)],
      outfile: main,
      // A short command spends most of its time on reading this file.
      minifyIdentifiers: true,
      sourcemap: 'external',
      sourcesContent: false,
      banner: { js: '(function(exports,require,module,__filename,__dirname,bundleUrl){' },
      footer: { js: '})' },
      // A native add-on for another system, which chokidar does without.
      external: ['fsevents'],
      plugins: [bundlePm2(), bundleZod()],
    }),
    build({
      ...common,
      entryPoints: [join(root, 'src/adapters/pm2-daemon.ts')],
      outfile: join(work, 'agent.pm2.js'),
      plugins: [bundlePm2()],
    }),
    build({
      ...common,
      entryPoints: [join(root, 'scripts/launcher.cjs')],
      outfile: join(work, 'agent.cjs'),
      bundle: false,
      target: 'node20',
      legalComments: 'none',
    }),
  ]);
  await chmod(join(work, 'agent.cjs'), 0o755);
  // The repository's own package.json says that .js files are modules; these are not.
  await writeFile(join(work, 'package.json'), '{"type":"commonjs"}\n');
  // Plain ASCII is read at once and held at one byte for each character; esbuild leaves others in regular expressions.
  const code = await readFile(main, 'utf8');
  await writeFile(
    main,
    code.replace(/[^\0-\x7f]/g, (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`),
  );
}

async function copyAssets(): Promise<void> {
  const assets = join(work, 'assets');
  await mkdir(assets, { recursive: true });
  await cp(join(root, 'assets'), assets, { recursive: true });
  const isSource = (path: string): boolean => !path.endsWith('__pycache__');
  for (const directory of ['simulator', 'workflows', 'systemd'])
    await cp(join(root, directory), join(assets, directory), { recursive: true, filter: isSource });
  await cp(join(root, 'scripts/install.sh'), join(assets, 'install.sh'));
  for (const file of ['swagger-ui-bundle.js', 'swagger-ui.css'])
    await cp(join(root, 'node_modules/swagger-ui-dist', file), join(assets, file));
}

/** Runs one short command, so that what it needed is kept compiled beside the bundle. Without it the program only starts slower. */
async function warm(): Promise<void> {
  const empty = await mkdtemp(join(tmpdir(), 'comfy-agent-build-'));
  const file = join(out, 'agent.main.js');
  spawnSync(process.execPath, [join(root, 'scripts/compile.cjs'), file, 'status', '--root', empty], {
    env: { PATH: process.env['PATH'] },
    stdio: 'ignore',
    timeout: 30_000,
  });
  await rm(empty, { recursive: true, force: true });
  await stat(`${file}.cache`).catch(() => console.error('note: the program could not be compiled ahead; it starts slower'));
}

const started = performance.now();
try {
  await rm(work, { recursive: true, force: true });
  await bundle();
  await copyAssets();
  await rm(out, { recursive: true, force: true });
  await rename(work, out);
  await warm();
  const { size } = await stat(join(out, 'agent.main.js'));
  console.log(`${join(out, 'agent.cjs')}: ${(size / 1e6).toFixed(2)} MB in ${((performance.now() - started) / 1_000).toFixed(1)} s`);
} catch (error) {
  // esbuild has told its own errors already.
  console.error(error instanceof Error && 'errors' in error ? 'the build failed' : error);
  process.exitCode = 1;
} finally {
  await rm(work, { recursive: true, force: true });
}
