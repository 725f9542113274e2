import type { HealthDocument, ModelStatus, ModelsDocument } from '../../domain/health/health.ts';
import type { InstanceDocument, LayerHealth } from '../../domain/instances/instance.ts';
import type { Context } from '../context.ts';
import { describeBytes } from './duration.ts';
import { table } from './table.ts';
import { clean, hanging, padEnd, plural } from './text.ts';
import { layerCell, statusText } from './words.ts';

type Screen = Pick<Context, 'style' | 'host'>;
const columnsOf = ({ host }: Screen): number => (host.stdout.isTty ? host.stdout.columns : 0);

const LAYERS = ['installation', 'runtime', 'functional', 'models'] as const;
const LAYER_WIDTH = 14;

/** All layers of the machine, then why it is not whole. */
export function healthLines(health: HealthDocument, screen: Screen): string[] {
  const { style } = screen;
  const columns = columnsOf(screen);
  return [
    `${statusText(health.status, style)}  ${health.capacity} ready`,
    ...layerLines(health.layers, screen),
    ...health.reasons.flatMap((reason) => hanging(`  ${style.symbols.arrow} `, clean(reason), columns)),
    ...(health.configuration.problem === null
      ? []
      : hanging(`${style.paint('bad', 'config')}  `, clean(health.configuration.problem), columns)),
  ];
}

function layerLines(layers: Readonly<Record<(typeof LAYERS)[number], LayerHealth>>, screen: Screen): string[] {
  return LAYERS.flatMap((name) => {
    const { status, reason } = layers[name];
    const cell = layerCell(status, screen.style);
    const label = `  ${padEnd(name, LAYER_WIDTH)}${cell.paint(cell.text)}`;
    return reason === null
      ? [label]
      : hanging(`  ${padEnd(name, LAYER_WIDTH)}${cell.paint(padEnd(cell.text, 9))}`, clean(reason), columnsOf(screen));
  });
}

/** One instance with everything that is known of it. */
export function instanceDetail(instance: InstanceDocument, screen: Screen): string[] {
  const { style } = screen;
  const columns = columnsOf(screen);
  const { total, inWindow, lastReason } = instance.restarts;
  const facts = [
    instance.url ?? 'no port yet',
    ...(instance.pid === null ? [] : [`pid ${instance.pid}`]),
    ...(instance.queue === null ? [] : [`${instance.queue.running} jobs running, ${instance.queue.pending} waiting`]),
    ...(total === 0 ? [] : [`${plural(total, 'restart')} (${inWindow} new)${lastReason === null ? '' : `, last: ${clean(lastReason)}`}`]),
    ...(instance.cordoned ? ['cordoned'] : []),
  ].join(', ');
  return [
    `gpu ${instance.gpu}  ${statusText(instance.status, style)}  ${instance.ready ? 'ready' : 'not ready'}  ${style.paint('dim', clean(instance.gpuName))}`,
    ...hanging('  ', facts, columns),
    ...layerLines(instance.layers, screen),
    ...(instance.hold === null ? [] : hanging(`  ${style.paint('warn', 'held')}  `, clean(instance.hold), columns)),
    ...instance.verdicts.flatMap(({ reason, next, evidence }) => [
      ...hanging(`  ${style.paint('bad', 'fault')}  `, clean(`${reason}; ${next}`), columns),
      ...evidence.flatMap((line) => hanging('         ', style.paint('dim', clean(line)), columns)),
    ]),
    ...instance.warnings.flatMap((warning) => hanging(`  ${style.paint('warn', 'warning')}  `, clean(warning), columns)),
  ];
}

/** What is missing or damaged first; what is there is counted. */
export function modelsLines(models: ModelsDocument, screen: Screen): string[] {
  const { style } = screen;
  const bad = [...models.missing, ...models.corrupt];
  const head =
    models.status === 'disabled'
      ? 'ComfyUI is switched off'
      : models.required === 0
        ? 'no model is required'
        : `${models.present.length} of ${plural(models.required, 'required model')} there`;
  const reason = models.reason === null || bad.length > 0 ? [] : [clean(models.reason)];
  const row = (model: ModelStatus) => [
    { text: model.state, paint: (text: string) => style.paint('bad', text) },
    model.path,
    model.sizeBytes === null ? '-' : describeBytes(model.sizeBytes),
    model.requiredBy.join(', '),
    model.reason ?? '',
  ];
  if (bad.length === 0) return [head, ...reason];
  const columns = [
    { title: 'STATE' },
    { title: 'FILE' },
    { title: 'SIZE', align: 'right' as const },
    { title: 'ASKED FOR BY' },
    { title: 'WHY', shrink: true },
  ];
  return [head, ...reason, ...table(columns, bad.map(row), { columns: 0, ellipsis: style.symbols.ellipsis })];
}
