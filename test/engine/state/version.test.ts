import { beforeEach, describe, expect, it } from 'vitest';
import { type Migration, openState, requireReadable } from '../../../src/engine/state/version.ts';
import { createFakeFiles } from '../../fakes/files.ts';

const STATE = '/state';
let files: ReturnType<typeof createFakeFiles>;
let log: string[];
beforeEach(() => {
  files = createFakeFiles();
  files.put('/state/.keep');
  log = [];
});

const migration = (to: number): Migration => ({
  to,
  add: async () => void log.push(`add ${to}`),
  finish: async () => void log.push(`finish ${to}`),
});
const MIGRATIONS = [migration(2), migration(3)];
const written = async (): Promise<unknown> => JSON.parse((await files.readText(`${STATE}/version.json`)) ?? 'null');

describe('the version of the state', () => {
  it('is noted by the first agent, which has nothing to bring over', async () => {
    await openState(files, STATE, MIGRATIONS, 3);
    expect(log).toEqual([]);
    expect(await written()).toEqual({ version: 3, minimum: 3, writer: 3 });
  });

  it('goes up in steps that add, and what was goes when the new agent has proved itself', async () => {
    await openState(files, STATE, [], 1);
    const state = await openState(files, STATE, MIGRATIONS, 3);
    expect(log).toEqual(['add 2', 'add 3']);
    expect(await written()).toEqual({ version: 3, minimum: 1, writer: 3 });
    await state.prove();
    await state.prove();
    expect(log).toEqual(['add 2', 'add 3', 'finish 2', 'finish 3']);
    expect(await written()).toEqual({ version: 3, minimum: 3, writer: 3 });
  });

  it('until then the agent before goes on with it, and takes nothing back', async () => {
    await openState(files, STATE, [], 1);
    await openState(files, STATE, MIGRATIONS, 3);
    const old = await openState(files, STATE, [], 1);
    await old.prove();
    expect(await written()).toEqual({ version: 3, minimum: 1, writer: 1 });
    // And the new one again: what the old one wrote meanwhile is brought over when it has proved itself.
    log = [];
    const again = await openState(files, STATE, MIGRATIONS, 3);
    await again.prove();
    expect(log).toEqual(['add 2', 'add 3', 'finish 2', 'finish 3']);
  });

  it('that was proved is refused by an older agent, which changes nothing', async () => {
    await (await openState(files, STATE, MIGRATIONS, 3)).prove();
    await expect(openState(files, STATE, [], 2)).rejects.toMatchObject({ code: 'STATE_TOO_NEW' });
    await expect(requireReadable(files, STATE, 2)).rejects.toMatchObject({
      message: '/state has state of version 3, for agents that read 3 or newer; this one reads 2',
    });
    expect(await written()).toEqual({ version: 3, minimum: 3, writer: 3 });
  });

  it('that nobody understands is refused too, and kept', async () => {
    files.put(`${STATE}/version.json`, '{"version":"four"}');
    await expect(openState(files, STATE)).rejects.toMatchObject({ code: 'STATE_TOO_NEW' });
    expect(await files.readText(`${STATE}/version.json`)).toBe('{"version":"four"}');
  });
});
