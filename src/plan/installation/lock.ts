import { AgentError } from '../../domain/errors/errors.ts';
import { Lock, type LockChange, type LockedPackage, type LockedSource, type Moves } from '../../domain/installation/lock.ts';
import type { InstallationSpec, PackSpec } from '../../domain/installation/release.ts';
import { digestOf } from '../../domain/text/digest.ts';

/**
 * What agent.lock.json has to say about an installation: which pins hold, what they differ from, and what is new.
 */

export const NO_MOVES: Moves = { all: false, core: null, packs: {} };

export const movesNothing = ({ all, core, packs }: Moves): boolean => !all && core === null && Object.keys(packs).length === 0;

/** What an installation must keep to. */
export interface Pins {
  readonly core: LockedSource | null;
  readonly packs: ReadonlyMap<string, LockedSource>;
  /** The whole resolution, which holds on a machine that it was made for: nothing is resolved. */
  readonly python: Lock['python'] | null;
  /** Versions that stay where they still fit, when something must be resolved. */
  readonly preferences: readonly LockedPackage[];
  /** The resolution that was found last, good for the very same question; null: something is to move. */
  readonly answer: Lock['python'] | null;
  /** Packs that it leaves out, with the reason. */
  readonly quarantined: ReadonlyMap<string, string>;
}

/** The machine a resolution is good for. */
export interface PythonMachine {
  /** "linux-x86_64" */
  readonly platform: string;
  /** Of the interpreter, "3.11.7". */
  readonly pythonVersion: string;
}

export const coreRequestDigest = (spec: InstallationSpec): string => digestOf(spec.source);

/** Only what decides where a pack comes from: its environment or its script may change without moving it. */
export const packRequestDigest = ({ env: _env, customScript: _script, requirements: _requirements, ...source }: PackSpec): string =>
  digestOf(source);

export const pythonRequestDigest = (spec: InstallationSpec): string => digestOf(spec.python);

export function pinsOf(lock: Lock | null, spec: InstallationSpec, moves: Moves): Pins {
  if (lock === null) return { core: null, packs: new Map(), python: null, preferences: [], answer: null, quarantined: new Map() };
  const keepsCore = !moves.all && moves.core === null && lock.core.requestDigest === coreRequestDigest(spec);
  const locked = new Map(lock.packs.map((pack) => [pack.name, pack]));
  const packs = new Map(
    spec.packs.flatMap((pack) => {
      const before = locked.get(pack.name);
      const holds = !moves.all && !Object.hasOwn(moves.packs, pack.name) && before?.requestDigest === packRequestDigest(pack);
      return holds && before !== undefined ? [[pack.name, before.source] as const] : [];
    }),
  );
  const answer = movesNothing(moves) ? lock.python : null;
  return {
    core: keepsCore ? lock.core.source : null,
    packs,
    python: lockProblems(lock, spec).length === 0 ? answer : null,
    preferences: moves.all ? [] : lock.python.packages.filter((each) => each.addedBy === null),
    answer,
    quarantined: new Map(lock.packs.flatMap((pack) => (pack.quarantined === null ? [] : [[pack.name, pack.quarantined]]))),
  };
}

const request = (name: string, change: LockChange['change'], before: string | null, after: string | null): LockChange => ({
  part: 'request',
  name,
  change,
  before,
  after,
});

/** Why a resolution is not good for this machine; empty: it is. Patch releases of Python share their packages. */
export function machineProblems(python: Lock['python'], { pythonVersion, platform }: PythonMachine): LockChange[] {
  return [
    ...(minorOf(python.version) === minorOf(pythonVersion) ? [] : [request('Python', 'changed', python.version, pythonVersion)]),
    ...(python.platform === platform ? [] : [request('platform', 'changed', python.platform, platform)]),
  ];
}

/** Where a configuration asks for something else than the lock was made for; empty: the lock can be obeyed to the letter. */
export function lockProblems(lock: Lock, spec: InstallationSpec): LockChange[] {
  const problems: LockChange[] = [];
  if (lock.core.requestDigest !== coreRequestDigest(spec)) {
    const { repository, commit, branch } = spec.source;
    problems.push(request('ComfyUI', 'changed', describeSource(lock.core.source), `${repository} ${commit ?? branch ?? ''}`.trim()));
  }
  const locked = new Map(lock.packs.map((pack) => [pack.name, pack]));
  for (const pack of spec.packs) {
    const before = locked.get(pack.name);
    const asked = `${pack.url} ${pack.commit ?? pack.branch ?? ''}`.trim();
    if (before === undefined) problems.push(request(pack.name, 'added', null, asked));
    else if (before.requestDigest !== packRequestDigest(pack))
      problems.push(request(pack.name, 'changed', describeSource(before.source), asked));
  }
  const asked = new Set(spec.packs.map((pack) => pack.name));
  for (const pack of lock.packs) if (!asked.has(pack.name)) problems.push(request(pack.name, 'removed', describeSource(pack.source), null));
  if (lock.python.requestDigest !== pythonRequestDigest(spec)) problems.push(request('python settings', 'changed', null, null));
  // What decides the content of a release beside sources and packages: requirements, scripts, environments of packs.
  if (problems.length === 0 && lock.specDigest !== digestOf(spec)) problems.push(request('settings of node packs', 'changed', null, null));
  return problems;
}

const minorOf = (version: string): string => version.split('.').slice(0, 2).join('.');

/** What separates two locks, for people: first ComfyUI, then packs, then packages by name, then models. */
export function lockDifference(before: Lock | null, after: Lock): LockChange[] {
  const changes: LockChange[] = [];
  const compare = <T>(
    part: LockChange['part'],
    old: readonly (readonly [string, T])[],
    young: readonly (readonly [string, T])[],
    describe: (value: T) => string,
  ): void => {
    const [was, is] = [new Map(old), new Map(young)];
    for (const name of [...new Set([...was.keys(), ...is.keys()])].sort()) {
      const [from, to] = [was.get(name), is.get(name)];
      if (from !== undefined && to !== undefined && digestOf(from) === digestOf(to)) continue;
      changes.push({
        part,
        name,
        change: from === undefined ? 'added' : to === undefined ? 'removed' : 'changed',
        before: from === undefined ? null : describe(from),
        after: to === undefined ? null : describe(to),
      });
    }
  };
  const sourceOf = (lock: Lock | null) => (lock === null ? [] : [['ComfyUI', lock.core] as const]);
  compare('core', sourceOf(before), sourceOf(after), ({ source, comfyuiVersion }) =>
    [comfyuiVersion, describeSource(source)].filter((each) => each !== null).join(' '),
  );
  const packsOf = (lock: Lock | null) =>
    (lock?.packs ?? []).map(({ name, source, quarantined }) => [name, { source, quarantined }] as const);
  compare('pack', packsOf(before), packsOf(after), ({ source, quarantined }) =>
    quarantined === null ? describeSource(source) : `${describeSource(source)}, left out: ${quarantined}`,
  );
  const pythonOf = (lock: Lock | null) => (lock === null ? [] : [['Python', minorOf(lock.python.version)] as const]);
  compare('python', pythonOf(before), pythonOf(after), (version) => version);
  const packagesOf = (lock: Lock | null) =>
    (lock?.python.packages ?? []).map(({ name, version, url, addedBy }) => [name, { version, url, addedBy }] as const);
  compare('package', packagesOf(before), packagesOf(after), ({ version, url, addedBy }) =>
    [version ?? url ?? '', addedBy === null ? '' : `(added by ${addedBy})`].filter((each) => each !== '').join(' '),
  );
  const modelsOf = (lock: Lock | null) => (lock?.models ?? []).map((model) => [model.path, model] as const);
  compare('model', modelsOf(before), modelsOf(after), ({ sha256, sizeBytes }) => sha256?.slice(0, 12) ?? `${sizeBytes ?? 'any size'}`);
  return changes;
}

/** Short commit with its day, or the start of a digest. */
export function describeSource(source: LockedSource): string {
  switch (source.kind) {
    case 'git': {
      const day = source.commitDate?.slice(0, 10);
      return `${source.commit.slice(0, 10)}${day === undefined ? '' : ` of ${day}`}`;
    }
    case 'archive':
      return source.version ?? `sha256 ${source.sha256.slice(0, 12)}`;
    case 'directory':
      return `sha256 ${source.sha256.slice(0, 12)}`;
    case 'embedded':
      return 'embedded';
  }
}

/** @throws AgentError LOCK_INVALID */
export function parseLock(text: string, path: string): Lock {
  const fail = (what: string, cause?: unknown): never => {
    throw new AgentError('LOCK_INVALID', `${path} ${what}`, { cause });
  };
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    return fail(`is no JSON: ${error instanceof Error ? error.message : String(error)}`, error);
  }
  const parsed = Lock.safeParse(value);
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  return fail(`is not valid: ${issue?.path.join('.') ?? ''}: ${issue?.message ?? 'it does not fit the schema'}`);
}

/** The file's text: two spaces, one key a line, keys in the order of the schema, so that a review sees what moved. */
export const lockText = (lock: Lock): string => `${JSON.stringify(Lock.parse(lock), null, 2)}\n`;
