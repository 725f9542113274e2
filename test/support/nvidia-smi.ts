import { mkdtemp, readFile, rename, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';

export interface FakeNvidiaSmi {
  /** Holds `nvidia-smi`: put it first on PATH. */
  readonly directory: string;
  readonly program: string;
  /** Replaces its switches, described in test/fixtures/nvidia-smi/fake-nvidia-smi. */
  readonly control: (switches: Readonly<Record<string, string | number>>) => Promise<void>;
  /** What was called, "<pid> <arguments>" each. */
  readonly calls: () => Promise<readonly string[]>;
  readonly remove: () => Promise<void>;
}

const FIXTURES = resolve(import.meta.dirname, '../fixtures/nvidia-smi');

/** An nvidia-smi that plays a recorded set: a file name without .txt in test/fixtures/nvidia-smi. */
export async function installFakeNvidiaSmi(switches: Readonly<Record<string, string | number>> = {}): Promise<FakeNvidiaSmi> {
  const directory = await mkdtemp(join(tmpdir(), 'nvidia-smi-'));
  const log = join(directory, 'calls.log');
  const program = join(directory, 'nvidia-smi');
  await symlink(join(FIXTURES, 'fake-nvidia-smi'), program);
  const control: FakeNvidiaSmi['control'] = async (next) => {
    const lines = Object.entries({ log, ...next }).map(([key, value]) => `${key}=${value}\n`);
    await writeFile(join(directory, 'new.conf'), lines.join(''));
    await rename(join(directory, 'new.conf'), join(directory, 'fake-nvidia-smi.conf'));
  };
  await control(switches);
  return {
    directory,
    program,
    control,
    calls: async () => (await readFile(log, 'utf8').catch(() => '')).split('\n').filter((line) => line !== ''),
    remove: () => rm(directory, { recursive: true, force: true, maxRetries: 5 }),
  };
}
