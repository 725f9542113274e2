import { setTimeout as pause } from 'node:timers/promises';
import { isAlive } from '../../support/agent/scene.ts';
import { eventually } from '../../support/eventually.ts';
import { fact, isHeld, otherProcess, others, says } from '../../support/faults/expect.ts';
import type { FaultRow } from '../../support/faults/row.ts';
import type { Scene } from '../../support/faults/scene.ts';
import { memoryGroup } from '../../support/host/memory-group.ts';

/** Faults that heal by themselves in their time: by the kernel's word, by a job that ends, by a limit, by a canary. */

/** Counters of the kernel are read with each look of the loop. */
const TWO_LOOKS_MS = 4_500;
const LIMIT_MIB = 160;

const remembered = async (scene: Scene): Promise<boolean> => isAlive(scene.notes.get('pid') ?? null);
export const healingRows: readonly FaultRow[] = [
  {
    id: 'killed-for-memory',
    source: 'issue "OOM-killer evidence", peers-serving pain 10',
    fault: 'a job takes more memory than the cgroup of the process has, and the kernel kills it',
    stage: 'memoryLimit',
    inject: async (scene) => {
      const group = await memoryGroup(LIMIT_MIB);
      if ('refused' in group) throw new Error(group.refused);
      scene.after(group.close);
      await group.take(await scene.pid(0));
      await pause(TWO_LOOKS_MS);
      await scene.switches(0, { leak_mb_per_job: 2 * LIMIT_MIB, startup_ms: 2_000 });
      await pause(150);
      await scene.job(0);
      scene.strike();
    },
    health: [
      says(0, 'not ready: killed by the OOM killer, with what the kernel counted', 1_500, {
        ready: false,
        verdict: 'out-of-memory-kill',
        lastReason: /oom_kill of .* rose from 0 to 1/,
      }),
    ],
    heal: { words: 'the cause goes', how: (scene) => scene.switches(0, {}) },
    done: {
      words: 'PM2 starts it again',
      events: [
        { type: 'instance.exit', target: 'instance 0', message: /OOM killer/ },
        { type: 'instance.ready', target: 'instance 0' },
      ],
      never: [{ type: 'instance.exit', target: 'instance 1' }],
    },
    untouched: [others(1)],
    back: { gpus: [0], figureMs: 5_000 },
  },
  {
    id: 'pm2-killed-under-a-job',
    source: 'pm2.md 4.6, issue "orphans with our mark"',
    fault: 'the PM2 daemon is killed while an instance has a job',
    stage: 'owned',
    inject: async (scene) => {
      scene.notes.set('pid', await scene.pid(0));
      await scene.switches(0, { job_hang_seconds: true });
      await pause(150);
      await scene.job(0);
      await eventually('the job runs', async () => (await scene.instance(0)).queue?.running === 1);
      const daemon = await scene.pm2Pid();
      scene.strike();
      process.kill(daemon, 'SIGKILL');
    },
    health: [
      says(0, 'draining: a leftover that takes no new job', 5_000, { ready: false, status: 'draining', verdict: 'leftover-process' }),
      fact('the other is ready on a process of the new daemon', 5_000, async (scene) => (await scene.health()).capacity === '1/2'),
      fact('and the job runs on', 500, remembered),
    ],
    heal: { words: 'the job ends', how: (scene) => scene.switches(0, {}) },
    done: {
      words: 'it is replaced when its job has ended',
      events: [{ type: 'pm2.lost' }, { type: 'instance.ready', target: 'instance 0' }],
      never: [{ type: 'action.quarantine-instance' }],
    },
    untouched: [],
    back: { gpus: [0, 1], figureMs: 5_000 },
  },
  {
    id: 'pm2-deaf-for-long',
    source: 'pm2.md 4.4 "RPC has no timeout"',
    fault: 'the PM2 daemon stays stopped for longer than `pm2.deafTimeoutMs`',
    stage: 'shortDeaf',
    inject: async (scene) => {
      scene.notes.set('pid', await scene.pid(0));
      const daemon = await scene.pm2Pid();
      scene.notes.set('daemon', daemon);
      scene.strike();
      scene.freeze(daemon);
    },
    health: [
      isHeld('machine', 'PM2_DEAF', 5_000, /answers nothing/),
      says(0, 'and it serves on', 500, { ready: true }),
      otherProcess(15_000),
      says(0, 'and is ready on it', 15_000, { ready: true }),
      fact('the deaf daemon is gone', 1_000, async (scene) => !isAlive(scene.notes.get('daemon') ?? null)),
    ],
    done: {
      words: 'the daemon is replaced, and then what it hosted',
      events: [
        { type: 'hold.set', target: 'machine' },
        { type: 'hold.cleared', target: 'machine' },
      ],
      never: [{ type: 'action.quarantine-instance' }],
    },
    untouched: [],
    back: { gpus: [0, 1], figureMs: 15_000 },
  },
  {
    id: 'quarantine-released-by-canary',
    source: 'issue "release from quarantine by a passing canary after a cool-down"',
    fault: 'an instance that always ended is quarantined; then its cause goes and nobody says so',
    stage: 'shortQuarantine',
    inject: async (scene) => {
      await scene.switches(0, { exit_at_startup: 3 });
      process.kill(await scene.pid(0), 'SIGKILL');
      await eventually('it is quarantined', async () => (await scene.instance(0)).status === 'quarantined', 15_000);
      await scene.switches(0, {});
      scene.strike();
    },
    health: [says(0, 'ready again, after the cool-down and a canary', 6_000, { ready: true })],
    done: {
      words: 'it is tried after `health.quarantine.coolDownMs`, and set free',
      events: [
        { type: 'action.quarantine-instance', target: 'instance 0' },
        { type: 'instance.ready', target: 'instance 0' },
      ],
      never: [{ type: 'action.quarantine-instance', target: 'instance 1' }],
    },
    untouched: [others(1)],
    back: { gpus: [0], figureMs: 6_000 },
  },
];
