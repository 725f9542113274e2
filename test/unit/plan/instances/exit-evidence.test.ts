import { describe, expect, it } from 'vitest';
import type { MemoryCounters } from '../../../../src/domain/instances/memory-group.ts';
import { type ExitInput, judgeExit } from '../../../../src/plan/instances/exit-evidence.ts';

const counters = (change: Partial<MemoryCounters> = {}): MemoryCounters => ({
  group: '/sys/fs/cgroup/memory/box',
  version: 1,
  oomKills: 0,
  limitHits: 4,
  limitBytes: 256 * 1024 * 1024,
  ...change,
});
const exit = (change: Partial<ExitInput> = {}): ExitInput => ({
  at: 1_000,
  pid: 42,
  exitCode: null,
  signal: 'SIGKILL',
  requested: false,
  before: counters(),
  after: counters(),
  kernelLine: null,
  log: [],
  ...change,
});

describe('why a process ended', () => {
  it('the OOM killer, by what the cgroup counted', () => {
    expect(judgeExit(exit({ after: counters({ oomKills: 1, limitHits: 37 }) }))).toMatchObject({
      cause: 'out-of-memory-kill',
      reason:
        "killed by the kernel's OOM killer: oom_kill of /sys/fs/cgroup/memory/box rose from 0 to 1, its limit is 256 MiB, the limit was hit 33 times more",
    });
  });

  it('the OOM killer, by the kernel\u2019s own words', () => {
    const kernelLine = 'Out of memory: Killed process 42 (python3) total-vm:9kB';
    expect(judgeExit(exit({ before: null, after: null, kernelLine }))).toMatchObject({ cause: 'out-of-memory-kill', kernel: [kernelLine] });
  });

  it.each([
    ['a SIGKILL while nothing was counted', {}, 'process-exit', 'exit signal SIGKILL'],
    ['what was counted before is not known', { before: null, after: counters({ oomKills: 3 }) }, 'process-exit', 'exit signal SIGKILL'],
    [
      'the kernel counts no kills',
      { before: counters({ oomKills: null }), after: counters({ oomKills: null }) },
      'process-exit',
      'exit signal SIGKILL',
    ],
    [
      'another signal while another process was killed',
      { signal: 'SIGSEGV', after: counters({ oomKills: 1 }) },
      'process-exit',
      'exit signal SIGSEGV',
    ],
    ['a kill by ourselves', { requested: true, after: counters({ oomKills: 1 }) }, 'process-exit', 'exit signal SIGKILL'],
    ['a status', { signal: null, exitCode: 3 }, 'process-exit', 'exit code 3'],
    ['a clean end', { signal: null, exitCode: 0 }, 'clean-exit', 'exit code 0, though nobody asked it to end'],
    ['a clean end that was asked for', { signal: null, exitCode: 0, requested: true }, 'clean-exit', 'exit code 0'],
  ] as const)('%s', (_name, change, cause, reason) => {
    expect(judgeExit(exit(change))).toMatchObject({ cause, reason });
  });
});

describe('the line that matters', () => {
  const log = ['[agent] comfyui-gpu0 starts: pid 42', 'RuntimeError: no kernel image', 'Stopped server'];
  it.each([
    ['a status', { signal: null, exitCode: 1 }, 'exit code 1 (last line: RuntimeError: no kernel image)'],
    ['a clean end', { signal: null, exitCode: 0 }, 'exit code 0, though nobody asked it to end (last line: RuntimeError: no kernel image)'],
    ['a signal from outside', { signal: 'SIGTERM' }, 'exit signal SIGTERM'],
    ['an end that was asked for', { signal: null, exitCode: 0, requested: true }, 'exit code 0'],
    ['another incarnation', { signal: null, exitCode: 1, pid: 43, log: [...log, '[agent] comfyui-gpu0 starts: pid 43'] }, 'exit code 1'],
  ])('%s', (_name, change, reason) => expect(judgeExit(exit({ log, ...change })).reason).toBe(reason));
});

describe('its last words', () => {
  const starts = (pid: number) => `[agent] comfyui-gpu0 starts: pid ${pid}`;
  it.each([
    ['of this incarnation only', [starts(41), 'old', starts(42), 'a', 'b'], ['a', 'b']],
    ['not of the respawn that already writes', ['old', starts(42), 'a', starts(43), 'new'], ['a']],
    ['when its beginning is further up', ['a', 'b', starts(43), 'new'], ['a', 'b']],
    ['in a log that tells nothing apart', ['a', '', 'b'], ['a', 'b']],
    ['of one that wrote nothing', [starts(41), 'old', starts(42)], []],
  ])('%s', (_name, log, lines) => {
    expect(judgeExit(exit({ log })).lines).toEqual(lines);
  });

  it('are bounded', () => {
    const { lines } = judgeExit(exit({ log: Array.from({ length: 200 }, (_, index) => `${index} ${'x'.repeat(5_000)}`) }));
    expect(lines).toHaveLength(50);
    expect(lines[49]).toMatch(/^199 x+…$/);
    expect(Math.max(...lines.map((line) => line.length))).toBe(500);
  });
});
