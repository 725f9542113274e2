import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { copyFileSync, readFileSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { promisify } from 'node:util';
import { linesOf, type MachineCards } from '../agent/cards.ts';
import { tempRoot } from '../temp-root.ts';
import { aSystemdMachine, type CommandResult, type SystemdMachine } from './machine.ts';

/** A machine under systemd whose agent is a single executable, and other executables to upgrade it to. */

const REPOSITORY = resolve(import.meta.dirname, '../../..');
const FLAG = '/root/stream';
export const TARGET = '/usr/local/bin/agent';
/** Of root, while an upgrade is under way; the next start of the agent takes away that of one which has proved itself. */
export const PENDING = '/var/lib/comfylet-upgrade/upgrade.json';

export interface UpgradeMachineOptions {
  /** Executables by what they call themselves, with more arguments for the bundle; the first one is installed. */
  readonly programs: Readonly<Record<string, readonly string[]>>;
  /** Default: two, by a fake driver. */
  readonly cards?: MachineCards;
  /** Lines for the agent's environment. */
  readonly environment?: string;
  /** Public key for signatures, PEM: inside the first one. */
  readonly key?: string;
  /** With the code that is compiled ahead, as a release has it: longer to build, sooner to start. */
  readonly compiled?: boolean;
}

export interface Stream {
  readonly done: number;
  readonly lost: readonly string[];
  /** Prompts that no instance took, which a worker gives to the next one. */
  readonly refused: number;
}

export interface UpgradeMachine {
  readonly machine: SystemdMachine;
  /** On this side of the machine; inside it lies in /root. */
  file(name: string): string;
  digest(name: string): string;
  /** `agent upgrade` to that program, as argv inside. */
  upgradeTo(name: string, ...args: readonly string[]): readonly string[];
  /** What the program at its place calls itself. */
  inPlace(): Promise<string>;
  /** What the agent that answers calls itself. */
  serving(): Promise<string>;
  /** Of all instances, once they are ready. */
  pids(): Promise<readonly (number | null)[]>;
  /** Prompts to all instances while `work` runs; `asks` for those that discovery calls ready, as a worker does. */
  underLoad<T>(work: () => Promise<T>, asks?: boolean, limitMs?: number): Promise<{ readonly result: T } & Stream>;
  close(): Promise<void>;
}

const run = promisify(execFile);

export async function anUpgradeMachine({
  programs,
  cards = { kind: 'fake driver', count: 2 },
  environment = 'SIM_STARTUP_MS=200',
  key,
  compiled = false,
}: UpgradeMachineOptions): Promise<UpgradeMachine> {
  const place = await tempRoot();
  const script = (name: string, ...args: readonly string[]) => run(process.execPath, [join(REPOSITORY, 'scripts', name), ...args]);
  const names = Object.keys(programs);
  const make = async (name: string, args: readonly string[]): Promise<void> => {
    const dist = place.at(`${name}-dist`);
    await script('build.ts', '--out', dist, '--agent-version', name, ...(compiled ? [] : ['--no-warm']), ...args);
    if (key !== undefined && name === names[0]) await writeFile(join(dist, 'assets/release-key.pem'), key);
    await script('build-binary.ts', '--dist', dist, '--out', place.at(name), ...(compiled ? [] : ['--no-code-cache']));
  };
  await Promise.all(Object.entries(programs).map(([name, args]) => make(name, args)));
  const digests = new Map(
    names.map((name) => [
      name,
      createHash('sha256')
        .update(readFileSync(place.at(name)))
        .digest('hex'),
    ]),
  );
  const machine = await aSystemdMachine({
    program: place.at(names[0] ?? ''),
    cards,
    files: { '/etc/comfylet/agent.env': `COMFYUI_REPO=simulator:\n${linesOf(cards)}${environment}\n` },
  });
  for (const name of names) copyFileSync(place.at(name), machine.at(`/root/${name}`));
  copyFileSync(join(REPOSITORY, 'test/support/agent/prompt-stream.py'), machine.at('/root/prompt-stream.py'));
  await machine.boot();
  const ports = (await machine.untilReady(cards.count)).map(({ port }) => String(port));
  const digest = (name: string): string => digests.get(name) ?? '';
  return {
    machine,
    file: (name) => place.at(name),
    digest,
    upgradeTo: (name, ...args) => [TARGET, 'upgrade', `/root/${name}`, '--sha256', digest(name), ...args],
    inPlace: async () => (await machine.must(TARGET, '--version')).trim().replace('comfylet ', ''),
    serving: async () => ((await machine.get('/v1/version')).body as { agent: string }).agent,
    pids: async () => (await machine.untilReady(cards.count)).map(({ pid }) => pid),
    underLoad: async (work, asks = false, limitMs = 150_000) => {
      await machine.write(FLAG, '');
      const command = ['python3', '/root/prompt-stream.py', ...(asks ? ['--ask', '/run/comfylet/instances.json'] : []), FLAG, ...ports];
      const stream: Promise<CommandResult> = machine.run(command, { limitMs });
      try {
        const result = await work();
        await machine.must('rm', FLAG);
        const { stdout, stderr } = await stream;
        if (stdout === '') throw new Error(stderr);
        return { result, ...(JSON.parse(stdout) as Stream) };
      } finally {
        await machine.run(['rm', '-f', FLAG]);
        await stream;
      }
    },
    close: async () => {
      await machine.close();
      await place.remove();
    },
  };
}
