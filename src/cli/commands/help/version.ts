import { ExitCode } from '../../../domain/errors/registry.ts';
import type { Command } from '../../context.ts';
import { versionText } from '../../render/version.ts';

/** Of this program; `agent status` tells when the running agent is another version. */
export const version: Command = async (context) => {
  const { host, json } = context;
  if (json) context.printJson(host.version);
  else context.print(versionText(host.version));
  return ExitCode.done;
};
