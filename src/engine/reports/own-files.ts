import { posix } from 'node:path';
import type { Layout } from '../../domain/configuration/config.ts';
import { type AgentError, asAgentError } from '../../domain/errors/errors.ts';
import { isOfTheDisk } from '../../domain/errors/no-room.ts';
import type { Clock } from '../../ports/clock.ts';
import type { Files } from '../../ports/files.ts';
import type { Logger } from '../../ports/logs.ts';
import type { PreparedRoot } from '../configuration/prepare-root.ts';
import type { VersionedState } from '../state/version.ts';
import type { DiscoveryPublisher } from './discovery.ts';

const LOOK_MS = 2_000;

/** Something that others look for at a fixed place, and that the agent puts there. */
interface OwnFile {
  /** For people: "the socket /…/agent.sock". */
  readonly what: string;
  /** Whether it is there, and is the one that this agent put there. */
  readonly isThere: () => Promise<boolean>;
  /** Safe to repeat. */
  readonly put: () => Promise<void>;
}

interface OwnFilesOptions {
  /** In the order in which they are put: directories first. */
  readonly files: readonly OwnFile[];
  readonly clock: Pick<Clock, 'sleep'>;
  readonly log: Logger;
  /** Told what is not in its place and why, whenever that changes. */
  readonly onProblems: (problems: readonly string[]) => void;
}

/**
 * What the agent keeps in its directories for others comes back by itself, whoever took it away; what a full disk
 * does not take is told, and put there when the disk takes it again.
 */
export class OwnFiles {
  readonly #options: OwnFilesOptions;
  readonly #abort = new AbortController();
  #problems: readonly string[] = [];
  #loop: Promise<void> = Promise.resolve();

  constructor(options: OwnFilesOptions) {
    this.#options = options;
  }

  /** Puts everything in its place. @throws AgentError where something other than the disk is in the way: that is for a person to mend */
  async begin(): Promise<void> {
    await this.#look(false, (error) => {
      if (!isOfTheDisk(error)) throw error;
    });
  }

  /** Looks again and again from now on. */
  start(): void {
    this.#loop = this.#repeat();
  }

  async stop(): Promise<void> {
    this.#abort.abort();
    await this.#loop;
  }

  async #repeat(): Promise<void> {
    const { clock } = this.#options;
    const { signal } = this.#abort;
    while (!signal.aborted) {
      await clock.sleep(LOOK_MS, signal).catch(() => undefined);
      if (!signal.aborted) await this.#look(true, () => undefined);
    }
  }

  async #look(isAgain: boolean, onFault: (error: AgentError) => void): Promise<void> {
    const { files, log, onProblems } = this.#options;
    const problems: string[] = [];
    for (const { what, isThere, put } of files) {
      try {
        if (await isThere()) continue;
        await put();
        if (isAgain) log.warn({ what }, `${what} was gone, and is in its place again`);
      } catch (thrown) {
        const error = asAgentError(thrown);
        // What comes after one that the disk does not take may fail for that alone.
        if (problems.length === 0) onFault(error);
        problems.push(`${what} cannot be put in its place: ${error.message}; ${error.help}`);
      }
    }
    if (problems.join('\n') === this.#problems.join('\n')) return;
    for (const problem of problems) if (!this.#problems.includes(problem)) log.error({}, problem);
    this.#problems = problems;
    onProblems(problems);
  }
}

interface Places {
  readonly files: Pick<Files, 'readText' | 'writeText' | 'remove' | 'isDirectory'>;
  readonly layout: Layout;
  readonly directories: PreparedRoot;
  readonly state: Pick<VersionedState, 'isSaved' | 'save'>;
  readonly socket: { hasSocket(): Promise<boolean>; listenSocket(): Promise<void> };
  /** What agent.json says. */
  readonly about: object;
  readonly discovery: Pick<DiscoveryPublisher, 'isThere' | 'rewrite'>;
}

/** Everything of that kind. */
export function ownFilesOf({ files, layout, directories, state, socket, about, discovery }: Places): readonly OwnFile[] {
  const aboutFile = `${layout.run}/agent.json`;
  const aboutText = `${JSON.stringify(about)}\n`;
  return [
    {
      what: 'a directory of the agent',
      isThere: async () =>
        directories.isPrepared() && (await files.isDirectory(layout.run)) && (await files.isDirectory(posix.dirname(layout.socket))),
      put: () => directories.prepare(),
    },
    { what: 'the version of the state', isThere: async () => state.isSaved(), put: () => state.save() },
    { what: `the socket ${layout.socket}`, isThere: () => socket.hasSocket(), put: () => socket.listenSocket() },
    {
      what: aboutFile,
      isThere: async () => (await files.readText(aboutFile)) === aboutText,
      put: async () => {
        try {
          await files.writeText(aboutFile, aboutText, 0o644);
        } catch (error) {
          // That of an earlier agent would send people to a process that is not there.
          await files.remove(aboutFile).catch(() => undefined);
          throw error;
        }
      },
    },
    { what: 'the discovery files', isThere: () => discovery.isThere(), put: () => discovery.rewrite() },
  ];
}
