import { describe, expect, it } from 'vitest';
import { AgentError } from '../../../src/domain/errors/errors.ts';
import type { Incarnation } from '../../../src/domain/instances/instance.ts';
import type { ProcessIdentity } from '../../../src/domain/instances/ownership.ts';
import { instanceClaim, withTheirTrees } from '../../../src/engine/instances/ownership.ts';
import { findUnhosted } from '../../../src/engine/instances/unhosted.ts';
import type { Kernel } from '../../../src/ports/kernel.ts';

/** Who may be signalled. A kernel that is scripted look by look: between two looks a pid may have gone to another. */

const at = (pid: number, startTicks = '1'): Incarnation => ({ pid, startTicks, startedAt: '2026-01-01T00:00:00.000Z' });
const identity = (pid: number, environment: Readonly<Record<string, string>>, startTicks = '1'): ProcessIdentity => ({
  incarnation: at(pid, startTicks),
  environment,
});
const OURS = { AGENT_ROOT: '/workspace', AGENT_INSTANCE: 'comfyui-gpu0' };
type Look = ProcessIdentity | null | 'hidden';

/** @param looks what is seen of pid 100, look by look; the last one stays */
const kernelOf = (looks: readonly Look[], marked: readonly number[] = [100]): Kernel => {
  let look = 0;
  const refuse = (name: string) => () => Promise.reject(new Error(`${name} is not asked here`));
  const kernel: Partial<Kernel> = {
    identity: async () => {
      const seen = looks[Math.min(look, looks.length - 1)] ?? null;
      look += 1;
      if (seen === 'hidden') throw new AgentError('FILE_UNREADABLE', 'hidden');
      return seen;
    },
    tree: async (pid) => [pid, 101, 102],
    incarnation: async (pid) => at(pid),
    withEnvironment: async () => marked,
    environmentOf: async (_, name) => OURS[name as keyof typeof OURS] ?? null,
    command: async () => 'python main.py',
  };
  return new Proxy(kernel, { get: (target, name) => Reflect.get(target, name) ?? refuse(String(name)) }) as Kernel;
};
const claim = instanceClaim(['/workspace'], ['comfyui-gpu0']);
const ofOurs = identity(100, OURS);
const another = identity(100, OURS, '2');
const stranger = identity(100, { AGENT_ROOT: '/elsewhere', AGENT_INSTANCE: 'comfyui-gpu0' });

describe('processes with all that they have started', () => {
  const pids = async (looks: readonly Look[], spared: readonly number[] = []) =>
    (await withTheirTrees({ kernel: kernelOf(looks) }, [{ pid: 100, claim }], new Set(spared))).map(({ pid }) => pid);

  it.each<[string, readonly Look[], readonly number[]]>([
    ['of ours are theirs', [ofOurs], [100, 101, 102]],
    ['of a stranger are not', [stranger], []],
    ['of one that is gone are not', [null], []],
    ['of one that cannot be looked at are not', ['hidden'], []],
    ['of one whose pid went to a stranger while its tree was walked are not', [ofOurs, stranger], []],
    ['of one whose pid went to another of ours meanwhile are not', [ofOurs, another], []],
    ['of one that ended meanwhile are not', [ofOurs, null], []],
    ['of one that was hidden meanwhile are not', [ofOurs, 'hidden'], []],
  ])('%s', async (_, looks, expected) => expect(await pids(looks)).toEqual(expected));

  it('without those that are spared', async () => {
    expect(await pids([ofOurs], [101])).toEqual([100, 102]);
  });
});

describe('marked processes that nobody hosts', () => {
  const found = async (looks: readonly Look[]) =>
    (await findUnhosted({ kernel: kernelOf(looks), files: { realPath: async () => null } as never }, '/workspace', [])).map(
      ({ name }) => name,
    );

  it.each<[string, readonly Look[], readonly string[]]>([
    ['of this root are found', [ofOurs], ['comfyui-gpu0']],
    ['of another root are not', [stranger], []],
    ['that are gone are not', [null], []],
    ['that cannot be looked at are not', ['hidden'], []],
  ])('%s', async (_, looks, expected) => expect(await found(looks)).toEqual(expected));
});
