import type { Incarnation, PortHolder, ProcessState } from '../domain/instance.ts';
import { known, type Observed, unknown } from '../domain/observed.ts';
import type { ObservedState } from '../domain/state.ts';
import { portsOfInterest } from '../plan/leases.ts';
import type { Ports } from '../ports.ts';
import type { Knowledge } from './knowledge.ts';
import { isInstanceOf } from './left-children.ts';
import { readCurrent } from './releases.ts';

/** Asks, and turns a refusal into "unknown" with its reason. */
export async function ask<T>(question: () => Promise<T>): Promise<Observed<T>> {
  try {
    return known(await question());
  } catch (error) {
    return unknown(error instanceof Error ? error.message : String(error));
  }
}

/**
 * Looks at everything once, side by side. A part that cannot be seen is unknown and never fails the whole. What is slow
 * to ask (cards, machine, models) is read at its own pace by `engine/surveys.ts` and taken from knowledge here.
 */
export async function observe(ports: Ports, knowledge: Knowledge, busy: ReadonlySet<string>): Promise<ObservedState> {
  const { layout, config } = knowledge.configuration;
  const [processes, current] = await Promise.all([
    ask(async () => (await ports.processes.list()).filter((process) => process.name.startsWith('comfyui-gpu'))),
    ask(() => readCurrent(ports.files, layout)),
  ]);
  const incarnations = await incarnationsOf(ports, processes);
  const gpuCount = knowledge.desired?.instances.length ?? 0;
  const running = new Set([...incarnations].flatMap(([name, seen]) => (seen.known && seen.value !== null ? [name] : [])));
  const settled = gpuCount > 0 && knowledge.desired?.instances.every((instance) => running.has(instance.name));
  // Walking /proc is the dearest look; with every instance in place no port has to be found.
  const tcpPorts = settled
    ? []
    : portsOfInterest(config.ports, knowledge.desired?.instances.map((instance) => instance.gpu) ?? [], knowledge.leases);
  const portHolders: Observed<readonly PortHolder[]> =
    tcpPorts.length === 0 ? known([]) : await ask(() => ports.kernel.portHolders(tcpPorts));
  const strangersPossible =
    (portHolders.known && portHolders.value.length > 0) ||
    (knowledge.gpus.known && knowledge.gpus.value.gpus.some((gpu) => gpu.processes.length > 0));
  return {
    at: ports.clock.now(),
    gpus: knowledge.gpus,
    machine: knowledge.machine,
    processes,
    incarnations,
    release: current.known ? known(current.value.release) : current,
    releaseProblem: current.known ? current.value.problem : null,
    leases: knowledge.leases,
    portHolders,
    ownPids: strangersPossible ? await ownPids(ports, processes, await survivors(ports, knowledge, portHolders)) : new Set(),
    models: knowledge.models,
    busy,
  };
}

async function incarnationsOf(
  ports: Ports,
  processes: Observed<readonly ProcessState[]>,
): Promise<ReadonlyMap<string, Observed<Incarnation | null>>> {
  if (!processes.known) return new Map();
  const pairs = processes.value.map(
    async ({ name, pid }): Promise<[string, Observed<Incarnation | null>]> => [
      name,
      pid === null ? known(null) : await ask(() => ports.kernel.incarnation(pid)),
    ],
  );
  return new Map(await Promise.all(pairs));
}

/**
 * Holders of our ports that run our instances though PM2 may not know them: what a killed PM2 leaves. They are no strangers;
 * the start of the instance ends them.
 */
async function survivors(ports: Ports, knowledge: Knowledge, holders: Observed<readonly PortHolder[]>): Promise<readonly number[]> {
  const names = (knowledge.desired?.instances ?? []).map((instance) => instance.name);
  const pids = holders.known ? holders.value.flatMap((holder) => (holder.pid === null ? [] : [holder.pid])) : [];
  const { root } = knowledge.configuration.layout;
  const ours = await Promise.all(pids.map((pid) => isInstanceOf(ports, root, pid, names).catch(() => false)));
  return pids.filter((_, index) => ours[index]);
}

/** The process trees of our instances, and what survived: whoever is in none of them is a stranger. */
async function ownPids(
  ports: Ports,
  processes: Observed<readonly ProcessState[]>,
  survived: readonly number[],
): Promise<ReadonlySet<number>> {
  const known = processes.known ? processes.value.flatMap(({ pid }) => (pid === null ? [] : [pid])) : [];
  const roots = [...known, ...survived];
  // A tree that cannot be walked is at least its root.
  const trees = await Promise.all(roots.map((pid) => ports.kernel.tree(pid).catch(() => [pid])));
  return new Set(trees.flat());
}
