import { AgentError } from '../../domain/errors/errors.ts';
import type { Proof } from '../../domain/installation/release.ts';
import type { InstanceLaunch } from '../../domain/instances/instance.ts';
import { cudaHelp } from '../../plan/cards/cuda-help.ts';
import { parseJson } from '../state/files.ts';
import type { InstallContext } from './context.ts';

/** Importing torch from a cold disk takes its time. */
const TIMEOUT_MS = 180_000;
const MARK = 'AGENT-CUDA ';

/** Prints what torch was built for; with a card, also makes it multiply. */
const SCRIPT = `
import json, os, torch
facts = {"cuda": torch.version.cuda, "works": None}
if os.environ.get("CUDA_VISIBLE_DEVICES"):
    zeros = torch.zeros(64, 64, device="cuda")
    ones = zeros + 1
    product = (ones @ ones).sum().item()
    torch.cuda.synchronize()
    facts["works"] = product == 64.0 ** 3
print("${MARK}" + json.dumps(facts))
`;

/**
 * A small CUDA operation in the release's own Python, on the card of the trial. With no card free only the build is looked
 * at, and the first instance that moves proves the rest.
 * @throws AgentError VALIDATION_FAILED
 */
export async function proveCuda(
  context: InstallContext,
  launch: Pick<InstanceLaunch, 'python' | 'checkout' | 'environment'>,
  torch: string | null,
): Promise<Pick<Proof, 'torchCuda' | 'cuda'>> {
  const { config, gpus, ports, signal, tracker, trialDevice } = context;
  const hasGpu = config.gpu.mode === 'actual' && (gpus?.gpus.length ?? 0) > 0;
  if (!hasGpu || torch === null) return { torchCuda: null, cuda: 'none' };
  tracker.detail(trialDevice === null ? 'no card is free: CUDA is proved by the first instance' : `proving CUDA on card ${trialDevice}`);
  const result = await ports.shell.run(launch.python, ['-c', SCRIPT], {
    cwd: launch.checkout,
    environment: { ...launch.environment },
    timeoutMs: TIMEOUT_MS,
    signal,
    onLine: (line) => tracker.line(line),
  });
  signal.throwIfAborted();
  const line = result.stdout.split('\n').findLast((candidate) => candidate.startsWith(MARK));
  const facts =
    line === undefined ? null : (parseJson(line.slice(MARK.length)) as { cuda: string | null; works: boolean | null } | undefined);
  const last = result.tail.trim().split('\n').at(-1)?.slice(0, 300) ?? '';
  if (facts === null || facts === undefined)
    throw refused(`torch cannot be used (${result.timedOut ? 'no answer' : `exit code ${result.exitCode}`}): ${last}`, result.tail);
  const expected = cudaOf(torch);
  if (expected !== null && facts.cuda !== expected) throw refused(`torch ${torch} says it was built for CUDA ${facts.cuda ?? 'none'}`);
  if (trialDevice === null) return { torchCuda: facts.cuda, cuda: 'pending' };
  if (facts.cuda === null) throw refused(`torch ${torch} was built without CUDA, and instances run on GPUs`);
  if (facts.works !== true) throw refused(`a CUDA operation on card ${trialDevice} gave a wrong result`);
  return { torchCuda: facts.cuda, cuda: 'trial' };
}

/** `2.7.1+cu126` was built for CUDA 12.6. */
export function cudaOf(torch: string): string | null {
  const digits = /\+cu(\d{2,3})$/.exec(torch)?.[1];
  return digits === undefined ? null : `${digits.slice(0, -1)}.${digits.slice(-1)}`;
}

function refused(reason: string, words = reason): AgentError {
  const help = cudaHelp(words);
  return new AgentError('VALIDATION_FAILED', `CUDA was not proved: ${reason}`, help === null ? {} : { help });
}
