import { lchown, lstat, mkdir, readdir, readFile, rename, symlink, writeFile } from 'node:fs/promises';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createFiles } from '../../../src/adapters/files/files.ts';
import { type TempRoot, tempRoot } from '../../support/temp-root.ts';

/** Where another user may write, names become links. What lies outside must not change, nor be moved or copied away. */

const NOBODY = 65_534;
const files = createFiles({ trust: new Set([0]) });
let root: TempRoot;
beforeEach(async () => {
  root = await tempRoot();
  await mkdir(root.at('closed/below'), { recursive: true });
  await writeFile(root.at('closed/secret'), 'secret');
  await mkdir(root.at('open/pack'), { recursive: true });
  await writeFile(root.at('open/pack/file'), 'of the pack');
});
afterEach(() => root.remove());

/** As another user puts it. */
const foreignLink = async (target: string, path: string): Promise<void> => {
  await symlink(target, path);
  await lchown(path, NOBODY, NOBODY);
};
const refused = { code: 'FOREIGN_LINK', message: expect.stringContaining('open/bent is a link of user 65534') as string };

describe.skipIf(process.getuid?.() !== 0)('on the way of a link of another user', () => {
  beforeEach(() => foreignLink(root.at('closed'), root.at('open/bent')));
  afterEach(async () => {
    expect((await readdir(root.at('closed'))).sort()).toEqual(['below', 'secret']);
    expect(await readdir(root.at('closed/below'))).toEqual([]);
    expect(await readFile(root.at('closed/secret'), 'utf8')).toBe('secret');
  });

  it.each<[string, () => Promise<unknown>]>([
    ['nothing is written', () => files.writeText(root.at('open/bent/file'), 'x')],
    ['nothing is appended', () => files.appendLine(root.at('open/bent/secret'), 'x')],
    ['no directory is made', () => files.ensureDirectory(root.at('open/bent/more/below'))],
    ['no mode is changed', () => files.ensureDirectory(root.at('open/bent'), 0o700)],
    ['no link is made', () => files.link('nowhere', root.at('open/bent/link'))],
    ['nothing is removed', () => files.remove(root.at('open/bent/secret'))],
    ['nothing is moved in', () => files.move(root.at('open/pack'), root.at('open/bent/pack'))],
    ['nothing is moved out', () => files.move(root.at('open/bent/secret'), root.at('open/taken'))],
    ['nothing is copied in', () => files.copyTree(root.at('open/pack'), root.at('open/bent'))],
    ['nothing is copied out', () => files.copyTree(root.at('open/bent/below'), root.at('open/taken'))],
    [
      'also when the other user has only moved a link of this one',
      async () => {
        await symlink(root.at('closed'), root.at('open/own'));
        await lchown(root.at('open/own'), 1, 1);
        await rename(root.at('open/own'), root.at('open/moved'));
        await expect(files.writeText(root.at('open/moved/file'), 'x')).rejects.toMatchObject({ code: 'FOREIGN_LINK' });
        return files.writeText(root.at('open/bent/file'), 'x');
      },
    ],
  ])('%s', async (_, work) => {
    await expect(work()).rejects.toMatchObject(refused);
    expect((await readdir(root.at('open'))).sort().filter((name) => name !== 'moved')).toEqual(['bent', 'pack']);
  });

  it('a tree is copied and removed with its links, and not through them', async () => {
    await foreignLink(root.at('closed'), root.at('open/pack/in'));
    await files.copyTree(root.at('open/pack'), root.at('open/copy'));
    expect((await lstat(root.at('open/copy/in'))).isSymbolicLink()).toBe(true);
    await files.remove(root.at('open/pack'));
    await files.remove(root.at('open/bent'));
    expect(await readdir(root.at('open'))).toEqual(['copy']);
  });
});

it.skipIf(process.getuid?.() !== 0)('links of root are followed', async () => {
  await symlink('../closed/below', root.at('open/volume'));
  await files.writeText(root.at('open/volume/file'), 'x');
  await files.ensureDirectory(root.at('open/volume'));
  await files.copyTree(root.at('open/pack'), root.at('open/volume/pack'));
  expect((await readdir(root.at('closed/below'))).sort()).toEqual(['file', 'pack']);
});
