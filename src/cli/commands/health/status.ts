import type { StatusDocument } from '../../../domain/agent.ts';
import { AgentError } from '../../../domain/errors/errors.ts';
import { ExitCode } from '../../../domain/errors/registry.ts';
import { INPUT_LIMITS } from '../../../domain/files/foreign.ts';
import { notRunning, remoteAgent } from '../../client/connect.ts';
import { locate } from '../../client/locate.ts';
import { plainText } from '../../client/plain-text.ts';
import type { Command, Context } from '../../context.ts';
import { statusLines } from '../../render/status.ts';
import { healthVerdict } from './verdict.ts';

/** `agent status`: of the running agent, else what was last written down. This path is measured: it loads little. */
export const status: Command = async (context) => {
  const { root, state, socket } = await locate(context.host, context.selection);
  const document = await ask(context, socket);
  if (document !== null) {
    show(context, document);
    return healthVerdict(document.health);
  }
  const last = lastKnown(`${state}/status.json`);
  if (last === null) throw notRunning(context, root);
  show(context, { ...last, agent: { ...last.agent, running: false, pid: null, startedAt: null, url: null }, operations: [] });
  if (!context.json) context.note(`start it with \`${context.commandLine('run')}\` or \`systemctl start comfylet\``);
  return ExitCode.noAgent;
};

async function ask(context: Context, socketPath: string): Promise<StatusDocument | null> {
  try {
    return await remoteAgent(context, socketPath).status();
  } catch (error) {
    if (error instanceof AgentError && error.code === 'AGENT_NOT_RUNNING') return null;
    throw error;
  }
}

function show(context: Context, document: StatusDocument): void {
  if (context.json) {
    context.printJson(document);
    return;
  }
  const { style, host, verbose, quiet } = context;
  const lines = statusLines(document, { style, columns: host.stdout.isTty ? host.stdout.columns : 0, now: Date.now(), verbose });
  context.print(quiet ? lines.slice(0, 1) : lines);
}

/** What the last agent on this root wrote; null when there is nothing usable. */
function lastKnown(path: string): StatusDocument | null {
  try {
    const document = JSON.parse(plainText(path, INPUT_LIMITS.record)) as Partial<StatusDocument> | null;
    return document?.health?.instances === undefined || document.agent === undefined || document.installation === undefined
      ? null
      : (document as StatusDocument);
  } catch {
    return null;
  }
}
