import { z } from 'zod';
import { PlanDocument } from '../domain/action.ts';
import {
  type Agent,
  ConfigDocument,
  GpusDocument,
  PortsDocument,
  ReleasesDocument,
  StatusDocument,
  VersionDocument,
} from '../domain/agent.ts';
import { DoctorDocument } from '../domain/doctor/doctor.ts';
import { ErrorDocument } from '../domain/errors/document.ts';
import { DriftDocument } from '../domain/installation/drift.ts';
import { JournalEvent } from '../domain/journal.ts';
import { StateDocument } from '../domain/state/state.ts';
import { type App, about, refusals, secured } from './app-types.ts';
import { count, flag } from './queries.ts';
import type { StreamEvent, Streams } from './streams.ts';

const TAG = 'machine';
/** How far back a reader that connects again can catch up. */
const MAX_BACKLOG = 1_000;

/** The loop as the agent sees it: for the CLI and for people who look into it. */
export function machineRoutes(app: App, agent: Agent, streams: Streams): void {
  const read = { access: 'read' } as const;
  const work = { access: 'work' } as const;
  const says = (operationId: string, summary: string) => ({ ...about(TAG, operationId, summary), ...secured.read });

  app.get(
    '/v1/status',
    { config: read, schema: { ...says('getStatus', 'The machine on one screen'), response: { 200: StatusDocument, ...refusals.read } } },
    () => agent.status(),
  );
  app.get(
    '/v1/state',
    {
      config: read,
      schema: { ...says('getState', 'Desired, observed, and what is held'), response: { 200: StateDocument, ...refusals.read } },
    },
    () => agent.state(),
  );
  app.get(
    '/v1/plan',
    {
      config: read,
      schema: { ...says('getPlan', 'What the agent would do now, and what holds it'), response: { 200: PlanDocument, ...refusals.read } },
    },
    () => agent.plan(),
  );
  app.get(
    '/v1/gpus',
    {
      config: read,
      schema: { ...says('getGpus', 'Cards with memory, processes and owner'), response: { 200: GpusDocument, ...refusals.read } },
    },
    () => agent.gpus(),
  );
  app.post(
    '/v1/gpus/accept',
    {
      config: { access: 'change' },
      schema: {
        ...about(
          TAG,
          'acceptGpus',
          'Make the present cards the right ones',
          'Missing cards are forgotten and their slots free; a card that replaces one gets its slot, with port and folders',
        ),
        ...secured.change,
        response: { 200: GpusDocument, 409: ErrorDocument, 503: ErrorDocument, ...refusals.change },
      },
    },
    () => agent.acceptGpus(),
  );
  app.get(
    '/v1/ports',
    { config: read, schema: { ...says('getPorts', 'Port leases and holders'), response: { 200: PortsDocument, ...refusals.read } } },
    () => agent.ports(),
  );
  app.get(
    '/v1/releases',
    { config: read, schema: { ...says('getReleases', 'Releases on disk'), response: { 200: ReleasesDocument, ...refusals.read } } },
    () => agent.releases(),
  );
  app.get(
    '/v1/config',
    {
      config: read,
      schema: {
        ...says('getConfig', 'Effective configuration and where each value came from, without secrets'),
        response: { 200: ConfigDocument, ...refusals.read },
      },
    },
    () => agent.config(),
  );
  app.get(
    '/v1/drift',
    {
      config: work,
      schema: {
        ...about(TAG, 'getDrift', 'What is not as agent.lock.json has it'),
        ...secured.work,
        response: { 200: DriftDocument, 409: ErrorDocument, ...refusals.work },
      },
    },
    () => agent.drift(),
  );
  app.get(
    '/v1/doctor',
    {
      config: work,
      schema: {
        ...about(TAG, 'getDoctor', 'What would keep it from working, each with a remedy'),
        ...secured.work,
        response: { 200: DoctorDocument, ...refusals.work },
      },
    },
    () => agent.doctor(),
  );
  app.get(
    '/v1/version',
    {
      config: read,
      schema: {
        ...says('getVersion', 'Versions of the agent and what it is made of'),
        response: { 200: VersionDocument, ...refusals.read },
      },
    },
    () => agent.version(),
  );

  app.get(
    '/v1/events',
    {
      config: { access: 'read', stream: true },
      schema: {
        ...about(
          TAG,
          'followEvents',
          'The journal, live',
          'Server-Sent Events; with `Last-Event-ID` the reader gets what it missed; one that this journal never gave (it was begun anew) counts as none',
        ),
        ...secured.read,
        querystring: z.object({
          backlog: count(50, MAX_BACKLOG, 'how many of the newest entries first'),
          follow: flag(true, 'stay for new entries'),
        }),
        response: {
          200: { description: 'event stream', content: { 'text/event-stream': { schema: JournalEvent } } },
          503: ErrorDocument,
          ...refusals.read,
        },
      },
    },
    (request, reply) => {
      const seen = lastEventId(request.headers['last-event-id']);
      const { backlog, follow } = request.query;
      return streams.serve(request, reply, (signal) => journalEvents(agent, { backlog, follow, seen }, signal));
    },
  );
}

const lastEventId = (header: string | string[] | undefined): number | null =>
  typeof header === 'string' && /^\d{1,15}$/.test(header) ? Number(header) : null;

interface JournalReader {
  readonly backlog: number;
  readonly follow: boolean;
  /** The newest that it has; null: it says nothing of it. */
  readonly seen: number | null;
}

async function* journalEvents(agent: Agent, reader: JournalReader, signal: AbortSignal): AsyncIterable<StreamEvent> {
  const { backlog, follow } = reader;
  let seen = reader.seen;
  if (seen !== null) {
    let newest = 0;
    for await (const { id } of agent.events({ backlog: 1, follow: false }, signal)) newest = id;
    if (seen > newest) seen = null;
  }
  for await (const entry of agent.events({ backlog: seen === null ? backlog : MAX_BACKLOG, follow }, signal)) {
    if (seen === null || entry.id > seen) yield { id: entry.id, data: entry };
  }
}
