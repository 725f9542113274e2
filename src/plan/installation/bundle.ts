import { AgentError } from '../../domain/errors/errors.ts';
import { type BundleManifest, type BundleMember, MANIFEST_NAME, BundleManifest as Manifest } from '../../domain/installation/bundle.ts';
import type { Lock, LockedSource } from '../../domain/installation/lock.ts';
import type { InstallationSpec } from '../../domain/installation/release.ts';
import { normaliseName } from '../../domain/installation/requirements.ts';
import { digestOf } from '../../domain/text/digest.ts';
import { lockProblems } from './lock.ts';

/** What an offline bundle must hold for a lock, and whether one does. */

/** Every repository of a lock with its commits: those of ComfyUI, of packs and of submodules alike. */
export function lockedRepositories(lock: Lock): ReadonlyMap<string, readonly string[]> {
  const found = new Map<string, Set<string>>();
  const add = (url: string, commit: string): void => void found.set(url, (found.get(url) ?? new Set()).add(commit));
  for (const source of sources(lock)) {
    if (source.kind !== 'git') continue;
    add(source.url, source.commit);
    for (const submodule of source.submodules) add(submodule.url, submodule.commit);
  }
  return new Map([...found].map(([url, commits]) => [url, [...commits].sort()]));
}

/** Archives of a lock: URL by digest. */
export const lockedArchives = (lock: Lock): ReadonlyMap<string, string> =>
  new Map(sources(lock).flatMap((source) => (source.kind === 'archive' ? [[source.sha256, source.url] as const] : [])));

const sources = (lock: Lock): readonly LockedSource[] => [lock.core.source, ...lock.packs.map(({ source }) => source)];

/** What an installation from a bundle must find on the machine. */
export function notIncluded(
  lock: Lock,
  {
    withModels,
    missingModels,
    lfsPacks,
  }: { readonly withModels: boolean; readonly missingModels: readonly string[]; readonly lfsPacks: readonly string[] },
): BundleManifest['notIncluded'] {
  const directories = lock.packs.flatMap(({ name, source }) => (source.kind === 'directory' ? [{ name, path: source.path }] : []));
  const models = withModels ? missingModels : lock.models.map(({ path }) => path);
  return [
    { what: `Python ${lock.python.version}`, reason: 'the interpreter is that of the machine; another patch release will do' },
    ...directories.map(({ name, path }) => ({
      what: `node pack ${name}`,
      reason: `it is the directory ${path}, which the machine must have`,
    })),
    ...lfsPacks.map((name) => ({ what: `Git LFS files of ${name}`, reason: 'they are fetched from their server' })),
    ...models.map((path) => ({
      what: `model ${path}`,
      reason: withModels ? 'it is not on this machine' : 'models go in with --with-models',
    })),
  ];
}

/** @throws AgentError BUNDLE_INVALID */
export function parseManifest(text: string): BundleManifest {
  const fail = (why: string): never => {
    throw new AgentError('BUNDLE_INVALID', `${MANIFEST_NAME} ${why}`, { details: { member: MANIFEST_NAME } });
  };
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return fail('is no JSON');
  }
  const { schema } = (typeof value === 'object' && value !== null ? value : {}) as { readonly schema?: unknown };
  if (typeof schema === 'number' && schema !== 1) return fail(`has schema ${schema}; this agent reads schema 1`);
  const parsed = Manifest.safeParse(value);
  if (!parsed.success) {
    const [issue] = parsed.error.issues;
    return fail(`is not valid: ${issue?.path.join('.') ?? ''}: ${issue?.message ?? 'it does not fit the schema'}`);
  }
  const names = parsed.data.members.map(({ name }) => name);
  const twice = names.find((name, index) => name === MANIFEST_NAME || names.indexOf(name) !== index);
  if (twice !== undefined) return fail(`names ${twice} twice`);
  return parsed.data;
}

/** Where a bundle does not hold what its lock names, or holds what it does not name; empty: it is whole. */
export function bundleProblems({ lockDigest, spec, members }: BundleManifest, lock: Lock): readonly string[] {
  const of = <K extends BundleMember['kind']>(kind: K) =>
    members.filter((member): member is Extract<BundleMember, { kind: K }> => member.kind === kind);
  const problems: string[] = [];
  if (digestOf(lock) !== lockDigest) problems.push('agent.lock.json is not the one of the manifest');
  if (digestOf(spec) !== lock.specDigest) problems.push('its settings are not those that agent.lock.json was made for');
  for (const kind of ['lock', 'nodes', 'models-list', 'uv'] as const)
    if (of(kind).length > 1) problems.push(`it has several members of kind ${kind}`);

  const repositories = new Map(of('repository').map((member) => [member.url, member.commits]));
  const wanted = lockedRepositories(lock);
  for (const [url, commits] of wanted)
    for (const commit of commits)
      if (repositories.get(url)?.includes(commit) !== true) problems.push(`it lacks commit ${commit} of ${url}`);
  for (const { url, name } of of('repository'))
    if (!wanted.has(url)) problems.push(`${name} is of ${url}, which agent.lock.json does not name`);

  const packages = new Map(lock.python.packages.map((locked) => [locked.name, locked]));
  const wheels = new Map(of('wheel').map((wheel) => [normaliseName(wheel.package), wheel]));
  for (const locked of packages.values()) {
    const wheel = wheels.get(locked.name);
    if (wheel === undefined) problems.push(`it lacks a wheel of ${locked.name}`);
    else if (locked.version !== null && wheel.version !== locked.version)
      problems.push(`${wheel.name} is ${locked.name} ${wheel.version}, locked is ${locked.version}`);
    else if (!wheel.built && !locked.hashes.includes(`sha256:${wheel.sha256}`))
      problems.push(`${wheel.name} is not a file that is locked for ${locked.name}`);
  }
  for (const { name, package: of_ } of of('wheel'))
    if (!packages.has(normaliseName(of_))) problems.push(`${name} is of ${of_}, which agent.lock.json does not name`);

  const archives = lockedArchives(lock);
  const held = new Set(of('archive').map(({ sha256 }) => sha256));
  for (const [sha256, url] of archives) if (!held.has(sha256)) problems.push(`it lacks the archive ${url}`);
  for (const { name, sha256 } of of('archive'))
    if (!archives.has(sha256)) problems.push(`agent.lock.json names no archive with the digest of ${name}`);

  const models = new Map(lock.models.map((model) => [model.path, model]));
  for (const { name, path, sha256 } of of('model')) {
    const model = models.get(path);
    if (model === undefined) problems.push(`${name} is ${path}, which agent.lock.json does not name`);
    else if (model.sha256 !== null && model.sha256 !== sha256) problems.push(`${name} is not the ${path} that is locked`);
  }
  return problems;
}

/** What a machine asks for and a bundle was not made for, a line each; empty: the bundle fits. */
export function specDifferences(lock: Lock, bundled: InstallationSpec, here: InstallationSpec): readonly string[] {
  if (digestOf(here) === lock.specDigest) return [];
  const lines: string[] = [];
  const say = (what: string, theirs: unknown, ours: unknown): void => {
    if (digestOf([theirs ?? null]) !== digestOf([ours ?? null])) lines.push(`${what}: ${shown(theirs)} in the bundle, ${shown(ours)} here`);
  };
  for (const key of ['repository', 'branch', 'commit', 'fallbackRepository'] as const)
    say(`comfyui.${key}`, bundled.source[key], here.source[key]);
  for (const key of Object.keys({ ...bundled.python, ...here.python }).sort() as (keyof InstallationSpec['python'])[])
    say(`python.${key}`, bundled.python[key], here.python[key]);
  say('packs.customScripts', bundled.customScripts, here.customScripts);
  const [theirs, ours] = [new Map(bundled.packs.map((pack) => [pack.name, pack])), new Map(here.packs.map((pack) => [pack.name, pack]))];
  for (const name of [...new Set([...theirs.keys(), ...ours.keys()])].sort()) {
    const [one, other] = [theirs.get(name), ours.get(name)];
    if (one === undefined) lines.push(`node pack ${name}: asked for here, not in the bundle`);
    else if (other === undefined) lines.push(`node pack ${name}: in the bundle, not asked for here`);
    else
      for (const key of Object.keys({ ...one, ...other }).sort() as (keyof typeof one)[])
        say(`node pack ${name}, ${key}`, one[key], other[key]);
  }
  if (lines.length > 0) return lines;
  const order = (spec: InstallationSpec): string => spec.packs.map((pack) => pack.name).join(', ');
  if (order(bundled) !== order(here)) return [`order of node packs: ${order(bundled)} in the bundle, ${order(here)} here`];
  return lockProblems(lock, here).map(({ name }) => `${name}: differs`);
}

const shown = (value: unknown): string =>
  value === null || value === undefined ? 'none' : typeof value === 'string' ? value : JSON.stringify(value);
