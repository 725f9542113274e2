import type { GpuRemark, UnreachableGpu } from '../../../domain/cards/gpu.ts';
import { AgentError, asAgentError } from '../../../domain/errors/errors.ts';
import type { CommandResult } from '../../../ports/shell.ts';
import type { CardName } from '../driver-files.ts';
import { explainFault, isOfMachine, saysNoDevices } from './faults.ts';
import {
  fieldHelp,
  fieldsOf,
  GPU_FIELDS,
  type GpuFacts,
  type GpuField,
  gpuQuery,
  isUnreachable,
  otherLines,
  parseGpus,
  parseUnreachable,
  REQUIRED_FIELDS,
  remarkOf,
  unknownField,
} from './nvidia-smi.ts';

/** Runs nvidia-smi within the time that is left for a reading. @throws AgentError GPU_QUERY_FAILED */
export type RunSmi = (args: readonly string[]) => Promise<CommandResult>;

export interface Cards {
  readonly gpus: readonly GpuFacts[];
  readonly unreachable: readonly UnreachableGpu[];
  readonly remarks: readonly GpuRemark[];
}

interface Answer {
  readonly result: CommandResult;
  readonly gpus: readonly GpuFacts[];
  /** Lines that are no row, in their order. */
  readonly rest: readonly string[];
}

/** Far more cards than a machine has: a list that somebody else wrote cannot start any number of programs. */
const MAX_ASKED = 64;

/** Asks nvidia-smi for the cards. Rows that are understood count, whatever stands beside them. */
export class CardQuery {
  /** Fields that this nvidia-smi knows, by its own help; null: not asked yet. */
  #fieldsKnown: readonly GpuField[] | null = null;
  /** Fields it complained about: learnt once. */
  readonly #unknownFields = new Set<string>();

  /**
   * @param others cards that may be there, asked for one by one where the answer is not whole
   * @returns null: the driver is there and sees no card
   */
  async ask(run: RunSmi, others: () => Promise<readonly CardName[]>): Promise<Cards | null> {
    const all = await this.#query(run, []);
    const { result, gpus } = all;
    if (saysNoDevices(result.tail) && gpus.length === 0) return null;
    if (result.exitCode === 0 && all.rest.length === 0 && gpus.length > 0) return { gpus, unreachable: [], remarks: [] };
    // An answer that was cut off is none.
    if (result.exitCode === null || (gpus.length === 0 && isOfMachine(result.tail))) throw faultOf(result);

    const gone = parseUnreachable(result.tail);
    const isTold = ({ uuid, pciBusId }: CardName): boolean =>
      gpus.some((gpu) => gpu.uuid === uuid) || gone.some((card) => card.pciBusId !== null && card.pciBusId === pciBusId);
    const untold = (await others()).filter((card) => !isTold(card)).slice(0, MAX_ASKED);
    const answers = await Promise.all(untold.map((card) => this.#askOne(run, card)));
    const found = [...gpus, ...answers.flatMap(({ gpu }) => gpu ?? [])];
    if (found.length === 0) {
      if (gone.length > 0 || result.exitCode !== 0) throw faultOf(result);
      throw failed(`nvidia-smi answered in a form not known: ${all.rest[0]?.trim().slice(0, 200) ?? ''}`);
    }
    const unreachable = [...gone, ...answers.flatMap(({ unreachable }) => unreachable ?? [])];
    return { gpus: found.sort((a, b) => a.index - b.index), unreachable, remarks: remarksOf(all, unreachable) };
  }

  /** One card alone: it answers, cannot be reached, or is not there at all. */
  async #askOne(run: RunSmi, card: CardName): Promise<{ readonly gpu?: GpuFacts; readonly unreachable?: UnreachableGpu }> {
    try {
      const { result, gpus, rest } = await this.#query(run, ['-i', card.uuid]);
      const gpu = gpus.find(({ uuid }) => uuid === card.uuid);
      if (gpu !== undefined) return { gpu };
      if (saysNoDevices(result.tail)) return {};
      return { unreachable: { ...card, words: rest[0]?.trim().slice(0, 200) ?? `nvidia-smi ended with exit code ${result.exitCode}` } };
    } catch (error) {
      return { unreachable: { ...card, words: asAgentError(error).message } };
    }
  }

  async #query(run: RunSmi, selection: readonly string[]): Promise<Answer> {
    // At most one refused field is learnt in each round.
    for (let round = 0; round <= GPU_FIELDS.length; round++) {
      const fields = await this.#fields(run);
      const result = await run([...gpuQuery(fields), ...selection]);
      const refused = result.exitCode === 0 ? null : unknownField(result.tail);
      if (refused !== null && isOptional(fields, refused)) {
        this.#unknownFields.add(refused);
        continue;
      }
      const { gpus, rest } = parseGpus(result.stdout, fields);
      return { result, gpus, rest: [...rest, ...otherLines(result.tail, result.stdout)] };
    }
    throw failed('nvidia-smi refuses the fields it is asked for');
  }

  /** Once for each driver: the help is text, and wakes no card. One that has none is asked for everything, and tells what it refuses. */
  async #fields(run: RunSmi): Promise<readonly GpuField[]> {
    if (this.#fieldsKnown === null) {
      const result = await run(fieldHelp);
      this.#fieldsKnown = fieldsOf(result.exitCode === 0 ? result.stdout : null);
    }
    return this.#fieldsKnown.filter((field) => !this.#unknownFields.has(field));
  }
}

/** What stood beside the rows, by card where a line names one; a bad end without a word is one, too. */
function remarksOf({ result, gpus, rest }: Answer, unreachable: readonly UnreachableGpu[]): readonly GpuRemark[] {
  const lines = rest.filter((line) => !isUnreachable(line));
  if (lines.length === 0 && result.exitCode !== 0 && unreachable.length === 0)
    return [{ uuid: null, words: `nvidia-smi ended with exit code ${result.exitCode}` }];
  // A row that was not understood, of a card that is told as unreachable.
  return lines.map((line) => remarkOf(line, gpus)).filter(({ uuid }) => uuid === null || unreachable.every((card) => card.uuid !== uuid));
}

const isOptional = (fields: readonly GpuField[], refused: string): boolean =>
  fields.some((field) => field === refused) && !REQUIRED_FIELDS.some((field) => field === refused);

export const failed = (message: string, help: string | null = null, cause?: unknown): AgentError =>
  new AgentError('GPU_QUERY_FAILED', message, { ...(help === null ? {} : { help }), ...(cause === undefined ? {} : { cause }) });

export function faultOf(result: CommandResult): AgentError {
  const { reason, help } = explainFault(result.tail, result.exitCode);
  return failed(reason, help);
}
