import { spawn } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, expect, it } from 'vitest';
import { AGENT, baseEnvironment, closeRoot, freePorts, newRoot, runCli } from '../../support/agent/agent.ts';
import { isAlive } from '../../support/agent/scene.ts';
import { eventually } from '../../support/eventually.ts';

let root: string;
afterEach(() => closeRoot(root));

/** A pager that is quit, a log collector that dies, a terminal that is closed. */
it('an agent goes on when nobody reads its output any more, and still ends its instances when it is asked to', async () => {
  root = await newRoot();
  const environment = {
    ...baseEnvironment(),
    SIM_STARTUP_MS: '300',
    MOCK_GPU: '1',
    NUM_GPUS: '1',
    COMFYUI_REPO: 'simulator:',
    AGENT_PORT: '0',
    COMFYUI_PORT_START: String(await freePorts(1)),
  };
  // head ends after the first line.
  const shell = spawn('bash', ['-c', '"$0" "$@" 2>&1 | head -n 1', process.execPath, AGENT, 'run', '--root', root], {
    env: environment,
    stdio: 'ignore',
  });
  const running = async () => JSON.parse(await readFile(join(root, 'run/agent.json'), 'utf8')) as { pid: number };
  const { pid } = await eventually('the agent runs', running, 20_000);
  const isReady = async () => (await runCli(root, environment, ['health', 'instance', '0'])).code === 0;
  await eventually('its instance is ready', isReady, 60_000);
  const instancePid = async () =>
    (JSON.parse((await runCli(root, environment, ['health', 'instance', '0', '--json'])).stdout) as { pid: number }).pid;
  const first = await instancePid();
  process.kill(first, 'SIGKILL');
  await eventually('it is back', async () => (await isReady()) && !isAlive(first), 30_000);
  expect(isAlive(pid)).toBe(true);
  const second = await instancePid();
  process.kill(pid, 'SIGTERM');
  await eventually('the agent ends', () => !isAlive(pid), 30_000);
  expect(isAlive(second)).toBe(false);
  shell.kill('SIGKILL');
});
