import { AgentError, isAgentError } from '../../domain/errors/errors.ts';
import { parseImportReport } from '../../domain/installation/import-report.ts';
import { WATCH_IMPORTS } from '../../domain/installation/import-watch.ts';
import type { PackStatus, Release } from '../../domain/installation/release.ts';
import { toTime } from '../../domain/observed.ts';
import { judgeProof } from '../../plan/installation/proof.ts';
import { lastWords } from '../../plan/instances/last-words.ts';
import { instanceLaunch } from '../../plan/instances/launch.ts';
import { createRedactor } from '../../plan/text/redact-text.ts';
import type { RunningCommand } from '../../ports/shell.ts';
import { runCanary } from '../../probes/canary.ts';
import type { InstallContext } from './context.ts';
import { proveCuda } from './cuda.ts';
import { neededNodes } from './needed-nodes.ts';

const POLL_MS = 100;
const REQUEST_TIMEOUT_MS = 5_000;
/** Listing the classes of many packs makes them look through all model folders. */
const CLASSES_TIMEOUT_MS = 60_000;
const END_GRACE_MS = 10_000;
const KEPT_LINES = 5_000;
const TOLD_LINES = 12;
/** Whatever a pack writes without a break. */
const LINE_CHARACTERS = 2_000;

export interface Trial {
  readonly validated: Release['validated'];
  /** Result of the import of each pack. */
  readonly packs: ReadonlyMap<string, { readonly loaded: boolean; readonly error: string | null }>;
}

export type TrialRelease = Pick<Release, 'id' | 'python' | 'flags' | 'constraints' | 'torch'>;

/**
 * Starts the new release once, beside everything else, on a port of its own: it must come up, run the canary, say which
 * packs it could import, and have every node class that the release before had and that workflows need. Judged by progress,
 * not by the clock: it may take its time while its log moves.
 * @param watched gets every line, with those of the imports that are watched; null: they are not watched
 * @throws AgentError VALIDATION_FAILED with the last lines of its log, or with what is missing
 */
export async function validateRelease(
  context: InstallContext,
  release: TrialRelease,
  canaryGraph: object,
  watched: string[] | null = null,
): Promise<Trial> {
  const { ports, config, layout, tracker, signal, trialDevice } = context;
  const directory = `${layout.instances}/.trial`;
  await ports.files.remove(directory);
  for (const part of ['temp', 'user', 'output']) await ports.files.ensureDirectory(`${directory}/${part}`);
  const tcpPort = await scratchPort(context);
  const launch = instanceLaunch({
    config: { ...config, comfyui: { ...config.comfyui, listen: '127.0.0.1' } },
    layout,
    instance: { gpu: 0, name: 'comfyui-trial', mode: trialDevice === null ? 'cpu' : 'gpu', visibleDevices: trialDevice ?? '' },
    release,
    tcpPort,
    modelPathsFile: context.modelPathsFile,
    modelPathsDigest: '',
    inherited: context.inherited,
    directory,
  });
  const cuda = await proveCuda(context, launch, release.torch);
  const log: string[] = [];
  const { text: mask } = createRedactor({ ...context.secrets.environment, ...launch.environment });
  let movedAt = ports.clock.monotonic();
  const startedAt = movedAt;
  tracker.detail(`starting the release once on port ${tcpPort} (${trialDevice === null ? 'CPU' : `card ${trialDevice}`})`);
  const child = ports.shell.spawn(launch.python, ['-u', 'main.py', ...launch.arguments], {
    cwd: launch.checkout,
    environment: { ...launch.environment, ...(watched === null ? {} : { [WATCH_IMPORTS]: '1' }) },
    signal,
    onLine: (line) => {
      movedAt = ports.clock.monotonic();
      log.push(mask(line.slice(0, LINE_CHARACTERS)));
      if (log.length > KEPT_LINES) log.shift();
      if (watched !== null && watched.length < KEPT_LINES) watched.push(line.slice(0, LINE_CHARACTERS));
      tracker.line(line);
    },
  });
  try {
    const baseUrl = `http://127.0.0.1:${tcpPort}`;
    await untilServing(context, child, baseUrl, log, () => movedAt);
    const startMs = Math.round(ports.clock.monotonic() - startedAt);
    tracker.fraction(0.6);
    const protocol = await ports.comfy.protocol(baseUrl, REQUEST_TIMEOUT_MS);
    const canaryMs = await proveCanary(context, baseUrl, canaryGraph, log);
    const report = parseImportReport(log);
    const packs = new Map<string, { loaded: boolean; error: string | null }>();
    for (const name of report?.loaded ?? []) packs.set(name, { loaded: true, error: null });
    for (const pack of report?.failed ?? []) packs.set(pack.name, { loaded: false, error: pack.error });
    tracker.detail(`served after ${(startMs / 1_000).toFixed(1)} s${canaryMs === null ? '' : `, canary in ${canaryMs} ms`}`);
    const nodeClasses = Object.fromEntries(
      [...(await ports.comfy.nodeClasses(baseUrl, CLASSES_TIMEOUT_MS))].map(([module, names]) => [module, [...names]]),
    );
    const missingNodes = await compare(context, nodeClasses, packs);
    return { validated: { at: toTime(ports.clock.now()), startMs, canaryMs, protocol, nodeClasses, missingNodes, ...cuda }, packs };
  } finally {
    await child.end(END_GRACE_MS);
    await ports.files.remove(directory);
  }
}

/** Nothing that the machine can do now, and nothing that its workflows need, may get lost by accident. */
async function compare(context: InstallContext, offered: Record<string, string[]>, trial: Trial['packs']): Promise<string[]> {
  const { previous, spec, tracker, config } = context;
  const { refusals, differences, missingNodes } = judgeProof({
    previous,
    spec,
    packs: tracker.progress.packs.map((pack) => provedPack(pack, trial)),
    offered,
    needed: await neededNodes(context),
    allowed: config.install.allowMissingNodes,
  });
  if (refusals.length > 0) {
    throw new AgentError('VALIDATION_FAILED', `the new release was refused: ${refusals.join('; ')}`, {
      help: 'the release before stays in use; correct it, remove the pack from config_nodes.json, or accept the loss with install.allowMissingNodes',
      retryable: false,
    });
  }
  for (const difference of differences) tracker.warn(`gone or missing: ${difference}`);
  return [...missingNodes];
}

/** A pack with the result of its import. */
export function provedPack(pack: PackStatus, trial: Trial['packs']): PackStatus {
  if (pack.state === 'failed') return pack;
  const result = trial.get(pack.name);
  if (result === undefined) return pack;
  if (result.loaded) return { ...pack, state: 'loaded' };
  return { ...pack, state: 'failed', error: `it does not import: ${result.error ?? 'see the installation log'}` };
}

async function untilServing(
  context: InstallContext,
  child: RunningCommand,
  baseUrl: string,
  log: readonly string[],
  movedAt: () => number,
): Promise<void> {
  const { ports, config, signal } = context;
  let ended = false;
  void child.finished.then(
    () => {
      ended = true;
    },
    () => {
      ended = true;
    },
  );
  while (true) {
    signal.throwIfAborted();
    if (ended) {
      const result = await child.finished;
      const end = result.signal === null ? `exit code ${result.exitCode}` : `signal ${result.signal}`;
      throw rejected(`it ended while starting (${result.signal ?? `exit code ${result.exitCode}`})`, log, end);
    }
    try {
      await ports.comfy.ping(baseUrl, 1_000);
      return;
    } catch (error) {
      if (!isAgentError(error)) throw error;
    }
    const silentMs = ports.clock.monotonic() - movedAt();
    if (silentMs > config.install.validateTimeoutMs)
      throw rejected(`it did not serve, and its log has not moved for ${Math.round(silentMs / 1_000)} s`, log, 'it never served');
    await ports.clock.sleep(POLL_MS, signal);
  }
}

async function proveCanary(context: InstallContext, baseUrl: string, graph: object, log: readonly string[]): Promise<number | null> {
  const { ports, config, signal, releaseId } = context;
  if (!config.health.canary.enabled) return null;
  const outcome = await runCanary(
    { baseUrl, graph, clientId: `agent-trial-${releaseId}`, timeoutMs: config.health.canary.timeoutMs },
    ports,
    signal,
  );
  if (outcome.outcome !== 'pass') throw rejected(outcome.reason ?? 'the canary did not pass', log);
  const { canaryMs } = outcome.facts ?? {};
  return typeof canaryMs === 'number' ? canaryMs : null;
}

/** `start`: how its start failed; null: it came up. */
const rejected = (reason: string, log: readonly string[], start: string | null = null): AgentError => {
  const words = lastWords(log, 'status');
  const told = words === null ? '' : `; last line: ${words}`;
  return new AgentError('VALIDATION_FAILED', `the trial start failed: ${reason}${told}`, {
    details: { log: log.slice(-TOLD_LINES), ...(start === null ? {} : { start }) },
  });
};

/** A free port well away from the instances' own. */
async function scratchPort(context: InstallContext): Promise<number> {
  const first = Math.min(context.config.ports.first + 1_000, 64_000);
  const candidates = Array.from({ length: 64 }, (_, index) => first + index);
  const held = new Set((await context.ports.kernel.portHolders(candidates)).map((holder) => holder.tcpPort));
  const free = candidates.find((candidate) => !held.has(candidate));
  if (free === undefined) throw new AgentError('PORT_HELD', `no port for the trial start is free between ${first} and ${first + 63}`);
  return free;
}
