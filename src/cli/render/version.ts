import type { VersionDocument } from '../../domain/agent.ts';

export const versionText = ({ agent, commit, node, pm2, licence }: VersionDocument): string =>
  `comfy-agent ${agent}${commit === null ? '' : ` (commit ${commit.slice(0, 10)})`}\nNode ${node}, PM2 ${pm2}\n${licence}\n`;
