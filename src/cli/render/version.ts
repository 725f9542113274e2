import type { VersionDocument } from '../../domain/agent.ts';

export const versionText = ({ agent, commit, node, pm2, licence, arch, singleFile, build }: VersionDocument): string => {
  const from = commit === null ? '' : ` (commit ${commit.slice(0, 10)}${build?.clean === false ? ' with changes' : ''})`;
  const form = singleFile ? 'single file' : build === null ? 'from source' : 'bundle';
  return `comfylet ${agent}${from}\nNode ${node}, PM2 ${pm2}; ${form}, ${arch}\n${licence}; \`agent licenses\` lists what it is made of\n`;
};
