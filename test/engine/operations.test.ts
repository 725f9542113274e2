import { describe, expect, it } from 'vitest';
import { AgentError } from '../../src/domain/errors/errors.ts';
import type { OperationDocument } from '../../src/domain/operation.ts';
import { Broadcast } from '../../src/engine/broadcast.ts';
import { type OperationHandle, Operations } from '../../src/engine/operations.ts';
import { createFakeClock } from '../fakes/clock.ts';

const forever = () => new AbortController().signal;

/** A run in the hands of the test. */
function work() {
  const { promise, resolve, reject } = Promise.withResolvers<string>();
  let handle: OperationHandle | null = null;
  return {
    run: (given: OperationHandle) => {
      handle = given;
      given.signal.addEventListener('abort', () => reject(given.signal.reason as Error));
      return promise;
    },
    update: (message: string) => handle?.update({ message }),
    done: resolve,
    failed: reject,
  };
}

function lab() {
  const clock = createFakeClock();
  const changes: OperationDocument[] = [];
  const operations = new Operations(clock, (document) => void changes.push(document));
  const start = (target: string, run: (handle: OperationHandle) => Promise<string>) => operations.start('restart', target, 'begins', run);
  return { clock, changes, operations, start };
}

async function all<T>(values: AsyncIterable<T>): Promise<T[]> {
  const found: T[] = [];
  for await (const value of values) found.push(value);
  return found;
}

describe('operations', () => {
  it('run once for each target: a second call gets the running one', async () => {
    const { clock, operations, start } = lab();
    const first = work();
    const second = work();
    const a = start('instance 0', first.run);
    expect(start('instance 0', second.run).id).toBe(a.id);
    const b = start('instance 1', second.run);
    expect(b.id).not.toBe(a.id);
    first.done('done');
    await clock.settle();
    expect(operations.get(a.id)).toMatchObject({ state: 'succeeded', message: 'done', progress: 1 });
    const c = start('instance 0', work().run);
    expect(c.id).not.toBe(a.id);
    expect(operations.list().map(({ id }) => id)).toEqual([c.id, b.id, a.id]);
    await operations.stop();
  });

  it('tell how they failed, with code and remedy', async () => {
    const { clock, operations, start } = lab();
    const { id } = start('installation', () => Promise.reject(new AgentError('DISK_FULL', 'the disk is full')));
    await clock.settle();
    expect(operations.get(id)).toMatchObject({
      state: 'failed',
      message: 'the disk is full',
      finishedAt: expect.any(String) as string,
      error: { code: 'DISK_FULL', retryable: true },
    });
  });

  it('can be followed: the present state first, every change, the end once', async () => {
    const { clock, operations, start } = lab();
    const job = work();
    const { id } = start('instance 0', job.run);
    await clock.settle();
    job.update('one');
    const following = all(operations.follow(id, forever()));
    await clock.settle();
    job.update('two');
    job.done('done');
    expect((await following).map(({ state, message }) => `${state} ${message}`)).toEqual(['running one', 'running two', 'succeeded done']);
    expect((await all(operations.follow(id, forever()))).map(({ message }) => message)).toEqual(['done']);
  });

  it('a reader that is too slow loses changes, but not the end, and holds nobody up', async () => {
    const { clock, operations, start } = lab();
    const job = work();
    const { id } = start('instance 0', job.run);
    await clock.settle();
    const reader = operations.follow(id, forever())[Symbol.asyncIterator]();
    expect((await reader.next()).value).toMatchObject({ message: 'begins' });
    for (let count = 0; count < 3_000; count++) job.update(`line ${count}`);
    const rest: OperationDocument[] = [];
    const reading = (async () => {
      for (let next = await reader.next(); next.done !== true; next = await reader.next()) rest.push(next.value);
    })();
    await clock.settle();
    job.done('done');
    await reading;
    expect(rest.length).toBeLessThan(1_100);
    expect(rest.at(-1)).toMatchObject({ state: 'succeeded', message: 'done' });
  });

  it('a follower that is cut ends at once', async () => {
    const { clock, operations, start } = lab();
    const { id } = start('instance 0', work().run);
    const abort = new AbortController();
    const following = all(operations.follow(id, abort.signal));
    await clock.settle();
    abort.abort();
    expect(await following).toHaveLength(1);
    await operations.stop();
  });

  it('that nobody knows are refused', async () => {
    const { operations } = lab();
    expect(() => operations.get('install-x')).toThrow(expect.objectContaining({ code: 'OPERATION_NOT_FOUND' }) as Error);
    await expect(all(operations.follow('install-x', forever()))).rejects.toMatchObject({ code: 'OPERATION_NOT_FOUND' });
  });

  it('end with the agent as cancelled, and no other begins', async () => {
    const { operations, start } = lab();
    const { id } = start('instance 0', work().run);
    await Promise.resolve();
    await operations.stop();
    expect(operations.get(id)).toMatchObject({ state: 'cancelled', error: { code: 'INTERRUPTED' } });
    expect(() => start('instance 1', work().run)).toThrow(expect.objectContaining({ code: 'INTERRUPTED' }) as Error);
  });

  it('are forgotten, oldest first, but never while they run', async () => {
    const { clock, operations, start } = lab();
    const long = work();
    const { id } = start('long', long.run);
    for (let count = 0; count < 80; count++) {
      start(`instance ${count}`, async () => 'done');
      await clock.settle();
    }
    expect(operations.list()).toHaveLength(50);
    expect(operations.get(id).state).toBe('running');
    await operations.stop();
  });
});

describe('a broadcast', () => {
  it('gives every reader every value from its subscription on', async () => {
    const broadcast = new Broadcast<number>();
    broadcast.publish(0);
    const one = all(broadcast.subscribe(forever()));
    broadcast.publish(1);
    const two = all(broadcast.subscribe(forever()));
    broadcast.publish(2);
    broadcast.close();
    expect(await one).toEqual([1, 2]);
    expect(await two).toEqual([2]);
    expect(await all(broadcast.subscribe(forever()))).toEqual([]);
  });

  it('ends the reader that does not keep up, after what it had room for', async () => {
    const broadcast = new Broadcast<number>(3);
    const slow = broadcast.subscribe(forever());
    for (const value of [1, 2, 3, 4, 5]) broadcast.publish(value);
    expect(broadcast.readers).toBe(0);
    expect(await all(slow)).toEqual([1, 2, 3]);
  });

  it('or lets it miss values where only the newest counts', async () => {
    const broadcast = new Broadcast<number>(1, 'miss');
    const abort = new AbortController();
    const seen: number[] = [];
    const slow = broadcast.subscribe(abort.signal);
    for (const value of [1, 2, 3]) broadcast.publish(value);
    const reading = (async () => {
      for await (const value of slow) seen.push(value);
    })();
    await new Promise((resolve) => setImmediate(resolve));
    broadcast.publish(4);
    await new Promise((resolve) => setImmediate(resolve));
    abort.abort();
    await reading;
    expect(seen).toEqual([1, 4]);
  });

  it('keeps no reader that left, was cut, or never read', async () => {
    const broadcast = new Broadcast<number>();
    const abort = new AbortController();
    broadcast.subscribe(abort.signal);
    const left = broadcast.subscribe(forever());
    const broken = broadcast.subscribe(forever());
    expect(broadcast.readers).toBe(3);
    broadcast.publish(1);
    for await (const _ of broken) break;
    left.leave();
    abort.abort();
    expect(broadcast.readers).toBe(0);
  });
});
