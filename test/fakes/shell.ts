import { AgentError } from '../../src/domain/errors/errors.ts';
import type { CommandOptions, CommandResult, Shell } from '../../src/ports/shell.ts';

export interface FakeCommand {
  readonly file: string;
  readonly args: readonly string[];
  readonly options: CommandOptions;
}

/** A spawned program in the hands of the test. */
export interface FakeChild extends FakeCommand {
  readonly pid: number;
  line(text: string): void;
  /** It ends by itself. */
  exit(end?: Partial<CommandResult>): void;
}

export interface FakeShell {
  readonly shell: Shell;
  /** What `run` answers; default: exit code 0, no output. */
  onRun(answer: (command: FakeCommand) => Partial<CommandResult> | Promise<Partial<CommandResult>>): void;
  /** What a spawned program does. Default: nothing, until it is ended. */
  onSpawn(play: (child: FakeChild) => void): void;
  /** All programs run or spawned, in order. */
  readonly commands: readonly FakeCommand[];
  /** Spawned programs that have not ended. */
  readonly running: number;
  /** What the kernel does to them when the agent is killed. */
  endAll(): void;
}

const ended = (change: Partial<CommandResult> = {}): CommandResult => ({
  exitCode: 0,
  signal: null,
  timedOut: false,
  stdout: '',
  tail: '',
  durationMs: 1,
  ...change,
});

/** Above the kernel's largest pid. */
const FIRST_PID = 6_000_000;

/** Programs in memory. */
export function createFakeShell(onEnd: (child: FakeChild) => void = () => undefined): FakeShell {
  const commands: FakeCommand[] = [];
  let answer: (command: FakeCommand) => Partial<CommandResult> | Promise<Partial<CommandResult>> = () => ({});
  let play: (child: FakeChild) => void = () => undefined;
  let pid = FIRST_PID;
  const running = new Set<FakeChild>();
  return {
    commands,
    get running() {
      return running.size;
    },
    endAll: () => {
      for (const child of [...running]) child.exit({ exitCode: null, signal: 'SIGKILL' });
    },
    onRun: (next) => {
      answer = next;
    },
    onSpawn: (next) => {
      play = next;
    },
    shell: {
      run: async (file, args, options = {}) => {
        const command = { file, args, options };
        commands.push(command);
        if (options.signal?.aborted) throw new AgentError('INTERRUPTED', `${file} was not started: it was interrupted`);
        return ended(await answer(command));
      },
      spawn: (file, args, options = {}) => {
        const { promise, resolve } = Promise.withResolvers<CommandResult>();
        let over = false;
        const exit = (change: Partial<CommandResult> = {}): void => {
          if (over) return;
          over = true;
          running.delete(child);
          onEnd(child);
          resolve(ended(change));
        };
        const child: FakeChild = { file, args, options, pid: pid++, line: (text) => options.onLine?.(text, 'stdout'), exit };
        running.add(child);
        commands.push({ file, args, options });
        options.signal?.addEventListener('abort', () => exit({ exitCode: null, signal: 'SIGINT' }), { once: true });
        play(child);
        return {
          pid: child.pid,
          finished: promise,
          end: async () => {
            exit({ exitCode: null, signal: 'SIGINT' });
            return promise;
          },
        };
      },
      which: async (file) => `/usr/bin/${file}`,
    },
  };
}
