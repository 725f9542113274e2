import { chmod, mkdir, readFile, writeFile } from 'node:fs/promises';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createShell } from '../../../src/adapters/shell/shell.ts';
import type { Shell } from '../../../src/ports/shell.ts';
import { createFakeShell } from '../../fakes/shell.ts';
import { eventually } from '../../support/eventually.ts';
import { createGate } from '../../support/gate.ts';
import { type TempRoot, tempRoot } from '../../support/temp-root.ts';

const PATH = '/usr/local/bin:/usr/bin:/bin';
const real = (): Shell => createShell({ path: PATH });

/** A script whose output and exit code both shells agree on. */
const fake = (): Shell => {
  const { shell, onRun, onSpawn } = createFakeShell();
  onRun(({ args }) => ({ exitCode: Number(/exit (\d+)/.exec(args[1] ?? '')?.[1] ?? 0), stdout: 'out\n', tail: 'out\n' }));
  onSpawn((child) => child.line('ready'));
  return shell;
};

describe.each([
  ['fake', fake],
  ['real', real],
] as const)('Shell, %s', (_name, open) => {
  it('an exit code is a value', async () => {
    const shell = open();
    expect(await shell.run('sh', ['-c', 'echo out; exit 0'])).toMatchObject({
      exitCode: 0,
      signal: null,
      timedOut: false,
      stdout: 'out\n',
    });
    expect(await shell.run('sh', ['-c', 'echo out; exit 3'])).toMatchObject({ exitCode: 3, signal: null, timedOut: false, tail: 'out\n' });
  });

  it('does not start what was interrupted before', async () => {
    const run = open().run('sh', ['-c', 'echo out; exit 0'], { signal: AbortSignal.abort() });
    await expect(run).rejects.toMatchObject({ name: 'AgentError', code: 'INTERRUPTED' });
  });

  it('a spawned program runs on until it is ended', async () => {
    const ready = createGate();
    // No shell: one that is just starting a program may lose a SIGINT.
    const child = open().spawn(process.execPath, ['-e', `console.log('ready'); setInterval(() => {}, 1_000)`], {
      onLine: (line) => line === 'ready' && ready.open(),
    });
    await ready.passed();
    expect(child.pid).toBeGreaterThan(1);
    const result = await child.end(5_000);
    expect(result).toMatchObject({ exitCode: null, signal: 'SIGINT', timedOut: false });
    expect(await child.finished).toEqual(result);
    expect(await child.end(5_000)).toEqual(result);
  });

  it('a signal ends a spawned program', async () => {
    const ready = createGate();
    const stop = new AbortController();
    const child = open().spawn('sh', ['-c', 'echo ready; sleep 60'], { signal: stop.signal, onLine: () => ready.open() });
    await ready.passed();
    stop.abort();
    expect(await child.finished).toMatchObject({ exitCode: null, signal: expect.stringMatching(/^SIG(INT|TERM)$/), timedOut: false });
  });

  it('finds a program by name, absolute', async () => {
    expect(await open().which('sh')).toMatch(/^\/.*\/sh$/);
  });
});

describe('commands on this machine', () => {
  const shell = real();
  let root: TempRoot;
  beforeEach(async () => {
    root = await tempRoot();
  });
  afterEach(() => root.remove());
  const sh = (script: string, options = {}) => shell.run('/bin/sh', ['-c', script], options);

  const isAlive = (pid: number): boolean => {
    try {
      process.kill(pid, 0);
      return true;
    } catch {
      return false;
    }
  };
  /** A zombie that nobody has waited for yet counts as ended. */
  const isGone = async (pid: number): Promise<boolean> => {
    if (!isAlive(pid)) return true;
    const status = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => ') Z');
    return status.slice(status.lastIndexOf(')') + 2).startsWith('Z');
  };

  it('gives a child its whole environment, or a small one, and never ours', async () => {
    expect((await shell.run('/usr/bin/env', [], { environment: { ONLY: 'this', EMPTY: '' } })).stdout.split('\n').toSorted()).toEqual([
      '',
      'EMPTY=',
      'ONLY=this',
    ]);
    const names = (await shell.run('env', [])).stdout.split('\n').map((line) => line.split('=')[0]);
    expect(names.toSorted()).toEqual(['', 'HOME', 'LANG', 'PATH']);
  });

  it('passes arguments as they are, runs where asked, feeds input', async () => {
    const args = ['a b', '$HOME', '`id`', "'", '*', ''];
    expect((await shell.run('printf', ['%s\\n', ...args])).stdout).toBe(args.map((arg) => `${arg}\n`).join(''));
    expect((await shell.run('pwd', [], { cwd: root.path })).stdout).toBe(`${root.path}\n`);
    expect((await shell.run('cat', [], { input: 'fed\n' })).stdout).toBe('fed\n');
    expect((await sh('cat')).stdout).toBe('');
    expect((await shell.run('true', [], { input: 'x'.repeat(1_000_000) })).exitCode).toBe(0);
  });

  it('says plainly why a program could not be started, without its arguments', async () => {
    await writeFile(root.at('not-a-program'), '#!/bin/sh\n');
    const failures = await Promise.all(
      [
        shell.run('no-such-program', ['hunter2']),
        shell.run(root.at('not-a-program'), ['hunter2']),
        shell.run('true', ['hunter2'], { cwd: root.at('none') }),
        shell.run('true', ['hunter2\0']),
        shell.spawn('no-such-program', ['hunter2']).finished,
        shell.spawn('no-such-program', ['hunter2']).end(10),
      ].map((run) => run.catch((error: unknown) => error)),
    );
    expect(failures).toMatchObject([
      { code: 'COMMAND_FAILED', message: 'no-such-program could not be started: it was not found' },
      { code: 'COMMAND_FAILED', message: `${root.at('not-a-program')} could not be started: it may not be run` },
      { code: 'COMMAND_FAILED', message: `true could not be started: the directory ${root.at('none')} does not exist` },
      { code: 'COMMAND_FAILED', message: 'true could not be started: its arguments or environment are not valid' },
      { code: 'COMMAND_FAILED' },
      { code: 'COMMAND_FAILED' },
    ]);
    expect(failures.map(String).join()).not.toContain('hunter2');
  });

  it('hands on the lines of both streams; a carriage return ends one too', async () => {
    const seen: string[] = [];
    await sh(`printf '10%%\\r20%%\\r\\n'; printf 'two\\n\\nthree' ; printf 'w\\303'; sleep 0.05; printf '\\244\\n'; echo err >&2`, {
      onLine: (line: string, stream: string) => seen.push(`${stream}: ${line}`),
    });
    expect(seen.filter((line) => line.startsWith('stdout'))).toEqual(['stdout: 10%', 'stdout: 20%', 'stdout: two', 'stdout: threewä']);
    expect(seen.filter((line) => line.startsWith('stderr'))).toEqual(['stderr: err']);
  });

  it('cuts a line that never ends, and goes on after it', async () => {
    const seen: string[] = [];
    await sh(`head -c 300000 /dev/zero | tr '\\0' x; echo; echo next`, { onLine: (line: string) => seen.push(line) });
    expect(seen.map((line) => line.length)).toEqual([64 * 1024, 4]);
  });

  it('keeps the first of stdout up to the limit, and the last 16 KiB of both', async () => {
    const result = await sh(`seq 1 20000; sleep 0.1; echo problem >&2`, { maxOutputBytes: 10 });
    expect(result.stdout).toBe('1\n2\n3\n4\n5\n');
    expect(Buffer.byteLength(result.tail)).toBe(16 * 1024);
    expect(result.tail.endsWith('19999\n20000\nproblem\n')).toBe(true);
    expect((await sh('seq 1 3; echo late >&2')).tail).toMatch(/1\n2\n3\n/);
  });

  it('ends the whole tree when the time is over, children that ignore it too', async () => {
    const pids: number[] = [];
    const result = await sh(`(trap '' TERM; echo $$; sh -c 'trap "" TERM; echo $$; sleep 60') & echo $!; sleep 60`, {
      timeoutMs: 500,
      onLine: (line: string) => pids.push(Number(line)),
    });
    expect(result).toMatchObject({ exitCode: null, timedOut: true, signal: 'SIGTERM' });
    expect(pids).toHaveLength(3);
    for (const pid of pids) await eventually(`${pid} is gone`, () => isGone(pid));
  });

  it('kills what does not heed the first signal', async () => {
    const ready = createGate();
    const child = shell.spawn('/bin/sh', ['-c', `trap '' INT TERM; echo ready; while :; do sleep 0.2; done`], {
      onLine: () => ready.open(),
    });
    await ready.passed();
    const result = await child.end(100);
    expect(result).toMatchObject({ exitCode: null, signal: 'SIGKILL', timedOut: false });
    await eventually('it is gone', () => isGone(child.pid));
  });

  it('lets a program end in its own way', async () => {
    const ready = createGate();
    const child = shell.spawn('/bin/sh', ['-c', `trap 'echo saved; exit 7' INT; echo ready; while :; do sleep 0.05; done`], {
      onLine: () => ready.open(),
    });
    await ready.passed();
    expect(await child.end(20_000)).toMatchObject({ exitCode: 7, stdout: 'ready\nsaved\n' });
  });

  it('ends what is silent for too long, not what talks', async () => {
    expect(await sh('echo begin; sleep 60', { silenceMs: 200 })).toMatchObject({ timedOut: true, stdout: 'begin\n' });
    const talking = await sh('for i in 1 2 3 4 5 6 7 8 9 10; do echo $i; sleep 0.1; done', { silenceMs: 3_000, timeoutMs: 30_000 });
    expect(talking).toMatchObject({ timedOut: false, exitCode: 0 });
    expect(talking.durationMs).toBeGreaterThan(900);
  });

  it('does not wait for what a program leaves behind with its pipes, and ends it', async () => {
    const { stdout, exitCode, timedOut } = await sh('sleep 60 & echo $!', { timeoutMs: 30_000 });
    expect({ exitCode, timedOut }).toEqual({ exitCode: 0, timedOut: false });
    await eventually('the sleep is gone', () => isGone(Number(stdout)));
    const quiet = await sh('sleep 60 >/dev/null 2>&1 & echo $!', { timeoutMs: 30_000 });
    await eventually('the quiet sleep is gone', () => isGone(Number(quiet.stdout)));
  });

  it('waits for the last words of a pipe', async () => {
    expect((await sh('(sleep 0.2; echo late) & exit 0')).stdout).toBe('late\n');
  });

  it('does not wait for a pipe that left the group either', async () => {
    const { stdout, exitCode } = await sh('setsid sleep 60 & echo $!', { timeoutMs: 30_000 });
    const pid = Number(stdout);
    try {
      expect(exitCode).toBe(0);
      expect(await isGone(pid)).toBe(false);
    } finally {
      process.kill(pid, 'SIGKILL');
    }
  });

  it('tells the signal of a program that was killed by it', async () => {
    expect(await sh('kill -9 $$')).toMatchObject({ exitCode: null, signal: 'SIGKILL', timedOut: false });
  });

  it('looks programs up on the given PATH only: files that may be run, never below the working directory', async () => {
    await mkdir(root.at('bin', 'directory'), { recursive: true });
    await writeFile(root.at('bin', 'tool'), '#!/bin/sh\n');
    const own = createShell({ path: `:relative:${root.at('bin')}` });
    expect(await own.which('tool')).toBeNull();
    await chmod(root.at('bin', 'tool'), 0o755);
    expect(await own.which('tool')).toBe(root.at('bin', 'tool'));
    expect(await own.which(root.at('bin', 'tool'))).toBe(root.at('bin', 'tool'));
    expect(await own.which('directory')).toBeNull();
    expect(await own.which('sh')).toBeNull();
    expect(await own.which('package.json')).toBeNull();
  });
});

describe('what goes in at standard input, real', () => {
  it('is a text or a file', async () => {
    const root = await tempRoot();
    const file = `${root.path}/input`;
    await writeFile(file, 'from a file\n');
    expect(await real().run('cat', [], { inputFile: file })).toMatchObject({ exitCode: 0, stdout: 'from a file\n' });
    expect(await real().run('cat', [], { input: 'a text\n' })).toMatchObject({ exitCode: 0, stdout: 'a text\n' });
    await root.remove();
  });
});

it('what a command has put into a session of its own ends with it, forked twice', async () => {
  const daemons = createShell({ path: PATH, endsDaemons: true });
  const script = `
import os, time
if os.fork() == 0:
    os.setsid()
    pid = os.fork()
    if pid == 0:
        os.closerange(0, 64)
        time.sleep(1000)
    print(pid, flush=True)
    os._exit(0)
os.wait()
`;
  const { stdout } = await daemons.run('python3', ['-c', script]);
  expect(Number(stdout)).toBeGreaterThan(1);
  // Gone, or waiting to be reaped by whoever is the parent of orphans here.
  const state = await readFile(`/proc/${Number(stdout)}/stat`, 'utf8').catch(() => ') Z');
  expect(state.slice(state.lastIndexOf(')') + 2, state.lastIndexOf(')') + 3)).toBe('Z');
});
