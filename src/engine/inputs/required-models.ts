import type { DirectorySection } from '../../plan/inputs/directory-config.ts';
import { modelsOfGraph } from '../../plan/inputs/workflow-models.ts';
import type { Files } from '../../ports/files.ts';
import type { LoadedConfiguration, RequiredModel } from '../knowledge.ts';
import { readWorkflows } from './workflows.ts';

/** Every model file that somebody asks for: the configuration, static-models.json, the graphs in workflows/. */
export async function requiredModels(
  files: Files,
  { config, layout }: LoadedConfiguration,
  known: { readonly links: readonly string[]; readonly sections: readonly DirectorySection[] },
): Promise<{ models: readonly RequiredModel[]; warnings: readonly string[] }> {
  const found = new Map<string, RequiredModel>();
  const warnings: string[] = [];
  const add = (path: string, requiredBy: string, more: Partial<RequiredModel> = {}): void => {
    const before = found.get(path);
    found.set(path, {
      sha256: null,
      sizeBytes: null,
      places: [],
      ...before,
      ...more,
      path,
      requiredBy: [...(before?.requiredBy ?? []), requiredBy],
    });
  };
  for (const entry of config.models.required) {
    if (typeof entry === 'string') add(entry, 'models.required');
    else add(entry.path, 'models.required', { sha256: entry.sha256 ?? null, sizeBytes: entry.sizeBytes ?? null });
  }
  for (const target of known.links)
    add(target.startsWith(`${layout.models}/`) ? target.slice(layout.models.length + 1) : target, 'static-models.json');
  const workflows = await readWorkflows(files, layout.workflows);
  warnings.push(...workflows.warnings);
  for (const { name, graph } of workflows.graphs) {
    for (const model of modelsOfGraph(graph)) {
      const folders = model.folders.map((folder) => `${folder}/${model.name}`);
      const elsewhere = known.sections.flatMap((section) =>
        section.categories
          .filter((category) => category.name === model.category)
          .flatMap((category) => category.paths.map((directory) => `${directory}/${model.name}`)),
      );
      add(folders[0] ?? model.name, `workflow ${name}`, { places: [...folders.slice(1), ...elsewhere] });
    }
  }
  return { models: [...found.values()], warnings };
}
