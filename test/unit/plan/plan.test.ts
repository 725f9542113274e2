import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Release } from '../../../src/domain/installation/release.ts';
import { known, NOT_LOOKED_YET, unknown } from '../../../src/domain/observed.ts';
import type { InstallationIntent, Rollout } from '../../../src/domain/state/state.ts';
import { launchDigest } from '../../../src/plan/instances/launch.ts';
import { type PlanInput, plan } from '../../../src/plan/plan.ts';
import {
  actionsOf,
  aGpu,
  aHealthyMachine,
  aLaunch,
  anIncarnation,
  anInstance,
  aProcess,
  aReading,
  aRelease,
  at,
  holdsOf,
  NOW,
  withJobs,
} from '../../support/machine/builders.ts';
import { aPackStatus } from '../../support/machine/documents.ts';

const machine = aHealthyMachine;
const withObserved = (input: PlanInput, change: Partial<PlanInput['observed']>): PlanInput => ({
  ...input,
  observed: { ...input.observed, ...change },
});
const withInstance = (input: PlanInput, gpu: number, change: Parameters<typeof anInstance>[1]): PlanInput => ({
  ...input,
  desired: {
    ...input.desired,
    instances: input.desired.instances.map((instance) => (instance.gpu === gpu ? { ...instance, ...change } : instance)),
  },
});
const processes = (...list: ReturnType<typeof aProcess>[]) => known(list);
const running = (gpu: number, change = {}) => aProcess(gpu, { entryDigest: launchDigest(aLaunch(gpu)), ...change });

describe('plan', () => {
  it('does nothing on a machine that is as it should be', () => {
    const planned = plan(machine());
    expect(planned).toEqual({ actions: [], holds: [], leaving: new Map(), strangers: new Map() });
  });

  describe('what nobody hosts', () => {
    const leftovers = new Map([
      [
        0,
        {
          name: 'comfyui-gpu0',
          processes: [{ incarnation: anIncarnation(0), command: null }],
          serving: null,
          jobs: null,
          since: NOW - 60_000,
          silentSince: null,
        },
      ],
    ]);
    const bare = (change: Partial<PlanInput['observed']> = {}) =>
      withObserved(machine({}, [0]), { processes: processes(), incarnations: new Map(), leftovers, ...change });

    it('is ended first: nothing is started beside it', () => {
      expect(actionsOf(plan(bare()))).toEqual(['end-leftovers 0']);
      expect(actionsOf(plan(bare({ leftovers: new Map() })))).toEqual(['start-instance 0']);
    });

    it('is left alone while PM2 cannot be asked: it may host it', () => {
      expect(actionsOf(plan(bare({ processes: unknown('it does not answer') })))).toEqual([]);
    });
  });

  describe('installation', () => {
    it('installs on a bare machine and starts nothing meanwhile', () => {
      const bare = withObserved(machine(), { release: known(null), processes: processes(), leases: [] });
      const planned = plan({ ...bare, launches: new Map() });
      expect(actionsOf(planned)).toEqual(['install', 'lease-port 0', 'lease-port 1']);
    });

    it('does not install twice', () => {
      const busy = withObserved(machine(), { release: known(null), busy: new Set(['installation']) });
      expect(actionsOf(plan(busy))).not.toContain('install');
    });

    it('does not take an unreadable installation for a missing one', () => {
      const planned = plan(withObserved(machine(), { release: unknown('input/output error') }));
      expect(actionsOf(planned)).not.toContain('install');
      expect(holdsOf(planned)).toContain('installation: UNKNOWN');
    });

    it('never replaces a release in place unasked', () => {
      const other = withObserved(machine(), { release: known(aRelease(undefined, { specDigest: 'another' })) });
      const planned = plan(other);
      expect(planned.actions).toEqual([]);
      expect(holdsOf(planned)).toEqual(['installation: INSTALLATION_DIFFERS']);
    });

    it.each([
      ['the configuration that it was taken back from', null, true],
      ['another configuration since', 'another', false],
    ])('stays at the release that it went back to, with %s', (_, change, isHeld) => {
      const input = machine({ install: { onChange: 'install' } });
      const specDigest = change ?? input.desired.specDigest;
      const pinnedRelease = { release: 'r1', reason: 'r2 was taken back', specDigest };
      const back = withObserved(input, { release: known(aRelease(input.config, { id: 'r1', specDigest: 'of-r1' })) });
      const planned = plan({ ...back, intents: { ...input.intents, pinnedRelease } });
      expect(holdsOf(planned).includes('installation: ROLLED_BACK')).toBe(isHeld);
      expect(actionsOf(planned).includes('install')).toBe(!isHeld);
    });

    it('says and does nothing before the list of packs was read', () => {
      for (const release of [aRelease(undefined, { specDigest: 'another' }), null]) {
        const planned = plan({ ...withObserved(machine(), { release: known(release) }), packList: null });
        expect(actionsOf(planned)).not.toContain('install');
        expect(holdsOf(planned)).toEqual([]);
      }
    });

    it('replaces it when configured to, or when asked to', () => {
      const other = withObserved(machine({ install: { onChange: 'install' } }), {
        release: known(aRelease(undefined, { specDigest: 'another' })),
      });
      expect(actionsOf(plan(other))).toEqual(['install']);
      const asked = machine();
      expect(
        actionsOf(
          plan({
            ...asked,
            intents: { ...asked.intents, installation: { requestedAt: NOW, fresh: true, clean: false, moves: null, bundle: null } },
          }),
        ),
      ).toEqual(['install']);
    });

    describe('an installation that an operator asked for and that an agent did not live to finish', () => {
      const asked = (wish: Partial<InstallationIntent>, release: Partial<Release>) => {
        const input = withObserved(machine(), { release: known(aRelease(undefined, release)) });
        const installation = { requestedAt: NOW, fresh: false, clean: false, moves: null, bundle: null, ...wish };
        return plan({ ...input, intents: { ...input.intents, installation } });
      };
      const before = at(-1_000);
      const failed = [aPackStatus('ComfyUI-One', { state: 'failed' })];
      it.each([
        { what: 'a new release', wish: { fresh: true }, release: { createdAt: before }, actions: ['install'], holds: [] },
        { what: 'a new release that is there', wish: { fresh: true }, release: { createdAt: at(0) }, actions: [], holds: [] },
        {
          what: 'what the configuration says',
          wish: {},
          release: { createdAt: before, specDigest: 'another' },
          actions: ['install'],
          holds: [],
        },
        {
          what: 'what the configuration said before another edit',
          wish: {},
          release: { createdAt: at(0), specDigest: 'another' },
          actions: [],
          holds: ['installation: INSTALLATION_DIFFERS'],
        },
        { what: 'failed packs again', wish: {}, release: { createdAt: before, packs: failed }, actions: ['install'], holds: [] },
        { what: 'failed packs that failed again', wish: {}, release: { createdAt: at(0), packs: failed }, actions: [], holds: [] },
        { what: 'what is there already', wish: {}, release: { createdAt: before }, actions: [], holds: [] },
      ])('$what: $actions', ({ wish, release, actions, holds }) => {
        const planned = asked(wish, release);
        expect(actionsOf(planned)).toEqual(actions);
        expect(holdsOf(planned)).toEqual(holds);
      });
    });

    it.each([
      { retryable: true, ago: 1_000, attempts: 1, installs: false },
      { retryable: true, ago: 16_000, attempts: 1, installs: true },
      { retryable: true, ago: 16_000, attempts: 3, installs: false },
      { retryable: false, ago: 9_999_999, attempts: 1, installs: false },
    ])(
      'after a failure (retryable $retryable, $ago ms ago, attempt $attempts): installs $installs',
      ({ retryable, ago, attempts, installs }) => {
        const bare = withObserved(machine(), { release: known(null) });
        const failedInstallation = {
          specDigest: bare.desired.specDigest,
          at: NOW - ago,
          attempts,
          code: 'REPOSITORY_UNREACHABLE' as const,
          message: 'no route',
          help: 'check',
          retryable,
        };
        const planned = plan({ ...bare, failedInstallation });
        expect(actionsOf(planned).includes('install')).toBe(installs);
        expect(holdsOf(planned).includes('installation: REPOSITORY_UNREACHABLE')).toBe(!installs);
      },
    );

    it('tries again at once when the configuration changed', () => {
      const bare = withObserved(machine(), { release: known(null) });
      const failedInstallation = {
        specDigest: 'of another configuration',
        at: NOW,
        attempts: 9,
        code: 'COMMAND_FAILED' as const,
        message: '',
        help: '',
        retryable: false,
      };
      expect(actionsOf(plan({ ...bare, failedInstallation }))).toContain('install');
    });
  });

  describe('instances', () => {
    it('starts what has no process', () => {
      expect(actionsOf(plan(withObserved(machine(), { processes: processes(running(1)) })))).toEqual(['start-instance 0']);
    });

    it.each(['stopped', 'errored'])('starts again what PM2 calls %s', (status) => {
      const input = withObserved(machine(), { processes: processes(running(0, { status, pid: null }), running(1)) });
      expect(actionsOf(plan(input))).toEqual(['start-instance 0']);
    });

    it.each(['waiting restart', 'launching', 'stopping'])('leaves what PM2 calls %s to PM2', (status) => {
      const input = withObserved(machine(), { processes: processes(running(0, { status, pid: null }), running(1)) });
      expect(plan(input).actions).toEqual([]);
    });

    it('never starts a second process because the first could not be seen', () => {
      const planned = plan(withObserved(machine(), { processes: unknown('PM2 does not answer') }));
      expect(planned.actions).toEqual([]);
      expect(holdsOf(planned)).toEqual(['instance 0: UNKNOWN', 'instance 1: UNKNOWN']);
    });

    it('stops what should be stopped and then rests', () => {
      const stopping = withInstance(machine(), 0, { desired: 'stopped' });
      expect(actionsOf(plan(stopping))).toEqual(['stop-instance 0']);
      const stopped = withObserved(stopping, { processes: processes(running(0, { status: 'stopped', pid: null }), running(1)) });
      expect(plan(stopped).actions).toEqual([]);
    });

    it('lets a draining instance finish its jobs', () => {
      const draining = withInstance(machine(), 0, { draining: true });
      const busy = { ...draining, health: new Map([[0, withJobs(3)]]) };
      expect(plan(busy).actions).toEqual([]);
      expect(plan(busy).holds[0]?.reason).toBe('draining: 3 jobs left');
      expect(actionsOf(plan(draining))).toEqual(['stop-instance 0']);
    });

    it('does not stop a draining instance whose queue cannot be read', () => {
      const draining = { ...withInstance(machine(), 0, { draining: true }), health: new Map([[0, withJobs(null)]]) };
      expect(plan(draining).actions).toEqual([]);
      expect(holdsOf(plan(draining))).toEqual(['instance 0: DRAINING']);
    });

    it('restarts an incarnation that began before the wish, and no later one', () => {
      const wish = withInstance(machine(), 0, { restartRequestedAt: NOW - 10_000 });
      expect(actionsOf(plan(wish))).toEqual(['restart-instance 0']);
      const younger = withObserved(wish, { processes: processes(running(0, { startedAt: NOW - 5_000 }), running(1)) });
      expect(plan(younger).actions).toEqual([]);
    });

    it('rolls a change one instance at a time, after its jobs', () => {
      const changed: PlanInput = { ...machine(), launches: new Map([0, 1].map((gpu) => [gpu, aLaunch(gpu, { release: 'r2' })])) };
      expect(actionsOf(plan(changed))).toEqual(['restart-instance 0']);
      expect(holdsOf(plan(changed))).toEqual(['instance 1: ROLLING']);
      const busy: PlanInput = {
        ...changed,
        health: new Map([
          [0, withJobs(1)],
          [1, withJobs(0)],
        ]),
      };
      expect([...actionsOf(plan(busy)), ...holdsOf(plan(busy))]).toEqual(['instance 0: DRAINING', 'instance 1: ROLLING']);
      const starting: PlanInput = {
        ...changed,
        health: new Map([
          [0, withJobs(null, { starting: true, hasServed: false })],
          [1, withJobs(0)],
        ]),
      };
      expect(actionsOf(plan(starting))).toEqual(['restart-instance 0']);
    });

    it('moves nobody who is where a rollout goes while `current` still names the release that is left', () => {
      const input = machine();
      const release = known({ ...(aRelease(input.config) as Release), id: 'r2' });
      const back: Rollout = {
        from: 'r2',
        to: 'r1',
        startedAt: NOW,
        serving: [0, 1],
        direction: 'back',
        reason: 'r2 failed',
        atOnce: false,
        rejected: 'r2 failed',
      };
      const switching: PlanInput = {
        ...withObserved(input, { release }),
        intents: { ...input.intents, rollout: back },
        launches: new Map([0, 1].map((gpu) => [gpu, aLaunch(gpu, { release: 'r2' })])),
      };
      // Neither before the rollout is seen nor while its first step is the switch.
      const step = { verdict: 'switch', reason: null, next: [], moved: 1, total: 2, message: '' } as const;
      for (const rollout of [null, step]) {
        const planned = plan({ ...switching, rollout });
        expect(actionsOf(planned).filter((action) => action !== 'switch-release')).toEqual([]);
        expect(holdsOf(planned)).toEqual(['instance 0: ROLLING', 'instance 1: ROLLING']);
      }
      // Settings that changed besides are taken over once it is switched.
      const switched = { ...switching, observed: input.observed };
      expect(actionsOf(plan(switched))).toEqual(['restart-instance 0']);
    });

    it('quarantines what ends too often and keeps it stopped', () => {
      const exits = Array.from({ length: 11 }, (_, index) => ({ at: NOW - index * 1_000, reason: 'exit code 1', wanted: false }));
      const crashing: PlanInput = { ...machine(), exits: new Map([['comfyui-gpu0', exits]]) };
      expect(actionsOf(plan(crashing))).toEqual(['quarantine-instance 0']);
      const asked: PlanInput = { ...machine(), exits: new Map([['comfyui-gpu0', exits.map((exit) => ({ ...exit, wanted: true }))]]) };
      expect(plan(asked).actions).toEqual([]);
      const quarantined = withInstance(machine(), 0, { quarantined: 'ended 11 times' });
      expect(actionsOf(plan(quarantined))).toEqual(['stop-instance 0']);
      const still = withObserved(quarantined, { processes: processes(running(1)) });
      expect(plan(still).actions).toEqual([]);
      expect(holdsOf(plan(still))).toEqual(['instance 0: QUARANTINED']);
    });
  });

  describe('cards', () => {
    const onCards = (processesOnCard: ReturnType<typeof aGpu>['processes'], foreignProcess: 'hold' | 'warn' = 'hold') => {
      const input = machine({ gpu: { mode: 'actual', foreignProcess } }, [0]);
      return withObserved(
        {
          ...input,
          desired: { ...input.desired, instances: [anInstance(0, { mode: 'gpu', uuid: 'GPU-00000000', visibleDevices: 'GPU-00000000' })] },
        },
        { gpus: known(aReading(aGpu(0, { processes: processesOnCard }))), processes: processes(), ownPids: new Set() },
      );
    };
    const stranger = { pid: 4711, name: 'python train.py', memoryBytes: 8 * 1024 ** 3, type: 'compute' as const, migDevice: null };

    it('holds a card that a stranger computes on, and names the stranger', () => {
      const planned = plan(onCards([stranger]));
      expect(planned.actions).toEqual([]);
      expect(planned.holds.map((hold) => hold.reason)).toEqual(['pid 4711 (python train.py) uses 8192 MiB of GPU 0']);
    });

    it.each([
      ['graphics', { ...stranger, type: 'graphics' as const, migDevice: null }],
      ['small', { ...stranger, memoryBytes: 100 * 1024 ** 2 }],
      ['unresolvable pid', { ...stranger, name: null }],
      ['unknown size', { ...stranger, memoryBytes: null }],
    ])('does not hold for a process that is %s', (_, process) => {
      expect(actionsOf(plan(onCards([process])))).toEqual(['start-instance 0']);
    });

    it('only warns when configured to', () => {
      expect(actionsOf(plan(onCards([stranger], 'warn')))).toEqual(['start-instance 0']);
    });

    it('does not stop a running instance because of a stranger', () => {
      const input = withObserved(onCards([stranger]), { processes: processes(running(0)) });
      expect(plan(input).actions).toEqual([]);
    });

    it('holds the machine when the driver is silent, and leaves what runs alone', () => {
      const input = withObserved(machine({ gpu: { mode: 'actual' } }), { gpus: unknown('nvidia-smi did not answer within 5000 ms') });
      const planned = plan(input);
      expect(planned.actions).toEqual([]);
      expect(holdsOf(planned)).toEqual(['machine: GPU_QUERY_FAILED']);
    });

    it('says nothing of cards it has not asked for yet', () => {
      const input = withObserved(machine({ gpu: { mode: 'actual' } }), { gpus: unknown(NOT_LOOKED_YET) });
      expect(plan(input)).toEqual({ actions: [], holds: [], leaving: new Map(), strangers: new Map() });
    });

    it('says what to do about a driver that does not answer, where that is known', () => {
      const silent = (help?: string) =>
        plan(withObserved(machine({ gpu: { mode: 'actual' } }), { gpus: unknown('a mismatch', help) })).holds[0];
      expect(silent('reboot')).toMatchObject({ code: 'GPU_QUERY_FAILED', help: 'reboot; running instances are left alone' });
      expect(silent()?.help).toContain('run nvidia-smi by hand');
    });

    it('says so when there is no card at all', () => {
      const input = machine({ gpu: { mode: 'actual' } });
      const none = withObserved({ ...input, desired: { ...input.desired, instances: [] } }, { processes: processes() });
      expect(holdsOf(plan(none))).toEqual(['machine: NO_GPU']);
    });
  });

  it('shows a refused configuration as a hold', () => {
    expect(holdsOf(plan({ ...machine(), configurationProblem: 'agent.yaml:3: unknown key' }))).toEqual(['configuration: CONFIG_INVALID']);
  });

  it('settles: carrying a plan out again and again ends in an empty plan, with one action for each target at most', () => {
    const status = fc.constantFrom('online', 'stopped', 'errored', 'missing');
    const desired = fc.constantFrom<'running' | 'stopped'>('running', 'stopped');
    fc.assert(
      fc.property(
        fc.array(
          fc.record({ status, desired, draining: fc.boolean(), cordoned: fc.boolean(), stale: fc.boolean(), leased: fc.boolean() }),
          { minLength: 1, maxLength: 6 },
        ),
        (rows) => {
          const gpus = rows.map((_, index) => index);
          let input = machine({}, gpus);
          for (const [gpu, row] of rows.entries())
            input = withInstance(input, gpu, { desired: row.desired, draining: row.draining, cordoned: row.cordoned });
          const list = rows.flatMap((row, gpu) =>
            row.status === 'missing'
              ? []
              : [
                  running(gpu, {
                    status: row.status,
                    pid: row.status === 'online' ? 1_000 + gpu : null,
                    ...(row.stale ? { entryDigest: 'old' } : {}),
                  }),
                ],
          );
          input = withObserved(input, { processes: known(list), leases: input.observed.leases.filter((lease) => rows[lease.gpu]?.leased) });
          for (let round = 0; round < 30; round++) {
            const launches = new Map(input.observed.leases.map((lease) => [lease.gpu, aLaunch(lease.gpu)]));
            const planned = plan({ ...input, launches });
            const targets = actionsOf(planned).map((action) => action.split(' ').at(-1));
            expect(new Set(targets).size).toBe(targets.length);
            if (planned.actions.length === 0) return;
            input = carryOut({ ...input, launches }, planned);
          }
          throw new Error('it did not settle within 30 rounds');
        },
      ),
      { numRuns: 200 },
    );
  });
});

/** A perfect world: every action has its effect at once. */
function carryOut(input: PlanInput, planned: ReturnType<typeof plan>): PlanInput {
  let list = input.observed.processes.known ? [...input.observed.processes.value] : [];
  let leases = [...input.observed.leases];
  for (const action of planned.actions) {
    if (action.kind === 'lease-port') leases = [...leases, { gpu: action.gpu, tcpPort: action.tcpPort, first: 8188, since: at(0) }];
    if (action.kind === 'start-instance' || action.kind === 'restart-instance')
      list = [...list.filter((process) => process.name !== action.name), running(action.gpu, { startedAt: NOW })];
    if (action.kind === 'stop-instance')
      list = list.map((process) => (process.name === action.name ? { ...process, status: 'stopped', pid: null } : process));
    if (action.kind === 'remove-process') list = list.filter((process) => process.name !== action.name);
  }
  return withObserved(input, { processes: known(list), leases });
}
