import { asAgentError } from '../../domain/errors/errors.ts';
import { isCalledInstance } from '../../domain/identity.ts';
import type { ProcessState } from '../../domain/instances/instance.ts';
import type { Pm2State } from '../../domain/instances/ownership.ts';
import { known, type Observed, unknown } from '../../domain/observed.ts';
import type { Ports } from '../../ports.ts';

/** Asks PM2 for its instances, and learns whether it can be asked: one that takes connections and answers nothing is deaf. */
export async function askPm2(
  { processes, clock }: Pick<Ports, 'processes' | 'clock'>,
  before: Pm2State,
): Promise<{ readonly processes: Observed<readonly ProcessState[]>; readonly pm2: Pm2State }> {
  const begun = clock.now();
  const be = (state: Pm2State['state'], reason: string | null): Pm2State => ({
    state,
    since: before.state === state ? before.since : begun,
    reason,
  });
  try {
    const listed = await processes.list();
    return { processes: known(listed.filter((process) => isCalledInstance(process.name))), pm2: be('answers', null) };
  } catch (error) {
    const { message, details } = asAgentError(error);
    return { processes: unknown(message), pm2: be(details['timedOut'] === true ? 'deaf' : 'gone', message) };
  }
}
