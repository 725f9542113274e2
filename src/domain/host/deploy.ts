import { z } from 'zod';
import { ErrorDocument } from '../errors/document.ts';

/** Putting the agent on other hosts over SSH: what was asked, and how far each host is. */

export interface DeployRequest {
  /** As ssh takes them: `user@host`, an alias of ssh_config, `ssh://user@host:port`. */
  readonly hosts: readonly string[];
  /** The single executable; null: this program. */
  readonly binary: string | null;
  /** Becomes /etc/comfylet/agent.yaml; null: what is there stays, or set-up writes one. */
  readonly configuration: string | null;
  /** Becomes /etc/comfylet/agent.env: lines NAME=value. Sent over the connection, never as an argument. */
  readonly secrets: string | null;
  /** `ssh -F`. */
  readonly sshConfig: string | null;
  readonly provider: string | null;
  /** Block volume to use; null: the only one that is free. */
  readonly device: string | null;
  /** An empty volume may be formatted. */
  readonly format: boolean;
  readonly dryRun: boolean;
  /** Hosts worked on at one time. */
  readonly parallel: number;
  /** For each host. */
  readonly timeoutMs: number;
}

export const DeployStep = z.enum(['waiting', 'connect', 'volume', 'copy', 'upgrade', 'configure', 'setup', 'health', 'done', 'failed']);
export type DeployStep = z.infer<typeof DeployStep>;

export const DeployHost = z.object({
  host: z.string(),
  step: DeployStep,
  /** What is being done, or what came of it. */
  message: z.string(),
  /** What would be done, with --dry-run. */
  plan: z.array(z.string()),
  durationMs: z.int(),
  error: ErrorDocument.shape.error.nullable(),
});
export type DeployHost = z.infer<typeof DeployHost>;

export const DeployDocument = z.object({ ok: z.boolean(), hosts: z.array(DeployHost) });
export type DeployDocument = z.infer<typeof DeployDocument>;
