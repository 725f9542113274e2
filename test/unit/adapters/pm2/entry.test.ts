import { describe, expect, it } from 'vitest';
import { toPm2Entry } from '../../../../ecosystem.template.js';
import { parseRows, prepareArgument } from '../../../../src/adapters/pm2/entry.ts';
import { pm2Paths } from '../../../../src/adapters/pm2/paths.ts';
import { type InstanceLaunch, Pm2Entry } from '../../../../src/domain/instances/instance.ts';

const launch: InstanceLaunch = {
  name: 'comfyui-gpu3',
  gpu: 3,
  python: '/w/releases/r1/venv/bin/python',
  checkout: '/w/releases/r1/ComfyUI',
  arguments: ['--port', '8191'],
  environment: { PATH: '/bin', CUDA_VISIBLE_DEVICES: 'GPU-1', AGENT_INSTANCE: 'wrong' },
  logFile: '/w/logs/comfyui-gpu3.log',
  killTimeoutMs: 15_000,
  restartDelayMs: 250,
  release: 'r1',
};

describe('ecosystem.template.js', () => {
  it('gives an entry that its schema takes', () => {
    const entry = toPm2Entry(launch);
    expect(Pm2Entry.parse(entry)).toEqual(entry);
    expect(entry.args.slice(2)).toEqual(['comfyui-gpu3', launch.python, '-u', 'main.py', '--port', '8191']);
    expect(entry.env).toEqual({
      PATH: '/bin',
      CUDA_VISIBLE_DEVICES: 'GPU-1',
      AGENT_INSTANCE: 'comfyui-gpu3',
      AGENT_LOG_FILE: launch.logFile,
    });
    expect(entry).toMatchObject({ cwd: launch.checkout, kill_timeout: 15_000, restart_delay: 250, autorestart: true });
  });

  it('puts nothing of the launch into the text that the shell reads', () => {
    const hostile = '"; touch /tmp/x; $(id) `id` \n';
    const [flag, text] = toPm2Entry({ ...launch, arguments: [hostile], python: hostile, logFile: hostile }).args;
    expect([flag, text]).toEqual(toPm2Entry(launch).args.slice(0, 2));
  });
});

describe('prepareArgument', () => {
  it('has a digest of the entry, unless the caller gave one', () => {
    const environmentOf = (entry: Pm2Entry) => (prepareArgument(entry, pm2Paths('/h')) as { env: Record<string, string> }).env;
    const entry = toPm2Entry(launch);
    const digest = environmentOf(entry)['AGENT_ENTRY_DIGEST'];
    expect(digest).toMatch(/^[0-9a-f]{16}$/);
    expect(environmentOf(toPm2Entry({ ...launch, killTimeoutMs: 1 }))['AGENT_ENTRY_DIGEST']).not.toBe(digest);
    expect(environmentOf({ ...entry, env: { ...entry.env, AGENT_ENTRY_DIGEST: 'mine' } })['AGENT_ENTRY_DIGEST']).toBe('mine');
  });
});

describe('parseRows', () => {
  const row = (status: string, pid: number | undefined) => ({
    ...(pid === undefined ? {} : { pid }),
    name: 'comfyui-gpu0',
    pm_id: 4,
    pm2_env: {
      status,
      restart_time: 2,
      pm_uptime: 5,
      kill_timeout: 9,
      env: { AGENT_ENTRY_DIGEST: 'd', AGENT_RELEASE: 'r', AGENT_PORT: '8190' },
    },
  });

  it.each([
    ['online', 17, 'online', 17],
    // PM2 could not spawn it, and does not try again.
    ['online', undefined, 'errored', null],
    // The pid is of the process that ended.
    ['waiting restart', 17, 'waiting restart', null],
    // Nothing is waited for: it was stopped, or given up.
    ['waiting restart', 0, 'stopped', null],
    ['stopping', 17, 'stopping', 17],
    ['stopped', 0, 'stopped', null],
    // It survived SIGKILL.
    ['errored', 17, 'errored', 17],
  ])('%s with pid %s is %s with %s', (status, pid, shown, shownPid) => {
    expect(parseRows([row(status, pid)])).toEqual([
      {
        id: 4,
        killTimeoutMs: 9,
        state: {
          name: 'comfyui-gpu0',
          status: shown,
          pid: shownPid,
          respawns: 2,
          entryDigest: 'd',
          release: 'r',
          tcpPort: 8190,
          startedAt: 5,
        },
      },
    ]);
  });

  it.each([[null], [{}], [[{ name: 'x' }]], ['text']])('refuses %j', (answer) => {
    expect(() => parseRows(answer)).toThrow(expect.objectContaining({ code: 'PM2_UNAVAILABLE' }));
  });
});
