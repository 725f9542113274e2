import { cannotTell, type Probe, pass } from './probe.ts';

/** A process that does not answer, or takes nothing from its queue, is looked at this often. */
const SUSPECT_MS = 2_000;
/** A job that runs for longer than this is watched, so that one that does nothing is known for what it is. */
const LONG_JOB_MS = 30_000;
const JOB_PERIOD_MS = 10_000;
/** Less of one core than this is nothing: a timer of some library. */
const QUIET_SHARE = 0.01;

/** Facts for the verdicts: does the process work, wait or stand still? Looked at only under suspicion. */
export const activityProbe: Probe = {
  name: 'activity',
  layer: 'runtime',
  dueIn: (history) => {
    const http = history.latest('http');
    if (http === undefined || !history.everPassed('http')) return null;
    const { waitingSince, headSince } = http.facts ?? {};
    const isSuspect = http.outcome === 'fail' || typeof waitingSince === 'number';
    const isLongJob = typeof headSince === 'number' && http.at - headSince > LONG_JOB_MS;
    if (!isSuspect && !isLongJob) return null;
    const last = history.latest('activity');
    const periodMs = isSuspect ? SUSPECT_MS : JOB_PERIOD_MS;
    return last === undefined ? 0 : Math.max(0, Math.min(periodMs, last.at + periodMs - http.at));
  },
  run: async (target, { kernel, clock }, _signal, history) => {
    const seen = await kernel.activity(target.pid);
    if (seen === null) return cannotTell('the process is gone');
    const { state, cpuMs, waitsForDisk } = seen;
    const at = clock.now();
    const last = history.latest('activity');
    const before = last?.facts ?? {};
    // Between looks that lie far apart anything may have been.
    const lastAt = last === undefined || at - last.at > 2 * JOB_PERIOD_MS ? null : last.at;
    const used = typeof before['cpuMs'] === 'number' ? Math.abs(cpuMs - before['cpuMs']) : Number.POSITIVE_INFINITY;
    const isQuiet = lastAt !== null && !waitsForDisk && used < QUIET_SHARE * Math.max(1, at - lastAt);
    const quietSince = !isQuiet ? null : typeof before['quietSince'] === 'number' ? before['quietSince'] : lastAt;
    return pass({ state, cpuMs, quietSince, share: lastAt === null ? null : used / Math.max(1, at - lastAt) });
  },
};
