import type { LogQuery } from '../../domain/agent.ts';
import type { Layout } from '../../domain/configuration/config.ts';
import { AgentError } from '../../domain/errors/errors.ts';
import { gpuOfInstance } from '../../domain/identity.ts';
import type { LogLine } from '../../domain/journal.ts';
import { instanceLogFile } from '../../plan/instances/launch.ts';
import type { Files } from '../../ports/files.ts';

/** Lines of one log or of all, as they are and then as they come. */
export async function* readLogs(
  files: Files,
  layout: Layout,
  gpus: readonly number[],
  query: LogQuery,
  signal: AbortSignal,
): AsyncIterable<LogLine> {
  const sources = await sourcesOf(files, layout, gpus, query.source);
  const [only] = sources;
  if (sources.length === 1 && only !== undefined) {
    for await (const line of files.tail(only.path, query, signal)) yield { source: only.source, line };
    return;
  }
  if (!query.follow) {
    for (const { source, path } of sources) for await (const line of files.tail(path, query, signal)) yield { source, line };
    return;
  }
  yield* merge(sources.map(({ source, path }) => ({ source, lines: files.tail(path, query, signal)[Symbol.asyncIterator]() })));
}

interface Source {
  readonly source: string;
  readonly path: string;
}

async function sourcesOf(files: Files, layout: Layout, gpus: readonly number[], source: string): Promise<readonly Source[]> {
  const agent = { source: 'agent', path: `${layout.logs}/agent.log` };
  const pm2 = { source: 'pm2', path: `${layout.logs}/pm2.log` };
  const gpu = (index: number): Source => ({ source: `gpu${index}`, path: instanceLogFile(layout, index) });
  if (source === 'agent') return [agent];
  if (source === 'pm2') return [pm2];
  if (source === 'all') return [agent, ...gpus.map(gpu)];
  if (source === 'install') {
    const newest = (await files.list(layout.logs))
      .filter((name) => name.startsWith('install-'))
      .sort()
      .at(-1);
    if (newest === undefined) throw new AgentError('NOT_FOUND', 'there is no installation log yet');
    return [{ source: 'install', path: `${layout.logs}/${newest}` }];
  }
  const index = gpuOfInstance(source) ?? /^(?:gpu)?(\d{1,3})$/.exec(source)?.[1];
  if (index === undefined)
    throw new AgentError('USAGE', `there is no log "${source}"`, { help: 'name a GPU index, agent, install, pm2 or all' });
  return [gpu(Number(index))];
}

/** Takes whichever source has a line next. */
async function* merge(readers: readonly { readonly source: string; readonly lines: AsyncIterator<string> }[]): AsyncIterable<LogLine> {
  const next = (reader: (typeof readers)[number]) => reader.lines.next().then((result) => ({ reader, result }));
  const waiting = new Map(readers.map((reader) => [reader, next(reader)]));
  while (waiting.size > 0) {
    const { reader, result } = await Promise.race(waiting.values());
    if (result.done) {
      waiting.delete(reader);
      continue;
    }
    waiting.set(reader, next(reader));
    yield { source: reader.source, line: result.value };
  }
}
