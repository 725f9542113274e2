import { afterEach, describe, expect, it } from 'vitest';
import { AgentError } from '../../../src/domain/errors/errors.ts';
import type { OperationDocument, OperationRequest } from '../../../src/domain/operation.ts';
import { COMFYUI, configNodes, INDEX, packUrl, push, repositories } from '../../support/machine/fake-repositories.ts';
import { aMachine, aReadyMachine, type Machine } from '../../support/machine/machine.ts';
import { createWorld, SIMULATOR_TREE } from '../../support/machine/world.ts';

let machine: Machine;
afterEach(async () => {
  await machine.stop();
});

/** One pack with a requirement and a script, so that every step has something to do. */
async function lab(): Promise<void> {
  const packs = { 'ComfyUI-One': 'numpy', 'ComfyUI-Two': null, 'ComfyUI-Three': null };
  const world = await createWorld({ repositories: repositories(packs), index: INDEX });
  const nodes = configNodes({ name: 'ComfyUI-One', custom_script: 'true' }, 'ComfyUI-Two', 'ComfyUI-Three');
  world.files.put('/workspace/shared/config_nodes.json', nodes);
  const config = { comfyui: { repository: COMFYUI }, install: { validateTimeoutMs: 30_000, concurrency: 2 } };
  machine = await aMachine({ world, config });
}

const install = async (request: OperationRequest = { kind: 'reinstall' }): Promise<OperationDocument> => {
  // Releases are named by the second.
  await machine.advance(1_000);
  return machine.finished(await machine.core.agent.startOperation(request));
};
/** What is locked is not looked for again. */
const UPDATE: OperationRequest = { kind: 'update', moves: { all: true, core: null, packs: {} } };
const current = () => machine.world.files.readLink('/workspace/current');
const releases = () => machine.world.files.list('/workspace/releases');
const broken = () => new Error('input/output error');
const full = () => Object.assign(new Error('ENOSPC: no space left on device'), { code: 'ENOSPC' });

interface Failure {
  readonly step: string;
  readonly what: string;
  readonly cause: () => unknown;
  readonly code: string;
  readonly message?: RegExp;
  /** Default: reinstall. */
  readonly request?: OperationRequest;
}

const failures: readonly Failure[] = [
  {
    step: 'prepare',
    what: 'too little room on the disk',
    cause: () => {
      machine.world.files.freeDiskBytes = 100 * 1024 ** 2;
    },
    code: 'DISK_FULL',
    message: /^\/workspace has 100 MiB free; a new release takes about .* 512 MiB stay free$/,
  },
  {
    step: 'prepare',
    what: 'a disk that takes no more files',
    cause: () => {
      machine.world.files.freeDiskInodes = { free: 0, total: 2_500 };
    },
    code: 'DISK_FULL',
    message: /^\/workspace has 0 of 2500 inodes free: no file can be made, whatever space there is$/,
  },
  { step: 'prepare', what: 'a leftover that cannot be removed', cause: () => leftover(), code: 'INTERNAL' },
  {
    step: 'source',
    what: 'a repository that is gone',
    cause: () => delete machine.world.repositories[COMFYUI],
    code: 'REPOSITORY_NOT_FOUND',
  },
  {
    step: 'source',
    what: 'a repository of something else',
    cause: () => push(machine.world.repositories[COMFYUI], 'ComfyUI', { 'README.md': 'nothing here' }),
    request: UPDATE,
    code: 'NOT_COMFYUI',
    message: /has no main\.py$/,
  },
  {
    step: 'packs',
    what: 'a disk that is full',
    cause: () => {
      machine.world.beforeGit = (_, { url }) => {
        if (url === packUrl('ComfyUI-One')) throw new AgentError('DISK_FULL', 'the disk is full');
      };
    },
    code: 'DISK_FULL',
  },
  {
    step: 'resolve',
    what: 'no python',
    cause: () => machine.world.python.failNext('create', new AgentError('PYTHON_MISSING', 'no usable python was found')),
    code: 'PYTHON_MISSING',
  },
  {
    step: 'resolve',
    request: UPDATE,
    what: 'requirements of ComfyUI that cannot be met',
    cause: () => machine.world.python.failNext('resolve', new AgentError('REQUIREMENTS_UNRESOLVED', 'ComfyUI: torch was not found')),
    code: 'REQUIREMENTS_UNRESOLVED',
  },
  {
    step: 'environment',
    what: 'packages that cannot be fetched',
    cause: () => machine.world.python.failNext('install', new AgentError('ENVIRONMENT_FAILED', 'Connection refused')),
    code: 'ENVIRONMENT_FAILED',
  },
  {
    step: 'pack-setup',
    what: 'a script that cannot be run',
    cause: () => void machine.wires.fail('shell.run', broken(), 'bash'),
    code: 'INTERNAL',
  },
  {
    step: 'links',
    what: 'a link that cannot be made',
    cause: () => void machine.wires.fail('files.link', full(), '/workspace/shared/inputs'),
    code: 'DISK_FULL',
  },
  {
    step: 'validate',
    what: 'a trial that ends',
    cause: () =>
      machine.world.shell.onSpawn((child) => {
        child.line('Traceback (most recent call last):');
        child.line("ModuleNotFoundError: No module named 'torchsde'");
        child.line('');
        child.exit({ exitCode: 1 });
      }),
    code: 'VALIDATION_FAILED',
    message: /it ended while starting \(exit code 1\); last line: ModuleNotFoundError: No module named 'torchsde'$/,
  },
  {
    step: 'validate',
    what: 'a trial whose log stands still',
    cause: () => machine.world.shell.onSpawn((child) => child.line('Loading weights')),
    code: 'VALIDATION_FAILED',
    message: /its log has not moved for 30 s; last line: Loading weights$/,
  },
  {
    step: 'validate',
    what: 'a canary that fails',
    cause: () =>
      machine.world.shell.onSpawn((child) => {
        child.line('CUDA error: no kernel image is available');
        const url = `http://127.0.0.1:${child.args[child.args.indexOf('--port') + 1]}`;
        machine.world.comfy.serve(url).jobError = { nodeType: 'EmptyImage', exceptionType: 'RuntimeError', message: 'no kernel image' };
      }),
    code: 'VALIDATION_FAILED',
    message: /the canary failed in EmptyImage: RuntimeError: no kernel image; last line: CUDA error/,
  },
  {
    step: 'activate',
    what: 'a disk that is full',
    cause: () => {
      machine.world.files.before = (call, path) => {
        if (call === 'writeText' && path.endsWith('/release.json')) throw full();
      };
    },
    code: 'DISK_FULL',
  },
];

/** Something half built that the disk does not give up. */
function leftover(): void {
  machine.world.files.put('/workspace/releases/20260101-000000-aaaaaaaa/ComfyUI/main.py');
  machine.wires.fail('files.remove', broken(), '/workspace/releases/20260101-000000-aaaaaaaa');
}

describe('an installation that fails', () => {
  for (const { step, what, cause, code, message, request } of failures) {
    it(`in ${step} (${what}) leaves the release in place as it was, and is told`, async () => {
      await lab();
      expect((await install()).state).toBe('succeeded');
      const before = await current();
      const tree = machine.world.files.tree(before ?? '');
      cause();
      const operation = await install(request);
      expect(operation).toMatchObject({ state: 'failed', error: { code }, install: { step, lastError: { code } } });
      if (message !== undefined) expect(operation.error?.message).toMatch(message);
      expect(operation.install?.steps.find(({ name }) => name === step)?.state).toBe('failed');
      expect(await current()).toBe(before);
      expect(machine.world.files.tree(before ?? '')).toEqual(tree);
      for (const name of await releases()) {
        const path = `/workspace/releases/${name}`;
        expect(await machine.world.files.exists(`${path}/release.json`)).toBe(path === before);
      }
      expect(machine.journal('install.failed')).toHaveLength(1);
      expect(machine.world.shell.running).toBe(0);
      expect(await machine.world.files.exists('/workspace/instances/.trial')).toBe(false);
    });
  }

  it('is cleared away by the next one', async () => {
    await lab();
    machine.world.python.failNext('install', new AgentError('ENVIRONMENT_FAILED', 'Connection refused'));
    await install();
    const [half] = await releases();
    expect(await machine.world.files.readText(`/workspace/releases/${half}/failed.json`)).toContain('Connection refused');
    expect((await install()).state).toBe('succeeded');
    expect(await releases()).toEqual([((await current()) ?? '').split('/').at(-1)]);
  });

  it('does not take away the release that instances run from, even when its record is lost', async () => {
    const world = await createWorld();
    machine = await aReadyMachine({ world });
    const before = (await current()) ?? '';
    world.files.before = (call, path) => {
      if (call === 'copyTree' && path.startsWith('/workspace/releases')) throw full();
    };
    await world.files.remove(`${before.replace('/releases/', '/agent-only/releases/')}/release.json`);
    await machine.advance(60_000);
    expect(machine.journal('install.failed').length).toBeGreaterThan(0);
    expect(await world.files.exists(`${before}/ComfyUI/main.py`)).toBe(true);
    expect(world.running().size).toBe(2);
    world.files.before = null;
    await machine.until('a new release is in place', () => machine.core.documents().installation.ok);
    expect(await current()).not.toBe(before);
  });

  it('something that is no link at the place of `current` is left alone, and told', async () => {
    await lab();
    machine.world.files.put('/workspace/current/notes.txt', 'mine');
    expect(await install()).toMatchObject({
      state: 'failed',
      error: { code: 'ROOT_NOT_WRITABLE', help: expect.stringContaining('move it away') as string },
    });
    expect(await machine.world.files.readText('/workspace/current/notes.txt')).toBe('mine');
    expect(await releases()).toEqual([]);
  });

  it('a directory at the install path is left alone and no failure', async () => {
    await lab();
    machine.world.files.put('/workspace/ComfyUI/main.py', 'mine');
    expect((await install()).state).toBe('succeeded');
    expect(machine.world.files.tree('/workspace/ComfyUI')).toEqual(['main.py']);
    await machine.step();
    expect(machine.core.documents().installation.warnings.join()).toContain('/workspace/ComfyUI is no link and was left alone');
  });

  it('takes back nothing of its progress', async () => {
    await lab();
    machine.world.python.failNext('install', new AgentError('ENVIRONMENT_FAILED', 'Connection refused'));
    const { id } = await machine.core.agent.startOperation({ kind: 'install' });
    const seen: number[] = [];
    const following = (async () => {
      for await (const { install: progress } of machine.core.operations.follow(id, new AbortController().signal))
        seen.push(progress?.progress ?? 0);
    })();
    await machine.finished(machine.core.operations.get(id));
    await following;
    expect(seen.at(-1)).toBe(Math.max(...seen));
    expect(seen.at(-1)).toBeGreaterThan(0.3);
  });

  it('lets packs that are being fetched end before it ends itself, and begins no other', async () => {
    await lab();
    const asked: string[] = [];
    const { promise, resolve } = Promise.withResolvers<void>();
    machine.world.beforeGit = async (_, { url }) => {
      asked.push(url);
      if (url === packUrl('ComfyUI-One')) throw new AgentError('DISK_FULL', 'the disk is full');
      if (url === packUrl('ComfyUI-Two')) await promise;
    };
    await machine.advance(1_000);
    const { id } = await machine.core.agent.startOperation({ kind: 'install' });
    await machine.advance(1_000);
    expect(machine.core.operations.get(id).state).toBe('running');
    resolve();
    expect(await machine.finished(machine.core.operations.get(id))).toMatchObject({ state: 'failed', error: { code: 'DISK_FULL' } });
    expect(asked).toEqual([COMFYUI, packUrl('ComfyUI-One'), packUrl('ComfyUI-Two')]);
  });

  it('is ended by the end of the agent, and the trial with it', async () => {
    await lab();
    machine.world.shell.onSpawn((child) => child.line('Loading weights'));
    const { id } = await machine.core.agent.startOperation({ kind: 'install' });
    await machine.advance(5_000);
    expect(machine.world.shell.running).toBe(1);
    const closing = machine.core.close();
    await machine.advance(1_000);
    await closing;
    expect(machine.core.operations.get(id)).toMatchObject({ state: 'cancelled' });
    expect(machine.world.shell.running).toBe(0);
    expect(await current()).toBeNull();
  });

  it('on a bare machine is tried again with pauses that grow, and not at all when it cannot help', async () => {
    const world = await createWorld();
    machine = await aMachine({ world });
    world.files.before = (call, path) => {
      if (call === 'copyTree' && path.startsWith('/workspace/releases')) throw full();
    };
    await machine.start();
    await machine.advance(120_000);
    const tries = machine.journal('install.failed').length;
    expect(tries).toBeGreaterThan(2);
    expect(tries).toBeLessThan(6);
    expect(machine.core.documents().installation).toMatchObject({ status: 'broken', ok: false, lastError: { code: 'DISK_FULL' } });
    expect(machine.core.documents().health.holds).toContainEqual(
      expect.objectContaining({
        target: 'installation',
        code: 'DISK_FULL',
        reason: expect.stringMatching(/tried again in \d+ s/) as string,
      }),
    );
    world.files.before = null;
    await world.files.remove(`${SIMULATOR_TREE}/main.py`);
    await machine.advance(300_000);
    const last = machine.journal('install.failed');
    expect(last.at(-1)?.data['code']).toBe('NOT_COMFYUI');
    await machine.advance(1_000_000);
    expect(machine.journal('install.failed')).toHaveLength(last.length);
  });
});
