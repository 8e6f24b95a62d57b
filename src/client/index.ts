// The library's front door: `import { connect } from 'dfs'`.
//
//   const client = await connect('127.0.0.1:7400')
//   await client.writeFile('/hello', Buffer.from('world'))
//   console.log((await client.readFile('/hello')).toString())
//   client.close()
//
// The only file of the library that knows the real clock, network and disk; the others are given theirs.

import type { Io } from '../io/io.ts'
import { nodeIo } from '../io/node/io.ts'
import { Client } from './client.ts'
import type { ClientOptions } from './options.ts'
import type { CallOptions } from './patience.ts'

export interface ConnectOptions extends ClientOptions, CallOptions {
  /** Clock, network, chance and disk to use; the real ones when left out. */
  readonly io?: Io | undefined
}

/**
 * Connects to a cluster by its masters: `host:port`, several with commas between. Errors: INVALID_ARGUMENT for an
 * address that can't be read, UNAVAILABLE, TIMEOUT, ABORTED, WRONG_ROLE, UNSUPPORTED_VERSION.
 */
export function connect(target: string | ConnectOptions): Promise<Client> {
  const options = typeof target === 'string' ? { masters: target } : target
  const { io = nodeIo() } = options
  return Client.connect(io, options, { signal: options.signal, deadlineMs: options.deadlineMs })
}

export { DfsError, ErrorCode, type ErrorDetail, isDfsError } from '../base/errors.ts'
export type { DirectoryEntry, FileStat } from '../wire/messages.ts'
export type { Appender, AppenderOptions } from './appender.ts'
export { Client } from './client.ts'
export type {
  FsckChunk,
  FsckDetail,
  FsckExposure,
  FsckFile,
  FsckOptions,
  FsckPage,
  FsckProblem,
  FsckResult,
  FsckStatus,
} from './fsck.ts'
export type {
  AttributeChanges,
  Changed,
  ClientOptions,
  ClusterInfo,
  ListOptions,
  NewFileOptions,
  PutEntry,
  Source,
  StatOptions,
  TrashEntry,
  WriteOptions,
} from './options.ts'
export { forEachParallel } from './parallel.ts'
export type { CallOptions } from './patience.ts'
export type { Range, Reader, ReadOptions } from './reader.ts'
export type { ReadCounts } from './replica-reader.ts'
export type { Writer } from './writer.ts'
