import { isAgentError } from '../../../domain/errors/errors.ts';
import { INPUT_LIMITS } from '../../../domain/files/foreign.ts';
import { pyprojectRequirements } from '../../../domain/installation/pyproject.ts';
import { isIndexOption, locateRequirements, redactUrls, requirementNames } from '../../../domain/installation/requirements.ts';
import { coreRequirements } from '../../../plan/installation/python.ts';
import { checkoutOf, type InstallContext, packDirectory, stateOf } from '../context.ts';
import { leaveOut } from '../leave-out.ts';

/** Label of ComfyUI's own requirements. */
export const CORE = 'ComfyUI';

/** A file of requirements, and who is named when they do not fit. */
export interface RequirementFile {
  readonly label: string;
  readonly file: string;
  /** What it includes and names lies in here. */
  readonly within: string;
  /** The operator wrote it: it may name any place. */
  readonly trusted?: boolean;
}

/** requirements.txt of ComfyUI and what it forgets to list. */
export async function coreFiles(context: InstallContext): Promise<readonly RequirementFile[]> {
  const { files } = context.ports;
  const within = checkoutOf(context);
  const file = `${within}/requirements.txt`;
  const text = (await files.readForeign(file, { within, maxBytes: INPUT_LIMITS.source })) ?? '';
  const extra = coreRequirements(text, context.spec.python.extraRequirements);
  const result: RequirementFile[] = requirementNames(text).length === 0 ? [] : [{ label: CORE, file, within }];
  if (extra.length > 0) {
    const extraFile = `${context.directory}/extra-requirements.txt`;
    await files.writeText(extraFile, `${extra.join('\n')}\n`);
    result.push({ label: 'python.extraRequirements', file: extraFile, within: context.directory, trusted: true });
  }
  return result;
}

/**
 * requirements.txt of each pack that is to have its requirements met; else the dependencies of its pyproject.toml. A pack that
 * has something else in place of that file is left out.
 */
export async function packFiles(context: InstallContext): Promise<readonly RequirementFile[]> {
  const found: RequirementFile[] = [];
  for (const pack of context.spec.packs) {
    if (!pack.requirements || stateOf(context, pack.name) === 'failed') continue;
    try {
      const file = await packFile(context, pack.name);
      if (file !== null) found.push(file);
    } catch (error) {
      if (!isAgentError(error) || (error.code !== 'INPUT_REFUSED' && error.code !== 'FILE_UNREADABLE')) throw error;
      await leaveOut(
        context,
        pack.name,
        `its requirements cannot be read: ${error.message.replaceAll(`${packDirectory(context, pack.name)}/`, '')}`,
      );
    }
  }
  return found;
}

async function packFile(context: InstallContext, name: string): Promise<RequirementFile | null> {
  const within = packDirectory(context, name);
  const read = (file: string) => context.ports.files.readForeign(file, { within, maxBytes: INPUT_LIMITS.source });
  const file = `${within}/requirements.txt`;
  const text = await read(file);
  if (text !== null) {
    for (const { line } of locateRequirements(text).filter((located) => isIndexOption(located.line)))
      warnOnce(
        context,
        name,
        `${redactUrls(line)} in its requirements.txt is not followed, as it would hold for all packs; python.extraIndexUrls and python.findLinks are`,
      );
    return /^\s*[^#\s]/m.test(text) ? { label: name, file, within } : null;
  }
  const project = `${within}/pyproject.toml`;
  const listed = pyprojectRequirements((await read(project)) ?? '');
  if (listed === null) warnOnce(context, name, 'config_nodes.json says it has requirements, but it has no requirements.txt');
  return listed === null || listed.length === 0 ? null : { label: name, file: project, within };
}

function warnOnce(context: InstallContext, name: string, warning: string): void {
  const warnings = context.tracker.progress.packs.find((pack) => pack.name === name)?.warnings ?? [];
  if (!warnings.includes(warning)) context.tracker.packWarning(name, warning);
}
