/** Comfy Registry, read only: never its install endpoint, which counts installations. */
import { z } from 'zod';
import { AgentError } from '../../domain/errors/errors.ts';
import { redactUrl } from '../../domain/installation/git-url.ts';
import type { RegistryRequest, RegistryVersion } from '../../domain/installation/registry.ts';
import { type Downloader, redirectAllowed } from './download.ts';
import { fetchError } from './fetch-error.ts';

const MAX_ANSWER_BYTES = 16 * 1024 * 1024;

const NodeVersion = z.object({
  version: z.string(),
  downloadUrl: z.string().nullish(),
  status: z.string().nullish(),
  status_reason: z.string().nullish(),
});
type NodeVersion = z.infer<typeof NodeVersion>;

/** @throws AgentError SOURCE_NOT_FOUND, SOURCE_UNREACHABLE, SOURCE_REFUSED */
export async function findRegistryVersion(
  download: Downloader,
  { registryUrl, id, version }: RegistryRequest,
  signal: AbortSignal | undefined,
): Promise<RegistryVersion> {
  const base = `${registryUrl.replace(/(?<!\/)\/+$/, '')}/nodes/${encodeURIComponent(id)}/versions`;
  const url = `${base}${version === null ? '' : `/${encodeURIComponent(version)}`}?include_status_reason=true`;
  const answer = await download
    .text({ url, maxBytes: MAX_ANSWER_BYTES, headers: { accept: 'application/json' }, ...(signal ? { signal } : {}) })
    .catch((error: unknown) => {
      throw fetchError(error, `the registry has no ${id}${version === null ? '' : ` ${version}`}`);
    });
  const found = newest(parse(answer.text, url));
  if (found === null) throw new AgentError('SOURCE_NOT_FOUND', `the registry has no version of ${id}`);
  const status = (found.status ?? 'unknown').replace(/^NodeVersionStatus/, '').toLowerCase();
  const link = found.downloadUrl ?? null;
  if (link !== null && (!URL.canParse(link) || !redirectAllowed(new URL(url), new URL(link))))
    throw new AgentError('SOURCE_REFUSED', `the registry names ${redactUrl(link)} for ${id} ${found.version}, which is no https URL`);
  return { version: found.version, url: link, status, statusReason: found.status_reason || null };
}

function parse(text: string, url: string): readonly NodeVersion[] {
  try {
    const answer = JSON.parse(text) as unknown;
    const versions = z.union([z.array(NodeVersion), z.object({ versions: z.array(NodeVersion) }), NodeVersion]).parse(answer);
    return Array.isArray(versions) ? versions : 'versions' in versions ? versions.versions : [versions];
  } catch (error) {
    throw new AgentError('SOURCE_UNREACHABLE', `${redactUrl(url)} did not answer as a Comfy Registry does`, { cause: error });
  }
}

/** The newest that is active; when none is, the newest at all: its status says why it is not taken. */
function newest(versions: readonly NodeVersion[]): NodeVersion | null {
  const active = versions.filter(({ status }) => status === 'NodeVersionStatusActive');
  return (active.length > 0 ? active : versions).toSorted((a, b) => compare(b.version, a.version))[0] ?? null;
}

/** By numbers; 1.0.0 after 1.0.0-beta. */
function compare(a: string, b: string): number {
  const [left, right] = [a, b].map(
    (text) =>
      text
        .split('-')[0]
        ?.split('.')
        .map((part) => Number.parseInt(part, 10) || 0) ?? [],
  );
  for (let index = 0; index < Math.max(left?.length ?? 0, right?.length ?? 0); index++) {
    const difference = (left?.[index] ?? 0) - (right?.[index] ?? 0);
    if (difference !== 0) return difference;
  }
  return Number(b.includes('-')) - Number(a.includes('-')) || (a < b ? -1 : 1);
}
