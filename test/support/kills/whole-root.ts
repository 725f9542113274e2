import { existsSync } from 'node:fs';
import { readdir, readFile, readlink, stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { Release } from '../../../src/domain/installation/release.ts';
import { processesKnowing, strangersAmong } from '../agent/processes.ts';

/** What must be true of a root whatever was killed on it; each answers with what is wrong, in words. */

/** `current` leads to a release that is complete; null: it leads nowhere yet. */
export async function currentRelease(root: string): Promise<{ readonly release: Release | null; readonly wrong: readonly string[] }> {
  const target = await readlink(join(root, 'current')).catch(() => null);
  if (target === null) return { release: null, wrong: [] };
  const text = await readFile(join(target, 'release.json'), 'utf8').catch(() => null);
  if (text === null) return { release: null, wrong: [`current leads to ${target}, which has no release.json`] };
  const release = JSON.parse(text) as Release;
  const needed = [
    release.python,
    'ComfyUI/main.py',
    ...release.packs.filter(({ state }) => state !== 'failed').map(({ name }) => `ComfyUI/custom_nodes/${name}/__init__.py`),
  ];
  return { release, wrong: needed.filter((path) => !existsSync(join(target, path))).map((path) => `${release.id}: ${path} is missing`) };
}

/** Half-built things that nothing will finish: unfinished releases, work trees and trials, work files of uv. */
export async function leftovers(root: string): Promise<readonly string[]> {
  const names = async (...path: string[]): Promise<string[]> =>
    (await readdir(join(root, ...path)).catch(() => [])).map((name) => join(...path, name));
  const unfinished = (await names('releases')).filter((path) => !existsSync(join(root, path, 'release.json')));
  const bytecode = (await names('cache/pycache')).filter((path) => !existsSync(join(root, 'releases', path.split('/').at(-1) ?? '')));
  return [
    ...unfinished,
    ...bytecode,
    ...(await names('cache/tmp')),
    ...(await names('instances')).filter((path) => path.endsWith('.trial')),
  ];
}

/** Lock files of git, and files below the root that a process holds locked which is none of these. */
export async function locks(root: string, own: readonly number[]): Promise<readonly string[]> {
  const files = (await readdir(root, { recursive: true, withFileTypes: true })).filter((entry) => entry.isFile());
  const ofGit = files
    .filter(({ name, parentPath }) => name.endsWith('.lock') && /\.git(\/|$)/.test(parentPath))
    .map(({ name, parentPath }) => join(parentPath, name));
  const held = new Map<number, number>();
  for (const line of (await readFile('/proc/locks', 'utf8')).split('\n')) {
    const match = / (\d+) [0-9a-f]+:[0-9a-f]+:(\d+) /.exec(line);
    if (match !== null && !own.includes(Number(match[1]))) held.set(Number(match[2]), Number(match[1]));
  }
  const foreign: string[] = [];
  for (const { name, parentPath } of files) {
    if (!/lock/i.test(name)) continue;
    const facts = await stat(join(parentPath, name)).catch(() => null);
    const pid = facts === null ? undefined : held.get(facts.ino);
    if (pid !== undefined) foreign.push(`${join(parentPath, name)} is locked by pid ${pid}`);
  }
  return [...ofGit, ...foreign];
}

/** Processes of this root that are neither the agent's nor PM2's. */
export async function orphans(root: string, agentPid: number): Promise<readonly string[]> {
  const pm2 = Number(await readFile(join(root, 'state/pm2/pm2.pid'), 'utf8').catch(() => '0'));
  return strangersAmong(await processesKnowing(root), [agentPid, pm2]).map(({ pid, command }) => `${pid} ${command.slice(0, 160)}`);
}
