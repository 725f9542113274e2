import type { HostAction } from './host.ts';

/** Arguments that groupadd gets; shown and used alike. */
export const groupaddArguments = ({ name, gid }: Extract<HostAction, { readonly do: 'add-group' }>): string[] => [
  '--system',
  ...(gid === null ? [] : ['--gid', String(gid)]),
  name,
];

/** Arguments that useradd gets; shown and used alike. The home is made by a step of its own. */
export const useraddArguments = ({
  name,
  uid,
  group,
  groups,
  home,
  comment,
}: Extract<HostAction, { readonly do: 'add-user' }>): string[] => [
  '--system',
  ...(uid === null ? [] : ['--uid', String(uid)]),
  '--gid',
  group,
  ...(groups.length === 0 ? [] : ['--groups', groups.join(',')]),
  '--home-dir',
  home,
  '--no-create-home',
  '--shell',
  '/usr/sbin/nologin',
  '--comment',
  comment,
  name,
];
