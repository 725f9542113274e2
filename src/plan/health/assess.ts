import type { Config } from '../../domain/configuration/config.ts';
import type { FaultKind, Verdict } from '../../domain/faults/verdict.ts';
import type { ProbeResult } from '../../domain/health/health.ts';
import {
  type DesiredInstance,
  type Incarnation,
  type InstanceDocument,
  type InstanceStatus,
  incarnationKey,
  type LayerHealth,
  type ProcessState,
} from '../../domain/instances/instance.ts';
import { type Observed, toTime } from '../../domain/observed.ts';
import type { Leaving } from '../instances/leaving.ts';
import { describeExits, type RestartVerdict } from '../instances/restart-policy.ts';

/** What the scheduler keeps of one probe for one incarnation. */
export interface ProbeRecord {
  readonly latest: ProbeResult;
  readonly consecutiveFailures: number;
  readonly consecutivePasses: number;
  /** How many failures in a row came before the passes that stand now. */
  readonly failuresBefore: number;
  readonly everPassed: boolean;
  /** Since when the present outcome stands. Epoch ms. */
  readonly since: number;
}

/** What tells whether an instance runs and works. */
export interface HealthFacts {
  readonly config: Config;
  readonly instance: DesiredInstance;
  readonly process: Observed<ProcessState | null>;
  readonly incarnation: Observed<Incarnation | null>;
  /** Records of the present incarnation, by probe name. */
  readonly probes: ReadonlyMap<string, ProbeRecord>;
  readonly lastLogAt: number | null;
  readonly restarts: RestartVerdict;
  /** An action on it is under way: what looks like a fault meanwhile was asked for. */
  readonly acting: boolean;
  /** Faults as judged now, the worst first. */
  readonly verdicts: readonly Verdict[];
  readonly now: number;
}

export interface InstanceAssessment extends HealthFacts {
  /** As judged of the same facts. */
  readonly health: InstanceHealth;
  readonly installation: LayerHealth;
  readonly models: LayerHealth;
  /** True while an installation is being built and none is in place. */
  readonly installing: boolean;
  readonly release: string | null;
  readonly tcpPort: number | null;
  readonly advertiseHost: string;
  /** An action that ends it is under way: it takes no new work from now on. */
  readonly ending: boolean;
  readonly hold: string | null;
  /** It is about to leave; null: it is not. */
  readonly leaving: Leaving | null;
  readonly warnings: readonly string[];
}

const layer = (status: LayerHealth['status'], reason: string | null, at: number | null): LayerHealth => ({
  status,
  reason: status === 'pass' ? null : reason,
  checkedAt: at === null ? null : toTime(at),
});

/** Probe results and thresholds to the document that people and machines read. Pure: the same facts give the same answer. */
export function assessInstance(input: InstanceAssessment): InstanceDocument {
  const { instance, config, tcpPort, advertiseHost } = input;
  const incarnation = input.incarnation.known ? input.incarnation.value : null;
  const { runtime, functional } = input.health;
  const serving = input.installation.status === 'pass' && runtime.status === 'pass' && functional.status === 'pass';
  const ready =
    serving &&
    !instance.cordoned &&
    input.leaving === null &&
    instance.quarantined === null &&
    !input.ending &&
    !input.verdicts.some((verdict) => verdict.blocksReady);
  const host = tcpPort === null ? null : advertiseHost;
  const authority = host?.includes(':') ? `[${host}]` : host;
  const warnings = [...input.warnings, ...probeWarnings(input)];
  return {
    gpu: instance.gpu,
    uuid: instance.uuid,
    gpuName: instance.gpuName,
    name: instance.name,
    status: instanceStatus(input, serving, warnings),
    ready,
    url: tcpPort === null ? null : `http://${authority}:${tcpPort}`,
    wsUrl: tcpPort === null ? null : `ws://${authority}:${tcpPort}/ws`,
    host,
    port: tcpPort,
    pid: incarnation?.pid ?? (input.incarnation.known ? null : pm2Pid(input.process)),
    startedAt: incarnation?.startedAt ?? null,
    release: input.process.known ? (input.process.value?.release ?? input.release) : input.release,
    layers: { installation: input.installation, runtime, functional, models: input.models },
    restarts: { total: input.restarts.total, inWindow: input.restarts.inWindow, lastReason: input.restarts.lastReason },
    cordoned: instance.cordoned,
    hold: input.hold,
    queue: queueOf(input.probes.get('http')),
    warnings: config.comfyui.enabled ? warnings : [],
    verdicts: config.comfyui.enabled ? [...input.verdicts] : [],
  };
}

/** Of a process that cannot be looked at: what PM2 calls its own is still there. */
const pm2Pid = (process: HealthFacts['process']): number | null => (process.known ? (process.value?.pid ?? null) : null);

type Phase = 'none' | 'starting' | 'up' | 'failing' | 'unknown';

interface Runtime {
  readonly layer: LayerHealth;
  readonly phase: Phase;
}

export interface InstanceHealth {
  readonly runtime: LayerHealth;
  readonly functional: LayerHealth;
  readonly phase: Phase;
}

/** Whether it runs, and whether it works. What it is told to do besides (drain, rollout, hold) does not count here. */
export function judgeHealth(facts: HealthFacts): InstanceHealth {
  const { layer: runtime, phase } = withVerdicts(assessRuntime(facts), facts);
  return { runtime, functional: functionalVerdict(facts) ?? assessFunctional(facts, runtime), phase };
}

/** On its way up: it cannot do its work yet, and nothing is wrong with it. */
export const isComingUp = ({ phase, functional }: InstanceHealth): boolean =>
  phase === 'starting' || (phase === 'up' && functional.status === 'unknown');

/** Faults that a process can have while it answers. All others are of the process itself, its port or its card. */
const FUNCTIONAL: ReadonlySet<FaultKind> = new Set(['worker-dead', 'job-without-progress', 'cuda-error', 'job-out-of-memory']);

/** A layer that seems to be in order is not while a verdict says so. */
function withVerdicts(runtime: Runtime, input: HealthFacts): Runtime {
  // A crash loop is about processes that are gone, not about the one that is tried now.
  const verdict = input.verdicts.find(({ blocksReady, fault }) => blocksReady && fault !== 'crash-loop' && !FUNCTIONAL.has(fault));
  if (verdict === undefined || (runtime.phase !== 'up' && runtime.phase !== 'failing')) return runtime;
  return { phase: 'failing', layer: layer('fail', verdict.reason, input.now) };
}

function functionalVerdict(input: HealthFacts): LayerHealth | null {
  const verdict = input.verdicts.find(({ blocksReady, fault }) => blocksReady && FUNCTIONAL.has(fault));
  return verdict === undefined ? null : layer('fail', verdict.reason, input.now);
}

/** Process, then port, then HTTP: the first that does not hold is the reason. */
export function assessRuntime(input: HealthFacts): Runtime {
  const { config, process: seen, probes, now, restarts } = input;
  const fail = (phase: Phase, reason: string, at = now): Runtime => ({ phase, layer: layer('fail', reason, at) });
  const cannotTell = (reason: string, at: number | null): Runtime => ({ phase: 'unknown', layer: layer('unknown', reason, at) });

  // What runs is seen without PM2 too.
  const isSeen = input.incarnation.known && input.incarnation.value !== null;
  if (!seen.known && !isSeen) return cannotTell(`PM2 cannot be asked: ${seen.reason}`, now);
  const process = seen.known ? seen.value : null;
  const lastEnd = restarts.lastReason === null ? '' : `; it ended with ${restarts.lastReason}`;
  const incarnation = input.incarnation.known ? input.incarnation.value : null;
  const rest = isKeptDown(input);
  if (rest !== null) return fail('failing', rest);
  if (input.acting && input.incarnation.known && incarnation === null) {
    const isLeaving = input.instance.draining || input.instance.desired === 'stopped';
    return fail('starting', isLeaving ? 'is being stopped' : 'is being started');
  }
  if (process === null && !isSeen) return fail('none', `no process: it was not started yet${lastEnd}`);
  if (process?.status === 'stopped' && !isSeen) return fail('none', `the process is stopped${lastEnd}`);
  // It has been asked to end and is still there: a ComfyUI takes its time.
  if (process?.status === 'stopping') return fail('starting', 'is being stopped');
  if (process?.status === 'errored') return fail('failing', `PM2 gave up starting it${lastEnd}; see \`agent logs ${input.instance.gpu}\``);
  if (!input.incarnation.known) return cannotTell(`its process cannot be seen: ${input.incarnation.reason}`, now);
  if (incarnation === null) return fail('failing', `there is no process${lastEnd}; PM2 starts it again`);

  const http = probes.get('http');
  const port = probes.get('port');
  if (http === undefined || !http.everPassed) {
    const since = Math.max(Date.parse(incarnation.startedAt), input.lastLogAt ?? 0);
    if (port?.latest.outcome === 'fail' && port.latest.facts?.['stranger'] === true)
      return fail('failing', port.latest.reason ?? 'another process answers on its port');
    if (now - since > config.health.startupNoProgressMs) {
      return fail(
        'failing',
        `starting without progress for ${Math.round((now - since) / 1_000)} s; see \`agent logs ${input.instance.gpu}\``,
      );
    }
    return fail('starting', `starting for ${Math.max(0, Math.round((now - Date.parse(incarnation.startedAt)) / 1_000))} s`);
  }
  if (port === undefined) return fail('starting', 'answers HTTP; whose port it is is being looked up');
  if (port.latest.outcome === 'fail') return fail('failing', port.latest.reason ?? 'its port is not its own', port.latest.at);
  if (http.latest.outcome === 'unknown') return cannotTell(http.latest.reason ?? 'HTTP could not be asked', http.latest.at);
  if (http.latest.outcome === 'fail') {
    const threshold = config.health.http.failureThreshold;
    if (http.consecutiveFailures >= threshold) return fail('failing', http.latest.reason ?? 'no HTTP answer', http.latest.at);
  }
  const passes = comesBack(http, config.health.http);
  if (passes !== null) return fail('starting', `answers HTTP again, ${passes}`, http.latest.at);
  return { phase: 'up', layer: layer('pass', null, http.latest.at) };
}

/** Whatever PM2 makes of it meanwhile: until its pause or its quarantine is over it is not on its way up. */
function isKeptDown({ instance, restarts, config }: HealthFacts): string | null {
  if (instance.desired === 'stopped' || instance.draining) return null;
  const { quarantined, quarantine } = instance;
  if (quarantined !== null) return (quarantine?.trialAt ?? null) === null ? `quarantined: ${quarantined}` : null;
  return restarts.backOffUntil === null ? null : describeExits(restarts.inWindow, config.health.restartWindowMs, restarts.lastReason);
}

/** After a gate was shut it takes as many passes as asked to open it; null: it is open. */
function comesBack(record: ProbeRecord, gate: Config['health']['http']): string | null {
  const { consecutivePasses, failuresBefore, latest } = record;
  const wasShut = failuresBefore >= gate.failureThreshold;
  if (latest.outcome !== 'pass' || !wasShut || consecutivePasses >= gate.successThreshold) return null;
  return `${consecutivePasses} of ${gate.successThreshold} times in a row`;
}

/** What the instance can do, as opposed to being there: the canary of this incarnation. */
function assessFunctional(input: HealthFacts, runtime: LayerHealth): LayerHealth {
  const canary = input.probes.get('canary')?.latest;
  if (!input.config.health.canary.enabled)
    return runtime.status === 'pass' ? runtime : layer('unknown', 'waits for the runtime layer', null);
  if (canary === undefined) return layer('unknown', runtime.status === 'pass' ? whyNoCanary(input) : 'waits for the runtime layer', null);
  // What a process could do says nothing once it does not answer any more.
  if (runtime.status !== 'pass' && canary.outcome === 'pass') return layer('unknown', 'waits for the runtime layer', canary.at);
  return layer(canary.outcome, canary.reason, canary.at);
}

/** A canary never waits in line with jobs, which would make theirs slower. */
function whyNoCanary({ probes }: HealthFacts): string {
  const queue = queueOf(probes.get('http'));
  const jobs = queue === null ? 0 : queue.running + queue.pending;
  return jobs === 0
    ? 'the canary has not run yet'
    : `the canary waits for an empty queue (${jobs === 1 ? '1 job' : `${jobs} jobs`} there now)`;
}

function instanceStatus(input: InstanceAssessment, serving: boolean, warnings: readonly string[]): InstanceStatus {
  const { instance, config, health } = input;
  const { phase } = health;
  if (!config.comfyui.enabled) return 'disabled';
  if (instance.quarantined !== null) return 'quarantined';
  const present = phase !== 'none';
  if (instance.desired === 'stopped') return present ? 'draining' : 'stopped';
  if (instance.draining) return present ? 'draining' : 'stopped';
  if (input.leaving?.why === 'rollout' && present) return 'draining';
  if (input.installing && !present) return 'installing';
  if (phase === 'unknown') return 'unknown';
  if (serving && (input.ending || input.leaving !== null || input.verdicts.some((verdict) => verdict.blocksReady))) return 'draining';
  if (serving) return input.models.status === 'fail' || warnings.length > 0 || input.verdicts.length > 0 ? 'degraded' : 'healthy';
  if (isComingUp(health) || (phase === 'none' && input.hold === null)) return 'starting';
  return 'unhealthy';
}

function probeWarnings(input: InstanceAssessment): string[] {
  const nodes = input.probes.get('nodes')?.latest;
  return nodes?.outcome === 'fail' && nodes.reason !== null ? [nodes.reason] : [];
}

function queueOf(http: ProbeRecord | undefined): InstanceDocument['queue'] {
  const facts = http?.latest.facts;
  const running = facts?.['running'];
  const pending = facts?.['pending'];
  return typeof running === 'number' && typeof pending === 'number' ? { running, pending } : null;
}

/** Adds one result to what is kept; a result of another incarnation starts afresh. */
export function recordResult(before: ProbeRecord | undefined, result: ProbeResult): ProbeRecord {
  const same = before !== undefined && before.latest.incarnation === result.incarnation;
  return {
    latest: result,
    consecutiveFailures:
      result.outcome === 'fail'
        ? (same ? before.consecutiveFailures : 0) + 1
        : result.outcome === 'unknown' && same
          ? before.consecutiveFailures
          : 0,
    consecutivePasses: result.outcome === 'pass' ? (same ? before.consecutivePasses : 0) + 1 : 0,
    failuresBefore: !same
      ? 0
      : result.outcome === 'pass' && before.latest.outcome === 'fail'
        ? before.consecutiveFailures
        : before.failuresBefore,
    everPassed: result.outcome === 'pass' || (same && before.everPassed),
    since: same && before.latest.outcome === result.outcome ? before.since : result.at,
  };
}

/** Results of the present incarnation only: what an earlier process did proves nothing. */
export function currentRecords(
  records: ReadonlyMap<string, ProbeRecord>,
  incarnation: Incarnation | null,
): ReadonlyMap<string, ProbeRecord> {
  if (incarnation === null) return new Map();
  const key = incarnationKey(incarnation);
  return new Map([...records].filter(([, record]) => record.latest.incarnation === key));
}
