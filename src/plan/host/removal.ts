import { AGENT_UNIT, AGENT_USER } from '../../domain/configuration/access.ts';
import type { Layout } from '../../domain/configuration/config.ts';
import type { HostFacts, HostQuestion, HostStep } from '../../domain/host/host.ts';
import { UPGRADE_RECORDS } from '../../domain/host/upgrade.ts';
import {
  binaryOf,
  COMFYUI_HOME,
  COMFYUI_USER,
  CONFIGURATION,
  INIT_SCRIPT,
  isOurs,
  mgpuOf,
  STATE,
  UNIT_FILES,
  UNITS,
  USER_COMMENT,
  unitFileOf,
} from './layout.ts';
import { step } from './words.ts';

export interface RemovalWish {
  readonly layout: Layout;
  readonly prefix: string;
  /** Configuration, state, releases, models and outputs as well. */
  readonly purge: boolean;
}

export interface RemovalPlan {
  readonly steps: readonly HostStep[];
  /** What stays and where. */
  readonly left: readonly string[];
}

/** As many as the configuration can name. */
const MOST_GPUS = 64;

/** What the agent made below the root; anything else there is somebody else's. */
const belongings = ({
  root,
  releases,
  current,
  shared,
  instances,
  cache,
  closed,
  state,
  run,
  logs,
  lockFile,
  rootLock,
  installPath,
}: Layout): string[] =>
  [
    ...new Set([
      installPath,
      current,
      releases,
      shared,
      instances,
      cache,
      closed,
      state,
      run,
      logs,
      lockFile,
      rootLock,
      `${root}/agent.yaml`,
    ]),
    ...Array.from({ length: MOST_GPUS }, (_, gpu) => `${root}/comfyui_gpu${gpu}`),
  ].filter((path) => path.startsWith(`${root}/`));

export const removalQuestion = ({ layout, prefix }: Pick<RemovalWish, 'layout' | 'prefix'>): HostQuestion => ({
  users: [AGENT_USER, COMFYUI_USER],
  groups: [AGENT_USER, COMFYUI_USER],
  paths: [
    ...new Set([
      ...UNIT_FILES.map(unitFileOf),
      binaryOf(prefix),
      mgpuOf(prefix),
      INIT_SCRIPT,
      CONFIGURATION,
      STATE,
      UPGRADE_RECORDS,
      COMFYUI_HOME,
      layout.root,
      layout.shared,
      layout.models,
      layout.outputs,
      ...belongings(layout),
    ]),
  ],
  units: [...UNITS],
  places: [layout.root],
  tools: ['userdel', 'getent', 'systemctl'],
});

/** The way back, in an order that can be cut anywhere: what tells that something is ours goes after it. */
export function planRemoval({ layout, prefix, purge }: RemovalWish, facts: HostFacts): RemovalPlan {
  const { paths, units, users } = facts;
  const isThere = (path: string): boolean => paths[path] != null;
  const ourUnits = UNIT_FILES.toReversed().filter((unit) => isOurs(paths[unitFileOf(unit)]?.head ?? null));
  const running = ourUnits.filter((unit) => units[unit]?.isActive === true);
  const enabled = ourUnits.filter((unit) => units[unit]?.isEnabled === true);
  const shims = [INIT_SCRIPT, mgpuOf(prefix)].filter((path) => isOurs(paths[path]?.head ?? null));
  const program = binaryOf(prefix);
  const isOurProgram = isThere(program) && (ourUnits.includes(AGENT_UNIT) || isOurs(paths[program]?.head ?? null));
  const made = [AGENT_USER, COMFYUI_USER].filter((name) => users[name]?.comment === USER_COMMENT);
  const data = purge ? [...belongings(layout), CONFIGURATION, STATE, UPGRADE_RECORDS, COMFYUI_HOME].filter(isThere) : [];
  const steps: HostStep[] = [
    ...(running.length === 0
      ? []
      : [step({ do: 'stop', units: running }, 'this ends ComfyUI; `agent drain all` before it lets jobs finish')]),
    ...(enabled.length === 0 ? [] : [step({ do: 'disable', units: enabled }, 'not started at boot any more')]),
    ...shims.map((path) => step({ do: 'remove-file', path }, "the predecessor's command")),
    ...(isOurProgram ? [step({ do: 'remove-file', path: program }, 'the program')] : []),
    ...ourUnits.map((unit) => step({ do: 'remove-file', path: unitFileOf(unit) }, 'the unit')),
    ...(ourUnits.length > 0 && facts.hasSystemd ? [step({ do: 'reload-units' }, 'systemd forgets them')] : []),
    ...data.map((path) => step(paths[path]?.kind === 'directory' ? { do: 'remove-tree', path } : { do: 'remove-file', path }, '--purge')),
    ...(purge && isThere(layout.root) ? [step({ do: 'remove-empty', path: layout.root }, '--purge')] : []),
    ...made.map((name) => step({ do: 'remove-user', name }, 'made by `agent setup`; its group goes with it unless others are in it')),
  ];
  return { steps, left: purge ? [] : leftOf(layout, facts, made) };
}

function leftOf(layout: Layout, { paths, users }: HostFacts, made: readonly string[]): string[] {
  const meanings: readonly (readonly [path: string, meaning: string])[] = [
    [layout.models, 'models'],
    [layout.outputs, 'outputs'],
    [layout.root, 'the root, with releases and logs'],
    [CONFIGURATION, 'configuration and secrets'],
    [STATE, 'state'],
    [COMFYUI_HOME, 'what packs downloaded'],
  ];
  const foreign = [AGENT_USER, COMFYUI_USER].filter((name) => users[name] != null && !made.includes(name));
  return [
    ...meanings.filter(([path]) => paths[path] != null).map(([path, meaning]) => `${path} (${meaning})`),
    ...foreign.map((name) => `user ${name} (was there before)`),
  ];
}
