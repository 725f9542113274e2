import { spawnSync } from 'node:child_process';
import { ftruncateSync, mkdirSync, openSync, symlinkSync } from 'node:fs';
import { chmod, mkdir, readFile, stat, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { PlanDocument } from '../../../src/domain/action.ts';
import {
  ConfigDocument,
  GpusDocument,
  PortsDocument,
  ReleasesDocument,
  StatusDocument,
  VersionDocument,
} from '../../../src/domain/agent.ts';
import { ConfigCheckDocument } from '../../../src/domain/configuration/check.ts';
import { DoctorDocument } from '../../../src/domain/doctor/doctor.ts';
import { ErrorDocument } from '../../../src/domain/errors/document.ts';
import { HealthDocument, InstallationDocument, InstancesDocument, ModelsDocument } from '../../../src/domain/health/health.ts';
import type { Hold } from '../../../src/domain/hold.ts';
import { InstallPreview } from '../../../src/domain/installation/preview.ts';
import { DiscoveryDocument } from '../../../src/domain/instances/discovery.ts';
import { InstanceDocument } from '../../../src/domain/instances/instance.ts';
import { LogLine } from '../../../src/domain/journal.ts';
import { OperationDocument } from '../../../src/domain/operation.ts';
import { fakeAgent } from '../../fakes/agent.ts';
import { at } from '../../support/machine/builders.ts';
import { type CliLab, cliLab, runOn, testHost } from '../../support/machine/cli.ts';
import {
  aDeadInstance,
  aFail,
  aHealthDocument,
  aModelsDocument,
  anInstallationDocument,
  anInstanceDocument,
} from '../../support/machine/documents.ts';
import { aDoctorDocument, aStatusDocument, aVersionDocument } from '../../support/machine/machine-documents.ts';

let lab: CliLab;
beforeEach(async () => {
  lab = await cliLab();
});
afterEach(() => lab.close());

const unhealthy = aHealthDocument({ status: 'unhealthy', ready: false, instances: [aDeadInstance(0), aDeadInstance(1)] });
const degraded = aHealthDocument({ status: 'degraded', ready: true, instances: [anInstanceDocument(0), aDeadInstance(1)] });

describe('with a running agent, over its socket', () => {
  const cases: readonly (readonly [argv: string, code: number, schema: z.ZodType])[] = [
    ['status', 0, StatusDocument],
    ['health', 0, HealthDocument],
    ['health installation', 0, InstallationDocument],
    ['health instances', 0, InstancesDocument],
    ['health instance 1', 0, InstanceDocument],
    ['health instance gpu1', 0, InstanceDocument],
    ['health models', 0, ModelsDocument],
    ['plan', 0, PlanDocument],
    ['gpus', 0, GpusDocument],
    ['ports', 0, PortsDocument],
    ['discovery', 0, DiscoveryDocument],
    ['releases', 0, ReleasesDocument],
    ['config', 0, ConfigDocument],
    ['config show', 0, ConfigDocument],
    ['config check', 0, ConfigCheckDocument],
    ['doctor', 0, DoctorDocument],
    ['version', 0, VersionDocument],
    ['logs', 0, z.array(LogLine)],
    ['logs 0 -n 1', 0, z.array(LogLine)],
    ['wait ready', 0, z.object({ ready: z.literal(true) })],
    ['wait healthy', 0, HealthDocument],
    ['wait installed', 0, InstallationDocument],
    ['wait ready 1', 0, InstanceDocument],
    ['install --dry-run', 0, InstallPreview],
    ['install --no-wait', 0, OperationDocument],
    ['reinstall --clean --no-wait', 0, OperationDocument],
    ['install --bundle one.tar --no-wait', 0, OperationDocument],
    ['bundle create one.tar --with-models --no-wait', 0, OperationDocument],
    ['rollback --no-wait', 0, OperationDocument],
    ['rollback r1 --now --no-wait', 0, OperationDocument],
    ['restart 0 --drain --no-wait', 0, OperationDocument],
    ['start all --no-wait', 0, OperationDocument],
    ['stop --no-wait', 0, OperationDocument],
    ['drain 0 1 --no-wait', 0, OperationDocument],
    ['cordon 0', 0, z.array(InstanceDocument)],
    ['uncordon all', 0, z.array(InstanceDocument)],
    ['unquarantine GPU-00000001', 0, z.array(InstanceDocument)],
    ['restart 7', 2, ErrorDocument],
    ['health instance 7', 2, ErrorDocument],
    ['wait ready 7', 2, ErrorDocument],
    ['logs 7', 2, ErrorDocument],
    ['logs agnet', 2, ErrorDocument],
    ['cordon all 1', 2, ErrorDocument],
    ['health installation 0', 2, ErrorDocument],
    ['health instance', 2, ErrorDocument],
    ['logs --since tomorrow', 2, ErrorDocument],
  ];
  it.each(cases)('agent %s: exit %s, and JSON by its schema', async (argv, code, schema) => {
    await lab.serve(fakeAgent());
    const words = argv.split(' ');
    const json = await lab.run([...words, '--json']);
    expect(json).toMatchObject({ code });
    schema.parse(JSON.parse(json.stdout));

    const text = await lab.run(words);
    expect(text.code).toBe(code);
    if (code === 0 && words[0] !== 'wait') expect(text.stdout).not.toBe('');
    if (code !== 0) {
      expect(text.stdout).toBe('');
      expect(text.stderr).toMatch(/^error\[[A-Z_]+\]: .+\nhelp: .+\n$/);
    }
  });

  it.each([
    ['status', unhealthy, 3],
    ['status', degraded, 0],
    ['status', aHealthDocument({ status: 'disabled', ready: true, instances: [] }), 0],
    ['health', unhealthy, 3],
    ['health', degraded, 0],
    ['health instances', unhealthy, 3],
    ['health instance 0', unhealthy, 3],
    ['health instance 1', degraded, 3],
  ])('agent %s tells health by its exit code', async (argv, document, code) => {
    await lab.serve(fakeAgent({ document }));
    expect((await lab.run(argv.split(' '))).code).toBe(code);
  });

  it('exits 3 for a broken installation and for missing models', async () => {
    await lab.serve(
      fakeAgent({
        installation: async () =>
          anInstallationDocument({ status: 'broken', ok: false, reason: 'main.py is missing; run `agent reinstall`' }),
        models: async () =>
          aModelsDocument({
            status: 'fail',
            present: [],
            missing: [
              { path: 'loras/a.pt', state: 'missing', requiredBy: ['models.required'], sizeBytes: null, reason: 'it does not exist' },
            ],
          }),
      }),
    );
    const installation = await lab.run(['health', 'installation']);
    expect(installation).toMatchObject({ code: 3 });
    expect(installation.stdout).toContain('broken: main.py is missing');
    const models = await lab.run(['health', 'models']);
    expect(models).toMatchObject({ code: 3 });
    expect(models.stdout).toContain('missing  loras/a.pt');
  });

  it('passes what was asked for to the agent', async () => {
    const agent = fakeAgent();
    await lab.serve(agent);
    await lab.run(['restart', 'comfyui-gpu1', '--drain', '--no-wait']);
    await lab.run(['reinstall', '--clean', '--no-wait']);
    await lab.run(['install', '--bundle', 'one.tar', '--no-wait']);
    await lab.run(['bundle', 'create', '/media/one.tar', '--with-models', '--no-wait']);
    await lab.run(['cordon', 'gpu0']);
    await lab.run(['unquarantine', '1']);
    expect(agent.asked).toEqual([
      { call: 'startOperation', argument: { kind: 'restart', gpus: [1], drain: true } },
      { call: 'startOperation', argument: { kind: 'reinstall', clean: true } },
      // The agent may run in another directory.
      { call: 'startOperation', argument: { kind: 'install', bundle: join(lab.root, 'one.tar') } },
      { call: 'startOperation', argument: { kind: 'bundle', bundle: '/media/one.tar', withModels: true } },
      { call: 'patchInstance', argument: { reference: '0', patch: { cordoned: true } } },
      { call: 'patchInstance', argument: { reference: '1', patch: { quarantined: false } } },
    ]);
  });

  it.each([
    ['status'],
    ['health'],
    ['health models --json'],
    ['plan -q'],
    ['install --no-wait'],
    ['restart 0 --no-wait'],
    ['cordon 0 1'],
    ['wait ready'],
    ['logs -n 1'],
    ['config'],
    ['doctor'],
  ])('%s warns, once and on stderr, when the agent is another version', async (argv) => {
    await lab.serve(fakeAgent({ version: async () => ({ ...aVersionDocument(), agent: '0.0.9' }) }));
    const { stdout, stderr } = await lab.run(argv.split(' '));
    const note = `note: the running agent is version 0.0.9, this command is ${aVersionDocument().agent}; restart the agent to use the new one`;
    expect(stderr.split('\n').filter((line) => line === note)).toHaveLength(1);
    expect(stdout).not.toContain('note:');
  });

  it('gives an error of the agent back as it was', async () => {
    await lab.serve(fakeAgent({ plan: async () => Promise.reject(new Error('boom')) }));
    const { code, stderr } = await lab.run(['plan']);
    expect(code).toBe(1);
    expect(stderr).toContain('error[INTERNAL]: the agent met a fault of its own');
  });

  it('doctor exits 1 when a check fails, and names it', async () => {
    const failing = aDoctorDocument({
      ok: false,
      findings: [{ check: 'ps', status: 'fail', message: 'ps was not found', help: 'install procps' }],
    });
    await lab.serve(fakeAgent({ doctor: async () => failing }));
    const { code, stdout } = await lab.run(['doctor']);
    expect(code).toBe(1);
    expect(stdout).toContain('fail     ps  ps was not found\n             → install procps\n');
    expect(stdout).toContain('1 check failed: ps');
  });

  it('exports one archive, for its owner only, with secrets masked', async () => {
    await lab.serve(fakeAgent({ lines: [{ source: 'agent', line: 'token is hf_abcdefgh' }] }));
    const file = join(lab.root, 'support.tar.gz');
    const { code, stdout } = await lab.run(['logs', '--export', file], { environment: { HF_TOKEN: 'hf_abcdefgh' } });
    expect(code).toBe(0);
    expect(stdout).toContain(file);
    expect((await stat(file)).mode & 0o777).toBe(0o600);
    const text = gunzipSync(await readFile(file)).toString('utf8');
    for (const name of ['support/status.json', 'support/journal.jsonl', 'support/logs/agent.log', 'support/doctor.json'])
      expect(text).toContain(name);
    expect(text).toContain('token is ***');
    expect(text).not.toContain('hf_abcdefgh');
  });
});

describe('without an agent', () => {
  it.each(['start', 'stop', 'restart', 'drain 0', 'cordon 0', 'uncordon 0', 'unquarantine 0', 'discovery', 'status'])(
    'agent %s exits 4 and says how to start one',
    async (argv) => {
      const { code, stderr } = await lab.run(argv.split(' '));
      expect(code).toBe(4);
      expect(stderr).toContain(`error[AGENT_NOT_RUNNING]: no agent is running on ${lab.root}`);
      expect(stderr).toContain('help: start it with `agent run`');
    },
  );

  it.each(['health', 'plan', 'gpus', 'ports', 'releases', 'logs', 'install --dry-run'])(
    'agent %s looks by itself, and closes',
    async (argv) => {
      const host = testHost({ root: lab.root, local: fakeAgent() });
      expect((await runOn(host, ...argv.split(' '))).code).toBe(0);
      expect(host.calls.map(({ call }) => call)).toEqual(['startInProcess', 'close']);
      expect(host.calls[0]?.argument).toMatchObject({ purpose: 'read' });
    },
  );

  it.each(['install --dry-run', 'install --verify', 'reinstall --dry-run'])(
    'agent %s does not look into a release that others may write to',
    async (argv) => {
      const host = testHost({ root: lab.root, local: fakeAgent() });
      await mkdir(`${lab.root}/releases`);
      await chmod(`${lab.root}/releases`, 0o777);
      const { code, stderr } = await runOn(host, ...argv.split(' '));
      expect(code).toBe(4);
      expect(stderr).toContain('would run their programs');
      expect(host.calls.map(({ call }) => call)).not.toContain('startInProcess');
      await chmod(`${lab.root}/releases`, 0o755);
      await runOn(host, ...argv.split(' '));
      expect(host.calls.map(({ call }) => call)).toContain('startInProcess');
    },
  );

  it('install --dry-run does not call right what was refused', async () => {
    const refused: Hold = {
      target: 'configuration',
      code: 'INPUT_UNTRUSTED',
      reason: 'shared/config_nodes.json (of comfyui) is not obeyed; it would change: adds Planted',
      help: 'read it; if it says what you want, type: chown root …',
      since: at(0),
    };
    const host = testHost({ root: lab.root, local: fakeAgent({ plan: async () => ({ actions: [], holds: [refused] }) }) });
    const { code, stdout } = await runOn(host, 'install', '--dry-run');
    expect(code).toBe(5);
    expect(stdout.replaceAll(/\s+/g, ' ')).toContain('it would change: adds Planted (INPUT_UNTRUSTED)');
    expect(stdout).toContain('chown root');
    expect(stdout).not.toContain('already right');
  });

  it('closes also when the verb fails', async () => {
    const host = testHost({ root: lab.root, local: fakeAgent({ plan: async () => Promise.reject(new Error('boom')) }) });
    expect((await runOn(host, 'plan')).code).toBe(1);
    expect(host.calls.map(({ call }) => call)).toEqual(['startInProcess', 'close']);
  });

  it('a lock that another holds is exit 5', async () => {
    const { code, stderr } = await lab.run(['install']);
    expect(code).toBe(5);
    expect(stderr).toContain('error[ROOT_LOCKED]: another agent owns this root');
  });

  it('doctor, config and version need none', async () => {
    expect((await lab.run(['doctor'])).code).toBe(0);
    const config = await lab.run(['config', 'show', '--json']);
    expect(ConfigDocument.parse(JSON.parse(config.stdout)).values.find(({ path }) => path === 'root')).toMatchObject({
      value: lab.root,
      origin: 'AGENT_ROOT',
    });
    expect(JSON.parse((await lab.run(['config', 'schema'])).stdout)).toMatchObject({ title: 'comfylet configuration', type: 'object' });
    expect((await lab.run(['version'])).stdout).toContain('comfylet 0.1.0\nNode 24.21.0, PM2 7.0.4');
    expect((await lab.run(['--version'])).stdout).toBe('comfylet 0.1.0\n');
  });

  it('status shows what was true last, and exits 4', async () => {
    await writeFile(join(lab.root, 'state/status.json'), JSON.stringify(aStatusDocument()));
    const { code, stdout, stderr } = await lab.run(['status']);
    expect(code).toBe(4);
    expect(stdout).toContain('no agent is running; this was true at 2026-11-21T12:00:00.000Z');
    expect(stderr).toContain('start it with `agent run`');
    const json = await lab.run(['status', '--json']);
    expect(StatusDocument.parse(JSON.parse(json.stdout)).agent).toMatchObject({ running: false, pid: null });
    await writeFile(join(lab.root, 'state/status.json'), '{"half":');
    expect(await lab.run(['status'])).toMatchObject({ code: 4, stdout: '' });
  });

  it('a socket that a dead agent left behind counts as none', async () => {
    const path = join(lab.root, 'run/agent.sock');
    const server = createServer();
    await new Promise<void>((done) => server.listen(path, done));
    // Closing would remove the socket; a killed process does not.
    await writeFile(join(lab.root, 'state/keep'), '');
    const { rename } = await import('node:fs/promises');
    await rename(path, `${path}.kept`);
    await new Promise<void>((done) => server.close(() => done()));
    await rename(`${path}.kept`, path);
    const { code, stderr } = await lab.run(['restart']);
    expect(code).toBe(4);
    expect(stderr).toContain('AGENT_NOT_RUNNING');
  });

  it('run hands over what was chosen', async () => {
    const host = testHost({ root: lab.root });
    expect((await runOn(host, 'run', '--port', '0', '--root', '/data', '-q')).code).toBe(0);
    expect(host.calls).toEqual([
      {
        call: 'runDaemon',
        argument: {
          configFile: null,
          flags: [
            { key: 'root', value: '/data', flag: '--root' },
            { key: 'api.port', value: 0, flag: '--port' },
          ],
          quiet: true,
          verbose: false,
        },
      },
    ]);
  });

  it('config check lists every problem of every file, and exits 2', async () => {
    await writeFile(join(lab.root, 'agent.sock'), '');
    const { mkdir } = await import('node:fs/promises');
    await mkdir(join(lab.root, 'shared'), { recursive: true });
    await writeFile(join(lab.root, 'shared/config_nodes.json'), '{"custom_nodes":[{"name":"A"},{"url":"https://x/y.git"}]}');
    const { code, stdout } = await lab.run(['config', 'check']);
    expect(code).toBe(2);
    expect(stdout).toMatch(/bad\s+\S+config_nodes\.json/);
    expect(stdout).toContain('pack A');
    expect((await lab.run(['config', 'check'], { environment: { AGENT_PORT: 'nine' } })).code).toBe(2);
    expect((await lab.run(['config', 'show'], { environment: { AGENT_PORT: 'nine' } })).stderr).toContain(
      'error[CONFIG_INVALID]: AGENT_PORT',
    );
    expect((await lab.run(['config', 'show', '--config', 'missing.yaml'])).stderr).toContain('error[CONFIG_NOT_FOUND]');
  });

  it.each([
    ['a pipe', (path: string) => void spawnSync('mkfifo', [path]), 'it is a named pipe, not a file'],
    ['a device', (path: string) => symlinkSync('/dev/zero', path), 'it is a device, not a file'],
    ['a directory', (path: string) => mkdirSync(path), 'it is a directory'],
    ['100 MB', (path: string) => ftruncateSync(openSync(path, 'w'), 100_000_000), 'it is larger than 4 MiB'],
  ])('config check neither waits for %s in place of a file nor reads it', async (_, put, why) => {
    mkdirSync(join(lab.root, 'shared'), { recursive: true });
    put(join(lab.root, 'shared/config_nodes.json'));
    const began = performance.now();
    const { code, stdout } = await lab.run(['config', 'check']);
    expect(performance.now() - began).toBeLessThan(1_000);
    expect(code).toBe(2);
    expect(stdout).toMatch(new RegExp(`bad\\s+\\S+config_nodes\\.json\\n.*config_nodes\\.json cannot be read: ${why}`));
  });

  it('a pipe in place of the configuration is not waited for', async () => {
    spawnSync('mkfifo', [join(lab.root, 'pipe.yaml')]);
    expect((await lab.run(['status', '--config', 'pipe.yaml'])).code).not.toBe(0);
  });
});

describe('usage', () => {
  it.each([
    ['statsu', 'there is no verb "statsu"', 'did you mean `agent status`?'],
    ['update', 'say what to update', '--pack NAME[@REF]'],
    ['dance', 'there is no verb "dance"', '`agent --help` lists all verbs'],
    ['status --jsno', 'there is no option --jsno', 'did you mean --json?'],
    ['status now', "too many arguments for 'status'", '`agent status --help` tells how'],
    ['restart --timeout soon', '--timeout <duration> cannot be "soon"; write 90s, 10m or 1h30m', ''],
    ['run --port 70000', '--port <port> cannot be "70000"', ''],
    ['wait for', '"for" is not possible for state; possible: ready, healthy, installed', ''],
    ['cordon', "missing required argument 'gpu'", ''],
    ['logs -n many', 'write a whole number', ''],
  ])('agent %s', async (argv, message, help) => {
    const { code, stdout, stderr } = await lab.run(argv.split(' '));
    expect(code).toBe(2);
    expect(stdout).toBe('');
    expect(stderr).toContain('error[USAGE]: ');
    expect(stderr).toContain(message);
    expect(stderr).toContain(help);
    const json = await lab.run([...argv.split(' '), '--json']);
    expect(ErrorDocument.parse(JSON.parse(json.stdout)).error.code).toBe('USAGE');
  });

  it('help lists every verb, and each verb has its own', async () => {
    const { code, stdout } = await lab.run(['--help']);
    expect(code).toBe(0);
    for (const verb of ['run', 'status', 'wait', 'install', 'doctor', 'unquarantine']) expect(stdout).toContain(`  ${verb}`);
    expect((await lab.run([])).stdout).toContain('Usage: agent');
    const logs = await lab.run(['logs', '--help']);
    expect(logs).toMatchObject({ code: 0, stderr: '' });
    expect(logs.stdout).toContain('--export <file>');
    expect(logs.stdout).toContain('--root <directory>');
  });

  it('-q keeps results and errors, nothing else', async () => {
    await lab.serve(fakeAgent());
    const { stdout, stderr } = await lab.run(['status', '-q']);
    expect(stdout.trimEnd().split('\n')).toHaveLength(1);
    expect(stderr).toBe('');
  });

  it('colours only on a terminal, and never with NO_COLOR or --no-color', async () => {
    await lab.serve(fakeAgent({ document: aHealthDocument({ layers: { ...aHealthDocument().layers, models: aFail('x') } }) }));
    const colours = async (argv: string[], environment: Record<string, string> = {}, isTty = true) =>
      (await lab.run(argv, { isTty, environment })).stdout.includes('\u001b[');
    expect(await colours(['status'])).toBe(true);
    expect(await colours(['status'], {}, false)).toBe(false);
    expect(await colours(['status', '--no-color'])).toBe(false);
    expect(await colours(['status'], { NO_COLOR: '1' })).toBe(false);
  });
});
