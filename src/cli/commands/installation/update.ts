import { AgentError } from '../../../domain/errors/errors.ts';
import { ExitCode } from '../../../domain/errors/registry.ts';
import type { Moves } from '../../../domain/installation/lock.ts';
import { withAgent } from '../../client/connect.ts';
import { runOperation } from '../../client/follow.ts';
import { type Command, isSet, numberOf, type Options, textOf } from '../../context.ts';
import { differenceLines } from '../../render/difference.ts';
import { settled, tell } from './install.ts';

/** Moves pins: the difference is told as soon as everything is resolved, before anything is installed. */
export const update: Command = (context, _args, options) => {
  const moves = movesOf(options);
  return withAgent(context, 'change', async (connection) => {
    const dryRun = isSet(options, 'dryRun');
    if (connection.isLocal && !dryRun) context.note('no agent is running: updating in this command');
    const wait = options['wait'] !== false || connection.isLocal || dryRun;
    const operation = await runOperation(
      context,
      connection,
      { kind: 'update', moves, ...(dryRun ? { dryRun } : {}) },
      { verb: typed(options), wait, timeoutMs: numberOf(options, 'timeout') },
    );
    if (context.json) context.printJson(operation);
    else if (!wait) context.print(`update was begun (${operation.id}); \`${context.commandLine(typed(options))}\` follows it`);
    else {
      context.print(differenceLines(operation.install?.difference ?? [], context));
      if (dryRun) context.print(operation.message);
      else tell(context, operation, await settled(connection.agent));
    }
    return ExitCode.done;
  });
};

function movesOf(options: Options): Moves {
  const core = options['core'];
  const named = options['pack'];
  const packs = Object.fromEntries(
    (Array.isArray(named) ? named.map(String) : []).map((text): [string, string | null] => {
      const at = text.indexOf('@');
      return at <= 0 ? [text, null] : [text.slice(0, at), text.slice(at + 1)];
    }),
  );
  const moves = {
    all: isSet(options, 'all'),
    core: core === true ? { ref: null } : textOf(options, 'core') === null ? null : { ref: textOf(options, 'core') },
    packs,
  };
  if (!moves.all && moves.core === null && Object.keys(packs).length === 0)
    throw new AgentError('USAGE', 'say what to update', {
      help: '`agent update --all`, `--core [REF]` or `--pack NAME[@REF]`; with --dry-run it only shows the difference',
    });
  return moves;
}

function typed(options: Options): string {
  const { all, core, packs } = movesOf(options);
  return [
    'update',
    ...(all ? ['--all'] : []),
    ...(core === null ? [] : ['--core', ...(core.ref === null ? [] : [core.ref])]),
    ...Object.entries(packs).map(([name, ref]) => `--pack ${name}${ref === null ? '' : `@${ref}`}`),
    ...(isSet(options, 'dryRun') ? ['--dry-run'] : []),
  ].join(' ');
}
