import { AgentError, asAgentError } from '../../domain/errors/errors.ts';
import { type Incarnation, incarnationKey } from '../../domain/instances/instance.ts';
import {
  type Claim,
  INSTANCE_MARK,
  judgeOwnership,
  type Ownership,
  type ProcessIdentity,
  ROOT_MARK,
} from '../../domain/instances/ownership.ts';
import { known, unknown } from '../../domain/observed.ts';
import type { Files } from '../../ports/files.ts';
import type { Ports } from '../../ports.ts';

type Outside = Pick<Ports, 'kernel' | 'clock'>;

/** What is judged of a pid, with the process that the judgement is about. */
export interface Judged {
  readonly ownership: Ownership;
  readonly identity: ProcessIdentity | null;
}

/** Looks at a process and judges whose it is. Never rejects: what cannot be looked at is `cannot-tell`. */
export async function lookAtOwner({ kernel }: Pick<Ports, 'kernel'>, pid: number, claim: Claim): Promise<Judged> {
  const seen = await kernel.identity(pid, Object.keys(claim.marks)).then(known, (error: unknown) => unknown(asAgentError(error).message));
  return { ownership: judgeOwnership(seen, claim), identity: seen.known ? seen.value : null };
}

/** The names under which a root may have been written into a process: as it is configured now, and whatever leads to the same place. */
export async function rootNames(
  { kernel, files }: { readonly kernel: Ports['kernel']; readonly files: Pick<Files, 'realPath'> },
  root: string,
  pids: readonly number[],
): Promise<readonly string[]> {
  const real = (await files.realPath(root)) ?? root;
  const values = new Set(await Promise.all(pids.map((pid) => kernel.environmentOf(pid, ROOT_MARK).catch(() => null))));
  const same = await Promise.all(
    [...values].map(async (value) => (value !== null && value !== '' && (await files.realPath(value)) === real ? value : null)),
  );
  return [...new Set([root, real, ...same.filter((value) => value !== null)])];
}

/** What makes a process one of these instances of this root. */
export const instanceClaim = (roots: readonly string[], names: readonly string[], startTicks: string | null = null): Claim => ({
  startTicks,
  marks: { [ROOT_MARK]: roots, [INSTANCE_MARK]: names },
});

/** Marked processes and all that they have started, also what has no mark itself; nothing of what `spared` holds. */
export async function withTheirTrees(
  { kernel }: Pick<Ports, 'kernel'>,
  marked: readonly { readonly pid: number; readonly claim: Claim }[],
  spared: ReadonlySet<number> = new Set(),
): Promise<readonly Incarnation[]> {
  const found = new Map<number, Incarnation>();
  for (const { pid, claim } of marked) {
    const before = await lookAtOwner({ kernel }, pid, claim);
    if (before.ownership !== 'ours' || before.identity === null) continue;
    const members = await Promise.all((await kernel.tree(pid)).map((member) => kernel.incarnation(member).catch(() => null)));
    // Its pid may have gone to another while the tree was walked.
    const after = await lookAtOwner({ kernel }, pid, { ...claim, startTicks: before.identity.incarnation.startTicks });
    if (after.ownership !== 'ours') continue;
    for (const incarnation of members) if (incarnation !== null && !spared.has(incarnation.pid)) found.set(incarnation.pid, incarnation);
  }
  return [...found.values()];
}

const LOOK_MS = 25;
/** After SIGKILL a process ends at once unless the kernel holds it (uninterruptible sleep in a driver). */
const KILLED_WITHIN_MS = 5_000;

export interface EndOptions {
  /** Time between `signal` and SIGKILL. */
  readonly graceMs: number;
  readonly signal: 'SIGINT' | 'SIGTERM';
  readonly onFirst?: (pid: number, command: string | null) => void;
}

/**
 * Asks all that `look` finds to end, and makes what does not. Each is signalled only as the very process that was found.
 * @returns those that do not end, SIGKILL notwithstanding
 */
export async function endAll(
  { kernel, clock }: Outside,
  look: () => Promise<readonly Incarnation[]>,
  options: EndOptions,
): Promise<readonly Incarnation[]> {
  const began = clock.monotonic();
  const asked = new Set<string>();
  let left = await look();
  for (;;) {
    // What was started meanwhile is looked for once nothing of the rest is left.
    if (left.length === 0) left = await look();
    const elapsed = clock.monotonic() - began;
    if (left.length === 0 || elapsed > options.graceMs + KILLED_WITHIN_MS) return left;
    for (const incarnation of left) {
      const isNew = !asked.has(incarnationKey(incarnation));
      if (isNew) options.onFirst?.(incarnation.pid, await kernel.command(incarnation.pid));
      if (elapsed >= options.graceMs) await kernel.end(incarnation, 'SIGKILL');
      else if (isNew) await kernel.end(incarnation, options.signal);
      asked.add(incarnationKey(incarnation));
    }
    await clock.sleep(LOOK_MS);
    const still = await Promise.all(left.map(({ pid }) => kernel.incarnation(pid)));
    left = left.filter((incarnation, index) => still[index]?.startTicks === incarnation.startTicks);
  }
}

/** @throws AgentError INSTANCE_FAILED when some are left */
export function requireEnded(name: string, left: readonly Incarnation[]): void {
  if (left.length === 0) return;
  throw new AgentError(
    'INSTANCE_FAILED',
    `${name} could not be ended: pid ${left.map(({ pid }) => pid).join(', ')} does not end even with SIGKILL`,
    {
      help: 'the driver may hold it; see `dmesg`, and restart the machine when it stays',
    },
  );
}
