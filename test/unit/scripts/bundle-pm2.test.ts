import { cp, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { build } from 'esbuild';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { bundlePm2 } from '../../../scripts/bundle-pm2.ts';

const modules = resolve(import.meta.dirname, '../../../node_modules');
let root: string;

/** The files of pm2 that are patched, as they are installed, in a tree where a test may change them. */
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'agent-bundle-'));
  for (const file of ['pm2/lib/God.js', 'pm2/lib/God/ForkMode.js', 'amp/lib/stream.js', 'amp/lib/encode.js', 'amp-message/index.js']) {
    await mkdir(join(root, 'node_modules', file, '..'), { recursive: true });
    await cp(join(modules, file), join(root, 'node_modules', file));
  }
  await writeFile(
    join(root, 'entry.js'),
    ['pm2/lib/God.js', 'pm2/lib/God/ForkMode.js', 'amp/lib/stream.js', 'amp/lib/encode.js', 'amp-message/index.js']
      .map((file) => `require('${file}');`)
      .join('\n'),
  );
});
afterEach(() => rm(root, { recursive: true }));

const bundle = () =>
  build({
    entryPoints: [join(root, 'entry.js')],
    bundle: true,
    write: false,
    platform: 'node',
    logLevel: 'silent',
    plugins: [
      bundlePm2(),
      {
        // Everything else that these files require is of no interest here.
        name: 'rest',
        setup: ({ onResolve }) =>
          onResolve({ filter: /.*/ }, ({ kind, path }) =>
            kind === 'entry-point' || /^(pm2|amp|amp-message)\//.test(path) ? undefined : { path, external: true },
          ),
      },
    ],
  });

describe('bundling pm2', () => {
  it('replaces what cannot work in one file', async () => {
    const text = (await bundle()).outputFiles[0]?.text ?? '';
    expect(text).toContain('__filename');
    expect(text).not.toMatch(/\bmodule\.filename\b|\bnew Buffer\(/);
  });

  it('fails when pm2 no longer has what it replaces', async () => {
    const file = join(root, 'node_modules/pm2/lib/God.js');
    await writeFile(file, (await readFile(file, 'utf8')).replaceAll('module.filename', 'require.main.filename'));
    await expect(bundle()).rejects.toThrow(/pm2\/lib\/God\.js no longer has/);
  });

  it('fails when a patched file is gone from pm2', async () => {
    await writeFile(join(root, 'entry.js'), "require('pm2/lib/God.js');");
    await expect(bundle()).rejects.toThrow(/amp-message\/index\.js is no longer part/);
  });
});
