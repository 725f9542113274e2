import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir, readdir, stat, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import type { JournalEvent } from '../../src/domain/journal.ts';
import type { CleanupDocument } from '../../src/domain/upkeep/cleanup.ts';
import { newRoot, startAgent, stopAgents, type TestAgent } from '../support/agent/agent.ts';
import { controlFile, startLongJob, untilPicture } from '../support/agent/control-file.ts';
import { healthOf, pidsOf, untilInstance } from '../support/agent/scene.ts';
import { eventually } from '../support/eventually.ts';

/** What grows is bounded, told, and given back between jobs; nothing that serves is stopped for it. */

const MEBIBYTE = 1024 * 1024;
const isRoot = process.getuid?.() === 0;
const mayMount = isRoot && spawnSync('unshare', ['-m', 'true']).status === 0;
const pause = (ms: number) => new Promise((done) => setTimeout(done, ms));

afterEach(stopAgents);

const events = async (agent: TestAgent, type: string): Promise<readonly JournalEvent[]> => {
  const { body } = await agent.get('/v1/events?backlog=500&follow=false');
  const text = typeof body === 'string' ? body : JSON.stringify(body);
  return text
    .split('\n')
    .filter((line) => line.startsWith('data:'))
    .map((line) => JSON.parse(line.slice(5)) as JournalEvent)
    .filter((event) => event.type === type);
};

describe('a log that is flooded', () => {
  it('stays within twice its budget, is told, keeps its newest lines, and slows no probe', async () => {
    const root = await newRoot();
    const control = controlFile(root);
    const agent = await startAgent({ gpus: 2, root, environment: control.environment });
    await agent.untilReady();
    const before = await pidsOf(agent);
    const logs = join(root, 'logs');
    const usage = async (): Promise<number> => {
      const names = (await readdir(logs)).filter((name) => name.startsWith('comfyui-gpu0.log'));
      const sizes = await Promise.all(
        names.map((name) =>
          stat(join(logs, name)).then(
            (facts) => facts.size,
            () => 0,
          ),
        ),
      );
      return sizes.reduce((sum, size) => sum + size, 0);
    };
    await control.set({ log_lines_per_second: true });
    let largest = 0;
    const waits: number[] = [];
    const end = performance.now() + 15_000;
    while (performance.now() < end) {
      const asked = performance.now();
      const { status } = await agent.get('/health/comfyui');
      waits.push(performance.now() - asked);
      expect(status).toBe(200);
      largest = Math.max(largest, await usage());
      await pause(10);
    }
    const flooded = await agent.instance(0);
    await control.set({});
    expect(flooded).toMatchObject({
      ready: true,
      verdicts: expect.arrayContaining([expect.objectContaining({ fault: 'log-flood', remedy: 'none' })]),
    });
    expect(flooded.verdicts.find((verdict) => verdict.fault === 'log-flood')?.reason).toMatch(/^it writes [\d.]+ MB\/s into its log/);
    // It was a flood that needed cutting, or this proves nothing.
    expect((await agent.get('/metrics')).body).toMatch(/^comfylet_instance_log_cut_bytes_total\{gpu="0"[^}]*\} [1-9]/m);
    expect(largest).toBeGreaterThan(50 * MEBIBYTE);
    expect(largest).toBeLessThan(2 * 100 * MEBIBYTE);
    waits.sort((a, b) => a - b);
    expect(waits[Math.floor(waits.length * 0.99)]).toBeLessThan(1_000);
    const shown = await agent.cli('logs', '0', '-n', '3');
    expect(shown.stdout.trim().split('\n')).toHaveLength(3);
    await untilInstance(agent, 0, 'no longer flooded', ({ verdicts }) => !verdicts.some(({ fault }) => fault === 'log-flood'), 30_000);
    expect(await pidsOf(agent)).toEqual(before);
  });
});

describe('agent cleanup', () => {
  it('shows what it would delete, deletes it, and tells; outputs, links, young and kept files only as the policy says', async () => {
    const root = await newRoot();
    const config = {
      cleanup: { periodMs: 0, minAgeMs: 3_000, temp: { maxAgeMs: 3_000 }, outputs: { maxMb: 0, keep: ['best/**'] } },
    };
    const agent = await startAgent({ gpus: 1, root, config });
    await agent.untilReady();
    const outputs = join(root, 'shared/outputs/gpu0');
    const temp = join(root, 'instances/gpu0/temp');
    const put = async (path: string): Promise<void> => {
      await mkdir(join(path, '..'), { recursive: true });
      await writeFile(path, 'x'.repeat(100_000));
    };
    const precious = join(root, 'shared/inputs/precious.png');
    for (const path of [join(temp, 'a/old.png'), join(outputs, 'old.png'), join(outputs, 'best/kept.png'), precious]) await put(path);
    await symlink(join(root, 'shared/inputs'), join(outputs, 'link'));
    await pause(3_500);
    await put(join(outputs, 'young.png'));

    const looked = await agent.json<CleanupDocument>('cleanup', '--dry-run');
    expect(looked).toMatchObject({ dryRun: true });
    expect(looked.freedBytes).toBeGreaterThanOrEqual(200_000);
    const named = (document: CleanupDocument) =>
      document.areas
        .flatMap((area) => area.examples)
        // The canary makes pictures too.
        .filter((name) => !name.includes('ComfyUI_temp'))
        .sort();
    expect(named(looked)).toEqual(['a/old.png', 'old.png']);
    expect(existsSync(join(temp, 'a/old.png'))).toBe(true);

    const done = await agent.cli('cleanup');
    expect(done.stdout).toMatch(/^outputs +1 .*beyond the size/m);
    expect(done.stdout).toMatch(/^freed 0\.2 MiB: /m);
    expect(done.code).toBe(0);
    expect([join(temp, 'a/old.png'), join(outputs, 'old.png')].filter(existsSync)).toEqual([]);
    for (const path of [temp, outputs, join(outputs, 'best/kept.png'), join(outputs, 'young.png'), precious])
      expect(existsSync(path)).toBe(true);
    const [entry] = await events(agent, 'cleanup.done');
    expect(entry?.data['freedBytes']).toBe(looked.freedBytes);
    expect((await agent.get('/metrics')).body).toMatch(/^comfylet_cleanup_freed_bytes_total\{area="temp"\} [1-9]/m);

    await agent.stop();
    await pause(3_500);
    const alone = await agent.json<CleanupDocument>('cleanup');
    expect(named(alone)).toEqual(['young.png']);
    expect(existsSync(join(outputs, 'young.png'))).toBe(false);
    expect(existsSync(precious)).toBe(true);
  });
});

describe('a disk that fills up', () => {
  it('is told, what the policy permits is deleted, and the instances stay up', async ({ skip }) => {
    if (!mayMount) return skip('a small disk needs root and the right to mount');
    const root = await newRoot();
    const instances = join(root, 'instances');
    await mkdir(instances);
    const agent = await startAgent({
      gpus: 1,
      root,
      prefix: ['unshare', '-m', 'sh', '-c', 'mount -t tmpfs -o size=64m,mode=755 tmpfs "$1"; shift; exec "$@"', 'sh', instances],
      config: { cleanup: { periodMs: 0, minAgeMs: 1_000 }, disk: { warnFreeMb: 40, minFreeMb: 20, warnFullWithinMs: 0 } },
    });
    await agent.untilReady();
    const before = await pidsOf(agent);
    const output = join(root, 'shared/outputs/gpu0/work.png');
    await writeFile(output, 'work');
    // Its small disk, as only the agent and its children see it.
    const temp = `/proc/${agent.pid}/root${instances}/gpu0/temp`;
    const fill = (name: string, megabytes: number) => writeFile(join(temp, name), Buffer.alloc(megabytes * MEBIBYTE, 1));
    for (let index = 0; index < 6; index++) await fill(`part-${index}.bin`, 5);
    const told = await eventually(
      'the disk is told',
      async () => (await healthOf(agent)).verdicts.find(({ fault }) => fault === 'disk-filling'),
      30_000,
    );
    expect(told.reason).toMatch(/^the disk with temp has 3\d MiB free of 64 MiB/);
    const parts = async () => (await readdir(temp)).filter((name) => name.startsWith('part-')).sort();
    expect(await parts()).toHaveLength(6);
    for (let index = 6; index < 10; index++) await fill(`part-${index}.bin`, 5);
    await eventually('it was cleaned', async () => (await events(agent, 'cleanup.done')).length > 0, 45_000);
    const [entry] = await events(agent, 'cleanup.done');
    expect(entry?.message).toMatch(/^freed \d\d\.\d MiB: temp \d+ /);
    const left = await parts();
    // The newest of them are still there.
    expect(left.at(-1)).toBe('part-9.bin');
    expect(left).not.toContain('part-0.bin');
    await eventually(
      'the disk is fine',
      async () => !(await healthOf(agent)).verdicts.some(({ fault }) => fault === 'disk-filling'),
      30_000,
    );
    expect(existsSync(output)).toBe(true);
    expect(await pidsOf(agent)).toEqual(before);
  });
});

describe('memory beyond its budget', () => {
  it('is given back by a restart between jobs, never in the middle of one', async () => {
    const root = await newRoot();
    const control = controlFile(root);
    const agent = await startAgent({ gpus: 1, root, environment: control.environment, config: { memory: { budgetMb: 150 } } });
    await agent.untilReady();
    const [before] = await pidsOf(agent);
    const { url } = await agent.instance(0);
    const prompt = {
      '1': { class_type: 'EmptyImage', inputs: { width: 8, height: 8, batch_size: 1, color: 7 } },
      '2': { class_type: 'PreviewImage', inputs: { images: ['1', 0] } },
    };
    await control.set({ leak_mb_per_job: 200 });
    await pause(300);
    await fetch(`${url}/prompt`, { method: 'POST', body: JSON.stringify({ prompt }) });
    await eventually(
      'its memory is known to have grown',
      async () => {
        const text = String((await agent.get('/metrics')).body);
        return Number(/^comfylet_instance_resident_bytes\{gpu="0"[^}]*\} (\d+)/m.exec(text)?.[1] ?? 0) > 200 * MEBIBYTE;
      },
      20_000,
    );
    const picture = await startLongJob(control, url);
    await untilInstance(agent, 0, 'waiting for its job', ({ hold }) => hold?.includes('1 job') === true, 40_000);
    expect(await pidsOf(agent)).toEqual([before]);
    const held = await agent.instance(0);
    expect(held.verdicts).toMatchObject([{ fault: 'memory-growth', remedy: 'restart-when-idle' }]);
    await control.set({});
    await untilInstance(agent, 0, 'new and ready', ({ pid, ready }) => ready && pid !== before, 40_000);
    await untilPicture(agent.root, picture);
    const [entry] = await events(agent, 'action.restart-instance');
    expect(entry?.message).toMatch(/its memory \(\d+ MiB\) is above the budget of 150 MiB/);
    expect((await agent.instance(0)).verdicts).toEqual([]);
  });
});
