import { createInterface } from 'node:readline';
import { createHostSystem } from '../../../src/adapters/host/host.ts';
import { asAgentError } from '../../../src/domain/errors/errors.ts';
import type { HostAction, HostQuestion } from '../../../src/domain/host/host.ts';

/** The real adapter behind two pipes, for a test whose host is a namespace: one JSON question a line, one answer a line. */
const host = createHostSystem();
for await (const line of createInterface({ input: process.stdin })) {
  const { facts, carryOut } = JSON.parse(line) as { facts?: HostQuestion; carryOut?: HostAction };
  try {
    const value = facts !== undefined ? await host.facts(facts) : carryOut !== undefined ? await host.carryOut(carryOut) : null;
    process.stdout.write(`${JSON.stringify({ value: value ?? null })}\n`);
  } catch (error) {
    const { code, message, help } = asAgentError(error);
    process.stdout.write(`${JSON.stringify({ error: { code, message, help } })}\n`);
  }
}
