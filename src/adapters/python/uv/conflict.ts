/** The derivation that uv gives when requirements do not fit: who asked for what, as lines of files. */
import type { AskedLine } from '../../../domain/installation/requirement-conflict.ts';
import { normaliseSpecifier, parseRequirement, redactUrls } from '../../../domain/installation/requirements.ts';
import type { RequirementSource, SourceLine } from './requirements.ts';

interface Term {
  readonly text: string;
  readonly askedBy: readonly { readonly label: string; readonly line: SourceLine }[];
}

/** The last sentence of uv's derivation holds what was asked for directly: say who asked. */
export function explainConflict(
  explanation: string,
  sources: readonly RequirementSource[],
): { message: string; labels: string[]; asked: AskedLine[] } {
  const hint = explanation.search(/\n[^\S\n]*hint:/);
  const derivation = (hint < 0 ? explanation : explanation.slice(0, hint)).replace(/\s+/g, ' ').replace(/^.*?(?=Because )/, '');
  const asked = askedLines(derivation, sources);
  const labels = new Set(asked.flatMap(({ pack }) => (pack === null ? [] : [pack])));
  const last = derivation.split(/\.\s+(?=And because|Because)/).pop() ?? derivation;
  const core = last
    .replace(/^(?:And because|Because)\s+/, '')
    .replace(/,? we can conclude that your requirements are unsatisfiable\.?$/, '')
    .replace(/\.$/, '');
  const told = core.replace(/(?<=^|and )you require (.+)$/, (_, said: string) => describeTerms(said, sources));
  const onlyAsked = /^you require /.test(core);
  return {
    message: onlyAsked ? `${told}, which cannot be met together` : told,
    labels: sources.map(({ label }) => label).filter((label) => labels.has(label)),
    asked,
  };
}

function askedLines(derivation: string, sources: readonly RequirementSource[]): AskedLine[] {
  const required = requiredTerms(derivation, sources);
  const found = new Map<string, AskedLine>();
  const add = (asked: AskedLine): void => {
    found.set(JSON.stringify(asked), asked);
  };
  const at = (label: string, { line, file, lineNumber }: SourceLine): AskedLine => ({
    pack: label,
    line: redactUrls(line),
    file,
    lineNumber,
  });
  for (const { text, askedBy } of required) {
    for (const { label, line } of askedBy) add(at(label, line));
    if (askedBy.length === 0) add({ pack: null, line: text, file: null, lineNumber: null });
  }
  if ([...found.values()].some(({ pack }) => pack !== null)) return [...found.values()];
  // uv speaks of packages that were asked for in words we do not know: everybody who names one of them.
  for (const { label, lines } of sources) {
    for (const line of lines) {
      const { requirement } = line;
      if (requirement.kind === 'package' && new RegExp(`(?<![\\w-])${requirement.name}(?![\\w-])`, 'i').test(derivation))
        add(at(label, line));
    }
  }
  return [...found.values()];
}

function requiredTerms(derivation: string, sources: readonly RequirementSource[]): Term[] {
  return [...derivation.matchAll(/you require (.+?)(?=, we can conclude|\.\s+(?:And b|B)ecause|$)/g)].flatMap((match) =>
    terms(match[1] ?? '', sources),
  );
}

function terms(asked: string, sources: readonly RequirementSource[]): Term[] {
  const found: Term[] = [];
  for (const part of asked.split(' and ')) {
    const text = part.trim().replace(/[,.]$/, '');
    const requirement = parseRequirement(text);
    if (requirement.kind !== 'package' || /\s/.test(text)) break;
    const asking = sources.flatMap(({ label, lines }) =>
      lines
        .filter((line) => line.requirement.kind === 'package' && line.requirement.name === requirement.name)
        .map((line) => ({ label, line })),
    );
    const exactly = asking.filter(
      ({ line }) => line.requirement.kind === 'package' && line.requirement.specifier === normaliseSpecifier(requirement.specifier),
    );
    found.push({ text, askedBy: exactly.length > 0 ? exactly : requirement.specifier === '' ? asking : [] });
  }
  return found;
}

function describeTerms(asked: string, sources: readonly RequirementSource[]): string {
  const found = terms(asked, sources);
  if (found.length === 0) return `the packs require ${asked}`;
  return found
    .map(({ text, askedBy }) => {
      const labels = [...new Set(askedBy.map(({ label }) => label))];
      if (labels.length === 0) return `the configuration requires ${text}`;
      const shown = labels.length > 3 ? `${labels.slice(0, 3).join(', ')} and ${labels.length - 3} more` : labels.join(', ');
      return `${shown} ${labels.length === 1 ? 'requires' : 'require'} ${text}`;
    })
    .join(' and ');
}
