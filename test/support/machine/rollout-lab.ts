import type { ReleasesDocument } from '../../../src/domain/agent.ts';
import type { ConfigInput } from '../../../src/domain/configuration/config.ts';
import type { OperationDocument } from '../../../src/domain/operation.ts';
import type { Intents } from '../../../src/domain/state/state.ts';
import { COMFYUI, configNodes, INDEX, packUrl, push, repositories } from './fake-repositories.ts';
import { aMachine, type Machine } from './machine.ts';
import { createWorld, type World } from './world.ts';

export const PACK = 'ComfyUI-One';
export const LOCK = '/workspace/agent.lock.json';
export const ROLLOUT_CONFIG: ConfigInput = { comfyui: { repository: COMFYUI }, install: { validateTimeoutMs: 30_000 } };
/** Long enough for an installation and a rollout that goes nowhere. */
export const LONG_MS = 400_000;

/** A machine with two instances and a pack from git, of which there is always something newer. */
export interface RolloutLab {
  /** The agent that runs now; a successor is put in its place. */
  machine: Machine;
  /** Installs the first release. @returns its id */
  begin(config?: ConfigInput, prepare?: (world: World) => void): Promise<string>;
  /** The next agent on the same machine. */
  replace(config: ConfigInput): Promise<void>;
  current(): Promise<string>;
  lockOf(release: string): Promise<string | null>;
  releases(): Promise<ReleasesDocument>;
  /** Release that the entry of an instance names. */
  runsFrom(gpu: number): string | undefined;
  intents(): Promise<Intents>;
  /** Codes of what is held. */
  holds(): readonly string[];
  bothReady(): boolean;
  /** Asks for an update to a new commit of the pack. */
  beginUpdate(): Promise<OperationDocument>;
  update(): Promise<OperationDocument>;
  rollback(release?: string): Promise<OperationDocument>;
  install(): Promise<OperationDocument>;
}

export function rolloutLab(): RolloutLab {
  let version = 1;
  let machine: Machine | null = null;
  const lab: RolloutLab = {
    get machine() {
      if (machine === null) throw new Error('the first release was not installed');
      return machine;
    },
    set machine(next) {
      machine = next;
    },
    begin: async (config = {}, prepare = () => undefined) => {
      const world = await createWorld({ repositories: repositories({ [PACK]: null }), index: INDEX });
      world.files.put('/workspace/shared/config_nodes.json', configNodes(PACK));
      prepare(world);
      lab.machine = await aMachine({ world, config: { ...ROLLOUT_CONFIG, ...config } });
      await lab.machine.start();
      await lab.machine.until('the machine is healthy', lab.machine.isReady);
      await lab.machine.advance(1_000);
      return lab.current();
    },
    replace: async (config) => {
      const { world } = lab.machine;
      await lab.machine.stop();
      lab.machine = await aMachine({ world, config: { ...ROLLOUT_CONFIG, ...config } });
      await lab.machine.start();
    },
    current: async () => (await lab.machine.world.files.readLink('/workspace/current'))?.split('/').at(-1) ?? 'none',
    lockOf: (release) => lab.machine.world.files.readText(`/workspace/releases/${release}/agent.lock.json`),
    releases: () => lab.machine.core.agent.releases(),
    runsFrom: (gpu) => lab.machine.world.pm2.entry(`comfyui-gpu${gpu}`)?.env['AGENT_RELEASE'],
    intents: async () => JSON.parse((await lab.machine.world.files.readText('/workspace/state/intents.json')) ?? '{}') as Intents,
    holds: () => lab.machine.core.documents().health.holds.map((hold) => hold.code),
    bothReady: () => lab.machine.instance(0).ready && lab.machine.instance(1).ready,
    beginUpdate: async () => {
      push(lab.machine.world.repositories[packUrl(PACK)], PACK, { '__init__.py': `# ${++version}` });
      // Releases are named by the second.
      await lab.machine.advance(1_000);
      return lab.machine.core.agent.startOperation({ kind: 'update', moves: { all: true, core: null, packs: {} } });
    },
    update: async () => lab.machine.finished(await lab.beginUpdate(), LONG_MS),
    rollback: (release) => lab.machine.core.agent.startOperation({ kind: 'rollback', ...(release === undefined ? {} : { release }) }),
    install: async () => {
      await lab.machine.advance(1_000);
      return lab.machine.finished(await lab.machine.core.agent.startOperation({ kind: 'install' }), LONG_MS);
    },
  };
  return lab;
}
