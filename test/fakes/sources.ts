import { createHash } from 'node:crypto';
import { AgentError } from '../../src/domain/errors/errors.ts';
import { redactUrl } from '../../src/domain/installation/git-url.ts';
import type { RegistryVersion } from '../../src/domain/installation/registry.ts';
import type { Files } from '../../src/ports/files.ts';
import type { Sources } from '../../src/ports/sources.ts';

type Tree = Readonly<Record<string, string>>;

export interface FakeSourcesOptions {
  readonly files: Pick<Files, 'readText' | 'writeText' | 'exists' | 'isDirectory' | 'list' | 'move'>;
  /** Contents of archives by URL; add, change and delete at will. */
  readonly archives: Record<string, Tree>;
  /** Versions by id of a pack. */
  readonly registry: Record<string, readonly RegistryVersion[]>;
  /** Where zips are handed out. */
  readonly archiveDirectory?: string;
}

/** What a source brought into a directory. */
export const FAKE_RECORD = '.comfylet-files.json';
const digest = (tree: Tree): string =>
  createHash('sha256')
    .update(JSON.stringify(Object.entries(tree).sort()))
    .digest('hex');
/** The sha256 that the fake gives an archive of these files. */
export const fakeArchiveDigest = digest;

/** Archives, registry and directories in memory. */
export function createFakeSources({ files, archives, registry, archiveDirectory = '/fake-archives' }: FakeSourcesOptions): Sources {
  const cache = new Map<string, Tree>();
  const read = async (directory: string, below = ''): Promise<Record<string, string>> => {
    const found: Record<string, string> = {};
    for (const name of [...(await files.list(below === '' ? directory : `${directory}/${below}`))].sort()) {
      if (['.git', '__pycache__', FAKE_RECORD].includes(name)) continue;
      const path = below === '' ? name : `${below}/${name}`;
      if (await files.isDirectory(`${directory}/${path}`)) Object.assign(found, await read(directory, path));
      else found[path] = (await files.readText(`${directory}/${path}`)) ?? '';
    }
    return found;
  };
  const write = async (directory: string, tree: Tree): Promise<void> => {
    for (const [path, content] of Object.entries(tree)) await files.writeText(`${directory}/${path}`, content);
    await files.writeText(`${directory}/${FAKE_RECORD}`, JSON.stringify(tree));
  };
  const recorded = async (directory: string): Promise<Tree | null> => {
    const text = await files.readText(`${directory}/${FAKE_RECORD}`);
    return text === null ? null : (JSON.parse(text) as Tree);
  };
  return {
    registryVersion: async ({ id, version }) => {
      const versions = (registry[id] ?? []).filter((each) => version === null || each.version === version);
      const found = versions.findLast(({ status }) => status === 'active') ?? versions.at(-1);
      if (found === undefined)
        throw new AgentError('SOURCE_NOT_FOUND', `the registry has no ${id}${version === null ? '' : ` ${version}`}`);
      return found;
    },
    archive: async ({ url, sha256 }, directory, { onCache } = {}) => {
      onCache?.(sha256 !== null && cache.has(sha256));
      const tree = (sha256 === null ? undefined : cache.get(sha256)) ?? archives[url];
      if (tree === undefined) throw new AgentError('SOURCE_NOT_FOUND', `there is no archive at ${redactUrl(url)}`);
      const found = digest(tree);
      if (sha256 !== null && sha256 !== found)
        throw new AgentError('DIGEST_DIFFERS', `${redactUrl(url)} has sha256 ${found} in place of ${sha256}`);
      cache.set(found, tree);
      await write(directory, tree);
      return { sha256: found };
    },
    archiveFile: async ({ url, sha256 }) => {
      const tree = cache.get(sha256) ?? archives[url];
      if (tree === undefined) throw new AgentError('SOURCE_NOT_FOUND', `there is no archive at ${redactUrl(url)}`);
      if (digest(tree) !== sha256)
        throw new AgentError('DIGEST_DIFFERS', `${redactUrl(url)} has sha256 ${digest(tree)} in place of ${sha256}`);
      const file = `${archiveDirectory}/${sha256}.zip`;
      // Its text has this very digest.
      await files.writeText(file, JSON.stringify(Object.entries(tree).sort()));
      return file;
    },
    adoptArchive: async (file, sha256) => {
      cache.set(sha256, Object.fromEntries(JSON.parse((await files.readText(file)) ?? '') as [string, string][]));
    },
    directory: async (from, directory) => {
      if (!(await files.isDirectory(from))) throw new AgentError('SOURCE_NOT_FOUND', `there is no directory ${from}`);
      const tree = await read(from);
      await write(directory, tree);
      return { sha256: digest(tree) };
    },
    changed: async (directory) => {
      const tree = await recorded(directory);
      if (tree === null) return null;
      const now = await read(directory);
      return Object.keys(tree).filter((path) => now[path] !== tree[path]);
    },
    untracked: async (directory) => {
      const tree = await recorded(directory);
      if (tree === null) return null;
      const known = Object.keys(tree);
      const found = Object.keys(await read(directory)).filter((path) => !known.includes(path));
      return [
        ...new Set(
          found.map((path) => {
            const parts = path.split('/');
            const depth = parts.findIndex((_, index) => !known.some((file) => file.startsWith(`${parts.slice(0, index + 1).join('/')}/`)));
            return depth < parts.length - 1 ? `${parts.slice(0, depth + 1).join('/')}/` : path;
          }),
        ),
      ];
    },
  };
}
