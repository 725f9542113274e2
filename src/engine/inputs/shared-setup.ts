import type { Layout } from '../../domain/configuration/config.ts';
import { asAgentError } from '../../domain/errors/errors.ts';
import { INPUT_LIMITS } from '../../domain/files/foreign.ts';
import { LOCK_NAME, type Lock } from '../../domain/installation/lock.ts';
import { digestOf } from '../../domain/text/digest.ts';
import { configNodesError, readConfigNodes } from '../../plan/inputs/config-nodes.ts';
import { type DirectorySection, directoryConfigError, readDirectoryConfig } from '../../plan/inputs/directory-config.ts';
import { modelPathsFile } from '../../plan/inputs/model-paths.ts';
import { packChanges } from '../../plan/inputs/packs/changes.ts';
import { readStaticModels, resolveStaticModels, staticModelsError } from '../../plan/inputs/static-models.ts';
import { parseLock } from '../../plan/installation/lock.ts';
import { describeProblem } from '../../plan/text/problem.ts';
import type { Files } from '../../ports/files.ts';
import type { Ports } from '../../ports.ts';
import { placeWitness } from '../instances/witness.ts';
import type { Journal } from '../journal.ts';
import type { InputProblem, Inputs, Knowledge } from '../knowledge.ts';
import { readRecord } from '../releases/releases.ts';
import { readTrusted } from './instructions.ts';
import { requiredModels } from './required-models.ts';

/**
 * Brings the shared folder up to date, reads the operator's files in it, and writes what follows from them: the links of
 * static-models.json and the paths file for ComfyUI. Without `mayWrite` it only reads. A file that is bad keeps its last good meaning and is told.
 */
export async function setUpShared(ports: Ports, knowledge: Knowledge, journal: Journal, mayWrite = true): Promise<void> {
  const faults: Fault[] = [];
  if (mayWrite) await orFault(faults, undefined, () => placeWitness(ports, knowledge.configuration.layout));
  if (mayWrite) await updateSharedRepository(ports, knowledge, journal, faults);
  const before = knowledge.inputs;
  const packs = await orFault(faults, { packs: null, owner: null, warnings: [] }, () => readPacks(ports.files, knowledge, faults));
  const packsFault = packs.packs === null ? faults.at(-1) : undefined;
  const lockFaults: Fault[] = [];
  const lock = await orFault(lockFaults, before.lock, () => readLock(ports.files, knowledge.configuration.layout));
  faults.push(...lockFaults);
  const directories = await orFault(faults, { sections: null, warnings: [] }, () => readDirectories(ports.files, knowledge, faults));
  const links = await orFault(faults, { targets: null, warnings: [] }, () => makeLinks(ports.files, knowledge, faults, mayWrite));
  const sections = directories.sections ?? before.sections;
  const paths = await orFault(faults, [], () => writePathsFile(ports.files, knowledge, sections, mayWrite));
  const models = await orFault(faults, { models: before.models, warnings: [] }, () =>
    requiredModels(ports.files, knowledge.configuration, { links: links.targets ?? before.links, sections }),
  );
  const [first] = faults;
  const inputs: Inputs = {
    packs: packs.packs ?? before.packs,
    packsOwner: packs.packs === null ? before.packsOwner : packs.owner,
    models: models.models,
    sections,
    links: links.targets ?? before.links,
    warnings: [...packs.warnings, ...directories.warnings, ...links.warnings, ...paths, ...models.warnings],
    problem: first ?? null,
    lock,
    installationProblem: packsFault ?? lockFaults[0] ?? null,
  };
  knowledge.inputs = inputs;
  if (inputs.problem !== null && inputs.problem.message !== before.problem?.message) {
    journal.record({
      type: 'inputs.rejected',
      target: 'agent',
      level: 'error',
      message: inputs.problem.message,
      data: { code: inputs.problem.code, help: inputs.problem.help },
    });
  }
}

type Fault = InputProblem;

const faultOf = (thrown: unknown): Fault => {
  const { code, message, help } = asAgentError(thrown);
  return { code, message, help };
};

/** A file that cannot be read, or a disk that is full, is a fault like any other: it must not keep the agent from starting. */
async function orFault<T>(faults: Fault[], bad: T, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    faults.push(faultOf(error));
    return bad;
  }
}

/** In place: models may lie there already. Local edits are never overwritten; they are a fault that people must resolve. */
async function updateSharedRepository(ports: Ports, knowledge: Knowledge, journal: Journal, faults: Fault[]): Promise<void> {
  const { config, layout } = knowledge.configuration;
  const { url, branch } = config.sharedRepository;
  if (url === null) return;
  try {
    const { commit } = await ports.git.updateInPlace({ url, branch, commit: null }, layout.shared, {
      closed: config.users.comfyui !== null,
    });
    journal.record({
      type: 'shared.updated',
      target: 'agent',
      level: 'info',
      message: `the shared folder is at ${commit.slice(0, 10)}`,
      data: { commit },
    });
  } catch (error) {
    faults.push(faultOf(error));
  }
}

/** null stands for a bad file, here and below: what it said before stays in force. No file: nothing is asked for. */
async function readPacks(
  files: Files,
  { configuration, inputs }: Knowledge,
  faults: Fault[],
): Promise<{ packs: Inputs['packs'] | null; owner: string | null; warnings: readonly string[] }> {
  const { config, layout } = configuration;
  const read = (text: string) => readConfigNodes(text, { path: layout.configNodes, names: config.packs.names });
  const found = await readTrusted(files, layout.configNodes, INPUT_LIMITS.instructions, (text) => {
    const result = read(text);
    return result.ok ? packChanges(inputs.packs, result.packs) : 'it cannot be understood';
  });
  if (found === null) {
    const isNamed = config.packs.file !== null || config.packs.names !== null;
    return { packs: [], owner: null, warnings: isNamed ? [`${layout.configNodes} does not exist: no node packs are installed`] : [] };
  }
  const result = read(found.text);
  if (result.ok) return { packs: result.packs, owner: found.owner, warnings: result.warnings.map(describeProblem) };
  faults.push(faultOf(configNodesError(result.problems)));
  return { packs: null, owner: null, warnings: [] };
}

/** The file beside the installation, or what the release in place was built by when that file is gone. */
async function readLock(files: Files, layout: Layout): Promise<Lock | null> {
  const own = await readTrusted(files, layout.lockFile, INPUT_LIMITS.record);
  if (own !== null) return parseLock(own.text, layout.lockFile);
  const release = (await files.readLink(layout.current))?.split('/').at(-1);
  if (release === undefined) return null;
  const text = await readRecord(files, layout, release, LOCK_NAME);
  return text === null ? null : parseLock(text, `the lock of release ${release}`);
}

async function readDirectories(
  files: Files,
  { configuration }: Knowledge,
  faults: Fault[],
): Promise<{ sections: readonly DirectorySection[] | null; warnings: readonly string[] }> {
  const { layout, secrets } = configuration;
  const found = await readTrusted(files, layout.directoryConfig, INPUT_LIMITS.instructions);
  if (found === null) return { sections: [], warnings: [] };
  const result = readDirectoryConfig(found.text, { path: layout.directoryConfig, environment: secrets.environment });
  if (result.ok) return { sections: result.sections, warnings: result.warnings.map(describeProblem) };
  faults.push(faultOf(directoryConfigError(result.problems)));
  return { sections: null, warnings: [] };
}

async function makeLinks(
  files: Files,
  { configuration }: Knowledge,
  faults: Fault[],
  mayWrite: boolean,
): Promise<{ targets: readonly string[] | null; warnings: readonly string[] }> {
  const { layout } = configuration;
  const found = await readTrusted(files, layout.staticModels, INPUT_LIMITS.instructions);
  if (found === null) return { targets: [], warnings: [] };
  const result = readStaticModels(found.text, { path: layout.staticModels });
  if (!result.ok) {
    faults.push(faultOf(staticModelsError(result.problems)));
    return { targets: null, warnings: [] };
  }
  const places = { root: layout.root, shared: layout.shared, models: layout.models, links: result.links };
  // The first pass tells which paths matter; the second knows which exist.
  const candidates = resolveStaticModels({ ...places, exists: () => false }).missing.flatMap((link) => link.tried);
  const present = await existing(files, candidates);
  const resolved = resolveStaticModels({ ...places, exists: (path) => present.has(path) });
  const warnings = [
    ...result.warnings.map(describeProblem),
    ...resolved.refused.map(({ source, reason }) => `${layout.staticModels}: ${source} is not linked: ${reason}`),
  ];
  for (const { source, target } of mayWrite ? resolved.links : []) {
    await files.ensureDirectory(target.slice(0, target.lastIndexOf('/')));
    if (!(await files.link(source, target))) warnings.push(`${target} is no link and was left alone (static-models.json)`);
  }
  return { targets: [...resolved.links, ...resolved.missing].map((link) => link.target), warnings };
}

async function writePathsFile(
  files: Files,
  knowledge: Knowledge,
  sections: readonly DirectorySection[],
  mayWrite: boolean,
): Promise<readonly string[]> {
  const { config, layout } = knowledge.configuration;
  const present = await existing(
    files,
    sections.flatMap((section) => section.categories.flatMap((category) => category.paths)),
  );
  const file = modelPathsFile({
    sections,
    modelsDirectory: layout.models,
    exists: (path) => present.has(path),
    releaseCustomNodes: [`${layout.current}/ComfyUI/custom_nodes`, `${layout.installPath}/custom_nodes`],
    allowedPackDirs: config.packs.directories,
  });
  // First: also a disk that is full does not make it another file.
  knowledge.modelPathsDigest = digestOf(file.yaml).slice(0, 12);
  if (mayWrite && (await files.readText(knowledge.modelPathsFile)) !== file.yaml)
    await files.writeText(knowledge.modelPathsFile, file.yaml);
  return file.warnings;
}

async function existing(files: Files, paths: readonly string[]): Promise<ReadonlySet<string>> {
  const unique = [...new Set(paths)];
  const present = await Promise.all(unique.map((path) => files.exists(path)));
  return new Set(unique.filter((_, index) => present[index]));
}
