import { execFileSync } from 'node:child_process';
import { mkdir, readdir, rm, symlink, truncate, utimes, writeFile } from 'node:fs/promises';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { addedFiles, changedFiles, recordTree, writeRecords } from '../../../src/adapters/sources/tree.ts';
import { type TempRoot, tempRoot } from '../../support/temp-root.ts';

/** What the agent notes of trees, and what it finds in them later. */

let root: TempRoot;
beforeEach(async () => {
  root = await tempRoot();
});
afterEach(() => root.remove());

/** A place with what a source brought, noted. */
const place = async (name: string, files: number): Promise<string> => {
  const directory = root.at(name);
  await mkdir(`${directory}/nodes`, { recursive: true });
  for (let index = 0; index < files; index += 1) await writeFile(`${directory}/nodes/a-file-with-a-long-name-${index}.py`, `${index}`);
  await writeRecords(root.at('records'), directory, await recordTree(directory));
  return directory;
};
const changed = (directory: string) => changedFiles(root.at('records'), directory);

describe('records of trees', () => {
  it('are all kept when many places get theirs at the same time', async () => {
    const places = await Promise.all(Array.from({ length: 24 }, (_, index) => place(`place-${index}`, 200)));
    for (const each of places) expect([each, await changed(each)]).toEqual([each, []]);
    expect((await readdir(root.at('records'))).filter((name) => !name.endsWith('.json'))).toEqual([]);
  });

  it('are forgotten with their place', async () => {
    const gone = await place('gone', 1);
    await rm(gone, { recursive: true });
    await place('here', 1);
    expect(await changed(gone)).toBeNull();
    expect(await readdir(root.at('records'))).toHaveLength(1);
  });

  it('find what was changed, whatever its time and size say, and wait for nothing that stands in its place', async () => {
    const directory = await place('pack', 7);
    const at = (index: number) => `${directory}/nodes/a-file-with-a-long-name-${index}.py`;
    const then = new Date('2026-01-01T00:00:00Z');
    await writeFile(at(0), 'x');
    await utimes(at(0), then, then);
    for (const index of [1, 2, 3, 4, 5]) await rm(at(index));
    execFileSync('mkfifo', [at(1)]);
    await symlink('/etc/passwd', at(2));
    await mkdir(at(3));
    await writeFile(at(4), '');
    await truncate(at(4), 9 * 1024 ** 3);
    await symlink('/dev/zero', at(5));
    await writeFile(`${directory}/new.py`, '');
    expect(await changed(directory)).toEqual([0, 1, 2, 3, 4, 5].map((index) => `nodes/a-file-with-a-long-name-${index}.py`));
    expect(await addedFiles(root.at('records'), directory)).toEqual(['new.py']);
  });

  it('that are missing are no proof that nothing was changed', async () => {
    const directory = await place('pack', 1);
    await rm(root.at('records'), { recursive: true });
    expect([await changed(directory), await addedFiles(root.at('records'), directory)]).toEqual([null, null]);
  });
});
