import type { Upkeep } from '../../ports/upkeep.ts';
import { removeEmpty, removeFound, walkFiles } from '../files/sweep.ts';
import { keepLogs } from '../logs/rotation.ts';
import { localCpus, memoryRoom, type RoomOptions, spaceOf } from './machine-room.ts';

/** Logs, space, memory and processors of this machine, from the kernel itself. Linux only. */
export function createUpkeep(options: RoomOptions = {}): Upkeep {
  return {
    keepLogs,
    space: spaceOf,
    memory: () => memoryRoom(options),
    walk: walkFiles,
    removeFound,
    removeEmpty,
    localCpus: (uuid) => localCpus(uuid, options),
  };
}
