import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { baseEnvironment, newRoot, startAgent, stopAgents, type TestAgent } from '../../support/agent/agent.ts';
import { attempt, editConfig, healthOf, pidsOf, replaceFile, untilHealthy, untilHeld } from '../../support/agent/scene.ts';
import { eventually } from '../../support/eventually.ts';

/** Nothing of the configuration is guessed: a bad one is refused with every problem, and a running agent keeps the last good one. */

describe('a bad configuration at start', () => {
  afterEach(stopAgents);

  const start = async (yaml: string, environment: Record<string, string> = {}, args: readonly string[] = []) => {
    const root = await newRoot();
    await writeFile(join(root, 'agent.yaml'), yaml);
    return { root, ...(await attempt(root, { ...baseEnvironment(), ...environment }, ['run', ...args])) };
  };

  it('names every unknown key and wrong value with file, line and what is allowed', async () => {
    const { root, code, stderr } = await start('gpu:\n  mode: fast\nportz:\n  first: 1\nhealth:\n  minReady: lots\n');
    expect(code).toBe(2);
    expect(stderr).toMatch(/^error\[CONFIG_INVALID\]: /);
    expect(stderr).toContain(`${root}/agent.yaml:2: gpu.mode: found "fast"; allowed: `);
    expect(stderr).toMatch(new RegExp(`${root}/agent\\.yaml:3: .*portz.*ports`));
    expect(stderr).toContain(`${root}/agent.yaml:6: health.minReady: found "lots"; allowed: `);
    expect(stderr).toMatch(/^help: correct the named key; `agent config check` shows all problems$/m);
  });

  it('names the line where YAML stops being YAML', async () => {
    const { root, code, stderr } = await start('gpu:\n  mode: mock\n comfyui: [\n');
    expect(code).toBe(2);
    expect(stderr).toMatch(new RegExp(`^error\\[CONFIG_INVALID\\]: ${root}/agent\\.yaml:\\d`));
    expect(stderr).toMatch(/^help: \S/m);
  });

  it('says so when the named file does not exist', async () => {
    const { root, code, stderr } = await start('', {}, ['--config', '/nonexistent/agent.yaml']);
    expect({ root, code }).toMatchObject({ code: 2 });
    expect(stderr).toBe('error[CONFIG_NOT_FOUND]: /nonexistent/agent.yaml does not exist\nhelp: check --config and AGENT_CONFIG\n');
  });

  it.each([
    ['from the environment', '', { COMFYUI_PORT_START: '70000' }, /COMFYUI_PORT_START: ports\.first: found "70000"; allowed: .*65535/],
    [
      'too high for all cards',
      'gpu: {mode: mock, mockCount: 2}\nports: {first: 65535}\n',
      {},
      /agent\.yaml:2: ports\.first: found 65535; with 2 GPUs the last port would be 65536/,
    ],
    [
      'that is the agent\u2019s own',
      'gpu: {mode: mock, mockCount: 4}\nports: {first: 9088}\n',
      {},
      /api\.port: found 9090, which is the port of GPU 2; choose another/,
    ],
  ])('refuses a port %s', async (_, yaml, environment, message) => {
    const { code, stderr } = await start(yaml, environment as Record<string, string>);
    expect(code).toBe(2);
    expect(stderr).toMatch(/^error\[CONFIG_INVALID\]: /);
    expect(stderr).toMatch(message);
    expect(stderr).toMatch(/^help: \S/m);
  });

  it('gives the same as a document with --json', async () => {
    const { root, code, stdout } = await start('gpu:\n  mode: fast\n', {}, ['--json']);
    expect(code).toBe(2);
    const { error } = JSON.parse(stdout) as { error: { code: string; message: string; help: string; retryable: boolean } };
    expect(error).toMatchObject({ code: 'CONFIG_INVALID', retryable: false });
    expect(error.message).toContain(`${root}/agent.yaml:2: gpu.mode`);
    expect(error.help).not.toBe('');
  });
});

describe('a bad edit under a running agent', () => {
  let agent: TestAgent;
  let pids: readonly (number | null)[];
  beforeAll(async () => {
    agent = await startAgent({ gpus: 2 });
    await agent.untilReady([0, 1]);
    pids = await pidsOf(agent);
    expect(pids).not.toContain(null);
  });
  afterEach(async () => {
    // What was bad is good again, and nothing that ran noticed any of it.
    await untilHealthy(agent);
    expect(await pidsOf(agent)).toEqual(pids);
  });
  afterAll(stopAgents);

  /** The problem as health tells it, once there is one. */
  const untilProblem = (part: string | RegExp): Promise<string> =>
    eventually('the problem is told', async () => {
      const { configuration, status } = await healthOf(agent);
      if (configuration.ok || configuration.problem === null) throw new Error(JSON.stringify(configuration));
      expect(configuration.problem).toMatch(part);
      expect(status).toBe('degraded');
      return configuration.problem;
    });

  it('keeps the last good configuration, says so everywhere, and heals', async () => {
    const good = await editConfig(agent.root, { portz: 1, gpu: { mode: 'fast' } });
    const problem = await untilProblem(/agent\.yaml:\d+: /);
    const hold = await untilHeld(agent, 'configuration', 'CONFIG_INVALID');
    expect(hold.reason).toBe(problem);
    expect(hold.help).toContain('the last good configuration stays in force');
    const status = await agent.cli('status');
    expect(status.code).toBe(0);
    expect(status.stdout).toContain(problem);
    expect(status.stdout).toContain('2/2');
    expect((await agent.get('/health')).body).toMatchObject({ status: 'ok', configuration: { ok: false, problem } });
    // All of them, not only the first.
    const check = await agent.cli('config', 'check');
    expect(check.code).toBe(2);
    expect(check.stdout).toContain('portz');
    expect(check.stdout).toContain('gpu.mode');
    await replaceFile(join(agent.root, 'agent.yaml'), good);
  });

  it('keeps it while the file is no YAML', async () => {
    const good = await editConfig(agent.root, {});
    await replaceFile(join(agent.root, 'agent.yaml'), 'gpu: [unclosed\n');
    await untilProblem(/agent\.yaml:\d/);
    await replaceFile(join(agent.root, 'agent.yaml'), good);
  });

  it('refuses ports that are out of range', async () => {
    const good = await editConfig(agent.root, { ports: { first: 65_535 } });
    await untilProblem(/ports\.first: found 65535; with 2 GPUs the last port would be 65536/);
    await replaceFile(join(agent.root, 'agent.yaml'), good);
  });

  it('says which keys wait for a restart of the agent', async () => {
    const good = await editConfig(agent.root, { api: { host: '0.0.0.0' } });
    await untilProblem(/api\.host can only be changed by restarting the agent/);
    await replaceFile(join(agent.root, 'agent.yaml'), good);
  });

  it.each([
    ['is no JSON', '{"custom_nodes": [\n  {"name": "a",}\n]}', /config_nodes\.json:2:\d+: /, /\S/],
    [
      'has a pack without url',
      '{"custom_nodes": [\n  {"name": "Broken", "requirements": true}\n]}',
      /config_nodes\.json:2: pack Broken: it has no url/,
      /write "url": "https:/,
    ],
    [
      'has a misspelt key',
      '{"custom_nodes": [\n\n  {"name": "Broken", "url": "https://127.0.0.1:9/a/b", "requirments": true}\n]}',
      /config_nodes\.json:3: pack Broken: there is no key "requirments"/,
      /did you mean "requirements"\?/,
    ],
    [
      'names a pack twice',
      '{"custom_nodes": [\n  {"name": "Twin", "url": "https://127.0.0.1:9/a/b"},\n  {"name": "Twin", "url": "https://127.0.0.1:9/a/c"}\n]}',
      /config_nodes\.json:3: pack Twin: the name stands twice, in lines 2 and 3/,
      /remove one of them/,
    ],
  ])('keeps the node packs when config_nodes.json %s', async (_, text, message, fix) => {
    const path = join(agent.root, 'shared/config_nodes.json');
    await replaceFile(path, text);
    const problem = await untilProblem(message);
    const hold = await untilHeld(agent, 'configuration', 'CONFIG_NODES_INVALID');
    expect(hold.reason).toBe(problem);
    expect(hold.help).toMatch(fix);
    const status = await agent.cli('status');
    expect(status.stdout).toContain(problem);
    expect(status.stdout).toMatch(fix);
    // Nothing is built from a file that is not understood.
    const install = await agent.cli('install');
    expect(install.code).toBe(2);
    expect(install.stderr).toContain('error[CONFIG_NODES_INVALID]: ');
    expect(install.stderr).toMatch(message);
    expect(install.stderr).toMatch(fix);
    await replaceFile(path, '{"custom_nodes": []}');
  });
});
