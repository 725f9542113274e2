import { copyFileSync, readFileSync, realpathSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { baseEnvironment } from '../support/agent/agent.ts';
import { eventually } from '../support/eventually.ts';
import { uvOnPath } from '../support/python/uv.ts';
import { aSystemdMachine, type SystemdMachine, whyNoSystemd } from '../support/systemd/machine.ts';
import { type TempRoot, tempRoot } from '../support/temp-root.ts';
import { LINK, zipOf } from '../support/zip.ts';

/**
 * Node packs that try to have the agent read, or obey, what they may not: by what they bring, and from everywhere they run.
 * A registry archive, a directory, install.py, an import, a running node; nothing of it is told, copied or obeyed.
 */

const why = whyNoSystemd();
if (why !== null) console.log(`skipped: no systemd can be booted here: ${why}`);

const SECRET = 'TOKEN=very-secret';
const SPY = readFileSync(join(import.meta.dirname, '../fixtures/spy-pack/inputs.py'), 'utf8');
/** At import in the trial start and in each instance; once more from a thread of a node that runs. */
const INIT = `import os, threading, time
from . import inputs
NODE_CLASS_MAPPINGS = {}
who = os.environ["AGENT_INSTANCE"]
inputs.plant(who)
threading.Timer(1, inputs.plant, ["running-" + who]).start()
`;
const UP = '../../../../../..';
/** By what stands in requirements.txt. */
const LINES = {
  climbs: `./wheels-here\n-r ${UP}/closed/agent.env\n`,
  constrains: `-c ${UP}/closed/agent.env\n`,
  environ: '-r /proc/self/environ\n',
  shadow: '-r /etc/shadow\n',
} as const;
/** By what stands in its place, made by an installation as root. */
const PLACES = {
  link: 'ln -s /closed/agent.env',
  zero: 'ln -s /dev/zero',
  pipe: 'mkfifo',
  directory: 'mkdir',
  huge: 'truncate -s 100G',
} as const;

const archive = zipOf([
  { name: 'pack/__init__.py', data: 'NODE_CLASS_MAPPINGS = {}\n' },
  { name: 'pack/requirements.txt', data: `idna\n-r ${UP}/closed/agent.env\n` },
]);
const linked = zipOf([
  { name: 'pack/__init__.py', data: '' },
  { name: 'pack/requirements.txt', data: '/closed/agent.env', mode: LINK },
]);
const REGISTRY = `import http.server, json
FILES = {"/a.zip": "/opt/a.zip", "/b.zip": "/opt/b.zip"}
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        path = self.path.split("?")[0]
        if path in FILES:
            body = open(FILES[path], "rb").read()
        else:
            name = "a" if "evil-a" in path else "b"
            body = json.dumps({"version": "1.0.0", "downloadUrl": "http://127.0.0.1:8999/%s.zip" % name, "status": "NodeVersionStatusActive"}).encode()
        self.send_response(200); self.send_header("content-length", str(len(body))); self.end_headers(); self.wfile.write(body)
    def log_message(self, *_): pass
http.server.ThreadingHTTPServer(("127.0.0.1", 8999), Handler).serve_forever()
`;

const directoryOf = (name: string): string => `/opt/packs/${name}`;
const PACKS = [
  { name: 'spy', directory: '/opt/packs/spy' },
  ...[...Object.keys(LINES), ...Object.keys(PLACES)].map((name) => ({ name, directory: directoryOf(name), requirements: true })),
  { name: 'evil-a', registry: 'evil-a', version: '1.0.0', requirements: true },
  { name: 'evil-b', registry: 'evil-b', version: '1.0.0', requirements: true },
  { name: 'closed', directory: '/closed' },
];

let machine: SystemdMachine;
let root: TempRoot;
const must = (...command: string[]) => machine.must(...command);
const sh = (script: string) => must('sh', '-c', script);
const agent = ['env', 'AGENT_RUN_DIR=/run/comfylet', 'agent'];

describe.skipIf(why !== null)('packs and what the agent reads', { timeout: 240_000 }, () => {
  beforeAll(async () => {
    root = await tempRoot();
    const uv = await uvOnPath(root.at('uv'), baseEnvironment());
    if ('skipped' in uv) throw new Error(uv.skipped);
    machine = await aSystemdMachine({
      files: {
        '/etc/comfylet/agent.env': 'COMFYUI_REPO=simulator:\nMOCK_GPU=1\nNUM_GPUS=1\nSIM_STARTUP_MS=200\nHIDDEN=for-nobody\n',
        '/etc/comfylet/agent.yaml': 'packs: { registryUrl: "http://127.0.0.1:8999" }\n',
        '/closed/agent.env': `${SECRET}\n`,
        '/closed/__init__.py': 'NODE_CLASS_MAPPINGS = {}\n',
        '/opt/registry.py': REGISTRY,
        '/etc/systemd/system/registry.service':
          '[Service]\nExecStart=/usr/bin/python3 /opt/registry.py\n[Install]\nWantedBy=agent-test.target\n',
        '/opt/packs/spy/inputs.py': SPY,
        '/opt/packs/spy/__init__.py': INIT,
        '/opt/packs/spy/install.py': 'import inputs\ninputs.plant("install.py")\n',
        ...Object.fromEntries(
          Object.entries(LINES).flatMap(([name, text]) => [
            [`${directoryOf(name)}/__init__.py`, 'NODE_CLASS_MAPPINGS = {}\n'],
            [`${directoryOf(name)}/requirements.txt`, text],
          ]),
        ),
        ...Object.fromEntries(Object.keys(PLACES).map((name) => [`${directoryOf(name)}/__init__.py`, 'NODE_CLASS_MAPPINGS = {}\n'])),
        '/workspace/shared/config_nodes.json': JSON.stringify({ custom_nodes: PACKS }),
      },
      owners: { '/workspace/shared': ['comfylet', 0o2775], '/closed': ['root', 0o700], '/closed/agent.env': ['root', 0o600] },
    });
    copyFileSync(realpathSync(join(uv.path, 'uv')), machine.at('/usr/local/bin/uv'));
    writeFileSync(machine.at('/opt/a.zip'), archive);
    writeFileSync(machine.at('/opt/b.zip'), linked);
    await machine.runOnRoot([
      'sh',
      '-c',
      [
        ...Object.entries(PLACES).map(([name, command]) => `${command} ${directoryOf(name)}/requirements.txt`),
        'mkdir -p /etc/systemd/system/agent-test.target.wants',
        'ln -s ../registry.service /etc/systemd/system/agent-test.target.wants/',
      ].join(' && '),
    ]);
    await machine.boot();
    await machine.untilReady(1);
  });
  afterAll(async () => {
    await machine?.close();
    await root?.remove();
  });

  it('each pack that leads elsewhere is named with the reason, and the others are installed', async () => {
    const { body } = await machine.get('/health/comfyui/installation');
    const { packs } = body as {
      readonly packs: readonly { readonly name: string; readonly state: string; readonly error: string | null }[];
    };
    const of = (name: string) => packs.find((pack) => pack.name === name);
    expect(of('spy')).toMatchObject({ state: 'loaded' });
    for (const name of Object.keys(LINES))
      expect(of(name), name).toMatchObject({ state: 'failed', error: expect.stringMatching(/leads out of/) });
    // Links out and what is no file are refused by the copy, and by the archive, already.
    for (const name of ['link', 'zero', 'pipe', 'evil-b'])
      expect(of(name), name).toMatchObject({ state: 'failed', error: expect.stringContaining('requirements.txt') });
    for (const name of ['directory', 'huge']) expect(of(name), name).toMatchObject({ state: 'failed' });
    expect(of('evil-a')).toMatchObject({ state: 'failed', error: expect.stringMatching(/leads out of/) });
    expect(of('closed')).toMatchObject({
      state: 'failed',
      error: expect.stringContaining('comfyui, who runs ComfyUI, may not read /closed'),
    });
  });

  it('nothing of what they named is anywhere that they, or health, can see', async () => {
    const told = await Promise.all(
      ['/health', '/health/comfyui/installation', '/v1/plan'].map(async (path) => JSON.stringify((await machine.get(path)).body)),
    );
    expect(told.join('')).not.toMatch(/very-secret|root:[*!$]|for-nobody/);
    expect(await must(...agent, 'status', '--verbose')).not.toMatch(/very-secret|for-nobody/);
    expect((await machine.run(['grep', '-rlE', 'very-secret|for-nobody', '/workspace', '/var/lib/comfyui', '/tmp'])).stdout).toBe('');
    expect((await machine.run(['sh', '-c', `journalctl -o cat | grep -c very-secret`])).stdout.trim()).toBe('0');
  });

  it.each(['install.py', 'comfyui-trial', 'comfyui-gpu0', 'running-comfyui-gpu0'])('%s can plant no instruction', async (who) => {
    const report = await eventually(
      'it has tried',
      async () => JSON.parse(await must('cat', `/workspace/shared/outputs/inputs-${who}.json`)) as Record<string, string>,
      30_000,
    );
    expect(Object.entries(report).filter(([, result]) => result !== 'PermissionError')).toEqual([]);
    expect(Object.keys(report).length).toBe(22);
  });

  it('a list that ComfyUI owns is not obeyed by the next installation, and told with its owner', async () => {
    const list = '/workspace/shared/config_nodes.json';
    await sh(`cp -p ${list} /root/list`);
    const stolen = JSON.stringify({ custom_nodes: [{ name: 'stolen', directory: '/closed', env: { GOT: `\${HIDDEN}` } }] });
    await machine.write(list, stolen);
    await must('chown', 'comfyui', list);
    const install = await machine.run([...agent, 'install'], { limitMs: 120_000 });
    expect(install.code).toBe(5);
    expect(`${install.stdout}${install.stderr}`).toMatch(/INPUT_UNTRUSTED|comfyui/);
    expect((await machine.run([...agent, 'install', '--dry-run'])).code).toBe(5);
    expect((await machine.run(['find', '/workspace', '-path', '*custom_nodes/stolen*'])).stdout).toBe('');
    await sh(`rm ${list} && cp -p /root/list ${list}`);
  });

  it('the record of a release is not the one that lies where packs write', async () => {
    const { body: before } = await machine.get('/health/comfyui/installation');
    const forged =
      'cd /workspace/current && mv release.json old.json && echo "{}" >release.json && mv agent.lock.json old.lock && echo "{}" >agent.lock.json';
    expect(await machine.run(['sh', '-c', forged], { user: 'comfyui' })).toMatchObject({ code: 0, stderr: '' });
    expect((await machine.run(['ls', '/workspace/agent-only'], { user: 'comfyui' })).code).not.toBe(0);
    await must('systemctl', 'restart', 'comfylet');
    await machine.untilReady(1);
    const { body: after } = await machine.get('/health/comfyui/installation');
    expect((after as { readonly release: unknown }).release).toEqual((before as { readonly release: unknown }).release);
    expect((await machine.run([...agent, 'install', '--verify'])).stderr).not.toMatch(/without a lock|not JSON/);
  });

  it('a pipe among the workflows is told, and the agent ends all the same', async () => {
    await sh(
      'mkfifo /workspace/shared/workflows/a.json; chown comfyui /workspace/shared/workflows/a.json; touch /workspace/shared/config_nodes.json',
    );
    await eventually(
      'it is told',
      async () => (await must(...agent, 'status', '--verbose', '--json')).includes('a named pipe, not a file'),
      30_000,
    );
    await must('systemctl', 'restart', 'comfylet');
    expect(await machine.property('comfylet', 'NRestarts')).toBe('0');
    await machine.untilReady(1);
    expect(await must('journalctl', '-u', 'comfylet', '-o', 'cat')).not.toMatch(/State 'stop-sigterm' timed out|Killing process/);
  });
});
