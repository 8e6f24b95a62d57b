// The disk port: files as product code sees them, with the promises that POSIX really makes.
//
// What is promised after power loss, and nothing more:
//   - bytes of a file: those written before a `sync` of that file that succeeded. Later writes may be there, be torn
//     at any byte, or be missing, in any order.
//   - a name (created, renamed, removed): what it was at the last successful `syncDirectory` of its directory. Later
//     changes of names may or may not have happened, each for itself.
//   - a file's length counts as bytes.
// A failed `sync` is final: whoever used the file must not sync it again and believe the answer (ATC 2020, Rebello).
//
// Errors are DfsErrors: NOT_FOUND, ALREADY_EXISTS, DISK_FULL (ENOSPC, EDQUOT), DISK_FAILED (EIO, EROFS and the rest),
// LOCKED, FSYNC_FAILED (any failure of sync or syncDirectory). `detail.path` names the file.
// Paths are absolute or relative to the process, with `/`.

export type OpenMode =
  /** Read only; NOT_FOUND when missing. */
  | 'read'
  /** Read and write; NOT_FOUND when missing. */
  | 'write'
  /** Read and write, new and empty; ALREADY_EXISTS when there. */
  | 'create'

export interface DiskFile {
  readonly path: string
  /**
   * Reads at `position` into `buffer` until it is full or the file ends.
   * @returns bytes read, 0 .. buffer.length; fewer than asked only at the end of the file
   */
  read(buffer: Uint8Array, position: number): Promise<number>
  /** Writes all slices one after the other from `position` on, whole or with an error. The slices must not change until it resolves. */
  write(slices: readonly Uint8Array[], position: number): Promise<void>
  /** `fdatasync`: resolves when every earlier resolved write is durable, the length with it. */
  sync(): Promise<void>
  /** Cuts or extends with zeros. */
  truncate(bytes: number): Promise<void>
  /** Reserves room for `bytes` from the start without changing what is read. DISK_FULL when there is none. May do nothing where the platform has no way. */
  allocate(bytes: number): Promise<void>
  size(): Promise<number>
  /** Closes; no other call may follow. Does not sync. */
  close(): Promise<void>
}

export interface DiskEntry {
  readonly name: string
  readonly kind: 'file' | 'directory' | 'other'
}

export interface DiskStat {
  readonly kind: 'file' | 'directory' | 'other'
  readonly bytes: number
  /** Milliseconds since 1970. */
  readonly mtimeMs: number
  /** Names the file system object: the same for two paths of one object. */
  readonly inode: string
}

export interface DiskSpace {
  readonly totalBytes: number
  /** What this process may still use. */
  readonly freeBytes: number
  /** Names the file system: the same for two paths only when they share their room, on any machine. '': unknown. */
  readonly device: string
}

export interface DiskLock {
  /** Releases; the process's death releases too. */
  release(): Promise<void>
}

export interface Disk {
  open(path: string, mode: OpenMode): Promise<DiskFile>
  /** Undefined when there is nothing at `path`. */
  stat(path: string): Promise<DiskStat | undefined>
  /** Entries sorted by name; NOT_FOUND when there is no directory. */
  list(path: string): Promise<DiskEntry[]>
  /** Makes the directory and its parents; nothing when it is there. Does not sync. */
  makeDirectory(path: string): Promise<void>
  /** Moves within one file system, replacing an existing file. Does not sync. */
  rename(from: string, to: string): Promise<void>
  /** Removes a file; NOT_FOUND when missing. Does not sync. */
  remove(path: string): Promise<void>
  /** Removes an empty directory. Does not sync. */
  removeDirectory(path: string): Promise<void>
  /** `fsync` of the directory: names created, renamed and removed in it are durable. */
  syncDirectory(path: string): Promise<void>
  space(path: string): Promise<DiskSpace>
  /** Takes an exclusive lock on the file (made when missing, never written to); LOCKED when another holder lives, here or in another process. */
  lock(path: string): Promise<DiskLock>
}
