import type { Agent, GpusDocument, ReleasesDocument } from '../../../domain/agent.ts';
import type { Gpu } from '../../../domain/cards/gpu.ts';
import { ExitCode } from '../../../domain/errors/registry.ts';
import { requireAgent, withAgent } from '../../client/connect.ts';
import type { Command, Context } from '../../context.ts';
import { describeBytes, describeDuration } from '../../render/duration.ts';
import { type Cell, type Column, table } from '../../render/table.ts';
import { clean, cut } from '../../render/text.ts';

/** Verbs that show one document as a table. */

/** A cell that must not vanish in a narrow window is not shrunk; the rest gives way. */
const show = (context: Context, columns: readonly Column[], rows: readonly (readonly Cell[])[], empty: string): void => {
  const { host, style } = context;
  if (rows.length === 0) {
    context.print(empty);
    return;
  }
  const [title = '', ...lines] = table(columns, rows, {
    columns: host.stdout.isTty ? host.stdout.columns : 0,
    ellipsis: style.symbols.ellipsis,
  });
  context.print([style.paint('dim', title), ...lines]);
};

const ofDocument =
  <T>(ask: (agent: Agent) => Promise<T>, tell: (document: T, context: Context) => void): Command =>
  (context) =>
    withAgent(context, 'read', async ({ agent }) => {
      const document = await ask(agent);
      if (context.json) context.printJson(document);
      else tell(document, context);
      return ExitCode.done;
    });

const COMMAND_WIDTH = 60;

/** The beginning names the program; the rest is for -v and --json. */
const command = (text: string | null, { verbose, style }: Context): string =>
  text === null ? 'unknown command' : verbose ? text : cut(clean(text), COMMAND_WIDTH, style.symbols.ellipsis);

const right = 'right' as const;
const bytes = (value: number | null): string => (value === null ? '-' : describeBytes(value));

/** Its slot; of a part of a card that has none "0:1", the second MIG device of card 0. */
function placeOf({ index, uuid, partOf }: Gpu, all: readonly Gpu[]): string {
  const card = all.find((gpu) => gpu.uuid === partOf);
  const position = card?.index === index ? card.migDevices.findIndex((device) => device.uuid === uuid) : -1;
  return position === -1 ? String(index) : `${index}:${position}`;
}

const showGpus = (document: GpusDocument, context: Context): void => {
  if (document.reason !== null)
    context.note(document.present === null ? `the cards could not be read: ${document.reason}` : document.reason);
  const columns = [
    { title: 'GPU', align: right },
    { title: 'NAME', shrink: true },
    { title: 'MEMORY', align: right },
    { title: 'LOAD', align: right },
    { title: 'TEMP', align: right },
    { title: 'POWER', align: right },
    { title: 'STATE' },
    { title: 'DRIVER' },
    { title: 'INSTANCE' },
    { title: 'OTHER USER' },
    { title: 'UUID' },
  ];
  const rows = document.gpus.map((gpu): Cell[] => [
    placeOf(gpu, document.gpus),
    gpu.name,
    `${bytes(gpu.memoryUsedBytes)} / ${bytes(gpu.memoryTotalBytes)}`,
    gpu.utilisationPercent === null ? '-' : `${gpu.utilisationPercent} %`,
    gpu.temperatureC === null ? '-' : `${gpu.temperatureC} C`,
    gpu.powerDrawWatts === null ? '-' : `${Math.round(gpu.powerDrawWatts)} W`,
    gpu.state === 'ok' ? 'ok' : { text: gpu.state, paint: (text) => context.style.paint('bad', text) },
    gpu.driverVersion ?? '-',
    gpu.instance ?? '-',
    gpu.owner === null ? '-' : { text: gpu.owner, paint: (text) => context.style.paint('warn', text) },
    gpu.uuid,
  ]);
  show(context, columns, rows, 'no cards');
  context.print(document.gpus.flatMap((gpu) => (gpu.note === null ? [] : [`gpu ${placeOf(gpu, document.gpus)}  ${clean(gpu.note)}`])));
};

/** `agent gpus`, and `agent gpus accept`: the present cards are all there will be. */
export const gpus: Command = (context, [what]) =>
  withAgent(context, what === undefined ? 'read' : 'change', async ({ agent }) => {
    const document = what === undefined ? await agent.gpus() : await agent.acceptGpus();
    if (context.json) context.printJson(document);
    else showGpus(document, context);
    return ExitCode.done;
  });

export const ports = ofDocument(
  (agent) => agent.ports(),
  (document, context) => {
    const columns = [
      { title: 'GPU', align: right },
      { title: 'PORT', align: right },
      { title: 'LEASE' },
      { title: 'HELD BY', shrink: true },
    ];
    const rows = document.ports.map(({ gpu, tcpPort, lease, holder, ours }): Cell[] => {
      const who =
        holder === null
          ? 'nobody'
          : holder.pid === null
            ? 'a process of another user'
            : `pid ${holder.pid} (${command(holder.command, context)})`;
      const held: Cell =
        ours === false
          ? { text: `${who}, not ours`, paint: (text) => context.style.paint('bad', text) }
          : ours === true
            ? `${who}, its instance`
            : who;
      return [
        String(gpu),
        String(tcpPort),
        lease === null ? 'first choice' : `for ${describeDuration(Date.now() - Date.parse(lease.since))}`,
        held,
      ];
    });
    show(context, columns, rows, 'no instances, so no ports');
  },
);

export const releases = ofDocument(
  (agent) => agent.releases(),
  (document, context) => {
    const columns = [
      { title: '' },
      { title: 'RELEASE' },
      { title: 'STATE', shrink: true },
      { title: 'COMFYUI' },
      { title: 'COMMIT' },
      { title: 'TORCH' },
      { title: 'PACKS', align: right },
      { title: 'SIZE', align: right },
      { title: 'MADE' },
    ];
    const rows = document.releases.map(({ id, current, release, sizeBytes, ...state }): Cell[] => [
      current ? { text: context.style.symbols.good, paint: (text) => context.style.paint('good', text) } : '',
      id,
      releaseState({ current, ...state }, context),
      release === null ? '-' : (release.comfyuiVersion ?? 'unknown'),
      release?.source.commit.slice(0, 10) ?? '-',
      release?.torch ?? '-',
      release === null ? '-' : String(release.packs.length),
      bytes(sizeBytes),
      release === null ? '-' : `${describeDuration(Date.now() - Date.parse(release.createdAt))} ago`,
    ]);
    show(context, columns, rows, 'no releases: nothing was installed yet');
  },
);

function releaseState(
  { complete, current, proved, failed }: Pick<ReleasesDocument['releases'][number], 'complete' | 'current' | 'proved' | 'failed'>,
  { style }: Context,
): Cell {
  const warn = (text: string): string => style.paint('warn', text);
  if (failed !== null) return { text: `failed: ${clean(failed.reason)}`, paint: (text) => style.paint('bad', text) };
  if (!complete) return { text: 'half built', paint: warn };
  if (!proved) return { text: current ? 'current, not proved' : 'not proved', paint: warn };
  return current ? 'current' : 'proved';
}

/** What workers are told now: only a running agent tells it. */
export const discovery: Command = async (context) => {
  const { agent } = await requireAgent(context);
  const document = await agent.discovery();
  if (context.json) context.printJson(document);
  else {
    const columns = [
      { title: 'GPU', align: right },
      { title: 'READY' },
      { title: 'URL' },
      { title: 'PROTOCOL' },
      { title: 'COMFYUI' },
      { title: 'SINCE' },
    ];
    const rows = document.instances.map((instance): Cell[] => [
      String(instance.gpu),
      { text: instance.ready ? 'yes' : 'no', paint: (text) => context.style.paint(instance.ready ? 'good' : 'warn', text) },
      instance.url,
      instance.protocol,
      instance.comfyuiVersion ?? '-',
      `${describeDuration(Date.now() - Date.parse(instance.since))} ago`,
    ]);
    context.note(`${document.machine}: ${document.capacity.ready} of ${document.capacity.wanted} ready`);
    show(context, columns, rows, 'no instances');
  }
  return ExitCode.done;
};
