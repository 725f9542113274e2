import { execFileSync } from 'node:child_process';
import { copyFileSync, realpathSync } from 'node:fs';
import { basename, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { baseEnvironment } from '../support/agent/agent.ts';
import { createSimulatorOrigin } from '../support/comfyui/simulator-origin.ts';
import { createPack } from '../support/git/pack-origins.ts';
import { uvOnPath } from '../support/python/uv.ts';
import { makeWheel } from '../support/python/wheel.ts';
import { aSystemdMachine, type SystemdMachine, whyNoSystemd } from '../support/systemd/machine.ts';
import { type TempRoot, tempRoot } from '../support/temp-root.ts';

/** An installation from git with packages, where the agent fetches and ComfyUI's user builds. */

const why = whyNoSystemd();
if (why !== null) console.log(`skipped: no systemd can be booted here: ${why}`);

const ENVIRONMENT = `COMFYUI_REPO=/opt/origins/comfyui
MOCK_GPU=1
NUM_GPUS=1
PIP_INDEX_URL=file:///opt/index
`;
const NEEDY = '/workspace/current/ComfyUI/custom_nodes/needy';

let root: TempRoot;
let machine: SystemdMachine | undefined;
let skipped: string | null = null;

describe.skipIf(why !== null)('two users and packages', { timeout: 180_000 }, () => {
  beforeAll(async () => {
    root = await tempRoot();
    const uv = await uvOnPath(root.at('uv'), baseEnvironment());
    if ('skipped' in uv) {
      skipped = uv.skipped;
      return;
    }
    await createSimulatorOrigin(root.at('origins/comfyui'));
    await createPack(root.at('origins'), 'needy', {
      '__init__.py': 'import tiny\nNODE_CLASS_MAPPINGS = {}\n',
      'requirements.txt': 'tiny==1.0\n',
      'install.py': 'import tiny, os\nopen("installed.txt", "w").write(str(os.getuid()))\n',
    });
    const wheel = await makeWheel(root.at('wheels'), { name: 'tiny', version: '1.0' });
    machine = await aSystemdMachine({
      files: {
        '/etc/comfylet/agent.env': ENVIRONMENT,
        '/workspace/shared/config_nodes.json': JSON.stringify({
          custom_nodes: [{ name: 'needy', url: 'file:///opt/origins/needy', requirements: true }],
        }),
        '/opt/index/tiny/index.html': `<!doctype html><a href="${basename(wheel)}">${basename(wheel)}</a>\n`,
      },
      owners: { '/workspace/shared': ['comfylet', 0o2775] },
    });
    copyFileSync(wheel, machine.at(`/opt/index/tiny/${basename(wheel)}`));
    copyFileSync(realpathSync(join(uv.path, 'uv')), machine.at('/usr/local/bin/uv'));
    execFileSync('cp', ['-a', root.at('origins'), machine.at('/opt')]);
    execFileSync('chown', ['-R', '64890:64890', machine.at('/opt/origins')]);
    await machine.boot();
    await machine.untilReady(1);
  });
  afterAll(async () => {
    await machine?.close();
    await root?.remove();
  });
  const ready = (skip: (reason: string) => never): SystemdMachine => machine ?? skip(skipped ?? 'no machine');
  const agent = ['env', 'AGENT_RUN_DIR=/run/comfylet', 'agent'];

  it('a pack with packages is fetched, built and loaded', async ({ skip }) => {
    const { must, get } = ready(skip);
    const { body } = await get('/health/comfyui/installation');
    expect(body).toMatchObject({ status: 'installed', packs: [{ name: 'needy', state: 'loaded', error: null, warnings: [] }] });
    expect(await must('cat', `${NEEDY}/installed.txt`)).toBe('64891');
    const owner = async (path: string) => (await must('stat', '-L', '-c', '%U %G', path)).trim();
    expect(await owner('/workspace/current/venv/bin')).toBe('comfyui comfyui');
    expect(await owner('/workspace/current/ComfyUI')).toBe('comfylet comfyui');
    expect(await must('find', '/workspace/cache', '/workspace/current/', '-user', 'root')).toBe('');
  });

  it('the installation is as it was locked, and another one builds on its caches', async ({ skip }) => {
    const { must, untilReady } = ready(skip);
    expect(await must(...agent, 'install', '--verify')).not.toContain('needy');
    await must(...agent, 'reinstall');
    await untilReady(1);
  });

  it('the user of ComfyUI cannot make git run a program as the agent', async ({ skip }) => {
    const { must, run } = ready(skip);
    const as = { user: 'comfyui' };
    for (const path of ['config', 'hooks', 'info', 'objects', '.'])
      expect((await run(['test', '-w', `${NEEDY}/.git/${path}`], as)).code, path).not.toBe(0);
    // The directory of the pack is its own, so that it can put a repository of its own there.
    const evil = [
      `cd ${NEEDY}`,
      'mv .git old-git',
      'export GIT_CONFIG_COUNT=1 GIT_CONFIG_KEY_0=safe.directory GIT_CONFIG_VALUE_0=*',
      'git init -q . && git config user.email a@b && git config user.name a',
      'git add -A && git commit -qm mine',
      `git config filter.evil.clean 'touch /workspace/shared/outputs/evil-$(id -un); cat'`,
      `printf '* filter=evil\\n' >.gitattributes`,
      'cp __init__.py fresh && mv fresh __init__.py',
    ].join(' && ');
    expect(await run(['sh', '-c', evil], as)).toMatchObject({ code: 0, stderr: '' });
    await run([...agent, 'install', '--verify']);
    expect(await must('ls', '/workspace/shared/outputs')).not.toContain('evil-comfylet');
    // It is no idle threat: whoever trusts that repository runs it.
    await run(['git', '-c', 'safe.directory=*', '-C', NEEDY, 'status'], as);
    expect(await must('ls', '/workspace/shared/outputs')).toContain('evil-comfyui');
  });
});
