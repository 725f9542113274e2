import { pyprojectRequirements } from '../../domain/pyproject.ts';
import { isIndexOption, locateRequirements, redactUrls, requirementNames } from '../../domain/requirements.ts';
import { coreRequirements } from '../../plan/python.ts';
import { checkoutOf, type InstallContext, packDirectory, stateOf } from './context.ts';

/** Label of ComfyUI's own requirements. */
export const CORE = 'ComfyUI';

/** A file of requirements, and who is named when they do not fit. */
export interface RequirementFile {
  readonly label: string;
  readonly file: string;
}

/** requirements.txt of ComfyUI and what it forgets to list. */
export async function coreFiles(context: InstallContext): Promise<readonly RequirementFile[]> {
  const { files } = context.ports;
  const file = `${checkoutOf(context)}/requirements.txt`;
  const text = (await files.readText(file)) ?? '';
  const extra = coreRequirements(text, context.spec.python.extraRequirements);
  const result: RequirementFile[] = requirementNames(text).length === 0 ? [] : [{ label: CORE, file }];
  if (extra.length > 0) {
    const extraFile = `${context.directory}/extra-requirements.txt`;
    await files.writeText(extraFile, `${extra.join('\n')}\n`);
    result.push({ label: 'python.extraRequirements', file: extraFile });
  }
  return result;
}

/** requirements.txt of each pack that is to have its requirements met; else the dependencies of its pyproject.toml. */
export async function packFiles(context: InstallContext): Promise<readonly RequirementFile[]> {
  const found: RequirementFile[] = [];
  for (const pack of context.spec.packs) {
    if (!pack.requirements || stateOf(context, pack.name) === 'failed') continue;
    const file = `${packDirectory(context, pack.name)}/requirements.txt`;
    const text = await context.ports.files.readText(file);
    if (text !== null) {
      if (/^\s*[^#\s]/m.test(text)) found.push({ label: pack.name, file });
      for (const { line } of locateRequirements(text).filter((located) => isIndexOption(located.line)))
        warnOnce(
          context,
          pack.name,
          `${redactUrls(line)} in its requirements.txt is not followed, as it would hold for all packs; python.extraIndexUrls and python.findLinks are`,
        );
      continue;
    }
    const project = `${packDirectory(context, pack.name)}/pyproject.toml`;
    const listed = pyprojectRequirements((await context.ports.files.readText(project)) ?? '');
    if (listed === null) warnOnce(context, pack.name, 'config_nodes.json says it has requirements, but it has no requirements.txt');
    else if (listed.length > 0) found.push({ label: pack.name, file: project });
  }
  return found;
}

function warnOnce(context: InstallContext, name: string, warning: string): void {
  const warnings = context.tracker.progress.packs.find((pack) => pack.name === name)?.warnings ?? [];
  if (!warnings.includes(warning)) context.tracker.packWarning(name, warning);
}
