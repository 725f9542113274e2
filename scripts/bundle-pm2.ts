import { readFile } from 'node:fs/promises';
import type { Plugin } from 'esbuild';

/**
 * Makes pm2 7.0.4 fit for one file. Every change is checked: a pm2 whose source no longer holds what is replaced here fails
 * the build instead of failing on a machine.
 */

/**
 * Never used by PM2's daemon as we run it: its dashboard, cloud agent, deployment, phone-home and table printer, and the
 * file watcher, cron and TypeScript loader for entries. Left out, they cost neither bytes nor memory.
 */
const STUBS = [
  '@pm2/js-api',
  '@pm2/blessed',
  '@pm2/pm2-version-check',
  'proxy-agent',
  'pm2-deploy',
  'tx2',
  'cli-tableau',
  'chokidar',
  'croner',
  'js-yaml',
  'pidusage',
];

interface Patch {
  readonly pattern: RegExp;
  readonly replacement: string;
  /** Put before the file when it was patched. */
  readonly preamble: string;
  /** Files that must have the pattern. */
  readonly files: readonly string[];
}

const PATCHES: readonly Patch[] = [
  // Modules in a bundle have no file name of their own; pm2 only makes paths of programs from it that are never started.
  { pattern: /\bmodule\.filename\b/g, replacement: '__filename', preamble: '', files: ['pm2/lib/God.js', 'pm2/lib/God/ForkMode.js'] },
  // Outside node_modules the old constructor warns on stderr at run time.
  {
    pattern: /\bnew Buffer\(/g,
    replacement: 'ampBuffer(',
    preamble: "const ampBuffer = (value) => (typeof value === 'number' ? Buffer.alloc(value) : Buffer.from(value));\n",
    files: ['amp/lib/stream.js', 'amp/lib/encode.js', 'amp-message/index.js'],
  },
];

const packagePath = (path: string): string => path.slice(path.lastIndexOf('node_modules/') + 'node_modules/'.length);

export function bundlePm2(): Plugin {
  return {
    name: 'pm2',
    setup(build) {
      const loaded = new Set<string>();
      const patched = new Set<string>();
      build.onStart(() => {
        loaded.clear();
        patched.clear();
      });
      build.onResolve({ filter: new RegExp(`^(${STUBS.join('|')})$`) }, ({ path, importer }) =>
        importer.includes('/node_modules/pm2/') ? { path, namespace: 'pm2-stub' } : undefined,
      );
      build.onLoad({ filter: /.*/, namespace: 'pm2-stub' }, () => ({ contents: 'module.exports = {};' }));
      build.onLoad({ filter: /node_modules\/(pm2|amp|amp-message)\/.*\.js$/ }, async ({ path }) => {
        const file = packagePath(path);
        loaded.add(file);
        let contents = await readFile(path, 'utf8');
        for (const { pattern, replacement, preamble } of PATCHES) {
          const changed = contents.replace(pattern, replacement);
          if (changed === contents) continue;
          patched.add(file);
          contents = preamble + changed;
        }
        return { contents, loader: 'js' };
      });
      build.onEnd(() => {
        const missing = PATCHES.flatMap(({ files, pattern }) =>
          files
            .filter((file) => loaded.has(file) && !patched.has(file))
            .map((file) => ({ text: `${file} no longer has ${pattern.source}: look at the new pm2 before shipping it` })),
        );
        const absent =
          loaded.size === 0
            ? []
            : PATCHES.flatMap(({ files }) =>
                files.filter((file) => !loaded.has(file)).map((file) => ({ text: `${file} is no longer part of pm2's daemon` })),
              );
        return { errors: [...missing, ...absent] };
      });
    },
  };
}
