import { describe, expect, it } from 'vitest';
import { type GuardOptions, isLoopbackAddress, type RequestFacts, refusal } from '../../../src/api/guards.ts';

const options = (change: Partial<GuardOptions> = {}): GuardOptions => ({
  token: 'secret',
  allowedHosts: [],
  allowedOrigins: [],
  loopback: true,
  machine: 'gpu-box-7',
  ...change,
});

const facts = (change: Partial<RequestFacts> = {}): RequestFacts => ({
  access: 'open',
  stream: false,
  host: '127.0.0.1:9090',
  origin: undefined,
  fetchSite: undefined,
  authorization: undefined,
  forwarded: false,
  queryNames: [],
  remoteAddress: '127.0.0.1',
  listenHost: '127.0.0.1',
  localAddress: '127.0.0.1',
  localPort: 9090,
  ...change,
});

const codeOf = (request: Partial<RequestFacts>, guard: Partial<GuardOptions> = {}): string | null =>
  refusal(facts(request), options(guard))?.code ?? null;

describe('Host', () => {
  const wide = { loopback: false };
  it.each<[string | undefined, Partial<GuardOptions>, string | null]>([
    ['127.0.0.1:9090', {}, null],
    ['127.0.0.1', {}, null],
    ['LOCALHOST:9090', {}, null],
    ['localhost.:9090', {}, null],
    ['[::1]:9090', {}, null],
    [undefined, {}, null],
    ['127.0.0.1:9091', {}, 'HOST_REFUSED'],
    ['evil.example', {}, 'HOST_REFUSED'],
    ['evil.example:9090', {}, 'HOST_REFUSED'],
    ['localhost.evil.example:9090', {}, 'HOST_REFUSED'],
    ['127.0.0.1.nip.example:9090', {}, 'HOST_REFUSED'],
    ['user@localhost:9090', {}, 'HOST_REFUSED'],
    ['', {}, 'HOST_REFUSED'],
    ['10.1.2.3:9090', {}, 'HOST_REFUSED'],
    ['gpu-box-7:9090', {}, 'HOST_REFUSED'],
    ['10.1.2.3:9090', wide, null],
    ['gpu-box-7:9090', wide, null],
    ['evil.example:9090', wide, 'HOST_REFUSED'],
    ['panel.example', { allowedHosts: ['panel.example'] }, null],
    ['panel.example:8443', { allowedHosts: ['panel.example'] }, null],
    ['panel.example:8443', { allowedHosts: ['panel.example:8443'] }, null],
    ['panel.example:1', { allowedHosts: ['panel.example:8443'] }, 'HOST_REFUSED'],
    ['localhost:9999', { allowedHosts: ['localhost'] }, null],
  ])('%s with %j: %s', (host, guard, expected) => {
    expect(codeOf({ host }, guard)).toBe(expected);
  });

  it('serves the name and the address it was told to listen on', () => {
    expect(codeOf({ host: 'agents.internal:9090', listenHost: 'agents.internal' })).toBeNull();
    expect(codeOf({ host: '10.9.8.7:9090', listenHost: '0.0.0.0', localAddress: '::ffff:10.9.8.7' })).toBeNull();
  });
});

describe('Origin', () => {
  const state = { access: 'read' as const };
  it.each<[string, Partial<RequestFacts>, Partial<GuardOptions>, string | null]>([
    ['same origin', { ...state, origin: 'http://127.0.0.1:9090' }, {}, null],
    ['same origin behind TLS', { ...state, origin: 'https://127.0.0.1:9090' }, {}, null],
    ['another port of this machine', { ...state, origin: 'http://127.0.0.1:8188' }, {}, 'ORIGIN_REFUSED'],
    ['a foreign page', { ...state, origin: 'https://evil.example' }, {}, 'ORIGIN_REFUSED'],
    ['an opaque origin', { ...state, origin: 'null' }, {}, 'ORIGIN_REFUSED'],
    ['an allowed page', { ...state, origin: 'https://panel.example' }, { allowedOrigins: ['https://panel.example/'] }, null],
    [
      'a page with an allowed beginning',
      { ...state, origin: 'https://panel.example.evil' },
      { allowedOrigins: ['https://panel.example'] },
      'ORIGIN_REFUSED',
    ],
    ['cross-site without Origin', { ...state, fetchSite: 'cross-site' }, {}, 'ORIGIN_REFUSED'],
    ['same-site without Origin', { ...state, fetchSite: 'same-site' }, {}, 'ORIGIN_REFUSED'],
    ['typed into the address bar', { ...state, fetchSite: 'none' }, {}, null],
    ['our own page', { ...state, fetchSite: 'same-origin' }, {}, null],
    ['a foreign page reads health', { origin: 'https://evil.example' }, {}, null],
    ['a foreign page takes a stream', { stream: true, origin: 'https://evil.example' }, {}, 'ORIGIN_REFUSED'],
    ['a foreign page takes a stream silently', { stream: true, fetchSite: 'cross-site' }, {}, 'ORIGIN_REFUSED'],
    [
      'a foreign page changes, token and all',
      { access: 'change', origin: 'https://evil.example', authorization: 'Bearer secret' },
      {},
      'ORIGIN_REFUSED',
    ],
  ])('%s', (_name, request, guard, expected) => {
    expect(codeOf(request, guard)).toBe(expected);
  });
});

describe('token', () => {
  const remote = { remoteAddress: '10.0.0.9' };
  it.each<[string, Partial<RequestFacts>, Partial<GuardOptions>, string | null]>([
    ['change without', { access: 'change' }, {}, 'UNAUTHORIZED'],
    ['change with', { access: 'change', authorization: 'Bearer secret' }, {}, null],
    ['change with lower-case scheme', { access: 'change', authorization: 'bearer secret' }, {}, null],
    ['change with a wrong one', { access: 'change', authorization: 'Bearer secreT' }, {}, 'UNAUTHORIZED'],
    ['change with a beginning of it', { access: 'change', authorization: 'Bearer secre' }, {}, 'UNAUTHORIZED'],
    ['change with Basic', { access: 'change', authorization: 'Basic secret' }, {}, 'UNAUTHORIZED'],
    ['change where the agent has none', { access: 'change', authorization: 'Bearer null' }, { token: null }, 'UNAUTHORIZED'],
    ['reading on loopback', { access: 'read' }, {}, null],
    ['reading on IPv4-mapped loopback', { access: 'read', remoteAddress: '::ffff:127.0.0.1' }, {}, null],
    ['what costs work, on loopback', { access: 'work' }, {}, 'UNAUTHORIZED'],
    ['what costs work, on loopback with', { access: 'work', authorization: 'Bearer secret' }, {}, null],
    ['reading from elsewhere', { access: 'read', ...remote }, {}, 'UNAUTHORIZED'],
    ['reading from elsewhere with', { access: 'read', ...remote, authorization: 'Bearer secret' }, {}, null],
    ['reading through a proxy on loopback', { access: 'read', forwarded: true }, {}, 'UNAUTHORIZED'],
    ['health from elsewhere', { ...remote }, {}, null],
    ['in the address, even on an open path', { queryNames: ['access_token'] }, {}, 'UNAUTHORIZED'],
    [
      'in the address beside a good header',
      { access: 'change', queryNames: ['Token'], authorization: 'Bearer secret' },
      {},
      'UNAUTHORIZED',
    ],
  ])('%s', (_name, request, guard, expected) => {
    expect(codeOf(request, guard)).toBe(expected);
  });

  it('says what is missing when the agent has no token', () => {
    const refused = refusal(facts({ access: 'change' }), options({ token: null }));
    expect(refused?.message).toMatch(/this agent has none/);
    expect(refused?.help).toMatch(/AGENT_TOKEN/);
  });

  it('never repeats what was sent', () => {
    expect(JSON.stringify(refusal(facts({ access: 'change', authorization: 'Bearer hunter2' }), options()))).not.toContain('hunter2');
  });
});

it.each([
  ['127.0.0.1', true],
  ['127.8.8.8', true],
  ['::1', true],
  ['::ffff:127.0.0.1', true],
  ['10.127.0.1', false],
  ['::2', false],
])('loopback %s: %s', (address, expected) => {
  expect(isLoopbackAddress(address)).toBe(expected);
});
