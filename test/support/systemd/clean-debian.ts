import { spawnSync } from 'node:child_process';
import { copyFileSync, existsSync, mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { theBinary } from '../agent/built-binary.ts';
import { spareTheKernel } from './install.ts';
import { aMachineOn, type CommandResult, type SystemdMachine, whyNoSystemd } from './machine.ts';

/**
 * A machine with nothing on it but what Debian's smallest installation and systemd bring, and beside that one directory with the
 * built binary: no Node.js, nothing of this repository. AGENT_TEST_DEBIAN names a tree that debootstrap made before.
 */
export interface CleanDebian extends SystemdMachine {
  /** `sh install.sh …` as root, in the directory of the binary. */
  install(args: readonly string[], environment?: Readonly<Record<string, string>>): Promise<CommandResult>;
  /** By apt, without what packages merely recommend. */
  addPackages(names: readonly string[]): Promise<void>;
}

/** Where an operator has copied the binary to. */
export const PLACE = '/root/comfylet';
/** All that a machine for ComfyUI needs beside Debian's smallest installation and systemd. */
export const PACKAGES = ['procps', 'python3', 'git', 'ca-certificates'] as const;
const DEBOOTSTRAP = '/usr/sbin/debootstrap';
const APT_LIMIT_MS = 300_000;
const INSTALL_LIMIT_MS = 150_000;

const finishedTree = (): string => process.env['AGENT_TEST_DEBIAN'] ?? '';

/** The suite of this machine, and where its apt gets it; null: apt does not say. */
function sourceOfApt(): { readonly suite: string; readonly mirror: string } | null {
  const release = existsSync('/etc/os-release') ? readFileSync('/etc/os-release', 'utf8') : '';
  const suite = /^VERSION_CODENAME="?([\w-]+)"?$/m.exec(release)?.[1];
  const { stdout } = spawnSync('apt-get', ['--print-uris', 'update'], { encoding: 'utf8' });
  const mirrors = [...(stdout ?? '').matchAll(/^'((?:https?|file):[^' ]+)\/dists\/([^' ]+)\/InRelease'/gm)];
  // The updates of a suite have names of their own; other repositories may call theirs alike, and have no such pool.
  const mirror = mirrors.find(([, , name]) => name === suite)?.[1];
  return suite === undefined || mirror === undefined ? null : { suite, mirror };
}

/** Why there can be no such machine here; null: there can. */
export function whyNoDebian(): string | null {
  const noSystemd = whyNoSystemd();
  if (noSystemd !== null || finishedTree() !== '') return noSystemd;
  if (!existsSync(DEBOOTSTRAP)) return 'debootstrap is not installed (Debian package debootstrap)';
  return sourceOfApt() === null ? 'the package manager of this machine names no mirror of its own Debian suite' : null;
}

export interface CleanDebianOptions {
  readonly hostNetwork?: boolean;
  /** Files and directories of this machine by where they are shown. */
  readonly shown?: Readonly<Record<string, string>>;
}

export async function aCleanDebian({ hostNetwork = false, shown = {} }: CleanDebianOptions = {}): Promise<CleanDebian> {
  const { suite, mirror } = sourceOfApt() ?? { suite: 'unknown', mirror: 'unknown' };
  const tree = finishedTree();
  console.log(tree === '' ? `debootstrap of ${suite}: this takes about a minute` : `the tree of ${tree} instead of debootstrap`);
  const began = performance.now();
  const machine = await aMachineOn({
    script: 'debian-root.sh',
    args: [
      suite,
      mirror,
      tree,
      Object.entries(shown)
        .map(([inside, outside]) => `${outside}=${inside}`)
        .join(','),
    ],
    target: 'multi-user.target',
    hostNetwork,
  });
  console.log(`the root was made in ${((performance.now() - began) / 1_000).toFixed(1)} s`);
  await spareTheKernel(machine.at, machine.write);
  mkdirSync(machine.at(PLACE));
  copyFileSync(theBinary(), machine.at(join(PLACE, 'agent')));
  return {
    ...machine,
    install: (args, environment = {}) => {
      const variables = Object.entries(environment).map(([name, value]) => `${name}=${value}`);
      return machine.run(['env', '-C', PLACE, ...variables, 'sh', 'install.sh', ...args], { limitMs: INSTALL_LIMIT_MS });
    },
    addPackages: async (names) => {
      const apt = (...words: readonly string[]): Promise<CommandResult> =>
        machine.runOnRoot(['env', 'DEBIAN_FRONTEND=noninteractive', 'apt-get', '-q', ...words], APT_LIMIT_MS);
      await apt('-o', 'Acquire::Languages=none', 'update');
      const { code, stderr } = await apt('install', '-y', '--no-install-recommends', ...names);
      if (code !== 0) throw new Error(`apt-get install ${names.join(' ')} ended with ${code}: ${stderr}`);
    },
  };
}
