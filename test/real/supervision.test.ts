import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { stopAgents } from '../support/agent/agent.ts';
import { realAgentOptions, realComfyui, stubWheels } from '../support/comfyui/real.ts';
import { eventually } from '../support/eventually.ts';
import { runRow } from '../support/faults/run-row.ts';
import { openScene, type Scene } from '../support/faults/scene.ts';
import { EAGER, smallDisks, whyNot } from '../support/faults/stages.ts';
import { createPack, nodesFile } from '../support/git/pack-origins.ts';
import { HARM_PACK, realRows } from './supervision-rows.ts';

/** Rows of the fault suite on a real ComfyUI, on the CPU, one after the other on one agent. It ends with a table of times. */

const INSTALLATION_LIMIT_MS = 900_000;
const DISK_MEBIBYTES = 16;

const real = realComfyui();
const missing = real === null ? 'AGENT_REAL_COMFYUI_REPO is not set' : whyNot('smallDisks');
if (missing !== null) console.log(`skipped: ${missing}`);
const wanted = new RegExp(process.env['FAULTS'] ?? '');

describe.skipIf(missing !== null)('a fault of a real ComfyUI', () => {
  let directory: string;
  let wheels: string;
  let scene: Scene;
  const table: string[] = [];

  beforeAll(async () => {
    if (real === null) return;
    directory = await mkdtemp(join(tmpdir(), 'agent-real-'));
    wheels = await stubWheels();
    const pack = await createPack(directory, 'harm', { '__init__.py': HARM_PACK });
    const { config, ...options } = realAgentOptions(real, wheels, 2);
    const { config: diskConfig, ...disks } = await smallDisks(DISK_MEBIBYTES);
    scene = await openScene({
      ...options,
      ...disks,
      config: {
        ...config,
        ...diskConfig,
        // What a real one needs: it imports torch without a word, its first job takes seconds, and both instances share the CPUs.
        health: { ...EAGER, startupNoProgressMs: 60_000, canary: { timeoutMs: 60_000 }, hangGraceMs: 30_000, noProgressMs: 60_000 },
        pm2: { killTimeoutMs: 5_000 },
      },
      files: { 'shared/config_nodes.json': nodesFile({ name: 'Harm', url: pack.url }) },
    });
    await eventually(
      'both instances are ready',
      () => scene.health().then(({ instances }) => instances.length === 2 && instances.every(({ ready }) => ready)),
      INSTALLATION_LIMIT_MS,
    );
  });
  afterAll(async () => {
    await scene?.close();
    await stopAgents();
    for (const path of [directory, wheels]) if (path !== undefined) await rm(path, { recursive: true, force: true });
    for (const line of table) console.log(line);
  });

  it.for(realRows.filter(({ id }) => wanted.test(id)).map(({ id, fault }) => ({ id, fault })))('$id: $fault', async ({ id }) => {
    const row = realRows.find((each) => each.id === id);
    if (row === undefined) throw new Error(`no row ${id}`);
    const report = await runRow(row, scene);
    await scene.endRow();
    table.push(`${id.padEnd(32)} seen after ${report.seenMs.join(', ').padEnd(16)} ms, back after ${report.backMs} ms`);
    expect(report.error).toBeNull();
  });
});
