import { spawnSync } from 'node:child_process';
import { mkdir, readFile, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ErrorDocument } from '../../../src/domain/errors/document.ts';
import { SnapshotExport, SnapshotImport } from '../../../src/domain/installation/snapshot.ts';
import { aRelease } from '../../support/machine/builders.ts';
import { type CliLab, cliLab } from '../../support/machine/cli.ts';

const commit = 'a'.repeat(40);
const snapshot = {
  comfyui: commit,
  git_custom_nodes: { 'https://github.com/o/One': { hash: commit, disabled: false } },
  cnr_custom_nodes: {},
  pips: {},
};

describe('agent import and export', () => {
  let lab: CliLab;
  const nodes = () => join(lab.root, 'shared', 'config_nodes.json');
  beforeEach(async () => {
    lab = await cliLab();
    await writeFile(join(lab.root, 'snapshot.json'), JSON.stringify(snapshot));
  });
  afterEach(() => lab.close());

  it('import writes config_nodes.json and a configuration where there is none, and tells what was filled in', async () => {
    const { code, stdout } = await lab.run(['import', 'snapshot.json', '--json']);
    expect(code).toBe(0);
    const document = SnapshotImport.parse(JSON.parse(stdout));
    expect(document).toMatchObject({ format: 'manager', written: [nodes(), join(lab.root, 'agent.yaml')], settings: [] });
    expect(document.filledIn.length).toBeGreaterThan(1);
    expect(JSON.parse(await readFile(nodes(), 'utf8'))).toEqual({
      custom_nodes: [{ name: 'One', url: 'https://github.com/o/One', commit, recursive: true }],
    });
    expect(await readFile(join(lab.root, 'agent.yaml'), 'utf8')).toContain(`  commit: ${commit}\n`);
  });

  it('import replaces nothing without --force, and never the configuration', async () => {
    await mkdir(join(lab.root, 'shared'));
    await writeFile(nodes(), 'mine');
    await writeFile(join(lab.root, 'agent.yaml'), 'log: {}\n');
    const refused = await lab.run(['import', 'snapshot.json', '--json']);
    expect(refused.code).toBe(2);
    expect(ErrorDocument.parse(JSON.parse(refused.stdout || refused.stderr)).error).toMatchObject({
      code: 'USAGE',
      help: expect.stringMatching(/--force/),
    });
    expect(await readFile(nodes(), 'utf8')).toBe('mine');

    const forced = await lab.run(['import', 'snapshot.json', '--force']);
    expect(forced).toMatchObject({
      code: 0,
      stdout: expect.stringMatching(/1 node pack of a manager snapshot.*filled in.*add to .*commit: a{40}/s),
    });
    expect(await readFile(join(lab.root, 'agent.yaml'), 'utf8')).toBe('log: {}\n');
    expect(JSON.parse(await readFile(nodes(), 'utf8'))).toHaveProperty('custom_nodes');

    const elsewhere = await lab.run(['import', 'snapshot.json', '--output', 'other.json', '--json']);
    expect(SnapshotImport.parse(JSON.parse(elsewhere.stdout)).written).toEqual([join(lab.root, 'other.json')]);
  });

  it('says what is no snapshot', async () => {
    await writeFile(join(lab.root, 'bad.json'), '{"a":1}');
    expect(await lab.run(['import', 'bad.json'])).toMatchObject({ code: 2, stderr: expect.stringMatching(/error\[SNAPSHOT_INVALID\]/) });
    spawnSync('mkfifo', [join(lab.root, 'pipe.json')]);
    for (const name of ['none.json', 'pipe.json', '/dev/zero', '.'])
      expect(await lab.run(['import', name])).toMatchObject({ code: 1, stderr: expect.stringMatching(/error\[FILE_UNREADABLE\]/) });
  });

  it('export tells the release in place, and its file can be imported', async () => {
    expect(await lab.run(['export'])).toMatchObject({ code: 1, stderr: expect.stringMatching(/no release is installed/) });
    await mkdir(join(lab.root, 'releases', 'r1'), { recursive: true });
    const release = aRelease();
    await writeFile(
      join(lab.root, 'releases', 'r1', 'release.json'),
      JSON.stringify({ ...release, source: { ...release.source, commit } }),
    );
    await symlink(join(lab.root, 'releases', 'r1'), join(lab.root, 'current'));
    const printed = await lab.run(['export', '-q']);
    expect(printed.code).toBe(0);
    expect(JSON.parse(printed.stdout)).toMatchObject({ comfyui: commit, file_custom_nodes: [] });

    const written = await lab.run(['export', '--format', 'desktop', '--output', 'd.json', '--json']);
    expect(SnapshotExport.parse(JSON.parse(written.stdout))).toMatchObject({ format: 'desktop', file: join(lab.root, 'd.json') });
    expect(await lab.run(['import', 'd.json', '--json'])).toMatchObject({ code: 0 });
    expect((await lab.run(['export', '--output', 'd.json'])).code).toBe(2);
    expect((await lab.run(['export', '--format', 'other'])).code).toBe(2);
  });
});
