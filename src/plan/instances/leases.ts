import type { Action } from '../../domain/action.ts';
import type { Config } from '../../domain/configuration/config.ts';
import { instanceTarget } from '../../domain/identity.ts';
import type { DesiredInstance, PortHolder, PortLease, ProcessState } from '../../domain/instances/instance.ts';
import type { Stranger } from '../../domain/instances/ownership.ts';
import type { Observed } from '../../domain/observed.ts';
import type { NewHold } from '../hold.ts';
import { hold } from '../hold.ts';

export interface LeaseInput {
  readonly setting: Config['ports'];
  readonly instances: readonly DesiredInstance[];
  readonly leases: readonly PortLease[];
  readonly holders: Observed<readonly PortHolder[]>;
  readonly ownPids: ReadonlySet<number>;
  /** GPUs whose instance has a process now: their port is theirs to keep. */
  readonly running: ReadonlySet<number>;
  /** GPUs whose instance is being acted on: what listens on their port may be the process that was just started. */
  readonly acting?: ReadonlySet<number>;
}

const HIGHEST_PORT = 65_535;

/** Ports that the planner may want to know the holders of: the leased ones and the first choices. */
export function portsOfInterest(setting: Config['ports'], gpus: readonly number[], leases: readonly PortLease[]): readonly number[] {
  const ports = new Set(leases.map((lease) => lease.tcpPort));
  for (const gpu of gpus) ports.add(setting.first + gpu);
  // Room to move to when strangers sit on the first choices.
  if (setting.onConflict === 'next') for (let i = 0; i < gpus.length + 16; i++) ports.add(setting.first + gpus.length + i);
  return [...ports].filter((tcpPort) => tcpPort <= HIGHEST_PORT).sort((a, b) => a - b);
}

/** Where an instance is to be asked: the port its process was started with, else the leased one. */
export function portInUse(process: ProcessState | null, gpu: number, leases: readonly PortLease[]): number | null {
  const started = process === null || process.pid === null ? null : process.tcpPort;
  return started ?? leases.find((lease) => lease.gpu === gpu)?.tcpPort ?? null;
}

export interface LeasePlan {
  readonly actions: readonly Action[];
  readonly holds: readonly NewHold[];
  readonly blocked: ReadonlySet<number>;
  /** Who sits on the port of an instance that is held for it, by GPU. */
  readonly strangers: ReadonlyMap<number, PortHolder>;
}

/** Gives every instance a port and keeps it; names the stranger where one sits on it. */
export function planLeases(input: LeaseInput): LeasePlan {
  const { setting, instances, leases, holders, ownPids, running } = input;
  const actions: Action[] = [];
  const holds: NewHold[] = [];
  const blocked = new Set<number>();
  const byPort = new Map<number, PortHolder>();
  if (holders.known) {
    for (const holder of holders.value) {
      if (holder.pid === null || !ownPids.has(holder.pid)) byPort.set(holder.tcpPort, holder);
    }
  }
  const strangers = new Map<number, PortHolder>();
  const holdFor = (instance: DesiredInstance, tcpPort: number, stranger: PortHolder | undefined): void => {
    blocked.add(instance.gpu);
    holds.push(portHold(instance, tcpPort, stranger));
    if (stranger !== undefined) strangers.set(instance.gpu, stranger);
  };
  const taken = new Set(leases.map((lease) => lease.tcpPort));
  for (const instance of instances) {
    if (input.acting?.has(instance.gpu) === true) continue;
    const lease = leases.find((candidate) => candidate.gpu === instance.gpu);
    const kept = lease !== undefined && lease.first === setting.first;
    const stranger = byPort.get(kept ? lease.tcpPort : setting.first + instance.gpu);
    if (kept && (stranger === undefined || running.has(instance.gpu) || instance.desired === 'stopped')) continue;
    if (kept && setting.onConflict === 'hold') {
      holdFor(instance, lease.tcpPort, stranger);
      continue;
    }
    const wanted = kept ? null : setting.first + instance.gpu;
    const tcpPort =
      wanted !== null && wanted <= HIGHEST_PORT && !byPort.has(wanted) && !isTakenByAnother(wanted, instance.gpu, leases)
        ? wanted
        : setting.onConflict === 'next'
          ? nextFree(setting.first + instances.length, taken, byPort)
          : null;
    if (tcpPort === null) {
      if (wanted === null || wanted <= HIGHEST_PORT) {
        holdFor(instance, wanted ?? setting.first + instance.gpu, stranger);
        continue;
      }
      blocked.add(instance.gpu);
      holds.push(
        hold(
          instanceTarget(instance.gpu),
          'PORT_OUT_OF_RANGE',
          `port ${wanted} for GPU ${instance.gpu} is above ${HIGHEST_PORT}`,
          'lower ports.first (COMFYUI_PORT_START)',
        ),
      );
      continue;
    }
    taken.add(tcpPort);
    const reason =
      wanted === tcpPort
        ? lease === undefined
          ? 'first choice'
          : 'ports.first changed'
        : `port ${wanted ?? lease?.tcpPort} is held by ${describe(stranger)}`;
    actions.push({ kind: 'lease-port', gpu: instance.gpu, tcpPort, reason });
  }
  return { actions, holds, blocked, strangers };
}

/** Keeps since when somebody sits on the port of an instance. */
export const datedStrangers = (
  found: ReadonlyMap<number, PortHolder>,
  before: ReadonlyMap<number, Stranger>,
  now: number,
): ReadonlyMap<number, Stranger> => new Map([...found].map(([gpu, holder]) => [gpu, { holder, since: before.get(gpu)?.since ?? now }]));

const isTakenByAnother = (tcpPort: number, gpu: number, leases: readonly PortLease[]): boolean =>
  leases.some((lease) => lease.tcpPort === tcpPort && lease.gpu !== gpu);

function nextFree(from: number, taken: ReadonlySet<number>, strangers: ReadonlyMap<number, PortHolder>): number | null {
  for (let tcpPort = from; tcpPort <= HIGHEST_PORT; tcpPort++) {
    if (!taken.has(tcpPort) && !strangers.has(tcpPort)) return tcpPort;
  }
  return null;
}

const describe = (holder: PortHolder | undefined): string =>
  holder === undefined
    ? 'another instance'
    : holder.pid === null
      ? 'a process of another user'
      : `pid ${holder.pid} (${shortCommand(holder.command)})`;

const COMMAND_LENGTH = 60;
/** Enough to know the program by. */
const shortCommand = (command: string | null): string =>
  command === null ? 'unknown command' : command.length > COMMAND_LENGTH ? `${command.slice(0, COMMAND_LENGTH - 1)}…` : command;

/** The one form in which a taken port is told. */
export const portHoldReason = (tcpPort: number, holder: PortHolder | undefined): string => `port ${tcpPort} is held by ${describe(holder)}`;

const portHold = (instance: DesiredInstance, tcpPort: number, stranger: PortHolder | undefined): NewHold =>
  hold(
    instanceTarget(instance.gpu),
    'PORT_HELD',
    portHoldReason(tcpPort, stranger),
    'stop that process, choose another ports.first, or set ports.onConflict to next',
  );
