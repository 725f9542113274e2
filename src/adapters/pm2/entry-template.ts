import { pathToFileURL } from 'node:url';
import { toPm2Entry } from '../../../ecosystem.template.js';
import { AgentError } from '../../domain/errors/errors.ts';
import { Pm2Entry } from '../../domain/instances/instance.ts';
import type { EntryTemplate } from '../../ports/pm2.ts';
import { offerBundledModules } from './bundled-modules.ts';

/** The built-in template is part of the program; a replacement is loaded from its file and held to the same schema. */
export function createEntryTemplate(): EntryTemplate {
  return {
    toEntry: async (launch, templateFile) => {
      const build = templateFile === null ? toPm2Entry : await load(templateFile);
      const parsed = Pm2Entry.safeParse(call(build, launch, templateFile));
      if (parsed.success) return parsed.data;
      const [issue] = parsed.error.issues;
      throw new AgentError(
        'TEMPLATE_INVALID',
        `${templateFile ?? 'ecosystem.template.js'} gave an entry that is not valid: ${issue?.path.join('.') ?? ''} ${issue?.message ?? ''}`,
      );
    },
  };
}

type Template = (launch: Parameters<EntryTemplate['toEntry']>[0]) => unknown;

function call(build: Template, launch: Parameters<Template>[0], file: string | null): unknown {
  try {
    return build(launch);
  } catch (error) {
    throw new AgentError(
      'TEMPLATE_INVALID',
      `${file ?? 'ecosystem.template.js'} failed: ${error instanceof Error ? error.message : String(error)}`,
      { cause: error },
    );
  }
}

async function load(file: string): Promise<Template> {
  offerBundledModules();
  try {
    const loaded = (await import(pathToFileURL(file).href)) as { toPm2Entry?: unknown };
    if (typeof loaded.toPm2Entry === 'function') return loaded.toPm2Entry as Template;
  } catch (error) {
    throw new AgentError('TEMPLATE_INVALID', `${file} cannot be loaded: ${error instanceof Error ? error.message : String(error)}`, {
      cause: error,
    });
  }
  throw new AgentError('TEMPLATE_INVALID', `${file} does not export a function toPm2Entry`);
}
