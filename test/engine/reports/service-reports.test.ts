import { afterEach, describe, expect, it } from 'vitest';
import { ServiceReports } from '../../../src/engine/reports/service-reports.ts';
import { createFakeServiceManager, type FakeServiceManager } from '../../fakes/service-manager.ts';
import { aMachine, type Machine } from '../../support/machine/machine.ts';

const open: { reports: ServiceReports; machine: Machine }[] = [];
afterEach(async () => {
  for (const { reports, machine } of open.splice(0)) {
    await reports.close();
    await machine.stop();
  }
});

async function reporting(fake: FakeServiceManager): Promise<{ machine: Machine; reports: ServiceReports }> {
  const machine = await aMachine();
  const { core, world } = machine;
  const reports = new ServiceReports({ manager: fake.manager, clock: world.clock, documents: core.documents, changes: core.changes });
  open.push({ reports, machine });
  return { machine, reports };
}
const phases = ({ heard }: FakeServiceManager) => heard.flatMap(({ phase }) => phase ?? []);
const statuses = ({ heard }: FakeServiceManager) => heard.flatMap(({ status }) => status ?? []);
const signs = ({ heard }: FakeServiceManager) => heard.filter(({ alive }) => alive === true).length;

describe('what the service manager is told', () => {
  it('ready with the first status, then the status as it changes, no line twice', async () => {
    const fake = createFakeServiceManager();
    const { machine, reports } = await reporting(fake);
    await reports.start();
    expect(fake.heard[0]).toEqual({ phase: 'ready', status: 'looking at the machine' });
    await machine.start();
    await machine.until('the machine is healthy', machine.isReady);
    await machine.advance(2_000);
    const told = statuses(fake);
    expect(told[0]).toBe('looking at the machine');
    expect(told.some((status) => status.includes('2 installing'))).toBe(true);
    expect(told.at(-1)).toBe('2 of 2 instances ready');
    expect(told.filter((status, index) => status === told[index - 1])).toEqual([]);
    const count = fake.heard.length;
    await machine.advance(60_000);
    expect(fake.heard).toHaveLength(count);
  });

  it('signs of life at half the period, until the end and not after it', async () => {
    const fake = createFakeServiceManager({ watchdogMs: 30_000 });
    const { machine, reports } = await reporting(fake);
    await machine.advance(60_000);
    expect(signs(fake)).toBe(0);
    await reports.start();
    await machine.advance(45_000);
    expect(signs(fake)).toBe(3);
    await reports.stopping();
    await machine.advance(15_000);
    expect(signs(fake)).toBe(4);
    await reports.close();
    await machine.advance(60_000);
    expect(signs(fake)).toBe(4);
    expect(phases(fake)).toEqual(['ready', 'stopping']);
  });

  it('a reload is over in any case', async () => {
    const fake = createFakeServiceManager();
    const { reports } = await reporting(fake);
    await reports.start();
    const heardDuring: unknown[] = [];
    await reports.reload(async () => void heardDuring.push(...phases(fake)));
    expect(heardDuring).toEqual(['ready', 'reloading']);
    await expect(reports.reload(() => Promise.reject(new Error('unreadable')))).rejects.toThrow('unreadable');
    expect(phases(fake)).toEqual(['ready', 'reloading', 'ready', 'reloading', 'ready']);
  });
});
