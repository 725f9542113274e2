import { posix } from 'node:path';
import { AgentError } from '../../src/domain/errors/errors.ts';
import type { HostAction, HostFacts, HostGroup, HostPath, HostPlace, HostRights, HostUnit, HostUser } from '../../src/domain/host/host.ts';
import { textDigest } from '../../src/domain/text/digest.ts';
import type { HostSystem } from '../../src/ports/host.ts';

interface FakePath {
  kind: HostPath['kind'];
  uid: number;
  gid: number;
  mode: number;
  content: string | null;
}

export interface FakeHost extends HostSystem {
  readonly done: readonly HostAction[];
  readonly users: Map<string, HostUser>;
  readonly groups: Map<string, HostGroup>;
  readonly units: Map<string, HostUnit>;
  readonly places: Map<string, HostPlace>;
  readonly paths: Map<string, FakePath>;
  put(path: string, content: string, mode?: number): void;
  /** Facts that are not about one name. */
  set(change: Partial<Pick<HostFacts, 'isRoot' | 'hasSystemd' | 'container'>>): void;
  /** A program of the system that is not there. */
  forget(tool: string): void;
}

const FIRST_ID = 990;

/** A small machine in memory. */
export function createFakeHost(): FakeHost {
  const done: HostAction[] = [];
  const missing = new Set<string>();
  let general = { isRoot: true, hasSystemd: true, container: null as string | null };
  const users = new Map<string, HostUser>([['root', { uid: 0, gid: 0, comment: 'root' }]]);
  const groups = new Map<string, HostGroup>([['root', { gid: 0, members: [] }]]);
  const units = new Map<string, HostUnit>();
  const places = new Map<string, HostPlace>();
  const paths = new Map<string, FakePath>();
  const directory = (): FakePath => ({ kind: 'directory', uid: 0, gid: 0, mode: 0o755, content: null });
  for (const path of [
    '/etc',
    '/etc/init.d',
    '/etc/systemd',
    '/etc/systemd/system',
    '/usr',
    '/usr/local',
    '/usr/local/bin',
    '/var',
    '/var/lib',
  ])
    paths.set(path, directory());
  const idOf = (kind: 'user' | 'group', name: string): number => {
    const found = kind === 'user' ? users.get(name)?.uid : groups.get(name)?.gid;
    if (found === undefined) throw new AgentError('COMMAND_FAILED', `there is no ${kind} ${name}`);
    return found;
  };
  const owned = ({ owner, group, mode }: HostRights) => ({ uid: idOf('user', owner), gid: idOf('group', group), mode });
  const nextId = (taken: readonly number[]): number => {
    let id = FIRST_ID;
    while (taken.includes(id)) id -= 1;
    return id;
  };
  const requireParent = (path: string): void => {
    if (posix.dirname(path) !== '/' && paths.get(posix.dirname(path))?.kind !== 'directory')
      throw new AgentError('ROOT_NOT_WRITABLE', `${path} could not be written: a directory on the way to it does not exist`);
  };
  const unitsOf = (names: readonly string[], change: (unit: HostUnit) => HostUnit): void => {
    for (const name of names) units.set(name, change(units.get(name) ?? { isEnabled: false, isActive: false, needsReload: false }));
  };
  const carryOut = (action: HostAction): void => {
    switch (action.do) {
      case 'add-group':
        if (!groups.has(action.name))
          groups.set(action.name, { gid: action.gid ?? nextId([...groups.values()].map(({ gid }) => gid)), members: [] });
        return;
      case 'add-user':
        if (users.has(action.name)) return;
        users.set(action.name, {
          uid: action.uid ?? nextId([...users.values()].map(({ uid }) => uid)),
          gid: idOf('group', action.group),
          comment: action.comment,
        });
        for (const group of action.groups) carryOut({ do: 'add-member', user: action.name, group });
        return;
      case 'add-member': {
        idOf('user', action.user);
        const { gid, members } = groups.get(action.group) ?? { gid: idOf('group', action.group), members: [] };
        groups.set(action.group, { gid, members: [...new Set([...members, action.user])] });
        return;
      }
      case 'remove-user': {
        users.delete(action.name);
        for (const [name, { gid, members }] of groups)
          groups.set(name, { gid, members: members.filter((member) => member !== action.name) });
        if (groups.get(action.name)?.members.length === 0) groups.delete(action.name);
        return;
      }
      case 'make-directory':
        requireParent(action.path);
        paths.set(action.path, { ...(paths.get(action.path) ?? directory()), ...owned(action.rights) });
        return;
      case 'set-rights': {
        const present = paths.get(action.path);
        if (present === undefined) throw new AgentError('ROOT_NOT_WRITABLE', `${action.path} could not be written: it does not exist`);
        paths.set(action.path, { ...present, ...owned(action.rights) });
        return;
      }
      case 'give-tree': {
        const [uid, gid] = [idOf('user', action.user), idOf('group', action.group)];
        for (const [path, present] of paths)
          if (path === action.path || path.startsWith(`${action.path}/`))
            paths.set(path, {
              ...present,
              uid: present.uid === action.from.uid ? uid : present.uid,
              gid: present.gid === action.from.gid ? gid : present.gid,
            });
        return;
      }
      case 'write-file':
      case 'copy-file': {
        requireParent(action.path);
        const content = action.do === 'write-file' ? action.content : (paths.get(action.from)?.content ?? '');
        paths.set(action.path, { kind: 'file', content, ...owned(action.rights) });
        return;
      }
      case 'remove-file':
        paths.delete(action.path);
        return;
      case 'remove-tree':
        for (const path of paths.keys()) if (path === action.path || path.startsWith(`${action.path}/`)) paths.delete(path);
        return;
      case 'remove-empty':
        if (![...paths.keys()].some((path) => path.startsWith(`${action.path}/`))) paths.delete(action.path);
        return;
      case 'reload-units':
        unitsOf([...units.keys()], (unit) => ({ ...unit, needsReload: false }));
        return;
      case 'enable':
      case 'disable':
        unitsOf(action.units, (unit) => ({ ...unit, isEnabled: action.do === 'enable' }));
        return;
      default:
        unitsOf(action.units, (unit) => ({ ...unit, isActive: action.do !== 'stop' }));
    }
  };
  const lookAt = (path: string): HostPath | null => {
    const found = paths.get(path);
    if (found === undefined) return null;
    const { kind, uid, gid, mode, content } = found;
    return {
      kind,
      uid,
      gid,
      mode,
      hasOwner: [...users.values()].some((user) => user.uid === uid),
      hasGroup: [...groups.values()].some((group) => group.gid === gid),
      sha256: content === null ? null : textDigest(content),
      head: content === null ? null : content.slice(0, 512),
    };
  };
  const answers = <T>(names: readonly string[], of: (name: string) => T): Record<string, T> =>
    Object.fromEntries(names.map((name) => [name, of(name)]));
  return {
    done,
    users,
    groups,
    units,
    places,
    paths,
    put: (path, content, mode = 0o644) => void paths.set(path, { kind: 'file', uid: 0, gid: 0, mode, content }),
    set: (change) => {
      general = { ...general, ...change };
    },
    forget: (tool) => void missing.add(tool),
    facts: async (question) => ({
      ...general,
      users: answers(question.users, (name) => users.get(name) ?? null),
      groups: answers(question.groups, (name) => groups.get(name) ?? null),
      paths: answers(question.paths, lookAt),
      units: answers(question.units, (name) => units.get(name) ?? { isEnabled: false, isActive: false, needsReload: false }),
      places: answers(
        question.places,
        (path) => places.get(path) ?? { filesystem: 'ext4', isMountPoint: false, isReadOnly: false, takesLinks: true },
      ),
      tools: answers(question.tools, (name) => (missing.has(name) ? null : `/usr/sbin/${name}`)),
    }),
    carryOut: async (action) => {
      done.push(action);
      carryOut(action);
    },
  };
}
