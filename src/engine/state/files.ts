import { z } from 'zod';
import { Roster, type RosterCard } from '../../domain/cards/roster.ts';
import type { Layout } from '../../domain/configuration/config.ts';
import { asAgentError } from '../../domain/errors/errors.ts';
import { isOfTheDisk } from '../../domain/errors/no-room.ts';
import { PortLease } from '../../domain/instances/instance.ts';
import { Intents } from '../../domain/state/state.ts';
import type { Files } from '../../ports/files.ts';
import { DAMAGED } from './troubles.ts';

const Leases = z.object({ schema: z.literal(1), leases: z.array(PortLease) });

/** The little that cannot be observed and must outlive the agent. An unreadable file is set aside, never overwritten silently. */
export interface StateFiles {
  intents(): Promise<Intents>;
  saveIntents(intents: Intents): Promise<void>;
  leases(): Promise<readonly PortLease[]>;
  saveLeases(leases: readonly PortLease[]): Promise<void>;
  /** Which card has which slot; nothing before the first reading on this root. */
  roster(): Promise<readonly RosterCard[]>;
  saveRoster(cards: readonly RosterCard[]): Promise<void>;
}

export function createStateFiles(files: Files, layout: Layout, onDamaged: (path: string) => void): StateFiles {
  const intentsFile = `${layout.state}/intents.json`;
  const leasesFile = `${layout.state}/leases.json`;
  const rosterFile = rosterFileOf(layout);

  const write = (path: string, value: unknown): Promise<void> => files.writeText(path, `${JSON.stringify(value, null, 2)}\n`, 0o600);

  async function read<T>(path: string, schema: z.ZodType<T>, empty: T): Promise<T> {
    const text = await files.readText(path);
    if (text === null) return empty;
    const parsed = schema.safeParse(parseJson(text));
    if (parsed.success) return parsed.data;
    // A disk that takes nothing does not take what would be written over it either.
    await files.move(path, `${path}${DAMAGED}`).catch((error: unknown) => {
      if (!isOfTheDisk(asAgentError(error))) throw error;
    });
    onDamaged(path);
    return empty;
  }

  return {
    intents: () => read(intentsFile, Intents, Intents.parse({})),
    saveIntents: (intents) => write(intentsFile, intents),
    leases: async () => (await read(leasesFile, Leases, { schema: 1, leases: [] })).leases,
    saveLeases: (leases) => write(leasesFile, { schema: 1, leases }),
    roster: async () => (await read(rosterFile, Roster, { schema: 1, cards: [] })).cards,
    saveRoster: (cards) => write(rosterFile, { schema: 1, cards }),
  };
}

export const rosterFileOf = ({ state }: Layout): string => `${state}/cards.json`;

export function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
