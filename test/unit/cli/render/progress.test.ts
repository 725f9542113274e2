import { describe, expect, it } from 'vitest';
import type { CliOutput } from '../../../../src/cli/host.ts';
import { liveLines, liveView, plainView } from '../../../../src/cli/render/progress.ts';
import { widthOf } from '../../../../src/cli/render/text.ts';
import { createStyle } from '../../../../src/cli/style.ts';
import { at, NOW } from '../../../support/machine/builders.ts';
import { anInstallProgress, anOperationDocument, aPackStatus } from '../../../support/machine/documents.ts';

const style = createStyle({ color: false, unicode: true });
const install = (step: Parameters<typeof anInstallProgress>[0], change: Parameters<typeof anInstallProgress>[1] = {}) =>
  anOperationDocument({
    kind: 'install',
    target: 'installation',
    startedAt: at(-65_000),
    install: anInstallProgress(step, change),
    progress: change.progress ?? 0.42,
  });

function capture(columns = 0): { output: CliOutput; text: () => string } {
  let text = '';
  const write = (part: string): void => {
    text += part;
  };
  return { output: { write, isTty: columns > 0, columns }, text: () => text };
}

describe('plain progress', () => {
  it('has one line for each thing that happened, and a sign of life every 10 s', () => {
    const { output, text } = capture();
    let now = NOW;
    const view = plainView({ output, style, now: () => now });
    view.update(install('source', { packs: [aPackStatus('One', { state: 'pending' })], activity: 'a' }));
    view.update(install('source', { packs: [aPackStatus('One', { state: 'pending' })], activity: 'b' }));
    now += 2_000;
    view.update(install('packs', { packs: [aPackStatus('One', { state: 'fetching' })] }));
    view.update(install('packs', { packs: [aPackStatus('One', { state: 'failed', error: 'no such branch' })] }));
    now += 9_000;
    view.tick();
    now += 1_000;
    view.tick();
    view.tick();
    expect(text().split('\n')).toEqual([
      '  65s  step 2 of 10, source (42 %)',
      '  67s    source done in 4.0 s',
      '  67s  step 3 of 10, packs (42 %)',
      '  67s    pack One: fetching',
      '  67s    pack One: failed, no such branch',
      '  77s  install  █████░░░░░░░ 42 %  step 3 of 10, packs  (for 1m 17s, about 1m 35s left)  Receiving objects: 61 % (812/1331)',
      '',
    ]);
  });

  it('ends each step with what it took and what the caches saved', () => {
    const { output, text } = capture();
    const view = plainView({ output, style, now: () => NOW });
    view.update(install('packs'));
    const next = install('resolve');
    const steps = (next.install?.steps ?? []).map((step) =>
      step.name === 'packs' ? { ...step, durationMs: 3_240, bytes: 2_097_152, cache: { hits: 58, total: 60 } } : step,
    );
    view.update({ ...next, install: next.install === null ? null : { ...next.install, steps } });
    expect(text()).toContain('  packs done in 3.2 s, 2.0 MB received, 58 of 60 from the cache\n');
  });

  it('does not repeat a wait whose seconds only count on', () => {
    const { output, text } = capture();
    const view = plainView({ output, style, now: () => NOW });
    for (const message of [
      '0/1 done, gpu 1 starting for 0 s',
      '0/1 done, gpu 1 starting for 1 s',
      '0/1 done, gpu 1 the canary has not run yet',
    ]) {
      view.update(anOperationDocument({ message, startedAt: at(0) }));
    }
    expect(text()).toBe('   0s  0/1 done, gpu 1 starting for 0 s\n   0s  0/1 done, gpu 1 the canary has not run yet\n');
  });
});

describe('live progress', () => {
  it('shows bar, activity, and packs side by side', () => {
    expect(liveLines(install('packs'), style, NOW, 100)).toEqual([
      'install  ██████████░░░░░░░░░░░░░  42 %, step 3 of 10, packs, about 1m 35s left, 1m 5s so far, 700 MB',
      '  Receiving objects: 61 % (812/1331)',
      '  ◌ ComfyUI-One  fetched',
      '  ◌ ComfyUI-Two  fetching',
    ]);
  });

  it('leaves out what does not fit, never half of it', () => {
    expect(liveLines(install('packs'), style, NOW, 79)[0]).toBe(
      'install  ████░░░░░░  42 %, step 3 of 10, packs, about 1m 35s left, 1m 5s so far',
    );
    expect(liveLines(install('packs'), style, NOW, 60)[0]).toBe('install  ██████████░░░░░░░░░░░░░░  42 %, step 3 of 10, packs');
  });

  it('keeps to the screen: failed packs first, the rest counted', () => {
    const packs = Array.from({ length: 30 }, (_, index) =>
      aPackStatus(`Pack-${index}`, {
        state: index === 29 ? 'failed' : index < 20 ? 'installed' : 'pending',
        error: index === 29 ? 'x'.repeat(200) : null,
      }),
    );
    const lines = liveLines(install('pack-setup', { packs }), style, NOW, 79);
    expect(lines.length).toBeLessThanOrEqual(12);
    expect(lines[2]).toContain('✗ Pack-29');
    expect(lines.at(-1)).toBe('  … and 21 more; 20 of 30 node packs are done');
    for (const line of lines) expect(widthOf(line)).toBeLessThanOrEqual(79);
  });

  it('redraws in place and leaves nothing behind', () => {
    const { output, text } = capture(80);
    let now = NOW;
    const view = liveView({ output, style, now: () => now });
    view.update(install('source', { packs: [] }));
    now += 10;
    view.update(install('packs', { packs: [] }));
    const afterTwo = text();
    now += 100;
    view.update(install('packs', { packs: [] }));
    view.end();
    expect(afterTwo).not.toContain('packs');
    expect(text()).toContain('\u001b[2A\u001b[0J');
    expect(text().endsWith('\u001b[2A\u001b[0J')).toBe(true);
  });
});
