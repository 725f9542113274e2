import { parseImportReport } from '../domain/installation/import-report.ts';
import { cannotTell, fail, type Probe, pass } from './probe.ts';

const LOG_LINES = 5_000;

/** Functional: the node packs that loaded when the release was proved load here too. Once for each incarnation. */
export const nodesProbe: Probe = {
  name: 'nodes',
  layer: 'functional',
  dueIn: (history) => (history.everPassed('http') && history.latest('nodes') === undefined ? 0 : null),
  run: async (target, { files }, signal) => {
    const lines: string[] = [];
    for await (const line of files.tail(target.logFile, { lines: LOG_LINES, follow: false }, signal)) lines.push(line);
    const report = parseImportReport(lines);
    if (report === null)
      return target.expectedPacks.length === 0 ? pass() : cannotTell('the log does not tell which node packs were loaded');
    const lost = report.failed.filter((pack) => target.expectedPacks.includes(pack.name));
    const first = lost[0];
    if (first === undefined) return pass({ loaded: report.loaded.length });
    return fail(
      `${lost.length} node pack${lost.length === 1 ? '' : 's'} loaded before and not now: ${lost.map((pack) => pack.name).join(', ')} (${first.error ?? 'see the log'})`,
    );
  },
};
