import { randomBytes } from 'node:crypto';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { editConfig, replaceFile } from '../../support/agent/scene.ts';
import { createSimulatorOrigin } from '../../support/comfyui/simulator-origin.ts';
import { eventually } from '../../support/eventually.ts';
import { fact, others, says } from '../../support/faults/expect.ts';
import type { FaultRow } from '../../support/faults/row.ts';
import { createPack, installationOf, nodesFile } from '../../support/git/pack-origins.ts';
import { startGitHttp } from '../../support/git/servers.ts';
import { currentRelease, leftovers } from '../../support/kills/whole-root.ts';
import { startTcpProxy } from '../../support/tcp-proxy.ts';

/** Installations: what downloads of models are to others (F9 to F13), they are here. */

export const installRows: readonly FaultRow[] = [
  {
    id: 'download-cut',
    source: 'peers-serving F9 (analogue: a clone)',
    fault: 'the network is cut in the middle of a clone',
    stage: 'owned',
    inject: async (scene) => {
      const directory = `${scene.root}.origins`;
      const origin = await createSimulatorOrigin(join(directory, 'ComfyUI'));
      await origin.commit({ 'large.txt': randomBytes(600_000).toString('base64') });
      const git = await startGitHttp({ directory });
      const proxy = await startTcpProxy(git.port);
      const before = await editConfig(scene.root, { comfyui: { repository: `http://127.0.0.1:${proxy.port}/ComfyUI/.git` } });
      scene.after(async () => {
        await proxy.close();
        await git.close();
        await rm(directory, { recursive: true, force: true });
      });
      scene.after(() => replaceFile(join(scene.root, 'agent.yaml'), before));
      await eventually('the change is seen', async () => (await scene.health()).holds.some(({ code }) => code === 'INSTALLATION_DIFFERS'));
      proxy.mode = { cutAfter: 200_000 };
      scene.strike();
      const install = await scene.agent.cli('install');
      if (!/error\[REPOSITORY_UNREACHABLE\]/.test(install.stderr)) throw new Error(`${install.code}: ${install.stderr}`);
    },
    health: [
      fact('the cause is told, and the release in place serves', 3_000, async (scene) => {
        const { ok, lastError } = await installationOf(scene.agent);
        return (ok && lastError?.code === 'REPOSITORY_UNREACHABLE') || JSON.stringify(lastError);
      }),
    ],
    heal: { words: 'the configuration before', how: (scene) => scene.endRow() },
    done: {
      words: 'the installation ends, the agent goes on',
      events: [{ type: 'install.begin' }, { type: 'install.failed' }],
      never: [{ type: 'instance.exit' }],
    },
    untouched: [others(0, 1)],
    back: { gpus: [0, 1], figureMs: 3_000 },
  },
  {
    id: 'killed-in-a-download',
    source: 'peers-serving F10 (analogue: an installation)',
    fault: 'the agent is killed in the middle of an installation, and started again',
    stage: 'owned',
    inject: async (scene) => {
      const reinstall = scene.agent.cli('reinstall');
      await eventually('it has begun', () => scene.journal().some(({ type }) => type === 'install.step'));
      await pause(200);
      await scene.killAgent();
      await reinstall;
      const { release, wrong } = await currentRelease(scene.root);
      if (release === null || wrong.length > 0) throw new Error(`what was in place is not whole: ${wrong.join()}`);
      scene.strike();
      await scene.startAgentAgain();
    },
    health: [
      fact('a whole release is in place, and nothing half-built lies about', 8_000, async (scene) => {
        const { wrong } = await currentRelease(scene.root);
        const left = await leftovers(scene.root);
        const { ok, step } = await installationOf(scene.agent);
        return (ok && step === null && wrong.length === 0 && left.length === 0) || JSON.stringify({ ok, step, wrong, left });
      }),
    ],
    done: {
      words: 'the next agent goes on or clears away',
      events: [{ type: 'install.begin' }, { type: 'agent.start' }],
      never: [{ type: 'instance.exit', message: /by itself/ }],
    },
    untouched: [],
    back: { gpus: [0, 1], figureMs: 10_000 },
  },
  {
    id: 'asked-during-an-installation',
    source: 'peers-serving F13 (analogue: an installation)',
    fault: 'health is asked all through an installation',
    stage: 'owned',
    inject: async (scene) => {
      scene.strike();
      let over = false;
      const reinstall = scene.agent.cli('reinstall').finally(() => {
        over = true;
      });
      while (!over) {
        const asked = performance.now();
        const codes = [(await scene.agent.get('/health')).status, (await scene.agent.get('/ready')).status];
        if (codes.join() !== '200,200' || performance.now() - asked > 5_000)
          throw new Error(`${codes.join()} after ${performance.now() - asked} ms`);
        await pause(20);
      }
      const { code, stderr } = await reinstall;
      if (code !== 0) throw new Error(stderr);
    },
    health: [
      fact(
        '200 of /health and /ready at every look, and the new release serves',
        8_000,
        async (scene) => (await scene.health()).capacity === '2/2',
      ),
    ],
    done: {
      words: 'instances move one at a time',
      events: [{ type: 'install.begin' }, { type: 'install.done' }],
      never: [{ type: 'instance.exit', message: /by itself/ }],
    },
    untouched: [],
    back: { gpus: [0, 1], figureMs: 10_000 },
  },
  {
    id: 'pack-import-fails',
    source: 'comfyui.md 3 "(IMPORT FAILED)", peers-serving pain 14',
    fault: 'a node pack that was fine does not import any more',
    stage: 'owned',
    inject: async (scene) => {
      const directory = `${scene.root}.pack`;
      const list = join(scene.root, 'shared/config_nodes.json');
      const pack = await createPack(directory, 'fragile', {
        '__init__.py':
          'class Fragile:\n    RETURN_TYPES = ()\n    FUNCTION = "run"\n    CATEGORY = "x"\n    @classmethod\n    def INPUT_TYPES(cls):\n        return {"required": {}}\n    def run(self):\n        return ()\nNODE_CLASS_MAPPINGS = {"FragileNode": Fragile}\n',
      });
      await replaceFile(list, nodesFile({ name: 'fragile', url: pack.url }));
      scene.after(async () => {
        await scene.switches(0, {});
        await rm(list, { force: true });
        await rm(directory, { recursive: true, force: true });
        await eventually('the change is seen', async () =>
          (await scene.health()).holds.some(({ code }) => code === 'INSTALLATION_DIFFERS'),
        );
        await scene.agent.cli('install');
      });
      await eventually('the change is seen', async () => (await scene.health()).holds.some(({ code }) => code === 'INSTALLATION_DIFFERS'));
      const install = await scene.agent.cli('install');
      if (install.code !== 0) throw new Error(install.stderr);
      // A memory error of the row before may still be shown.
      await eventually(
        'both run it',
        async () => {
          const { holds, instances } = await scene.health();
          return holds.length === 0 && instances.every(({ ready }) => ready);
        },
        30_000,
      );
      await scene.switches(0, { fail_packs: ['fragile'] });
      scene.strike();
      await scene.agent.cli('restart', '0', '--no-wait');
    },
    health: [
      says(0, 'degraded, with the name of the pack, and ready for all other jobs', 4_000, {
        status: 'degraded',
        ready: true,
        warning: /fragile/,
      }),
    ],
    heal: {
      words: 'the cause goes, and a restart by hand',
      how: async (scene) => {
        await scene.switches(0, {});
        await scene.agent.cli('restart', '0', '--no-wait');
        await eventually('it is whole', async () => (await scene.instance(0)).status === 'healthy', 20_000);
      },
    },
    done: {
      words: 'nothing by itself',
      events: [{ type: 'install.done' }, { type: 'action.restart-instance', target: 'instance 0' }],
      never: [{ type: 'instance.exit', message: /by itself/ }],
    },
    untouched: [],
    back: { gpus: [0, 1], figureMs: 6_000 },
  },
];
