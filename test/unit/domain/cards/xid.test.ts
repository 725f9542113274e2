import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { parseXid, type XidEvent } from '../../../../src/domain/cards/xid.ts';
import { condemnsCard, needsRecovery, recoveryOfXid, xidMeaning } from '../../../../src/plan/cards/xid.ts';

describe('parseXid', () => {
  it.each([
    [
      'R525 and later',
      'NVRM: Xid (PCI:0000:3b:00): 31, pid=4711, name=python3, Ch 00000008, intr 00000000. MMU Fault: ENGINE GRAPHICS',
      { pciBusId: '0000:3b:00', code: 31, pid: 4711 },
    ],
    ['R470', 'NVRM: Xid (PCI:0000:cb:00): 79, pid=1896, GPU has fallen off the bus.', { pciBusId: '0000:cb:00', code: 79, pid: 1896 }],
    [
      'an unknown process',
      "NVRM: Xid (PCI:0000:cb:00): 13, pid='<unknown>', name=<unknown>, Graphics SM Warp Exception",
      { pciBusId: '0000:cb:00', code: 13, pid: null },
    ],
    ['very old', '[ 4909.922970] NVRM: Xid (0000:01:00): 13, 0005 00000000 0000502d', { pciBusId: '0000:01:00', code: 13, pid: null }],
    [
      'a MIG device',
      'NVRM: Xid (PCI:0000:05:00 GPU-I:05): 94, pid=7194, name=python, Contained: LTC UNC error',
      { pciBusId: '0000:05:00', code: 94, pid: 7194 },
    ],
    ['pid 0: the driver itself', 'NVRM: Xid (PCI:0000:05:00): 62, pid=0, 0a0c(1e20)', { pciBusId: '0000:05:00', code: 62, pid: null }],
    ['without more', 'NVRM: Xid (PCI:0000:05:00): 999', { pciBusId: '0000:05:00', code: 999, pid: null }],
  ])('%s', (_, line, expected) => {
    const xid = parseXid(line, 5);
    expect(xid).toMatchObject({ ...expected, at: 5 });
    expect(xid?.text).toMatch(/^NVRM: Xid/);
  });

  it.each([
    ['NVRM: loading NVIDIA UNIX x86_64 Kernel Module'],
    ['NVRM: Xid (PCI:nonsense): 31, pid=1'],
    ['NVRM: Xid (PCI:0000:05:00): none'],
    ['nvidia-nvswitch1: SXid (PCI:0000:c1:00.0): 11012, Non-fatal'],
    ['usb 1-1: Product: NVRM: Xid (PCI:0000:05:00): 79, GPU has fallen off the bus.'],
    [''],
  ])('%j is another line', (line) => {
    expect(parseXid(line, 5)).toBeNull();
  });

  it('takes any text, and keeps little of a long one', () => {
    fc.assert(
      fc.property(fc.string({ maxLength: 2_000 }), (text) => {
        expect(parseXid(`NVRM: Xid (PCI:0000:05:00): 31, ${text}`, 1)?.text.length).toBeLessThanOrEqual(300);
      }),
    );
  });
});

const xid = (code: number, change: Partial<XidEvent> = {}): XidEvent => ({
  at: 1_000_000,
  pciBusId: '0000:05:00',
  code,
  pid: null,
  text: `NVRM: Xid (PCI:0000:05:00): ${code}, …`,
  ...change,
});

describe('what an Xid means', () => {
  it.each([
    [[13, 31, 43, 45, 69, 94], 'application'],
    [[46, 48, 61, 62, 64, 79, 95, 109, 119, 120, 140, 143], 'card'],
    [[63, 74, 92, 171, 0, 7, 999], 'notice'],
    [[154], 'recovery'],
  ])('%j: %s', (codes, kind) => {
    for (const code of codes) expect(xidMeaning(code)).toMatchObject({ class: kind, meaning: expect.stringMatching(/\w/) });
  });

  it('every code has a meaning', () => {
    fc.assert(fc.property(fc.integer({ min: 0, max: 99_999 }), (code) => xidMeaning(code).meaning.length > 0));
  });

  const changed = (to: string): XidEvent =>
    xid(154, { text: `NVRM: Xid (PCI:0000:05:00): 154, GPU recovery action changed from 0x0 (None) to 0x1 (${to})` });

  it.each([
    ['GPU Reset Required', 'reset', true],
    ['Node Reboot Required', 'reboot', true],
    ['Drain and Reset', 'drain-and-reset', true],
    ['Drain P2P', 'drain-peers', false],
    ['None', 'none', false],
    ['Something New', null, false],
  ])('154 to %s', (words, action, needed) => {
    expect(recoveryOfXid(changed(words))).toBe(action);
    expect(needsRecovery(recoveryOfXid(changed(words)))).toBe(needed);
    expect(condemnsCard(changed(words), [])).toBe(needed);
  });

  it('a double bit error that was contained condemns no card', () => {
    const dbe = xid(48);
    expect(condemnsCard(dbe, [dbe])).toBe(true);
    expect(condemnsCard(dbe, [dbe, xid(94, { at: dbe.at + 2_000 })])).toBe(false);
    expect(condemnsCard(dbe, [dbe, xid(94, { at: dbe.at + 3_600_000 })])).toBe(true);
    expect(condemnsCard(dbe, [dbe, xid(94), xid(95)])).toBe(true);
  });

  it.each([[13], [63], [999]])('%i condemns no card', (code) => {
    expect(condemnsCard(xid(code), [])).toBe(false);
  });
});
