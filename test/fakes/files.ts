import { createHash } from 'node:crypto';
import { posix } from 'node:path';
import { readFault, writeFault } from '../../src/adapters/files/errors.ts';
import { AgentError } from '../../src/domain/errors/errors.ts';
import { type Border, distrustOf, type PathFacts, tooLarge } from '../../src/domain/files/foreign.ts';
import type { Inodes } from '../../src/domain/upkeep/upkeep.ts';
import type { Files } from '../../src/ports/files.ts';

type Node =
  | { readonly kind: 'directory'; mode: number }
  | { readonly kind: 'file'; content: string; size: number; mode: number; modifiedAt: number }
  | { readonly kind: 'link'; readonly target: string };

export interface FakeFiles extends Files {
  /** Puts a file there with all its directories; `size` for large ones that are not really there. */
  put(path: string, content?: string, facts?: { readonly size?: number; readonly modifiedAt?: number }): void;
  /** Every path below a directory, files as `path`, links as `path -> target`, directories only when empty. */
  tree(directory: string): readonly string[];
  mode(path: string): number | null;
  /** Called before each writing call (and each read, as "read"): throw to fail it, wait to hold it. */
  before: ((call: string, path: string) => void | Promise<void>) | null;
  freeDiskBytes: number | null;
  /** Set: ComfyUI has a user of its own. */
  border: Border | null;
  /** Gives what is at a path to somebody; else all belongs to root, which is 0. */
  own(path: string, facts: { readonly uid?: number; readonly gid?: number; readonly mode?: number }): void;
  freeDiskInodes: Inodes | null;
  /** Paths that were written by writeText, in order. */
  readonly written: readonly string[];
}

const systemError = (code: string, path: string): Error => Object.assign(new Error(`${code}: ${path}`), { code });
const MAX_LINKS = 40;

/** A disk in memory: directories, files, links. As strict as the real one about parents that are missing. */
export function createFakeFiles(now: () => number = Date.now): FakeFiles {
  const nodes = new Map<string, Node>([['/', { kind: 'directory', mode: 0o755 }]]);
  const locks = new Map<string, string>();
  const watchers = new Set<{ readonly paths: readonly string[]; readonly onChange: (path: string) => void }>();
  const written: string[] = [];
  const owners = new Map<string, { readonly uid?: number; readonly gid?: number; readonly mode?: number }>();
  const changed = new Set<() => void>();

  /** Where a path leads; `last`: whether a link at the end is followed too. */
  function resolve(path: string, last = true): string {
    let pending = posix.normalize(path).split('/').filter(Boolean);
    let place = '';
    let links = 0;
    while (pending.length > 0) {
      const [name = '', ...rest] = pending;
      const next = `${place}/${name}`;
      const node = nodes.get(next);
      if (node?.kind === 'link' && (last || rest.length > 0)) {
        if (++links > MAX_LINKS) throw systemError('ELOOP', path);
        const target = posix.resolve(place === '' ? '/' : place, node.target);
        pending = [...target.split('/').filter(Boolean), ...rest];
        place = '';
        continue;
      }
      place = next;
      pending = rest;
    }
    return place === '' ? '/' : place;
  }
  const find = (path: string): Node | undefined => nodes.get(resolve(path));
  const children = (place: string): string[] => {
    const prefix = place === '/' ? '/' : `${place}/`;
    return [...nodes.keys()].filter((key) => key !== '/' && key.startsWith(prefix));
  };
  const parentMustExist = (place: string): void => {
    if (nodes.get(posix.dirname(place))?.kind !== 'directory') throw systemError('ENOENT', place);
  };
  const makeDirectory = (path: string, mode = 0o755): void => {
    const place = resolve(path);
    const node = nodes.get(place);
    if (node?.kind === 'directory') return;
    if (node !== undefined) throw systemError('EEXIST', path);
    if (place !== '/') makeDirectory(posix.dirname(place));
    nodes.set(place, { kind: 'directory', mode });
  };
  const removeTree = (place: string): void => {
    for (const child of children(place)) nodes.delete(child);
    nodes.delete(place);
  };
  const tell = (path: string): void => {
    for (const { paths, onChange } of watchers) if (paths.includes(path)) queueMicrotask(() => onChange(path));
    for (const wake of [...changed]) wake();
  };
  const begin = async (call: string, path: string): Promise<void> => {
    await files.before?.(call, path);
  };
  /** What the disk says, in the words of the real one; faults of a test pass as they are. */
  const explained = async <T>(fault: typeof writeFault, path: string, work: () => Promise<T>): Promise<T> => {
    try {
      return await work();
    } catch (error) {
      throw /^E[A-Z]+$/.test(String((error as NodeJS.ErrnoException).code)) ? fault(error, path) : error;
    }
  };
  const reading = <T>(path: string, work: () => Promise<T>): Promise<T> => explained(readFault, path, work);
  const writing = <T>(path: string, work: () => Promise<T>): Promise<T> => explained(writeFault, path, work);
  const write = (place: string, content: string, mode: number, size = Buffer.byteLength(content), modifiedAt = now()): void => {
    parentMustExist(place);
    if (nodes.get(place)?.kind === 'directory') throw systemError('EISDIR', place);
    nodes.set(place, { kind: 'file', content, size, mode, modifiedAt });
  };
  const linesOf = (path: string): string[] => {
    const node = find(path);
    return node?.kind === 'file' && node.content !== '' ? node.content.replace(/\n$/, '').split('\n') : [];
  };

  const refusedInput = (path: string, why: string): AgentError =>
    new AgentError('INPUT_REFUSED', `${path} is not read: ${why}`, { details: { path, why } });
  const contentOf = (path: string, node: Node, maxBytes: number): string => {
    if (node.kind !== 'file') throw refusedInput(path, `it is a ${node.kind}, not a file`);
    if (node.size > maxBytes) throw refusedInput(path, tooLarge(maxBytes));
    return node.content;
  };
  const factsOf = (path: string): PathFacts => {
    const node = nodes.get(path);
    return {
      path,
      kind: node?.kind ?? 'other',
      uid: 0,
      gid: 0,
      mode: node?.kind === 'link' ? 0o777 : (node?.mode ?? 0),
      ...owners.get(path),
    };
  };

  const files: FakeFiles = {
    before: null,
    freeDiskBytes: 500 * 1024 ** 3,
    border: null,
    freeDiskInodes: { free: 1_000_000, total: 2_000_000 },
    written,
    put: (path, content = '', facts = {}) => {
      makeDirectory(posix.dirname(path));
      write(resolve(path), content, 0o644, facts.size, facts.modifiedAt);
      tell(path);
    },
    tree: (directory) => {
      const place = resolve(directory);
      return children(place)
        .filter((path) => nodes.get(path)?.kind !== 'directory' || children(path).length === 0)
        .map((path) => {
          const node = nodes.get(path);
          const short = path.slice(place.length + 1);
          return node?.kind === 'link' ? `${short} -> ${node.target}` : node?.kind === 'directory' ? `${short}/` : short;
        })
        .sort();
    },
    mode: (path) => {
      const node = find(path);
      return node === undefined || node.kind === 'link' ? null : node.mode;
    },

    readText: (path) =>
      reading(path, async () => {
        await begin('read', path);
        const node = find(path);
        if (node?.kind === 'directory') throw systemError('EISDIR', path);
        return node?.kind === 'file' ? node.content : null;
      }),
    own: (path, facts) => void owners.set(path, { ...owners.get(path), ...facts }),
    readForeign: (path, { within, maxBytes }) =>
      reading(path, async () => {
        await begin('read', path);
        if (!posix.normalize(path).startsWith(`${within}/`)) throw refusedInput(path, `it leads out of ${within}`);
        const node = find(path);
        if (node === undefined || find(within) === undefined) return null;
        if (!resolve(path).startsWith(`${resolve(within)}/`)) throw refusedInput(path, `it leads out of ${within}`);
        return contentOf(path, node, maxBytes);
      }),
    digestForeign: async (path, options) => {
      const text = await files.readForeign(path, options);
      return text === null ? null : createHash('sha256').update(text).digest('hex');
    },
    readInstruction: (path, { maxBytes }) =>
      reading(path, async () => {
        await begin('read', path);
        const node = find(path);
        if (node === undefined) return null;
        const text = contentOf(path, node, maxBytes);
        const names = resolve(path).split('/');
        const way = names.map((_, index) => factsOf(names.slice(0, index + 1).join('/') || '/'));
        const uid = way.at(-1)?.uid ?? 0;
        const { border } = files;
        return { text, owner: border?.names.get(uid) ?? `uid ${uid}`, distrust: border === null ? null : distrustOf(way, border) };
      }),
    writeText: (path, content, mode = 0o644) =>
      writing(path, async () => {
        await begin('writeText', path);
        write(resolve(path, false), content, mode);
        written.push(path);
        tell(path);
      }),
    exists: async (path) => find(path) !== undefined,
    isDirectory: async (path) => find(path)?.kind === 'directory',
    size: async (path) => {
      const node = find(path);
      return node === undefined ? null : node.kind === 'file' ? node.size : 4_096;
    },
    modifiedAt: async (path) => {
      const node = find(path);
      return node?.kind === 'file' ? node.modifiedAt : null;
    },
    list: async (directory) => {
      const place = resolve(directory);
      if (nodes.get(place)?.kind !== 'directory') return [];
      return children(place)
        .filter((path) => posix.dirname(path) === place)
        .map((path) => posix.basename(path));
    },
    ensureDirectory: (path, mode) =>
      writing(path, async () => {
        await begin('ensureDirectory', path);
        makeDirectory(path, mode);
        const node = find(path);
        if (mode !== undefined && node?.kind === 'directory' && (node.mode & ~mode) !== 0) node.mode = mode;
      }),
    remove: (path) =>
      writing(path, async () => {
        await begin('remove', path);
        removeTree(resolve(path, false));
        tell(path);
      }),
    move: (from, to) =>
      writing(to, async () => {
        await begin('move', from);
        const source = resolve(from, false);
        const target = resolve(to, false);
        const node = nodes.get(source);
        if (node === undefined) throw systemError('ENOENT', from);
        parentMustExist(target);
        if (nodes.get(target)?.kind === 'directory' && children(target).length > 0) throw systemError('ENOTEMPTY', to);
        const moved = [source, ...children(source)].map((path): [string, Node | undefined] => [
          target + path.slice(source.length),
          nodes.get(path),
        ]);
        removeTree(source);
        removeTree(target);
        for (const [path, value] of moved) if (value !== undefined) nodes.set(path, value);
        tell(from);
        tell(to);
      }),
    copyTree: (from, to, { overwrite } = { overwrite: true }) =>
      writing(to, async () => {
        await begin('copyTree', to);
        const source = resolve(from);
        if (!nodes.has(source)) throw systemError('ENOENT', from);
        makeDirectory(to);
        const target = resolve(to);
        for (const path of children(source)) {
          const node = nodes.get(path);
          const place = target + path.slice(source.length);
          if (node === undefined || (!overwrite && nodes.has(place))) continue;
          if (node.kind === 'directory' && nodes.get(place)?.kind === 'directory') continue;
          nodes.set(place, { ...node });
        }
      }),
    link: (target, path) =>
      writing(path, async () => {
        await begin('link', path);
        const place = resolve(path, false);
        const before = nodes.get(place);
        if (before !== undefined && before.kind !== 'link') return false;
        parentMustExist(place);
        nodes.set(place, { kind: 'link', target });
        tell(path);
        return true;
      }),
    readLink: async (path) => {
      const node = nodes.get(resolve(path, false));
      return node?.kind === 'link' ? node.target : null;
    },
    realPath: async (path) => (find(path) === undefined ? null : resolve(path)),
    digest: (path) =>
      reading(path, async () => {
        const node = find(path);
        if (node?.kind !== 'file') throw systemError('ENOENT', path);
        return createHash('sha256').update(node.content).digest('hex');
      }),
    freeBytes: async () => files.freeDiskBytes,
    inodes: async () => files.freeDiskInodes,
    treeSize: async (path) => {
      const place = resolve(path);
      return [place, ...children(place)].reduce((sum, each) => {
        const node = nodes.get(each);
        return sum + (node?.kind === 'file' ? node.size : 0);
      }, 0);
    },
    treeUsage: async (path) => {
      const bytes = await files.treeSize(path);
      return { bytes, ownBytes: bytes };
    },
    treeStamp: async (path) => {
      const place = resolve(path);
      return JSON.stringify([place, ...children(place)].map((each) => [each, nodes.get(each)]));
    },
    lock: async (path, owner) => {
      const holder = locks.get(path);
      if (holder !== undefined)
        throw new AgentError('ROOT_LOCKED', `${posix.dirname(path)} is in use by ${holder}`, { details: { path, holder } });
      locks.set(path, owner);
      return { release: async () => void locks.delete(path) };
    },
    appendLine: (path, line) =>
      writing(path, async () => {
        await begin('appendLine', path);
        const place = resolve(path);
        const node = nodes.get(place);
        write(place, `${node?.kind === 'file' ? node.content : ''}${line}\n`, node?.kind === 'file' ? node.mode : 0o644);
        tell(path);
      }),
    tail: async function* (path, { lines, follow }, signal) {
      let read = linesOf(path);
      yield* lines === 0 ? [] : read.slice(-lines);
      while (follow && !signal.aborted) {
        // Before the look: what comes while lines are handed on wakes too.
        const { promise: change, resolve: wake } = Promise.withResolvers<void>();
        changed.add(wake);
        signal.addEventListener('abort', () => wake(), { once: true });
        const now = linesOf(path);
        const isLonger = read.every((line, index) => line === now[index]);
        yield* now.slice(isLonger ? read.length : 0);
        read = now;
        await change;
        changed.delete(wake);
      }
    },
    readPart: (path, offset, limit) =>
      reading(path, async () => {
        const node = find(path);
        if (node?.kind !== 'file') return null;
        const content = Buffer.from(node.content);
        const from = offset < 0 ? Math.max(0, content.length + offset) : offset;
        const part = content.subarray(from, from + limit);
        return { text: part.toString('utf8'), next: from + part.length, size: content.length };
      }),
    watch: async (paths, onChange) => {
      const watcher = { paths, onChange };
      watchers.add(watcher);
      return { close: async () => void watchers.delete(watcher) };
    },
  };
  return files;
}
