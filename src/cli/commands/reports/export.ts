import { open, rename, rm } from 'node:fs/promises';
import { basename, resolve } from 'node:path';
import { promisify } from 'node:util';
import { gzip } from 'node:zlib';
import type { Agent } from '../../../domain/agent.ts';
import { AgentError, asAgentError } from '../../../domain/errors/errors.ts';
import { ExitCode } from '../../../domain/errors/registry.ts';
import { createRedactor } from '../../../plan/text/redact-text.ts';
import type { Connection } from '../../client/connect.ts';
import type { Context } from '../../context.ts';
import { describeBytes } from '../../render/duration.ts';
import { createTar, type TarEntry } from './tar.ts';

const LINES = 2_000;
const EVENTS = 1_000;
/** A part that does not come in this time is left out: an archive of a sick machine must come about. */
const PART_MS = 20_000;

/** One archive for a support request: documents, journal and the ends of all logs, secrets masked. */
export async function exportArchive(context: Context, { agent }: Connection, file: string): Promise<ExitCode> {
  const redactor = createRedactor(context.host.environment);
  const path = resolve(context.host.workingDirectory, file);
  const top = basename(path).replace(/\.(tar\.gz|tgz|tar)$/, '') || 'comfylet';
  const entries: TarEntry[] = [];
  const missing: string[] = [];
  for (const [name, read] of parts(context, agent)) {
    try {
      const content = await within(read);
      entries.push({
        name: `${top.slice(0, 60)}/${name}`,
        content: name.endsWith('.json') ? redactor.json(content) : redactor.text(content),
      });
    } catch (error) {
      missing.push(`${name}: ${asAgentError(error).message}`);
    }
  }
  if (missing.length > 0) entries.push({ name: `${top.slice(0, 60)}/missing.txt`, content: redactor.text(`${missing.join('\n')}\n`) });
  const archive = await promisify(gzip)(createTar(entries, Date.now()));
  await writePrivate(path, archive);
  if (context.json) context.printJson({ file: path, sizeBytes: archive.length, entries: entries.map(({ name }) => name), missing });
  else {
    context.print(
      `${path}  (${describeBytes(archive.length)}, ${entries.length} files, secrets masked; look through it before you send it)`,
    );
    for (const line of missing) context.warn(`left out: ${line}`);
  }
  return ExitCode.done;
}

type Part = readonly [name: string, read: (signal: AbortSignal) => Promise<string>];

function parts({ host }: Context, agent: Agent): readonly Part[] {
  const json = (ask: () => Promise<unknown>) => async (): Promise<string> => `${JSON.stringify(await ask(), null, 2)}\n`;
  const log =
    (source: string) =>
    async (signal: AbortSignal): Promise<string> => {
      const lines: string[] = [];
      for await (const { line } of agent.logs({ source, lines: LINES, follow: false }, signal)) lines.push(line);
      return `${lines.join('\n')}\n`;
    };
  return [
    ['version.json', json(async () => host.version)],
    ['agent-version.json', json(() => agent.version())],
    ['status.json', json(() => agent.status())],
    ['health.json', json(() => agent.health())],
    ['installation.json', json(() => agent.installation())],
    ['models.json', json(() => agent.models())],
    ['plan.json', json(() => agent.plan())],
    ['state.json', json(() => agent.state())],
    ['gpus.json', json(() => agent.gpus())],
    ['ports.json', json(() => agent.ports())],
    ['config.json', json(() => agent.config())],
    ['operations.json', json(() => agent.operations())],
    ['doctor.json', json(() => agent.doctor())],
    ['journal.jsonl', (signal) => journal(agent, signal)],
    ['logs/agent.log', log('agent')],
    ['logs/install.log', log('install')],
    ['logs/pm2.log', log('pm2')],
    ['logs/all-instances.log', (signal) => instanceLogs(agent, signal)],
  ];
}

async function journal(agent: Agent, signal: AbortSignal): Promise<string> {
  const lines: string[] = [];
  for await (const event of agent.events({ backlog: EVENTS, follow: false }, signal)) lines.push(JSON.stringify(event));
  return `${lines.join('\n')}\n`;
}

async function instanceLogs(agent: Agent, signal: AbortSignal): Promise<string> {
  const { instances } = await agent.instances();
  const lines: string[] = [];
  for (const { gpu } of instances)
    for await (const { line } of agent.logs({ source: String(gpu), lines: LINES, follow: false }, signal))
      lines.push(`gpu${gpu} | ${line}`);
  return `${lines.join('\n')}\n`;
}

async function within(read: (signal: AbortSignal) => Promise<string>): Promise<string> {
  const abort = new AbortController();
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => {
      abort.abort();
      reject(new AgentError('TIMED_OUT', `not answered within ${PART_MS / 1_000} s`));
    }, PART_MS);
  });
  try {
    return await Promise.race([read(abort.signal), late]);
  } finally {
    clearTimeout(timer);
  }
}

/** 0600 from the first moment; whole or not there. */
async function writePrivate(path: string, content: Buffer): Promise<void> {
  const temporary = `${path}.${process.pid}.part`;
  try {
    const file = await open(temporary, 'wx', 0o600);
    try {
      await file.writeFile(content);
    } finally {
      await file.close();
    }
    await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { force: true });
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOSPC' || code === 'EDQUOT')
      throw new AgentError('DISK_FULL', `${path} could not be written: the disk is full`, { cause: error });
    throw new AgentError('COMMAND_FAILED', `${path} could not be written: ${code ?? String(error)}`, {
      help: 'name a file in a directory that you may write',
      cause: error,
    });
  }
}
