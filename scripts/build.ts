import { execFileSync } from 'node:child_process';
import { chmod, cp, mkdir, readFile, rename, rm, stat } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { build } from 'esbuild';
import { bundlePm2 } from './bundle-pm2.ts';

/**
 * Makes `dist/`: the program as one file (`agent.cjs`) and, in `assets/`, the files that it reads at run time.
 * `--entry FILE --out DIR` bundle another program the same way (tests).
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
    return 'unknown';
  }
}

async function bundle(): Promise<void> {
  const { version } = JSON.parse(await readFile(join(root, 'package.json'), 'utf8')) as { version: string };
  await build({
    entryPoints: [resolve(values.entry)],
    outfile: join(work, 'agent.cjs'),
    absWorkingDir: root,
    bundle: true,
    platform: 'node',
    target: 'node24',
    format: 'cjs',
    minifySyntax: true,
    minifyWhitespace: true,
    keepNames: true,
    sourcemap: 'external',
    sourcesContent: false,
    legalComments: 'external',
    // Native add-ons that packages ask for and do without.
    external: ['fsevents'],
    define: { __AGENT_VERSION__: JSON.stringify(version), __AGENT_COMMIT__: JSON.stringify(commit()), 'import.meta.url': 'bundleUrl' },
    // A function of the URL costs nothing at start; `import.meta` does not exist in this format.
    banner: { js: "#!/usr/bin/env node\nconst bundleUrl=require('node:url').pathToFileURL(__filename).href;" },
    plugins: [bundlePm2()],
    logLevel: 'warning',
  });
  await chmod(join(work, 'agent.cjs'), 0o755);
}

async function copyAssets(): Promise<void> {
  const assets = join(work, 'assets');
  await mkdir(assets, { recursive: true });
  await cp(join(root, 'assets'), assets, { recursive: true });
  const isSource = (path: string): boolean => !path.endsWith('__pycache__');
  for (const directory of ['simulator', 'workflows'])
    await cp(join(root, directory), join(assets, directory), { recursive: true, filter: isSource });
  for (const file of ['swagger-ui-bundle.js', 'swagger-ui.css'])
    await cp(join(root, 'node_modules/swagger-ui-dist', file), join(assets, file));
}

const started = performance.now();
try {
  await rm(work, { recursive: true, force: true });
  await bundle();
  await copyAssets();
  await rm(out, { recursive: true, force: true });
  await rename(work, out);
  const { size } = await stat(join(out, 'agent.cjs'));
  console.log(`${join(out, 'agent.cjs')}: ${(size / 1e6).toFixed(2)} MB in ${((performance.now() - started) / 1_000).toFixed(1)} s`);
} catch (error) {
  // esbuild has told its own errors already.
  console.error(error instanceof Error && 'errors' in error ? 'the build failed' : error);
  process.exitCode = 1;
} finally {
  await rm(work, { recursive: true, force: true });
}
