import { AgentError, isAgentError } from '../../../../domain/errors/errors.ts';
import { findAgent } from '../../../client/connect.ts';
import type { Context } from '../../../context.ts';
import { patience, pause } from '../../../interrupt.ts';
import { describeDuration } from '../../../render/duration.ts';

const POLL_MS = 250;

/**
 * Until the machine is healthy, or the first installation runs: that takes its time, and needs nobody to wait.
 * @returns what it came to, in words
 * @throws AgentError TIMED_OUT, INTERRUPTED
 */
export async function waitUntilUp(context: Context, timeoutMs: number): Promise<string> {
  const limit = patience(context.host, timeoutMs);
  let told = '';
  try {
    for (;;) {
      const look = await lookOnce(context);
      if (look.up !== null) return look.up;
      if (look.reason !== told) context.note(`waiting: ${look.reason}`);
      told = look.reason;
      await pause(POLL_MS, limit.signal);
      if (limit.ended === 'interrupted')
        throw new AgentError('INTERRUPTED', `interrupted while waiting: ${told}`, { help: 'the machine is set up; see `agent status`' });
      if (limit.ended === 'timeout')
        throw new AgentError('TIMED_OUT', `the agent was started, but not up within ${describeDuration(timeoutMs)}: ${told}`, {
          help: 'see `agent status`, `systemctl status comfylet` and `journalctl -u comfylet -n 50`',
        });
    }
  } finally {
    limit.dispose();
  }
}

async function lookOnce(context: Context): Promise<{ readonly up: string | null; readonly reason: string }> {
  try {
    const connection = await findAgent(context);
    if (connection === null) return { up: null, reason: 'the agent does not answer yet' };
    const health = await connection.agent.health();
    if (health.status === 'healthy' || health.status === 'disabled' || health.ready)
      return { up: `set up, ${health.status}: ${health.capacity} ready; \`agent status\` shows it`, reason: '' };
    const installation = await connection.agent.installation();
    if (installation.status === 'installing')
      return { up: 'set up; the first installation runs: `agent install` follows it, `agent status` shows it', reason: '' };
    return { up: null, reason: health.reasons[0] ?? health.status };
  } catch (error) {
    if (isAgentError(error) && (error.retryable || error.code === 'AGENT_NOT_RUNNING')) return { up: null, reason: error.message };
    throw error;
  }
}
