import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import {
  environmentNotes,
  readEnvironmentFile,
  serviceEnvironment,
  unitVariables,
} from '../../../../src/plan/configuration/service-environment.ts';

/** Expected values are those of systemd 252 (`test/host/setup.test.ts` asks a real one for the same file). */
describe('readEnvironmentFile', () => {
  it.each<[string, Record<string, string>, number[]]>([
    ['A=1\nB=two words\n', { A: '1', B: 'two words' }, []],
    ['# comment\n; comment\n\nA=1', { A: '1' }, []],
    ['A= padded \t\nB=', { A: 'padded', B: '' }, []],
    ['A="a \\"quoted\\" $word"\n', { A: 'a "quoted" $word' }, []],
    ["A='it\\n$B'\n", { A: 'it\\n$B' }, []],
    ['A=a#b\n', { A: 'a#b' }, []],
    ['A="two\nlines"\nB=1\n', { A: 'two\nlines', B: '1' }, []],
    ['A=one\\\ntwo\nB=1\n', { A: 'onetwo', B: '1' }, []],
    ['A=1\nA=2\n', { A: '2' }, []],
    ['export A=1\nB: 2\nC=3\n', { C: '3' }, [1, 2]],
    ['A=https://user:pass@host/simple?x=1&y=2\n', { A: 'https://user:pass@host/simple?x=1&y=2' }, []],
    ['# a comment \\\nA=1\nB=2\n', { B: '2' }, []],
    ['A="x"y\'z\'\nB=a"b"\nC="x"\'y\' \n', { A: "xy'z'", B: 'a"b"', C: 'xy' }, []],
    ['', {}, []],
  ])('%j', (text, variables, ignored) => {
    expect(readEnvironmentFile(text)).toEqual({ variables, ignored });
  });
});

describe('serviceEnvironment', () => {
  const unit = readFileSync(join(import.meta.dirname, '../../../../systemd/comfylet.service'), 'utf8');
  it('is what the unit says, and the file has the last word', () => {
    expect(unitVariables(unit)).toEqual({
      AGENT_ROOT: '/workspace',
      AGENT_STATE_DIR: '/var/lib/comfylet',
      AGENT_RUN_DIR: '/run/comfylet',
      AGENT_PM2: 'external',
      AGENT_PM2_HOME: '/run/comfylet-pm2',
      AGENT_COMFYUI_USER: 'comfyui',
      HOME: '/var/lib/comfyui',
      MALLOC_ARENA_MAX: '1',
      NOTIFY_SOCKET: '/run/comfylet-notify/socket',
    });
    const file = readEnvironmentFile('PIP_FIND_LINKS=/srv/wheels\nAGENT_PM2=owned\n');
    expect(serviceEnvironment(unit, file)).toMatchObject({ PIP_FIND_LINKS: '/srv/wheels', AGENT_PM2: 'owned', AGENT_ROOT: '/workspace' });
  });
});

describe('environmentNotes', () => {
  it('tells lines that count for nothing, and what only the caller has; never a value', () => {
    const file = readEnvironmentFile('export NUM_GPUS=2\nMOCK_GPU=1\n');
    const notes = environmentNotes(file, { MOCK_GPU: '1', AGENT_TOKEN: 'hunter2', AGENT_ROOT: '/data', HOME: '/root', COMFYUI_REPO: '' });
    expect(notes).toEqual([
      '/etc/comfylet/agent.env:1 is no NAME=value, and systemd passes over it',
      'AGENT_TOKEN: set here, but not for the service; write it into /etc/comfylet/agent.env',
    ]);
  });
});
