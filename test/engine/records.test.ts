import { describe, expect, it } from 'vitest';
import type { StatusDocument } from '../../src/domain/agent.ts';
import { Journal } from '../../src/engine/journal.ts';
import { LastStatus } from '../../src/engine/reports/last-status.ts';
import { createFakeClock } from '../fakes/clock.ts';
import { createFakeFiles } from '../fakes/files.ts';
import { createFakeJournal } from '../fakes/journal.ts';
import { createFakeLogger } from '../fakes/logger.ts';
import { aLoadedConfiguration, aMachine, aReadyMachine } from '../support/machine/machine.ts';
import { aStatusDocument } from '../support/machine/machine-documents.ts';

const STATUS = '/workspace/state/status.json';
const event = (message: string) => ({ type: 'test', target: 'agent', level: 'info' as const, message, data: {} });

describe('transitions', () => {
  it('are written down when an instance becomes ready or not, with the reason, and when the machine changes', async () => {
    const machine = await aReadyMachine();
    const count = machine.world.journal.entries.length;
    await machine.advance(60_000);
    expect(machine.world.journal.entries).toHaveLength(count);
    machine.world.pm2.exit('comfyui-gpu0', { exitCode: 137 });
    await machine.until('it is back', machine.isReady);
    const told = machine.world.journal.entries.slice(count).map(({ target, type, level, message }) => [target, type, level, message]);
    expect(told).toContainEqual(['instance 0', 'instance.not-ready', 'warn', expect.stringMatching(/^not ready: .*exit code 137/)]);
    expect(told).toContainEqual(['instance 0', 'instance.ready', 'info', 'ready on port 8188']);
    expect(told).toContainEqual(['machine', 'machine.status', 'info', 'healthy -> degraded (1/2 ready)']);
    expect(told.at(-1)).toEqual(['machine', 'machine.status', 'info', 'degraded -> healthy (2/2 ready)']);
    await machine.stop();
  });

  it('that somebody asked for are no trouble', async () => {
    const machine = await aReadyMachine();
    const count = machine.world.journal.entries.length;
    await machine.finished(await machine.core.agent.startOperation({ kind: 'stop', gpus: [0] }));
    expect(machine.world.journal.entries.slice(count).filter(({ level }) => level !== 'info')).toEqual([]);
    await machine.stop();
  });
});

describe('the last status', () => {
  const lab = () => {
    const clock = createFakeClock();
    const files = createFakeFiles(() => clock.now());
    files.put('/workspace/state/x');
    const log = createFakeLogger();
    return { clock, files, log, last: new LastStatus({ files, clock }, aLoadedConfiguration().layout, log) };
  };
  const status = (root: string) => () => aStatusDocument({ root });
  const saved = async (files: ReturnType<typeof createFakeFiles>) =>
    (JSON.parse((await files.readText(STATUS)) ?? '{}') as StatusDocument).root;

  it('is written at once, then at most once a second, the newest always', async () => {
    const { clock, files, last } = lab();
    last.save('1', status('/one'));
    await clock.settle();
    expect(await saved(files)).toBe('/one');
    last.save('2', status('/two'));
    last.save('3', status('/three'));
    await clock.advance(900);
    expect(files.written).toHaveLength(1);
    await clock.advance(200);
    expect(await saved(files)).toBe('/three');
    expect(files.written).toHaveLength(2);
    expect(files.mode(STATUS)).toBe(0o600);
    await last.close();
  });

  it('is not written when nothing is new', async () => {
    const { clock, files, last } = lab();
    for (let looks = 0; looks < 5; looks++) {
      last.save('1', status('/one'));
      await clock.advance(2_000);
    }
    expect(files.written).toHaveLength(1);
    await last.close();
  });

  it('is not lost at the end', async () => {
    const { clock, files, last } = lab();
    last.save('1', status('/one'));
    await clock.settle();
    last.save('2', status('/two'));
    await last.close();
    expect(await saved(files)).toBe('/two');
    expect(clock.sleepers).toBe(0);
  });

  it('that cannot be written is told, and does no harm', async () => {
    const { clock, files, last, log } = lab();
    files.before = () => {
      throw new Error('disk');
    };
    last.save('1', status('/one'));
    await clock.settle();
    expect(log.lines).toEqual(['warn: the last status cannot be written']);
    await last.close();
  });

  it('is what an agent left behind', async () => {
    const machine = await aReadyMachine();
    await machine.advance(2_000);
    await machine.stop();
    const text = await machine.world.files.readText(STATUS);
    expect(JSON.parse(text ?? '')).toMatchObject({ health: { status: 'healthy', capacity: '2/2' }, root: '/workspace' });
  });
});

describe('the journal', () => {
  it('a store that cannot store tells it once, and loses neither the record nor the live readers', async () => {
    const store = createFakeJournal();
    const log = createFakeLogger();
    const journal = new Journal(store, createFakeClock(), log);
    const abort = new AbortController();
    const live: string[] = [];
    const following = (async () => {
      for await (const entry of journal.follow(abort.signal)) live.push(`${entry.id} ${entry.message}`);
    })();
    journal.record(event('kept'));
    store.break(new Error('disk I/O error'));
    for (const message of ['waits', 'waits too']) journal.record(event(message));
    await new Promise((resolve) => setImmediate(resolve));
    abort.abort();
    await following;
    expect(live).toEqual(['1 kept', '2 waits', '3 waits too']);
    expect(log.lines).toEqual([
      'info: kept',
      'info: waits',
      'error: the journal cannot be written: entries wait in memory',
      'info: waits too',
    ]);
    expect(journal.problem).toBe('disk I/O error');
  });

  it('can be read without following, and leaves nobody behind', async () => {
    const machine = await aMachine();
    const read = async (backlog: number) => {
      const found: string[] = [];
      for await (const entry of machine.core.agent.events({ backlog, follow: false }, new AbortController().signal)) found.push(entry.type);
      return found;
    };
    await machine.step();
    expect(await read(1)).toHaveLength(1);
    expect(await read(0)).toEqual([]);
    await machine.stop();
  });

  it('an agent that starts again does not forgive a crash loop of a moment ago', async () => {
    const machine = await aReadyMachine({ config: { health: { maxRestartsInWindow: 3 } } });
    for (let crashes = 0; crashes < 3; crashes++) {
      machine.world.pm2.exit('comfyui-gpu0');
      await machine.advance(300);
    }
    await machine.until('it is ready again', machine.isReady);
    await machine.stop();
    const next = await aMachine({ world: machine.world, config: { health: { maxRestartsInWindow: 3 } } });
    await next.start();
    await next.until('it is ready', next.isReady);
    expect(next.instance(0).restarts).toMatchObject({ total: 3, inWindow: 3 });
    next.world.pm2.exit('comfyui-gpu0');
    await next.until('it is quarantined', () => next.instance(0).status === 'quarantined', 10_000);
    await next.stop();
  });

  it('but what an operator has seen, and started again by hand, stays forgiven', async () => {
    const config = { health: { maxRestartsInWindow: 3 } };
    const machine = await aReadyMachine({ config });
    const crash = async ({ world, advance }: typeof machine) => {
      world.pm2.exit('comfyui-gpu0');
      await advance(300);
    };
    for (let crashes = 0; crashes < 4; crashes++) await crash(machine);
    await machine.until('it is quarantined', () => machine.instance(0).status === 'quarantined', 10_000);
    await machine.finished(await machine.core.agent.startOperation({ kind: 'start', gpus: [0] }));
    await crash(machine);
    await machine.until('it is ready again', machine.isReady);
    // Nothing to forgive, nothing to tell.
    await machine.finished(await machine.core.agent.startOperation({ kind: 'restart', gpus: [1] }));
    expect(machine.journal('instance.recount')).toMatchObject([{ target: 'instance 0', level: 'info' }]);
    await machine.stop();
    const next = await aMachine({ world: machine.world, config });
    await next.start();
    await next.until('it is ready', next.isReady);
    expect(next.instance(0).restarts).toMatchObject({ inWindow: 1 });
    for (let crashes = 0; crashes < 2; crashes++) await crash(next);
    await next.until('it is ready again', next.isReady, 20_000);
    expect(next.instance(0).restarts).toMatchObject({ inWindow: 3 });
    await next.stop();
  });
});
