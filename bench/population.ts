// A master's data directory with many files in it, made in seconds: the log that a master would have written.
//
// Each file has a name of 20 bytes, a thousand a directory, and one extent in a chunk of its own: two records a file,
// as a writer's are (openFile with its first chunk, commitFile with name, extent and seal), 64 files under way. Ids are not asked of a
// state but foretold, since `apply` gives them in order; a master that replays the log would refuse a wrong one, and
// who uses the population looks its files up.

import { assert } from '../src/base/assert.ts'
import type { ClusterId, DirectoryId, InodeId, Life, ServerId, SessionId } from '../src/base/ids.ts'
import { chunkHandle } from '../src/base/ids.ts'
import { KiB, MiB } from '../src/base/units.ts'
import { nodeIo } from '../src/io/node/io.ts'
import { makeCheckpoint } from '../src/master/checkpointer.ts'
import { markFormed, openMasterDirectory } from '../src/master/identity.ts'
import { apply } from '../src/master/metadata/apply.ts'
import { MetadataState } from '../src/master/metadata/state.ts'
import { encodeOperation } from '../src/master/operation-codec.ts'
import { type Operation, operationTable } from '../src/master/operations.ts'
import { OpLog } from '../src/oplog/oplog.ts'
import { directoryPath, filesPerDirectory, populationPath } from './population-path.ts'

const lineage = 7
const fileBytes = 4 * KiB
const time = { clusterMs: 1000, wallMs: 1.7e12 }
const newInode = { mode: 0o644, owner: 'someone', group: 'people', goal: 0 }
const term = 1
const filesUnderWay = 64
/** Bytes that wait for the disk before the next sync is awaited. */
const batchBytes = 512 * KiB
const io = nodeIo()
const quiet = { debug() {}, info() {}, warn: console.error, error: console.error }

/**
 * Writes the log of `files` files into an empty directory.
 * @returns its records; a master that starts there replays them all
 */
export async function populate(data: string, files: number): Promise<number> {
  const { disk, clock, entropy } = io
  const { clusterId, logDirectory: directory } = await openMasterDirectory(disk, entropy, data)
  await OpLog.format({ disk, entropy, directory, clusterId })
  const events = { onSynced() {}, onRefused() {}, onFailed() {} }
  const log = await OpLog.open({ disk, clock, entropy, logger: quiet, directory, clusterId, events })
  for (const operation of operationsOf(clusterId, files)) {
    const { number: kind, version } = operationTable[operation.kind]
    const index = log.append({ term, kind, version, payload: encodeOperation(time, operation) })
    if (log.queuedBytes > batchBytes) await log.whenSynced(index)
  }
  await log.close()
  await markFormed(disk, data, clusterId)
  return log.lastIndex
}

/** `populate`, and a checkpoint of all of it: a master that starts there replays nothing. */
export async function populateWithCheckpoint(data: string, files: number): Promise<void> {
  const throughIndex = await populate(data, files)
  const { disk, entropy } = io
  const { clusterId, logDirectory, checkpointDirectory } = await openMasterDirectory(disk, entropy, data)
  await disk.makeDirectory(checkpointDirectory)
  await makeCheckpoint(disk, quiet, { logDirectory, checkpointDirectory, clusterId, throughIndex })
}

function* operationsOf(clusterId: ClusterId, files: number): Generator<Operation> {
  const state = new MetadataState()
  const applied = (operation: Operation, index: number): Operation => {
    const outcome = apply(state, operation, time, index, term)
    assert(outcome.ok, 'a population that begins with a refusal')
    return operation
  }
  const chunkBytes = 64 * MiB
  yield applied({ kind: 'formatCluster', clusterId, lineage, chunkBytes, goal: 1 }, 1)
  const directory = 1 as DirectoryId
  const server = { identity: 1, directories: [directory], address: '127.0.0.1:1', zone: '', rack: '' }
  yield applied({ kind: 'registerServer', server: 0, ...server }, 2)
  const members = [{ server: 1 as ServerId, directory, life: 5 as Life }]

  const session = (2 ** 47 + 77) as SessionId
  let request = 0
  const next = () => ({ session, request: ++request, floor: Math.max(0, request - 4 * filesUnderWay) })
  let nextInode = state.nextInode
  for (let first = 0; first < files; first += filesUnderWay) {
    const end = Math.min(files, first + filesUnderWay)
    for (let index = first; index < end; index++) {
      if (index % filesPerDirectory !== 0) continue
      const path = directoryPath(index / filesPerDirectory)
      yield { kind: 'makeDirectory', by: next(), path, parents: false, inode: newInode }
      nextInode++
    }
    const firstInode = nextInode
    for (let index = first; index < end; index++) yield { kind: 'openFile', by: next(), inode: newInode, members }
    nextInode += end - first
    for (let index = first; index < end; index++) {
      const handle = chunkHandle(lineage, index + 1)
      yield {
        kind: 'commitFile',
        by: next(),
        inode: (firstInode + index - first) as InodeId,
        extents: [{ handle, offset: 0, length: fileBytes }],
        seals: [{ handle, length: fileBytes, digest: index }],
        publish: { path: populationPath(index), overwrite: false },
        close: true,
        mtimeMs: 0,
      }
    }
  }
}
