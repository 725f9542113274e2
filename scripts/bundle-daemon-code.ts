import { isAbsolute, relative, resolve } from 'node:path';
import type { BuildOptions, Metafile, Plugin } from 'esbuild';

/**
 * Cuts the program in two, so that a short command reads 0.3 MB and not all of it: the command line, and the code that needs
 * packages, which it loads when a verb asks. The cut goes through `import()`s alone, and is found, not listed: each whose module
 * has such a package among what it imports by statements. The launcher gives the second part as the module `agent:daemon`.
 */

const DAEMON_CODE = 'agent:daemon';
const UNUSED = 'agent:unused';
/** The parser of the command line is needed by each command. */
const isPackage = (path: string): boolean => path.startsWith('node_modules/') && !path.startsWith('node_modules/commander/');

/** Where the cut goes. `metafile`: of the whole program in one. @returns paths relative to the repository */
export function findDaemonCode({ inputs }: Metafile): ReadonlySet<string> {
  const importsOf = (path: string) => (inputs[path]?.imports ?? []).filter(({ external }) => external !== true);
  const needsPackages = (path: string, seen: Set<string>): boolean => {
    if (isPackage(path)) return true;
    if (seen.has(path)) return false;
    seen.add(path);
    return importsOf(path).some((each) => each.kind !== 'dynamic-import' && needsPackages(each.path, seen));
  };
  const asked = Object.keys(inputs)
    .flatMap(importsOf)
    .filter(({ kind }) => kind === 'dynamic-import');
  return new Set(asked.map(({ path }) => path).filter((path) => needsPackages(path, new Set())));
}

/** For the bundle of the command line. A package that is left in it after all fails the build. */
export function leaveDaemonCode(root: string, modules: ReadonlySet<string>): Plugin {
  return {
    name: 'leave-daemon-code',
    setup(build) {
      build.onResolve({ filter: /.*/ }, async ({ path, kind, importer, resolveDir, pluginData }) => {
        if (kind !== 'dynamic-import' || pluginData === DAEMON_CODE) return undefined;
        const found = await build.resolve(path, { kind, importer, resolveDir, pluginData: DAEMON_CODE });
        if (found.errors.length > 0 || !isAbsolute(found.path)) return undefined;
        const file = relative(root, found.path);
        return modules.has(file) ? { path: file, namespace: DAEMON_CODE } : undefined;
      });
      build.onLoad({ filter: /.*/, namespace: DAEMON_CODE }, ({ path }) => ({
        contents: `module.exports = require(${JSON.stringify(DAEMON_CODE)})[${JSON.stringify(path)}];`,
      }));
      // For verbs that are programs of their own, which ours are not; it takes 4 ms to load.
      build.onResolve({ filter: /^node:child_process$/ }, ({ path, importer }) =>
        importer.includes('/node_modules/commander/') ? { path, namespace: UNUSED } : undefined,
      );
      build.onLoad({ filter: /.*/, namespace: UNUSED }, () => ({ contents: 'module.exports = {};' }));
      build.onResolve({ filter: new RegExp(`^${DAEMON_CODE}$`) }, () => ({ path: DAEMON_CODE, external: true }));
      build.onEnd(({ metafile }) => ({
        errors: Object.keys(metafile?.inputs ?? {})
          .filter(isPackage)
          .map((path) => ({ text: `${path} is loaded by every command` })),
      }));
    },
  };
}

/** The second part: an object with each of the modules under its path, run when it is first read. */
export function daemonCode(root: string, modules: ReadonlySet<string>): NonNullable<BuildOptions['stdin']> {
  const text = [...modules]
    .sort()
    .map((path) => `get ${JSON.stringify(path)}() { return require(${JSON.stringify(resolve(root, path))}); },`);
  return { contents: `module.exports = {\n${text.join('\n')}\n};\n`, resolveDir: root, loader: 'js' };
}
