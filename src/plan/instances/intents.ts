import { InstanceIntent, type Intents } from '../../domain/state/state.ts';

/** What is asked of one instance; the defaults while nothing is. */
export const intentOf = ({ instances }: Intents, gpu: number): InstanceIntent => InstanceIntent.parse(instances[String(gpu)] ?? {});

/** The same wishes, with those for one instance changed. */
export const withInstance = (intents: Intents, gpu: number, change: Partial<InstanceIntent>): Intents => ({
  ...intents,
  instances: { ...intents.instances, [String(gpu)]: { ...intentOf(intents, gpu), ...change } },
});

/** The same wishes, with the named instances out of quarantine. */
export const withoutQuarantine = (intents: Intents, gpus: readonly number[]): Intents =>
  gpus
    .filter((gpu) => intentOf(intents, gpu).quarantined !== null)
    .reduce((changed, gpu) => withInstance(changed, gpu, { quarantined: null, quarantine: null }), intents);
