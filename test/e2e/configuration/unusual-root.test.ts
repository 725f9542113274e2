import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { newRoot, startAgent, stopAgents } from '../../support/agent/agent.ts';
import { untilHealthy } from '../../support/agent/scene.ts';
import { jobEnd, submitJob } from '../../support/faults/jobs.ts';

afterEach(stopAgents);

describe('a root with blanks and letters outside ASCII', () => {
  it.each([
    ['wörk räume', { LC_ALL: 'C', LANG: 'C' }],
    ['größe 😀 "it\'s"', { LC_ALL: 'POSIX' }],
    ['данные', {}],
  ])('%s with %j: installs, serves, finds its models, runs a job', async (name, environment) => {
    const root = join(await newRoot(), name);
    const model = join(root, 'shared/models/checkpoints/kärtchen.safetensors');
    await mkdir(join(model, '..'), { recursive: true });
    await writeFile(model, 'x');
    const agent = await startAgent({ gpus: 1, root, environment });
    await agent.untilReady([0]);
    await untilHealthy(agent);
    const { url } = await agent.instance(0);
    const models = (await (await fetch(`${url}/models/checkpoints`)).json()) as unknown;
    expect(models).toContain('kärtchen.safetensors');
    expect(await jobEnd(await submitJob(url ?? ''))).toBe('success');
    expect(await agent.cli('restart', '0')).toMatchObject({ code: 0 });
  });
});
