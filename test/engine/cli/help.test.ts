import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { manPage } from '../../../src/cli/help/man.ts';
import { flow } from '../../../src/cli/help/topic.ts';
import { TOPICS } from '../../../src/cli/help/topics.ts';
import { widthOf } from '../../../src/cli/render/text.ts';
import { VERBS } from '../../../src/cli/verbs/verbs.ts';
import { errorRegistry } from '../../../src/domain/errors/registry.ts';
import { ENVIRONMENT_NAMES } from '../../../src/plan/configuration/environment-names.ts';
import { fakeAgent } from '../../fakes/agent.ts';
import { type CliLab, cliLab } from '../../support/machine/cli.ts';

let lab: CliLab;
beforeEach(async () => {
  lab = await cliLab();
});
afterEach(() => lab.close());

const visible = VERBS.filter(({ hidden }) => hidden !== true).map(({ name }) => name);

describe('agent help', () => {
  it('lists the topics', async () => {
    const { code, stdout, stderr } = await lab.run(['help']);
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    for (const { name, about } of TOPICS) expect(stdout).toMatch(new RegExp(`^  ${name} +${about.slice(0, 20)}`, 'm'));
  });

  it.each(visible)('%s is what --help says', async (verb) => {
    const help = await lab.run(['help', verb]);
    expect(help).toEqual(await lab.run([verb, '--help']));
    expect(help.code).toBe(0);
    expect(help.stdout).toContain(`Usage: agent ${verb}`);
  });

  it.each(TOPICS.map(({ name }) => name))('%s fits on a screen', async (name) => {
    const { code, stdout } = await lab.run(['help', name]);
    expect(code).toBe(0);
    expect(stdout).toContain(`${name}: `);
    const topic = stdout.slice(stdout.lastIndexOf(`${name}: ${TOPICS.find((each) => each.name === name)?.about}`));
    const lines = topic.trimEnd().split('\n');
    expect(lines.length).toBeLessThanOrEqual(45);
    expect(lines.filter((line) => widthOf(line) > 120)).toEqual([]);
  });

  it('environment names every variable, exit-codes every error code', async () => {
    const environment = (await lab.run(['help', 'environment'])).stdout;
    for (const [key, name] of ENVIRONMENT_NAMES)
      expect(environment).toMatch(new RegExp(`^${key.replace('.', '\\.')} .*(\\n {10}.*)?\\b${name}\\b`, 'm'));
    const codes = (await lab.run(['help', 'exit-codes'])).stdout.split(/[^A-Z0-9_]+/);
    expect(Object.keys(errorRegistry).filter((code) => !codes.includes(code))).toEqual([]);
  });

  it('tells the paths of this machine, and goes on where the configuration is bad', async () => {
    expect((await lab.run(['help', 'files'])).stdout).toContain(`${lab.root}/run/agent.sock`);
    const bad = await lab.run(['help', 'files', '--config', '/missing.yaml']);
    expect(bad).toMatchObject({ code: 0, stderr: '' });
    expect(bad.stdout).toContain('/missing.yaml');
  });

  it.each(['PORT_HELD', 'port-held'])('%s explains the error code', async (name) => {
    const { code, stdout } = await lab.run(['help', name]);
    expect(code).toBe(0);
    expect(stdout).toContain(`PORT_HELD: ${errorRegistry.PORT_HELD.meaning}`);
    expect(stdout).toContain(errorRegistry.PORT_HELD.help);
    expect(stdout).toMatch(/exit code +5 \(held\)/);
  });

  it.each([
    ['exit-code', 'did you mean `agent help exit-codes`?'],
    ['statsu', 'did you mean `agent help status`?'],
    ['xyzzy', '`agent help` lists the topics'],
  ])('%s is no name', async (name, help) => {
    const { code, stdout, stderr } = await lab.run(['help', name]);
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' });
    expect(stderr).toContain(help);
  });

  it('--man is the manual page, of all verbs and topics', async () => {
    const { code, stdout } = await lab.run(['help', '--man']);
    expect({ code, stdout }).toEqual({ code: 0, stdout: manPage(VERBS) });
    for (const verb of visible) expect(stdout).toContain(`\\fBagent ${verb}\\fR`);
    expect(stdout).not.toContain('__complete');
  });
});

describe('the text of a topic', () => {
  it('fills paragraphs, and keeps tables', () => {
    expect(flow(['one two', 'three', '', 'key    a value that is long', '  indented'], 28)).toEqual([
      'one two three',
      '',
      'key    a value that is long',
      '  indented',
    ]);
    expect(flow(['a paragraph of some words that', 'goes on'], 20)).toEqual(['a paragraph of some', 'words that goes on']);
    expect(flow(['key     these are some words of a value'], 30)).toEqual(['key     these are some words', '        of a value']);
  });
});

describe('what completion scripts ask', () => {
  it('GPUs and releases of the running agent', async () => {
    await lab.serve(fakeAgent());
    expect(await lab.run(['__complete', 'gpus'])).toEqual({ code: 0, stdout: '0\n1\n', stderr: '' });
    expect((await lab.run(['__complete', 'releases'])).stdout).toMatch(/^\S+\n/);
  });

  it('nothing, in silence, where no agent runs, where it hangs, and where the configuration is bad', async () => {
    const nothing = { code: 0, stdout: '', stderr: '' };
    expect(await lab.run(['__complete', 'gpus'])).toEqual(nothing);
    expect(await lab.run(['__complete', 'gpus', '--config', '/missing.yaml'])).toEqual(nothing);
    const server = await lab.serve({ ...fakeAgent(), instances: () => new Promise(() => undefined) });
    const began = performance.now();
    expect(await lab.run(['__complete', 'gpus'])).toEqual(nothing);
    expect(performance.now() - began).toBeLessThan(5_000);
    await server.close();
  });

  it('is in no list of verbs', async () => {
    expect((await lab.run(['--help'])).stdout).not.toContain('__complete');
    expect((await lab.run(['__complet'])).stderr).not.toContain('__complete`');
  });
});
