import { readdir, readFile, readlink, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { processesKnowing } from '../../support/agent/processes.ts';
import { isAlive } from '../../support/agent/scene.ts';
import { eventually } from '../../support/eventually.ts';
import { fact, goesOnSaying, jobsEnd, others, pids, says, seen } from '../../support/faults/expect.ts';
import type { FaultRow, Untouched } from '../../support/faults/row.ts';
import { signal } from '../../support/faults/scene.ts';
import { mainsOf } from './pm2.ts';

/** The agent itself: killed, stopped, deaf, or robbed of what it wrote. */

const BACK_MS = 3_000;
const started: FaultRow['done'] = {
  words: 'the next agent takes over what runs',
  events: [{ type: 'agent.start' }],
  never: [{ type: 'action.start-instance' }, { type: 'instance.exit' }],
};
const ready = (figureMs = BACK_MS) => fact('both are ready', figureMs, async (scene) => (await scene.health()).capacity === '2/2');
const sameRelease: Untouched = {
  what: 'the release in place',
  check: async (scene, before) => {
    const now = (await scene.health()).instances.map(({ release }) => release).join();
    const then = before.instances.map(({ release }) => release).join();
    return now === then ? null : `${then} became ${now}`;
  },
};

export const agentRows: readonly FaultRow[] = [
  {
    id: 'agent-killed',
    source: 'issue, peers-serving F14',
    fault: 'the agent is killed while a job runs; another is started',
    stage: 'cards',
    inject: async (scene) => {
      await scene.switches(0, { job_hang_seconds: 2 });
      await pause(150);
      await scene.job(0);
      await scene.killAgent();
      await pause(300);
      scene.strike();
      await scene.startAgentAgain();
      await scene.switches(0, {});
    },
    health: [ready()],
    done: started,
    untouched: [pids(0, 1), jobsEnd, sameRelease],
    back: { gpus: [0, 1], figureMs: BACK_MS },
  },
  {
    id: 'agent-killed-beside-pm2-unit',
    source: 'peers-serving F14',
    fault: 'the agent is killed, PM2 is another unit\u2019s; another agent is started',
    stage: 'external',
    inject: async (scene) => {
      await scene.killAgent();
      scene.strike();
      await scene.startAgentAgain();
    },
    health: [ready()],
    done: started,
    untouched: [pids(0, 1), sameRelease],
    back: { gpus: [0, 1], figureMs: BACK_MS },
  },
  {
    id: 'agent-stopped-beside-pm2-unit',
    source: 'peers-serving F14',
    fault: 'the agent is ended by SIGTERM, PM2 is another unit\u2019s',
    stage: 'external',
    inject: async (scene) => {
      await scene.job(0);
      scene.strike();
      const code = await scene.agent.stop();
      if (code !== 0) throw new Error(`the agent ended with ${code}`);
      if ((await mainsOf(scene.root)).length !== 2) throw new Error('its instances did not go on');
      await scene.startAgentAgain();
    },
    health: [ready()],
    done: started,
    untouched: [pids(0, 1), sameRelease],
    back: { gpus: [0, 1], figureMs: BACK_MS },
  },
  {
    id: 'agent-stopped-with-its-pm2',
    source: 'peers-serving F14',
    fault: 'the agent is ended by SIGTERM, with a PM2 daemon of its own (a wrapper left ComfyUI running)',
    stage: 'owned',
    inject: async (scene) => {
      scene.strike();
      const code = await scene.agent.stop();
      if (code !== 0) throw new Error(`the agent ended with ${code}`);
      const left = await processesKnowing(scene.root);
      if (left.length > 0) throw new Error(`left running: ${JSON.stringify(left)}`);
      await scene.startAgentAgain();
    },
    health: [ready()],
    done: { words: 'it stops all that it started', events: [{ type: 'agent.stop' }, { type: 'agent.start' }, { type: 'instance.ready' }] },
    untouched: [sameRelease],
    back: { gpus: [0, 1], figureMs: 4_000 },
  },
  {
    id: 'agent-killed-with-dead-instance',
    source: 'issue',
    fault: 'while no agent runs, an instance dies',
    stage: 'cards',
    inject: async (scene) => {
      const pid = await scene.pid(0);
      await scene.killAgent();
      process.kill(pid, 'SIGKILL');
      await eventually('it is gone', () => !isAlive(pid));
      scene.strike();
      await scene.startAgentAgain();
    },
    health: [ready()],
    done: {
      words: 'PM2 has started it again; the next agent proves it by a canary of its own',
      events: [{ type: 'agent.start' }, { type: 'instance.ready', target: 'instance 0' }],
      never: [{ type: 'action.start-instance' }],
    },
    untouched: [sameRelease],
    back: { gpus: [0, 1], figureMs: BACK_MS },
  },
  {
    id: 'agent-frozen',
    source: 'issue',
    fault: 'the agent is stopped with SIGSTOP for 2 s, and an instance dies meanwhile',
    stage: 'cards',
    inject: async (scene) => {
      const [agentPid, pid] = [scene.agent.pid, await scene.pid(0)];
      scene.freeze(agentPid);
      process.kill(pid, 'SIGKILL');
      await pause(2_000);
      scene.strike();
      signal(agentPid, 'SIGCONT');
    },
    health: [
      says(0, 'it tells of the end', 1_000, { lastReason: /SIGKILL/ }),
      fact('both are ready', BACK_MS, async (scene) => (await scene.health()).capacity === '2/2'),
    ],
    done: {
      words: 'PM2 has started it again',
      events: [
        { type: 'instance.exit', target: 'instance 0' },
        { type: 'instance.ready', target: 'instance 0' },
      ],
      never: [{ type: 'instance.not-ready', target: 'instance 1' }, { type: 'action.restart-instance' }],
    },
    untouched: [pids(1)],
    back: { gpus: [0, 1], figureMs: BACK_MS },
  },
  {
    id: 'boot-installs-nothing',
    source: 'predecessor 8, peers-serving F12',
    fault:
      'the agent is started again (the predecessor removed ComfyUI and cloned it at each start), and `agent install` finds nothing to do',
    stage: 'owned',
    inject: async (scene) => {
      const current = await readlink(join(scene.root, 'current'));
      const { ino } = await stat(join(current, 'release.json'));
      await scene.killAgent();
      scene.strike();
      await scene.startAgentAgain();
      await scene.agent.untilReady();
      const install = await scene.agent.cli('install');
      if (install.code !== 0) throw new Error(install.stderr);
      if ((await readlink(join(scene.root, 'current'))) !== current || (await stat(join(current, 'release.json'))).ino !== ino)
        throw new Error('another release is in place');
    },
    health: [ready()],
    done: {
      words: 'nothing is fetched or built',
      events: [{ type: 'agent.start' }],
      never: [{ type: 'install.done' }, { type: 'release.rollback' }],
    },
    untouched: [pids(0, 1), sameRelease],
    back: { gpus: [0, 1], figureMs: BACK_MS },
  },
  {
    id: 'words-of-status',
    source: 'predecessor 6',
    fault: 'an instance is stopped ("running" was found in "not running")',
    stage: 'owned',
    inject: async (scene) => {
      scene.strike();
      await scene.agent.cli('stop', '0');
    },
    health: [
      seen('exit code 3 of `agent health instance 0`', 1_000, async ({ agent }) => {
        const { code } = await agent.cli('health', 'instance', '0');
        return code === 3 ? null : `exit code ${code}`;
      }),
      seen('HTTP 503 of the instance, 200 of the machine', 1_000, async ({ agent }) => {
        const codes = [(await agent.get('/health/comfyui/instances/0')).status, (await agent.get('/ready')).status];
        return codes.join() === '503,200' ? null : codes.join();
      }),
    ],
    heal: { words: 'it is started', how: async (scene) => void (await scene.agent.cli('start', '0')) },
    done: { words: 'as asked', events: [{ type: 'action.stop-instance', target: 'instance 0' }] },
    untouched: [others(1)],
    back: { gpus: [0], figureMs: BACK_MS },
  },
  {
    id: 'workers-wait',
    source: 'predecessor 10',
    fault: 'a worker would start before its instance is ready (the predecessor waited a blind 30 s)',
    stage: 'owned',
    inject: async (scene) => {
      await scene.agent.cli('stop', '0');
      const early = await scene.agent.cli('wait', 'ready', '0', '--timeout', '500ms');
      if (early.code !== 6) throw new Error(`wait ended with ${early.code}: ${early.stderr}`);
      scene.strike();
      const wait = scene.agent.cli('wait', 'ready', '0', '--timeout', '20s');
      await scene.agent.cli('start', '0', '--no-wait');
      const { code, stderr } = await wait;
      if (code !== 0) throw new Error(`wait ended with ${code}: ${stderr}`);
    },
    health: [says(0, '`agent wait ready 0` ends when it is ready, and with 6 at its limit', 3_000, { ready: true })],
    done: { words: 'as asked', events: [{ type: 'action.start-instance', target: 'instance 0' }] },
    untouched: [others(1)],
    back: { gpus: [0], figureMs: BACK_MS },
  },
  {
    id: 'run-files-removed',
    source: 'own',
    fault: 'discovery\u2019s files are removed by somebody who tidies up, then an instance dies',
    stage: 'owned',
    inject: async (scene) => {
      await rm(join(scene.root, 'run/instances.json'));
      await rm(join(scene.root, 'run/instances.env'));
      scene.strike();
      process.kill(await scene.pid(0), 'SIGKILL');
    },
    health: [
      says(0, 'not ready', 500, { ready: false }),
      fact('the files are there again and tell what is so', 4_000, async (scene) => {
        const text = await readFile(join(scene.root, 'run/instances.json'), 'utf8').catch(() => null);
        return text !== null && (JSON.parse(text) as { capacity: { ready: number } }).capacity.ready === 2;
      }),
    ],
    done: { words: 'they are written at the next change', events: [{ type: 'instance.exit' }, { type: 'instance.ready' }] },
    untouched: [others(1)],
    back: { gpus: [0], figureMs: BACK_MS },
  },
  {
    id: 'state-damaged',
    source: 'own',
    fault: 'the machine lost its power: intents, leases and journal are rubbish when the agent starts',
    stage: 'owned',
    inject: async (scene) => {
      await scene.killAgent();
      const state = join(scene.root, 'state');
      for (const name of await readdir(state)) if (/^(intents|leases)\.json$/.test(name)) await writeFile(join(state, name), '\0\0\0{"');
      scene.strike();
      await scene.startAgentAgain();
    },
    health: [ready()],
    done: { words: 'what cannot be read is put aside, and told', events: [{ type: 'state.damaged' }], never: [{ type: 'instance.exit' }] },
    untouched: [pids(0, 1)],
    back: { gpus: [0, 1], figureMs: BACK_MS },
  },
  {
    id: 'directories-removed',
    source: 'own',
    fault: 'temp and output directories of an instance are removed by somebody who tidies up',
    stage: 'owned',
    inject: async (scene) => {
      await rm(join(scene.root, 'instances/gpu0/temp'), { recursive: true, force: true });
      await rm(join(scene.root, 'shared/outputs/gpu0'), { recursive: true, force: true });
      scene.strike();
      process.kill(await scene.pid(0), 'SIGKILL');
    },
    health: [says(0, 'ready again', BACK_MS, { ready: true }), goesOnSaying(1, 'ready', 200, { ready: true })],
    done: { words: 'nothing: ComfyUI makes them', events: [{ type: 'instance.exit' }, { type: 'instance.ready' }] },
    untouched: [others(1)],
    back: { gpus: [0], figureMs: BACK_MS },
  },
];
