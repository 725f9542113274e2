import type { StatusDocument } from '../../domain/agent.ts';
import type { MachineFacts } from '../../domain/cards/gpu.ts';
import type { InstanceDocument } from '../../domain/instances/instance.ts';
import { inodesText } from '../../domain/upkeep/upkeep.ts';
import type { Style } from '../style.ts';
import { describeDuration } from './duration.ts';
import { operationLine } from './operation-line.ts';
import { type Cell, type Column, table } from './table.ts';
import { clean, hanging, plural, widthOf } from './text.ts';
import { cardName, rowReason, shortRelease, statusCell, statusText } from './words.ts';

export interface StatusScreen {
  readonly style: Style;
  /** 0: not a terminal, lines as long as they need. */
  readonly columns: number;
  /** Epoch ms: ages count from here. */
  readonly now: number;
  readonly verbose: boolean;
}

/** Newest warnings shown; more are in `agent logs agent`. */
const WARNINGS = 4;
/** Lines of a screen that a table of four cards, holds and warnings should fit. */
const FULL_SCREEN = 24;

/** The machine on one screen: the worst first, each trouble with its reason and its remedy. */
export function statusLines(status: StatusDocument, screen: StatusScreen): string[] {
  const { health } = status;
  const sections = [
    headline(status, screen),
    instanceLines(health, screen),
    troubleLines(status, screen),
    status.operations.map((operation) => `${screen.style.paint('info', 'running')}  ${operationLine(operation, screen.style, screen.now)}`),
  ];
  const lines = sections.filter((section) => section.length > 0).flatMap((section, index) => (index === 0 ? section : ['', ...section]));
  const room = Math.max(2, Math.min(WARNINGS, FULL_SCREEN - lines.length - 3));
  return [...lines, ...recentLines(status, screen, screen.verbose ? status.recent.length : room)];
}

function headline(status: StatusDocument, { style, columns, now }: StatusScreen): string[] {
  const { health, agent, machine, installation } = status;
  const ready = health.status === 'disabled' ? 'ComfyUI is switched off (ENABLE_COMFYUI, comfyui.enabled)' : `${health.capacity} ready`;
  const name = style.paint('bold', clean(machine?.hostname ?? status.root));
  const left = agent.running
    ? `${name}  ${statusText(health.status, style)}  ${style.paint('bold', ready)}`
    : `${name}  ${style.paint('bad', `${style.symbols.bad} no agent is running`)}`;
  const up = agent.startedAt === null ? '' : `, up ${describeDuration(now - Date.parse(agent.startedAt))}`;
  const right = `agent ${agent.version}${up}`;
  const gap = columns > 0 ? Math.max(2, columns - widthOf(left) - widthOf(right)) : 2;
  const { installed, failed } = installation.packs;
  const packs =
    installed + failed === 0 ? '' : `, ${plural(installed, 'node pack')}${failed === 0 ? '' : style.paint('bad', `, ${failed} failed`)}`;
  const release = installation.release === null ? '' : `release ${installation.release}${packs}`;
  const room = machine === null ? null : roomText(machine);
  const place = `${status.root}${room === null ? '' : `, ${room}`}`;
  return [
    `${left}${' '.repeat(gap)}${style.paint('dim', right)}`,
    ...(agent.running
      ? []
      : hanging(
          '',
          style.paint(
            'warn',
            `no agent is running; this was true at ${status.asOf}, ${describeDuration(now - Date.parse(status.asOf))} ago: ${health.status}, ${ready}`,
          ),
          columns,
        )),
    ...hanging('', clean(installation.summary), columns),
    [release, place].filter((part) => part !== '').join('; '),
  ];
}

/** What is nearest its end: a disk without inodes takes no file, whatever space it has. */
function roomText({ diskFreeBytes, diskFreeInodes: free, diskTotalInodes: total }: MachineFacts): string | null {
  if (free === 0 && total !== null) return inodesText({ free, total });
  return diskFreeBytes === null ? null : `${Math.floor(diskFreeBytes / 1024 ** 3)} GB free`;
}

const COLUMNS: readonly Column[] = [
  { title: 'GPU', align: 'right' },
  { title: 'CARD', shrink: true },
  { title: 'STATUS' },
  { title: 'PORT', align: 'right' },
  { title: 'PID', align: 'right' },
  { title: 'RELEASE' },
  { title: 'JOBS', align: 'right' },
  { title: 'RESTARTS', align: 'right' },
];

function instanceLines({ instances, verdicts }: StatusDocument['health'], screen: StatusScreen): string[] {
  if (instances.length === 0) return [];
  const { style, columns } = screen;
  const rows = instances.map((instance): Cell[] => [
    String(instance.gpu),
    cardName(instance.gpuName),
    statusCell(instance.status, style),
    instance.port === null ? '-' : String(instance.port),
    instance.pid === null ? '-' : String(instance.pid),
    shortRelease(instance.release),
    jobs(instance),
    restarts(instance, style),
  ]);
  const [title = '', ...lines] = table(COLUMNS, rows, { columns, ellipsis: style.symbols.ellipsis });
  // A cause in the machine is told once, below.
  const ofMachine = verdicts.some(({ fault }) => fault === 'cuda-unavailable');
  return [style.paint('dim', title), ...lines.flatMap((line, index) => [line, ...below(instances[index], ofMachine, screen)])];
}

/** Running, and waiting behind it: `1+3`. */
const jobs = ({ queue }: InstanceDocument): string =>
  queue === null ? '-' : queue.pending === 0 ? String(queue.running) : `${queue.running}+${queue.pending}`;

const restarts = ({ restarts: { total, inWindow } }: InstanceDocument, style: Style): Cell =>
  inWindow === 0 ? String(total) : { text: `${total} (${inWindow} new)`, paint: (text) => style.paint('warn', text) };

/** What there is to say about one instance, below its row. */
function below(instance: InstanceDocument | undefined, ofMachine: boolean, { style, columns, verbose }: StatusScreen): string[] {
  if (instance === undefined || (ofMachine && !instance.ready && !verbose)) return [];
  const indent = `     ${style.symbols.arrow} `;
  const faults = instance.verdicts.map(({ reason: text, next }) => clean(`${text}; ${next}`));
  const isTold = (text: string): boolean => instance.verdicts.some((verdict) => clean(verdict.reason) === text);
  // What the installation lacks is the same for all and told once.
  const layerReason = instance.layers.installation.status === 'pass' ? rowReason(instance, ['runtime', 'functional']) : null;
  const reason = layerReason === null || isTold(layerReason) ? null : layerReason;
  const texts = [
    ...faults,
    ...(reason === null ? [] : [reason]),
    ...(instance.cordoned ? [`cordoned: it takes no new jobs until \`agent uncordon ${instance.gpu}\``] : []),
    ...instance.warnings.map(clean),
    ...(instance.restarts.lastReason !== null && (instance.restarts.inWindow > 0 || verbose) && reason === null
      ? [`last ended with ${clean(instance.restarts.lastReason)}`]
      : []),
    ...(verbose && instance.url !== null ? [`${instance.url}  ${instance.uuid ?? 'no card'}`] : []),
  ];
  return texts.flatMap((text) => hanging(indent, text, columns));
}

/** Holds with their remedies, then everything else that keeps the machine from being whole. */
function troubleLines({ health, installation }: StatusDocument, { style, columns, now, verbose }: StatusScreen): string[] {
  const lines: string[] = [];
  const cause = health.verdicts.some(({ fault }) => fault === 'cuda-unavailable');
  for (const hold of health.holds) {
    if (cause && hold.code === 'QUARANTINED' && !verbose) continue;
    const label = `${style.paint('warn', 'held')}  ${style.paint('bold', hold.target)}: `;
    lines.push(...hanging(label, `${clean(hold.reason)} (${hold.code}, ${describeDuration(now - Date.parse(hold.since))})`, columns));
    lines.push(...hanging(`      ${style.symbols.arrow} `, clean(hold.help), columns));
  }
  for (const verdict of health.verdicts) {
    lines.push(
      ...hanging(
        `${style.paint('bad', 'fault')}  `,
        `${clean(verdict.reason)} (${describeDuration(now - Date.parse(verdict.since))})`,
        columns,
      ),
    );
    lines.push(...hanging(`       ${style.symbols.arrow} `, clean(verdict.next), columns));
  }
  const heldReasons = new Set(health.holds.map((hold) => `${hold.target}: ${hold.reason}`));
  const { problem } = health.configuration;
  const isShown = (reason: string): boolean =>
    heldReasons.has(reason) ||
    health.verdicts.some((verdict) => reason.startsWith(verdict.reason)) ||
    reason === `installation: ${installation.summary}` ||
    /^gpu \d+: /.test(reason) ||
    (problem !== null && reason.includes(problem));
  const isHeld = (text: string): boolean => health.holds.some((hold) => hold.reason === text);
  if (problem !== null && !isHeld(problem))
    lines.push(...hanging(`${style.paint('bad', 'config')}  `, `${clean(problem)}; the last good configuration stays in force`, columns));
  for (const reason of new Set(health.reasons))
    if (!isShown(reason)) lines.push(...hanging(`${style.paint('warn', 'note')}  `, clean(reason), columns));
  const models = health.layers.models;
  if (models.status === 'fail' && models.reason !== null && !health.reasons.includes(models.reason))
    lines.push(...hanging(`${style.paint('warn', 'models')}  `, clean(models.reason), columns));
  return lines;
}

function recentLines({ recent }: StatusDocument, { style, columns, now }: StatusScreen, count: number): string[] {
  // The newest last, next to the prompt.
  const newest = recent
    .toSorted((a, b) => b.id - a.id)
    .slice(0, count)
    .reverse();
  if (newest.length === 0) return [];
  const lines = newest.flatMap((event) => {
    const age = `${describeDuration(now - Date.parse(event.at))} ago`.padStart(10);
    const text = `${clean(event.target)}: ${clean(event.message)}`;
    return hanging(`${style.paint('dim', age)}  `, text, columns).map((line) =>
      event.level === 'error' ? style.paint('bad', line) : line,
    );
  });
  return ['', style.paint('dim', 'LAST WARNINGS'), ...lines];
}
