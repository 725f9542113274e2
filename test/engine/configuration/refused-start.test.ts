import { describe, expect, it } from 'vitest';
import { AgentError } from '../../../src/domain/errors/errors.ts';
import type { ErrorCode } from '../../../src/domain/errors/registry.ts';
import { orRefuse } from '../../../src/engine/configuration/refused-start.ts';
import { createFakeServiceManager } from '../../fakes/service-manager.ts';

const FILE = '/etc/comfylet/agent.yaml';
const SECRETS = '/etc/comfylet/agent.env';
const FACTS = { agent: '0.2.0', commit: null, node: '24', pm2: '7', sha256: 'x' };
const PENDING = JSON.stringify({
  schema: 1,
  startedAt: '2026-11-21T00:00:00.000Z',
  target: '/usr/local/bin/agent',
  from: FACTS,
  to: FACTS,
  by: { pid: 7, startTicks: '1' },
  starts: 0,
});
const invalid = () => new AgentError('CONFIG_INVALID', `${FILE}:3: gpu.pin: found "sideways"; allowed: uuid, index`);

/** Tries to start, and fails with the error; while it settles, `meanwhile` may happen to the files. */
async function start(
  error: unknown,
  {
    managed = true,
    pending = false,
    meanwhile = () => undefined as unknown,
  }: {
    readonly managed?: boolean;
    readonly pending?: boolean;
    readonly meanwhile?: (times: Map<string, number>) => unknown;
  } = {},
) {
  const times = new Map([[FILE, 1]]);
  const { manager, heard } = createFakeServiceManager();
  const slept: number[] = [];
  const thrown = await orRefuse(
    {
      manager: managed ? manager : null,
      files: {
        modifiedAt: async (path) => times.get(path) ?? null,
        readText: async (path) => (pending && path === '/var/lib/comfylet-upgrade/upgrade.json' ? PENDING : null),
      },
      clock: {
        sleep: async (ms) => {
          slept.push(ms);
          meanwhile(times);
        },
      },
      watched: [FILE, SECRETS],
      stateDirectory: '/var/lib/comfylet',
      stop: new AbortController().signal,
    },
    () => (error === null ? Promise.resolve() : Promise.reject(error)),
  ).catch((reason: unknown) => reason);
  return {
    code: (thrown as AgentError | undefined)?.code ?? null,
    exitCode: (thrown as AgentError | undefined)?.exitCode ?? 0,
    heard,
    slept,
  };
}

describe('an agent that cannot start', () => {
  it('tells place, fault and remedy in one line, and stays down when only a person can mend it', async () => {
    const { code, exitCode, heard } = await start(invalid());
    expect([code, exitCode]).toEqual(['CONFIG_INVALID', 2]);
    expect(heard).toEqual([
      {
        status: `not started: ${FILE}:3: gpu.pin: found "sideways"; allowed: uuid, index; correct the named key; \`agent config check\` shows all problems. It starts by itself when that is mended`,
      },
    ]);
  });

  const codes: readonly [code: ErrorCode, exitCode: number][] = [
    ['CONFIG_NOT_FOUND', 2],
    ['SSH_KEY_INVALID', 2],
    ['ROOT_LOCKED', 5],
    ['ROOT_NOT_WRITABLE', 1],
    ['LISTEN_FAILED', 1],
    ['DISK_FULL', 1],
  ];
  it.each(codes)('%s ends it with exit code %d', async (code, exitCode) => {
    const { heard, slept, ...told } = await start(new AgentError(code, 'it is so'));
    expect(told).toEqual({ code, exitCode });
    expect(heard).toEqual([{ status: expect.stringMatching(/^not started: it is so; /) }]);
    // What may mend by itself is tried again at once.
    expect(slept).toHaveLength(exitCode === 2 ? 1 : 0);
  });

  it.each([
    ['the configuration', FILE],
    ['the secrets', SECRETS],
  ])('an edit of %s while it looks starts it anew', async (_, path) => {
    const { code, exitCode } = await start(invalid(), { meanwhile: (times) => times.set(path, 2) });
    expect([code, exitCode]).toEqual(['HELD', 5]);
  });

  it('a new program that refuses the configuration is started again, until the one before comes back', async () => {
    expect((await start(invalid(), { pending: true })).exitCode).toBe(5);
  });

  it('whoever started it by hand is told by the error alone, at once', async () => {
    const { code, heard, slept } = await start(invalid(), { managed: false, pending: true });
    expect([code, heard, slept]).toEqual(['CONFIG_INVALID', [], []]);
  });

  it('says nothing when all is well', async () => {
    expect(await start(null)).toMatchObject({ code: null, heard: [], slept: [] });
  });
});
