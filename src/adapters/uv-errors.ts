/** What uv says when it fails, as an error in the user's words: which packs asked for what, and whether a retry helps. */
import { AgentError } from '../domain/errors.ts';
import { normaliseSpecifier, parseRequirement, type Requirement, redactUrls } from '../domain/requirements.ts';

/** A requirement file with everything it includes. */
export interface RequirementSource {
  readonly label: string;
  /** The file itself first, then included ones. */
  readonly files: readonly string[];
  readonly requirements: readonly Requirement[];
}

export interface UvFailure {
  readonly output: string;
  readonly timedOut: boolean;
  readonly timeoutMs: number;
  /** "resolving the requirements": for messages. */
  readonly doing: string;
  readonly sources: readonly RequirementSource[];
  /** Paths of our own making, and what to call them. */
  readonly names: readonly (readonly [path: string, name: string])[];
}

const LONGEST_MESSAGE = 600;
const NETWORK =
  /Failed to fetch|error sending request|tcp connect error|dns error|Connection (?:refused|reset)|operation timed out|network was disabled|Could not connect|timed out/i;
const BUILD =
  /Failed to (?:build|download and build|prepare|unpack|extract|read)|Git operation failed|Failed to download|build backend|Distribution not found/i;
const UNRESOLVED =
  /No solution found|Couldn't parse requirement|Error parsing included file|Unsupported requirement|Requirements contain conflicting|not a valid|hash mismatch|Invalid|conflicting URLs|expected/i;

export function uvError(failure: UvFailure): AgentError {
  const { doing, sources } = failure;
  const explanation = shownText(failure);
  const details = { explanation: explanation.slice(-16_384) };
  if (failure.timedOut) {
    return new AgentError('ENVIRONMENT_FAILED', `${doing} took longer than ${Math.round(failure.timeoutMs / 1_000)} s`, {
      help: 'look at the network, or raise install.pythonTimeoutMs',
      details,
    });
  }
  if (/No space left on device|Disk quota exceeded|os error (?:28|122)\b/.test(explanation)) {
    return new AgentError('DISK_FULL', `the disk is full: ${lineWith(explanation, /No space left|Disk quota|os error/)}`, { details });
  }
  if (/No solution found/.test(explanation)) {
    const { message, labels } = conflict(explanation, sources);
    return new AgentError('REQUIREMENTS_UNRESOLVED', message, { details: { ...details, labels } });
  }
  const labels = labelsInText(failure);
  const summary = causes(explanation);
  // A link in a pack's own file that is dead or does not build is that pack's fault, whatever the reason.
  if (labels.length > 0 && (BUILD.test(explanation) || NETWORK.test(explanation) || UNRESOLVED.test(explanation))) {
    return new AgentError('REQUIREMENTS_UNRESOLVED', cut(`${labels.join(', ')}: ${summary}`), { details: { ...details, labels } });
  }
  if (NETWORK.test(explanation)) {
    return new AgentError('ENVIRONMENT_FAILED', cut(`packages could not be fetched while ${doing}: ${summary}`), {
      help: 'check the network, the proxy and python.indexUrl',
      retryable: true,
      details,
    });
  }
  if (UNRESOLVED.test(explanation) || BUILD.test(explanation))
    return new AgentError('REQUIREMENTS_UNRESOLVED', cut(summary), { details: { ...details, labels } });
  return new AgentError('ENVIRONMENT_FAILED', cut(`uv failed while ${doing}: ${summary}`), { details });
}

/** uv's text without its drawing, with names for our paths and without credentials. */
function shownText({ output, sources, names }: UvFailure): string {
  let text = output.replace(/^[ \t]*[×╰├│─▶ ]+/gmu, (drawing) => drawing.replace(/[×╰├│─▶]/gu, ' '));
  for (const { label, files } of sources) {
    for (const file of files) text = text.replaceAll(file, `${label}/${file.slice(file.lastIndexOf('/') + 1)}`);
    const [first] = files;
    if (first !== undefined) text = text.replaceAll(first.slice(0, first.lastIndexOf('/') + 1), `${label}/`);
  }
  for (const [path, name] of names) text = text.replaceAll(path, name);
  return redactUrls(text).trim();
}

/** Packs whose own file, link or package uv stumbled on. */
function labelsInText({ output, sources }: UvFailure): string[] {
  const broken = [
    ...output.matchAll(
      /(?:Failed to (?:build|download|download and build|prepare|unpack|extract)(?: requirement)? `)([A-Za-z0-9][\w.-]*)/g,
    ),
  ].map((match) => parseRequirement(match[1] ?? ''));
  const names = new Set(broken.flatMap((requirement) => (requirement.kind === 'package' ? [requirement.name] : [])));
  return sources
    .filter(
      ({ files, requirements }) =>
        files.some((file) => output.includes(`\`${file}\``)) ||
        requirements.some((requirement) => {
          if (requirement.kind !== 'package' && requirement.kind !== 'url') return false;
          if (requirement.name !== null && names.has(requirement.name)) return true;
          const url = requirement.url
            ?.replace(/^\w+\+/, '')
            .replace(/#.*$/, '')
            .replace(/(\.git|\/[^/@]+)@[^/@]+$/, '$1');
          return url !== undefined && url.length > 8 && output.includes(url);
        }),
    )
    .map(({ label }) => label);
}

interface Term {
  readonly text: string;
  readonly labels: readonly string[];
}

/** The last sentence of uv's derivation holds what was asked for directly: say who asked. */
function conflict(explanation: string, sources: readonly RequirementSource[]): { message: string; labels: string[] } {
  const hint = explanation.search(/\n\s*hint:/);
  const derivation = (hint < 0 ? explanation : explanation.slice(0, hint)).replace(/\s+/g, ' ').replace(/^.*?(?=Because )/, '');
  const labels = new Set<string>();
  for (const term of requiredTerms(derivation, sources)) for (const label of term.labels) labels.add(label);
  if (labels.size === 0) {
    for (const { label, requirements } of sources) {
      if (
        requirements.some(
          (requirement) => requirement.kind === 'package' && new RegExp(`(?<![\\w-])${requirement.name}(?![\\w-])`, 'i').test(derivation),
        )
      )
        labels.add(label);
    }
  }
  const last = derivation.split(/\.\s+(?=And because|Because)/).pop() ?? derivation;
  const core = last
    .replace(/^(?:And because|Because)\s+/, '')
    .replace(/,? we can conclude that your requirements are unsatisfiable\.?$/, '')
    .replace(/\.$/, '');
  const told = core.replace(/(?<=^|and )you require (.+)$/, (_, asked: string) => describeTerms(asked, sources));
  const onlyAsked = /^you require /.test(core);
  return {
    message: cut(onlyAsked ? `${told}, which cannot be met together` : told),
    labels: sources.map(({ label }) => label).filter((label) => labels.has(label)),
  };
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
    const asking = sources.filter((source) =>
      source.requirements.some((candidate) => candidate.kind === 'package' && candidate.name === requirement.name),
    );
    const exactly = asking.filter((source) =>
      source.requirements.some(
        (candidate) =>
          candidate.kind === 'package' &&
          candidate.name === requirement.name &&
          candidate.specifier === normaliseSpecifier(requirement.specifier),
      ),
    );
    found.push({ text, labels: (exactly.length > 0 ? exactly : requirement.specifier === '' ? asking : []).map(({ label }) => label) });
  }
  return found;
}

function describeTerms(asked: string, sources: readonly RequirementSource[]): string {
  const found = terms(asked, sources);
  if (found.length === 0) return `the packs require ${asked}`;
  return found
    .map(({ text, labels }) => {
      if (labels.length === 0) return `the configuration requires ${text}`;
      const shown = labels.length > 3 ? `${labels.slice(0, 3).join(', ')} and ${labels.length - 3} more` : labels.join(', ');
      return `${shown} ${labels.length === 1 ? 'requires' : 'require'} ${text}`;
    })
    .join(' and ');
}

/** `error:` and its `cause:` lines, joined; the innermost cause is kept when there are many. */
function causes(explanation: string): string {
  const lines = explanation.split('\n').map((line) => line.trim());
  const said = lines
    .filter((line) => /^(?:error|cause|Caused by):/i.test(line))
    .map((line) => line.replace(/^(?:error|cause|caused by):\s*/i, ''));
  const fatal = lines.find((line) => /^(?:fatal|ModuleNotFoundError|ImportError|\w*Error):/.test(line));
  const chosen = said.length > 3 ? [said[0], said[1], said[said.length - 1]] : said;
  const text = [...chosen, ...(fatal === undefined ? [] : [fatal])].filter((line) => line !== undefined && line !== '').join(': ');
  return text === '' ? (lines.filter((line) => line !== '').pop() ?? 'no output') : text;
}

const lineWith = (text: string, pattern: RegExp): string =>
  (text.split('\n').find((line) => pattern.test(line)) ?? '').trim().slice(0, 300);
const cut = (text: string): string => (text.length <= LONGEST_MESSAGE ? text : `${text.slice(0, LONGEST_MESSAGE)}…`);
