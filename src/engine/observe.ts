import { gpuOfInstance, type Target } from '../domain/identity.ts';
import type { Incarnation, PortHolder, ProcessState, QueueReading } from '../domain/instances/instance.ts';
import { probeHost } from '../domain/instances/instance.ts';
import type { Leftover } from '../domain/instances/ownership.ts';
import { known, type Observed } from '../domain/observed.ts';
import type { DesiredState, ObservedState } from '../domain/state/state.ts';
import { portInUse, portsOfInterest } from '../plan/instances/leases.ts';
import type { Ports } from '../ports.ts';
import { ask } from './ask.ts';
import { hostedIncarnations, unhostedIncarnations } from './instances/incarnations.ts';
import { findLeftovers, jobsAt } from './instances/leftovers.ts';
import { askPm2 } from './instances/pm2-state.ts';
import type { Knowledge } from './knowledge.ts';
import type { Reading } from './reading.ts';
import { readCurrent } from './releases/releases.ts';

/** Further apart than PM2 and the kernel ever are about one start. */
const CLOCK_STEP_MS = 5_000;

/**
 * Looks at everything once, side by side. A part that cannot be seen is unknown and never fails the whole. What is slow
 * to ask (cards, machine, models) is read at its own pace by `engine/surveys.ts` and taken from the reading here. Of `knowledge`
 * only what earlier looks saw is used, and what this one saw is noted.
 */
export async function observe(
  ports: Ports,
  { reading, desired }: { readonly reading: Reading; readonly desired: DesiredState },
  knowledge: Memory,
  busy: ReadonlySet<Target>,
): Promise<ObservedState> {
  const { layout, config } = reading.configuration;
  const [{ processes: seen, pm2 }, current] = await Promise.all([
    askPm2(ports, knowledge.pm2),
    ask(() => readCurrent(ports.files, layout)),
  ]);
  const hosted = await hostedIncarnations(ports, seen, knowledge.observed?.incarnations ?? new Map());
  const processes = withRealStarts(seen, hosted);
  const running = new Set([...hosted].flatMap(([name, seen]) => (seen.known && seen.value !== null ? [name] : [])));
  const settled = desired.instances.length > 0 && desired.instances.every((instance) => running.has(instance.name));
  // Walking /proc is the dearest look; with every instance in place no port has to be found.
  const tcpPorts = settled
    ? []
    : portsOfInterest(
        config.ports,
        desired.instances.map((instance) => instance.gpu),
        reading.leases,
      );
  const portHolders: Observed<readonly PortHolder[]> =
    tcpPorts.length === 0 ? known([]) : await ask(() => ports.kernel.portHolders(tcpPorts));
  const strangersPossible =
    (portHolders.known && portHolders.value.length > 0) ||
    (reading.gpus.known && reading.gpus.value.gpus.some((gpu) => gpu.processes.length > 0));
  const found = await ask(() => findLeftovers(ports, { reading, desired, knowledge }, processes, portHolders, busy));
  // What cannot be looked for is as it was.
  const leftovers = found.known ? found.value : knowledge.instances.known('leftover');
  knowledge.instances.replace('leftover', leftovers);
  knowledge.pm2 = pm2;
  const incarnations = unhostedIncarnations(hosted, leftovers);
  const unwantedQueues = await queuesOf(ports, reading, processes, [...knowledge.unwanted.keys()]);
  return {
    at: ports.clock.now(),
    gpus: reading.gpus,
    machine: reading.machine,
    processes,
    incarnations,
    release: current.known ? known(current.value.release) : current,
    releaseProblem: current.known ? current.value.problem : null,
    leases: reading.leases,
    portHolders,
    ownPids: strangersPossible ? await ownPids(ports, processes, leftovers) : new Set(),
    models: reading.models,
    leftovers,
    unwantedQueues,
    pm2,
    busy,
  };
}

/** What earlier looks saw, and this one notes. */
type Memory = Pick<Knowledge, 'instances' | 'observed' | 'pm2' | 'leftoversAt' | 'unwanted'>;

/** No probe asks those that no instance stands for. */
async function queuesOf(
  ports: Pick<Ports, 'clock' | 'comfy'>,
  { leases, configuration }: Reading,
  processes: Observed<readonly ProcessState[]>,
  names: readonly string[],
): Promise<ReadonlyMap<string, QueueReading>> {
  const host = probeHost(configuration.config.comfyui.listen);
  const asked = (processes.known ? processes.value : []).flatMap((process) => {
    const tcpPort = portInUse(process, gpuOfInstance(process.name) ?? -1, leases);
    return process.pid === null || tcpPort === null || !names.includes(process.name) ? [] : [{ name: process.name, tcpPort }];
  });
  const answers = asked.map(async ({ name, tcpPort }): Promise<[string, QueueReading]> => {
    const askedAt = ports.clock.now();
    return [name, { askedAt, jobs: await jobsAt(ports, `http://${host}:${tcpPort}`) }];
  });
  return new Map(await Promise.all(answers));
}

/** PM2 noted the start by the wall clock of that moment; when that was set since, the kernel knows better. */
function withRealStarts(
  processes: Observed<readonly ProcessState[]>,
  incarnations: ReadonlyMap<string, Observed<Incarnation | null>>,
): Observed<readonly ProcessState[]> {
  if (!processes.known) return processes;
  return known(
    processes.value.map((process) => {
      const incarnation = incarnations.get(process.name);
      if (process.startedAt === null || incarnation?.known !== true || incarnation.value === null) return process;
      const startedAt = Date.parse(incarnation.value.startedAt);
      return Math.abs(startedAt - process.startedAt) < CLOCK_STEP_MS ? process : { ...process, startedAt };
    }),
  );
}

/** The process trees of our instances, and what is left of them: whoever is in none of them is a stranger. */
async function ownPids(
  ports: Ports,
  processes: Observed<readonly ProcessState[]>,
  leftovers: ReadonlyMap<number, Leftover>,
): Promise<ReadonlySet<number>> {
  const known = processes.known ? processes.value.flatMap(({ pid }) => (pid === null ? [] : [pid])) : [];
  const roots = [...known, ...[...leftovers.values()].flatMap((left) => left.processes.map(({ incarnation }) => incarnation.pid))];
  // A tree that cannot be walked is at least its root.
  const trees = await Promise.all(roots.map((pid) => ports.kernel.tree(pid).catch(() => [pid])));
  return new Set(trees.flat());
}
