import { describe } from 'vitest';
import { createComfy } from '../../../src/adapters/comfyui/comfyui.ts';
import { createFakeComfy } from '../../fakes/comfy.ts';
import { type ContractSubject, comfyuiContract } from '../../support/comfyui/contract.ts';
import { startSimulator } from '../../support/comfyui/simulator.ts';

/**
 * The ComfyUI contract holds for the fake, for the simulator in both personalities, and for a real server, named by
 * AGENT_REAL_COMFYUI_URL (AGENT_REAL_COMFYUI_PROTOCOL tells what it speaks when that is to be checked). test/real holds it
 * against an instance that the agent installed and started.
 */

const fake = async (): Promise<ContractSubject> => {
  const { comfy, serve } = createFakeComfy();
  serve('http://fake');
  return { comfy, baseUrl: 'http://fake', wire: false, version: '0.3.12', protocol: 'fork', close: async () => undefined };
};
const simulator = (version: string, protocol: string) => async (): Promise<ContractSubject> => {
  const { baseUrl, stop } = await startSimulator({ version });
  return { comfy: createComfy(), baseUrl, wire: true, version, protocol, close: stop };
};
const realUrl = process.env['AGENT_REAL_COMFYUI_URL'];
const realProtocol = process.env['AGENT_REAL_COMFYUI_PROTOCOL'];
const real = async (): Promise<ContractSubject> => ({
  comfy: createComfy(),
  baseUrl: (realUrl ?? '').replace(/\/$/, ''),
  wire: true,
  ...(realProtocol === undefined ? {} : { protocol: realProtocol }),
  close: async () => undefined,
});
if (realUrl === undefined)
  console.info('skipped: the ComfyUI contract on a real server (set AGENT_REAL_COMFYUI_URL to the base URL of one that runs)');

describe.each([
  ['fake', fake, false],
  ['simulator 0.3.12 (fork)', simulator('0.3.12', 'fork'), false],
  ['simulator 0.3.64 (upstream)', simulator('0.3.64', 'upstream'), false],
  ['real server', real, realUrl === undefined],
] as const)('Comfy, %s', (_name, open, skip) => {
  describe.skipIf(skip)('contract', () => comfyuiContract(open));
});
