import { AgentError, asAgentError } from '../../domain/errors/errors.ts';
import type { InstanceLaunch, Pm2Entry } from '../../domain/instances/instance.ts';
import { INSTANCE_MARK, ROOT_MARK } from '../../domain/instances/ownership.ts';
import type { ObservedState } from '../../domain/state/state.ts';
import { addedFaults } from '../../plan/configuration/comfyui-arguments.ts';
import { launchDigest, launchPort } from '../../plan/instances/launch.ts';
import { isPresent } from '../../plan/instances/leaving.ts';
import type { Ports } from '../../ports.ts';
import type { LoadedConfiguration } from '../knowledge.ts';

type Outside = Pick<Ports, 'template' | 'processes'>;
type Setting = Pick<LoadedConfiguration, 'config' | 'layout'>;

/** What PM2 is given for a launch. @throws AgentError TEMPLATE_INVALID, INSTANCE_FAILED when it could not be started */
export async function checkedEntry(
  { template, processes }: Outside,
  { config, layout }: Setting,
  launch: InstanceLaunch,
): Promise<Pm2Entry> {
  const entry = await template.toEntry(launch, config.pm2.template);
  const [fault] = addedFaults(launch.arguments, entry.args);
  if (fault !== undefined) throw new AgentError('TEMPLATE_INVALID', `${config.pm2.template ?? 'the template'} adds an argument: ${fault}`);
  // A template may leave out what it does not know; without these marks its process would be a stranger to us. What it was
  // started with is told by its entry: release and lease may be others by the time it is asked.
  const env = {
    ...entry.env,
    [ROOT_MARK]: layout.root,
    [INSTANCE_MARK]: launch.name,
    AGENT_ENTRY_DIGEST: launchDigest(launch),
    AGENT_RELEASE: launch.release,
    AGENT_PORT: launchPort(launch),
  };
  const whole = { ...entry, env };
  await processes.check(whole);
  return whole;
}

/** By GPU: why what an instance should run by now could not be started, where it runs something else. It is not taken away for that. */
export async function launchProblems(
  ports: Outside,
  setting: Setting,
  launches: ReadonlyMap<number, InstanceLaunch>,
  { processes }: Pick<ObservedState, 'processes'>,
): Promise<ReadonlyMap<number, AgentError>> {
  const running = processes.known ? processes.value.filter(isPresent) : [];
  const others = [...launches].filter(([, launch]) =>
    running.some(({ name, entryDigest }) => name === launch.name && entryDigest !== launchDigest(launch)),
  );
  const problems = others.map(async ([gpu, launch]): Promise<[number, AgentError][]> => {
    try {
      await checkedEntry(ports, setting, launch);
      return [];
    } catch (error) {
      return [[gpu, asAgentError(error)]];
    }
  });
  return new Map((await Promise.all(problems)).flat());
}
