import { toPm2Entry } from '../../ecosystem.template.js';
import { AgentError } from '../../src/domain/errors.ts';
import { Pm2Entry } from '../../src/domain/instance.ts';
import type { EntryTemplate } from '../../src/ports.ts';

export interface FakeTemplate extends EntryTemplate {
  /** The next entry is not valid. */
  failNext(): void;
}

/** The built-in template, whatever file is named. */
export function createFakeTemplate(): FakeTemplate {
  let fails = false;
  return {
    toEntry: async (launch) => {
      if (!fails) return Pm2Entry.parse(toPm2Entry(launch));
      fails = false;
      throw new AgentError('TEMPLATE_INVALID', 'the template gave an entry that is not valid: args');
    },
    failNext: () => {
      fails = true;
    },
  };
}
