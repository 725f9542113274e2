import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { baseEnvironment, startAgent, stopAgents, type TestAgent } from '../../support/agent/agent.ts';
import { createOrigin } from '../../support/git/origin.ts';
import { createPack, loads, nodesFile } from '../../support/git/pack-origins.ts';
import { treeOf } from '../../support/kills/same-tree.ts';
import { uvOnPath } from '../../support/python/uv.ts';
import { makeWheel } from '../../support/python/wheel.ts';

let directory: string;
let wheels: string;
let environment: Record<string, string> = {};
let skipped: string | null = null;
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'agent-e2e-same-'));
  wheels = join(directory, 'wheels');
  await makeWheel(wheels, { name: 'tiny-lib', version: '1.0', files: { 'tiny_lib/__init__.py': 'VERSION = "1.0"\n' } });
  const uv = await uvOnPath(directory, baseEnvironment());
  if ('skipped' in uv) skipped = uv.skipped;
  else environment = { PATH: `${uv.path}${delimiter}${baseEnvironment()['PATH']}`, UV_OFFLINE: '1', PIP_FIND_LINKS: '', UV_FIND_LINKS: '' };
});
afterAll(() => rm(directory, { recursive: true, force: true }));
afterEach(stopAgents);

const start = async (files: Readonly<Record<string, string>>): Promise<TestAgent> => {
  const agent = await startAgent({ gpus: 1, environment, files, config: { python: { findLinks: [wheels] } } });
  await agent.untilReady([0]);
  return agent;
};

describe('the same lock on two machines', () => {
  it('gives the same files and packages, although everything has moved on', async ({ skip }) => {
    if (skipped !== null) return skip(skipped);
    const inner = await createOrigin(join(directory, 'inner'));
    await inner.commit({ 'inner.txt': '1' });
    const plain = await createPack(directory, 'plain', { 'which.txt': '1', 'requirements.txt': 'tiny-lib>=1\n' });
    const outer = await createPack(directory, 'outer', { '__init__.py': loads('import tiny_lib') });
    await outer.submodule('inner', inner.url);
    const nodes = nodesFile({ name: 'Plain', url: plain.url, requirements: true }, { name: 'Outer', url: outer.url, recursive: true });
    const first = await start({ 'shared/config_nodes.json': nodes });
    const lock = await readFile(join(first.root, 'agent.lock.json'), 'utf8');
    const tree = await treeOf(first.root);
    expect(tree.size).toBeGreaterThan(50);

    // Newer commits and a newer package are there by now.
    await plain.commit({ 'which.txt': '2' });
    await inner.commit({ 'inner.txt': '2' });
    await makeWheel(wheels, { name: 'tiny-lib', version: '2.0', files: { 'tiny_lib/__init__.py': 'VERSION = "2.0"\n' } });
    const second = await start({ 'shared/config_nodes.json': nodes, 'agent.lock.json': lock });
    expect(await readFile(join(second.root, 'agent.lock.json'), 'utf8')).toBe(lock);
    expect(Object.fromEntries(await treeOf(second.root))).toEqual(Object.fromEntries(tree));
    expect(await second.cli('install', '--locked')).toMatchObject({ code: 0 });
    expect(await second.cli('install', '--verify')).toMatchObject({ code: 0 });
  });
});
