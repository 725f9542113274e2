import type { Context } from './context.ts';
import type { CliHost, Selection } from './host.ts';
import { createStyle, speaksUnicode, wantsColor } from './style.ts';

/** Options that every verb takes. */
export interface GlobalValues {
  readonly json: boolean;
  readonly config: string | null;
  readonly root: string | null;
  readonly color: boolean;
  readonly quiet: boolean;
  readonly verbose: boolean;
  readonly flags: Selection['flags'];
}

/** Where a verb writes and what it was told: progress to stderr, results to stdout. */
export function createContext(host: CliHost, global: GlobalValues): Context {
  const unicode = speaksUnicode(host.environment);
  const styleFor = (isTty: boolean) => createStyle({ color: wantsColor(isTty, global.color, host.environment), unicode });
  const { json, quiet, verbose } = global;
  const root = global.root === null ? [] : [{ key: 'root', value: global.root, flag: '--root' }];
  const errorLine = (line: string): void => host.stderr.write(`${line}\n`);
  return {
    host,
    selection: { configFile: global.config, flags: [...root, ...global.flags] },
    json,
    quiet,
    verbose,
    style: styleFor(host.stdout.isTty),
    errorStyle: styleFor(host.stderr.isTty),
    commandLine: (verb) =>
      [
        'agent',
        verb,
        ...(global.config === null ? [] : ['--config', quoted(global.config)]),
        ...(global.root === null ? [] : ['--root', quoted(global.root)]),
      ].join(' '),
    print: (lines) => {
      const text = typeof lines === 'string' ? lines : lines.join('\n');
      host.stdout.write(text.endsWith('\n') || text === '' ? text : `${text}\n`);
    },
    printJson: (document) => host.stdout.write(`${JSON.stringify(document, null, 2)}\n`),
    note: (line) => {
      if (!quiet) errorLine(line);
    },
    warn: errorLine,
  };
}

const quoted = (text: string): string => (/^[\w./:@%+=,-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`);
