import { readlink } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, describe, it } from 'vitest';
import type { StatusDocument } from '../../../src/domain/agent.ts';
import type { OperationDocument } from '../../../src/domain/operation.ts';
import { startAgent, stopAgents } from '../../support/agent/agent.ts';
import { healthOf } from '../../support/agent/scene.ts';
import { eventually } from '../../support/eventually.ts';

afterEach(stopAgents);

describe('a reinstall whose agent is killed', () => {
  it('is finished by the next agent, while the instance serves on', async () => {
    // Slow enough that the agent is killed in the trial start.
    const slow = { SIM_STARTUP_MS: '2000' };
    const first = await startAgent({ gpus: 1, environment: slow });
    await first.untilReady([0]);
    const release = await readlink(join(first.root, 'current'));
    const { id } = await first.json<OperationDocument>('reinstall', '--no-wait');
    await eventually('the trial start has begun', async () => {
      const { body } = await first.get(`/v1/operations/${id}`);
      return (body as OperationDocument).install?.step === 'validate';
    });
    await first.kill();

    const second = await startAgent({ gpus: 1, environment: slow, root: first.root, firstPort: first.firstPort });
    await eventually('the next agent goes on', async () => (await readlink(join(first.root, 'current'))) !== release, 30_000);
    await second.untilReady([0]);
    await eventually('nothing is left to do', async () => (await healthOf(second)).status === 'healthy', 20_000);
    await eventually('no operation runs', async () => (await second.json<StatusDocument>('status')).operations.length === 0, 20_000);
  });
});
