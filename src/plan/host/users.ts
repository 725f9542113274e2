import { AGENT_USER } from '../../domain/configuration/access.ts';
import type { HostFacts, HostStep } from '../../domain/host/host.ts';
import { type agentOwner, COMFYUI_HOME, COMFYUI_USER, STATE, USER_COMMENT } from './layout.ts';
import { step } from './words.ts';

/** Groups that let a user look at cards and at the kernel's log, where a machine has them. */
const HELPFUL: Readonly<Record<string, readonly string[]>> = {
  [AGENT_USER]: [COMFYUI_USER, 'systemd-journal', 'video', 'render'],
  [COMFYUI_USER]: ['video', 'render'],
};

/** Groups, users and memberships that are missing. What has a number from before comes first, so that nobody else is given it. */
export function userSteps(owner: ReturnType<typeof agentOwner>, facts: HostFacts): HostStep[] {
  const homes = { [AGENT_USER]: STATE, [COMFYUI_USER]: COMFYUI_HOME };
  const whys = {
    [AGENT_USER]: 'owns configuration, secrets and state; members of its group may use the agent',
    [COMFYUI_USER]: 'runs ComfyUI and node packs, which are foreign code: it may read neither secrets nor state',
  };
  const names = [COMFYUI_USER, AGENT_USER] as const;
  // What an earlier agent left belongs to numbers; the same ones make it ours again.
  const left = (name: (typeof names)[number]) => (homes[name] === STATE && owner.user !== name ? null : (facts.paths[homes[name]] ?? null));
  const uidOf = (name: (typeof names)[number]): number | null => (left(name)?.hasOwner === false ? (left(name)?.uid ?? null) : null);
  const gidOf = (name: (typeof names)[number]): number | null => (left(name)?.hasGroup === false ? (left(name)?.gid ?? null) : null);
  const groups = names
    .filter((name) => facts.groups[name] == null)
    .toSorted((a, b) => Number(gidOf(a) === null) - Number(gidOf(b) === null))
    .map((name) => step({ do: 'add-group', name, gid: gidOf(name) }, whys[name]));
  const users = names
    .filter((name) => facts.users[name] == null)
    .toSorted((a, b) => Number(uidOf(a) === null) - Number(uidOf(b) === null))
    .map((name) =>
      step(
        {
          do: 'add-user',
          name,
          uid: uidOf(name),
          group: name,
          groups: helpfulGroups(name, facts),
          home: homes[name],
          comment: USER_COMMENT,
        },
        whys[name],
      ),
    );
  const members = names.flatMap((user) => {
    const known = facts.users[user];
    if (known == null) return [];
    return helpfulGroups(user, facts)
      .filter((group) => facts.groups[group]?.members.includes(user) !== true && facts.groups[group]?.gid !== known.gid)
      .map((group) => step({ do: 'add-member', user, group }, GROUP_WHYS[group] ?? 'may use the cards'));
  });
  return [...groups, ...users, ...members];
}

const GROUP_WHYS: Readonly<Record<string, string>> = {
  [COMFYUI_USER]: 'the agent reads and clears what ComfyUI writes',
  'systemd-journal': 'faults of cards are told in the log of the kernel',
};

const helpfulGroups = (user: string, facts: HostFacts): string[] =>
  (HELPFUL[user] ?? []).filter((group) => group === COMFYUI_USER || facts.groups[group] != null);
