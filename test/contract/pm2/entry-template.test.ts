import { writeFile } from 'node:fs/promises';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createEntryTemplate } from '../../../src/adapters/pm2/entry-template.ts';
import type { InstanceLaunch } from '../../../src/domain/instances/instance.ts';
import { type TempRoot, tempRoot } from '../../support/temp-root.ts';

let root: TempRoot;
beforeEach(async () => {
  root = await tempRoot();
});
afterEach(() => root.remove());

const LAUNCH = { name: 'comfyui-gpu0' } as InstanceLaunch;

describe('a template of the user', () => {
  it('may import zod, which lies nowhere near it, and gets the one of the program', async () => {
    const file = root.at('template.mjs');
    await writeFile(
      file,
      `import { z, string, null as nothing } from 'zod';
       export function toPm2Entry({ name }) {
         string().parse(name);
         if (nothing().safeParse(null).success) throw z.object({}).safeParse(1).error;
       }`,
    );
    const entry = createEntryTemplate().toEntry(LAUNCH, file);
    await expect(entry).rejects.toMatchObject({ code: 'TEMPLATE_INVALID', message: expect.stringContaining('expected object') as string });
  });

  it('that imports what is not there says so', async () => {
    const file = root.at('template.mjs');
    await writeFile(file, `import 'no-such-package';`);
    const entry = createEntryTemplate().toEntry(LAUNCH, file);
    await expect(entry).rejects.toMatchObject({ code: 'TEMPLATE_INVALID', message: expect.stringContaining('no-such-package') as string });
  });
});
