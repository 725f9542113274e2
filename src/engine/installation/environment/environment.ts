import { AgentError } from '../../../domain/errors/errors.ts';
import { requirementLine } from '../../../domain/installation/lock.ts';
import { fixedLines, overrideWords } from '../../../plan/installation/conflicts.ts';
import { machineProblems } from '../../../plan/installation/lock.ts';
import { chooseTorch, environmentConstraints, packConstraints } from '../../../plan/installation/python.ts';
import type { InstallContext } from '../context.ts';
import { leaveOut } from '../leave-out.ts';
import { movable, placed } from '../packs/paths.ts';
import { calls } from './python-calls.ts';
import { answeredBefore, questionDigest } from './question.ts';
import { coreFiles, packFiles } from './requirement-files.ts';
import { explained, type Resolution, resolutionOf, resolverOf, resolveWithPacks } from './resolution.ts';

export interface PlannedEnvironment {
  /** Absolute path of the interpreter. */
  readonly python: string;
  readonly pythonVersion: string;
  readonly resolution: Resolution;
}

export interface BuiltEnvironment extends PlannedEnvironment {
  /** Pins that scripts of packs must respect; null when there are none. */
  readonly constraintsFile: string | null;
}

const NOTHING: Resolution = { packages: [], constraints: [], torchBackend: null, quarantined: [], questionDigest: null };

/**
 * Decides what the Python environment of the release holds and makes an empty one: as the lock has it, or by one resolution
 * over ComfyUI and all packs with torch and the core held fast. A pack whose requirements do not fit is left out.
 * @throws AgentError LOCK_DIFFERS when only the lock may decide and it is not good for this machine
 */
export async function planEnvironment(context: InstallContext): Promise<PlannedEnvironment> {
  const needsUv = await asksForPackages(context);
  const { python, pythonVersion } = await createEnvironment(context, needsUv);
  const resolution = needsUv
    ? (lockedResolution(context, pythonVersion) ?? (await resolveEnvironment(context, { python, pythonVersion })))
    : NOTHING;
  return { python, pythonVersion, resolution };
}

function lockedResolution(context: InstallContext, pythonVersion: string): Resolution | null {
  const { pins, tracker, locked, ports } = context;
  if (pins.python === null) return null;
  const problems = machineProblems(pins.python, { pythonVersion, platform: ports.python.platform() });
  if (problems.length > 0) {
    const [first] = problems;
    const text = `agent.lock.json was made for ${first?.name} ${first?.before}, and this machine has ${first?.after}`;
    if (locked) throw new AgentError('LOCK_DIFFERS', text);
    tracker.detail(`${text}: resolving anew`);
    return null;
  }
  tracker.detail(`${pins.python.packages.length} packages as agent.lock.json has them`);
  return resolutionOf(pins.python, pins.quarantined);
}

/** Whether ComfyUI or a pack asks for any package; without one no uv is needed. */
export const asksForPackages = async (context: InstallContext): Promise<boolean> =>
  (await coreFiles(context)).length > 0 || (await packFiles(context)).length > 0;

/** An empty virtual environment in the release. */
export async function createEnvironment(
  context: InstallContext,
  needsUv: boolean,
): Promise<Pick<PlannedEnvironment, 'python' | 'pythonVersion'>> {
  const { ports, spec, tracker, directory, signal } = context;
  const interpreter = spec.python.interpreter ?? 'python3';
  const python = await ports.python.create(`${directory}/venv`, { interpreter, version: spec.python.version, needsUv, signal });
  const pythonVersion = await ports.python.interpreterVersion(python);
  tracker.detail(`Python ${pythonVersion}`);
  return { python, pythonVersion };
}

/** Finds what the environment is to hold and changes nothing. Versions of the lock are kept where they still fit. */
export async function resolveEnvironment(
  context: InstallContext,
  { python, pythonVersion }: Pick<PlannedEnvironment, 'python' | 'pythonVersion'>,
): Promise<Resolution> {
  const { spec, config, tracker } = context;
  const core = await coreFiles(context);
  const packs = await packFiles(context);
  const { driverVersion, hasGpu } = driverOf(context);
  const torch = chooseTorch({ setting: spec.python.torch, driverVersion, hasGpu });
  if (torch.warning !== null) tracker.warn(torch.warning);
  tracker.detail(`torch ${torch.pin ?? torch.backend ?? 'as the indexes have it'}: ${torch.reason}`);
  for (const entry of config.python.overrides) tracker.log(`override ${overrideWords(entry)}`);
  const constraints = environmentConstraints(torch, spec.python.constraints);
  const question = await questionDigest(context, [...core, ...packs], { torchBackend: torch.backend, constraints });
  const known = answeredBefore(context, question, pythonVersion);
  if (known !== null) {
    tracker.detail(`${known.packages.length} packages as before: no requirement has changed`);
    return known;
  }
  const { preferences } = context.pins;
  const common = { ...calls(context, python, torch.backend), overrides: spec.python.overrides, preferences };

  tracker.detail('resolving the requirements of ComfyUI');
  const fixed = { torch, constraints: spec.python.constraints, overrides: config.python.overrides };
  const resolve = await resolverOf(context);
  const corePins = await resolve({ ...common, requirements: core, constraints }).catch((error: unknown) =>
    Promise.reject(explained(error, fixedLines({ ...fixed, core: [] }))),
  );
  tracker.fraction(0.2);
  const corePackages = packConstraints(corePins.map(requirementLine));
  const held = [...constraints, ...corePackages];
  const found = await resolveWithPacks(
    context,
    resolve,
    { core, packs, corePins, fixed: fixedLines({ ...fixed, core: corePackages }) },
    { ...common, constraints: held },
  );
  tracker.fraction(0.4);
  return {
    packages: found.packages.map((locked) => movable(context, locked)),
    quarantined: found.quarantined,
    constraints: held,
    torchBackend: torch.backend,
    questionDigest: question,
  };
}

/**
 * Installs exactly what the resolution says, whoever found it, and records the packs that it leaves out.
 * @returns the file of the constraints, null when there are none
 */
export async function installEnvironment(context: InstallContext, python: string, resolution: Resolution): Promise<string | null> {
  const { ports, tracker, directory } = context;
  for (const { name, reason } of resolution.quarantined) await leaveOut(context, name, reason);
  if (resolution.packages.length === 0 && resolution.constraints.length === 0) return null;
  tracker.detail(`installing ${resolution.packages.length} packages`);
  const request = calls(context, python, resolution.torchBackend);
  const counted = { prepared: 0, installed: 0 };
  const misfits = await ports.python.install({
    ...request,
    constraints: resolution.constraints,
    pins: resolution.packages.map((locked) => placed(context, locked)),
    onLine: (line) => {
      // uv fetches or builds what it "prepared", and links everything that it "installed" from its cache.
      const [, what, count] = /^(Prepared|Installed) (\d+) packages?\b/.exec(line.trim()) ?? [];
      if (what === 'Prepared') counted.prepared += Number(count);
      if (what === 'Installed') counted.installed += Number(count);
      request.onLine(line);
    },
  });
  if (counted.installed > 0) {
    tracker.cache(counted.installed - counted.prepared, counted.installed);
    tracker.detail(`installed ${counted.installed} packages, ${counted.installed - counted.prepared} of them from the cache`);
  }
  for (const misfit of misfits) tracker.warn(misfit);
  tracker.fraction(0.95);
  const constraintsFile = `${directory}/constraints.txt`;
  await ports.files.writeText(constraintsFile, `${resolution.constraints.join('\n')}\n`);
  return constraintsFile;
}

/** The torch build follows the cards that instances use, not those that happen to be in the machine. */
function driverOf({ gpus, config }: InstallContext): { readonly driverVersion: string | null; readonly hasGpu: boolean } {
  const first = config.gpu.mode === 'actual' ? gpus?.gpus[0] : undefined;
  return { driverVersion: first?.driverVersion ?? null, hasGpu: first !== undefined };
}
