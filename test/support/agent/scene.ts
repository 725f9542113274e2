/** What end-to-end tests do to a running agent from outside: edit its files, run refused commands, look at pids. */
import { spawn } from 'node:child_process';
import { mkdir, readFile, rename, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { parse, stringify } from 'yaml';
import type { HealthDocument } from '../../../src/domain/health/health.ts';
import type { Hold } from '../../../src/domain/hold.ts';
import type { InstanceDocument } from '../../../src/domain/instances/instance.ts';
import { eventually } from '../eventually.ts';
import { AGENT, type CliResult, type TestAgent } from './agent.ts';

export const isAlive = (pid: number | null): boolean => {
  try {
    process.kill(pid ?? 0, 0);
    return pid !== null;
  } catch {
    return false;
  }
};

/** Written beside and renamed, as editors and configuration managers do. */
export async function replaceFile(path: string, text: string): Promise<void> {
  await mkdir(dirname(path), { recursive: true });
  await writeFile(`${path}.new`, text);
  await rename(`${path}.new`, path);
}

type Sections = Readonly<Record<string, unknown>>;

/** Writes agent.yaml again with these keys of these sections changed; null removes a section. @returns the text before */
export async function editConfig(root: string, change: Sections): Promise<string> {
  const path = join(root, 'agent.yaml');
  const before = await readFile(path, 'utf8');
  const document = parse(before) as Record<string, unknown>;
  for (const [section, value] of Object.entries(change)) {
    if (value === null) delete document[section];
    else document[section] = typeof value === 'object' ? { ...(document[section] as Sections | undefined), ...value } : value;
  }
  await replaceFile(path, stringify(document));
  return before;
}

/** A command that is expected to end by itself; killed, and seen as code null, after the limit. */
export function attempt(root: string, environment: Readonly<Record<string, string>>, args: readonly string[]): Promise<CliResult> {
  return attemptWith([process.execPath, AGENT, ...args, '--root', root], environment);
}

export function attemptWith(
  command: readonly string[],
  environment: Readonly<Record<string, string>>,
  limitMs = 15_000,
): Promise<CliResult> {
  return new Promise((done, failed) => {
    const [file = '', ...args] = command;
    const child = spawn(file, args, { env: environment, stdio: ['ignore', 'pipe', 'pipe'], timeout: limitMs, killSignal: 'SIGKILL' });
    let stdout = '';
    let stderr = '';
    child.stdout.on('data', (chunk) => (stdout += String(chunk)));
    child.stderr.on('data', (chunk) => (stderr += String(chunk)));
    child.once('error', failed);
    child.once('close', (code) => done({ code, stdout, stderr }));
  });
}

export const healthOf = async (agent: TestAgent): Promise<HealthDocument> => (await agent.get('/health/comfyui')).body as HealthDocument;

export const pidsOf = async (agent: TestAgent): Promise<readonly (number | null)[]> =>
  (await healthOf(agent)).instances.map((instance) => instance.pid);

/** Waits for a hold of that target and code. */
export const untilHeld = (agent: TestAgent, target: string, code: string): Promise<Hold> =>
  eventually(`${target} is held with ${code}`, async () => {
    const { holds } = await healthOf(agent);
    const found = holds.find((hold) => hold.target === target && hold.code === code);
    if (found === undefined) throw new Error(`holds: ${JSON.stringify(holds)}`);
    return found;
  });

/** Waits until an instance is as described. */
export const untilInstance = (
  agent: TestAgent,
  gpu: number,
  what: string,
  isSo: (instance: InstanceDocument) => boolean,
  limitMs = 15_000,
): Promise<InstanceDocument> =>
  eventually(
    `instance ${gpu} is ${what}`,
    async () => {
      const instance = await agent.instance(gpu);
      if (isSo(instance)) return instance;
      throw new Error(`${JSON.stringify(instance)}\n${agent.output().slice(-4_000)}`);
    },
    limitMs,
  );

export const untilHealthy = (agent: TestAgent): Promise<HealthDocument> =>
  eventually(
    'the machine is healthy',
    async () => {
      const health = await healthOf(agent);
      if (health.status === 'healthy') return health;
      throw new Error(
        `${health.status}: ${JSON.stringify(health.reasons)} ${JSON.stringify(health.holds)}\n${agent.output().slice(-4_000)}`,
      );
    },
    30_000,
  );
