import { createHash, timingSafeEqual } from 'node:crypto';
import { isIP } from 'node:net';
import { AgentError } from '../domain/errors/errors.ts';
import type { Access } from './app-types.ts';

/**
 * Who may ask what over TCP. Loopback is no protection by itself: node packs run on the machine, and a browser on it
 * sends requests for any page it shows (cross-site posts, DNS rebinding). Pure, so that it can be tested as a table.
 */

export interface GuardOptions {
  readonly token: string | null;
  readonly allowedHosts: readonly string[];
  readonly allowedOrigins: readonly string[];
  /** The server listens on a loopback address only. */
  readonly loopback: boolean;
  /** Name of the machine, served when it can be reached from outside. */
  readonly machine: string;
}

/** What the guards look at in a request. */
export interface RequestFacts {
  readonly access: Access;
  readonly stream: boolean;
  readonly host: string | undefined;
  readonly origin: string | undefined;
  readonly fetchSite: string | undefined;
  readonly authorization: string | undefined;
  /** A proxy passed the request on, so the remote address is the proxy's. */
  readonly forwarded: boolean;
  readonly queryNames: readonly string[];
  readonly remoteAddress: string;
  /** The name that `listenTcp` was given; null before it listens. */
  readonly listenHost: string | null;
  readonly localAddress: string | null;
  /** null when the connection has none (injected requests of tests). */
  readonly localPort: number | null;
}

const LOOPBACK_NAMES = new Set(['localhost', '127.0.0.1', '::1']);
const HOST = /^(\[[0-9a-f:.]+\]|[^:[\]/@\s]+)(?::(\d{1,5}))?$/i;
const WANTED = {
  read: 'reading this from another machine',
  work: 'what makes the agent look at everything, over TCP,',
  change: 'a change over TCP',
} as const;
const TOKEN_NAMES = new Set(['token', 'access_token', 'auth', 'authorization', 'api_key', 'apikey']);

export const isLoopbackAddress = (address: string): boolean => /^(::ffff:)?127\./i.test(address) || address === '::1';

const bare = (name: string): string =>
  name
    .toLowerCase()
    .replace(/^\[|\]$/g, '')
    .replace(/\.$/, '');
const withoutPrefix = (address: string): string => bare(address).replace(/^::ffff:(?=\d+\.)/, '');

function parseHost(text: string): { name: string; port: number | null } | null {
  const match = HOST.exec(text.trim());
  if (match?.[1] === undefined) return null;
  return { name: bare(match[1]), port: match[2] === undefined ? null : Number(match[2]) };
}

/** @returns why the request is refused, or null */
export function refusal(facts: RequestFacts, options: GuardOptions): AgentError | null {
  return refusedHost(facts, options) ?? refusedQuery(facts) ?? refusedOrigin(facts, options) ?? refusedToken(facts, options);
}

/** A page that rebinds its own name to this address still sends its own name here. Programs may send none (HTTP/1.0 checks). */
function refusedHost(facts: RequestFacts, options: GuardOptions): AgentError | null {
  if (facts.host === undefined) return null;
  const host = parseHost(facts.host);
  if (host !== null && isServed(host, facts, options)) return null;
  return new AgentError(
    'HOST_REFUSED',
    `the Host header "${facts.host.slice(0, 100)}" names a host or port that this agent does not serve`,
    {
      help: 'use the address the agent listens on, or add the name to api.allowedHosts (a tunnel from another port: add "localhost")',
    },
  );
}

function isServed(host: { name: string; port: number | null }, facts: RequestFacts, options: GuardOptions): boolean {
  for (const entry of options.allowedHosts) {
    const allowed = parseHost(entry);
    if (allowed?.name === host.name && (allowed.port === null || allowed.port === host.port)) return true;
  }
  // Port 80 is left out by browsers and many clients: absent is fine, another one is not.
  if (host.port !== null && facts.localPort !== null && host.port !== facts.localPort) return false;
  if (LOOPBACK_NAMES.has(host.name)) return true;
  if (facts.listenHost !== null && bare(facts.listenHost) === host.name) return true;
  if (facts.localAddress !== null && withoutPrefix(facts.localAddress) === host.name) return true;
  // Rebinding needs a name, so an address literal is safe wherever other machines may ask at all (translated addresses).
  return !options.loopback && (host.name === bare(options.machine) || isIP(host.name) !== 0);
}

function refusedQuery(facts: RequestFacts): AgentError | null {
  const name = facts.queryNames.find((candidate) => TOKEN_NAMES.has(candidate.toLowerCase()));
  if (name === undefined) return null;
  return new AgentError('UNAUTHORIZED', `a token in the address ("${name}") is refused: addresses end up in logs and histories`, {
    help: 'send `Authorization: Bearer <token>`, and change the token if it was a real one',
  });
}

function refusedOrigin(facts: RequestFacts, options: GuardOptions): AgentError | null {
  if (facts.access === 'open' && !facts.stream) return null;
  if (facts.origin !== undefined) {
    if (isAllowedOrigin(facts.origin, options) || isSameOrigin(facts.origin, facts.host)) return null;
    return new AgentError('ORIGIN_REFUSED', `requests from the web origin "${facts.origin.slice(0, 100)}" are refused`);
  }
  // Another port of this machine (a ComfyUI page, say) is "same-site": as foreign as any other.
  if (facts.fetchSite === undefined || facts.fetchSite === 'same-origin' || facts.fetchSite === 'none') return null;
  return new AgentError('ORIGIN_REFUSED', 'requests that another web page makes are refused');
}

export const isAllowedOrigin = (origin: string, options: Pick<GuardOptions, 'allowedOrigins'>): boolean =>
  options.allowedOrigins.some((allowed) => allowed.replace(/\/$/, '').toLowerCase() === origin.toLowerCase());

/** The scheme is not compared: a proxy in front may speak TLS for us. */
const isSameOrigin = (origin: string, host: string | undefined): boolean =>
  host !== undefined && /^https?:\/\//i.test(origin) && origin.replace(/^https?:\/\//i, '').toLowerCase() === host.trim().toLowerCase();

function refusedToken(facts: RequestFacts, options: GuardOptions): AgentError | null {
  if (facts.access === 'open') return null;
  if (facts.access === 'read' && isLoopbackAddress(facts.remoteAddress) && !facts.forwarded) return null;
  const what = WANTED[facts.access];
  if (options.token === null) {
    return new AgentError('UNAUTHORIZED', `${what} needs a token, and this agent has none`, {
      help: 'set AGENT_TOKEN or AGENT_TOKEN_FILE and start the agent again, or use the `agent` command on the machine itself',
    });
  }
  if (givenToken(facts.authorization) === null) return new AgentError('UNAUTHORIZED', `${what} needs a token`);
  return bearsToken(facts.authorization, options.token) ? null : new AgentError('UNAUTHORIZED', 'the token is not the one of this agent');
}

const givenToken = (authorization: string | undefined): string | null => /^Bearer +(\S+)$/i.exec(authorization ?? '')?.[1] ?? null;

/** Whether a request is an operator's, by what it says in `Authorization`. */
export function bearsToken(authorization: string | undefined, token: string | null): boolean {
  const given = givenToken(authorization);
  return token !== null && given !== null && equal(given, token);
}

/** Digests have one length, so that neither time nor length tells how much was right. */
const equal = (given: string, expected: string): boolean => timingSafeEqual(sha256(given), sha256(expected));
const sha256 = (text: string): Buffer => createHash('sha256').update(text).digest();
