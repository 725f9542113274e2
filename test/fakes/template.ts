import { toPm2Entry } from '../../ecosystem.template.js';
import { AgentError } from '../../src/domain/errors/errors.ts';
import { Pm2Entry } from '../../src/domain/instances/instance.ts';
import type { EntryTemplate } from '../../src/ports/pm2.ts';

export interface FakeTemplate extends EntryTemplate {
  /** The next entry is not valid. */
  failNext(): void;
  /** Words that it adds to the arguments of main.py. */
  adds: readonly string[];
}

/** The built-in template, whatever file is named. */
export function createFakeTemplate(): FakeTemplate {
  let fails = false;
  const template: FakeTemplate = {
    adds: [],
    toEntry: async (launch) => {
      const entry = toPm2Entry(launch);
      if (!fails) return Pm2Entry.parse({ ...entry, args: [...entry.args, ...template.adds] });
      fails = false;
      throw new AgentError('TEMPLATE_INVALID', 'the template gave an entry that is not valid: args');
    },
    failNext: () => {
      fails = true;
    },
  };
  return template;
}
