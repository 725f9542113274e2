import { spawnSync } from 'node:child_process';
import { mkdir, writeFile } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { importCulprit, WATCH_IMPORTS } from '../../../src/domain/installation/import-watch.ts';
import { type TempRoot, tempRoot } from '../../support/temp-root.ts';

/** The witness of a trial start, in a real Python. */

const WITNESS = resolve(import.meta.dirname, '../../../assets/witness');
/** As ComfyUI imports node packs, and then opens its server. */
const LOADER = `import importlib.util, os, sys
for name in sorted(os.listdir("custom_nodes")):
    spec = importlib.util.spec_from_file_location(name, os.path.abspath(os.path.join("custom_nodes", name, "__init__.py")))
    spec.loader.exec_module(importlib.util.module_from_spec(spec))
print("Import times for custom nodes:", file=sys.stderr)
open(os.devnull).close()
`;

let root: TempRoot;
beforeEach(async () => {
  root = await tempRoot();
});
afterEach(() => root.remove());

async function start(packs: Readonly<Record<string, string>>, environment: Readonly<Record<string, string>> = { [WATCH_IMPORTS]: '1' }) {
  for (const [name, text] of Object.entries(packs)) {
    const file = root.at('custom_nodes', name, '__init__.py');
    await mkdir(dirname(file), { recursive: true });
    await writeFile(file, text);
  }
  await writeFile(root.at('main.py'), LOADER);
  const env = {
    PATH: process.env['PATH'] ?? '/usr/bin:/bin',
    PYTHONPATH: WITNESS,
    PYTHONPYCACHEPREFIX: join(root.at('cache')),
    ...environment,
  };
  const { stderr, status, signal } = spawnSync('python3', ['-u', 'main.py'], { cwd: root.at('.'), env, encoding: 'utf8' });
  return { lines: stderr.split('\n'), status, signal };
}

describe('the witness', () => {
  it.each<[string, string, object | null]>([
    ['os._exit', 'import os\nos._exit(0)\n', { name: 'b', deed: 'ends' }],
    ['SystemExit', 'raise SystemExit\n', { name: 'b', deed: 'ends' }],
    ['a signal', 'import os\nos.kill(os.getpid(), 11)\n', { name: 'b', deed: 'ends' }],
    ['an end in a module of its own', 'import json, os\nos._exit(3)\n', { name: 'b', deed: 'ends' }],
    ['closed files', 'import os\nos.closerange(3, 4096)\n', { name: 'b', deed: 'closes files' }],
    ['nothing of the kind', 'import json\n', null],
  ])('names the node pack that does it: %s', async (_, text, culprit) => {
    const { lines } = await start({ a: 'A = 1\n', b: text, c: 'C = 1\n' });
    expect(importCulprit(lines, ['a', 'b', 'c'])).toEqual(culprit);
  });

  it('says nothing where it was not asked, and hands the wish to nobody', async () => {
    const asked = await start({ a: `import os, sys\nprint(os.environ.get("${WATCH_IMPORTS}"), file=sys.stderr)\n` });
    expect(asked.lines).toContain('None');
    const silent = await start({ a: 'A = 1\n' }, {});
    expect(silent.lines.filter((line) => line.includes('[agent]'))).toEqual([]);
  });
});
