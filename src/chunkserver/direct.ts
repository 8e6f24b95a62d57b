// Direct reads: a client on this host is told which file holds a sealed chunk, and reads it without this server.
//
// It gets the stored checksums with it, and proves every block against them as in any other read; they combine to the
// digest in the log. The file's inode says which file is meant: a client in another mount namespace, where something
// else lies at that path, sees that it is not this one. A sealed chunk's file never changes: when the replica is
// deleted, moved or replaced, an open file keeps its bytes.

import { BLOCK_BYTES } from '../base/limits.ts'
import type { Handler, IncomingRequest } from '../rpc/requests.ts'
import { Message } from '../wire/messages.ts'
import { blockCount, littleEndian } from './block-sums.ts'
import type { ChunkStore } from './chunk-store.ts'

/** @param isAllowed  false: nobody is told anything */
export function directHandlers(store: ChunkStore, isAllowed: boolean): ReadonlyMap<number, Handler> {
  const { number, request: shape, reply } = Message.directRead
  const answer = async (request: IncomingRequest): Promise<void> => {
    const { handle, version } = shape.decode(request.body, 'directRead')
    const replica = store.find(handle)
    replica?.checkVersion(version)
    const isOffered =
      isAllowed &&
      request.connection.isWithinHost &&
      replica?.form.kind === 'sealed' &&
      replica.damage === undefined &&
      replica.length > 0
    if (!isOffered) {
      request.reply(reply.encode({ offer: undefined }))
      return
    }
    const { dataPath, length, directory } = replica
    const { sums } = await store.proofOf(replica)
    const stat = await directory.disk.stat(dataPath)
    if (stat === undefined || replica.isGone) {
      request.reply(reply.encode({ offer: undefined }))
      return
    }
    store.counters.directOffers++
    const offer = { path: dataPath, inode: stat.inode, length, blockBytes: BLOCK_BYTES }
    request.reply(reply.encode({ offer }), [littleEndian(sums.slice(0, blockCount(length)))])
  }
  return new Map([[number, answer]])
}
