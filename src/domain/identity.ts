/** What a machine's parts are called wherever they are named: in holds, plans, journal, PM2 and logs. The one place that spells it. */

export type InstanceTarget = `instance ${number}`;
export type ProcessTarget = `process ${string}`;
/** What a hold, an action or an entry of the journal is about. Actions with one target run one after the other. */
export type Target = 'agent' | 'configuration' | 'installation' | 'machine' | 'rollout' | InstanceTarget | ProcessTarget;

export const instanceTarget = (gpu: number): InstanceTarget => `instance ${gpu}`;
/** A process in PM2 that no instance asks for. */
export const processTarget = (name: string): ProcessTarget => `process ${name}`;

const STEM = 'comfyui-gpu';
const INSTANCE = new RegExp(`^${STEM}(0|[1-9]\\d{0,2})$`);

/** Of an instance: its entry in PM2, and the stem of its log. */
export const instanceName = (gpu: number): string => `${STEM}${gpu}`;

/** Whether an entry of PM2 is the agent's to judge: everything that is called like an instance. */
export const isCalledInstance = (name: string): boolean => name.startsWith(STEM);

/** The slot that an instance's name stands for; null: it is no such name. */
export function gpuOfInstance(name: string): number | null {
  const digits = INSTANCE.exec(name)?.[1];
  return digits === undefined ? null : Number(digits);
}
