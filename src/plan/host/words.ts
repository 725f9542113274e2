import { groupaddArguments, useraddArguments } from '../../domain/host/accounts.ts';
import type { HostAction, HostRights, HostStep } from '../../domain/host/host.ts';

const octal = (mode: number): string => mode.toString(8).padStart(4, '0');
const shownRights = ({ owner, group, mode }: HostRights): string => `${octal(mode)} ${owner}:${group}`;
const install = ({ owner, group, mode }: HostRights): string => `install -o ${owner} -g ${group} -m ${octal(mode)}`;

/** What a change is, and the command that does the same. Contents of files are never shown. */
function describeAction(action: HostAction): Pick<HostStep, 'what' | 'how'> {
  switch (action.do) {
    case 'add-group':
    case 'add-user':
    case 'add-member':
    case 'remove-user':
      return describeAccount(action);
    case 'make-directory':
      return { what: `directory ${action.path}`, how: `${install(action.rights)} -d ${action.path}` };
    case 'set-rights':
      return { what: `rights of ${action.path}: ${shownRights(action.rights)}`, how: `chown, chmod ${octal(action.rights.mode)}` };
    case 'give-tree':
      return {
        what: `give what ${action.from.uid} has in ${action.path} to ${action.user}`,
        how: `chown -Rh --from=${action.from.uid} ${action.user} ${action.path}`,
      };
    case 'write-file':
      return { what: `file ${action.path}`, how: `${install(action.rights)} … ${action.path}` };
    case 'copy-file':
      return { what: `program ${action.path}`, how: `${install(action.rights)} ${action.from} ${action.path}` };
    case 'reload-units':
      return { what: 'systemd', how: 'systemctl daemon-reload' };
    case 'remove-file':
      return { what: `remove ${action.path}`, how: `rm ${action.path}` };
    case 'remove-tree':
      return { what: `remove ${action.path} and all in it`, how: `rm -r --one-file-system ${action.path}` };
    case 'remove-empty':
      return { what: `remove ${action.path} if it is empty`, how: `rmdir ${action.path}` };
    default:
      return { what: `${action.do} ${action.units.join(', ')}`, how: `systemctl ${action.do} ${action.units.join(' ')}` };
  }
}

function describeAccount(
  action: Extract<HostAction, { readonly do: 'add-group' | 'add-user' | 'add-member' | 'remove-user' }>,
): Pick<HostStep, 'what' | 'how'> {
  switch (action.do) {
    case 'add-group':
      return { what: `group ${action.name}`, how: ['groupadd', ...groupaddArguments(action)].join(' ') };
    case 'add-user':
      return { what: `user ${action.name}`, how: ['useradd', ...useraddArguments(action)].map(quoted).join(' ') };
    case 'add-member':
      return { what: `${action.user} in group ${action.group}`, how: `usermod -aG ${action.group} ${action.user}` };
    case 'remove-user':
      return { what: `remove user ${action.name}`, how: `userdel ${action.name}` };
  }
}

const quoted = (text: string): string => (/^[\w./:@,=-]+$/.test(text) ? text : `'${text}'`);

export const step = (action: HostAction, why: string): HostStep => ({ action, why, ...describeAction(action) });
