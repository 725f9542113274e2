import type { ConfigInput } from '../../../src/domain/configuration/config.ts';
import type { InstanceDocument } from '../../../src/domain/instances/instance.ts';
import type { JournalEvent } from '../../../src/domain/journal.ts';
import type { OperationDocument } from '../../../src/domain/operation.ts';
import { prepareRoot } from '../../../src/engine/configuration/prepare-root.ts';
import { type Core, createCore } from '../../../src/engine/core.ts';
import type { LoadedConfiguration } from '../../../src/engine/knowledge.ts';
import { layoutOf } from '../../../src/plan/configuration/layout.ts';
import { createFakeLogger, type FakeLogger } from '../../fakes/logger.ts';
import { aConfig } from './builders.ts';

import { aVersionDocument } from './machine-documents.ts';
import { createWires, type Wires } from './wires.ts';
import { createWorld, type World } from './world.ts';

export interface MachineOptions {
  readonly config?: ConfigInput;
  /** Of an earlier agent on the same machine. */
  readonly world?: World;
  /** The agent's environment. */
  readonly environment?: Readonly<Record<string, string>>;
  readonly configuration?: Partial<LoadedConfiguration>;
}

/** An agent on a machine in memory, wired as the daemon wires it. No real time passes. */
export interface Machine {
  readonly world: World;
  readonly core: Core;
  readonly wires: Wires;
  readonly log: FakeLogger;
  /** One turn of the loop, and what follows from it without any time. */
  step(): Promise<void>;
  /** Plans are carried out from now on. */
  start(): Promise<void>;
  /** Lets time pass. */
  advance(ms: number): Promise<void>;
  /** Lets time pass in steps until it is so. Throws at the limit. */
  until(what: string, isSo: () => boolean, limitMs?: number): Promise<void>;
  instance(gpu: number): InstanceDocument;
  /** "instance 0: instance.ready", oldest first; of types that begin so. */
  events(prefix?: string): readonly string[];
  journal(type: string): readonly JournalEvent[];
  /** Waits for the end of an operation, letting time pass. */
  finished(operation: OperationDocument, limitMs?: number): Promise<OperationDocument>;
  isReady(): boolean;
  stop(): Promise<void>;
}

/** What a configuration in memory looks like to the engine. */
export function aLoadedConfiguration(
  input: ConfigInput = {},
  environment: Readonly<Record<string, string>> = {},
  change: Partial<LoadedConfiguration> = {},
): LoadedConfiguration {
  const config = aConfig({ ...input, comfyui: { repository: 'simulator:', ...input.comfyui } });
  return {
    config,
    layout: layoutOf(config),
    secrets: { token: null, tokenFile: null, sshKey: null, environment: { PATH: '/usr/bin', ...environment } },
    provenance: [],
    file: null,
    warnings: [],
    generation: 1,
    problem: null,
    ...change,
  };
}

export async function aMachine(options: MachineOptions = {}): Promise<Machine> {
  const world = options.world ?? (await createWorld());
  const wires = createWires(world.ports());
  const { ports } = wires;
  const log = createFakeLogger();
  const configuration = aLoadedConfiguration(options.config, options.environment, options.configuration);
  await prepareRoot(world.files, configuration.layout, configuration.config.users);
  const core = await createCore({
    ports,
    log,
    configuration,
    version: aVersionDocument(),
    machineName: 'box',
    pid: 4_242,
    isDaemon: true,
    mayWrite: true,
    url: () => 'http://127.0.0.1:9090',
  });
  const { reconciler, surveys, operations } = core;
  await ports.processes.connect();
  ports.processes.onEvent((event) => reconciler.onProcessEvent(event));
  await core.refreshInputs();
  await Promise.all([surveys.gpus(), surveys.machine(), surveys.models()]);

  const machine: Machine = {
    world,
    core,
    wires,
    log,
    step: async () => {
      await reconciler.trigger();
      await world.clock.settle();
    },
    start: async () => {
      core.resources.start();
      core.caretaker.start();
      reconciler.start();
      await world.clock.settle();
    },
    advance: (ms) => world.clock.advance(ms),
    until: async (what, isSo, limitMs = 120_000) => {
      for (let waited = 0; !isSo(); waited += 50) {
        if (waited > limitMs) throw new Error(`not within ${limitMs} ms: ${what}; ${JSON.stringify(core.documents().health.reasons)}`);
        await world.clock.advance(50);
      }
    },
    instance: (gpu) => {
      const found = core.documents().instances.instances.find((instance) => instance.gpu === gpu);
      if (found === undefined) throw new Error(`there is no instance ${gpu}`);
      return found;
    },
    events: (prefix = '') =>
      world.journal.entries.filter((entry) => entry.type.startsWith(prefix)).map((entry) => `${entry.target}: ${entry.type}`),
    journal: (type) => world.journal.entries.filter((entry) => entry.type === type),
    finished: async ({ id }, limitMs) => {
      await machine.until(`operation ${id} has ended`, () => operations.get(id).state !== 'running', limitMs);
      return operations.get(id);
    },
    isReady: () => core.documents().ready.ready && core.documents().health.status === 'healthy',
    stop: () => core.close(),
  };
  return machine;
}

/** The usual beginning: everything installed, every instance ready. */
export async function aReadyMachine(options: MachineOptions = {}): Promise<Machine> {
  const machine = await aMachine(options);
  await machine.start();
  await machine.until('the machine is healthy', machine.isReady);
  await machine.advance(1_000);
  return machine;
}
