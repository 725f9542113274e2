import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { resolve } from 'node:path';
import type { WitnessOrder, WitnessReport } from './witness-tally.ts';

export interface Witness {
  order(order: WitnessOrder): void;
  /** Ends it. */
  report(): Promise<WitnessReport>;
}

/** Starts the witness's process. */
export function startWitness(): Witness {
  const child = spawn(process.execPath, [resolve(import.meta.dirname, 'witness-process.ts')], {
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
  });
  return {
    order: (order) => void child.send(order),
    report: async () => {
      const answered = once(child, 'message');
      child.send({ kind: 'stop' } satisfies WitnessOrder);
      const [report] = (await answered) as [WitnessReport];
      if (child.exitCode === null) await once(child, 'exit');
      return report;
    },
  };
}
