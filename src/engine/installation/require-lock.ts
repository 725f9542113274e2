import { AgentError } from '../../domain/errors/errors.ts';
import type { Lock } from '../../domain/installation/lock.ts';
import type { InstallationSpec } from '../../domain/installation/release.ts';
import { lockProblems } from '../../plan/installation/lock.ts';

/** @throws AgentError LOCK_DIFFERS with everything that differs */
export function requireLock(lock: Lock | null, spec: InstallationSpec): asserts lock is Lock {
  if (lock === null)
    throw new AgentError('LOCK_DIFFERS', 'there is no agent.lock.json to install by', {
      help: 'run `agent install` once without --locked',
    });
  const problems = lockProblems(lock, spec);
  if (problems.length === 0) return;
  const lines = problems.map(({ name, change, before, after }) =>
    change === 'added'
      ? `${name} is not in the lock`
      : change === 'removed'
        ? `${name} is in the lock and no longer asked for`
        : `${name} differs${before === null && after === null ? '' : ` (locked ${before}, asked for ${after})`}`,
  );
  throw new AgentError('LOCK_DIFFERS', `the configuration asks for something else than agent.lock.json: ${lines.join('; ')}`, {
    details: { problems },
  });
}
