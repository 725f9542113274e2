/** Requirements that do not fit, told so that a person can act on them: whose line, where it stands, against what. */
import { type AskedLine, lineWithPlace, type RequirementConflict } from '../../domain/installation/requirement-conflict.ts';
import { parseRequirement } from '../../domain/installation/requirements.ts';
import { KNOWN_BAD, type TorchChoice } from './python.ts';

/** A line that no pack wrote: what it is, and who wants it. */
export interface FixedLine {
  readonly line: string;
  readonly words: string;
}

export interface FixedLines {
  readonly torch: TorchChoice;
  /** Pins of ComfyUI that packs may not move. */
  readonly core: readonly string[];
  readonly constraints: readonly string[];
  readonly overrides: readonly OverrideLine[];
}

/** An entry of python.overrides. */
export type OverrideLine = string | { readonly requirement: string; readonly reason: string };

export const overrideLine = (entry: OverrideLine): string => (typeof entry === 'string' ? entry : entry.requirement);
/** `numpy==1.26.4 (the detector needs it)`. */
export const overrideWords = (entry: OverrideLine): string =>
  typeof entry === 'string' ? entry : `${entry.requirement} (${entry.reason})`;

/** Everything that holds beside what packs ask for, in the order in which a line is looked up. */
export const fixedLines = ({ torch, core, constraints, overrides }: FixedLines): FixedLine[] => [
  ...overrides.map((entry) => ({ line: overrideLine(entry), words: `python.overrides ${overrideWords(entry)}` })),
  ...constraints.map((line) => ({ line, words: `python.constraints ${line}` })),
  ...(torch.pin === null ? [] : [{ line: torch.pin, words: `python.torch ${torch.pin}` }]),
  ...core.map((line) => ({ line, words: `ComfyUI ${line}` })),
  ...KNOWN_BAD.map((line) => ({ line, words: `versions known to break ComfyUI: ${line}` })),
];

/** Rows for one pack that was left out: each of its lines that takes part, and everything it stands against. */
export function conflictsOf(
  pack: string,
  { reason, asked = [] }: { readonly reason: string; readonly asked?: readonly AskedLine[] },
  fixed: readonly FixedLine[],
): RequirementConflict[] {
  const others = asked.filter((line) => line.pack !== pack).map((line) => describe(line, fixed));
  const against = others.length === 0 ? reason : [...new Set(others)].join(', ');
  const own = asked.filter((line) => line.pack === pack);
  if (own.length === 0) return [{ pack, line: null, file: null, lineNumber: null, against }];
  return own.map(({ line, file, lineNumber }) => ({ pack, line, file, lineNumber, against }));
}

/** One sentence for the pack itself. */
export const conflictWords = (conflicts: readonly RequirementConflict[]): string =>
  conflicts
    .filter(({ line }) => line !== null)
    .map((conflict) => `${lineWithPlace(conflict)} against ${conflict.against}`)
    .join('; ');

function describe(asked: AskedLine, fixed: readonly FixedLine[]): string {
  if (asked.pack !== null) return `${asked.pack} ${lineWithPlace(asked)}`;
  const same = fixed.find(({ line }) => keyOf(line) === keyOf(asked.line)) ?? fixed.find(({ line }) => nameOf(line) === nameOf(asked.line));
  return same?.words ?? `the configuration ${asked.line}`;
}

const nameOf = (line: string): string | null => {
  const requirement = parseRequirement(line);
  return requirement.kind === 'package' ? requirement.name : null;
};
const keyOf = (line: string): string => {
  const requirement = parseRequirement(line);
  return requirement.kind === 'package' ? `${requirement.name}${requirement.specifier}` : line;
};
