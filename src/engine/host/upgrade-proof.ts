import type { HealthDocument } from '../../domain/health/health.ts';
import {
  FORMER_PENDING_UPGRADE,
  isProofOf,
  PENDING_UPGRADE,
  PendingUpgrade,
  proofOf,
  UPGRADE_PROOF,
  UPGRADE_RECORDS,
  UpgradeProof,
} from '../../domain/host/upgrade.ts';
import type { Files } from '../../ports/files.ts';
import type { Ports } from '../../ports.ts';
import type { Journal } from '../journal.ts';
import { parseJson } from '../state/files.ts';
import type { VersionedState } from '../state/version.ts';

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
  // By a command of version 0.1, whose guard would go back: it wrote into the state directory.
  const former = `${stateDirectory}/${FORMER_PENDING_UPGRADE}`;
  if (((await readJson(files, former)) as { to?: { agent?: unknown } } | undefined)?.to?.agent === version) await files.remove(former);
  const pending = await openUpgrade(files, stateDirectory);
  if (pending?.to.agent !== version) return;
  // The record is of root, whose guard takes this as the end of it.
  await files.writeText(`${stateDirectory}/${UPGRADE_PROOF}`, `${JSON.stringify(proofOf(pending))}\n`, 0o600);
  const { from, to } = pending;
  journal.record({
    type: 'agent.upgraded',
    target: 'agent',
    level: 'info',
    message: `agent ${to.agent} has proved itself in place of ${from.agent}`,
    data: { from: from.agent, to: to.agent, sha256: to.sha256 },
  });
}

/** The upgrade of this machine that has not proved itself; null: there is none. */
export async function openUpgrade(files: Pick<Files, 'readText'>, stateDirectory: string): Promise<PendingUpgrade | null> {
  const pending = PendingUpgrade.safeParse(await readJson(files, `${UPGRADE_RECORDS}/${PENDING_UPGRADE}`));
  if (!pending.success) return null;
  const proof = UpgradeProof.safeParse(await readJson(files, `${stateDirectory}/${UPGRADE_PROOF}`));
  return isProofOf(proof.success ? proof.data : null, pending.data) ? null : pending.data;
}

const readJson = async (files: Pick<Files, 'readText'>, path: string): Promise<unknown> => parseJson((await files.readText(path)) ?? '');
