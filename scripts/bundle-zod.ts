import type { Plugin } from 'esbuild';

/** zod carries its error texts in fifty languages, and its index names them all; English is loaded by itself. */
export function bundleZod(): Plugin {
  return {
    name: 'zod',
    setup(build) {
      build.onLoad({ filter: /node_modules\/zod\/v4\/locales\/index\.js$/ }, () => ({
        contents: "export { default as en } from './en.js';",
      }));
    },
  };
}
