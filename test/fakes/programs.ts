import type { VersionDocument } from '../../src/domain/agent.ts';
import { AgentError } from '../../src/domain/errors/errors.ts';
import { type PendingUpgrade, type Programs, previousOf, type UpgradeProof } from '../../src/domain/host/upgrade.ts';
import type { StateVersion } from '../../src/domain/state/version.ts';

export interface FakeProgram {
  readonly sha256: string;
  /** null: no program that can be asked. */
  readonly version: VersionDocument | null;
}

export interface FakePrograms extends Programs {
  /** By path or URL. */
  readonly files: Map<string, FakeProgram>;
  readonly small: Map<string, Uint8Array>;
  readonly done: string[];
  readonly alive: Set<number>;
  saved: PendingUpgrade | null;
  proved: UpgradeProof | null;
  state: StateVersion | null;
  /** The call of this name fails from now on, as one that is cut off does. */
  cutAt: string | null;
}

/** Programs as names with digests, in memory. */
export function createFakePrograms(): FakePrograms {
  const files = new Map<string, FakeProgram>();
  const small = new Map<string, Uint8Array>();
  const fake: FakePrograms = {
    files,
    small,
    done: [],
    alive: new Set(),
    saved: null,
    proved: null,
    state: null,
    cutAt: null,
    bring: async (source, target, { onProgress }) => {
      step('bring');
      const found = need(source);
      const file = `${target}.fresh`;
      files.set(file, found);
      onProgress(1, 1);
      return { file, sha256: found.sha256, bytes: 1 };
    },
    bytes: async (source) => {
      const found = small.get(source);
      if (found === undefined) throw new AgentError('SIGNATURE_INVALID', `${source} cannot be read`);
      return found;
    },
    sha256: async (file) => need(file).sha256,
    inspect: async (file) => {
      const { version } = need(file);
      if (version === null) throw new AgentError('BINARY_INVALID', `${file} is no Linux program`);
      return version;
    },
    replace: async (target, fresh, previous) => {
      step('replace');
      files.set(previous, need(target));
      files.set(target, need(fresh));
      files.delete(fresh);
    },
    goBack: async (target, sha256) => {
      step('goBack');
      const previous = need(previousOf(target));
      if (previous.sha256 !== sha256) throw new AgentError('UPGRADE_REFUSED', 'it is not the program that was in place before');
      files.set(target, previous);
    },
    remove: async (file) => void files.delete(file),
    pending: async () => fake.saved,
    requireSafe: async () => undefined,
    proof: async () => fake.proved,
    savePending: async (pending) => {
      step('savePending');
      fake.saved = pending;
    },
    stateVersion: async () => fake.state,
    own: () => ({ pid: 4242, startTicks: '7' }),
    lives: ({ pid }) => fake.alive.has(pid),
  };
  const step = (name: string): void => {
    if (fake.cutAt === name) throw new AgentError('INTERNAL', `cut at ${name}`);
    fake.done.push(name);
  };
  const need = (file: string): FakeProgram => {
    const found = files.get(file);
    if (found === undefined) throw new AgentError('BINARY_INVALID', `${file} does not exist`);
    return found;
  };
  return fake;
}
