import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { HostAction } from '../../../src/domain/host/host.ts';
import type { OperationDocument, OperationRequest } from '../../../src/domain/operation.ts';
import { type FakeAgentOptions, fakeAgent } from '../../fakes/agent.ts';
import { createFakeHost, type FakeHost } from '../../fakes/host.ts';
import { type CliLab, cliLab } from '../../support/machine/cli.ts';
import { anInstanceDocument, anInstancesDocument, anOperationDocument } from '../../support/machine/documents.ts';

/** Moving PM2's daemon to another program, which ends every instance. */

let lab: CliLab;
let machine: FakeHost;
/** What was asked of the agent and of systemd, in order. */
let asked: string[];

beforeEach(async () => {
  lab = await cliLab();
  machine = createFakeHost();
  machine.units.set('comfylet-pm2.service', { isEnabled: true, isActive: true, needsReload: false });
  asked = [];
  const { carryOut } = machine;
  Object.assign(machine, {
    carryOut: async (action: HostAction) => {
      if (action.do === 'restart') asked.push(`restart ${action.units.join(' ')}`);
      return carryOut(action);
    },
  });
});
afterEach(() => lab.close());

const serve = (fails: OperationRequest['kind'] | null = null, more: FakeAgentOptions = {}) =>
  lab.serve(
    fakeAgent({
      instances: async () =>
        anInstancesDocument({
          instances: [
            anInstanceDocument(0, { queue: { running: 1, pending: 1 } }),
            anInstanceDocument(1, { queue: { running: 0, pending: 0 } }),
            anInstanceDocument(2, { pid: null }),
          ],
        }),
      startOperation: async (request): Promise<OperationDocument> => {
        asked.push(`${request.kind} ${request.gpus?.join(',')}${request.drain === true ? ' drain' : ''}`);
        return anOperationDocument({
          kind: request.kind,
          state: request.kind === fails ? 'failed' : 'succeeded',
          error: request.kind === fails ? { code: 'INSTANCE_FAILED', message: 'it does not end', help: '', retryable: false } : null,
        });
      },
      ...more,
    }),
  );
const move = (...args: string[]) => lab.run(['upgrade', '--pm2', ...args], { machine });

describe('agent upgrade --pm2', () => {
  it('announces it with the jobs there are, lets them finish, restarts the unit, and brings back what ran', async () => {
    await serve();
    const { code, stdout, stderr } = await move();
    expect(code).toBe(0);
    expect(asked).toEqual(['stop 0,1 drain', 'restart comfylet-pm2.service', 'start 0,1']);
    expect(stderr).toMatch(
      /starts again from agent .* \(PM2 .*, Node .*\): comfyui-gpu0 \(2 jobs\), comfyui-gpu1 \(idle\) take no new jobs/,
    );
    expect(stdout).toContain('2 instances came back');
  });

  it('only announces it with --dry-run', async () => {
    await serve();
    const { code, stdout, stderr } = await move('--dry-run');
    expect([code, stdout]).toEqual([0, 'nothing was changed\n']);
    expect(stderr).toContain('comfyui-gpu0 (2 jobs)');
    expect(asked).toEqual([]);
  });

  it('is one document for programs', async () => {
    await serve();
    expect(JSON.parse((await move('--json')).stdout)).toMatchObject({ done: true, gpus: [0, 1] });
  });

  it('leaves PM2 alone and lets the instances run when they cannot be drained', async () => {
    await serve('stop');
    const { code, stderr } = await move();
    expect([code, stderr]).toEqual([1, expect.stringContaining('it does not end')]);
    expect(asked).toEqual(['stop 0,1 drain', 'start 0,1']);
  });

  it('brings the instances back when systemd does not restart the unit', async () => {
    await serve();
    Object.assign(machine, { carryOut: async () => Promise.reject(new Error('no such unit')) });
    expect((await move()).code).not.toBe(0);
    expect(asked).toEqual(['stop 0,1 drain', 'start 0,1']);
  });

  it('says how they come back where the agent is gone meanwhile', async () => {
    await serve('stop', {
      startOperation: async (request) => {
        if (request.kind === 'start') throw new Error('gone');
        return anOperationDocument({
          kind: 'stop',
          state: 'failed',
          error: { code: 'INTERNAL', message: 'the agent is stopping', help: '', retryable: false },
        });
      },
    });
    expect((await move()).stderr).toContain('`agent start 0 1` brings them back');
  });

  it('needs root, and a daemon that systemd runs', async () => {
    await serve();
    machine.set({ isRoot: false });
    expect((await move()).stderr).toMatch(/restarting PM2's daemon needs root rights[\s\S]*sudo/);
    machine.set({ isRoot: true });
    machine.units.set('comfylet-pm2.service', { isEnabled: false, isActive: false, needsReload: false });
    expect((await move()).code).toBe(2);
    expect(asked).toEqual([]);
  });
});
