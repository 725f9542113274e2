import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { readdir, readFile, stat, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { newRoot, startAgent, stopAgents, type TestAgent } from '../../support/agent/agent.ts';
import { healthOf, pidsOf, untilHealthy } from '../../support/agent/scene.ts';
import { createPack, folderOf, installationOf, loads, nodesFile, packOf } from '../../support/git/pack-origins.ts';
import { zipOf } from '../../support/zip.ts';

/** Node packs of config_nodes.json, from repositories beside the test: what is asked for, and what becomes of a bad one. */

let origins: string;
beforeEach(async () => {
  origins = await newRoot();
});
afterEach(stopAgents);

const start = async (
  nodes: string,
  environment: Record<string, string> = {},
  files: Record<string, string> = {},
  config: Record<string, unknown> = {},
): Promise<TestAgent> => {
  const agent = await startAgent({ gpus: 1, environment, config, files: { 'shared/config_nodes.json': nodes, ...files } });
  await agent.untilReady([0]);
  return agent;
};

describe('where packs come from', () => {
  it('is the URL, also behind "git clone", with branch, commit and submodules', async () => {
    const plain = await createPack(origins, 'plain');
    const cloned = await createPack(origins, 'cloned');
    const branched = await createPack(origins, 'branched', { 'which.txt': 'main' });
    const onBranch = await branched.commit({ 'which.txt': 'side' }, 'side');
    const pinned = await createPack(origins, 'pinned', { 'which.txt': 'first' });
    const first = await pinned.commit({ 'which.txt': 'pinned' });
    await pinned.commit({ 'which.txt': 'newest' });
    const inner = await createPack(origins, 'inner', { 'inside.txt': 'here' });
    const outer = await createPack(origins, 'outer');
    await outer.submodule('parts', inner.url);
    const agent = await start(
      nodesFile(
        { name: 'Plain', url: plain.url },
        { name: 'Cloned', url: `git clone ${cloned.url}` },
        { name: 'Branched', url: branched.url, branch: 'side' },
        { name: 'Pinned', url: pinned.url, commit: first },
        { name: 'Outer', url: outer.url, recursive: true },
        { name: 'Flat', url: outer.url },
      ),
    );
    const { packs, warnings } = await installationOf(agent);
    expect(packs.map(({ name, state, error }) => ({ name, state, error }))).toEqual(
      ['Plain', 'Cloned', 'Branched', 'Pinned', 'Outer', 'Flat'].map((name) => ({ name, state: 'loaded', error: null })),
    );
    expect(await packOf(agent, 'Branched')).toMatchObject({ commit: onBranch });
    expect(await readFile(join(folderOf(agent, 'Branched'), 'which.txt'), 'utf8')).toBe('side');
    expect(await packOf(agent, 'Pinned')).toMatchObject({ commit: first });
    expect(await readFile(join(folderOf(agent, 'Pinned'), 'which.txt'), 'utf8')).toBe('pinned');
    expect(await readFile(join(folderOf(agent, 'Outer'), 'parts/inside.txt'), 'utf8')).toBe('here');
    expect(existsSync(join(folderOf(agent, 'Flat'), 'parts/inside.txt'))).toBe(false);
    expect(warnings.join('\n')).toMatch(/config_nodes\.json:\d+: pack Cloned: its url begins with "git clone", which is left out/);
  });

  it('is an archive, the registry or a directory too', async () => {
    const tree = { '__init__.py': loads() };
    const archive = zipOf(Object.entries(tree).map(([name, data]) => ({ name: `top/${name}`, data, deflate: true })));
    const sha256 = createHash('sha256').update(archive).digest('hex');
    const server = createServer((request, response) => {
      const origin = `http://${request.headers.host}`;
      if (request.url?.endsWith('.zip')) response.end(archive);
      else response.end(JSON.stringify({ version: '1.2.3', downloadUrl: `${origin}/r.zip`, status: 'NodeVersionStatusActive' }));
    }).listen(0, '127.0.0.1');
    await once(server, 'listening');
    const base = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    try {
      const agent = await start(
        nodesFile(
          { name: 'Archive', archive: `${base}/a.zip`, sha256 },
          { name: 'Registry', registry: 'comfyui-r', version: '1.2.3' },
          { name: 'Directory', directory: 'mine' },
          { name: 'Wrong', archive: `${base}/a.zip`, sha256: 'f'.repeat(64) },
        ),
        {},
        { 'shared/mine/__init__.py': loads() },
        { packs: { registryUrl: base } },
      );
      expect(await packOf(agent, 'Archive')).toMatchObject({ state: 'loaded', source: { kind: 'archive', sha256 } });
      expect(await packOf(agent, 'Registry')).toMatchObject({ state: 'loaded', source: { kind: 'archive', version: '1.2.3', sha256 } });
      expect(await packOf(agent, 'Directory')).toMatchObject({ state: 'loaded', source: { kind: 'directory', path: 'mine' } });
      expect(await packOf(agent, 'Wrong')).toMatchObject({ state: 'failed', error: expect.stringContaining(`${sha256} in place of ffff`) });
      await writeFile(join(agent.root, 'shared/mine/more.py'), '');
      // The lock names the files as they were; a directory that changed is moved like any other pack.
      expect((await agent.cli('update', '--pack', 'Directory')).code).toBe(0);
      expect(existsSync(join(folderOf(agent, 'Directory'), 'more.py'))).toBe(true);
    } finally {
      server.closeAllConnections();
      server.close();
    }
  });

  it('that cannot be reached is told on that pack, the others load, and `agent install` tries again', async () => {
    const good = await createPack(origins, 'good');
    const agent = await start(nodesFile({ name: 'Good', url: good.url }, { name: 'Late', url: `file://${origins}/late` }));
    expect(await packOf(agent, 'Good')).toMatchObject({ state: 'loaded', error: null });
    const late = await packOf(agent, 'Late');
    expect(late).toMatchObject({ state: 'failed', commit: null });
    expect(late.error).toContain(`${origins}/late`);
    expect(await installationOf(agent)).toMatchObject({
      status: 'degraded',
      ok: true,
      reason: expect.stringMatching(/^1 node pack failed: Late \(.+\)$/) as string,
    });
    const health = await agent.get('/health/comfyui');
    expect(health.status).toBe(200);
    expect(health.body).toMatchObject({ status: 'degraded', ready: true });
    expect((await healthOf(agent)).reasons.join('\n')).toContain('Late');
    const status = await agent.cli('status');
    expect(status).toMatchObject({ code: 0, stdout: expect.stringContaining('1 failed') });

    // Nothing has changed: it says so again, and what runs goes on.
    const pids = await pidsOf(agent);
    const again = await agent.cli('install');
    expect(again).toMatchObject({ code: 0, stdout: expect.stringContaining('failed node packs: Late') });
    await createPack(origins, 'late');
    const third = await agent.cli('install');
    expect(third.code).toBe(0);
    expect(third.stdout).not.toContain('failed node packs');
    await untilHealthy(agent);
    expect(await packOf(agent, 'Late')).toMatchObject({ state: 'loaded', error: null });
    expect(await pidsOf(agent)).not.toEqual(pids);
    expect(await agent.cli('install')).toMatchObject({ code: 0, stdout: expect.stringContaining('already right') });
  });
});

describe('a pack that does not import', () => {
  it('because it ends the process is named and left out; the others are installed', async () => {
    const deeds = { Exits: 'import os\nos._exit(0)\n', Quits: 'raise SystemExit\n', Kills: 'import os\nos.kill(os.getpid(), 9)\n' };
    const bad = await Promise.all(
      Object.entries(deeds).map(async ([name, text]) => ({
        name,
        url: (await createPack(origins, name.toLowerCase(), { '__init__.py': text })).url,
      })),
    );
    const good = await createPack(origins, 'good');
    const agent = await start(nodesFile(...bad, { name: 'Good', url: good.url }));
    const told: Readonly<Record<string, string>> = { Exits: 'exit code 0', Quits: 'exit code 0', Kills: 'signal SIGKILL' };
    for (const [name, end] of Object.entries(told)) {
      expect(await packOf(agent, name)).toMatchObject({ state: 'failed', error: `it ends ComfyUI while it is imported (${end})` });
      expect(existsSync(`${folderOf(agent, name)}.disabled`)).toBe(true);
    }
    expect(await packOf(agent, 'Good')).toMatchObject({ state: 'loaded' });
    expect(await agent.instance(0)).toMatchObject({ ready: true });
    expect((await agent.cli('status')).stdout).toContain('3 failed');
    expect((await healthOf(agent)).reasons.join('\n')).toMatch(/3 node packs failed: .*Exits/);
    expect(await agent.cli('install', '--verify')).toMatchObject({ code: 0 });
  });

  it('is told with Python\u2019s own reason; the instance runs without it', async () => {
    const broken = await createPack(origins, 'broken', { '__init__.py': 'import a_module_that_is_not_there\n' });
    const good = await createPack(origins, 'good');
    const agent = await start(nodesFile({ name: 'Broken', url: broken.url }, { name: 'Good', url: good.url }));
    const pack = await packOf(agent, 'Broken');
    expect(pack.state).toBe('failed');
    expect(pack.error).toMatch(/^it does not import: .*a_module_that_is_not_there/);
    expect(await packOf(agent, 'Good')).toMatchObject({ state: 'loaded' });
    expect(await agent.instance(0)).toMatchObject({ ready: true });
    expect((await healthOf(agent)).reasons.join('\n')).toContain('1 node pack failed: Broken');
  });
});

describe('what packs want done', () => {
  it('a .env is written from variables, for the owner only, and custom_script and install.py are run', async () => {
    const pack = await createPack(origins, 'pack', {
      'SCRIPTS/tool.txt': 'moved',
      'install.py': 'import os\nopen("installed.txt", "w").write(os.environ["COMFYUI_PATH"])\nprint("install.py was here")\n',
    });
    const agent = await start(
      nodesFile({
        name: 'Pack',
        url: pack.url,
        env: { API_KEY: `\${MY_KEY}`, NAME: "it's $HOME `here`", EMPTY: `\${NOT_SET_ANYWHERE}` },
        custom_script: 'if [ -d SCRIPTS ]; then mv SCRIPTS/* . && rmdir SCRIPTS; fi',
      }),
      { MY_KEY: 'k3y-0c7d' },
    );
    const folder = folderOf(agent, 'Pack');
    expect(await readFile(join(folder, '.env'), 'utf8')).toBe("API_KEY=k3y-0c7d\nNAME='it\\'s $HOME `here`'\nEMPTY=\n");
    expect((await stat(join(folder, '.env'))).mode & 0o777).toBe(0o600);
    expect(await readFile(join(folder, 'tool.txt'), 'utf8')).toBe('moved');
    expect(await readFile(join(folder, 'installed.txt'), 'utf8')).toMatch(/releases\/[^/]+\/ComfyUI$/);
    const status = await packOf(agent, 'Pack');
    expect(status).toMatchObject({ state: 'loaded', error: null });
    expect(status.warnings).toEqual([expect.stringContaining('these variables are not set: NOT_SET_ANYWHERE')]);
    const [log = ''] = (await readdir(join(agent.root, 'logs'))).filter((name) => name.startsWith('install-'));
    const said = await readFile(join(agent.root, 'logs', log), 'utf8');
    expect(said).toContain('Pack: install.py was here');
    expect(said + agent.output()).not.toContain('k3y-0c7d');
  });

  it('a script that fails is told with its last words, and the pack may load all the same', async () => {
    const scripted = await createPack(origins, 'scripted');
    const installer = await createPack(origins, 'installer', { 'install.py': 'raise SystemExit("no compiler")\n' });
    const agent = await start(
      nodesFile(
        { name: 'Scripted', url: scripted.url, custom_script: 'echo going; echo gone >&2; exit 7' },
        { name: 'Installer', url: installer.url },
      ),
    );
    expect(await packOf(agent, 'Scripted')).toMatchObject({
      state: 'loaded',
      warnings: ['custom_script ended with exit code 7: going | gone'],
    });
    const logs = (await readdir(join(agent.root, 'logs'))).filter((name) => name.startsWith('install-'));
    const log = await readFile(join(agent.root, 'logs', logs[0] ?? ''), 'utf8');
    expect(log).toMatch(/Scripted: going\n(.*\n)*?.*Scripted: gone\n/);
    expect(await packOf(agent, 'Installer')).toMatchObject({
      state: 'loaded',
      warnings: ['install.py ended with exit code 1: no compiler'],
    });
  });
});

describe('which packs', () => {
  it('are those that COMFYUI_CUSTOM_NODES names; a name that is not in the file is refused', async () => {
    const one = await createPack(origins, 'one');
    const two = await createPack(origins, 'two');
    const nodes = nodesFile({ name: 'One', url: one.url }, { name: 'Two', url: two.url });
    const agent = await start(nodes, { COMFYUI_CUSTOM_NODES: 'Two' });
    expect((await installationOf(agent)).packs.map((pack) => pack.name)).toEqual(['Two']);
    expect((await readdir(join(agent.root, 'current/ComfyUI/custom_nodes'))).filter((name) => /^(One|Two)$/.test(name))).toEqual(['Two']);
    await agent.stop();

    const root = await newRoot();
    const wrong = await startAgent({
      gpus: 1,
      root,
      environment: { COMFYUI_CUSTOM_NODES: 'Tow' },
      files: { 'shared/config_nodes.json': nodes },
    });
    const { configuration, holds } = await healthOf(wrong).then(async () => {
      await wrong.cli('wait', 'installed', '--timeout', '2s');
      return healthOf(wrong);
    });
    expect(configuration.problem).toMatch(/config_nodes\.json: it has no pack "Tow", which COMFYUI_CUSTOM_NODES \(packs\.names\) asks for/);
    expect(holds.find((hold) => hold.target === 'installation')).toMatchObject({
      code: 'CONFIG_NODES_INVALID',
      help: expect.stringContaining('did you mean Two?'),
    });
  });

  it('are those of the test file in STORAGE_TEST_MODE', async () => {
    const real = await createPack(origins, 'real');
    const test = await createPack(origins, 'test', { '__init__.py': loads('print("the test pack")') });
    const agent = await start(
      nodesFile({ name: 'Real', url: real.url }),
      { STORAGE_TEST_MODE: 'true' },
      { 'shared/config_nodes_test.json': nodesFile({ name: 'Test', url: test.url }) },
    );
    expect((await installationOf(agent)).packs.map((pack) => pack.name)).toEqual(['Test']);
  });
});
