import { AgentError, isAgentError } from '../../domain/errors.ts';
import { type LockedPackage, requirementLine } from '../../domain/lock.ts';
import { requirementNames } from '../../domain/requirements.ts';
import { machineProblems } from '../../plan/lock.ts';
import { chooseTorch, coreRequirements, environmentConstraints, packConstraints } from '../../plan/python.ts';
import { nextTrial, type Trial } from '../../plan/requirements.ts';
import type { ResolveRequest } from '../../ports.ts';
import { checkoutOf, type InstallContext, packDirectory } from './context.ts';
import { stateOf } from './pack-setup.ts';

const CORE = 'ComfyUI';

export interface PlannedEnvironment {
  /** Absolute path of the interpreter. */
  readonly python: string;
  readonly pythonVersion: string;
  readonly resolution: Resolution;
}

/** What a Python environment is made of: found by `resolveEnvironment`, or read from a lock. */
export interface Resolution {
  readonly packages: readonly LockedPackage[];
  /** Lines that packs may not move, as given to pip and uv. */
  readonly constraints: readonly string[];
  /** uv's --torch-backend: where torch comes from. */
  readonly torchBackend: string | null;
  /** Packs left out because their requirements do not fit. */
  readonly quarantined: readonly { readonly name: string; readonly reason: string }[];
}

const NOTHING: Resolution = { packages: [], constraints: [], torchBackend: null, quarantined: [] };

interface RequirementFile {
  readonly label: string;
  readonly file: string;
}

/**
 * Decides what the Python environment of the release holds and makes an empty one: as the lock has it, or by one resolution
 * over ComfyUI and all packs with torch and the core held fast. A pack whose requirements do not fit is left out.
 * @throws AgentError LOCK_DIFFERS when only the lock may decide and it is not good for this machine
 */
export async function planEnvironment(context: InstallContext): Promise<PlannedEnvironment> {
  const needsUv = await asksForPackages(context);
  const { python, pythonVersion } = await createEnvironment(context, needsUv);
  const resolution = needsUv
    ? (lockedResolution(context, pythonVersion) ?? (await resolveEnvironment(context, python, context.pins.preferences)))
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
  const { packages, constraints, torchBackend } = pins.python;
  tracker.detail(`${packages.length} packages as agent.lock.json has them`);
  return { packages, constraints, torchBackend, quarantined: [...pins.quarantined].map(([name, reason]) => ({ name, reason })) };
}

/** Whether ComfyUI or a pack asks for any package; without one no uv is needed. */
const asksForPackages = async (context: InstallContext): Promise<boolean> =>
  (await coreFiles(context)).length > 0 || (await packFiles(context)).length > 0;

/** An empty virtual environment in the release. */
async function createEnvironment(context: InstallContext, needsUv: boolean): Promise<Pick<PlannedEnvironment, 'python' | 'pythonVersion'>> {
  const { ports, spec, tracker, directory, signal } = context;
  const interpreter = spec.python.interpreter ?? 'python3';
  const python = await ports.python.create(`${directory}/venv`, { interpreter, version: spec.python.version, needsUv, signal });
  const pythonVersion = await ports.python.interpreterVersion(python);
  tracker.detail(`Python ${pythonVersion}`);
  return { python, pythonVersion };
}

/**
 * Finds what the environment is to hold and changes nothing.
 * @param preferences an earlier resolution: its versions are kept where they still fit
 */
async function resolveEnvironment(
  context: InstallContext,
  python: string,
  preferences: readonly LockedPackage[] = [],
): Promise<Resolution> {
  const { ports, spec, tracker } = context;
  const core = await coreFiles(context);
  const packs = await packFiles(context);
  const { driverVersion, hasGpu } = driverOf(context);
  const torch = chooseTorch({ setting: spec.python.torch, driverVersion, hasGpu });
  if (torch.warning !== null) tracker.warn(torch.warning);
  tracker.detail(`torch ${torch.pin ?? torch.backend ?? 'as the indexes have it'}: ${torch.reason}`);
  const constraints = environmentConstraints(torch, spec.python.constraints);
  const common = { ...calls(context, python, torch.backend), overrides: spec.python.overrides, preferences };

  tracker.detail('resolving the requirements of ComfyUI');
  const corePins = await ports.python.resolve({ ...common, requirements: core, constraints });
  tracker.fraction(0.2);
  const held = [...constraints, ...packConstraints(corePins.map(requirementLine))];
  const found =
    packs.length === 0
      ? { packages: corePins, quarantined: [] }
      : await resolveWithPacks(context, core, packs, { ...common, constraints: held });
  tracker.fraction(0.4);
  return { ...found, constraints: held, torchBackend: torch.backend };
}

/**
 * Installs exactly what the resolution says, whoever found it, and records the packs that it leaves out.
 * @returns the file of the constraints, null when there are none
 */
export async function installEnvironment(context: InstallContext, python: string, resolution: Resolution): Promise<string | null> {
  const { ports, tracker, directory } = context;
  for (const { name, reason } of resolution.quarantined) tracker.pack(name, { state: 'failed', error: reason, quarantined: true });
  if (resolution.packages.length === 0 && resolution.constraints.length === 0) return null;
  tracker.detail(`installing ${resolution.packages.length} packages`);
  const misfits = await ports.python.install({
    ...calls(context, python, resolution.torchBackend),
    constraints: resolution.constraints,
    pins: resolution.packages,
  });
  for (const misfit of misfits) tracker.warn(misfit);
  tracker.fraction(0.95);
  const constraintsFile = `${directory}/constraints.txt`;
  await ports.files.writeText(constraintsFile, `${resolution.constraints.join('\n')}\n`);
  return constraintsFile;
}

/** What every call of uv is given. */
const calls = ({ spec, signal, tracker }: InstallContext, python: string, torchBackend: string | null) => ({
  python,
  torchBackend,
  indexUrl: spec.python.indexUrl,
  extraIndexUrls: spec.python.extraIndexUrls,
  findLinks: spec.python.findLinks,
  signal,
  onLine: (line: string) => tracker.line(line),
});

/** requirements.txt of ComfyUI and what it forgets to list. */
async function coreFiles(context: InstallContext): Promise<readonly RequirementFile[]> {
  const { files } = context.ports;
  const file = `${checkoutOf(context)}/requirements.txt`;
  const text = (await files.readText(file)) ?? '';
  const extra = coreRequirements(text, context.spec.python.extraRequirements);
  const result: RequirementFile[] = requirementNames(text).length === 0 ? [] : [{ label: CORE, file }];
  if (extra.length > 0) {
    const extraFile = `${context.directory}/extra-requirements.txt`;
    await files.writeText(extraFile, `${extra.join('\n')}\n`);
    result.push({ label: 'python.extraRequirements', file: extraFile });
  }
  return result;
}

async function packFiles(context: InstallContext): Promise<readonly RequirementFile[]> {
  const found: RequirementFile[] = [];
  for (const pack of context.spec.packs) {
    if (!pack.requirements || stateOf(context, pack.name) === 'failed') continue;
    const file = `${packDirectory(context, pack.name)}/requirements.txt`;
    const text = await context.ports.files.readText(file);
    if (text === null) {
      context.tracker.packWarning(pack.name, 'config_nodes.json says it has requirements, but it has no requirements.txt');
    } else if (/^\s*[^#\s]/m.test(text)) {
      found.push({ label: pack.name, file });
    }
  }
  return found;
}

async function resolveWithPacks(
  context: InstallContext,
  core: readonly RequirementFile[],
  packs: readonly RequirementFile[],
  request: Omit<ResolveRequest, 'requirements'>,
): Promise<Pick<Resolution, 'packages' | 'quarantined'>> {
  const { ports, tracker } = context;
  const labels = packs.map((pack) => pack.label);
  const trials: Trial[] = [];
  let pins: readonly LockedPackage[] = [];
  for (let next = nextTrial(labels, trials); !next.done; next = nextTrial(labels, trials)) {
    const tried = next.labels;
    tracker.detail(`resolving the requirements of ComfyUI and ${tried.length} node packs`);
    try {
      pins = await ports.python.resolve({ ...request, requirements: [...core, ...packs.filter((pack) => tried.includes(pack.label))] });
      trials.push({ labels: tried, failure: null });
    } catch (error) {
      if (!isAgentError(error) || error.code !== 'REQUIREMENTS_UNRESOLVED') throw error;
      trials.push({ labels: tried, failure: { labels: namedPacks(error), reason: error.message } });
    }
  }
  const outcome = nextTrial(labels, trials);
  if (!outcome.done) throw new Error('the trials are over');
  const quarantined = outcome.rejected.map(({ label, reason }) => ({
    name: label,
    reason: `its requirements do not fit: ${reason}; override or constrain them with python.overrides`,
  }));
  // The last trial may have failed: what counts is the set that was accepted.
  if (quarantined.length > 0) {
    const accepted = packs.filter((pack) => outcome.accepted.includes(pack.label));
    pins = await ports.python.resolve({ ...request, requirements: [...core, ...accepted] });
  }
  return { packages: pins, quarantined };
}

function namedPacks(error: AgentError): readonly string[] {
  const { labels } = error.details;
  return Array.isArray(labels) ? labels.filter((label) => typeof label === 'string') : [];
}

/** The torch build follows the cards that instances use, not those that happen to be in the machine. */
function driverOf({ gpus, config }: InstallContext): { readonly driverVersion: string | null; readonly hasGpu: boolean } {
  const first = config.gpu.mode === 'actual' ? gpus?.gpus[0] : undefined;
  return { driverVersion: first?.driverVersion ?? null, hasGpu: first !== undefined };
}
