import { isAgentError } from '../domain/errors/errors.ts';
import type { ProbeResult } from '../domain/health/health.ts';
import { prepareCanary } from '../domain/instances/canary.ts';
import type { Comfy } from '../ports/comfyui.ts';
import { cannotTell, fail, type Outcome, type Probe, type ProbePorts, pass } from './probe.ts';

/** After a canary that failed; twice as long after each further one. */
const RETRY_MS = 1_000;
const LONGEST_RETRY_MS = 16_000;
const POLL_MS = 40;
const REQUEST_TIMEOUT_MS = 5_000;

/**
 * Functional: a tiny graph really runs. Once for each incarnation, because a canary evicts the cached models of the job
 * before it (reference comfyui.md section 4); again only while it has not passed, on suspicion, or when that is configured.
 * Never while there are jobs of users.
 */
export const canaryProbe: Probe = {
  name: 'canary',
  layer: 'functional',
  dueIn: (history, config) => {
    const http = history.latest('http');
    if (!config.health.canary.enabled || http?.outcome !== 'pass' || hasJobs(http)) return null;
    const latest = history.latest('canary');
    if (latest === undefined) return 0;
    // Asked again after each look at the queue, so that it is known to be empty when the time has come.
    const ageMs = http.at - latest.at;
    if (latest.outcome !== 'pass') return ageMs >= retryMs(latest) ? 0 : null;
    const suspect = history.latest('log')?.facts?.['suspect'] as { readonly at: number } | null | undefined;
    if (suspect !== null && suspect !== undefined && suspect.at > latest.at) return 0;
    const { periodMs } = config.health.canary;
    return periodMs !== null && ageMs >= periodMs ? 0 : null;
  },
  run: async (target, ports, signal, history) => {
    const last = history.latest('canary');
    const { queueRemaining } = await ports.comfy.ping(target.baseUrl, REQUEST_TIMEOUT_MS).catch(() => ({ queueRemaining: 0 }));
    // A job came in since the last look.
    if (queueRemaining > 0) return last?.outcome === 'pass' ? pass(last.facts) : cannotTell('the canary waits for the jobs of users');
    const outcome = await runCanary(
      {
        baseUrl: target.baseUrl,
        graph: target.canary,
        clientId: `agent-canary-${target.incarnation}`,
        timeoutMs: target.config.health.canary.timeoutMs,
      },
      ports,
      signal,
    );
    return outcome.outcome === 'fail' ? { ...outcome, facts: { ...outcome.facts, failures: failuresOf(last) + 1 } } : outcome;
  },
};

const failuresOf = (result: ProbeResult | undefined): number => (result?.outcome === 'fail' ? Number(result.facts?.['failures'] ?? 1) : 0);

/** What could not be told is asked again at once; what fails is not hammered. */
const retryMs = (latest: ProbeResult): number => Math.min(LONGEST_RETRY_MS, RETRY_MS * 2 ** Math.max(0, failuresOf(latest) - 1));

const hasJobs = ({ facts }: ProbeResult): boolean => Number(facts?.['running'] ?? 0) + Number(facts?.['pending'] ?? 0) > 0;

export interface CanaryRun {
  readonly baseUrl: string;
  readonly graph: object;
  readonly clientId: string;
  readonly timeoutMs: number;
}

/** Submits the graph, waits for its history, looks at the picture, and tidies up. Also the last step of a trial start. */
export async function runCanary(
  run: CanaryRun,
  { comfy, clock }: Pick<ProbePorts, 'comfy' | 'clock'>,
  signal: AbortSignal,
): Promise<Outcome> {
  const started = clock.monotonic();
  // A fresh colour each time: an equal graph would be answered from ComfyUI's cache without running.
  const graph = prepareCanary(run.graph, clock.now() % 0x1000000);
  try {
    const { promptId } = await comfy.submit(run.baseUrl, graph, run.clientId, REQUEST_TIMEOUT_MS);
    while (clock.monotonic() - started < run.timeoutMs) {
      signal.throwIfAborted();
      const entry = await comfy.history(run.baseUrl, promptId, REQUEST_TIMEOUT_MS);
      if (entry !== null) {
        const outcome = await judge(entry, run, comfy);
        await comfy.forget(run.baseUrl, promptId, REQUEST_TIMEOUT_MS).catch(() => undefined);
        return outcome.outcome === 'pass' ? pass({ canaryMs: Math.round(clock.monotonic() - started) }) : outcome;
      }
      await clock.sleep(POLL_MS, signal);
    }
    return await explainSilence(run, promptId, comfy);
  } catch (error) {
    if (signal.aborted || !isAgentError(error))
      return cannotTell(`the canary could not be asked: ${error instanceof Error ? error.message : String(error)}`);
    const kind = error.details['kind'];
    // A process that went away or hangs is the runtime layer's business.
    if (kind === 'refused' || kind === 'timeout') return cannotTell(`the canary got no answer: ${error.message}`);
    return fail(`the canary was refused: ${error.message}`);
  }
}

type History = NonNullable<Awaited<ReturnType<Comfy['history']>>>;

async function judge(entry: History, run: CanaryRun, comfy: Comfy): Promise<Outcome> {
  if (entry.status === 'error') {
    const { exceptionType, message, nodeType } = entry.error ?? { exceptionType: null, message: 'no reason given', nodeType: null };
    return fail(`the canary failed in ${nodeType ?? 'a node'}: ${exceptionType ?? 'error'}: ${message}`);
  }
  const image = entry.images[0];
  if (image === undefined) return fail('the canary ended without a picture');
  const { bytes } = await comfy.view(run.baseUrl, image, REQUEST_TIMEOUT_MS);
  const isPng = bytes[0] === 0x89 && bytes[1] === 0x50 && bytes[2] === 0x4e && bytes[3] === 0x47;
  return isPng ? pass() : fail('the picture of the canary is no PNG');
}

/** Told apart: jobs of users before it (cannot tell), accepted and never begun (the worker thread is dead), begun and stuck. */
async function explainSilence(run: CanaryRun, promptId: string, comfy: Comfy): Promise<Outcome> {
  const seconds = Math.round(run.timeoutMs / 1_000);
  const queue = await comfy.queue(run.baseUrl, REQUEST_TIMEOUT_MS);
  if (queue.runningIds.includes(promptId)) return fail(`the canary began and did not end within ${seconds} s`);
  if (queue.running > 0) return cannotTell(`the canary waits behind a running job since ${seconds} s`);
  return fail(`prompts are accepted and never run (waiting ${queue.pending}, running none, for ${seconds} s): the worker thread is dead`);
}
