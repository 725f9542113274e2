import { instanceTarget, type Target } from '../../domain/identity.ts';
import type { Incarnation, PortHolder, ProcessState } from '../../domain/instances/instance.ts';
import { probeHost } from '../../domain/instances/instance.ts';
import { INSTANCE_MARK, type Leftover } from '../../domain/instances/ownership.ts';
import type { Observed } from '../../domain/observed.ts';
import type { DesiredState } from '../../domain/state/state.ts';
import type { Logger } from '../../ports/logs.ts';
import type { Ports } from '../../ports.ts';
import type { Knowledge } from '../knowledge.ts';
import type { Reading } from '../reading.ts';
import { endAll, instanceClaim, requireEnded, rootNames, withTheirTrees } from './ownership.ts';
import { findUnhosted } from './unhosted.ts';

type Outside = Pick<Ports, 'kernel' | 'clock' | 'comfy' | 'files' | 'hardware'>;

/** PM2's words for an entry whose process it will not start by itself. */
const AT_REST: ReadonlySet<string> = new Set(['stopped', 'errored']);
const QUEUE_LIMIT_MS = 1_000;
/** How often a look goes through all processes while none is to be started: an instance that is stopped for days costs little. */
const IDLE_PERIOD_MS = 15_000;

/**
 * Processes of instances of this root that nobody hosts, by GPU: found by their mark alone. One that serves on a port is asked
 * for its jobs. With PM2 out of reach every process is one that nobody is known to host.
 */
export async function findLeftovers(
  ports: Outside,
  {
    reading,
    desired,
    knowledge,
  }: {
    readonly reading: Reading;
    readonly desired: DesiredState;
    readonly knowledge: Pick<Knowledge, 'instances' | 'leftoversAt'>;
  },
  processes: Observed<readonly ProcessState[]>,
  holders: Observed<readonly PortHolder[]>,
  busy: ReadonlySet<Target>,
): Promise<ReadonlyMap<number, Leftover>> {
  const now = ports.clock.now();
  const hosted = (processes.known ? processes.value : []).filter((process) => !AT_REST.has(process.status));
  const names = new Set(hosted.map((process) => process.name));
  const { instances } = desired;
  const isUrgent = instances.some(
    (instance) => instance.desired === 'running' && instance.quarantined === null && !names.has(instance.name),
  );
  const isSettled = instances.length > 0 && instances.every((instance) => names.has(instance.name));
  const earlier = knowledge.instances.known('leftover');
  const isDue = now - knowledge.leftoversAt >= IDLE_PERIOD_MS;
  if (!isUrgent && earlier.size === 0 && (isSettled || !isDue)) return earlier;
  knowledge.leftoversAt = now;
  // What is being started just now may be there already, and was not yet when PM2 was asked.
  const isActedOn = (gpu: number): boolean => busy.has(instanceTarget(gpu));
  const kept = await Promise.all(
    [...earlier]
      .filter(([gpu]) => isActedOn(gpu))
      .map(async ([gpu, left]): Promise<[number, Leftover]> => [gpu, { ...left, serving: await stillThere(ports, left.serving) }]),
  );
  const found = (await findUnhosted(ports, reading.configuration.layout.root, hosted)).filter(({ gpu }) => !isActedOn(gpu));
  const { listen } = reading.configuration.config.comfyui;
  return new Map([
    ...kept,
    ...(await Promise.all(
      found.map(async ({ name, gpu, marked }): Promise<[number, Leftover]> => {
        const holder = holders.known
          ? holders.value.find(({ pid }) => marked.some(({ incarnation }) => incarnation.pid === pid))
          : undefined;
        const serving = marked.find(({ incarnation }) => incarnation.pid === holder?.pid)?.incarnation ?? null;
        const jobs = holder === undefined ? null : await jobsAt(ports, `http://${probeHost(listen)}:${holder.tcpPort}`);
        const before = earlier.get(gpu);
        // A drain begins once PM2 tells that it does not have them: until then they take work.
        const since = processes.known ? (before?.since ?? now) : now;
        const silentSince = serving === null || jobs !== null ? null : (before?.silentSince ?? now);
        return [gpu, { name, processes: [...marked], serving, jobs, since, silentSince }];
      }),
    )),
  ]);
}

async function stillThere({ kernel }: Pick<Ports, 'kernel'>, process: Incarnation | null): Promise<Incarnation | null> {
  const now = process === null ? null : await kernel.incarnation(process.pid);
  return now?.startTicks === process?.startTicks ? process : null;
}

/** Jobs of what serves there; null when it does not tell. */
export const jobsAt = ({ comfy }: Pick<Ports, 'comfy'>, baseUrl: string): Promise<number | null> =>
  comfy.queue(baseUrl, QUEUE_LIMIT_MS).then(
    ({ running, pending }) => running + pending,
    () => null,
  );

/** Jobs of what serves on the port of an instance; null when it does not tell. */
export async function jobsOf(ports: Pick<Ports, 'comfy'>, knowledge: Knowledge, gpu: number): Promise<number | null> {
  const lease = knowledge.leases.find((candidate) => candidate.gpu === gpu);
  return lease === undefined ? null : jobsAt(ports, `http://${probeHost(knowledge.configuration.config.comfyui.listen)}:${lease.tcpPort}`);
}

/** The end of an owned PM2: no process of an instance of this root is to outlive the agent, whoever hosted it. Never rejects. */
export async function endEveryInstance(ports: Outside, root: string, killTimeoutMs: number, log: Logger): Promise<void> {
  try {
    const found = await findUnhosted(ports, root, []);
    if (found.length > 0) log.warn({ instances: found.map(({ name }) => name) }, 'ending what PM2 has left');
    await Promise.all(
      found.map(({ name }) => endLeftovers(ports, { root, name, hosted: [], tcpPort: null, killTimeoutMs, usesCard: false })),
    );
  } catch (error) {
    log.error({ cause: error instanceof Error ? error.message : String(error) }, 'what PM2 has left could not be ended');
  }
}

const PORT_FREE_WITHIN_MS = 5_000;
const CARD_FREE_WITHIN_MS = 15_000;
const LOOK_MS = 50;
const CARD_LOOK_MS = 1_000;

export interface EndLeftoversOptions {
  readonly root: string;
  readonly name: string;
  /** Of what PM2 hosts nothing is touched. */
  readonly hosted: readonly ProcessState[];
  readonly tcpPort: number | null;
  /** Between SIGINT, which ComfyUI takes as the wish to end, and SIGKILL. */
  readonly killTimeoutMs: number;
  /** Whether the instance computes on a card, which must have let go of the processes too. */
  readonly usesCard: boolean;
}

/**
 * Ends all that runs as this instance and that nobody hosts, each with its whole tree, and waits until port and card are free.
 * @throws AgentError INSTANCE_FAILED when a process does not end
 */
export async function endLeftovers(ports: Outside, options: EndLeftoversOptions): Promise<void> {
  const { kernel, clock } = ports;
  const ended = new Set<number>();
  const hostedPids = options.hosted.flatMap(({ pid }) => (pid === null ? [] : [pid]));
  const look = async (): Promise<readonly Incarnation[]> => {
    const pids = await kernel.withEnvironment(INSTANCE_MARK, options.name);
    const spared = new Set((await Promise.all(hostedPids.map((pid) => kernel.tree(pid).catch(() => [pid])))).flat());
    const unhosted = pids.filter((pid) => !spared.has(pid));
    const roots = await rootNames(ports, options.root, unhosted);
    const left = await withTheirTrees(
      ports,
      unhosted.map((pid) => ({ pid, claim: instanceClaim(roots, [options.name]) })),
      spared,
    );
    for (const { pid } of left) ended.add(pid);
    return left;
  };
  requireEnded(options.name, await endAll(ports, look, { graceMs: options.killTimeoutMs, signal: 'SIGINT' }));
  if (ended.size === 0) return;
  const { tcpPort } = options;
  const isHeld = async (): Promise<boolean> =>
    tcpPort !== null && (await kernel.portHolders([tcpPort])).some(({ pid }) => pid === null || ended.has(pid));
  for (const began = clock.monotonic(); clock.monotonic() - began < PORT_FREE_WITHIN_MS && (await isHeld()); ) await clock.sleep(LOOK_MS);
  if (!options.usesCard) return;
  const isOnCard = async (): Promise<boolean> =>
    (await ports.hardware.gpus().catch(() => null))?.gpus.some((gpu) => gpu.processes.some(({ pid }) => ended.has(pid))) === true;
  for (const began = clock.monotonic(); clock.monotonic() - began < CARD_FREE_WITHIN_MS && (await isOnCard()); )
    await clock.sleep(CARD_LOOK_MS);
}
