import { AGENT_UNIT, AGENT_USER } from '../../domain/configuration/access.ts';
import type { HostFacts, HostQuestion, HostRights, HostStep } from '../../domain/host/host.ts';
import { textDigest } from '../../domain/text/digest.ts';
import {
  agentOwner,
  ancestorsOf,
  binaryOf,
  COMFYUI_HOME,
  COMFYUI_USER,
  CONFIGURATION,
  CONFIGURATION_FILE,
  FORMER_UNIT_FILES,
  INIT_SCRIPT,
  mgpuOf,
  PROGRAM,
  PUBLIC_FILE,
  placed,
  ROOT_RIGHTS,
  rights,
  SECRETS_FILE,
  STATE,
  UNIT_FILES,
  UNITS,
  unitFileOf,
} from './layout.ts';
import { placedUnit } from './units.ts';
import { userSteps } from './users.ts';
import { step } from './words.ts';

/** What the machine should become. */
export interface SetupWish {
  readonly root: string;
  readonly prefix: string;
  /** The program: a file to copy, or the text of a script that starts it where it was built. */
  readonly program: { readonly file: string } | { readonly text: string };
  /** Paths outside of the root that the configuration or the program names; those that ComfyUI writes to. */
  readonly readable: readonly string[];
  readonly writable: readonly string[];
  /** agent.yaml as it should be: what is there, completed. */
  readonly configuration: string;
  /** agent.env where there is none. */
  readonly secrets: string;
  /** As shipped, by name of the unit. */
  readonly units: Readonly<Record<string, string>>;
  /** The predecessor's commands, as shipped; null: not wanted. */
  readonly legacy: { readonly initScript: string; readonly mgpu: string } | null;
  readonly start: boolean;
}

export const setupQuestion = ({ root, prefix, program }: Pick<SetupWish, 'root' | 'prefix' | 'program'>): HostQuestion => ({
  users: [AGENT_USER, COMFYUI_USER],
  groups: [AGENT_USER, COMFYUI_USER, 'systemd-journal', 'video', 'render'],
  paths: [
    ...new Set([
      CONFIGURATION,
      CONFIGURATION_FILE,
      SECRETS_FILE,
      STATE,
      COMFYUI_HOME,
      ...ancestorsOf(root),
      root,
      ...ancestorsOf(binaryOf(prefix)),
      binaryOf(prefix),
      mgpuOf(prefix),
      ...('file' in program ? [program.file] : []),
      ...UNIT_FILES.map(unitFileOf),
      ...FORMER_UNIT_FILES.map(unitFileOf),
      INIT_SCRIPT,
    ]),
  ],
  units: [...UNITS],
  places: [root, `${prefix}/bin`, STATE, CONFIGURATION],
  tools: ['useradd', 'groupadd', 'usermod', 'getent', 'systemctl'],
});

const UNIT_WHYS: Readonly<Record<(typeof UNIT_FILES)[number], string>> = {
  'comfylet-pm2.service': 'hosts ComfyUI, and outlives the agent',
  'comfylet.path': 'starts the agent after an edit of what it could not start with',
  'comfylet.service': 'starts the agent at boot, and again when it ends',
};

interface Wanted {
  readonly path: string;
  readonly content: string;
  readonly rights: HostRights;
  readonly why: string;
  /** What an operator may have changed is never written again. */
  readonly once?: boolean;
}

/** What there is to do, in the order in which it must be done; nothing when the machine is as wished. Pure, and to be asked again after a cut. */
export function planSetup(wish: SetupWish, facts: HostFacts): HostStep[] {
  const { root, prefix } = wish;
  const binary = binaryOf(prefix);
  const owner = agentOwner(wish.units[AGENT_UNIT] ?? '');
  const units = UNIT_FILES.map(
    (unit): Wanted => ({
      path: unitFileOf(unit),
      content: placedUnit(wish.units[unit] ?? '', wish, facts),
      rights: PUBLIC_FILE,
      why: UNIT_WHYS[unit],
    }),
  );
  const program = programSteps(wish, facts);
  const unitSteps = units.flatMap((wanted) => fileSteps(wanted, facts));
  const legacy = wish.legacy === null ? [] : legacyFiles(wish.legacy, { prefix, root });
  return [
    ...userSteps(owner, facts),
    ...givenSteps(root, owner, facts),
    ...directorySteps(root, owner, facts),
    ...missing(ancestorsOf(binary), 'on the way to the program', facts),
    ...program,
    ...fileSteps(
      {
        path: CONFIGURATION_FILE,
        content: wish.configuration,
        rights: rights('root', owner.group, 0o640),
        why: 'the configuration; yours to edit',
      },
      facts,
    ),
    ...fileSteps(
      {
        path: SECRETS_FILE,
        content: wish.secrets,
        rights: rights('root', 'root', 0o600),
        why: 'secrets, with a new AGENT_TOKEN',
        once: true,
      },
      facts,
    ),
    ...unitSteps,
    ...legacy.flatMap((wanted) => fileSteps(wanted, facts)),
    ...serviceSteps(facts, {
      start: wish.start,
      changed: units.filter(({ path }) => unitSteps.some(({ action }) => 'path' in action && action.path === path)).map(({ path }) => path),
      programChanged: program.some(({ action }) => 'path' in action && action.path === binary),
    }),
  ];
}

/** Somebody else has the numbers now that an earlier agent had: what it left is given to its users of today, its home last. */
function givenSteps(root: string, owner: ReturnType<typeof agentOwner>, facts: HostFacts): HostStep[] {
  const homes = [
    { home: STATE, ...owner },
    { home: COMFYUI_HOME, user: COMFYUI_USER, group: COMFYUI_USER },
  ];
  return homes.flatMap(({ home, user, group }) => {
    const present = facts.paths[home] ?? null;
    const known = facts.users[user];
    const isReused = known == null && present !== null && !present.hasOwner;
    if (present === null || present.uid === 0 || isReused || present.uid === known?.uid) return [];
    const { uid, gid } = present;
    return [root, home]
      .filter((path) => facts.paths[path] != null)
      .map((path) => step({ do: 'give-tree', path, from: { uid, gid }, user, group }, `${user} had the number ${uid} before`));
  });
}

function directorySteps(root: string, owner: ReturnType<typeof agentOwner>, facts: HostFacts): HostStep[] {
  const wanted: readonly { readonly path: string; readonly rights: HostRights; readonly why: string }[] = [
    { path: CONFIGURATION, rights: rights('root', owner.group, 0o750), why: 'configuration and secrets' },
    { path: STATE, rights: rights(owner.user, owner.group, 0o750), why: 'state of the agent, on a local disk' },
    { path: COMFYUI_HOME, rights: rights(COMFYUI_USER, COMFYUI_USER, 0o750), why: 'home of the user of ComfyUI' },
    { path: root, rights: { ...ROOT_RIGHTS, owner: owner.user }, why: 'the root: releases, models, outputs, logs' },
  ];
  const above = missing(ancestorsOf(root), 'on the way to the root', facts);
  const steps = wanted.flatMap(({ path, rights, why }) => {
    const present = facts.paths[path] ?? null;
    if (present === null) return [step({ do: 'make-directory', path, rights }, why)];
    const isClosed = (path === STATE || path === COMFYUI_HOME) && (present.mode & ~rights.mode) === 0;
    // Whose directory it is may close it further.
    return hasRights(path, isClosed ? { ...rights, mode: present.mode } : rights, facts)
      ? []
      : [step({ do: 'set-rights', path, rights }, why)];
  });
  return [...above, ...steps];
}

/** Directories that are not there yet, for everybody to enter. */
const missing = (paths: readonly string[], why: string, facts: HostFacts): HostStep[] =>
  paths.filter((path) => facts.paths[path] == null).map((path) => step({ do: 'make-directory', path, rights: PROGRAM }, why));

function programSteps({ program, prefix }: SetupWish, facts: HostFacts): HostStep[] {
  const path = binaryOf(prefix);
  const why = 'the program';
  if ('text' in program) return fileSteps({ path, content: program.text, rights: PROGRAM, why }, facts);
  const present = facts.paths[path] ?? null;
  const isSame = program.file === path || (present?.kind === 'file' && present.sha256 === facts.paths[program.file]?.sha256);
  if (!isSame) return [step({ do: 'copy-file', from: program.file, path, rights: PROGRAM }, why)];
  return hasRights(path, PROGRAM, facts) ? [] : [step({ do: 'set-rights', path, rights: PROGRAM }, why)];
}

function fileSteps({ path, content, rights, why, once = false }: Wanted, facts: HostFacts): HostStep[] {
  const present = facts.paths[path] ?? null;
  if (present === null || (!once && (present.kind !== 'file' || present.sha256 !== textDigest(content))))
    return [step({ do: 'write-file', path, content, rights }, why)];
  return hasRights(path, rights, facts) ? [] : [step({ do: 'set-rights', path, rights }, why)];
}

export const legacyFiles = (
  { initScript, mgpu }: NonNullable<SetupWish['legacy']>,
  place: { readonly prefix: string; readonly root: string },
): Wanted[] => [
  { path: INIT_SCRIPT, content: placed(initScript, place), rights: PROGRAM, why: "the predecessor's service command" },
  { path: mgpuOf(place.prefix), content: placed(mgpu, place), rights: PROGRAM, why: "the predecessor's command for GPUs" },
];

function serviceSteps(
  facts: HostFacts,
  { start, changed, programChanged }: { readonly start: boolean; readonly changed: readonly string[]; readonly programChanged: boolean },
): HostStep[] {
  const stale = UNITS.some((unit) => facts.units[unit]?.needsReload === true);
  const disabled = UNITS.filter((unit) => facts.units[unit]?.isEnabled === false);
  const steps: HostStep[] = [];
  if (facts.hasSystemd && (changed.length > 0 || stale)) steps.push(step({ do: 'reload-units' }, 'systemd reads the units anew'));
  if (disabled.length > 0) steps.push(step({ do: 'enable', units: disabled }, 'started at every boot'));
  if (!start || !facts.hasSystemd) return steps;
  const stopped = UNITS.filter((unit) => facts.units[unit]?.isActive === false);
  if (stopped.length > 0) steps.push(step({ do: 'start', units: stopped }, 'now, too'));
  if (!stopped.includes(AGENT_UNIT) && (programChanged || changed.includes(unitFileOf(AGENT_UNIT))))
    steps.push(step({ do: 'restart', units: [AGENT_UNIT] }, 'runs the new program; ComfyUI goes on'));
  return steps;
}

function hasRights(path: string, { owner, group, mode }: HostRights, facts: HostFacts): boolean {
  const present = facts.paths[path];
  if (present == null) return false;
  const uid = owner === 'root' ? 0 : facts.users[owner]?.uid;
  const gid = group === 'root' ? 0 : facts.groups[group]?.gid;
  return present.uid === uid && present.gid === gid && present.mode === mode;
}
