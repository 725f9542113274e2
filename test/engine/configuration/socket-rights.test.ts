import { mkdir, mkdtemp, readdir, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { accountsIn } from '../../../src/domain/configuration/access.ts';
import { socketRights } from '../../../src/engine/configuration/socket-rights.ts';
import { anApi } from '../../support/machine/api.ts';

const groups = (text: string | null) => ({ readText: async (path: string) => (path === '/etc/group' ? text : null) });
const FILE = 'root:x:0:\ncomfylet:x:990:ada,grace\nbroken\n';

describe('who may use the socket', () => {
  it.each([
    ['root gives it to the group', FILE, { uid: 0, groups: [0] }, true],
    ['a member gives it to the group', FILE, { uid: 7, groups: [7, 990] }, true],
    ['nobody else can', FILE, { uid: 7, groups: [7] }, false],
    ['without the group it is for the owner', 'root:x:0:\n', { uid: 0, groups: [0] }, false],
    ['also without the file', null, { uid: 0, groups: [0] }, false],
  ])('%s', async (_name, text, self, isShared) => {
    expect(await socketRights(groups(text), self)).toEqual(isShared ? { mode: 0o660, gid: 990, directoryMode: 0o750 } : undefined);
  });

  it('reads accounts, and passes over what is none', () => {
    expect(accountsIn(FILE)).toEqual([
      { name: 'root', id: 0, group: null, members: [] },
      { name: 'comfylet', id: 990, group: null, members: ['ada', 'grace'] },
    ]);
    expect(accountsIn('ada:x:1000:1001:Ada:/home/ada:/bin/sh\n')).toMatchObject([{ name: 'ada', id: 1000, group: 1001 }]);
    expect(accountsIn('')).toEqual([]);
  });
});

describe('the socket', () => {
  let directory = '';
  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), 'agent-rights-'));
  });
  afterEach(() => rm(directory, { recursive: true, force: true }));

  it('has the mode and its directory too, and nothing is made beside that', async () => {
    const run = join(directory, 'run');
    await mkdir(run);
    const before = (await stat(directory)).mtimeMs;
    const api = await anApi();
    await api.listenSocket(join(run, 'agent.sock'), { mode: 0o660, gid: process.getgid?.() ?? 0, directoryMode: 0o750 });
    const modes = await Promise.all([run, join(run, 'agent.sock')].map(async (path) => ((await stat(path)).mode & 0o777).toString(8)));
    expect(modes).toEqual(['750', '660']);
    expect(await readdir(run)).toEqual(['agent.sock']);
    expect((await stat(directory)).mtimeMs).toBe(before);
    await api.close();
  });
});
