/** What uv says when it fails, as an error in the user's words: which packs asked for what, and whether a retry helps. */
import { AgentError } from '../../../domain/errors/errors.ts';
import type { AskedLine } from '../../../domain/installation/requirement-conflict.ts';
import { parseRequirement, redactUrls } from '../../../domain/installation/requirements.ts';
import { explainConflict } from './conflict.ts';
import type { RequirementSource, SourceLine } from './requirements.ts';

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
  /No solution found|Couldn't parse requirement|Unsupported requirement|Requirements contain conflicting|not a valid|hash mismatch|Invalid|conflicting URLs|expected/i;

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
    const { message, labels, asked } = explainConflict(explanation, sources);
    return new AgentError('REQUIREMENTS_UNRESOLVED', cut(message), { details: { ...details, labels, asked } });
  }
  const mismatch = hashMismatch(explanation);
  if (mismatch !== null) return new AgentError('HASH_MISMATCH', mismatch, { details });
  const { labels, asked } = blamed(failure);
  const summary = causes(explanation);
  // A link in a pack's own file that is dead or does not build is that pack's fault, whatever the reason.
  if (labels.length > 0 && (BUILD.test(explanation) || NETWORK.test(explanation) || UNRESOLVED.test(explanation))) {
    return new AgentError('REQUIREMENTS_UNRESOLVED', cut(`${labels.join(', ')}: ${summary}`), { details: { ...details, labels, asked } });
  }
  if (NETWORK.test(explanation)) {
    return new AgentError('ENVIRONMENT_FAILED', cut(`packages could not be fetched while ${doing}: ${summary}`), {
      help: 'check the network, the proxy and python.indexUrl',
      retryable: true,
      details,
    });
  }
  if (UNRESOLVED.test(explanation) || BUILD.test(explanation))
    return new AgentError('REQUIREMENTS_UNRESOLVED', cut(summary), { details: { ...details, labels, asked } });
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

/** Packs whose own file, link or package uv stumbled on, and the lines where it did. */
function blamed({ output, sources }: UvFailure): { labels: string[]; asked: AskedLine[] } {
  const broken = [
    ...output.matchAll(
      /(?:Failed to (?:build|download|download and build|prepare|unpack|extract)(?: requirement)? `)([A-Za-z0-9][\w.-]*)/g,
    ),
  ].map((match) => parseRequirement(match[1] ?? ''));
  const names = new Set(broken.flatMap((requirement) => (requirement.kind === 'package' ? [requirement.name] : [])));
  const isNamed = ({ requirement, path }: SourceLine): boolean => {
    if (path !== null && output.includes(path)) return true;
    if (requirement.kind !== 'package' && requirement.kind !== 'url') return false;
    if (requirement.name !== null && names.has(requirement.name)) return true;
    const url = requirement.url
      ?.replace(/^\w+\+/, '')
      .replace(/#.*$/, '')
      .replace(/(\.git|\/[^/@]+)@[^/@]+$/, '$1');
    return url !== undefined && url.length > 8 && output.includes(url);
  };
  const found = sources.flatMap(({ label, files, lines }) => {
    const named = lines.filter(isNamed);
    if (named.length === 0 && !files.some((file) => output.includes(`\`${file}\``))) return [];
    // A line that uv cannot read is quoted.
    const quoted = lines.filter(({ line }) => output.includes(line) && output.includes("Couldn't parse"));
    return [{ label, lines: named.length > 0 ? named : quoted }];
  });
  return {
    labels: found.map(({ label }) => label),
    asked: found.flatMap(({ label, lines }) =>
      lines.map(({ line, file, lineNumber }) => ({ pack: label, line: redactUrls(line), file, lineNumber })),
    ),
  };
}

/** A package that is not the one that was locked: its name and both digests, in one sentence. */
function hashMismatch(explanation: string): string | null {
  const match = /Hash mismatch for `([^`]+)`\s+Expected:\s+([\s\S]*?)\s+Computed:\s+(\S+)/.exec(explanation);
  if (match === null) return null;
  const expected = (match[2] ?? '').split(/\s+/);
  const shown = expected.length > 1 ? `one of ${expected.length} locked digests (${expected[0]}, …)` : `the locked ${expected[0]}`;
  return `${match[1]} has ${match[3]} instead of ${shown}`;
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
