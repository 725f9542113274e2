import type { FoundFile, LogBounds, LogGrowth, MemoryRoom, Space } from '../../src/domain/upkeep/upkeep.ts';
import type { Upkeep } from '../../src/ports/upkeep.ts';

export interface FakeUpkeep {
  readonly upkeep: Upkeep;
  /** Files below a directory, by its path. */
  readonly found: Map<string, readonly FoundFile[]>;
  /** "directory/path" of what was removed, in order. */
  readonly removed: readonly string[];
  readonly growth: Map<string, LogGrowth>;
  readonly cpus: Map<string, string>;
  /** Space by the beginning of a path; the longest wins. */
  readonly spaces: Map<string, Space>;
  memory: MemoryRoom | null;
  /** What is asked to be kept small. */
  bounds(): LogBounds | null;
}

const GIBIBYTE = 1024 ** 3;

/** A machine with room for everything, until a test says otherwise. */
export function createFakeUpkeep(): FakeUpkeep {
  const removed: string[] = [];
  let bounds: (() => LogBounds) | null = null;
  const fake: FakeUpkeep = {
    found: new Map(),
    removed,
    growth: new Map(),
    cpus: new Map(),
    spaces: new Map([['/', { freeBytes: 500 * GIBIBYTE, totalBytes: 1_000 * GIBIBYTE, freeInodes: null, totalInodes: null, device: '1' }]]),
    memory: { availableBytes: 64 * GIBIBYTE, totalBytes: 128 * GIBIBYTE, limitedBy: 'machine' },
    bounds: () => bounds?.() ?? null,
    upkeep: {
      keepLogs: (asked) => {
        bounds = asked;
        return { growth: (path) => fake.growth.get(path) ?? null, close: async () => undefined };
      },
      space: async (path) => {
        const [place] = [...fake.spaces.keys()].filter((each) => path.startsWith(each)).sort((a, b) => b.length - a.length);
        return place === undefined ? null : (fake.spaces.get(place) ?? null);
      },
      memory: async () => {
        if (fake.memory === null) throw new Error('memory cannot be read');
        return fake.memory;
      },
      walk: async function* (directory) {
        yield* fake.found.get(directory) ?? [];
      },
      removeFound: async (directory, file) => {
        const files = fake.found.get(directory) ?? [];
        if (!files.includes(file)) return false;
        fake.found.set(
          directory,
          files.filter((each) => each !== file),
        );
        removed.push(`${directory}/${file.path}`);
        return true;
      },
      removeEmpty: async () => 0,
      localCpus: async (uuid) => fake.cpus.get(uuid) ?? null,
    },
  };
  return fake;
}
