import type { VerbOption } from './verb.ts';

/** Options that every verb takes, before or after its name. */
export const GLOBAL_OPTIONS: readonly VerbOption[] = [
  { flags: '--json', about: 'results as JSON on stdout' },
  { flags: '--config <file>', about: 'configuration file', kind: 'text', completes: 'file' },
  { flags: '--root <directory>', about: 'root directory', kind: 'text', completes: 'directory' },
  { flags: '--no-color', about: 'no colours' },
  { flags: '-q, --quiet', about: 'results and errors only' },
  { flags: '-v, --verbose', about: 'more detail' },
];

export const HELP_OPTION: VerbOption = { flags: '-h, --help', about: 'show this help' };
/** Of the program, not of a verb. */
export const VERSION_OPTION: VerbOption = { flags: '-V, --version', about: 'show the version' };

export const PROGRAM_ABOUT = 'Installs ComfyUI, runs one instance per GPU, and tells the truth about their health.';
