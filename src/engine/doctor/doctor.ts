import { randomUUID } from 'node:crypto';
import { dirname } from 'node:path';
import type { RosterCard } from '../../domain/cards/roster.ts';
import { type Config, type Layout, type Secrets, SIMULATOR_REPOSITORY } from '../../domain/configuration/config.ts';
import { checkSshKey } from '../../domain/configuration/ssh-key.ts';
import type { DoctorDocument } from '../../domain/doctor/doctor.ts';
import { asAgentError } from '../../domain/errors/errors.ts';
import { INPUT_LIMITS } from '../../domain/files/foreign.ts';
import { redactUrl } from '../../domain/installation/git-url.ts';
import type { PackSpec } from '../../domain/installation/release.ts';
import { known, NOT_LOOKED_YET, toTime, unknown } from '../../domain/observed.ts';
import { divideCards } from '../../plan/cards/mig.ts';
import { cardsOfRoster, updateRoster } from '../../plan/cards/roster.ts';
import { summarize } from '../../plan/doctor/doctor.ts';
import type { Attempt, DoctorFacts } from '../../plan/doctor/facts.ts';
import { readConfigNodes } from '../../plan/inputs/config-nodes.ts';
import { readDirectoryConfig } from '../../plan/inputs/directory-config.ts';
import { readStaticModels } from '../../plan/inputs/static-models.ts';
import { resolveSource } from '../../plan/installation/source.ts';
import { portsOfInterest } from '../../plan/instances/leases.ts';
import { chooseCards } from '../../plan/resolve.ts';
import { describeProblem, type TextProblem } from '../../plan/text/problem.ts';
import type { Files } from '../../ports/files.ts';
import type { Ports } from '../../ports.ts';
import { ask } from '../ask.ts';
import { readTrusted } from '../inputs/instructions.ts';
import { findUnhosted } from '../instances/unhosted.ts';
import { isRecorded } from '../releases/releases.ts';
import { setAsideFiles } from '../state/troubles.ts';
import { cardsOfRosterFile, instanceCards, xidsOfKernelLog } from './cards.ts';

/** What the doctor needs of the outside: everything that can be asked without an agent and without a usable root. */
export type DoctorPorts = Pick<
  Ports,
  'files' | 'shell' | 'git' | 'python' | 'hardware' | 'kernel' | 'kernelLog' | 'processes' | 'assets' | 'clock'
>;

export interface DoctorContext {
  readonly config: Config;
  readonly layout: Layout;
  readonly secrets: Secrets;
  readonly file: string | null;
  readonly warnings: readonly string[];
  /** Why the configuration that was asked for could not be used; `config` then holds defaults. */
  readonly problems: readonly string[];
  /** The agent in whose process this runs; null without one. */
  readonly agentPid: number | null;
}

/** A remote that does not answer by then will not please an installation either. */
const REMOTE_MS = 15_000;
const MAX_PORT = 65_535;
/** Where git looks for certificates of authorities as it is built for Debian, Red Hat, SUSE and Alpine. */
const CERTIFICATES = [
  '/etc/ssl/certs/ca-certificates.crt',
  '/etc/pki/tls/certs/ca-bundle.crt',
  '/etc/ssl/ca-bundle.pem',
  '/etc/ssl/cert.pem',
];

/** Asks everything side by side, and says what it means. */
export async function examine(ports: DoctorPorts, context: DoctorContext): Promise<DoctorDocument> {
  return summarize(await gatherDoctorFacts(ports, context), toTime(ports.clock.now()));
}

export async function gatherDoctorFacts(ports: DoctorPorts, context: DoctorContext): Promise<DoctorFacts> {
  const { files, shell, python, git, hardware, processes, clock } = ports;
  const { config, layout } = context;
  const inputs = await readInputs(files, context);
  const roster = await cardsOfRosterFile(files, layout);
  const { gpus, cards } = await cardFacts(roster, () =>
    config.gpu.mode === 'actual' && config.comfyui.enabled
      ? attempt(async () => divideCards(await hardware.gpus(roster), config.gpu.mig))
      : Promise.resolve({ ok: true as const, value: { present: false, gpus: [] } }),
  );
  const [ownPids, unhosted] = await Promise.all([instancePids(ports), unhostedInstances(ports, layout)]);
  const gitVersion = await attempt(() => git.version());
  const [
    rootWritable,
    freeBytes,
    inodes,
    pythonVersion,
    uv,
    ps,
    sshProgram,
    portHolders,
    pm2Pid,
    unfinishedReleases,
    lastSeen,
    reachable,
    ssh,
    certificates,
    xids,
    cardsSeen,
    setAside,
  ] = await Promise.all([
    attempt(() => tryToWrite(files, layout.root)),
    ask(
      async () =>
        (await files.freeBytes(await nearestExisting(files, layout.root))) ?? Promise.reject(new Error('the filesystem does not say')),
    ),
    nearestExisting(files, layout.root)
      .then((path) => files.inodes(path))
      .catch(() => null),
    attempt(() => python.interpreterVersion(config.python.interpreter ?? 'python3')),
    shell.which('uv').catch(() => null),
    shell.which('ps').catch(() => null),
    shell.which('ssh').catch(() => null),
    attempt(() => ports.kernel.portHolders(portsToLookAt(config, cards))),
    ask(() => processes.daemonPid()),
    unfinished(files, layout).catch(() => []),
    files.modifiedAt(`${layout.state}/status.json`).catch(() => null),
    gitVersion.ok ? askRemote(ports, config) : null,
    sshFacts(ports, context),
    firstThere(files, CERTIFICATES),
    attempt(async () => (config.gpu.mode === 'actual' ? xidsOfKernelLog(ports.kernelLog) : [])),
    attempt(() => instanceCards(ports)),
    setAsideFiles(ports, layout),
  ]);
  return {
    root: layout.root,
    config,
    configuration: { file: context.file, problems: context.problems, warnings: context.warnings },
    inputs: inputs.files,
    repositories: repositoriesOf(config, inputs.packs),
    reachable,
    ssh: { ...ssh, program: sshProgram },
    certificates,
    rootWritable,
    freeBytes,
    inodes,
    python: pythonVersion,
    git: gitVersion,
    programs: { uv, ps },
    gpus,
    cards,
    xids,
    instanceCards: cardsSeen,
    portHolders,
    ownPids,
    agentPid: context.agentPid,
    pm2Pid,
    unfinishedReleases,
    setAside,
    unhosted,
    now: clock.now(),
    lastSeen,
  };
}

async function attempt<T>(work: () => Promise<T>): Promise<Attempt<T>> {
  try {
    return { ok: true, value: await work() };
  } catch (error) {
    const { code, message, help } = asAgentError(error);
    return { ok: false, code, message, help };
  }
}

async function firstThere(files: Files, paths: readonly string[]): Promise<string | null> {
  for (const path of paths) if (await files.exists(path).catch(() => false)) return path;
  return null;
}

async function nearestExisting(files: Files, path: string): Promise<string> {
  let directory = path;
  while (directory !== '/' && !(await files.isDirectory(directory))) directory = dirname(directory);
  return directory;
}

/** A file and a link, in the root or where the root would be made; nothing stays behind. */
async function tryToWrite(files: Files, root: string): Promise<null> {
  const trial = `${await nearestExisting(files, root)}/.agent-doctor-${randomUUID()}`;
  await files.writeText(trial, '');
  await files.remove(trial);
  await files.link('nowhere', trial);
  await files.remove(trial);
  return null;
}

/** Unknown when one of them is not shown: its children would be taken for strangers. Without PM2 there are none. */
async function instancePids({ processes, kernel }: DoctorPorts): Promise<DoctorFacts['ownPids']> {
  const states = await ask(() => processes.list());
  if (!states.known) return known(new Set());
  const roots = states.value.flatMap(({ pid }) => (pid === null ? [] : [pid]));
  return ask(async () => new Set((await Promise.all(roots.map((pid) => kernel.tree(pid)))).flat()));
}

/** Unknown while a daemon is there and does not tell what it hosts; without one it hosts nothing. */
async function unhostedInstances({ processes, kernel, files }: DoctorPorts, { root }: Layout): Promise<DoctorFacts['unhosted']> {
  return ask(async () => {
    const hosted = (await processes.daemonPid()) === null ? [] : await processes.list();
    const found = await findUnhosted(
      { kernel, files },
      root,
      hosted.filter(({ pid }) => pid !== null),
    );
    return found.map(({ name, marked }) => ({ name, pids: marked.map(({ incarnation }) => incarnation.pid) }));
  });
}

/** As the agent would have them: each card under its slot, and those that are missing. */
async function cardFacts(
  roster: readonly RosterCard[],
  read: () => Promise<DoctorFacts['gpus']>,
): Promise<Pick<DoctorFacts, 'gpus' | 'cards'>> {
  const gpus = await read();
  const before = cardsOfRoster(roster, unknown(NOT_LOOKED_YET));
  if (!gpus.ok) return { gpus, cards: before.known ? before : unknown(gpus.message) };
  // A driver that lists nothing says nothing of one card.
  if (gpus.value.gpus.length === 0) return { gpus, cards: known(gpus.value) };
  const { listed, cards } = updateRoster(before, gpus.value);
  return { gpus: { ok: true, value: listed }, cards: known(cards) };
}

function portsToLookAt(config: Config, seen: DoctorFacts['cards']): number[] {
  const { cards } = chooseCards(config.gpu, seen);
  const instances = portsOfInterest(
    config.ports,
    cards.map((card) => card.index),
    [],
  );
  return [...new Set([...instances, ...(config.api.port === 0 ? [] : [config.api.port])])].filter((tcpPort) => tcpPort <= MAX_PORT);
}

async function unfinished(files: Files, layout: Layout): Promise<readonly string[]> {
  const ids = (await files.list(layout.releases)).filter((name) => !name.startsWith('.'));
  const whole = await Promise.all(ids.map((id) => isRecorded(files, layout, id)));
  return ids.filter((_, index) => !whole[index]);
}

/** Whether ComfyUI's repository answers and has what is asked for. */
async function askRemote({ git }: DoctorPorts, config: Config): Promise<Attempt<string> | null> {
  const { repository, branch, commit } = resolveSource(config.comfyui);
  if (repository === SIMULATOR_REPOSITORY || !config.comfyui.enabled) return null;
  const found = await attempt(() => git.resolve({ url: repository, branch, commit }, { signal: AbortSignal.timeout(REMOTE_MS) }));
  if (found.ok)
    return { ok: true, value: `${redactUrl(repository)} answers: ${found.value.branch ?? 'commit'} is ${found.value.commit.slice(0, 10)}` };
  return /abort/i.test(found.message)
    ? {
        ...found,
        message: `${redactUrl(repository)} did not answer within ${REMOTE_MS / 1_000} s`,
        help: 'check the network, the proxy and the URL',
      }
    : found;
}

const repositoriesOf = (config: Config, packs: readonly PackSpec[]): DoctorFacts['repositories'] =>
  [
    { label: 'comfyui.repository', url: config.comfyui.repository },
    ...(config.comfyui.fallbackRepository === null
      ? []
      : [{ label: 'comfyui.fallbackRepository', url: config.comfyui.fallbackRepository }]),
    ...(config.sharedRepository.url === null ? [] : [{ label: 'sharedRepository.url', url: config.sharedRepository.url }]),
    ...packs.map(({ name, url }) => ({ label: `pack ${name}`, url })),
  ]
    .filter(({ url }) => url !== SIMULATOR_REPOSITORY)
    .map(({ label, url }) => ({ label, url: redactUrl(url) }));

async function sshFacts({ files, assets }: DoctorPorts, { config, secrets }: DoctorContext): Promise<Omit<DoctorFacts['ssh'], 'program'>> {
  const { keyFile, knownHostsFile } = config.ssh;
  const further = knownHostsFile === null ? '' : ((await files.readText(knownHostsFile).catch(() => null)) ?? '');
  const knownHosts = `${await assets.text('known_hosts').catch(() => '')}\n${further}`;
  if (keyFile === null) return { key: secrets.sshKey === null ? 'none' : 'usable', knownHosts };
  const checked = await attempt(async () => {
    const text = await files.readText(keyFile);
    if (text === null) throw new Error(`the SSH key file ${keyFile} does not exist`);
    return checkSshKey(text, keyFile);
  });
  return { key: checked.ok ? 'usable' : { problem: checked.message, help: 'check SSH_KEY_FILE (ssh.keyFile)' }, knownHosts };
}

interface InputsRead {
  readonly files: DoctorFacts['inputs'];
  readonly packs: readonly PackSpec[];
}

async function readInputs(files: Files, { config, layout, secrets }: DoctorContext): Promise<InputsRead> {
  const found: { path: string; problems: string[]; warnings: string[] }[] = [];
  const packs: PackSpec[] = [];
  const read = async (
    path: string,
    parse: (text: string) => {
      readonly ok: boolean;
      readonly problems?: readonly TextProblem[];
      readonly warnings?: readonly TextProblem[];
    },
  ): Promise<void> => {
    const text = await attempt(async () => (await readTrusted(files, path, INPUT_LIMITS.instructions))?.text ?? null);
    if (!text.ok) found.push({ path, problems: [`${path}: ${text.message}`], warnings: [] });
    if (!text.ok || text.value === null) return;
    const { problems = [], warnings = [] } = parse(text.value);
    found.push({ path, problems: problems.map(describeProblem), warnings: warnings.map(describeProblem) });
  };
  await read(layout.configNodes, (text) => {
    const result = readConfigNodes(text, { path: layout.configNodes, names: config.packs.names });
    if (result.ok) packs.push(...result.packs);
    return result;
  });
  await read(layout.directoryConfig, (text) =>
    readDirectoryConfig(text, { path: layout.directoryConfig, environment: secrets.environment }),
  );
  await read(layout.staticModels, (text) => readStaticModels(text, { path: layout.staticModels }));
  return { files: found, packs };
}
