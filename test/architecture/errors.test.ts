import { describe, expect, it } from 'vitest';
import { errorRegistry } from '../../src/domain/errors/registry.ts';
import { codeOf, files } from './source.ts';

const CODE = "'([A-Z][A-Z0-9]+(?:_[A-Z0-9]+)*)'";
/** Where an error begins: it is made, or its text is. The code is the first thing said. */
const MADE = new RegExp(String.raw`\b(?:new AgentError|problemsError)\(\s*${CODE}`, 'g');
/** Of a hold, after its target. */
const HELD = new RegExp(String.raw`\bhold\(\s*(?:'[^']*'|${'`'}[^${'`'}]*${'`'}|[\w.]+(?:\([\w.]*\))?)\s*,\s*${CODE}`, 'g');
/** Of a row that an error is made of later on, in a file that makes errors of rows. */
const ROW = new RegExp(String.raw`\bcode: ${CODE}`, 'g');
const MAKES_OF_ROWS = /\bnew AgentError\(\s*\w*(?:\.code|[cC]ode)\b/;

const found = (pattern: RegExp, file: string): string[] => [...codeOf(file).matchAll(pattern)].map((match) => match[1] ?? '');

describe('error codes', () => {
  const made = files.flatMap((file) => [...found(MADE, file), ...(MAKES_OF_ROWS.test(codeOf(file)) ? found(ROW, file) : [])]);

  it('that are raised are registered', () => {
    expect(made.length).toBeGreaterThan(200);
    expect([...new Set(made)].filter((code) => !(code in errorRegistry))).toEqual([]);
  });

  it('that are registered are raised: an error or a hold is made with them, a word in quotes is not enough', () => {
    const raised = new Set([...made, ...files.flatMap((file) => found(HELD, file))]);
    expect(Object.keys(errorRegistry).filter((code) => !raised.has(code))).toEqual([]);
  });
});
