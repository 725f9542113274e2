import { registerHooks } from 'node:module';
import { z } from 'zod';

/**
 * Files of users that import zod get the one inside the program: there is none beside them on a machine without npm, and
 * schemas of two copies do not fit together. Looked up when a file of a user is loaded, and never undone.
 */

const URL_OF_ZOD = 'agent:zod';
/** Where the text below finds what it exports. */
const SLOT = Symbol.for('comfylet.zod');

const exportsOfZod = (): string => {
  // Some names, as `null`, may be exported and not declared.
  const names = Object.keys(z).filter((name) => name !== 'z' && name !== 'default');
  const lines = names.map((name, index) => `const v${index} = z[${JSON.stringify(name)}];\nexport { v${index} as ${name} };`);
  return [`const z = globalThis[Symbol.for('comfylet.zod')];`, 'export { z };', 'export { z as default };', ...lines].join('\n');
};

/** Takes effect for all modules that are loaded from now on; calling it again changes nothing. */
export function offerBundledModules(): void {
  if (SLOT in globalThis) return;
  Object.defineProperty(globalThis, SLOT, { value: z });
  registerHooks({
    resolve: (specifier, context, next) =>
      specifier === 'zod' ? { url: URL_OF_ZOD, format: 'module', shortCircuit: true } : next(specifier, context),
    load: (url, context, next) =>
      url === URL_OF_ZOD ? { format: 'module', source: exportsOfZod(), shortCircuit: true } : next(url, context),
  });
}
