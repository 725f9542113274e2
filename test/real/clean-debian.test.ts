import { chmod, mkdtemp, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Release } from '../../src/domain/installation/release.ts';
import type { InstanceDocument } from '../../src/domain/instances/instance.ts';
import { baseEnvironment, freePorts } from '../support/agent/agent.ts';
import { realAgentOptions, realComfyui, stubWheels } from '../support/comfyui/real.ts';
import { eventually } from '../support/eventually.ts';
import { type GitHttpServer, startGitHttp } from '../support/git/servers.ts';
import { aCleanDebian, type CleanDebian, PACKAGES, PLACE, whyNoDebian } from '../support/systemd/clean-debian.ts';

/**
 * A real ComfyUI on the CPU, from Debian's smallest installation and the built binary alone: two units and two users under a
 * real systemd. It shares the host's network, for the package index. It ends with a table of the steps and what they took.
 */

const real = realComfyui();
const why = real === null ? 'AGENT_REAL_COMFYUI_REPO is not set' : whyNoDebian();
if (why !== null) console.log(`skipped: no real ComfyUI on a clean Debian: ${why}`);

const GPUS = 2;
const INSTALLATION_LIMIT_MS = 900_000;
const START_LIMIT_MS = 180_000;
const CERTIFICATES = '/srv/certificates.pem';
const table: [step: string, result: string][] = [];

const timed = async <T>(step: string, work: () => Promise<T>): Promise<T> => {
  const began = performance.now();
  const result = await work();
  table.push([step, `${((performance.now() - began) / 1_000).toFixed(2)} s`]);
  return result;
};

/** A picture of one colour, without a model. */
async function draw(url: string, color: number): Promise<string> {
  const prompt = {
    '1': { class_type: 'EmptyImage', inputs: { width: 64, height: 64, batch_size: 1, color } },
    '2': { class_type: 'PreviewImage', inputs: { images: ['1', 0] } },
  };
  const answer = await fetch(`${url}/prompt`, { method: 'POST', body: JSON.stringify({ prompt, client_id: 'real' }) });
  const { prompt_id: id } = (await answer.json()) as { prompt_id: string };
  return eventually(
    'the prompt ends',
    async () => {
      const history = (await (await fetch(`${url}/history/${id}`)).json()) as Record<string, { status: { status_str: string } }>;
      return history[id]?.status.status_str;
    },
    START_LIMIT_MS,
  );
}

describe.skipIf(why !== null)('real ComfyUI on a clean Debian', () => {
  let machine: CleanDebian;
  let directory: string;
  let wheels: string;
  let git: GitHttpServer | null = null;
  const pidsOf = async (): Promise<readonly (number | null)[]> => (await machine.instances()).map(({ pid }) => pid);
  const first = async (): Promise<InstanceDocument> => {
    const [instance] = await machine.instances();
    if (instance === undefined) throw new Error('there is no instance');
    return instance;
  };
  /** A repository on this machine is served by HTTP, as any other is. */
  const address = async (repository: string): Promise<string> => {
    const isDirectory = await stat(repository).then(
      (entry) => entry.isDirectory(),
      () => false,
    );
    if (!isDirectory) return repository;
    git = await startGitHttp({ directory: dirname(repository) });
    return `http://127.0.0.1:${git.port}/${basename(repository)}`;
  };

  beforeAll(async () => {
    if (real === null) return;
    directory = await mkdtemp(join(tmpdir(), 'agent-real-debian-'));
    wheels = await stubWheels();
    await chmod(wheels, 0o755);
    const folders = [...real.findLinks, wheels];
    const inside = folders.map((_, index) => `/srv/wheels-${index}`);
    const { SSL_CERT_FILE: authorities, ...host } = baseEnvironment();
    machine = await aCleanDebian({
      hostNetwork: true,
      shown: {
        // Not in memory: it is gigabytes.
        '/workspace': directory,
        ...Object.fromEntries(folders.map((folder, index) => [inside[index] ?? '', folder])),
        ...(authorities === undefined ? {} : { [CERTIFICATES]: authorities }),
      },
    });
    const { config } = realAgentOptions({ ...real, findLinks: inside.slice(0, -1) }, inside.at(-1) ?? '', GPUS);
    const [port, apiPort] = [await freePorts(GPUS), await freePorts(1)];
    await machine.write(
      '/etc/comfylet/agent.yaml',
      JSON.stringify({
        ...config,
        comfyui: { ...config.comfyui, repository: await address(real.repository) },
        ports: { first: port },
        api: { port: apiPort },
      }),
    );
    const settings = Object.entries({
      // Where packages come from, but nothing that names a file of this machine.
      ...Object.fromEntries(Object.entries(host).filter(([name, value]) => /^(PIP_|UV_)/.test(name) && !value.startsWith('/'))),
      PIP_FIND_LINKS: inside.join(' '),
      ...(authorities === undefined ? {} : { SSL_CERT_FILE: CERTIFICATES, NODE_EXTRA_CA_CERTS: CERTIFICATES }),
    });
    await machine.write('/etc/comfylet/agent.env', settings.map(([name, value]) => `${name}=${value}\n`).join(''), 0o600);
    await machine.addPackages(PACKAGES);
    await machine.boot();
    await machine.must('sh', '-c', `cd ${PLACE} && ./agent setup --print >install.sh`);
  });
  afterAll(async () => {
    await machine?.close();
    await git?.close();
    for (const path of [directory, wheels]) if (path !== undefined) await rm(path, { recursive: true, force: true });
    for (const [step, result] of table) console.log(`${step.padEnd(60)} ${result}`);
  });

  it('install.sh, and the agent under systemd brings two instances up', async () => {
    await timed('install.sh to two ready instances', async () => {
      const { code, stderr } = await machine.install([]);
      expect({ code, stderr }).toMatchObject({ code: 0 });
      await machine.untilReady(GPUS, INSTALLATION_LIMIT_MS);
    });
    const { release } = ((await machine.get('/v1/state')).body as { observed: { release: Release } }).observed;
    for (const [step, ms] of Object.entries(release.durations)) table.push([`installation: ${step}`, `${(ms / 1_000).toFixed(2)} s`]);
    table.unshift([`ComfyUI ${release.comfyuiVersion}, Python ${release.pythonVersion}, torch ${release.torch}`, '']);
    expect(release.torch).toBe(real?.torch);
    for (const { layers } of await machine.instances())
      expect(layers).toMatchObject({ runtime: { status: 'pass' }, functional: { status: 'pass' } });
    const owners = await machine.must('stat', '-L', '-c', '%U', '/workspace/current/ComfyUI', '/workspace/current/venv/bin');
    expect(owners).toBe('comfylet\ncomfyui\n');
    const serving = [...(await machine.processesOf('comfyui'))].filter(([, line]) => line.includes('main.py')).map(([pid]) => pid);
    expect(new Set(await pidsOf())).toEqual(new Set(serving));
    expect(await machine.must('agent', 'install')).toContain('already right');
  });

  it('does a prompt on each', async () => {
    for (const { url, gpu } of await machine.instances()) expect(await draw(url ?? '', 1_000 + gpu)).toBe('success');
  });

  it('brings a killed instance back', async () => {
    const before = await first();
    const others = (await pidsOf()).slice(1);
    await timed('SIGKILL to ready again', async () => {
      await machine.must('kill', '-KILL', String(before.pid));
      await eventually('it is another process', async () => ![before.pid, null].includes((await first()).pid), START_LIMIT_MS);
      await machine.untilReady(GPUS, START_LIMIT_MS);
    });
    expect((await pidsOf()).slice(1)).toEqual(others);
    expect(await draw((await first()).url ?? '', 2_000)).toBe('success');
  });

  it.each([
    ['systemctl restart comfylet', () => machine.must('systemctl', 'restart', 'comfylet')],
    ['SIGKILL of the agent', () => machine.must('systemctl', 'kill', '--signal=KILL', '--kill-whom=main', 'comfylet')],
  ])('keeps its processes over %s', async (step, end) => {
    const pids = await pidsOf();
    const before = await machine.mainPid('comfylet');
    await timed(`${step} to the same two instances ready`, async () => {
      await end();
      await eventually('another agent runs', async () => ![0, before].includes(await machine.mainPid('comfylet')), START_LIMIT_MS);
      await eventually('it serves', () => machine.instances(), START_LIMIT_MS);
      await machine.untilReady(GPUS, START_LIMIT_MS);
    });
    expect(await pidsOf()).toEqual(pids);
  });

  it('serves again after a reboot', async () => {
    const { release } = await first();
    await timed('power off', () => machine.powerOff());
    await timed('boot to two ready instances', async () => {
      await machine.boot();
      await eventually('it serves', () => machine.instances(), START_LIMIT_MS);
      await machine.untilReady(GPUS, START_LIMIT_MS);
    });
    expect((await machine.instances()).map((instance) => instance.release)).toEqual([release, release]);
    expect(await draw((await first()).url ?? '', 3_000)).toBe('success');
  });

  it('goes without a trace when it is told to', async () => {
    expect(await machine.install(['uninstall', '--purge', '--yes'])).toMatchObject({ code: 0 });
    expect((await machine.run(['pgrep', '-f', 'main.py|__pm2-daemon'])).stdout).toBe('');
    expect((await machine.run(['ls', '-A', '/workspace'])).stdout).toBe('');
  });
});
