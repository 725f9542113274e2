import type { Command } from '../../context.ts';

/** `agent run`: the daemon itself. */
export const run: Command = ({ host, selection, quiet, verbose }) => {
  const flags = verbose ? [...selection.flags, { key: 'log.level', value: 'debug', flag: '--verbose' }] : selection.flags;
  return host.runDaemon({ ...selection, flags, quiet, verbose });
};
