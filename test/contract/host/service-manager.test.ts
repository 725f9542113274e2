import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createServiceManager, readServiceEnvironment } from '../../../src/adapters/host/service-manager.ts';
import type { ServiceManager, ServiceState } from '../../../src/ports/host.ts';
import { createFakeServiceManager } from '../../fakes/service-manager.ts';
import { eventually } from '../../support/eventually.ts';
import { type TempRoot, tempRoot } from '../../support/temp-root.ts';

/** A socket as systemd has one: prints every datagram as one line. */
const LISTEN = `
import socket, sys
server = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
server.bind(sys.argv[1])
print("open", flush=True)
while True:
    print(server.recv(65536).decode().strip().replace("\\n", "|"), flush=True)
`;

const PROGRAM = 'systemd-notify';
const hasProgram = spawnSync(PROGRAM, ['--version']).status === 0;
let root: TempRoot;
const children: ChildProcess[] = [];
beforeEach(async () => {
  root = await tempRoot();
});
afterEach(async () => {
  for (const child of children.splice(0)) child.kill('SIGKILL');
  await root.remove();
});

interface Side {
  readonly manager: ServiceManager;
  heard(count: number): Promise<readonly ServiceState[]>;
}

async function listenAt(path: string): Promise<{ lines(): readonly string[] }> {
  const child = spawn('python3', ['-c', LISTEN, path], { stdio: ['ignore', 'pipe', 'inherit'] });
  children.push(child);
  let text = '';
  child.stdout.on('data', (chunk) => (text += String(chunk)));
  // systemd-notify waits until it was heard, by a message of its own.
  const lines = () => text.split('\n').filter((line) => line !== '' && line !== 'BARRIER=1');
  await eventually('the socket is there', () => lines()[0] === 'open');
  return { lines: () => lines().slice(1) };
}

const real = async (): Promise<Side> => {
  const socket = root.at('notify');
  const { lines } = await listenAt(socket);
  const manager = createServiceManager({
    service: { socket, watchdogMs: 30_000 },
    onDeaf: (reason) => {
      throw new Error(reason);
    },
  });
  const parse = (line: string): ServiceState => {
    const words = new Map(line.split('|').map((part) => [part.split('=')[0], part.slice(part.indexOf('=') + 1)]));
    const status = words.get('STATUS');
    const phase = words.has('READY') ? 'ready' : words.has('RELOADING') ? 'reloading' : words.has('STOPPING') ? 'stopping' : null;
    return {
      ...(phase === null ? {} : { phase }),
      ...(status === undefined ? {} : { status }),
      ...(words.has('WATCHDOG') ? { alive: true } : {}),
    };
  };
  return {
    manager,
    heard: (count) => eventually(`${count} datagrams`, () => (lines().length >= count ? lines().map(parse) : null)),
  };
};
const fake = async (): Promise<Side> => {
  const { manager, heard } = createFakeServiceManager({ watchdogMs: 30_000 });
  return { manager, heard: async () => heard };
};

describe.each([
  ['fake', fake, true],
  ['systemd-notify', real, hasProgram],
] as const)('a service manager: %s', (_, create, isHere) => {
  it.skipIf(!isHere)('hears everything in the order of the calls', async () => {
    const { manager, heard } = await create();
    expect(manager.watchdogMs).toBe(30_000);
    const told: readonly ServiceState[] = [
      { phase: 'ready', status: '0 of 2 instances ready' },
      { alive: true },
      { status: 'installing 40 %' },
      { phase: 'reloading' },
      { phase: 'ready' },
      { phase: 'stopping', status: 'stopping' },
    ];
    for (const state of told) void manager.notify(state);
    void manager.notify({});
    await manager.notify({ alive: true });
    expect(await heard(told.length + 1)).toEqual([...told, { alive: true }]);
  });
});

describe('systemd-notify', () => {
  it.skipIf(!hasProgram)('a status is one line, and no other assignment can hide in it', async () => {
    const { manager, heard } = await real();
    await manager.notify({ status: `two\nWATCHDOG=1\n${'x'.repeat(1_000)}` });
    const [state] = await heard(1);
    expect(state?.alive).toBeUndefined();
    expect(state?.status).toMatch(/^two WATCHDOG=1 x+$/);
    expect(state?.status?.length).toBe(480);
  });

  it.skipIf(!hasProgram)('one that does not hear is told once, and nothing rejects', async () => {
    const reasons: string[] = [];
    const manager = createServiceManager({
      service: { socket: root.at('none'), watchdogMs: null },
      onDeaf: (reason) => reasons.push(reason),
    });
    await manager.notify({ phase: 'ready' });
    await manager.notify({ alive: true });
    expect(reasons).toHaveLength(1);
    await listenAt(root.at('none'));
    await manager.notify({ alive: true });
    await manager.notify({ alive: true });
    expect(reasons).toHaveLength(1);
  });

  it('without the program it is told too', async () => {
    const reasons: string[] = [];
    const service = { socket: root.at('none'), watchdogMs: null };
    await createServiceManager({ service, program: root.at('nothing'), onDeaf: (reason) => reasons.push(reason) }).notify({ alive: true });
    expect(reasons.join()).toContain('ENOENT');
  });

  it('nobody is told where nobody asked', async () => {
    const service = { socket: null, watchdogMs: 5 };
    const manager = createServiceManager({ service, program: root.at('nothing'), onDeaf: (reason) => expect.unreachable(reason) });
    expect(manager.watchdogMs).toBeNull();
    await manager.notify({ phase: 'ready' });
  });
});

describe('what systemd says in the environment', () => {
  const none = { socket: null, watchdogMs: null };
  it.each([
    ['nothing', {}, none],
    ['a socket', { NOTIFY_SOCKET: '/run/systemd/notify' }, { socket: '/run/systemd/notify', watchdogMs: null }],
    ['an abstract one', { NOTIFY_SOCKET: '@x' }, { socket: '@x', watchdogMs: null }],
    ['one of another kind', { NOTIFY_SOCKET: 'vsock:2:1' }, none],
    ['a watchdog', { NOTIFY_SOCKET: '/n', WATCHDOG_USEC: '30000000', WATCHDOG_PID: '7' }, { socket: '/n', watchdogMs: 30_000 }],
    ['a watchdog for all', { NOTIFY_SOCKET: '/n', WATCHDOG_USEC: '30000000' }, { socket: '/n', watchdogMs: 30_000 }],
    [
      'a watchdog of another process',
      { NOTIFY_SOCKET: '/n', WATCHDOG_USEC: '30000000', WATCHDOG_PID: '8' },
      { socket: '/n', watchdogMs: null },
    ],
    ['a watchdog without a socket', { WATCHDOG_USEC: '30000000' }, none],
    ['nonsense', { NOTIFY_SOCKET: '/n', WATCHDOG_USEC: 'soon' }, { socket: '/n', watchdogMs: null }],
    ['none at all', { NOTIFY_SOCKET: '/n', WATCHDOG_USEC: '0' }, { socket: '/n', watchdogMs: null }],
  ])('%s', (_, environment, expected) => {
    expect(readServiceEnvironment(environment, 7)).toEqual(expected);
  });
});
