import { AgentError } from '../../../domain/errors/errors.ts';
import { type BundleManifest, type BundleMember, MANIFEST_NAME } from '../../../domain/installation/bundle.ts';
import type { Lock } from '../../../domain/installation/lock.ts';
import { bundleProblems, parseManifest } from '../../../plan/installation/bundle.ts';
import { parseLock } from '../../../plan/installation/lock.ts';
import type { Ports } from '../../../ports.ts';
import type { OperationHandle } from '../../operations.ts';

const MANIFEST_LIMIT_BYTES = 16 * 1024 * 1024;
const MEBIBYTE = 1024 * 1024;

/** A bundle that was read and verified as a whole; its members lie in a directory of their own. */
export interface OpenBundle {
  readonly file: string;
  readonly manifest: BundleManifest;
  readonly lock: Lock;
  /** Path of a member. */
  readonly pathOf: (member: BundleMember) => string;
  readonly wheels: string;
}

/**
 * Reads a bundle into `directory` and verifies all of it before anything is used.
 * @throws AgentError BUNDLE_INVALID naming the member; FILE_UNREADABLE
 */
export async function openBundle(
  { files, archives }: Pick<Ports, 'files' | 'archives'>,
  file: string,
  directory: string,
  handle: Pick<OperationHandle, 'signal' | 'update'>,
): Promise<OpenBundle> {
  const wheels = `${directory}/wheels`;
  const place = (member: BundleMember): string =>
    member.kind === 'wheel' || member.kind === 'uv' ? `${wheels}/${member.file}` : `${directory}/member-${member.name.replace('/', '-')}`;
  await files.ensureDirectory(wheels, 0o700);
  let manifest: BundleManifest | null = null;
  await archives.extract(
    file,
    { name: MANIFEST_NAME, maxBytes: MANIFEST_LIMIT_BYTES },
    (text) => {
      manifest = parseManifest(text);
      requirePlaces(file, manifest.members.map(place));
      return manifest.members.map((member) => ({ ...member, path: place(member) }));
    },
    {
      signal: handle.signal,
      onProgress: (name, bytes, totalBytes) =>
        handle.update({
          message: `verifying the bundle: ${name}, ${Math.round(bytes / MEBIBYTE)} of ${Math.round(totalBytes / MEBIBYTE)} MiB`,
          progress: totalBytes === 0 ? 0 : bytes / totalBytes,
        }),
    },
  );
  const read = manifest as BundleManifest | null;
  const lockMember = read?.members.find(({ kind }) => kind === 'lock');
  if (read === null || lockMember === undefined) throw invalid(file, 'it holds no agent.lock.json');
  const lock = readLock(file, (await files.readText(place(lockMember))) ?? '');
  const [problem, ...more] = bundleProblems(read, lock);
  if (problem !== undefined) throw invalid(file, `${problem}${more.length === 0 ? '' : ` (and ${more.length} more faults)`}`);
  return { file, manifest: read, lock, pathOf: place, wheels };
}

/** Names that differ in the archive may still meet in the directory. */
function requirePlaces(file: string, places: readonly string[]): void {
  if (new Set(places).size !== places.length) throw invalid(file, 'two of its members would be the same file');
}

function readLock(file: string, text: string): Lock {
  try {
    return parseLock(text, 'agent.lock.json');
  } catch (error) {
    throw invalid(file, (error as Error).message);
  }
}

const invalid = (file: string, why: string): AgentError => new AgentError('BUNDLE_INVALID', `${file}: ${why}`);
