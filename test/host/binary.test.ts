import { execFileSync, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { copyFileSync, existsSync, readFileSync, statSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { runCli, startAgent, stopAgents } from '../support/agent/agent.ts';
import { buildBinary } from '../support/agent/built-binary.ts';
import { type TempRoot, tempRoot } from '../support/temp-root.ts';

/** The single executable, on a machine on which this repository and its Node.js are hidden. */

const repository = resolve(import.meta.dirname, '../..');
const dist = join(repository, 'dist');
const mayUnshare = process.getuid?.() === 0 && spawnSync('unshare', ['--mount', 'true']).status === 0;
const sha256 = (file: string): string => createHash('sha256').update(readFileSync(file)).digest('hex');

let place: TempRoot;
let agent: string;

beforeAll(async () => {
  buildBinary();
  place = await tempRoot();
  agent = place.at('agent');
  copyFileSync(join(dist, 'agent'), agent);
});
afterAll(async () => {
  await stopAgents();
  await place.remove();
});

const run = (args: readonly string[], environment: Record<string, string> = {}): string =>
  execFileSync(agent, args, { encoding: 'utf8', env: { PATH: '/usr/bin:/bin', ...environment } });

describe('the single executable', () => {
  it('has the size that it may have, and sums that are right', () => {
    expect(statSync(agent).size).toBeLessThan(140e6);
    const sums = readFileSync(join(dist, 'SHA256SUMS'), 'utf8').trim().split('\n');
    expect(sums).toEqual(['agent', 'agent.sbom.json'].map((name) => `${sha256(join(dist, name))}  ${name}`));
  });

  it('says what it is, and takes no flags for Node.js from the environment', () => {
    expect(run(['--version'], { NODE_OPTIONS: '--require=/nonexistent.cjs' })).toMatch(/^comfylet \d+\.\d+\.\d+\n$/);
    expect(JSON.parse(run(['version', '--json']))).toMatchObject({
      singleFile: true,
      arch: process.arch,
      node: process.versions.node,
      pm2: '7.0.4',
      build: {
        node: process.versions.node,
        esbuild: expect.any(String) as string,
        lock: expect.stringMatching(/^[0-9a-f]{64}$/) as string,
      },
    });
  });

  it('holds the licences of its parts, and a list of them that agrees', () => {
    const parts = JSON.parse(run(['licenses', '--json'])) as { name: string; version: string; text: string }[];
    expect(parts.find(({ name }) => name === 'pm2')?.text).toContain('GNU AFFERO GENERAL PUBLIC LICENSE');
    expect(parts.at(-1)?.name).toBe('node');
    const bom = JSON.parse(readFileSync(join(dist, 'agent.sbom.json'), 'utf8')) as {
      bomFormat: string;
      components: { name: string; version: string }[];
    };
    expect(bom.bomFormat).toBe('CycloneDX');
    const names = (list: readonly { name: string; version: string }[]) => list.map(({ name, version }) => `${name}@${version}`).sort();
    expect(names(bom.components)).toEqual(names(parts));
  });

  it.skipIf(!mayUnshare)('runs a whole machine where there is no Node.js, and nothing of this repository', async () => {
    // Only in this mount namespace, which ends with the agent.
    const hide = `mount -t tmpfs none "$0" && for each in $(which -a node npm); do mount --bind /dev/null "$each"; done; exec "$@"`;
    const prefix = ['unshare', '--mount', '--propagation', 'private', 'sh', '-c', hide, repository];
    const machine = await startAgent({ gpus: 2, prefix, program: [agent] });
    await machine.untilReady([0, 1]);
    const { code, stdout } = await runCli(machine.root, { PATH: '/usr/bin:/bin' }, ['status', '--json'], [agent]);
    expect(code).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({ agent: { running: true } });
    const { pid } = await machine.instance(0);
    expect(existsSync(`/proc/${pid}`)).toBe(true);
    await machine.stop();
    expect(existsSync(`/proc/${pid}`)).toBe(false);
  });

  it('is the same, byte for byte, when it is built again without compiled code', () => {
    const [one, two] = [place.at('one'), place.at('two')];
    for (const file of [one, two]) buildBinary('--no-code-cache', '--out', file);
    expect(sha256(one)).toBe(sha256(two));
    expect(sha256(`${one}.sbom.json`)).toBe(sha256(`${two}.sbom.json`));
  });

  it('is built for arm64 from the pinned Node.js', () => {
    const file = place.at('agent-arm64');
    buildBinary('--arch', 'arm64', '--out', file);
    const bytes = readFileSync(file);
    expect(bytes.readUInt16LE(18)).toBe(0xb7);
    expect(bytes.includes('agent.cli.js')).toBe(true);
    // And nobody gets it who is on another machine.
    const target = place.at('agent-in-place');
    copyFileSync(agent, target);
    const upgrade = spawnSync(target, ['upgrade', file, '--sha256', sha256(file), '--dry-run'], {
      encoding: 'utf8',
      env: { PATH: '/usr/bin:/bin' },
    });
    expect([upgrade.status, upgrade.stderr]).toEqual([1, expect.stringMatching(/error\[BINARY_INVALID\].*is for arm64; this machine is/)]);
  });
});
