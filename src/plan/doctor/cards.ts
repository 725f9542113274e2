import type { Finding } from '../../domain/doctor/doctor.ts';
import { known } from '../../domain/observed.ts';
import { foreignProcesses, foreignReason } from '../cards/guard.ts';
import { cardRemarks } from '../cards/remarks.ts';
import { chooseTorch } from '../installation/python.ts';
import { chooseCards } from '../resolve.ts';
import type { DoctorFacts } from './facts.ts';
import { cannotTell, fail, ok, warn } from './finding.ts';

/** Cards, the torch that fits them, and the ports of their instances. */

export function checkCards({ gpus, cards: seen, config, ownPids }: DoctorFacts): Finding[] {
  if (!config.comfyui.enabled) return [ok('gpu', 'ComfyUI is switched off: no card is used')];
  if (config.gpu.mode !== 'actual') return [ok('gpu', `${config.gpu.mode} mode: instances run on the CPU`)];
  if (!gpus.ok) return [fail('gpu', gpus.message, gpus.help)];
  const cards = gpus.value.gpus;
  if (!gpus.value.present)
    return [fail('gpu', 'this machine has no NVIDIA driver', 'install the driver, or run on the CPU with COMFYUI_CPU_ONLY=1')];
  if (cards.length === 0)
    return [
      fail('gpu', 'the driver lists no GPU', 'look at `nvidia-smi` and `dmesg`; in a container, pass the cards through (--gpus all)'),
    ];
  const names = new Map<string, number>();
  for (const { name } of cards) names.set(name, (names.get(name) ?? 0) + 1);
  const list = [...names].map(([name, count]) => `${count} x ${name}`).join(', ');
  const { warnings } = chooseCards(config.gpu, seen);
  const remarks = cardRemarks(known(gpus.value), seen);
  const foreign = foreignProcesses(config.gpu, known(gpus.value), ownPids.known ? ownPids.value : new Set());
  return [
    ok('gpu', `${list}, driver ${cards[0]?.driverVersion ?? 'of unknown version'}`),
    ...warnings.map((warning) => warn('gpu', warning, 'see gpu.count (NUM_GPUS) and `nvidia-smi`')),
    ...[...remarks.machine, ...[...remarks.cards].flatMap(([uuid, lines]) => lines.map((line) => `${uuid}: ${line}`))].map((words) =>
      warn('gpu', words, 'run `nvidia-smi` by hand; what it lists is used all the same'),
    ),
    ...foreign.map((each) =>
      !ownPids.known
        ? cannotTell('gpu', `${foreignReason(each)}; whether it is ours cannot be told: ${ownPids.reason}`)
        : (config.gpu.foreignProcess === 'hold' ? fail : warn)(
            'gpu',
            `${foreignReason(each)}, and is not ours`,
            'end that process, raise gpu.foreignMemoryMb, or set gpu.foreignProcess to warn',
          ),
    ),
  ];
}

/** Which torch an installation would get for this driver. */
export function checkTorch({ gpus, config }: DoctorFacts): Finding[] {
  if (!config.comfyui.enabled || config.comfyui.repository === 'simulator:') return [];
  if (config.gpu.mode === 'actual' && !gpus.ok && config.python.torch === 'auto')
    return [cannotTell('torch', 'which torch fits is known once the driver answers')];
  const first = config.gpu.mode === 'actual' && gpus.ok ? gpus.value.gpus[0] : undefined;
  const driverVersion = first?.driverVersion ?? null;
  const hasGpu = first !== undefined;
  const choice = chooseTorch({ setting: config.python.torch, driverVersion, hasGpu });
  const name = choice.pin ?? (choice.backend === null ? 'as the indexes have it' : `for ${choice.backend}`);
  if (choice.warning !== null) return [warn('torch', choice.warning, 'update the driver, or set python.torch')];
  const fitting = chooseTorch({ setting: 'auto', driverVersion, hasGpu }).backend;
  if (isNewer(choice.backend, fitting))
    return [
      fail(
        'torch',
        `python.torch asks for ${choice.backend}, but driver ${driverVersion ?? '?'} runs ${fitting} at most`,
        'set python.torch to auto, or update the driver',
      ),
    ];
  if (hasGpu && choice.backend === 'cpu')
    return [warn('torch', 'python.torch is cpu although there are cards', 'set python.torch to auto to use them')];
  return [ok('torch', `${name} (${choice.reason})`)];
}

/** cu130 against cu126. Backends of other kinds are not compared. */
function isNewer(backend: string | null, than: string | null): boolean {
  const number = (name: string | null): number | null => {
    const digits = /^cu(\d+)$/.exec(name ?? '')?.[1];
    return digits === undefined ? null : Number(digits);
  };
  const [a, b] = [number(backend), number(than)];
  return a !== null && b !== null && a > b;
}

export function checkPorts({ config, cards: seen, portHolders, ownPids, agentPid }: DoctorFacts): Finding[] {
  if (!portHolders.ok) return [cannotTell('ports', portHolders.message, portHolders.help)];
  const { cards } = chooseCards(config.gpu, seen);
  const api = config.api.port;
  const wanted = config.comfyui.enabled ? cards.map(({ index }) => config.ports.first + index) : [];
  const findings: Finding[] = [];
  for (const { tcpPort, pid, command } of portHolders.value) {
    if (pid !== null && (pid === agentPid || (ownPids.known && ownPids.value.has(pid)))) continue;
    if (pid !== null && !ownPids.known && wanted.includes(tcpPort)) {
      findings.push(cannotTell('ports', `port ${tcpPort} is held by pid ${pid}; whether it is ours cannot be told: ${ownPids.reason}`));
      continue;
    }
    const who = pid === null ? 'a process of another user' : `pid ${pid} (${command ?? 'unknown command'})`;
    if (tcpPort === api && agentPid === null)
      findings.push(
        fail(
          'ports',
          `port ${tcpPort}, where the agent listens, is held by ${who}`,
          'stop that process, or choose another port with --port or AGENT_PORT',
        ),
      );
    if (!wanted.includes(tcpPort)) continue;
    const message = `port ${tcpPort} of gpu ${tcpPort - config.ports.first} is held by ${who}`;
    if (pid === null)
      findings.push(
        warn('ports', message, 'if it is not an instance of this agent: stop it, or choose another ports.first (COMFYUI_PORT_START)'),
      );
    else if (config.ports.onConflict === 'next')
      findings.push(warn('ports', message, 'nothing: the next free port is taken (ports.onConflict is next)'));
    else
      findings.push(
        fail('ports', message, 'stop that process, choose another ports.first (COMFYUI_PORT_START), or set ports.onConflict to next'),
      );
  }
  const highest = wanted.at(-1);
  if (highest !== undefined && highest > 65_535)
    findings.push(fail('ports', `port ${highest} for gpu ${cards.at(-1)?.index} does not exist`, 'lower ports.first (COMFYUI_PORT_START)'));
  const range = wanted.length === 0 ? '' : `${wanted[0]}${wanted.length > 1 ? `-${highest}` : ''} for instances`;
  return findings.length > 0
    ? findings
    : [ok('ports', [range, ...(api === 0 ? [] : [`${api} for the agent`])].filter((part) => part !== '').join(', ') || 'none needed')];
}
