import type { Agent, LogQuery } from '../../../domain/agent.ts';
import { AgentError } from '../../../domain/errors/errors.ts';
import { ExitCode } from '../../../domain/errors/registry.ts';
import type { LogLine } from '../../../domain/journal.ts';
import { type Connection, withAgent } from '../../client/connect.ts';
import { type Command, type Context, isSet, numberOf, textOf } from '../../context.ts';
import { readGpus } from '../../grammar/gpu-arguments.ts';
import { patience } from '../../interrupt.ts';
import { parseMoment } from '../../render/duration.ts';
import { readableLine, sinceFilter, sourcePrefix } from '../../render/log-line.ts';

const DEFAULT_LINES = 50;

/** `agent logs [gpu|agent|install|pm2|all]`. */
export const logs: Command = (context, [source = 'all'], options) => {
  const sinceText = textOf(options, 'since');
  const since = sinceText === null ? null : parseMoment(sinceText, Date.now());
  if (sinceText !== null && since === null)
    throw new AgentError('USAGE', `--since cannot be "${sinceText}"`, {
      help: 'write 10m, 2h, or an ISO time such as 2026-11-21T12:00:00Z',
    });
  const file = textOf(options, 'export');
  return withAgent(context, 'read', async (connection) => {
    if (file !== null) {
      const { exportArchive } = await import('./export.ts');
      return exportArchive(context, connection, file);
    }
    const follow = isSet(options, 'follow');
    if (follow && connection.isLocal) context.note('no agent is running: following the files');
    const query: LogQuery = {
      source: await sourceOf(connection.agent, source),
      lines: numberOf(options, 'lines') ?? DEFAULT_LINES,
      follow,
      ...(since === null ? {} : { since }),
    };
    return follow ? followLogs(context, connection, query, since) : showLogs(context, connection.agent, query, since);
  });
};

const SOURCES = ['all', 'agent', 'install', 'pm2'];

/** `gpu0`, `comfyui-gpu0` and UUIDs are what people see elsewhere. @throws AgentError USAGE, INSTANCE_NOT_FOUND */
async function sourceOf(agent: Agent, source: string): Promise<string> {
  if (SOURCES.includes(source)) return source;
  if (!/\d/.test(source)) {
    const { nearestName } = await import('../../../plan/text/edit-distance.ts');
    const nearest = nearestName(source, SOURCES);
    throw new AgentError('USAGE', `there is no log "${source}"${nearest === null ? '' : `; did you mean ${nearest}?`}`, {
      help: 'name a GPU index, agent, install, pm2 or all',
    });
  }
  const { instances } = await agent.instances();
  const index = /^(?:comfyui-)?(?:gpu)?(\d{1,3})$/i.exec(source)?.[1];
  // Before the cards were seen, or with ComfyUI switched off, there may still be the log of an earlier time.
  if (instances.length === 0 && index !== undefined) return index;
  const [gpu] = (await readGpus(agent, [source])) ?? [];
  return String(gpu);
}

async function showLogs(context: Context, agent: Agent, query: LogQuery, since: number | null): Promise<ExitCode> {
  const isNew = sinceFilter(since);
  const lines: LogLine[] = [];
  for await (const line of agent.logs(query, new AbortController().signal)) if (isNew(line)) lines.push(line);
  if (context.json) context.printJson(lines);
  else if (lines.length === 0) context.note('no lines yet');
  else for (const line of lines) print(context, query, line);
  return ExitCode.done;
}

/** Until Ctrl-C. With --json one line each. */
async function followLogs(context: Context, { agent }: Connection, query: LogQuery, since: number | null): Promise<ExitCode> {
  const isNew = sinceFilter(since);
  const limit = patience(context.host, null);
  try {
    for await (const line of agent.logs(query, limit.signal)) {
      if (!isNew(line)) continue;
      if (context.json) context.print(JSON.stringify(line));
      else print(context, query, line);
    }
    if (limit.ended === null) context.warn('the log ended: the agent stopped');
    return limit.ended === null ? ExitCode.noAgent : ExitCode.interrupted;
  } finally {
    limit.dispose();
  }
}

function print(context: Context, { source }: LogQuery, line: LogLine): void {
  const text = readableLine(line.line, context.style, context.verbose);
  context.print(source === 'all' ? `${sourcePrefix(line.source, context.style)} ${text}` : text === '' ? '\n' : text);
}
