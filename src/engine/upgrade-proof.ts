import type { HealthDocument } from '../domain/health.ts';
import { PENDING_UPGRADE, PendingUpgrade } from '../domain/upgrade.ts';
import type { Ports } from '../ports.ts';
import type { Journal } from './journal.ts';
import { parseJson } from './state-files.ts';
import type { VersionedState } from './state-version.ts';

/** An agent that served that long with its machine in order is not going to fail at once. */
const PROOF_MS = 10_000;
const LOOK_MS = 500;

export interface ProofOptions {
  readonly ports: Pick<Ports, 'files' | 'clock'>;
  readonly stateDirectory: string;
  readonly state: VersionedState;
  readonly journal: Pick<Journal, 'record'>;
  readonly health: () => HealthDocument;
  readonly version: string;
}

/** What serves, or has nothing to serve with. */
const isInOrder = ({ status }: HealthDocument): boolean => status === 'healthy' || status === 'degraded' || status === 'disabled';

/**
 * Waits until this agent has proved itself, then closes the way back of an upgrade and of the state. Without an upgrade an agent
 * proves itself in the same way.
 */
export async function awaitProof(
  { ports, stateDirectory, state, journal, health, version }: ProofOptions,
  signal: AbortSignal,
): Promise<void> {
  const { clock, files } = ports;
  for (let since: number | null = null; since === null || clock.monotonic() - since < PROOF_MS; ) {
    if (!isInOrder(health())) since = null;
    else since ??= clock.monotonic();
    await clock.sleep(LOOK_MS, signal);
    if (signal.aborted) return;
  }
  await state.prove();
  const file = `${stateDirectory}/${PENDING_UPGRADE}`;
  const pending = PendingUpgrade.safeParse(parseJson((await files.readText(file)) ?? ''));
  if (!pending.success || pending.data.to.agent !== version) return;
  await files.remove(file);
  const { from, to } = pending.data;
  journal.record({
    type: 'agent.upgraded',
    target: 'agent',
    level: 'info',
    message: `agent ${to.agent} has proved itself in place of ${from.agent}`,
    data: { from: from.agent, to: to.agent, sha256: to.sha256 },
  });
}
