import { AgentError, asAgentError } from '../../domain/errors/errors.ts';
import type { Drift, DriftDocument } from '../../domain/installation/drift.ts';
import { LOCK_NAME } from '../../domain/installation/lock.ts';
import { toTime } from '../../domain/observed.ts';
import { copyDrift, modelDrift, packageDrift, sourceDrift } from '../../plan/installation/drift.ts';
import { parseLock } from '../../plan/installation/lock.ts';
import type { Files } from '../../ports/files.ts';
import type { Ports } from '../../ports.ts';
import type { Knowledge } from '../knowledge.ts';
import { alteredCopies, readCurrent, readRecord, releaseDirectory } from '../releases/releases.ts';
import { alteredSince } from './packs/files.ts';

const HEAD_BYTES = 256;

/**
 * Looks at the release in place, file by file, and changes nothing.
 * @throws AgentError HELD when nothing is installed or the release is older than locks
 */
export async function examineDrift(ports: Ports, { configuration, models }: Knowledge): Promise<DriftDocument> {
  const { layout } = configuration;
  const { release } = await readCurrent(ports.files, layout);
  if (release === null) throw new AgentError('HELD', 'nothing is installed yet', { help: 'run `agent install` first' });
  const directory = releaseDirectory(layout, release.id);
  const text = await readRecord(ports.files, layout, release.id, LOCK_NAME);
  if (text === null)
    throw new AgentError('HELD', `release ${release.id} was built without a lock`, { help: 'run `agent reinstall`, which writes one' });
  const lock = parseLock(text, `the lock of release ${release.id}`);
  const drift: Drift[] = [];
  const unknown: string[] = [];
  /** What cannot be looked at is no drift. */
  const look = async (what: string, compare: () => Promise<readonly Drift[]>): Promise<void> => {
    try {
      drift.push(...(await compare()));
    } catch (error) {
      unknown.push(`${what}: ${asAgentError(error).message}`);
    }
  };
  const checkout = `${directory}/ComfyUI`;
  const byHand = async (name: string, place: string): Promise<readonly string[] | null> => {
    const found = await ports.sources.changed(place);
    const pack = release.packs.find((each) => each.name === name);
    return found === null || pack === undefined ? found : alteredSince(ports, place, found, pack);
  };
  const present = lock.packs.filter(
    (pack) =>
      pack.quarantined === null && release.packs.some((each) => each.name === pack.name && each.source !== null && !each.quarantined),
  );
  const sources = [
    { part: 'core' as const, name: 'ComfyUI', source: lock.core.source, place: checkout },
    ...present.map(({ name, source }) => ({ part: 'pack' as const, name, source, place: `${checkout}/custom_nodes/${name}` })),
  ].filter(({ source }) => source.kind !== 'embedded');
  for (const { part, name, source, place } of sources)
    await look(name, async () => sourceDrift(part, name, source, await headOf(ports.files, place), await byHand(name, place)));
  await look('copies of records', async () => copyDrift(release.id, await alteredCopies(ports.files, layout, release.id)));
  if (lock.python.packages.length > 0) {
    const python = `${directory}/${release.python}`;
    await look('packages', async () => packageDrift(lock.python.packages, await ports.python.packages(python)));
  }
  if (models.known) {
    drift.push(...modelDrift(models.value));
    unknown.push(
      ...models.value.filter((model) => model.state === 'unknown').map((model) => `${model.path}: ${model.reason ?? 'not seen'}`),
    );
  } else unknown.push(`models: ${models.reason}`);
  return {
    release: release.id,
    ok: drift.length === 0 && unknown.length === 0,
    drift,
    unknown,
    compared: { sources: sources.length, packages: lock.python.packages.length, models: models.known ? models.value.length : 0 },
    checkedAt: toTime(ports.clock.now()),
  };
}

/** The commit that a work tree says it stands at, for people; packs can write there, so it proves nothing. */
async function headOf(files: Files, place: string): Promise<string | null> {
  const text = await files.readForeign(`${place}/.git/HEAD`, { within: place, maxBytes: HEAD_BYTES }).catch(() => null);
  return /^[0-9a-f]{40}(?:[0-9a-f]{24})?$/.exec(text?.trim() ?? '')?.[0] ?? null;
}
