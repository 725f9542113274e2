import { describe, expect, it } from 'vitest';
import { statusLines } from '../../../../src/cli/render/status.ts';
import { widthOf } from '../../../../src/cli/render/text.ts';
import { createStyle } from '../../../../src/cli/style.ts';
import type { StatusDocument } from '../../../../src/domain/agent.ts';
import { at, aVerdict, NOW } from '../../../support/machine/builders.ts';
import {
  aDeadInstance,
  aFail,
  aHealthDocument,
  aHold,
  aJournalEvent,
  anInstallProgress,
  anInstanceDocument,
  anOperationDocument,
  anUnknown,
  RELEASE,
} from '../../../support/machine/documents.ts';
import { aStatusDocument, someMachineFacts } from '../../../support/machine/machine-documents.ts';

const show = (status: StatusDocument, options: { columns?: number; unicode?: boolean; verbose?: boolean } = {}): string =>
  statusLines(status, {
    style: createStyle({ color: false, unicode: options.unicode ?? true }),
    columns: options.columns ?? 80,
    now: NOW,
    verbose: options.verbose ?? false,
  }).join('\n');

const cards = ['NVIDIA GeForce RTX 4090', 'NVIDIA A100-SXM4-80GB', 'NVIDIA H100 80GB HBM3', 'NVIDIA RTX 6000 Ada Generation'];
const four = cards.map((gpuName, gpu) =>
  anInstanceDocument(gpu, { gpuName, release: '20261121-110000-3fb07a80', queue: { running: 1, pending: gpu } }),
);

describe('agent status', () => {
  it('a disk without inodes: its space is no comfort', () => {
    const machine = someMachineFacts({ diskFreeInodes: 0, diskTotalInodes: 2_500 });
    expect(show(aStatusDocument({ machine }))).toContain('/workspace, 0 of 2500 inodes free\n');
  });

  it('healthy: one look says so', () => {
    const status = aStatusDocument({ health: aHealthDocument({ instances: four }), recent: [] });
    expect(show(status)).toBe(`gpu-box-7  ● healthy  4/4 ready                            agent 0.1.0, up 2h 1m
ComfyUI 0.3.12, 2 node packs
release ${RELEASE}, 2 node packs; /workspace, 800 GB free

GPU  CARD                     STATUS     PORT   PID  RELEASE   JOBS  RESTARTS
  0  RTX 4090                 ● healthy  8188  4700  3fb07a80     1         0
  1  A100-SXM4-80GB           ● healthy  8189  4701  3fb07a80   1+1         0
  2  H100 80GB HBM3           ● healthy  8190  4702  3fb07a80   1+2         0
  3  RTX 6000 Ada Generation  ● healthy  8191  4703  3fb07a80   1+3         0`);
  });

  it('fits an 80x24 screen with four cards in trouble', () => {
    const instances = [
      four[0],
      aDeadInstance(1, { gpuName: cards[1] ?? '' }),
      anInstanceDocument(2, { status: 'quarantined', ready: false, pid: null, hold: 'it ended 11 times within 10 min' }),
      four[3],
    ].flatMap((each) => each ?? []);
    const health = aHealthDocument({
      status: 'degraded',
      instances,
      capacity: '2/4',
      holds: [
        aHold({
          target: 'instance 2',
          code: 'QUARANTINED',
          reason: 'it ended 11 times within 10 min',
          help: 'look at `agent logs 2`, then `agent unquarantine 2`',
        }),
      ],
      reasons: ['gpu 1: unhealthy, the process ended', 'gpu 2: it ended 11 times within 10 min'],
    });
    const recent = [1, 2, 3, 4, 5, 6].map((id) =>
      aJournalEvent(id, { at: at(-60_000 * id), level: 'warn', target: 'instance 1', message: 'ended by itself: exit signal SIGKILL' }),
    );
    const text = show(aStatusDocument({ health, recent }));
    expect(text.split('\n').length).toBeLessThanOrEqual(24);
    for (const line of text.split('\n')) expect(widthOf(line)).toBeLessThanOrEqual(80);
    expect(text).toContain('  1  A100-SXM4-80GB         ✗ unhealthy    8189     -');
    expect(text).toContain('3 (2 new)');
    expect(text).toContain('     → the process ended (signal SIGKILL); it is started again by itself, see');
    expect(text).toContain('▲ quarantined');
    expect(text).toContain(
      'held  instance 2: it ended 11 times within 10 min (QUARANTINED, 5m)\n      → look at `agent logs 2`, then `agent unquarantine 2`',
    );
    expect(text).toContain('LAST WARNINGS');
  });

  it('says a held reason once, with its remedy', () => {
    const hold = aHold();
    const instances = [
      anInstanceDocument(0),
      anInstanceDocument(1, {
        status: 'unhealthy',
        ready: false,
        pid: null,
        hold: hold.reason,
        layers: { ...anInstanceDocument(1).layers, runtime: aFail('no process: it was not started yet') },
      }),
    ];
    const text = show(aStatusDocument({ health: aHealthDocument({ status: 'degraded', instances, holds: [hold] }) }), { columns: 0 });
    expect(text.split('port 8189 is held by pid 991')).toHaveLength(2);
    expect(text).toContain('      → stop the named process, choose another port, or set ports.onConflict to next');
    expect(text).not.toContain('no process: it was not started yet');
  });

  it('tells each fault with what happens next, once', () => {
    const verdict = aVerdict({ reason: 'the worker thread is dead', next: 'it is restarted now' });
    const instance = anInstanceDocument(1, {
      status: 'unhealthy',
      ready: false,
      layers: { ...anInstanceDocument(1).layers, functional: aFail(verdict.reason) },
      verdicts: [verdict],
    });
    const machine = aVerdict({ fault: 'disk-filling', reason: 'the disk is full in 2 h', next: 'free space', since: at(-120_000) });
    const health = aHealthDocument({
      status: 'degraded',
      instances: [anInstanceDocument(0), instance],
      verdicts: [machine],
      reasons: [machine.reason, `gpu 1: ${verdict.reason}`],
    });
    const text = show(aStatusDocument({ health }), { columns: 0 });
    expect(text).toContain('     \u2192 the worker thread is dead; it is restarted now');
    expect(text.split('the worker thread is dead')).toHaveLength(2);
    expect(text).toContain('fault  the disk is full in 2 h (2m)\n       \u2192 free space');
    expect(text.split('the disk is full')).toHaveLength(2);
  });

  it('installing: progress, and no reason repeated for every card', () => {
    const install = anInstallProgress('packs');
    const layers = {
      installation: aFail('nothing is installed yet'),
      runtime: aFail('no process'),
      functional: anUnknown('waits'),
      models: anUnknown('waits'),
    };
    const instances = [0, 1].map((gpu) =>
      anInstanceDocument(gpu, { status: 'installing', ready: false, pid: null, release: null, queue: null, layers }),
    );
    const status = aStatusDocument({
      health: aHealthDocument({
        status: 'unhealthy',
        ready: false,
        instances,
        reasons: ['installation: nothing is installed yet', 'gpu 0: installing', 'gpu 1: installing'],
      }),
      installation: { status: 'installing', release: null, summary: 'nothing is installed yet', packs: { installed: 0, failed: 0 } },
      operations: [
        anOperationDocument({
          kind: 'install',
          target: 'installation',
          message: 'packs',
          install,
          progress: install.progress,
          startedAt: at(-70_000),
        }),
      ],
    });
    expect(show(status)).toContain('◌ installing');
    expect(show(status)).toContain('running  install  █████░░░░░░░ 42 %  step 3 of 10, packs  (for 1m 10s, about 1m 35s left)');
    expect(show(status).split('nothing is installed yet')).toHaveLength(2);
  });

  it('degraded: configuration, models, packs and notes each have a line', () => {
    const health = aHealthDocument({
      status: 'degraded',
      configuration: { ok: false, problem: '/workspace/agent.yaml:3: gpu.mode: found "x"; allowed: actual, mock, cpu', generation: 2 },
      layers: { ...aHealthDocument().layers, models: aFail('1 of 2 required models is not usable, first: loras/a.pt is missing') },
      reasons: [
        '4 GPUs are asked for and 2 found',
        '1 of 2 required models is not usable, first: loras/a.pt is missing',
        'gpu 0: pack X did not load',
      ],
      instances: [
        anInstanceDocument(0, { status: 'degraded', warnings: ['pack X did not load'] }),
        anInstanceDocument(1, { cordoned: true, ready: false }),
      ],
    });
    const installation = { status: 'degraded', release: RELEASE, summary: 'ComfyUI 0.3.12', packs: { installed: 3, failed: 1 } };
    const text = show(aStatusDocument({ health, installation }), { columns: 0 });
    expect(text).toContain('3 node packs, 1 failed');
    expect(text).toContain(
      'config  /workspace/agent.yaml:3: gpu.mode: found "x"; allowed: actual, mock, cpu; the last good configuration stays in force',
    );
    expect(text).toContain('note  4 GPUs are asked for and 2 found');
    expect(text.split('required models is not usable')).toHaveLength(2);
    expect(text).toContain('     → pack X did not load');
    expect(text).toContain('cordoned: it takes no new jobs until `agent uncordon 1`');
  });

  it('without an agent nothing looks alive', () => {
    const text = show(
      aStatusDocument({ agent: { running: false, version: '0.1.0', pid: null, startedAt: null, url: null }, asOf: at(-600_000) }),
      { columns: 0 },
    );
    expect(text.split('\n').slice(0, 2)).toEqual([
      'gpu-box-7  ✗ no agent is running  agent 0.1.0',
      `no agent is running; this was true at ${at(-600_000)}, 10m ago: healthy, 2/2 ready`,
    ]);
  });

  it('says that ComfyUI is switched off', () => {
    const health = aHealthDocument({ status: 'disabled', instances: [], capacity: '0/0' });
    expect(show(aStatusDocument({ health }))).toContain('○ disabled  ComfyUI is switched off');
  });

  it('falls back to ASCII', () => {
    const health = aHealthDocument({ status: 'unhealthy', instances: [anInstanceDocument(0), aDeadInstance(1)] });
    const text = show(aStatusDocument({ health }), { unicode: false });
    expect(text).toContain('* healthy');
    expect(text).toContain('x unhealthy');
    // biome-ignore lint/suspicious/noControlCharactersInRegex: plain ASCII is what is asked for
    expect(text).toMatch(/^[\x00-\x7f]*$/);
  });

  it('never passes control characters of foreign names on', () => {
    const text = show(
      aStatusDocument({
        health: aHealthDocument({
          instances: [anInstanceDocument(0, { gpuName: 'evil\u001b[2J\u0007 card', warnings: ['a\u001b]0;title\u0007b'] })],
        }),
      }),
    );
    expect(text).not.toContain('\u001b');
    expect(text).not.toContain('\u0007');
  });

  it('tells more with -v', () => {
    const text = show(aStatusDocument(), { verbose: true, columns: 0 });
    expect(text).toContain('http://127.0.0.1:8188  GPU-00000000');
  });
});
