export interface ArchiveFile {
  /** As it stands in the archive: relative, without `.` and `..`. */
  readonly name: string;
  /** Where its content is, or goes to. */
  readonly path: string;
}

/** Archives of plain files (tar), streamed. */
export interface Archives {
  /**
   * Writes a new archive, 0600, whole or not there: first `index`, then the files in their order.
   * @throws AgentError COMMAND_FAILED when `file` is there already or cannot be written, DISK_FULL
   */
  create(
    file: string,
    index: { readonly name: string; readonly text: string },
    files: readonly ArchiveFile[],
    options?: { readonly signal?: AbortSignal; readonly onProgress?: (bytes: number) => void },
  ): Promise<void>;
  /**
   * Reads an archive once. The first member must be `index`; what it says (`expect`) must follow to the letter: these
   * members in this order, plain files of this size and digest, and nothing else. What was written before a fault stays
   * for the caller to remove.
   * @throws AgentError BUNDLE_INVALID naming the member; FILE_UNREADABLE; DISK_FULL; what `expect` throws
   */
  extract(
    file: string,
    index: { readonly name: string; readonly maxBytes: number },
    expect: (text: string) => readonly (ArchiveFile & { readonly sizeBytes: number; readonly sha256: string })[],
    options?: { readonly signal?: AbortSignal; readonly onProgress?: (name: string, bytes: number, totalBytes: number) => void },
  ): Promise<void>;
}
