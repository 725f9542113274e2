import { INPUT_LIMITS } from '../../../domain/files/foreign.ts';
import { digestOf } from '../../../domain/text/digest.ts';
import { machineProblems } from '../../../plan/installation/lock.ts';
import type { InstallContext } from '../context.ts';
import { CORE, type RequirementFile } from './requirement-files.ts';
import { type Resolution, resolutionOf } from './resolution.ts';

/** Lines that lead out of their file: to other files of the tree, or to something that has an address. */
const LEADS_OUT = /^[^\S\n]*[-./]|@\s|:\/\//m;

/**
 * Digest of all that decides what a resolution finds, besides what indexes have: the text of every requirement, the python
 * settings, what is held fast. A file that leads to other files counts with the tree it lies in.
 * @returns null when that cannot be told
 */
export async function questionDigest(
  { ports, spec, config, tracker }: InstallContext,
  files: readonly RequirementFile[],
  held: { readonly torchBackend: string | null; readonly constraints: readonly string[] },
): Promise<string | null> {
  const asked: unknown[] = [];
  for (const { label, file, within } of files) {
    const text = (await ports.files.readForeign(file, { within, maxBytes: INPUT_LIMITS.source })) ?? '';
    if (!LEADS_OUT.test(text) && !file.endsWith('.toml')) {
      asked.push([label, text]);
      continue;
    }
    const source = tracker.progress.packs.find((pack) => pack.name === label)?.source ?? null;
    if (label === CORE || source === null) return null;
    asked.push([label, text, source]);
  }
  return digestOf({ python: spec.python, held, onConflict: config.install.onConflict, asked });
}

/**
 * What the lock has, when it was found for the very same question: a pack that moved without other requirements needs no new
 * answer. What scripts of packs added is theirs to add again. Null: the question is another, or the newest is wanted.
 */
export function answeredBefore(
  { pins: { answer, quarantined }, ports }: InstallContext,
  question: string | null,
  pythonVersion: string,
): Resolution | null {
  if (answer === null || question === null || answer.questionDigest !== question) return null;
  if (machineProblems(answer, { pythonVersion, platform: ports.python.platform() }).length > 0) return null;
  const known = resolutionOf(answer, quarantined);
  return { ...known, packages: known.packages.filter(({ addedBy }) => addedBy === null) };
}
