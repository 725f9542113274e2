import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ErrorDocument } from '../../../src/domain/errors/document.ts';
import { OperationDocument } from '../../../src/domain/operation.ts';
import { fakeAgent } from '../../fakes/agent.ts';
import { eventually } from '../../support/eventually.ts';
import { type CliLab, cliLab, runOn, testHost } from '../../support/machine/cli.ts';
import {
  aHealthDocument,
  anInstallProgress,
  anInstanceDocument,
  anOperationDocument,
  aReadyDocument,
} from '../../support/machine/documents.ts';

let lab: CliLab;
beforeEach(async () => {
  lab = await cliLab();
});
afterEach(() => lab.close());

const done = {
  state: 'succeeded' as const,
  message: 'release r2 is in place after 3.1 s',
  progress: 1,
  finishedAt: '2026-11-21T12:00:00.000Z',
};
const failed = {
  state: 'failed' as const,
  message: 'no such branch',
  error: { code: 'BRANCH_NOT_FOUND', message: 'the repository has no branch "x"', help: 'check the branch name', retryable: false },
};

describe('long verbs', () => {
  it('follow the operation to its end: progress on stderr, the result on stdout', async () => {
    const agent = fakeAgent();
    await lab.serve(agent);
    const host = testHost({ root: lab.root });
    const run = runOn(host, 'install');
    await eventually('it follows', () => agent.followers === 1);
    agent.change('install-1', { install: anInstallProgress('packs'), progress: 0.42 });
    await eventually('the step is shown', () => host.err().includes('step 3 of 10, packs'));
    agent.change('install-1', done);
    const { code, stdout, stderr } = await run;
    expect(code).toBe(0);
    expect(stdout).toContain('release r2 is in place after 3.1 s\n');
    expect(stdout).not.toContain('step 3 of 10');
    expect(stderr).toContain('pack ComfyUI-Two: fetching');
    expect(host.listeners()).toBe(0);
  });

  it('fail with the reason, the remedy and the exit code of the operation', async () => {
    const agent = fakeAgent();
    await lab.serve(agent);
    const text = runOn(testHost({ root: lab.root }), 'install');
    await eventually('it follows', () => agent.followers === 1);
    agent.change('install-1', failed);
    expect(await text).toMatchObject({ code: 1, stdout: '' });
    expect((await text).stderr).toContain('error[BRANCH_NOT_FOUND]: the repository has no branch "x"\nhelp: check the branch name\n');
  });

  it('print requirements that do not fit as one table', async () => {
    const agent = fakeAgent();
    await lab.serve(agent);
    const text = runOn(testHost({ root: lab.root }), 'install');
    await eventually('it follows', () => agent.followers === 1);
    const conflicts = [
      { pack: 'Two', line: 'numpy>=2', file: 'requirements.txt', lineNumber: 3, against: 'One numpy<2 (requirements.txt:1)' },
    ];
    const error = {
      code: 'REQUIREMENTS_UNRESOLVED',
      message: 'they do not fit',
      help: 'override',
      retryable: false,
      details: { conflicts },
    };
    agent.change('install-1', { ...failed, error });
    expect((await text).stderr).toContain(
      [
        'error[REQUIREMENTS_UNRESOLVED]: they do not fit',
        '  pack  requirement                    conflicts with',
        '  Two   numpy>=2 (requirements.txt:3)  One numpy<2 (requirements.txt:1)',
        'help: override\n',
      ].join('\n'),
    );
  });

  it('print one document with --json, also when it fails', async () => {
    const agent = fakeAgent();
    await lab.serve(agent);
    const good = runOn(testHost({ root: lab.root }), 'restart', '0', '--json');
    await eventually('it follows', () => agent.followers === 1);
    agent.change('restart-1', done);
    expect(OperationDocument.parse(JSON.parse((await good).stdout))).toMatchObject({ state: 'succeeded' });
    const bad = runOn(testHost({ root: lab.root }), 'restart', '0', '--json');
    await eventually('it follows', () => agent.followers === 1);
    agent.change('restart-2', failed);
    expect(ErrorDocument.parse(JSON.parse((await bad).stdout)).error.code).toBe('BRANCH_NOT_FOUND');
  });

  it('detach at Ctrl-C with 130, and say how to attach; calling again attaches', async () => {
    const agent = fakeAgent();
    await lab.serve(agent);
    const host = testHost({ root: lab.root });
    const first = runOn(host, 'install', '--root', lab.root);
    await eventually('it follows', () => agent.followers === 1);
    host.interrupt();
    const { code, stdout, stderr } = await first;
    expect(code).toBe(130);
    expect(stdout).toBe('');
    expect(stderr).toContain('error[INTERRUPTED]: detached');
    expect(stderr).toContain(`it goes on in the agent; \`agent install --root ${lab.root}\` attaches again`);
    await eventually('the stream is closed', () => agent.followers === 0);
    expect(agent.asked).toHaveLength(1);

    agent.change('install-1', { startedAt: new Date(Date.now() - 60_000).toISOString() });
    const again = runOn(testHost({ root: lab.root }), 'install');
    await eventually('it follows again', () => agent.followers === 1);
    agent.change('install-1', done);
    expect((await again).code).toBe(0);
    expect((await again).stderr).toContain('this was asked for before and has been running for 1m');
  });

  it('give up after --timeout with 6', async () => {
    await lab.serve(fakeAgent());
    const { code, stderr } = await lab.run(['restart', '0', '--timeout', '50ms']);
    expect(code).toBe(6);
    expect(stderr).toContain('error[TIMED_OUT]: not done within');
    expect(stderr).toContain('`agent restart 0` attaches again');
  });

  it('do not take another kind of work for theirs', async () => {
    const agent = fakeAgent();
    await lab.serve(
      fakeAgent({ startOperation: async () => anOperationDocument({ kind: 'start', target: 'instance 0' }), operations: agent.operations }),
    );
    const { code, stderr } = await lab.run(['stop', '0']);
    expect(code).toBe(5);
    expect(stderr).toContain('error[HELD]: start (instance 0) has been running for');
    expect(stderr).toContain('stop was not begun');
  });

  it('say so when the agent goes away meanwhile', async () => {
    const agent = fakeAgent();
    const api = await lab.serve(agent);
    const run = runOn(testHost({ root: lab.root }), 'restart', '0');
    await eventually('it follows', () => agent.followers === 1);
    await api.close();
    const { code, stderr } = await run;
    expect(code).toBe(4);
    expect(stderr).toContain('error[AGENT_NOT_RUNNING]');
  });

  it('work in this program when no agent runs, where Ctrl-C ends the work', async () => {
    const local = fakeAgent();
    const host = testHost({ root: lab.root, local });
    const run = runOn(host, 'install', '--no-wait');
    await eventually('it follows', () => local.followers === 1);
    host.interrupt();
    const { code, stderr } = await run;
    expect(code).toBe(130);
    expect(stderr).toContain('no agent is running: installing in this command');
    expect(stderr).toContain('what was done so far is kept; `agent install` goes on');
    expect(host.calls.map(({ call }) => call)).toEqual(['startInProcess', 'close']);
    expect(host.calls[0]?.argument).toMatchObject({ purpose: 'change' });
  });

  it('draw a bar on a terminal and clear it away', async () => {
    const agent = fakeAgent();
    await lab.serve(agent);
    const host = testHost({ root: lab.root, isTty: true });
    const run = runOn(host, 'install');
    await eventually('it follows', () => agent.followers === 1);
    agent.change('install-1', { install: anInstallProgress('packs'), progress: 0.42 });
    await eventually('the bar is drawn', () => host.err().includes('42 %'));
    agent.change('install-1', done);
    await run;
    expect(host.err()).toContain('█');
    expect(host.err().endsWith('\u001b[0J')).toBe(true);
  });
});

describe('agent wait', () => {
  it('waits for the agent, then for its word', async () => {
    let ready = false;
    const host = testHost({ root: lab.root });
    const run = runOn(host, 'wait', 'ready', '--timeout', '20s');
    await eventually('it waits for an agent', () => host.err().includes('waiting: no agent is running yet'));
    await lab.serve(fakeAgent({ ready: async () => aReadyDocument({ ready, reasons: ready ? [] : ['gpu 0: starting'] }) }));
    await eventually('it waits for instances', () => host.err().includes('waiting: gpu 0: starting'));
    ready = true;
    expect((await run).code).toBe(0);
    expect(host.listeners()).toBe(0);
  });

  it('gives up with 6 and the last reason', async () => {
    const { code, stderr } = await lab.run(['wait', 'installed', '--timeout', '10ms']);
    expect(code).toBe(6);
    expect(stderr).toContain('error[TIMED_OUT]: not installed within');
    expect(stderr).toContain('no agent is running yet');
  });

  it('does not wait for what will never be', async () => {
    await lab.serve(fakeAgent({ document: aHealthDocument({ status: 'disabled', instances: [] }) }));
    expect(await lab.run(['wait', 'ready'])).toMatchObject({ code: 5 });
  });

  it('ends at Ctrl-C', async () => {
    await lab.serve(
      fakeAgent({
        document: aHealthDocument({
          status: 'unhealthy',
          ready: false,
          instances: [anInstanceDocument(0, { ready: false, status: 'starting' })],
        }),
      }),
    );
    const host = testHost({ root: lab.root });
    const run = runOn(host, 'wait', 'healthy');
    await eventually('it waits', () => host.err().includes('waiting:'));
    host.interrupt();
    expect((await run).code).toBe(130);
  });
});

describe('agent logs -f', () => {
  it('shows lines as they come, and ends at Ctrl-C', async () => {
    const agent = fakeAgent();
    await lab.serve(agent);
    const host = testHost({ root: lab.root });
    const run = runOn(host, 'logs', '0', '-f');
    await eventually('it follows', () => agent.followers === 1);
    agent.log('1', 'not this one');
    agent.log('0', 'got prompt');
    await eventually('the line is shown', () => host.out().includes('got prompt'));
    host.interrupt();
    expect(await run).toMatchObject({ code: 130 });
    expect(host.out()).not.toContain('not this one');
  });

  it('is one JSON line each with --json, and exit 4 when the agent stops', async () => {
    const agent = fakeAgent();
    const api = await lab.serve(agent);
    const host = testHost({ root: lab.root });
    const run = runOn(host, 'logs', '-f', '-n', '0', '--json');
    await eventually('it follows', () => agent.followers === 1);
    agent.log('1', 'a');
    agent.log('agent', 'b');
    await eventually('both are shown', () => host.out().split('\n').length === 3);
    await api.close();
    expect((await run).code).toBe(4);
    expect(
      host
        .out()
        .trimEnd()
        .split('\n')
        .map((line) => JSON.parse(line)),
    ).toEqual([
      { source: '1', line: 'a' },
      { source: 'agent', line: 'b' },
    ]);
  });
});
