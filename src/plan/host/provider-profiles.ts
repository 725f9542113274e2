import { AgentError } from '../../domain/errors/errors.ts';
import { nearestName } from '../text/edit-distance.ts';

/** What is particular to the machines of a provider. */
export interface ProviderProfile {
  readonly name: string;
  readonly about: string;
  /** Where everything of the agent lies. */
  readonly root: string;
  /** A block volume that must be there; null: the system's own disk has the room. */
  readonly volume: { readonly mountPoint: string } | null;
}

export const PROVIDER_PROFILES: readonly ProviderProfile[] = [
  { name: 'lambda', about: 'no block volume; the root lies in the home of ubuntu', root: '/home/ubuntu/comfyui', volume: null },
  {
    name: 'datacrunch',
    about: 'the root lies on a block volume, mounted by UUID at /mnt/comfyui',
    root: '/mnt/comfyui/workspace',
    volume: { mountPoint: '/mnt/comfyui' },
  },
];

/** @throws AgentError USAGE for a name that is none */
export function providerProfile(name: string | null): ProviderProfile | null {
  if (name === null) return null;
  const found = PROVIDER_PROFILES.find((profile) => profile.name === name);
  if (found !== undefined) return found;
  const names = PROVIDER_PROFILES.map((profile) => profile.name);
  const nearest = nearestName(name, names);
  throw new AgentError('USAGE', `there is no provider "${name}"`, {
    help: `${nearest === null ? '' : `did you mean ${nearest}? `}known: ${names.join(', ')}; leave --provider out for any other machine`,
  });
}
