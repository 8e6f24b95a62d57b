// Messages: every request of the protocol, its number, and who sends it to whom.
//
// What a message means and the shape of its body and reply stand in messages/, a file for each pair of speakers and purpose.
// README.md beside this file has the same table for people; a test compares them. Numbers are never used again;
// fields are only ever added at the end of a body (`added`, `optional` in schema.ts).

import { changes, chunksUnderWay, type extent } from './messages/changing.ts'
import { chunks } from './messages/chunks.ts'
import {
  type directoryFacts,
  type history,
  type order,
  type replicaFacts,
  toChunkserver,
  toMaster,
} from './messages/chunkserver-master.ts'
import type { allocation, chainMember, chunkLocation, requester } from './messages/fields.ts'
import { operators } from './messages/operators.ts'
import { type directoryEntry, type fileStat, type placedExtent, reading } from './messages/reading.ts'
import type { AnyStruct, Infer, Struct } from './schema.ts'

export { COPY_LIMITS } from './messages/operators.ts'

interface MessageRow {
  readonly number: number
  readonly from: 'client' | 'chunkserver' | 'master'
  readonly to: 'master' | 'chunkserver'
  /** Which bodies are followed by raw data bytes. */
  readonly data: 'none' | 'request' | 'reply'
  readonly means: string
  readonly request: AnyStruct
  readonly reply: AnyStruct
}

const clientToMaster = { from: 'client', to: 'master', data: 'none' } as const
const chunkserverToMaster = { from: 'chunkserver', to: 'master', data: 'none' } as const
const masterToChunkserver = { from: 'master', to: 'chunkserver', data: 'none' } as const
const clientToChunkserver = { from: 'client', to: 'chunkserver', data: 'none' } as const
const betweenChunkservers = { from: 'chunkserver', to: 'chunkserver', data: 'none' } as const

export const Message = {
  // Client to master: reading. Needs no session.
  clusterInfo: { number: 100, ...clientToMaster, ...reading.clusterInfo },
  stat: { number: 101, ...clientToMaster, ...reading.stat },
  list: { number: 102, ...clientToMaster, ...reading.list },
  openForRead: { number: 103, ...clientToMaster, ...reading.openForRead },
  extents: { number: 104, ...clientToMaster, ...reading.extents },
  locate: { number: 105, ...clientToMaster, ...reading.locate },
  trashList: { number: 106, ...clientToMaster, ...reading.trashList },
  report: { number: 107, ...clientToMaster, ...reading.report },
  info: { number: 108, ...clientToMaster, ...reading.info },
  space: { number: 109, ...clientToMaster, ...reading.space },

  // Client to master: changes, each exactly once by (session, request).
  makeDirectory: { number: 110, ...clientToMaster, ...changes.makeDirectory },
  putFile: { number: 111, ...clientToMaster, ...changes.putFile },
  openForWrite: { number: 112, ...clientToMaster, ...changes.openForWrite },
  allocateChunk: { number: 113, ...clientToMaster, ...changes.allocateChunk },
  commitFile: { number: 114, ...clientToMaster, ...changes.commitFile },
  spliceFile: { number: 115, ...clientToMaster, ...changes.spliceFile },
  truncateFile: { number: 116, ...clientToMaster, ...changes.truncateFile },
  concatFiles: { number: 117, ...clientToMaster, ...changes.concatFiles },
  copy: { number: 118, ...clientToMaster, ...changes.copy },
  rename: { number: 119, ...clientToMaster, ...changes.rename },
  remove: { number: 120, ...clientToMaster, ...changes.remove },
  setAttributes: { number: 121, ...clientToMaster, ...changes.setAttributes },
  restoreTrash: { number: 122, ...clientToMaster, ...changes.restoreTrash },
  emptyTrash: { number: 123, ...clientToMaster, ...changes.emptyTrash },
  putFiles: { number: 124, ...clientToMaster, ...changes.putFiles },

  // Client to master: chunks under way.
  packingChunk: { number: 130, ...clientToMaster, ...chunksUnderWay.packingChunk },
  sealChunk: { number: 131, ...clientToMaster, ...chunksUnderWay.sealChunk },
  renewSession: { number: 132, ...clientToMaster, ...chunksUnderWay.renewSession },
  complain: { number: 133, ...clientToMaster, ...chunksUnderWay.complain },
  fileTail: { number: 134, ...clientToMaster, ...chunksUnderWay.fileTail },

  // Operators to master.
  checkpoint: { number: 140, ...clientToMaster, ...operators.checkpoint },
  acceptRollback: { number: 141, ...clientToMaster, ...operators.acceptRollback },
  fsck: { number: 150, ...clientToMaster, ...operators.fsck },
  setServerIntent: { number: 151, ...clientToMaster, ...operators.setServerIntent },
  safeMode: { number: 152, ...clientToMaster, ...operators.safeMode },
  scrub: { number: 153, ...clientToMaster, ...operators.scrub },
  copyLimits: { number: 154, ...clientToMaster, ...operators.copyLimits },
  balance: { number: 155, ...clientToMaster, ...operators.balance },
  top: { number: 156, ...clientToMaster, ...operators.top },
  compact: { number: 158, ...clientToMaster, ...operators.compact },

  // Chunkserver to master.
  join: { number: 200, ...chunkserverToMaster, ...toMaster.join },
  heartbeat: { number: 201, ...chunkserverToMaster, ...toMaster.heartbeat },
  chunkReport: { number: 202, ...chunkserverToMaster, ...toMaster.chunkReport },
  leave: { number: 203, ...chunkserverToMaster, ...toMaster.leave },

  // Master to chunkserver, over the connection that the chunkserver opened.
  fence: { number: 230, ...masterToChunkserver, ...toChunkserver.fence },
  digestAt: { number: 231, ...masterToChunkserver, ...toChunkserver.digestAt },
  seal: { number: 232, ...masterToChunkserver, ...toChunkserver.seal },
  clone: { number: 233, ...masterToChunkserver, ...toChunkserver.clone },
  gather: { number: 234, ...masterToChunkserver, ...toChunkserver.gather },
  scrubNow: { number: 240, ...masterToChunkserver, ...toChunkserver.scrubNow },

  // To chunkservers along the chain: from the client to the primary, from each member to the next.
  openChunk: { number: 300, ...clientToChunkserver, ...chunks.openChunk },
  pushPiece: { number: 301, ...clientToChunkserver, data: 'request', ...chunks.pushPiece },
  commit: { number: 302, ...clientToChunkserver, ...chunks.commit },
  appendShared: { number: 303, ...clientToChunkserver, data: 'request', ...chunks.appendShared },
  appendBatch: { number: 304, ...betweenChunkservers, data: 'request', ...chunks.appendBatch },
  tail: { number: 305, ...clientToChunkserver, ...chunks.tail },
  read: { number: 306, ...clientToChunkserver, data: 'reply', ...chunks.read },
  checksum: { number: 307, ...clientToChunkserver, ...chunks.checksum },
  recordIndex: { number: 308, ...betweenChunkservers, ...chunks.recordIndex },
  findRecords: { number: 309, ...clientToChunkserver, ...chunks.findRecords },
  directRead: { number: 310, ...clientToChunkserver, data: 'reply', ...chunks.directRead },
  pulse: { number: 311, ...clientToChunkserver, ...chunks.pulse },
} as const satisfies Record<string, MessageRow>

export type MessageName = keyof typeof Message
export type RequestOf<K extends MessageName> = Infer<(typeof Message)[K]['request']>
export type ReplyOf<K extends MessageName> = Infer<(typeof Message)[K]['reply']>

/** The row of one message, with the types of its bodies. */
export interface MessageShape<K extends MessageName> {
  readonly number: number
  readonly request: Struct<RequestOf<K>>
  readonly reply: Struct<ReplyOf<K>>
}

/** The compiler does not follow from a name to the fields of its row in a table; here it is told. */
export function shapeOf<K extends MessageName>(name: K): MessageShape<K> {
  return Message[name] as unknown as MessageShape<K>
}

export type Requester = Infer<typeof requester>
export type Extent = Infer<typeof extent>
export type Allocation = Infer<typeof allocation>
export type ChainMember = Infer<typeof chainMember>
export type ChunkLocation = Infer<typeof chunkLocation>
export type FileStat = Infer<typeof fileStat>
export type DirectoryEntry = Infer<typeof directoryEntry>
export type PlacedExtent = Infer<typeof placedExtent>
export type DirectoryFacts = Infer<typeof directoryFacts>
export type ReplicaFacts = Infer<typeof replicaFacts>
export type Order = Infer<typeof order>
export type History = Infer<typeof history>
