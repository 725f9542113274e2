import { accessSync, constants, statSync } from 'node:fs';
import { chmod, mkdir, readdir, stat, symlink, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createFiles } from '../../../src/adapters/files/files.ts';
import { type TempRoot, tempRoot } from '../../support/temp-root.ts';

const files = createFiles();
let root: TempRoot;
beforeEach(async () => {
  root = await tempRoot();
});
afterEach(() => root.remove());

const modeOf = async (path: string): Promise<number> => (await stat(path)).mode & 0o777;

describe('moving to another filesystem', () => {
  const elsewhere = '/dev/shm';
  const why = otherFilesystem(elsewhere, tmpdir());
  let other: TempRoot;
  beforeEach(async (context) => {
    if (why !== null) context.skip(why);
    other = await tempRoot(elsewhere);
  });
  afterEach(() => other?.remove());
  const lay = async (): Promise<void> => {
    await mkdir(root.at('from', 'sub'), { recursive: true });
    await writeFile(root.at('from', 'sub', 'tool'), 'x'.repeat(100_000), { mode: 0o750 });
    await symlink('../elsewhere', root.at('from', 'link'));
    await chmod(root.at('from', 'sub'), 0o710);
    await utimes(root.at('from', 'sub', 'tool'), 1_000, 2_000);
  };
  const expectMoved = async (): Promise<void> => {
    expect(await readdir(root.path)).toEqual([]);
    expect(await readdir(other.path)).toEqual(['to']);
    expect((await readdir(other.at('to'))).toSorted()).toEqual(['link', 'sub']);
    expect(await files.readLink(other.at('to', 'link'))).toBe('../elsewhere');
    expect(await files.size(other.at('to', 'sub', 'tool'))).toBe(100_000);
    expect(await modeOf(other.at('to', 'sub', 'tool'))).toBe(0o750);
    expect(await modeOf(other.at('to', 'sub'))).toBe(0o710);
    expect(await files.modifiedAt(other.at('to', 'sub', 'tool'))).toBe(2_000_000);
  };

  it('takes the whole tree there, as it was, and leaves nothing behind', async () => {
    await lay();
    await files.move(root.at('from'), other.at('to'));
    await expectMoved();
  });

  it('replaces a file, and no directory that is not empty', async () => {
    await writeFile(root.at('file'), 'new');
    await writeFile(other.at('file'), 'old');
    await files.move(root.at('file'), other.at('file'));
    expect(await files.readText(other.at('file'))).toBe('new');
    await mkdir(root.at('from'));
    await mkdir(other.at('full', 'x'), { recursive: true });
    await expect(files.move(root.at('from'), other.at('full'))).rejects.toMatchObject({ code: 'ROOT_NOT_WRITABLE' });
    expect(await readdir(root.path)).toEqual(['from']);
    expect((await readdir(other.path)).toSorted()).toEqual(['file', 'full']);
  });

  it('can be repeated after it was cut while it copied', async () => {
    await lay();
    await mkdir(other.at('.to.arriving', 'sub'), { recursive: true });
    await writeFile(other.at('.to.arriving', 'sub', 'half'), 'x');
    await files.move(root.at('from'), other.at('to'));
    await expectMoved();
  });

  it('keeps the source when the copy does not come about', async () => {
    await lay();
    await expect(files.move(root.at('from'), other.at('missing', 'to'))).rejects.toMatchObject({ code: 'ROOT_NOT_WRITABLE' });
    expect(await files.size(root.at('from', 'sub', 'tool'))).toBe(100_000);
    expect(await readdir(other.path)).toEqual([]);
  });
});

/** Why there is no second filesystem to test with; null when there is one. */
function otherFilesystem(one: string, two: string): string | null {
  try {
    accessSync(one, constants.W_OK);
    return statSync(one).dev === statSync(two).dev ? `${one} and ${two} are on one filesystem` : null;
  } catch {
    return `${one} cannot be written`;
  }
}
