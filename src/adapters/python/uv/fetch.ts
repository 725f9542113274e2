/** Where the pinned uv comes from: a folder of wheels, pip, else the index. */
import { AgentError, asAgentError, isAgentError } from '../../../domain/errors/errors.ts';
import { redactUrls } from '../../../domain/installation/requirements.ts';
import type { UvCall, UvOptions } from './call.ts';
import { bootstrapIndexes, pipEnvironment } from './environment.ts';
import { indexPageLinks, type PinnedWheel, UV_VERSION, UV_WHEELS } from './wheel.ts';

const FETCH_MS = 300_000;
const LARGEST_WHEEL = 128 * 1024 * 1024;
const LARGEST_INDEX_PAGE = 64 * 1024 * 1024;

/** @returns the pinned wheel, verified */
export async function fetchUv(options: UvOptions, call: UvCall, work: string, fallbackIndex: string | null): Promise<string> {
  const wheel = UV_WHEELS[process.arch];
  if (wheel === undefined) throw unavailable(`there is no pinned uv for ${process.arch}`);
  return (
    (await wheelInFindLinks(options, call, wheel)) ??
    (await wheelByPip(options, call, wheel, work)) ??
    (await wheelFromIndex(options, call, wheel, work, fallbackIndex))
  );
}

/** Offline machines: the wheel lies in a directory that is configured as a source of packages. */
async function wheelInFindLinks({ files }: UvOptions, { indexes }: UvCall, wheel: PinnedWheel): Promise<string | null> {
  for (const place of indexes.findLinks) {
    const directory = place.startsWith('file://') ? decodeURIComponent(new URL(place).pathname) : place;
    if (!directory.startsWith('/')) continue;
    const file = `${directory.replace(/(?<!\/)\/+$/, '')}/${wheel.name}`;
    if ((await files.exists(file)) && (await files.digest(file)) === wheel.sha256) return file;
  }
  return null;
}

/** pip, where there is one, knows this machine's mirrors, certificates and credentials better than we do. */
async function wheelByPip(
  { files, shell, environment, log }: UvOptions,
  call: UvCall,
  wheel: PinnedWheel,
  work: string,
): Promise<string | null> {
  const hashes = Object.values(UV_WHEELS).map(({ sha256 }) => `--hash=sha256:${sha256}`);
  await files.writeText(`${work}/requirements.txt`, `uv==${UV_VERSION} ${hashes.join(' ')}\n`);
  const args = [
    '--no-deps',
    '--only-binary=:all:',
    '--require-hashes',
    '--progress-bar=off',
    '--retries=1',
    '--timeout=30',
    `--dest=${work}`,
    `--requirement=${work}/requirements.txt`,
  ];
  const result = await shell
    .run(call.interpreter, ['-m', 'pip', 'download', ...args], {
      environment: pipEnvironment(environment, call.indexes),
      timeoutMs: FETCH_MS,
      ...(call.signal === undefined ? {} : { signal: call.signal }),
    })
    .catch(() => null);
  if (call.signal?.aborted) throw new AgentError('INTERRUPTED', 'fetching uv was interrupted');
  const file = `${work}/${wheel.name}`;
  if (result?.exitCode === 0 && (await files.exists(file)) && (await files.digest(file)) === wheel.sha256) return file;
  log.debug({ exitCode: result?.exitCode ?? null, tail: redactUrls(result?.tail.slice(-500) ?? '') }, 'pip did not fetch uv');
  return null;
}

async function wheelFromIndex(
  { downloader, environment }: UvOptions,
  call: UvCall,
  wheel: PinnedWheel,
  work: string,
  fallbackIndex: string | null,
): Promise<string> {
  let problem: AgentError | null = null;
  const remotePages = call.indexes.findLinks.filter((place) => /^https?:/.test(place));
  const pages = [...remotePages, ...bootstrapIndexes(environment, call.indexes, fallbackIndex).map((index) => `${index}/uv/`)];
  const signal = call.signal === undefined ? {} : { signal: call.signal };
  for (const page of pages) {
    try {
      const answer = await downloader.text({
        url: page,
        maxBytes: LARGEST_INDEX_PAGE,
        headers: { accept: 'application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html;q=0.3, text/html;q=0.2' },
        ...signal,
      });
      const link = indexPageLinks(answer).find((candidate) => candidate.name === wheel.name);
      if (link === undefined) {
        problem ??= unavailable(`${redactUrls(page)} does not list ${wheel.name}`);
        continue;
      }
      const file = `${work}/${wheel.name}`;
      await downloader.file({ url: withCredentialsOf(page, link.url), file, sha256: wheel.sha256, maxBytes: LARGEST_WHEEL, ...signal });
      return file;
    } catch (error) {
      if (isAgentError(error) && (error.code === 'INTERRUPTED' || error.code === 'DISK_FULL')) throw error;
      problem ??= asAgentError(error);
    }
  }
  throw problem ?? unavailable('no package index is configured');
}

/** A private index serves its files under the same credentials; another origin never gets them. */
function withCredentialsOf(page: string, link: string): string {
  const [from, to] = [new URL(page), new URL(link)];
  if (from.origin !== to.origin) return to.href;
  to.username = from.username;
  to.password = from.password;
  return to.href;
}

export const unavailable = (message: string, cause?: unknown): AgentError =>
  new AgentError('UV_UNAVAILABLE', message, {
    help: `install uv (https://docs.astral.sh/uv/), set python.indexUrl to an index that can be reached, or put ${UV_WHEELS[process.arch]?.name ?? 'uv'} into a directory named by python.findLinks`,
    ...(cause === undefined ? {} : { cause }),
  });
