import { type Config, DEFAULT_BRANCH, OFFICIAL_COMMIT } from '../../domain/configuration/config.ts';
import { redactUrl } from '../../domain/installation/git-url.ts';
import type { SourceSpec } from '../../domain/installation/release.ts';

const OFFICIAL = /github\.com[/:](comfyanonymous|Comfy-Org)\/ComfyUI(\.git)?\/?$/i;
const FORK = /github\.com[/:]stakeordie\/ComfyUI(\.git)?\/?$/i;

/** Where ComfyUI comes from: the fork gets its branch, the official repository its commit, when none is named. */
export function resolveSource(comfyui: Config['comfyui']): SourceSpec {
  const { repository, commit, branch, fallbackRepository } = comfyui;
  const unpinned = branch === null && commit === null;
  return {
    // What a release records and documents show has no credentials; git is given the URL as configured.
    repository: redactUrl(repository),
    branch: unpinned && FORK.test(repository) ? DEFAULT_BRANCH : branch,
    commit: unpinned && OFFICIAL.test(repository) ? OFFICIAL_COMMIT : commit,
    fallbackRepository: fallbackRepository === null ? null : redactUrl(fallbackRepository),
  };
}

/** The fallback is another repository, so branch and commit of the first do not apply to it; its own defaults do. */
export const fallbackSource = (comfyui: Config['comfyui']): SourceSpec | null =>
  comfyui.fallbackRepository === null
    ? null
    : resolveSource({ ...comfyui, repository: comfyui.fallbackRepository, branch: null, commit: null, fallbackRepository: null });
