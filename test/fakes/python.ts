import { createHash } from 'node:crypto';
import { dirname, resolve as resolvePath } from 'node:path';
import { AgentError } from '../../src/domain/errors/errors.ts';
import { localSource } from '../../src/domain/installation/local-source.ts';
import { type LockedPackage, requirementLine } from '../../src/domain/installation/lock.ts';
import { pyprojectRequirements } from '../../src/domain/installation/pyproject.ts';
import {
  isIndexOption,
  locateRequirements,
  normaliseName,
  parseRequirement,
  type Requirement,
} from '../../src/domain/installation/requirements.ts';
import { compareVersions } from '../../src/plan/installation/flags.ts';
import type { PythonEnvironments, ResolveRequest } from '../../src/ports/python.ts';

export interface FakePythonOptions {
  /** Interpreter -> version. */
  readonly interpreters?: Readonly<Record<string, string>>;
  /** Package -> its versions. Packages have no dependencies here. */
  readonly index?: Readonly<Record<string, readonly string[]>>;
  /** Package -> versions, by the directory or URL that is given as find-links. */
  readonly findLinks?: Readonly<Record<string, Readonly<Record<string, readonly string[]>>>>;
  readonly readText: (path: string) => Promise<string | null>;
  /** Where wheels are put; absent: none can be collected. */
  readonly writeText?: (path: string, text: string) => Promise<void>;
  /** Called for each environment that is made, to put files where others look for them. */
  readonly onCreate?: (python: string) => Promise<void>;
}

export interface FakePython extends PythonEnvironments {
  /** Calls of resolve and install so far, in order. */
  readonly calls: readonly string[];
  /** Changes what is installed, as a script of a pack would; null removes. */
  change(python: string, packages: Readonly<Record<string, string | null>>): void;
  /** The index has one more version; who asked before hears of it after `forgetIndexes` only. */
  publish(name: string, version: string): void;
  /** All repositories have a new commit from now on. */
  push(): void;
  /** Fails the next call of that kind with this error. */
  failNext(kind: 'create' | 'resolve' | 'install', error: AgentError): void;
}

interface Asked {
  readonly label: string;
  readonly requirement: Extract<Requirement, { kind: 'package' | 'url' }>;
  readonly line: string;
  readonly file: string;
  readonly lineNumber: number;
}

/** Python in memory: a flat index, versions intersected by name, no dependencies. An unreachable index is any with port 1. */
export function createFakePython({
  interpreters = { python3: '3.11.7' },
  index = {},
  findLinks = {},
  readText,
  writeText,
  onCreate,
}: FakePythonOptions): FakePython {
  const installed = new Map<string, Record<string, string>>();
  const versions = new Map(Object.entries(interpreters));
  const calls: string[] = [];
  const published = new Map<string, string[]>();
  const pages = new Map<string, readonly string[]>();
  let commits = 0;
  const failures: { kind: string; error: AgentError }[] = [];
  const called = (kind: 'create' | 'resolve' | 'install', what: string, signal?: AbortSignal): void => {
    calls.push(`${kind} ${what}`);
    if (signal?.aborted) throw new AgentError('INTERRUPTED', `${kind} was interrupted`);
    const next = failures.findIndex((failure) => failure.kind === kind);
    if (next >= 0) throw failures.splice(next, 1)[0]?.error;
  };

  const version = (interpreter: string): string => {
    const found = versions.get(interpreter);
    if (found === undefined) throw new AgentError('PYTHON_MISSING', `no usable python was found; tried ${interpreter}`);
    if (compareVersions(found, '3.9') < 0)
      throw new AgentError('PYTHON_MISSING', `${interpreter} is Python ${found}; 3.9 or newer is needed`);
    return found;
  };

  const available = (request: Pick<ResolveRequest, 'findLinks' | 'indexUrl'>, name: string): readonly string[] => {
    const local = request.findLinks.flatMap((place) => findLinks[place]?.[name] ?? []);
    const page = pages.get(name) ?? [...(index[name] ?? []), ...(published.get(name) ?? [])];
    pages.set(name, page);
    return [...local, ...page].sort(compareVersions).reverse();
  };

  const refuseUnreachable = (request: Pick<ResolveRequest, 'indexUrl'>, doing: string): void => {
    if (request.indexUrl !== null && new URL(request.indexUrl).port === '1') {
      throw new AgentError('ENVIRONMENT_FAILED', `packages could not be fetched while ${doing}: Connection refused`, { retryable: true });
    }
  };

  return {
    calls,
    failNext: (kind, error) => {
      failures.push({ kind, error });
    },
    push: () => {
      commits += 1;
    },
    publish: (name, added) => {
      published.set(name, [...(published.get(name) ?? []), added]);
    },
    forgetIndexes: async () => pages.clear(),
    change: (python, packages) => {
      const present = installed.get(python);
      if (present === undefined) throw new Error(`${python} is no environment`);
      for (const [name, wanted] of Object.entries(packages)) {
        if (wanted === null) delete present[name];
        else present[name] = wanted;
      }
    },
    interpreterVersion: async (interpreter) => version(interpreter),

    platform: () => 'linux-x86_64',

    create: async (directory, { interpreter, version: wanted, signal }) => {
      called('create', directory, signal);
      const candidates = wanted === null ? [interpreter] : [interpreter, `python${wanted.split('.').slice(0, 2).join('.')}`];
      const chosen = wanted === null ? interpreter : candidates.find((candidate) => `${versions.get(candidate)}.`.startsWith(`${wanted}.`));
      if (chosen === undefined)
        throw new AgentError('PYTHON_MISSING', `Python ${wanted} is not on this machine (tried ${candidates.join(', ')})`);
      const python = `${directory}/bin/python`;
      versions.set(python, version(chosen));
      installed.set(python, {});
      await onCreate?.(python);
      return python;
    },

    resolve: async (request) => {
      called('resolve', request.requirements.map(({ label }) => label).join(' '), request.signal);
      const asked = (await Promise.all(request.requirements.map((place) => readAll(readText, place)))).flat();
      const overrides = byName(request.overrides);
      const constraints = byName(request.constraints);
      const preferred = new Map(request.preferences.map((locked) => [locked.name, locked]));
      const names = new Set(asked.flatMap(({ requirement }) => (requirement.name === null ? [] : [requirement.name])));
      if (names.size > 0) refuseUnreachable(request, 'resolving the requirements');
      const pins: LockedPackage[] = [];
      for (const name of [...names].sort()) {
        const direct = asked.find(({ requirement }) => requirement.name === name && requirement.url !== null)?.requirement.url;
        if (direct) {
          if (direct.includes('missing')) throw unresolved(`Git operation failed: ${direct}`, asked, name);
          const overriding = overridingUrl(request.overrides, name);
          const kept = preferred.get(name);
          if (overriding !== null) pins.push({ name, version: null, url: overriding, hashes: [], addedBy: null });
          else if (kept?.requestedUrl === direct) pins.push(kept);
          else
            pins.push({
              name,
              version: null,
              url: `${direct.replace(/#.*$/, '')}@${String(commits).repeat(40)}`,
              requestedUrl: direct,
              hashes: [],
              addedBy: null,
            });
          continue;
        }
        const own = asked.flatMap(({ requirement }) =>
          requirement.kind === 'package' && requirement.name === name ? [requirement.specifier] : [],
        );
        const specifiers = [...(overrides.get(name) ?? own), ...(constraints.get(name) ?? [])].filter((specifier) => specifier !== '');
        const candidates = available(request, name);
        if (candidates.length === 0) throw unresolved(`${name} was not found in the package registry`, asked, name);
        const before = preferred.get(name)?.version;
        const inOrder = before && candidates.includes(before) ? [before, ...candidates] : candidates;
        const chosen = inOrder.find((candidate) => specifiers.every((specifier) => meets(candidate, specifier)));
        if (chosen === undefined)
          throw unresolved(`${specifiers.map((specifier) => name + specifier).join(' and ')}, which cannot be met together`, asked, name);
        pins.push({ name, version: chosen, url: null, hashes: [fakeHash(name, chosen)], addedBy: null });
      }
      return pins;
    },

    install: async (request) => {
      called('install', String(request.pins.length), request.signal);
      const packages = installed.get(request.python);
      if (packages === undefined) throw new AgentError('ENVIRONMENT_FAILED', `${request.python} is no environment`);
      const { wheels } = request;
      if (wheels !== null && wheels !== undefined) {
        for (const { name } of request.pins) {
          const wheel = wheels.packages.get(name);
          if (wheel === undefined) throw new AgentError('ENVIRONMENT_FAILED', `there is no wheel of ${name}`);
          packages[name] = wheel.version;
        }
        return [];
      }
      if (request.pins.length > 0) refuseUnreachable(request, 'installing the packages');
      const found = request.pins.map((locked): [string, string] => {
        const pin = requirementLine(locked);
        const requirement = parseRequirement(pin);
        if (requirement.kind === 'package' && requirement.url !== null) return [requirement.name, '0.1'];
        const [name = '', wanted = ''] = pin.split('==');
        if (!available(request, normaliseName(name)).includes(wanted))
          throw new AgentError('ENVIRONMENT_FAILED', `there is no version of ${pin}`);
        const digest = fakeHash(name, wanted);
        if (locked.hashes.length > 0 && !locked.hashes.includes(digest))
          throw new AgentError('HASH_MISMATCH', `${pin} has ${digest} instead of the locked ${locked.hashes[0]}`);
        return [normaliseName(name), wanted];
      });
      Object.assign(packages, Object.fromEntries(found));
      return [];
    },

    collectWheels: async ({ pins, directory, ...request }) => {
      if (pins.length > 0) refuseUnreachable(request, 'collecting wheels');
      const collected = new Map<string, string>();
      for (const { name, version: wanted } of pins) {
        const file = `${name.replaceAll('-', '_')}-${wanted ?? '0.1'}-py3-none-any.whl`;
        // The text whose digest the index names.
        await writeText?.(`${directory}/${file}`, `${name} ${wanted ?? '0.1'}`);
        collected.set(name, file);
      }
      return collected;
    },
    collectUv: async ({ directory }) => {
      await writeText?.(`${directory}/uv-1.0-py3-none-any.whl`, 'uv');
      return 'uv-1.0-py3-none-any.whl';
    },
    placeUv: async (wheel) => {
      calls.push(`placeUv ${wheel.slice(wheel.lastIndexOf('/') + 1)}`);
    },

    remove: async (python, names) => {
      for (const name of names) delete installed.get(python)?.[normaliseName(name)];
    },
    origin: async (python, name) => {
      const present = installed.get(python)?.[normaliseName(name)];
      return present === undefined ? null : { name: normaliseName(name), version: present, url: null, hashes: [], addedBy: null };
    },
    packages: async (python) => ({ ...installed.get(python) }),
  };
}

const fakeHash = (name: string, version: string): string => `sha256:${createHash('sha256').update(`${name} ${version}`).digest('hex')}`;

const byName = (lines: readonly string[]): Map<string, string[]> => {
  const found = new Map<string, string[]>();
  for (const line of lines) {
    const requirement = parseRequirement(line);
    if (requirement.kind === 'package') found.set(requirement.name, [...(found.get(requirement.name) ?? []), requirement.specifier]);
  }
  return found;
};

const overridingUrl = (lines: readonly string[], name: string): string | null => {
  const found = lines.map(parseRequirement).find((each) => each.kind === 'package' && each.name === name);
  return found?.kind === 'package' ? found.url : null;
};

const unresolved = (message: string, asked: readonly Asked[], name: string): AgentError => {
  const naming = asked.filter(({ requirement }) => requirement.name === name);
  const labels = [...new Set(naming.map(({ label }) => label))];
  return new AgentError('REQUIREMENTS_UNRESOLVED', `${labels.join(', ')}: ${message}`, {
    details: {
      explanation: message,
      labels,
      asked: naming.map(({ label, line, file, lineNumber }) => ({ pack: label, line, file, lineNumber })),
    },
  });
};

async function readAll(readText: FakePythonOptions['readText'], place: ResolveRequest['requirements'][number]): Promise<Asked[]> {
  const { label, file, within, trusted = false } = place;
  const refuse = (why: string): AgentError =>
    new AgentError('REQUIREMENTS_UNRESOLVED', `${label}: ${file.slice(file.lastIndexOf('/') + 1)} ${why}`, {
      details: { explanation: why, labels: [label] },
    });
  if (!file.startsWith(`${within}/`)) throw refuse('leads out of its directory');
  const text = await readText(file);
  if (text === null) throw refuse('does not exist');
  const found: Asked[] = [];
  const located = file.endsWith('/pyproject.toml') ? (pyprojectRequirements(text) ?? []) : locateRequirements(text);
  for (const { requirement, line, lineNumber } of located) {
    if (isIndexOption(line)) continue;
    const local = requirement.kind === 'package' && requirement.url === null ? null : localSource(line);
    if (local !== null && !trusted) {
      if (local.path === null) throw refuse('it cannot be told which place it names');
      if (!`${resolvePath(dirname(file), local.path)}/`.startsWith(`${within}/`)) throw refuse('it leads out of its directory');
    }
    if (requirement.kind === 'include')
      found.push(...(await readAll(readText, { ...place, file: resolvePath(dirname(file), requirement.file) })));
    else if (
      requirement.kind === 'url' ||
      (requirement.kind === 'package' && /^(?:(?:===|[=<>!~]=|[<>])\d[^,]*,?)*$/.test(requirement.specifier))
    )
      found.push({ label, requirement, line, lineNumber, file: file.slice(file.lastIndexOf('/') + 1) });
    else
      throw new AgentError('REQUIREMENTS_UNRESOLVED', `${label}: a line of ${file.slice(file.lastIndexOf('/') + 1)} is no requirement`, {
        details: { explanation: text, labels: [label] },
      });
  }
  return found;
}

function meets(version: string, specifiers: string): boolean {
  return specifiers.split(',').every((specifier) => {
    const [, operator = '==', bound = ''] = /^(===|[=<>!~]=|[<>])(.*)$/.exec(specifier) ?? [];
    const order = compareVersions(version, bound);
    switch (operator) {
      case '>=':
        return order >= 0;
      case '<=':
        return order <= 0;
      case '>':
        return order > 0;
      case '<':
        return order < 0;
      case '!=':
        return order !== 0;
      case '~=':
        return order >= 0 && version.startsWith(bound.split('.').slice(0, -1).join('.'));
      default:
        return bound.includes('+') ? version === bound : order === 0;
    }
  });
}
