import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir, rm, writeFile } from 'node:fs/promises';
import { connect, type Socket } from 'node:net';
import { join } from 'node:path';
import { eventually } from '../../support/eventually.ts';
import { fact, others, pids } from '../../support/faults/expect.ts';
import type { FaultRow } from '../../support/faults/row.ts';
import { createPack, nodesFile, packOf } from '../../support/git/pack-origins.ts';

/** What a stranger on the machine, or a node pack, puts in the agent's way. */

const NEVER: FaultRow['done']['never'] = [{ type: 'instance.exit' }, { type: 'action.restart-instance' }, { type: 'action.stop-instance' }];
const CONNECTIONS = 1_100;

export const intrusionRows: readonly FaultRow[] = [
  {
    id: 'idle-connections',
    source: 'issue "1,024 idle connections shut everybody out"',
    fault: 'somebody opens more connections than the agent keeps, and says nothing on them',
    stage: 'owned',
    inject: async (scene) => {
      const { port } = new URL(scene.agent.url);
      const sockets: Socket[] = [];
      scene.after(() => sockets.forEach((socket) => void socket.destroy()));
      scene.strike();
      for (let count = 0; count < CONNECTIONS; count++) {
        const socket = connect(Number(port), '127.0.0.1');
        socket.on('error', () => undefined);
        sockets.push(socket);
      }
      await eventually('all are open, or ended', () => sockets.every(({ connecting }) => !connecting), 30_000);
    },
    health: [
      fact('health answers', 1_000, async ({ agent }) => (await agent.get('/health/comfyui')).status === 200),
      fact('the socket of the command line answers', 1_000, async ({ agent }) => (await agent.cli('status')).code === 0),
    ],
    heal: { words: 'they go', how: (scene) => scene.endRow() },
    done: { words: 'the oldest idle ones are ended, and it is logged', events: [], never: NEVER },
    untouched: [others(0, 1)],
    back: { gpus: [0, 1], figureMs: 2_000 },
  },
  {
    id: 'run-directory-removed',
    source: 'issue "rm -rf run/ under a running agent"',
    fault: 'the directory with the socket and discovery\u2019s files is removed',
    stage: 'owned',
    inject: async (scene) => {
      scene.strike();
      await rm(join(scene.root, 'run'), { recursive: true, force: true });
    },
    health: [
      fact('the socket is back, and the command line reaches the agent by it', 5_000, async (scene) => {
        const { code } = await scene.agent.cli('uncordon', '0');
        return (code === 0 && existsSync(join(scene.root, 'run/agent.sock'))) || `exit code ${code}`;
      }),
      fact('discovery\u2019s file is back', 5_000, async (scene) => existsSync(join(scene.root, 'run/instances.json'))),
    ],
    done: { words: 'it makes them again', events: [], never: NEVER },
    untouched: [others(0, 1)],
    back: { gpus: [0, 1], figureMs: 2_000 },
  },
  {
    id: 'pipe-in-place-of-a-workflow',
    source: 'issue "a FIFO in shared/workflows keeps the agent from ending"',
    fault: 'a named pipe lies among the workflows, and the agent is ended and started',
    stage: 'external',
    inject: async (scene) => {
      const pipe = join(scene.root, 'shared/workflows/pipe.json');
      await mkdir(join(scene.root, 'shared/workflows'), { recursive: true });
      if (spawnSync('mkfifo', [pipe]).status !== 0) throw new Error('mkfifo failed');
      scene.after(() => rm(pipe, { force: true }));
      await scene.agent.cli('reload');
      scene.strike();
      const code = await scene.agent.stop();
      if (code !== 0) throw new Error(`the agent ended with ${code}`);
      await scene.startAgentAgain();
    },
    health: [fact('both are ready', 5_000, async (scene) => (await scene.health()).capacity === '2/2')],
    heal: { words: 'it goes', how: (scene) => scene.endRow() },
    done: { words: 'it is told, and never waited for', events: [{ type: 'agent.stop' }, { type: 'agent.start' }], never: NEVER },
    untouched: [pids(0, 1)],
    back: { gpus: [0, 1], figureMs: 3_000 },
  },
  {
    id: 'pack-ends-the-process',
    source: 'issue "a pack that ends the process"',
    fault: 'a node pack calls os._exit while it is imported, and is installed beside a good one',
    stage: 'owned',
    inject: async (scene) => {
      const directory = `${scene.root}.packs`;
      const path = join(scene.root, 'shared/config_nodes.json');
      const bad = await createPack(directory, 'exits', { '__init__.py': 'import os\nos._exit(0)\n' });
      const good = await createPack(directory, 'good');
      await writeFile(path, nodesFile({ name: 'Exits', url: bad.url }, { name: 'Good', url: good.url }));
      scene.after(async () => {
        await rm(path, { force: true });
        await rm(directory, { recursive: true, force: true });
        await scene.agent.cli('install');
      });
      scene.strike();
      const install = await scene.agent.cli('install');
      if (install.code !== 0) throw new Error(`${install.code}: ${install.stderr}`);
    },
    health: [
      fact('the pack is named with its deed, the other is loaded', 20_000, async ({ agent }) => {
        const [exits, good] = await Promise.all([packOf(agent, 'Exits'), packOf(agent, 'Good')]);
        return (/ends ComfyUI while it is imported/.test(exits.error ?? '') && good.state === 'loaded') || JSON.stringify([exits, good]);
      }),
    ],
    heal: { words: 'it is no longer asked for, and `agent install`', how: (scene) => scene.endRow() },
    done: {
      words: 'a second, watched start names it; it is left out, and the rest is installed',
      events: [{ type: 'install.begin' }, { type: 'install.done', message: /failed node packs: Exits$/ }],
    },
    untouched: [],
    back: { gpus: [0, 1], figureMs: 20_000 },
  },
];
