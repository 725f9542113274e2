import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { InstallationDocument } from '../../../src/domain/health/health.ts';
import { InstallStepName } from '../../../src/domain/installation/release.ts';
import type { JournalEvent } from '../../../src/domain/journal.ts';
import type { TestAgent } from '../agent/agent.ts';
import { processesKnowing } from '../agent/processes.ts';
import { followJournal, overSocket } from '../agent/socket.ts';

/** When something is killed: at the event that begins a step, at the one that ends it all, or so long after the beginning. */
export type Moment = { readonly at: InstallStepName | 'done' } | { readonly afterMs: number };

/** agent: the whole of it and nothing else; all: it with PM2, the instances and every child, as when the power goes. */
export type Victim = 'agent' | 'all' | 'git' | 'uv' | 'pm2';

export interface Plan {
  readonly victim: Victim;
  readonly moment: Moment;
}

export const planName = ({ victim, moment }: Plan): string =>
  `${victim} ${'at' in moment ? `at ${moment.at}` : `after ${moment.afterMs} ms`}`;

/** First every boundary of an installation, then random times and victims. */
export function plansOf(count: number, random: () => number, longestMs: number): readonly Plan[] {
  const boundaries: Plan[] = [...InstallStepName.options, 'done' as const].map((at) => ({ victim: 'agent', moment: { at } }));
  const victims: readonly Victim[] = ['agent', 'all', 'git', 'agent', 'uv', 'all', 'agent', 'pm2'];
  return Array.from({ length: count }, (_, index) => {
    const victim = victims[index % victims.length] ?? 'agent';
    // git works at the beginning, uv in the middle.
    const share = victim === 'git' ? 0.2 : victim === 'uv' ? 0.4 : 1;
    return boundaries[index] ?? { victim, moment: { afterMs: Math.floor(random() * longestMs * share) } };
  });
}

/** Reproducible: the same seed gives the same numbers (mulberry32). */
export function seededRandom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  };
}

export interface Killed {
  /** Last step that was told to have begun. */
  readonly step: InstallStepName | null;
  /** Packs that were told to be in the release before. */
  readonly fetched: readonly string[];
  /** The installation was over, or nothing of the kind ever ran. */
  readonly missed: boolean;
}

/** Asks for an installation, and kills at the moment. Resolves when the victim is dead. */
export async function killDuringInstall(agent: TestAgent, plan: Plan): Promise<Killed> {
  const { root } = agent;
  const pm2 = Number(await readFile(join(root, 'state/pm2/pm2.pid'), 'utf8'));
  let step: InstallStepName | null = null;
  let over = false;
  const struck = Promise.withResolvers<boolean>();
  let fetched: readonly string[] = [];
  const strike = async (): Promise<void> => {
    if (plan.victim === 'agent' || plan.victim === 'all') {
      const rest = plan.victim === 'all' ? (await processesKnowing(root)).map(({ pid }) => pid) : [];
      await agent.kill();
      for (const pid of rest) signal(pid);
      struck.resolve(true);
    } else if (plan.victim === 'pm2') struck.resolve(signal(pm2));
    else struck.resolve(await strikeChild(agent, plan.victim, () => over));
  };
  const { moment } = plan;
  const began = Date.now();
  const look = (event: JournalEvent): void => {
    // The stream begins with what was before.
    if (Date.parse(event.at) < began) return;
    const named = InstallStepName.safeParse(event.data['step']);
    if (event.type === 'install.step' && named.success) step = named.data;
    if (event.type === 'install.done' || event.type === 'install.failed') over = true;
    const reached = 'at' in moment && (moment.at === 'done' ? event.type === 'install.done' : step === moment.at);
    if (reached || ('at' in moment && over)) void strike();
  };
  const journal = await followJournal(root, look);
  const progress = pollPacks(root, (names) => {
    fetched = names;
  });
  if ('afterMs' in moment) setTimeout(() => void strike(), moment.afterMs);
  // An agent that is killed while it answers has not refused.
  const answer = await overSocket(root, 'POST', '/v1/operations', { kind: 'install' }).catch(() => null);
  if (answer !== null && answer.status !== 202) throw new Error(`the installation was not begun: ${answer.status}`);
  const hit = await struck.promise;
  progress.close();
  journal.close();
  return { step, fetched, missed: !hit || over };
}

function signal(pid: number): boolean {
  try {
    return process.kill(pid, 'SIGKILL');
  } catch {
    return false;
  }
}

/** The first child of the agent that runs this program, at once or when there is one; false: the installation was over first. */
async function strikeChild(agent: TestAgent, program: 'git' | 'uv', isOver: () => boolean): Promise<boolean> {
  while (!isOver()) {
    const rows = await processesKnowing(agent.root);
    const child = rows.find(({ parent, command }) => parent === agent.pid && command.split(' ')[0]?.split('/').at(-1) === program);
    if (child !== undefined && signal(child.pid)) return true;
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
  return false;
}

/** Names of the packs that are told to be fetched, as often as the agent answers. */
function pollPacks(root: string, onPacks: (names: readonly string[]) => void): { close(): void } {
  let closed = false;
  const poll = async (): Promise<void> => {
    while (!closed) {
      const answer = await overSocket(root, 'GET', '/health/comfyui/installation').catch(() => null);
      if (closed || answer === null) return;
      const { packs, step } = answer.body as InstallationDocument;
      if (step !== null) onPacks(packs.filter(({ state }) => state === 'fetched' || state === 'installed').map(({ name }) => name));
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  };
  void poll();
  return {
    close: () => {
      closed = true;
    },
  };
}
