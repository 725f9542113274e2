import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { type PredecessorLab, TORCH } from '../test/support/git/predecessor-packs.ts';

/**
 * What users have today, for bench-install.ts: the same packs from the same repositories and the same index.
 *
 * comfy-cli (1.23) is not among them. Its `comfy install` takes ComfyUI only from repositories on GitHub (it compares the URL of
 * the remote), and its `comfy node install` calls cm-cli of ComfyUI-Manager, which reads lists and archives from GitHub and
 * the registry; `--fast-deps` replaces the torch that is there by the newest of the index, which this bench leaves out.
 */

type Environment = Readonly<Record<string, string>>;

export interface PeerRun {
  readonly ms: number;
  readonly cloneMs: number;
  readonly pipMs: number;
  /** Steps that failed, in words; the peers go on, as they do. */
  readonly failures: readonly string[];
  /** torch in the environment afterwards. */
  readonly torch: string;
}

const run = (file: string, args: readonly string[], cwd: string, env: Environment): { ok: boolean; ms: number; tail: string } => {
  const began = performance.now();
  const { status, stdout, stderr } = spawnSync(file, args, { cwd, env, encoding: 'utf8', maxBuffer: 256 * 1024 * 1024 });
  return { ok: status === 0, ms: performance.now() - began, tail: `${stdout}${stderr}`.trim().split('\n').slice(-3).join(' | ') };
};

/**
 * `git clone`, `python -m venv` and `pip install -r`, pack by pack in the order of the list, as the predecessor and Salad's
 * comfyui-api do (the clone is a plain one, requirements of each pack on their own, a failure is noted and passed over).
 * torch is put in before the clock runs.
 */
export async function packByPack(lab: PredecessorLab, directory: string, environment: Environment): Promise<PeerRun> {
  await rm(directory, { recursive: true, force: true });
  await mkdir(directory, { recursive: true });
  // pip takes a link to the wheels for the stub of torch; everything else comes from the index.
  const env = { ...environment, PIP_FIND_LINKS: lab.wheels };
  const python = join(directory, 'venv/bin/python');
  const failures: string[] = [];
  let [cloneMs, pipMs] = [0, 0];
  const began = performance.now();
  const venv = run('python3', ['-m', 'venv', join(directory, 'venv')], directory, env);
  if (!venv.ok) throw new Error(`python -m venv: ${venv.tail}`);
  let outside = run(python, ['-m', 'pip', 'install', `torch==${TORCH}`], directory, env).ms;

  const clone = (url: string, place: string, more: readonly string[] = []): boolean => {
    const { ok, ms, tail } = run('git', ['clone', '--quiet', ...more, url.replace(/^git clone /, ''), place], directory, env);
    cloneMs += ms;
    if (!ok) failures.push(`git clone ${url}: ${tail}`);
    return ok;
  };
  const requirements = (place: string): void => {
    if (!existsSync(join(place, 'requirements.txt'))) return;
    const { ok, ms, tail } = run(python, ['-m', 'pip', 'install', '-r', 'requirements.txt'], place, env);
    pipMs += ms;
    if (!ok) failures.push(`pip install -r in ${place.split('/').at(-1)}: ${tail}`);
  };
  const comfy = join(directory, 'ComfyUI');
  clone(lab.core.url, comfy);
  requirements(comfy);
  for (const { recipe, entry } of lab.packs) {
    const place = join(comfy, 'custom_nodes', recipe.name);
    if (!clone(String(entry['url']), place, entry['recursive'] === true ? ['--recurse-submodules'] : [])) continue;
    if (typeof entry['commit'] === 'string') cloneMs += run('git', ['checkout', '--quiet', entry['commit']], place, env).ms;
    if (entry['requirements'] === true) requirements(place);
    if (typeof entry['custom_script'] === 'string') run('bash', ['-c', entry['custom_script']], place, env);
    if (existsSync(join(place, 'install.py'))) pipMs += run(python, ['install.py'], place, env).ms;
  }
  const ms = performance.now() - began - outside;
  outside = 0;
  return { ms, cloneMs, pipMs, failures, torch: torchOf(directory) };
}

function torchOf(directory: string): string {
  const [library = ''] = readdirSync(join(directory, 'venv/lib'));
  const found = readdirSync(join(directory, 'venv/lib', library, 'site-packages')).filter((name) => /^torch-.*\.dist-info$/.test(name));
  return found.map((name) => name.replace(/^torch-|\.dist-info$/g, '')).join(', ') || 'none';
}
