import { existsSync } from 'node:fs';
import { readdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { AGENT, baseEnvironment } from '../../support/agent/agent.ts';
import { processesKnowing } from '../../support/agent/processes.ts';
import { attempt, attemptWith, editConfig, isAlive } from '../../support/agent/scene.ts';
import { eventually } from '../../support/eventually.ts';
import { fact, goesOnSaying, jobsEnd, others, pids, says } from '../../support/faults/expect.ts';
import { jobEnd, submitJob } from '../../support/faults/jobs.ts';
import type { FaultRow } from '../../support/faults/row.ts';
import { type Scene, signal } from '../../support/faults/scene.ts';
import { secretValues } from '../../support/faults/stages.ts';

/** PM2 and its daemon. */

const BACK_MS = 5_000;
/** Processes of a root that run main.py, by instance. */
export async function mainsOf(root: string): Promise<readonly number[]> {
  return (await processesKnowing(root)).filter(({ command }) => /python\S* -u main\.py/.test(command)).map(({ pid }) => pid);
}
const oneEach = fact('each instance has one process and no more', 2_000, async (scene) => {
  const wanted = (await scene.health()).instances.map(({ pid }) => pid).sort();
  const there = [...(await mainsOf(scene.root))].sort();
  return wanted.join() === there.join() || `${there.join()} run, and health tells of ${wanted.join()}`;
});
const gone = (...pidsToGo: number[]): Promise<unknown> => eventually(`${pidsToGo} are gone`, () => pidsToGo.every((pid) => !isAlive(pid)));

export const pm2Rows: readonly FaultRow[] = [
  {
    id: 'pm2-killed',
    source: 'pm2.md 4.6',
    fault: 'the agent\u2019s own PM2 daemon is killed; python lives on with its port and card, as nobody\u2019s child',
    stage: 'owned',
    inject: async (scene) => {
      const daemon = await scene.pm2Pid();
      scene.strike();
      process.kill(daemon, 'SIGKILL');
      await gone(daemon);
    },
    health: [
      fact('another daemon is there', 3_000, async (scene) => isAlive(await scene.pm2Pid().catch(() => null))),
      fact('both are ready', BACK_MS, async (scene) => (await scene.health()).capacity === '2/2'),
      oneEach,
    ],
    done: { words: 'another daemon is started, which takes over or replaces what the dead one left', events: [{ type: 'pm2.lost' }] },
    untouched: [],
    back: { gpus: [0, 1], figureMs: BACK_MS },
  },
  {
    id: 'pm2-killed-with-all',
    source: 'pm2.md 4.6',
    fault: 'the PM2 daemon and all that it hosts are killed, as when memory runs out',
    stage: 'owned',
    inject: async (scene) => {
      const all = [await scene.pm2Pid(), await scene.pid(0), await scene.pid(1)];
      scene.strike();
      for (const pid of all) process.kill(pid, 'SIGKILL');
    },
    health: [
      says(0, 'not ready', 2_000, { ready: false }),
      says(1, 'not ready', 2_000, { ready: false }),
      fact('both are ready', BACK_MS, async (scene) => (await scene.health()).capacity === '2/2'),
      oneEach,
    ],
    done: {
      words: 'another daemon is started, and the instances by it',
      events: [{ type: 'pm2.lost' }, { type: 'action.start-instance' }, { type: 'instance.ready' }],
    },
    untouched: [],
    back: { gpus: [0, 1], figureMs: BACK_MS },
  },
  {
    id: 'pm2-deaf',
    source: 'pm2.md 4.4 "RPC has no timeout"',
    fault: 'the PM2 daemon is stopped with SIGSTOP: it takes calls and never answers',
    stage: 'owned',
    inject: async (scene) => {
      const daemon = await scene.pm2Pid();
      scene.strike();
      scene.freeze(daemon);
    },
    health: [
      fact('health says that PM2 cannot be asked', 5_000, async (scene) => {
        const { holds, instances } = await scene.health();
        return (
          holds.some(({ reason, code }) => /PM2/.test(`${code} ${reason}`)) ||
          instances.some((instance) => /PM2/.test(JSON.stringify(instance))) ||
          JSON.stringify(holds)
        );
      }),
      fact('health answers within 100 ms', 500, async ({ agent }) => {
        const asked = performance.now();
        await agent.get('/health/comfyui');
        return performance.now() - asked < 100;
      }),
      fact('no second daemon, no second process', 500, async (scene) => (await mainsOf(scene.root)).length === 2),
    ],
    heal: { words: 'SIGCONT', how: async (scene) => void signal(await scene.pm2Pid(), 'SIGCONT') },
    done: {
      words: 'nothing is started or stopped meanwhile',
      events: [],
      never: [{ type: 'instance.exit' }, { type: 'action.start-instance' }, { type: 'action.restart-instance' }],
    },
    untouched: [pids(0, 1)],
    back: { gpus: [0, 1], figureMs: 5_000 },
  },
  {
    id: 'pm2-unit-killed',
    source: 'pm2.md 4.6',
    fault: 'the PM2 daemon of its own unit is killed, and its unit starts another',
    stage: 'external',
    inject: async (scene) => {
      const daemon = await scene.pm2Pid();
      scene.strike();
      process.kill(daemon, 'SIGKILL');
      await gone(daemon);
    },
    health: [
      fact('health says that PM2 is gone', 3_000, async (scene) => /PM2/.test(JSON.stringify((await scene.health()).holds))),
      fact('no second process because the first could not be seen', 500, async (scene) => (await mainsOf(scene.root)).length === 2),
    ],
    heal: { words: 'its unit starts it again', how: (scene) => scene.startPm2() },
    done: { words: 'what the dead daemon left is taken over or replaced once there is another', events: [{ type: 'pm2.lost' }] },
    untouched: [],
    back: { gpus: [0, 1], figureMs: BACK_MS },
  },
  {
    id: 'pm2-unit-stopped',
    source: 'pm2.md 4.2, pm2.md 4.6',
    fault: 'the PM2 daemon of its own unit is ended by SIGTERM with 2 instances, and started later',
    stage: 'external',
    inject: async (scene) => {
      const all = [await scene.pm2Pid(), await scene.pid(0), await scene.pid(1)];
      scene.strike();
      process.kill(all[0] ?? 0, 'SIGTERM');
      await gone(...all);
    },
    health: [
      says(0, 'not ready', 2_500, { ready: false }),
      says(1, 'not ready', 2_500, { ready: false }),
      fact('it wrote no dump', 500, async (scene) => !existsSync(join(scene.root, 'state/pm2/dump.pm2'))),
    ],
    heal: { words: 'it is started', how: (scene) => scene.startPm2() },
    done: { words: 'the instances are started once PM2 is back', events: [{ type: 'action.start-instance' }, { type: 'instance.ready' }] },
    untouched: [],
    back: { gpus: [0, 1], figureMs: BACK_MS },
  },
  {
    id: 'pm2-dead-output-lives',
    source: 'pm2.md 4.5 "broken pipe"',
    fault: 'a job that prints runs while PM2 is dead',
    stage: 'external',
    inject: async (scene) => {
      const [daemon, pid, { url }] = [await scene.pm2Pid(), await scene.pid(0), await scene.instance(0)];
      const log = join(scene.root, 'logs/comfyui-gpu0.log');
      scene.strike();
      process.kill(daemon, 'SIGKILL');
      await gone(daemon);
      const before = (await stat(log)).size;
      const end = await jobEnd(await submitJob(url ?? ''));
      if (end !== 'success' || !isAlive(pid)) throw new Error(`the job ended with ${end}; its process lives: ${isAlive(pid)}`);
      if ((await stat(log)).size <= before) throw new Error('the log did not grow');
    },
    health: [fact('the agent lives', 500, async ({ agent }) => (await agent.get('/health')).status === 200)],
    heal: { words: 'its unit starts it again', how: (scene) => scene.startPm2() },
    done: { words: 'the output goes to the log without PM2', events: [{ type: 'pm2.lost' }] },
    untouched: [],
    back: { gpus: [0, 1], figureMs: BACK_MS },
  },
  {
    id: 'second-pm2-daemon',
    source: 'pm2.md 4.4',
    fault: 'three more PM2 daemons are started for the same home (PM2\u2019s last one would steal the socket)',
    stage: 'owned',
    inject: async (scene) => {
      scene.strike();
      const home = join(scene.root, 'state/pm2');
      const results = await Promise.all(
        [1, 2, 3].map(() =>
          attemptWith([process.execPath, AGENT, '__pm2-daemon'], { PATH: baseEnvironment()['PATH'] ?? '', PM2_HOME: home }),
        ),
      );
      if (results.some(({ code }) => code === 0 || code === null)) throw new Error(JSON.stringify(results));
    },
    health: [goesOnSaying(0, 'ready', 500, { ready: true }), oneEach],
    done: {
      words: 'they end by themselves; the first keeps its socket',
      events: [],
      never: [{ type: 'pm2.lost' }, { type: 'instance.exit' }],
    },
    untouched: [others(0, 1)],
    back: { gpus: [0, 1], figureMs: 500 },
  },
  {
    id: 'parallel-starts',
    source: 'pm2.md 4.4',
    fault: 'one instance is started by five callers at once (PM2 would start three processes)',
    stage: 'owned',
    inject: async (scene) => {
      await scene.agent.cli('stop', '0');
      scene.strike();
      const results = await Promise.all([1, 2, 3, 4, 5].map(() => scene.agent.cli('start', '0')));
      const failed = results.find(({ code }) => code !== 0);
      if (failed !== undefined) throw new Error(failed.stderr);
    },
    health: [says(0, 'ready', 3_000, { ready: true }), oneEach],
    done: {
      words: 'it is started once',
      events: [{ type: 'action.start-instance', target: 'instance 0' }],
      never: [{ type: 'action.failed' }],
    },
    untouched: [others(1)],
    back: { gpus: [0], figureMs: 3_000 },
  },
  {
    id: 'restart-and-stop-at-once',
    source: 'pm2.md 4.4',
    fault: 'restart, stop and start are asked for at once, several times',
    stage: 'owned',
    inject: async (scene) => {
      scene.strike();
      for (let round = 0; round < 2; round++) {
        await Promise.all([
          scene.agent.cli('restart', '0', '--no-wait'),
          scene.agent.cli('stop', '0', '--no-wait'),
          scene.agent.cli('start', '0', '--no-wait'),
        ]);
      }
      const last = await scene.agent.cli('start', '0');
      if (last.code !== 0) throw new Error(last.stderr);
    },
    health: [says(0, 'ready: what was asked for last counts', 5_000, { ready: true }), oneEach],
    done: {
      words: 'calls to PM2 follow each other',
      events: [],
      never: [{ type: 'action.failed' }, { type: 'action.quarantine-instance' }],
    },
    untouched: [others(1)],
    back: { gpus: [0], figureMs: 3_000 },
  },
  {
    id: 'variable-of-pm2',
    source: 'pm2.md 4.3',
    fault: 'the configuration names a variable that PM2 uses itself (`name`, `autorestart`)',
    stage: 'owned',
    inject: async (scene) => {
      const before = await editConfig(scene.root, { comfyui: { environment: { autorestart: 'false', name: 'x' } } });
      scene.after(() => before);
      scene.strike();
    },
    health: [
      fact('what is wrong is told', 4_000, async (scene) => scene.journal().some(({ message }) => /PM2 uses the variable/.test(message))),
      goesOnSaying(0, 'ready with the settings before', 1_000, { ready: true }),
    ],
    heal: {
      words: 'the variable is taken back',
      how: async (scene) => void (await editConfig(scene.root, { comfyui: { environment: {} } }).then(() => dropEnvironment(scene))),
    },
    done: {
      words: 'the change is refused; nothing is restarted with it',
      events: [{ type: 'configuration.changed' }],
      never: [{ type: 'instance.exit' }],
    },
    untouched: [others(0, 1)],
    back: { gpus: [0, 1], figureMs: 2_000 },
  },
  {
    id: 'environment-of-the-agent',
    source: 'pm2.md 4.3, predecessor 9',
    fault: 'the agent runs with CUDA_VISIBLE_DEVICES=77 and with tokens in its environment',
    stage: 'secrets',
    inject: async (scene) => {
      scene.strike();
      await scene.agent.cli('restart', '0');
    },
    health: [
      fact('the instance has its own card and none of it', 3_000, async (scene) => {
        const environment = (await readFile(`/proc/${await scene.pid(0)}/environ`, 'utf8')).split('\0');
        const foreign = environment.filter(
          (entry) =>
            secretValues().some((value) => entry.includes(value)) ||
            /^(pm_|PM2_|axm_|NODE_|name=|status=|CUDA_VISIBLE_DEVICES=.)/.test(entry),
        );
        return foreign.length === 0 || foreign.map((entry) => entry.split('=')[0]).join();
      }),
    ],
    done: { words: 'an instance gets a whole environment of its own, at a restart too', events: [{ type: 'action.restart-instance' }] },
    untouched: [others(1)],
    back: { gpus: [0], figureMs: 3_000 },
  },
  {
    id: 'secrets-in-files',
    source: 'pm2.md 4.6, predecessor 9',
    fault: 'the agent runs with tokens in its environment, instances end, PM2 is asked for everything',
    stage: 'secrets',
    inject: async (scene) => {
      scene.strike();
      process.kill(await scene.pid(0), 'SIGKILL');
    },
    health: [
      says(0, 'ready again', 3_000, { ready: true }),
      fact('no file below the root, no answer and no process but the agent holds one of them', 2_000, async (scene) => {
        const files = (await readdir(scene.root, { recursive: true, withFileTypes: true })).filter((entry) => entry.isFile());
        const texts = await Promise.all(
          files
            .filter(({ parentPath }) => !/venv|\.git|simulator\/simulator/.test(parentPath))
            .map(
              async (entry) => [join(entry.parentPath, entry.name), await readFile(join(entry.parentPath, entry.name), 'latin1')] as const,
            ),
        );
        const answers = [
          ['state', JSON.stringify((await scene.agent.get('/v1/state')).body)],
          ['health', JSON.stringify(await scene.health())],
          ['pm2', await readFile(`/proc/${await scene.pm2Pid()}/environ`, 'utf8')],
        ] as const;
        const found = [...texts, ...answers]
          .filter(([, text]) => secretValues().some((value) => text.includes(value)))
          .map(([path]) => path);
        return found.length === 0 || found.join();
      }),
      fact('PM2 wrote no dump, and its directory is the agent\u2019s alone', 500, async (scene) => {
        const home = join(scene.root, 'state/pm2');
        const modes = await Promise.all([join(scene.root, 'state'), home].map(async (path) => (await stat(path)).mode & 0o077));
        return (!existsSync(join(home, 'dump.pm2')) && modes.every((mode) => mode === 0)) || modes.map((mode) => mode.toString(8)).join();
      }),
    ],
    done: { words: 'nothing of it is written anywhere', events: [{ type: 'instance.exit' }] },
    untouched: [others(1)],
    back: { gpus: [0], figureMs: 3_000 },
  },
  {
    id: 'second-agent',
    source: 'pm2.md 4.4, predecessor 10',
    fault: 'a second agent is started on the same root',
    stage: 'owned',
    inject: async (scene) => {
      scene.strike();
      const second = await attempt(scene.root, scene.agent.environment, ['run', '--port', '0']);
      if (second.code !== 5 || !/error\[ROOT_LOCKED\]/.test(second.stderr)) throw new Error(`${second.code}: ${second.stderr}`);
    },
    health: [goesOnSaying(0, 'ready', 500, { ready: true })],
    done: { words: 'it is refused with the pid of the first', events: [], never: [{ type: 'agent.start' }, { type: 'instance.exit' }] },
    untouched: [others(0, 1)],
    back: { gpus: [0, 1], figureMs: 500 },
  },
  {
    id: 'job-outlives-a-pm2-that-is-deaf',
    source: 'pm2.md 4.4',
    fault: 'jobs are submitted while PM2 does not answer',
    stage: 'external',
    inject: async (scene) => {
      scene.freeze(await scene.pm2Pid());
      scene.strike();
      for (let count = 0; count < 5; count++) await jobEnd(await scene.job(0));
    },
    health: [fact('the agent lives', 500, async ({ agent }) => (await agent.get('/health')).status === 200)],
    heal: { words: 'SIGCONT', how: async (scene) => void signal(await scene.pm2Pid(), 'SIGCONT') },
    done: { words: 'nothing', events: [], never: [{ type: 'instance.exit' }, { type: 'action.start-instance' }] },
    untouched: [pids(0, 1), jobsEnd],
    back: { gpus: [0, 1], figureMs: 5_000 },
  },
  {
    id: 'quarantine-by-hold-not-pm2',
    source: 'pm2.md 4.1 "errored"',
    fault: 'an instance is stopped by hand and killed meanwhile',
    stage: 'owned',
    inject: async (scene) => {
      await scene.switches(0, { ignore_sigint: true });
      await scene.agent.cli('restart', '0');
      const pid = await scene.pid(0);
      scene.strike();
      const stop = scene.agent.cli('stop', '0');
      await eventually('it is being stopped', () => scene.journal().some(({ type }) => type === 'action.stop-instance'));
      await pause(300);
      signal(pid, 'SIGKILL');
      await stop;
      await scene.switches(0, {});
    },
    health: [says(0, 'stopped, and nobody\u2019s fault', 2_000, { status: 'stopped', ready: false })],
    heal: { words: 'it is started', how: async (scene) => void (await scene.agent.cli('start', '0')) },
    done: {
      words: 'an end that was asked for does not count',
      events: [{ type: 'instance.exit', target: 'instance 0', message: /as asked/ }],
      never: [{ type: 'instance.exit', message: /by itself/ }],
    },
    untouched: [others(1)],
    back: { gpus: [0], figureMs: 3_000 },
  },
];

/** The section merges; the environment is to be empty again. */
async function dropEnvironment(scene: Scene): Promise<void> {
  const { parse, stringify } = await import('yaml');
  const { replaceFile } = await import('../../support/agent/scene.ts');
  const path = join(scene.root, 'agent.yaml');
  const document = parse(await readFile(path, 'utf8')) as { comfyui: { environment?: unknown } };
  delete document.comfyui.environment;
  await replaceFile(path, stringify(document));
}
