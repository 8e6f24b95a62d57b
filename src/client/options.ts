// What programs give a client, and what it gives them, where no other part of the library says so.

import type { ReplyOf } from '../wire/messages.ts'
import type { CallOptions } from './patience.ts'

export interface ClientOptions {
  /** Every master, as `host:port`; commas between several in one text. */
  readonly masters: string | readonly string[]
  /** Milliseconds without progress after which a call fails, unless it says otherwise: 30 s. */
  readonly timeoutMs?: number | undefined
  /** Whether sealed chunks of a chunkserver on this host may be read from its files, checked as any other read: yes. */
  readonly directReads?: boolean | undefined
  /** How servers name this client in their logs. */
  readonly name?: string | undefined
  /** Where this client is, as `dfsd chunk --zone --rack` says it of servers: nearer replicas are read first. Known by itself on a host that has a chunkserver. */
  readonly zone?: string | undefined
  readonly rack?: string | undefined
  /** Gets what is no fault of the world; by default it is thrown in a turn of its own, which ends the process. */
  readonly onBug?: ((error: unknown) => void) | undefined
}

/** What a file's bytes may come as. Bytes are not copied and must not be changed until the call has ended. */
export type Source = Uint8Array | Iterable<Uint8Array> | AsyncIterable<Uint8Array>

/** What this cluster is. */
export type ClusterInfo = ReplyOf<'clusterInfo'>
export type TrashEntry = ReplyOf<'trashList'>['entries'][number]
/** The size and content version after a change. */
export type Changed = ReplyOf<'truncateFile'>

export interface StatOptions extends CallOptions {
  /** Count the chunks of a file: a walk over its extents, at the master. */
  readonly withChunks?: boolean
}

export interface ListOptions extends CallOptions {
  /** The last name of the page before; from the first when left out. */
  readonly after?: string | undefined
  /** Entries, 1 .. 5000; 1000 when left out. */
  readonly limit?: number | undefined
}

export interface AttributeChanges {
  /** Permission bits, 0 .. 0o7777. */
  readonly mode?: number | undefined
  readonly owner?: string | undefined
  readonly group?: string | undefined
  /** Replicas wanted, 1 .. REPLICAS_MAX. */
  readonly goal?: number | undefined
  /** Ms since 1970. */
  readonly mtimeMs?: number | undefined
  /** Extended attributes: a text sets one, null removes it. */
  readonly attributes?: Readonly<Record<string, string | null>> | undefined
}

/** What a new file starts with. */
export interface NewFileOptions {
  /** Permission bits, 0 .. 0o7777; 0o644 by default. */
  readonly mode?: number | undefined
  readonly owner?: string | undefined
  readonly group?: string | undefined
  /** Replicas wanted; the cluster's default when left out or 0. */
  readonly goal?: number | undefined
  /** Modification time, ms since 1970; the time of the last change when left out. */
  readonly mtimeMs?: number | undefined
}

export interface WriteOptions extends NewFileOptions, CallOptions {
  /** Replace a file of that name (it goes to the trash). Otherwise ALREADY_EXISTS. */
  readonly overwrite?: boolean | undefined
  /** Add to the end of an existing file. */
  readonly append?: boolean | undefined
  /** Put the bytes in place of those from this file offset on; the file must exist, and grows if need be. */
  readonly at?: number | undefined
}

/** A file of `putMany`. */
export interface PutEntry extends WriteOptions {
  readonly path: string
  /** Opened when its turn comes. */
  readonly data: Source | (() => Source | Promise<Source>)
}
