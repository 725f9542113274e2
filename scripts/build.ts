import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { chmod, cp, mkdir, mkdtemp, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { type BuildOptions, build } from 'esbuild';
import type { BuildInputs } from '../src/domain/agent.ts';
import { daemonCode, findDaemonCode, leaveDaemonCode } from './bundle-daemon-code.ts';
import { bundlePm2 } from './bundle-pm2.ts';
import { bundleZod } from './bundle-zod.ts';
import { thirdParties } from './third-party.ts';

/**
 * Makes `dist/`: `agent.cjs` (starts the rest), `agent.cli.js` and `agent.daemon.js` with their compiled code, `agent.pm2.js`,
 * and in `assets/` the files that are read at run time. For tests: `--entry FILE --out DIR` bundle another program the same way,
 * `--agent-version` and `--pm2-version` call it another version, `--no-warm` compiles nothing ahead.
 */

const root = resolve(import.meta.dirname, '..');
const { values } = parseArgs({
  options: {
    entry: { type: 'string', default: join(root, 'src/main.ts') },
    out: { type: 'string', default: join(root, 'dist') },
    'agent-version': { type: 'string' },
    'pm2-version': { type: 'string' },
    'no-warm': { type: 'boolean', default: false },
  },
});
const out = resolve(values.out);
/** The two parts of the program. */
const PROGRAM = ['agent.cli.js', 'agent.daemon.js'] as const;
/** A build that fails leaves the last good one in place. */
const work = `${out}.new`;

/** Empty where there is no git, or no repository. */
function git(...args: readonly string[]): string {
  try {
    return execFileSync('git', args, { cwd: root, encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).trim();
  } catch {
    return '';
  }
}

const inputs = async (): Promise<BuildInputs> => ({
  clean: git('status', '--porcelain') === '',
  lock: createHash('sha256')
    .update(await readFile(join(root, 'package-lock.json')))
    .digest('hex'),
  esbuild: await versionOf('node_modules/esbuild/package.json'),
  node: process.versions.node,
});

async function versionOf(manifest: string): Promise<string> {
  return (JSON.parse(await readFile(join(root, manifest), 'utf8')) as { version: string }).version;
}

/** @returns the files that went in, relative to the repository */
async function bundle(): Promise<readonly string[]> {
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
    metafile: true,
    define: {
      __AGENT_VERSION__: JSON.stringify(values['agent-version'] ?? (await versionOf('package.json'))),
      __AGENT_COMMIT__: JSON.stringify(git('rev-parse', '--short=12', 'HEAD')),
      __BUILD_INPUTS__: JSON.stringify(await inputs()),
      __PM2_VERSION__: JSON.stringify(values['pm2-version'] ?? (await versionOf('node_modules/pm2/package.json'))),
      // `import.meta` does not exist in this format; the wrapper below has the address of the file.
      'import.meta.url': 'bundleUrl',
    },
    logLevel: 'warning',
  };
  const program: BuildOptions = {
    ...common,
    // To give ten thousand functions their names takes 20 ms of every start.
    keepNames: false,
    sourcemap: 'external',
    sourcesContent: false,
    banner: { js: '(function(exports,require,module,__filename,__dirname,bundleUrl){' },
    footer: { js: '})' },
    // A native add-on for another system, which chokidar does without.
    external: ['fsevents'],
  };
  const entry = resolve(values.entry);
  const plugins = [bundlePm2(), bundleZod()];
  const { metafile: whole } = await build({ ...program, entryPoints: [entry], plugins, metafile: true, write: false, outdir: work });
  const modules = findDaemonCode(whole);
  const built = await Promise.all([
    build({
      ...program,
      entryPoints: [entry],
      outfile: join(work, 'agent.cli.js'),
      plugins: [leaveDaemonCode(root, modules)],
      // A short command spends most of its time on reading this file.
      minifyIdentifiers: true,
    }),
    build({ ...program, stdin: daemonCode(root, modules), outfile: join(work, 'agent.daemon.js'), plugins }),
    build({
      ...common,
      entryPoints: [join(root, 'src/adapters/pm2/daemon.ts')],
      outfile: join(work, 'agent.pm2.js'),
      plugins: [bundlePm2()],
    }),
    build({
      ...common,
      entryPoints: [join(root, 'scripts/launcher.cjs')],
      outfile: join(work, 'agent.cjs'),
      target: 'node20',
      legalComments: 'none',
    }),
  ]);
  await chmod(join(work, 'agent.cjs'), 0o755);
  // The repository's own package.json says that .js files are modules; these are not.
  await writeFile(join(work, 'package.json'), '{"type":"commonjs"}\n');
  // Plain ASCII is read at once and held at one byte for each character; esbuild leaves others in regular expressions.
  for (const name of PROGRAM) {
    const code = await readFile(join(work, name), 'utf8');
    await writeFile(
      join(work, name),
      code.replace(/[^\0-\x7f]/g, (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`),
    );
  }
  return built.flatMap(({ metafile }) => Object.keys(metafile?.inputs ?? {}));
}

async function copyAssets(inputs: readonly string[]): Promise<void> {
  const assets = join(work, 'assets');
  await mkdir(assets, { recursive: true });
  // Texts of licences go into one file, with those of the packages.
  await cp(join(root, 'assets'), assets, { recursive: true, filter: (path) => path !== join(root, 'assets/licenses') });
  await writeFile(join(assets, 'licenses.json'), JSON.stringify(thirdParties(root, inputs)));
  const isSource = (path: string): boolean => !path.endsWith('__pycache__');
  for (const directory of ['simulator', 'workflows', 'systemd'])
    await cp(join(root, directory), join(assets, directory), { recursive: true, filter: isSource });
  await cp(join(root, 'scripts/install.sh'), join(assets, 'install.sh'));
  for (const file of ['swagger-ui-bundle.js', 'swagger-ui.css'])
    await cp(join(root, 'node_modules/swagger-ui-dist', file), join(assets, file));
}

/** The flags under which the launcher starts the daemon. Code that was compiled under others, but for the young generation's, is refused. */
const DAEMON_FLAGS = ['--max-semi-space-size=1'];
const WARM_LIMIT_MS = 30_000;

/**
 * Runs a short command, one that needs the whole program, and a daemon with its simulator, so that the code they needed is kept
 * compiled beside each part. Without it the program only starts slower.
 */
async function warm(): Promise<void> {
  const place = await mkdtemp(join(tmpdir(), 'comfylet-build-'));
  const command = (flags: readonly string[], mode: string, verb: string): ChildProcess =>
    spawn(process.execPath, [...flags, join(root, 'scripts/compile.cjs'), out, mode, verb, '--root', place], {
      env: { PATH: process.env['PATH'] },
      stdio: 'ignore',
      timeout: WARM_LIMIT_MS,
    });
  await writeFile(join(place, 'agent.yaml'), 'comfyui: { repository: "simulator:" }\ngpu: { mode: mock, count: 1 }\napi: { port: 0 }\n');
  const daemon = command(DAEMON_FLAGS, 'run.', 'run');
  const ended = once(daemon, 'exit');
  const isReady = async (): Promise<boolean> =>
    /"ready": ?true/.test(await readFile(join(place, 'run/instances.json'), 'utf8').catch(() => ''));
  const end = performance.now() + WARM_LIMIT_MS;
  while (daemon.exitCode === null && performance.now() < end && !(await isReady())) await pause(50);
  // What is kept of the command line is what this needs.
  await once(command([], '', 'status'), 'exit');
  daemon.kill('SIGTERM');
  await ended;
  // Without an agent to ask, it needs the rest.
  await once(command([], '', 'doctor'), 'exit');
  await rm(place, { recursive: true, force: true });
  for (const cache of PROGRAM.flatMap((name) => [`${name}.cache`, `${name}.run.cache`]))
    await stat(join(out, cache)).catch(() => console.error(`note: ${cache} could not be compiled ahead; the program starts slower`));
}

const started = performance.now();
try {
  await rm(work, { recursive: true, force: true });
  await copyAssets(await bundle());
  await rm(out, { recursive: true, force: true });
  await rename(work, out);
  if (!values['no-warm']) await warm();
  const sizes = await Promise.all(PROGRAM.map(async (name) => ((await stat(join(out, name))).size / 1e6).toFixed(2)));
  console.log(`${join(out, 'agent.cjs')}: ${sizes.join(' + ')} MB in ${((performance.now() - started) / 1_000).toFixed(1)} s`);
} catch (error) {
  console.error(error instanceof Error && 'errors' in error ? error.message : error);
  process.exitCode = 1;
} finally {
  await rm(work, { recursive: true, force: true });
}
