/** Who may use the agent of a machine, and where it is found without being told. */

/** Members of this group of the machine may use the agent's socket. */
export const AGENT_GROUP = 'comfylet';
/** User of an agent that was set up as a service: owns configuration and state, and speaks for the machine. */
export const AGENT_USER = 'comfylet';
/** Its unit. Everything in it is started by the agent. */
export const AGENT_UNIT = 'comfylet.service';
/** Configuration and secrets of the machine's agent. */
export const SYSTEM_CONFIGURATION = '/etc/comfylet';
export const SYSTEM_FILE = `${SYSTEM_CONFIGURATION}/agent.yaml`;
export const SYSTEM_SECRETS = `${SYSTEM_CONFIGURATION}/agent.env`;
/** Its run directory under systemd, told to it by the unit. */
export const SYSTEM_RUN = '/run/comfylet';

export interface Account {
  readonly name: string;
  readonly id: number;
  /** Of users: their own group. */
  readonly group: number | null;
  /** Of groups: names of the members. */
  readonly members: readonly string[];
}

/** Lines of /etc/passwd or /etc/group; what is no such line is passed over. */
export const accountsIn = (text: string): Account[] =>
  text.split('\n').flatMap((line) => {
    const [name = '', , id = '', members = ''] = line.split(':');
    if (name === '' || !/^\d+$/.test(id)) return [];
    const group = /^\d+$/.test(members) ? Number(members) : null;
    return [{ name, id: Number(id), group, members: members.split(',').filter((each) => each !== '') }];
  });
