import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { TempRoot } from '../temp-root.ts';
import { LINK, type ZipPart, zipOf } from '../zip.ts';
import { createPack } from './pack-origins.ts';

/** The pack of test/fixtures/ways-pack in each form that packs come in, and innocent ones beside it for it to bend. */

const FIXTURE = join(import.meta.dirname, '../../fixtures/ways-pack');
export const REGISTRY = 'http://127.0.0.1:8300';

/** Of the spy, by the form in which it came. */
export const SPIES = { carried: 'a directory', cloned: 'git', fetched: 'a registry archive' } as const;
export type Spy = keyof typeof SPIES;
/** Where it ran, in this order. */
export const SITES = ['install.py', 'trial', 'import', 'node'] as const;

/** What must be known to nobody but its owner, by a name: text that is found nowhere else. */
export const CANARIES = Object.fromEntries(
  ['environment', 'token', 'closed', 'passwords', 'state', 'only'].map((name) => [name, `hush-${name}-${randomBytes(4).toString('hex')}`]),
) as Readonly<Record<'environment' | 'token' | 'closed' | 'passwords' | 'state' | 'only', string>>;

const INNOCENT = 'NODE_CLASS_MAPPINGS = {}\n';
const UP = '../'.repeat(8);
/** What the fixture plants in the place of requirements, as archives bring it themselves. */
const REQUIREMENTS: Readonly<Record<string, readonly ZipPart[]>> = {
  'a-file-outside': [{ name: 'requirements.txt', data: `./wheels-here\n-r ${UP}closed/agent.env\n` }],
  'constraints-outside': [{ name: 'requirements.txt', data: `idna\n-c ${UP}closed/agent.env\n` }],
  'the-environment': [{ name: 'requirements.txt', data: './wheels-here\n-r /proc/self/environ\n' }],
  'the-passwords': [{ name: 'requirements.txt', data: './wheels-here\n-r /etc/shadow\n' }],
  'a-link': [{ name: 'requirements.txt', data: '/closed/agent.env', mode: LINK }],
  'a-link-to-what-has-no-end': [{ name: 'requirements.txt', data: '/dev/zero', mode: LINK }],
  'a-directory': [{ name: 'requirements.txt/a', data: 'idna\n' }],
  'a-pipe': [{ name: 'requirements.txt', mode: 0o010644 }],
};
export const NEEDS = Object.keys(REQUIREMENTS);
const HELD = ['filter', 'fsmonitor', 'hooks', 'programs', 'file'];
const BENT = ['bends', 'lists', 'keeps', 'goes'];

const spySources = (): Readonly<Record<string, string>> =>
  Object.fromEntries(
    readdirSync(FIXTURE).flatMap((name) => (name.endsWith('.py') ? [[name, readFileSync(join(FIXTURE, name), 'utf8')]] : [])),
  );

/** config_nodes.json */
export const SPY_LIST = JSON.stringify({
  custom_nodes: [
    { name: 'carried', directory: '/opt/packs/carried' },
    { name: 'cloned', url: 'file:///opt/origins/cloned' },
    { name: 'fetched', registry: 'fetched' },
    ...HELD.map((name) => ({ name: `holds-${name}`, url: `file:///opt/origins/holds-${name}` })),
    ...BENT.map((name) => ({ name, directory: `/opt/packs/${name}` })),
    ...NEEDS.map((name) => ({ name: `needs-${name}`, directory: `/opt/packs/needs-${name}`, requirements: true })),
    ...NEEDS.map((name) => ({ name: `brings-${name}`, registry: `brings-${name}`, requirements: true })),
  ].map((pack) => ({ requirements: false, ...pack })),
});

/**
 * Puts them, their origins and the registry's files into a machine.
 * @param at paths of the machine as seen from here
 */
export async function putSpies(at: (path: string) => string, root: TempRoot): Promise<void> {
  const put = (path: string, data: string | Buffer): void => {
    mkdirSync(dirname(at(path)), { recursive: true });
    writeFileSync(at(path), data);
  };
  const archive = (name: string, parts: readonly ZipPart[]): void => {
    const version = { version: '1.0.0', downloadUrl: `${REGISTRY}/${name}.zip`, status: 'NodeVersionStatusActive' };
    put(`/srv/registry/nodes/${name}/versions`, JSON.stringify([version]));
    put(`/srv/registry/${name}.zip`, zipOf(parts));
  };
  const sources = spySources();
  for (const [name, text] of Object.entries(sources)) put(`/opt/packs/carried/${name}`, text);
  archive(
    'fetched',
    Object.entries(sources).map(([name, data]) => ({ name, data })),
  );
  await createPack(root.at('origins'), 'cloned', sources);
  for (const name of HELD) await createPack(root.at('origins'), `holds-${name}`, { 'a.txt': 'zero\n' });
  execFileSync('cp', ['-a', root.at('origins'), at('/opt')]);
  execFileSync('chown', ['-R', '64890:64890', at('/opt/origins')]);
  for (const name of [...BENT, ...NEEDS.map((each) => `needs-${each}`)]) put(`/opt/packs/${name}/__init__.py`, INNOCENT);
  for (const name of NEEDS) put(`/opt/packs/needs-${name}/requirements.txt`, '# none\n');
  for (const [name, parts] of Object.entries(REQUIREMENTS)) archive(`brings-${name}`, [{ name: '__init__.py', data: INNOCENT }, ...parts]);
}

/** The names of its ways: what must be refused at once, and what it lays for others to walk into. */
export const spyWays = (): { readonly refused: readonly string[]; readonly laid: readonly string[] } =>
  JSON.parse(execFileSync('python3', ['-B', join(FIXTURE, 'traps.py')], { encoding: 'utf8' }));
