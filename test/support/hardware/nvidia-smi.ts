import { chmodSync, copyFileSync, mkdirSync, readdirSync, symlinkSync } from 'node:fs';
import { mkdtemp, readFile, rename, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';

/** Described in test/fixtures/nvidia-smi/fake-nvidia-smi. */
export type Switches = Readonly<Record<string, string | number>>;

export interface FakeNvidiaSmi {
  /** Holds `nvidia-smi`: put it first on PATH. */
  readonly directory: string;
  readonly program: string;
  /** Replaces its switches. */
  readonly control: (switches: Switches) => Promise<void>;
  /** What was called, "<pid> <arguments>" each. */
  readonly calls: () => Promise<readonly string[]>;
  readonly remove: () => Promise<void>;
}

const FIXTURES = resolve(import.meta.dirname, '../../fixtures/nvidia-smi');

/** An nvidia-smi that plays a recorded set: a file name without .txt in test/fixtures/nvidia-smi. */
export async function installFakeNvidiaSmi(switches: Switches = {}): Promise<FakeNvidiaSmi> {
  const directory = await mkdtemp(join(tmpdir(), 'nvidia-smi-'));
  const log = join(directory, 'calls.log');
  const program = join(directory, 'nvidia-smi');
  await symlink(join(FIXTURES, 'fake-nvidia-smi'), program);
  const control: FakeNvidiaSmi['control'] = (next) => writeSwitches(directory, { log, ...next });
  await control(switches);
  return {
    directory,
    program,
    control,
    calls: async () => (await readFile(log, 'utf8').catch(() => '')).split('\n').filter((line) => line !== ''),
    remove: () => rm(directory, { recursive: true, force: true, maxRetries: 5 }),
  };
}

/** Where a machine of its own root has programs that its units find. */
const INSIDE = '/usr/local/bin';
const SETS_INSIDE = '/opt/fake-driver';

/** The same in another root, for everybody there to run. @param at its paths as seen from here */
export async function installFakeDriver(at: (path: string) => string, switches: Switches): Promise<void> {
  mkdirSync(at(SETS_INSIDE), { recursive: true });
  for (const name of readdirSync(FIXTURES)) copyFileSync(join(FIXTURES, name), at(`${SETS_INSIDE}/${name}`));
  chmodSync(at(`${SETS_INSIDE}/fake-nvidia-smi`), 0o755);
  symlinkSync(`${SETS_INSIDE}/fake-nvidia-smi`, at(`${INSIDE}/nvidia-smi`));
  await controlFakeDriver(at, switches);
}

export const controlFakeDriver = (at: (path: string) => string, switches: Switches): Promise<void> => writeSwitches(at(INSIDE), switches);

async function writeSwitches(directory: string, switches: Switches): Promise<void> {
  const lines = Object.entries(switches).map(([key, value]) => `${key}=${value}\n`);
  await writeFile(join(directory, 'new.conf'), lines.join(''));
  await rename(join(directory, 'new.conf'), join(directory, 'fake-nvidia-smi.conf'));
}
