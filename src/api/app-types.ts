import type { IncomingMessage, ServerResponse } from 'node:http';
import type { FastifyBaseLogger, FastifyInstance, RawServerDefault } from 'fastify';
import type { ZodTypeProvider } from 'fastify-type-provider-zod';
import { ErrorDocument } from '../domain/errors/document.ts';

/**
 * Who may call a route over TCP. `open`: everybody. `read`: everybody on loopback, with the token from elsewhere.
 * `work`: what only looks, but makes the agent start programs and read much; with the token only, loopback included, since packs
 * ask there too. `change`: the same. The unix socket needs none of it: its file mode decides.
 */
export type Access = 'open' | 'read' | 'work' | 'change';

export type Transport = 'tcp' | 'socket';

declare module 'fastify' {
  interface FastifyContextConfig {
    /** Absent means the strictest, `change`. */
    access?: Access;
    /** Holds a place for as long as the client stays: refused to foreign web origins even when open. */
    stream?: boolean;
    /** A health probe: answered when hardly anything else is. */
    probe?: boolean;
  }
}

export type App = FastifyInstance<RawServerDefault, IncomingMessage, ServerResponse, FastifyBaseLogger, ZodTypeProvider>;

/** What a route says of itself in the API reference. */
export const about = (tag: string, operationId: string, summary: string, description?: string) => ({
  tags: [tag],
  operationId,
  summary,
  ...(description === undefined ? {} : { description }),
});

const bearer = [{ token: [] }] as const;

/** The error answers of each kind of route, and how the reference tells that a token is needed. */
export const refusals = {
  open: { 400: ErrorDocument, 403: ErrorDocument },
  read: { 400: ErrorDocument, 401: ErrorDocument, 403: ErrorDocument },
  work: { 400: ErrorDocument, 401: ErrorDocument, 403: ErrorDocument },
  change: { 400: ErrorDocument, 401: ErrorDocument, 403: ErrorDocument },
} as const;

export const secured = {
  /** The token is needed from other machines only. */
  read: { security: [{}, ...bearer] },
  work: { security: [...bearer] },
  change: { security: [...bearer] },
};
