import { gpuOfInstance } from '../../domain/identity.ts';
import type { Incarnation, ProcessState } from '../../domain/instances/instance.ts';
import { INSTANCE_MARK } from '../../domain/instances/ownership.ts';
import type { Ports } from '../../ports.ts';
import { instanceClaim, lookAtOwner, rootNames } from './ownership.ts';

/** What of the marked processes belongs to no entry that PM2 has. */
interface Unhosted {
  readonly name: string;
  readonly gpu: number;
  readonly marked: readonly { readonly incarnation: Incarnation; readonly command: string | null }[];
}

/** Processes with our marks outside of everything that PM2 hosts, by instance. Strangers, and what cannot be told, are not among them. */
export async function findUnhosted(
  ports: Pick<Ports, 'kernel' | 'files'>,
  root: string,
  hosted: readonly ProcessState[],
): Promise<readonly Unhosted[]> {
  const { kernel } = ports;
  const marked = await kernel.withEnvironment(INSTANCE_MARK, null);
  if (marked.length === 0) return [];
  const hostedPids = hosted.flatMap(({ pid }) => (pid === null ? [] : [pid]));
  // A tree that cannot be walked is at least its root.
  const spared = new Set((await Promise.all(hostedPids.map((pid) => kernel.tree(pid).catch(() => [pid])))).flat());
  const unhosted = marked.filter((pid) => !spared.has(pid));
  const roots = await rootNames(ports, root, unhosted);
  const found = new Map<string, Unhosted>();
  for (const pid of unhosted) {
    const name = (await kernel.environmentOf(pid, INSTANCE_MARK)) ?? '';
    const gpu = gpuOfInstance(name);
    // PM2 looks after this instance: what its processes have started apart from themselves is theirs.
    if (gpu === null || hosted.some((process) => process.name === name)) continue;
    const { ownership, identity } = await lookAtOwner(ports, pid, instanceClaim(roots, [name]));
    if (ownership !== 'ours' || identity === null) continue;
    const each = { incarnation: identity.incarnation, command: await kernel.command(pid) };
    found.set(name, { name, gpu, marked: [...(found.get(name)?.marked ?? []), each] });
  }
  return [...found.values()];
}
