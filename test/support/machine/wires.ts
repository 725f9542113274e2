import type { Ports } from '../../../src/ports.ts';

/** A call of the agent to the outer world. */
export interface OuterCall {
  /** "files.writeText", "processes.start", … */
  readonly name: string;
  /** Its first argument, when that is text, or the name in it. */
  readonly subject: string;
}

interface Hold {
  readonly waiting: number;
  open(): void;
}

type Matcher = (call: OuterCall, index: number) => boolean;

/** The wires between one agent and its world: they can be watched, held, broken and cut. */
export interface Wires {
  readonly ports: Ports;
  /** Calls that change the world, in order. */
  readonly changes: readonly OuterCall[];
  /** How often a call was made, reading ones too. */
  count(name: string): number;
  /** Matching calls wait from now on until `open`; `waiting` counts them. */
  hold(name: string, subject?: string): Hold;
  /** The same, but the call has its effect at once and only its answer waits. */
  holdAnswer(name: string, subject?: string): Hold;
  /** Matching calls reject from now on until the returned function is called. */
  fail(name: string, error: Error, subject?: string): () => void;
  /** From now on nothing gets out and nothing comes back: the agent was killed. */
  cut(): void;
  /** Kills the agent just before or just after the first change that matches; resolves then. */
  cutAt(matches: Matcher, when: 'before' | 'after'): Promise<OuterCall>;
}

const CHANGES: Readonly<Record<string, readonly string[]>> = {
  files: ['writeText', 'ensureDirectory', 'remove', 'move', 'copyTree', 'link'],
  processes: ['start', 'stop', 'remove'],
  git: ['checkout', 'updateInPlace'],
  python: ['create', 'install'],
  shell: ['run', 'spawn'],
};
/** Answered at once, so that they can be neither held nor broken. */
const IMMEDIATE = [
  'clock.now',
  'clock.monotonic',
  'processes.onEvent',
  'files.tail',
  'upkeep.keepLogs',
  'upkeep.walk',
  'journal.append',
  'journal.newest',
  'journal.close',
];
const never = new Promise<never>(() => undefined);

export function createWires(ports: Ports): Wires {
  const changes: OuterCall[] = [];
  const counts = new Map<string, number>();
  const obstacles = new Set<{
    readonly name: string;
    readonly subject: string | undefined;
    readonly meet: () => Promise<void>;
    readonly isAfter: boolean;
  }>();
  let isCut = false;
  let plan: { readonly matches: Matcher; readonly when: 'before' | 'after'; readonly done: (call: OuterCall) => void } | null = null;

  const place = (name: string, subject: string | undefined, meet: () => Promise<void>, isAfter = false): (() => void) => {
    const obstacle = { name, subject, meet, isAfter };
    obstacles.add(obstacle);
    return () => void obstacles.delete(obstacle);
  };
  const die = (call: OuterCall, done: (call: OuterCall) => void): Promise<never> => {
    isCut = true;
    done(call);
    return never;
  };

  const wrap = <T extends object>(part: string, port: T): T =>
    new Proxy(port, {
      get: (target, key) => {
        const member = Reflect.get(target, key) as unknown;
        if (typeof member !== 'function' || typeof key !== 'string') return member;
        const name = `${part}.${key}`;
        return (...args: unknown[]) => {
          const invoke = () => Reflect.apply(member, target, args) as unknown;
          counts.set(name, (counts.get(name) ?? 0) + 1);
          if (isCut && part === 'journal') return { ...(args[0] as object), id: 0, at: new Date(0).toISOString() };
          if (IMMEDIATE.includes(name)) return invoke();
          if (isCut) return never;
          const call: OuterCall = { name, subject: subjectOf(args[0]) };
          if (CHANGES[part]?.includes(key) === true) {
            changes.push(call);
            const due = plan?.matches(call, changes.length - 1) === true ? plan : null;
            if (due !== null) {
              plan = null;
              // After: the call has its effect, but the agent does not live to see it.
              return due.when === 'before' ? die(call, due.done) : Promise.resolve(invoke()).then(() => die(call, due.done));
            }
          }
          const met = [...obstacles].filter(
            (obstacle) => obstacle.name === name && (obstacle.subject === undefined || obstacle.subject === call.subject),
          );
          if (met.length === 0) return invoke();
          return (async () => {
            for (const obstacle of met) if (!obstacle.isAfter) await obstacle.meet();
            const answer = await invoke();
            for (const obstacle of met) if (obstacle.isAfter) await obstacle.meet();
            return answer;
          })();
        };
      },
    });

  const hold = (name: string, subject: string | undefined, isAfter: boolean): Hold => {
    const { promise, resolve } = Promise.withResolvers<void>();
    let waiting = 0;
    const meet = async () => {
      waiting += 1;
      await promise;
    };
    const clear = place(name, subject, meet, isAfter);
    return {
      get waiting() {
        return waiting;
      },
      open: () => {
        clear();
        resolve();
      },
    };
  };

  return {
    ports: Object.fromEntries(Object.entries(ports).map(([part, port]) => [part, wrap(part, port as object)])) as unknown as Ports,
    changes,
    count: (name) => counts.get(name) ?? 0,
    hold: (name, subject) => hold(name, subject, false),
    holdAnswer: (name, subject) => hold(name, subject, true),
    fail: (name, error, subject) => place(name, subject, () => Promise.reject(error)),
    cut: () => {
      isCut = true;
    },
    cutAt: (matches, when) =>
      new Promise((done) => {
        plan = { matches, when, done };
      }),
  };
}

const subjectOf = (argument: unknown): string =>
  typeof argument === 'string' ? argument : ((argument as { name?: string; url?: string } | undefined)?.name ?? '');
