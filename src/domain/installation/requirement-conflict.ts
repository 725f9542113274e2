import { z } from 'zod';

/** A requirement of a pack that does not fit, and with what. */
export const RequirementConflict = z.object({
  pack: z.string(),
  /** As written; null when the line could not be told. */
  line: z.string().nullable(),
  /** Relative to the pack. */
  file: z.string().nullable(),
  /** From 1. */
  lineNumber: z.int().nullable(),
  /** In words: the other pack's line, ComfyUI's, the configuration's, or what is wrong with the line itself. */
  against: z.string(),
});
export type RequirementConflict = z.infer<typeof RequirementConflict>;

/** A requirement that takes part in a failure. */
export const AskedLine = z.object({
  /** Label of the file that holds it; null: a constraint or an override. */
  pack: z.string().nullable(),
  line: z.string(),
  file: z.string().nullable(),
  lineNumber: z.int().nullable(),
});
export type AskedLine = z.infer<typeof AskedLine>;

/** `requirements.txt:3`; empty when the place is not known. */
export const placeOf = ({ file, lineNumber }: Pick<RequirementConflict, 'file' | 'lineNumber'>): string =>
  file === null ? '' : lineNumber === null ? file : `${file}:${lineNumber}`;

/** `numpy<2 (requirements.txt:3)`. */
export const lineWithPlace = (line: Pick<RequirementConflict, 'line' | 'file' | 'lineNumber'>): string => {
  const place = placeOf(line);
  return `${line.line ?? 'its requirements'}${place === '' ? '' : ` (${place})`}`;
};

const HEAD = ['pack', 'requirement', 'conflicts with'] as const;
const WIDEST = 60;

/** One table for people, as lines: pack, requirement line with its place, what it conflicts with. */
export function conflictTable(conflicts: readonly RequirementConflict[]): string[] {
  if (conflicts.length === 0) return [];
  const rows = [HEAD, ...conflicts.map((conflict) => [conflict.pack, lineWithPlace(conflict), conflict.against] as const)];
  const width = (column: 0 | 1): number => Math.min(WIDEST, Math.max(...rows.map((row) => row[column].length)));
  return rows.map(([pack, line, against]) => `${pack.padEnd(width(0))}  ${line.padEnd(width(1))}  ${against}`);
}

type Details = Readonly<Record<string, unknown>>;
const listIn = <T>(item: z.ZodType<T>, value: unknown): readonly T[] => z.array(item).safeParse(value).data ?? [];

/** The conflicts in the details of an error, whoever sent it. */
export const conflictsIn = (details: Details): readonly RequirementConflict[] => listIn(RequirementConflict, details['conflicts']);

/** The lines that the resolver named. */
export const askedIn = (details: Details): readonly AskedLine[] => listIn(AskedLine, details['asked']);
