import { copyFileSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { aSystemdMachine, type SystemdMachine } from './machine.ts';

/** A machine with systemd on which nobody has set up an agent yet. */
export interface FreshMachine extends SystemdMachine {
  /** How the program is run there before it is installed. */
  readonly program: readonly string[];
}

export async function aFreshMachine(): Promise<FreshMachine> {
  const machine = await aSystemdMachine();
  const binary = process.env['AGENT_BINARY'];
  const remove = (path: string): void => rmSync(machine.at(path), { recursive: true, force: true });
  for (const unit of ['comfy-pm2.service', 'comfy-agent.path', 'comfy-agent.service']) remove(`/etc/systemd/system/${unit}`);
  for (const path of ['/etc/systemd/system/agent-test.target.wants', '/etc/comfy-agent', '/workspace']) remove(path);
  for (const file of ['/etc/passwd', '/etc/group']) {
    const lines = readFileSync(machine.at(file), 'utf8').split('\n');
    writeFileSync(machine.at(file), lines.filter((line) => !/^(comfy-agent|comfyui):/.test(line)).join('\n'));
  }
  await machine.boot();
  if (binary === undefined) {
    remove('/usr/local/bin/agent');
    return { ...machine, program: ['/opt/comfy-agent-test/node', '/opt/comfy-agent-test/dist/agent.cjs'] };
  }
  await machine.must('umount', '/usr/local/bin/agent');
  remove('/usr/local/bin/agent');
  copyFileSync(binary, machine.at('/opt/agent'));
  return { ...machine, program: ['/opt/agent'] };
}
