import { editConfig, isAlive } from '../../support/agent/scene.ts';
import { eventually } from '../../support/eventually.ts';
import { fact, isHeld, others, pids, STRANGER_MS, says, strangers } from '../../support/faults/expect.ts';
import type { FaultRow } from '../../support/faults/row.ts';
import type { Scene } from '../../support/faults/scene.ts';
import { bystander, clientOf, strangerOn } from '../../support/faults/stranger.ts';

/** Ports, and those who hold them. */

const BACK_MS = 4_000;
const portOf = async (scene: Scene, gpu: number): Promise<number> => (await scene.instance(gpu)).port ?? 0;
const run = async (scene: Scene, ...args: string[]): Promise<void> => {
  const result = await scene.agent.cli(...args);
  if (result.code !== 0) throw new Error(`${args.join(' ')}: ${result.stderr}`);
};

export const portRows: readonly FaultRow[] = [
  {
    id: 'port-taken-before-start',
    source: 'peers-serving pain 20, predecessor 1',
    fault: 'a stranger listens on the port of an instance that is to be started',
    stage: 'owned',
    inject: async (scene) => {
      const port = await portOf(scene, 0);
      await run(scene, 'stop', '0');
      await scene.stranger(strangerOn(port));
      scene.strike();
      await run(scene, 'start', '0', '--no-wait');
    },
    health: [
      isHeld('instance 0', 'PORT_HELD', STRANGER_MS, /is held by pid \d+ \(.*node/),
      says(0, 'not ready, with no process, and who holds it', STRANGER_MS, { ready: false, hold: /is held by pid \d+/ }),
    ],
    heal: { words: 'the stranger goes', how: async (scene) => void (await Promise.all(scene.strangers.map((stranger) => stranger.end()))) },
    done: {
      words: 'it waits, and starts on its own port when that is free',
      events: [
        { type: 'hold.set', target: 'instance 0', message: /is held by pid/ },
        { type: 'hold.cleared', target: 'instance 0' },
        { type: 'action.start-instance', target: 'instance 0' },
        { type: 'instance.ready', target: 'instance 0' },
      ],
    },
    untouched: [
      others(1),
      { what: 'the stranger: no signal was sent to it', check: async ({ strangers: [stranger] }) => stranger?.harm() ?? null },
    ],
    back: { gpus: [0], figureMs: 5_000 },
  },
  {
    id: 'client-of-the-port',
    source: 'predecessor 1',
    fault: 'a worker has a connection open to an instance that is restarted (lsof -ti lists clients too)',
    stage: 'owned',
    inject: async (scene) => {
      await scene.stranger(clientOf(await portOf(scene, 0)));
      scene.strike();
      await run(scene, 'restart', '0');
    },
    health: [says(0, 'ready again', BACK_MS, { ready: true })],
    done: {
      words: 'the instance alone is restarted',
      events: [{ type: 'action.restart-instance', target: 'instance 0' }],
      never: [{ type: 'action.failed' }],
    },
    untouched: [others(1), strangers],
    back: { gpus: [0], figureMs: BACK_MS },
  },
  {
    id: 'neighbour-port',
    source: 'predecessor 1',
    fault: 'a stranger listens on a port beside the instances\u2019 when the agent starts (the predecessor cleared 8189 to 8192)',
    stage: 'owned',
    inject: async (scene) => {
      await scene.stranger(strangerOn((await portOf(scene, 1)) + 1));
      scene.strike();
      await run(scene, 'restart', 'all');
    },
    health: [says(0, 'ready again', BACK_MS, { ready: true }), says(1, 'ready again', BACK_MS, { ready: true })],
    done: { words: 'the instances alone are restarted', events: [{ type: 'action.restart-instance' }] },
    untouched: [strangers],
    back: { gpus: [0, 1], figureMs: BACK_MS },
  },
  {
    id: 'port-holder-is-python-itself',
    source: 'predecessor 2',
    fault: 'none: whose pid health and PM2 tell (the predecessor kept the pid of a shell)',
    stage: 'owned',
    inject: async (scene) => scene.strike(),
    health: [
      fact('the pid that health tells listens on the port, and is python', 1_000, async (scene) => {
        const { ports } = await scene.agent.json<{
          ports: { gpu: number; holder: { pid: number; command: string } | null; ours: boolean }[];
        }>('ports');
        const [holder, pid] = [ports[0]?.holder, await scene.pid(0)];
        return (
          (holder?.pid === pid && ports[0]?.ours === true && /python.* main\.py/.test(holder.command)) || JSON.stringify({ holder, pid })
        );
      }),
    ],
    done: { words: 'nothing', events: [] },
    untouched: [others(0, 1)],
    back: { gpus: [0], figureMs: 500 },
  },
  {
    id: 'ports-moved-by-configuration',
    source: 'predecessor 5',
    fault: 'the first port is changed (the predecessor moved the workers and not ComfyUI)',
    stage: 'owned',
    inject: async (scene) => {
      const first = scene.agent.firstPort + 40;
      const before = await editConfig(scene.root, { ports: { first } });
      scene.after(async () => {
        const { writeFile } = await import('node:fs/promises');
        await writeFile(`${scene.root}/agent.yaml`, before);
        await eventually(
          'it moves back',
          async () => (await scene.instance(1)).port === scene.agent.firstPort + 1 && (await scene.instance(1)).ready,
          20_000,
        );
      });
      scene.strike();
    },
    health: [
      fact('every instance answers on its new port, and discovery names it', 6_000, async (scene) => {
        const { body } = await scene.agent.get('/v1/discovery');
        const { instances } = body as { instances: { port: number; ready: boolean }[] };
        const wanted = [40, 41].map((step) => scene.agent.firstPort + step);
        return (
          (instances.every(({ ready }) => ready) && instances.map(({ port }) => port).join() === wanted.join()) || JSON.stringify(instances)
        );
      }),
    ],
    done: {
      words: 'the instances are restarted, one at a time',
      events: [
        { type: 'configuration.changed' },
        { type: 'action.lease-port' },
        { type: 'action.restart-instance' },
        { type: 'action.restart-instance' },
      ],
    },
    untouched: [],
    back: { gpus: [0, 1], figureMs: 6_000 },
  },
  {
    id: 'pid-file-of-a-stranger',
    source: 'predecessor 2, pm2.md 4.6',
    fault: 'PM2\u2019s pid file names a stranger when the agent starts',
    stage: 'owned',
    inject: async (scene) => {
      const { writeFile } = await import('node:fs/promises');
      const stranger = await scene.stranger(bystander());
      const daemon = await scene.pm2Pid();
      const gone = [daemon, await scene.pid(0), await scene.pid(1)];
      await scene.killAgent();
      for (const pid of gone) process.kill(pid, 'SIGKILL');
      await eventually('all are gone', () => gone.every((pid) => !isAlive(pid)));
      await writeFile(`${scene.root}/state/pm2/pm2.pid`, String(stranger.pid));
      scene.strike();
      await scene.startAgentAgain();
    },
    health: [fact('both instances are ready', 5_000, async (scene) => (await scene.health()).capacity === '2/2')],
    done: {
      words: 'another PM2 daemon is started, and the instances by it',
      events: [{ type: 'agent.start' }, { type: 'action.start-instance' }],
    },
    untouched: [strangers],
    back: { gpus: [0, 1], figureMs: 5_000 },
  },
  {
    id: 'process-that-looks-like-ours',
    source: 'predecessor 1, predecessor 6',
    fault: 'somebody else\u2019s process is named like an instance and runs main.py, while all is restarted',
    stage: 'owned',
    inject: async (scene) => {
      await scene.stranger(bystander());
      scene.strike();
      await run(scene, 'restart', 'all');
      await run(scene, 'stop', '0');
      await run(scene, 'start', '0');
    },
    health: [says(0, 'ready', BACK_MS, { ready: true })],
    done: {
      words: 'processes are known by pid, start time and mark, never by name',
      events: [{ type: 'action.restart-instance' }, { type: 'action.stop-instance' }],
    },
    untouched: [strangers, pidsDiffer()],
    back: { gpus: [0, 1], figureMs: BACK_MS },
  },
];

function pidsDiffer(): FaultRow['untouched'][number] {
  return {
    what: 'nothing else',
    check: async (scene, before) => ((await pids(1).check(scene, before)) === null ? 'the restart did nothing' : null),
  };
}
