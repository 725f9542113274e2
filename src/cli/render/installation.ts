import type { InstallationDocument } from '../../domain/health/health.ts';
import type { InstallPreview } from '../../domain/installation/preview.ts';
import type { PackStatus } from '../../domain/installation/release.ts';
import type { Context } from '../context.ts';
import { stepText } from './operation-line.ts';
import { packLook } from './progress.ts';
import { pairs } from './table.ts';
import { clean, hanging, plural } from './text.ts';

type Screen = Pick<Context, 'style' | 'host' | 'verbose'>;
const columnsOf = ({ host }: Screen): number => (host.stdout.isTty ? host.stdout.columns : 0);

/** What is installed, and which packs have something to tell. */
export function installationLines(installation: InstallationDocument, screen: Screen): string[] {
  const { style } = screen;
  const { release, operation, packs, warnings } = installation;
  const lines = pairs([
    ['status', installation.reason === null ? installation.status : `${installation.status}: ${clean(installation.reason)}`],
    ...(installation.step !== null && operation !== null ? [['now', stepText(operation)] as const] : []),
    ...(release === null
      ? []
      : ([
          ['release', `${release.id}, made ${release.createdAt}`],
          ['ComfyUI', `${release.comfyuiVersion ?? 'of unknown version'}${release.fallback ? ' (fallback repository)' : ''}`],
          [
            'source',
            `${clean(release.repository)}${release.branch === null ? '' : ` ${clean(release.branch)}`} at ${release.commit.slice(0, 10)}`,
          ],
          ['python', `${release.pythonVersion}, torch ${release.torch ?? 'none'}`],
        ] as const)),
    ['node packs', packs.length === 0 ? 'none' : packCount(packs)],
    ...(operation === null || (installation.step === null && installation.lastError === null) ? [] : [['log', operation.logFile] as const]),
  ]);
  const telling =
    screen.verbose || installation.step !== null ? packs : packs.filter((pack) => pack.state === 'failed' || pack.warnings.length > 0);
  return [
    ...lines,
    ...telling.flatMap((pack) => packLines(pack, screen)),
    ...warnings.flatMap((warning) => hanging(`${style.paint('warn', 'warning')}  `, clean(warning), columnsOf(screen))),
  ];
}

function packCount(packs: readonly PackStatus[]): string {
  const failed = packs.filter((pack) => pack.state === 'failed').length;
  return failed === 0 ? String(packs.length) : `${packs.length}, of which ${failed} failed`;
}

function packLines(pack: PackStatus, screen: Screen): string[] {
  const { style } = screen;
  const { symbol, tone } = packLook(pack.state, style);
  const head = `  ${style.paint(tone, `${symbol} ${clean(pack.name)}`)}  ${pack.state}${pack.commit === null ? '' : ` at ${pack.commit.slice(0, 10)}`}`;
  const texts = [...(pack.error === null ? [] : [pack.error]), ...pack.warnings];
  return [head, ...texts.flatMap((text) => hanging('      ', clean(text), columnsOf(screen)))];
}

/** `agent install --dry-run`. */
export function previewLines(preview: InstallPreview, screen: Screen): string[] {
  const { style } = screen;
  const columns = columnsOf(screen);
  const { source, packs, python } = preview;
  const held = preview.holds.flatMap((hold) => [
    ...hanging(`${style.paint('warn', 'held')}  `, `${clean(hold.reason)} (${hold.code})`, columns),
    ...hanging(`      ${style.symbols.arrow} `, clean(hold.help), columns),
  ]);
  if (preview.need === null && held.length > 0) return [`release ${preview.current ?? ''} stays: something is in the way`, ...held];
  if (preview.need === null) return [`nothing to do: release ${preview.current ?? ''} is already right`];
  const version = ({ branch, commit }: { readonly branch: string | null; readonly commit: string | null }): string =>
    commit?.slice(0, 10) ?? branch ?? 'default branch';
  return [
    `a new release would be built: ${clean(preview.need)}`,
    ...pairs([
      ['in place', preview.current ?? 'nothing'],
      ...(source === null
        ? []
        : [
            [
              'source',
              `${clean(source.repository)}, ${version(source)}${source.fallbackRepository === null ? '' : `; fallback ${clean(source.fallbackRepository)}`}`,
            ] as const,
          ]),
      ...(python === null ? [] : [['python', `${python.version ?? python.interpreter ?? 'python3'}, torch ${python.torch}`] as const]),
      ['node packs', packs.length === 0 ? 'none' : plural(packs.length, 'pack')],
    ]),
    ...packs.map((pack) => `  ${clean(pack.name)}  ${clean(pack.url)}${pack.source === undefined ? `, ${version(pack)}` : ''}`),
    ...preview.warnings.flatMap((warning) => hanging(`${style.paint('warn', 'warning')}  `, clean(warning), columns)),
    ...held,
    style.paint('dim', 'nothing was changed (--dry-run)'),
  ];
}
