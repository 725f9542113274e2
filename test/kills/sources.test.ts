import { spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { appendFile, mkdir, readlink, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import type { InstallationDocument } from '../../src/domain/health/health.ts';
import { type AgentOptions, newRoot, startAgent, stopAgents, type TestAgent } from '../support/agent/agent.ts';
import { editConfig, pidsOf, replaceFile, untilHeld } from '../support/agent/scene.ts';
import { createSimulatorOrigin } from '../support/comfyui/simulator-origin.ts';
import { eventually } from '../support/eventually.ts';
import { startLyingGit } from '../support/git/lying-git.ts';
import { startGitHttp } from '../support/git/servers.ts';
import { createKillLab, type KillLab } from '../support/kills/lab.ts';
import { leftovers, locks, orphans } from '../support/kills/whole-root.ts';
import { type ProxyMode, startTcpProxy } from '../support/tcp-proxy.ts';

/** Disks, networks and servers that fail in the middle: the old release serves on, the cause is named, and once it has gone all is well. */

const LARGE = 600_000;
/** Into the body of what is large, past what comes before it. */
const MIDDLE = 200_000;

let lab: KillLab;
let skipped: string | null = null;
let closing: (() => Promise<void>)[] = [];
beforeAll(async () => {
  const created = await createKillLab();
  if ('skipped' in created) skipped = created.skipped;
  else lab = created;
});
afterEach(async () => {
  await stopAgents();
  for (const close of closing.splice(0)) await close();
});
afterAll(async () => {
  if (skipped === null) await lab.close();
});
const later = <T extends { close(): Promise<void> }>(what: T): T => {
  closing = [...closing, () => what.close()];
  return what;
};

async function start(more: Partial<AgentOptions> = {}): Promise<TestAgent> {
  const { environment, ...rest } = more;
  const agent = await startAgent({
    gpus: 1,
    ...rest,
    // Limits that a test can wait for.
    config: { ...lab.config, install: { gitTimeoutMs: 3_000 } },
    environment: { ...lab.environment, UV_HTTP_RETRIES: '0', UV_HTTP_TIMEOUT: '3', ...environment },
    files: { 'shared/config_nodes.json': lab.wanted().nodes },
  });
  await agent.untilReady([0]);
  return agent;
}

interface Fault {
  readonly code: string;
  readonly message: RegExp;
  readonly help: RegExp;
}

/** `agent install` fails with that fault while the old release serves on; after `heal` it does not. */
async function failsThenHeals(agent: TestAgent, fault: Fault, heal: () => void | Promise<void>): Promise<void> {
  const [pids, current] = [await pidsOf(agent), await readlink(join(agent.root, 'current'))];
  // The edit is known.
  await untilHeld(agent, 'installation', 'INSTALLATION_DIFFERS');
  const failed = await agent.cli('install');
  expect(failed.stderr).toMatch(new RegExp(`^error\\[${fault.code}\\]: .*${fault.message.source}`, 'm'));
  expect(failed.stderr).toMatch(new RegExp(`^help: .*${fault.help.source}`, 'm'));
  expect(failed.code).toBe(1);
  expect((await agent.get('/health/comfyui/installation')).body as InstallationDocument).toMatchObject({
    ok: true,
    lastError: { code: fault.code },
  });
  expect((await agent.get('/ready')).status).toBe(200);
  expect(await pidsOf(agent)).toEqual(pids);
  expect(await readlink(join(agent.root, 'current'))).toBe(current);

  await heal();
  expect(await agent.cli('install')).toMatchObject({ code: 0 });
  expect(await readlink(join(agent.root, 'current'))).not.toBe(current);
  const release = (await readlink(join(agent.root, 'current'))).split('/').at(-1);
  await eventually(
    'the instance serves the new release',
    async () => {
      const instance = await agent.instance(0);
      return instance.ready && instance.release === release;
    },
    30_000,
  );
  expect(await locks(agent.root, [agent.pid])).toEqual([]);
  expect(await leftovers(agent.root)).toEqual([]);
  expect(await orphans(agent.root, agent.pid)).toEqual([]);
}

describe('a network that fails in the middle', () => {
  const modes: readonly (readonly [string, ProxyMode])[] = [
    ['is cut', { cutAfter: MIDDLE }],
    ['falls silent', { stallAfter: MIDDLE }],
  ];

  it.for(modes)('of a clone and %s', async ([, mode], { skip }) => {
    if (skipped !== null) return skip(skipped);
    const agent = await start();
    const origins = await newRoot();
    const origin = await createSimulatorOrigin(join(origins, 'ComfyUI'));
    await origin.commit({ 'large.txt': randomBytes(LARGE).toString('base64') });
    const git = later(await startGitHttp({ directory: origins }));
    const proxy = later(await startTcpProxy(git.port));
    proxy.mode = mode;
    await editConfig(agent.root, { comfyui: { repository: `http://127.0.0.1:${proxy.port}/ComfyUI/.git` } });
    await failsThenHeals(agent, { code: 'REPOSITORY_UNREACHABLE', message: /127\.0\.0\.1/, help: /network/ }, () => {
      expect(proxy.spoilt()).toBeGreaterThan(0);
      proxy.mode = 'pass';
    });
  });

  it.for(modes)('of a download of a package and %s', async ([, mode], { skip }) => {
    if (skipped !== null) return skip(skipped);
    const agent = await start();
    const name = `tiny-large-${randomBytes(4).toString('hex')}`;
    await lab.index.add({ name, version: '1.0', files: { 'large.txt': randomBytes(LARGE).toString('base64') } });
    const proxy = later(await startTcpProxy(lab.index.port));
    proxy.mode = mode;
    await editConfig(agent.root, { python: { indexUrl: `http://127.0.0.1:${proxy.port}/simple`, extraRequirements: [name] } });
    await failsThenHeals(agent, { code: 'ENVIRONMENT_FAILED', message: new RegExp(name), help: /\S/ }, () => {
      expect(proxy.spoilt()).toBeGreaterThan(0);
      proxy.mode = 'pass';
    });
  });
});

describe('a git server that lies', () => {
  it.for([
    ['about a ref', 'missing-commit', 'COMMIT_NOT_FOUND', /01234567/],
    ['about an object', 'other-object', 'REPOSITORY_DAMAGED', /does not give what its commit is made of/],
  ] as const)('%s is told so', async ([, lie, code, message], { skip }) => {
    if (skipped !== null) return skip(skipped);
    const agent = await start();
    const origin = await createSimulatorOrigin(join(await newRoot(), 'ComfyUI'));
    const server = later(await startLyingGit(origin.directory));
    server.lie = lie;
    await editConfig(agent.root, { comfyui: { repository: server.url } });
    await failsThenHeals(agent, { code, message, help: /\S/ }, () => {
      server.lie = 'none';
    });
  });
});

describe('a disk that is full in the middle', () => {
  const mayMount = process.getuid?.() === 0 && spawnSync('unshare', ['-m', 'true']).status === 0;
  const SMALL_DISK = 'mount -t tmpfs -o size=48m,mode=755 tmpfs "$1"; shift; exec "$@"';

  /** An agent whose cache is a small disk of its own, which is full. @returns what makes room again */
  async function onFullDisk(): Promise<{ agent: TestAgent; heal: () => Promise<void> }> {
    const root = await newRoot();
    const cache = join(root, 'cache');
    await mkdir(cache);
    const agent = await start({ root, prefix: ['unshare', '-m', 'sh', '-c', SMALL_DISK, 'sh', cache] });
    const filler = `/proc/${agent.pid}/root${cache}/filler`;
    const fill = async (): Promise<never> => {
      for (;;) await appendFile(filler, Buffer.alloc(64 * 1024));
    };
    await expect(fill()).rejects.toThrow(/ENOSPC/);
    return { agent, heal: () => rm(filler) };
  }

  it('of a clone', async ({ skip }) => {
    if (!mayMount) return skip('a small disk needs root and the right to mount');
    if (skipped !== null) return skip(skipped);
    const { agent, heal } = await onFullDisk();
    await replaceFile(join(agent.root, 'shared/config_nodes.json'), (await lab.change()).nodes);
    await failsThenHeals(agent, { code: 'DISK_FULL', message: /disk/, help: /df -h/ }, heal);
  });

  it('of the packages', async ({ skip }) => {
    if (!mayMount) return skip('a small disk needs root and the right to mount');
    if (skipped !== null) return skip(skipped);
    const { agent, heal } = await onFullDisk();
    const name = `tiny-more-${randomBytes(4).toString('hex')}`;
    await lab.index.add({ name, version: '1.0', files: { 'large.txt': randomBytes(LARGE).toString('base64') } });
    await editConfig(agent.root, { python: { extraRequirements: [name] } });
    await failsThenHeals(agent, { code: 'DISK_FULL', message: /disk/, help: /df -h/ }, heal);
  });
});
