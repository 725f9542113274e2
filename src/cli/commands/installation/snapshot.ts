import { randomUUID } from 'node:crypto';
import { mkdir, readlink, rename, rm, writeFile } from 'node:fs/promises';
import { basename, dirname, resolve } from 'node:path';
import { AgentError } from '../../../domain/errors/errors.ts';
import { ExitCode } from '../../../domain/errors/registry.ts';
import { Release } from '../../../domain/installation/release.ts';
import { type SnapshotExport, SnapshotFormat, type SnapshotImport } from '../../../domain/installation/snapshot.ts';
import { exportRelease } from '../../../plan/installation/snapshot-export.ts';
import { readSnapshot, snapshotError } from '../../../plan/installation/snapshot-import.ts';
import { plainText } from '../../client/plain-text.ts';
import { type Command, type Context, isSet, textOf } from '../../context.ts';
import { clean } from '../../render/text.ts';

const MAX_BYTES = 16 * 1024 * 1024;

/** `agent import FILE`: a snapshot of others becomes config_nodes.json; nothing is installed, and nothing is written over. */
export const importSnapshot: Command = async (context, [name = ''], options) => {
  const { host, selection } = context;
  const path = resolve(host.workingDirectory, name);
  const reading = readSnapshot(textOfFile(path), name);
  if (!reading.ok) throw snapshotError(reading.problems);
  const { layout, file } = await host.readConfiguration(selection);
  const output = textOf(options, 'output');
  const target = output === null ? layout.configNodes : resolve(host.workingDirectory, output);
  const { ok: _ok, ...found } = reading;
  await write(target, `${JSON.stringify({ custom_nodes: found.packs }, null, 2)}\n`, isSet(options, 'force'));
  const written = [target];
  const settings = [
    'comfyui:',
    `  repository: ${found.comfyui.repository}`,
    ...(found.comfyui.commit === null ? [] : [`  commit: ${found.comfyui.commit}`]),
  ];
  const own = `${layout.root}/agent.yaml`;
  if (output === null && file === null && (await writeNew(own, `${settings.join('\n')}\n`))) written.push(own);
  const document: SnapshotImport = { ...found, written, settings: written.length > 1 ? [] : settings };
  if (context.json) context.printJson(document);
  else show(context, document, file ?? own);
  return ExitCode.done;
};

function show(context: Context, document: SnapshotImport, configuration: string): void {
  const { style } = context;
  const { packs, filledIn, leftOut, settings, written } = document;
  context.print(
    `${packs.length} node ${packs.length === 1 ? 'pack' : 'packs'} of a ${document.format} snapshot, written to ${written.join(' and ')}`,
  );
  for (const line of filledIn) context.print(`  ${style.paint('dim', 'filled in')}  ${clean(line)}`);
  for (const line of leftOut) context.print(`  ${style.paint('warn', 'left out')}   ${clean(line)}`);
  if (settings.length > 0) context.print([`add to ${configuration}:`, ...settings.map((line) => `  ${line}`)]);
  context.note(`next: \`${context.commandLine('install --dry-run')}\``);
}

/** `agent export --format manager|desktop`: the release in place as others record one, on stdout or into a new file. */
export const exportSnapshot: Command = async (context, _args, options) => {
  const { host, selection } = context;
  const format = SnapshotFormat.safeParse(textOf(options, 'format') ?? 'manager');
  if (!format.success)
    throw new AgentError('USAGE', `there is no format ${JSON.stringify(textOf(options, 'format'))}`, {
      help: 'write --format manager or desktop',
    });
  const { layout } = await host.readConfiguration(selection);
  const current = await readlink(layout.current).catch(() => null);
  if (current === null)
    throw new AgentError('NOT_FOUND', `no release is installed below ${layout.root}`, { help: '`agent install` builds one' });
  // The record, or its copy for those who may not look there.
  const text = textOfFile(`${layout.records}/${basename(current)}/release.json`, `${layout.current}/release.json`);
  const release = Release.parse(JSON.parse(text));
  const result = exportRelease(release, format.data, new Date().toISOString());
  const output = textOf(options, 'output');
  const file = output === null ? null : resolve(host.workingDirectory, output);
  const snapshot = `${JSON.stringify(result.snapshot, null, 2)}\n`;
  if (file !== null) await write(file, snapshot, isSet(options, 'force'));
  const document: SnapshotExport = { ...result, file };
  if (context.json) context.printJson(document);
  else {
    context.print(file ?? snapshot);
    for (const line of result.leftOut) context.note(`left out: ${clean(line)}`);
  }
  return ExitCode.done;
};

/** @param instead is read where the first one cannot be */
function textOfFile(path: string, instead?: string): string {
  try {
    return plainText(path, MAX_BYTES);
  } catch (error) {
    if (instead !== undefined) return textOfFile(instead);
    if (error instanceof AgentError) throw error;
    const { code, message } = error as NodeJS.ErrnoException;
    throw new AgentError('FILE_UNREADABLE', `${path} ${code === 'ENOENT' ? 'is not there' : `cannot be read (${code ?? message})`}`);
  }
}

/** @throws AgentError USAGE when it is there and may not be replaced */
async function write(path: string, content: string, force: boolean): Promise<void> {
  await mkdir(dirname(path), { recursive: true });
  if (!force) {
    if (await writeNew(path, content)) return;
    throw new AgentError('USAGE', `${path} is already there`, { help: 'name another with --output, or replace it with --force' });
  }
  const temporary = `${path}.${randomUUID()}`;
  try {
    await writeFile(temporary, content, { flag: 'wx' });
    await rename(temporary, path);
  } finally {
    await rm(temporary, { force: true });
  }
}

const writeNew = (path: string, content: string): Promise<boolean> =>
  writeFile(path, content, { flag: 'wx' }).then(
    () => true,
    (error: NodeJS.ErrnoException) => {
      if (error.code === 'EEXIST') return false;
      throw new AgentError('ROOT_NOT_WRITABLE', `${path} cannot be written (${error.code ?? error.message})`);
    },
  );
