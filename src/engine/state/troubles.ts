import type { Layout } from '../../domain/configuration/config.ts';
import type { Ports } from '../../ports.ts';

/** What is damaged gets this behind its name, and stays there until somebody has looked at it. */
export const DAMAGED = '.damaged';

/** Files of the state that were damaged and set aside, absolute. A directory that cannot be read is told by others. */
export async function setAsideFiles({ files }: Pick<Ports, 'files'>, { state }: Pick<Layout, 'state'>): Promise<readonly string[]> {
  const names = await files.list(state).catch(() => []);
  return names
    .filter((name) => name.endsWith(DAMAGED))
    .sort()
    .map((name) => `${state}/${name}`);
}

/** What is wrong with the agent's own records, for people. */
export async function stateTroubles(ports: Pick<Ports, 'files' | 'journal'>, layout: Pick<Layout, 'state'>): Promise<readonly string[]> {
  const problem = ports.journal.problem();
  return [
    ...(problem === null ? [] : [`the journal is kept in memory: ${problem}`]),
    ...(await setAsideFiles(ports, layout)).map(
      (path) => `a file of the agent's state was damaged, and what it held is lost: ${path}; look for faults of the disk, then delete it`,
    ),
  ];
}
