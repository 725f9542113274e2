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
  for (const unit of ['comfylet-pm2.service', 'comfylet.path', 'comfylet.service']) remove(`/etc/systemd/system/${unit}`);
  for (const path of ['/etc/systemd/system/agent-test.target.wants', '/etc/comfylet', '/workspace']) remove(path);
  for (const file of ['/etc/passwd', '/etc/group']) {
    const lines = readFileSync(machine.at(file), 'utf8').split('\n');
    writeFileSync(machine.at(file), lines.filter((line) => !/^(comfylet|comfyui):/.test(line)).join('\n'));
  }
  await machine.boot();
  if (binary === undefined) {
    remove('/usr/local/bin/agent');
    return { ...machine, program: ['/opt/comfylet-test/node', '/opt/comfylet-test/dist/agent.cjs'] };
  }
  await machine.must('umount', '/usr/local/bin/agent');
  remove('/usr/local/bin/agent');
  copyFileSync(binary, machine.at('/opt/agent'));
  return { ...machine, program: ['/opt/agent'] };
}
