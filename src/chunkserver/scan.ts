// Finds every replica of a data directory at a start; what is none goes to the quarantine with its reason.

import { isDfsError } from '../base/errors.ts'
import { type ClusterId, parseHandle } from '../base/ids.ts'
import { cloneStem, resolveClone } from './clone-files.ts'
import { CHUNKS_NAME, type DataDirectory, SHARD_COUNT, shardName } from './data-directory.ts'
import { recoverReplica } from './recover.ts'
import type { Replica } from './replica.ts'

/** Shards and chunks looked at side by side. */
const AT_ONCE = 16

/** Calls `onReplica` for each replica, in no order. Throws DISK_FAILED when the directory can't be read. */
export async function scanDirectory(
  directory: DataDirectory,
  clusterId: ClusterId,
  onReplica: (replica: Replica) => Promise<void>,
): Promise<void> {
  const shards = Array.from({ length: SHARD_COUNT }, (_, shard) => shard.toString(16).padStart(2, '0'))
  await eachOf(shards, AT_ONCE, (shard) => scanShard(directory, clusterId, shard, onReplica))
}

async function scanShard(
  directory: DataDirectory,
  clusterId: ClusterId,
  shard: string,
  onReplica: (replica: Replica) => Promise<void>,
): Promise<void> {
  const path = `${directory.path}/${CHUNKS_NAME}/${shard}`
  if ((await directory.disk.stat(path)) === undefined) {
    await directory.disk.makeDirectory(path) // lost with its chunks, or never copied: the others are still here
    await directory.disk.syncDirectory(`${directory.path}/${CHUNKS_NAME}`)
  }
  const stems = new Set<string>()
  const entries = await directory.disk.list(path)
  for (const stem of new Set(entries.map(({ name }) => cloneStem(name)))) {
    const handle = stem === undefined ? undefined : parseHandle(stem)
    if (stem !== undefined && handle && shardName(handle) === shard && (await resolveClone(directory, handle)))
      stems.add(stem)
  }
  for (const entry of entries) {
    const copied = cloneStem(entry.name)
    if (copied !== undefined && shardName(parseHandle(copied)!) === shard) continue
    const match = /^([0-9a-f]{14})\.(data|meta)$/.exec(entry.name)
    const handle = match ? parseHandle(match[1]!) : undefined
    if (handle && entry.kind === 'file' && shardName(handle) === shard) stems.add(match![1]!)
    else await directory.quarantine(`${path}/${entry.name}`, 'a name that no chunk has here')
  }
  await eachOf([...stems], AT_ONCE, async (stem) => {
    const found = await look(directory, clusterId, stem)
    if ('replica' in found) await onReplica(found.replica)
    else {
      await directory.quarantine(`${path}/${stem}.data`, found.fault)
      await directory.quarantine(`${path}/${stem}.meta`, found.fault)
    }
  })
}

async function look(directory: DataDirectory, clusterId: ClusterId, stem: string) {
  const handle = parseHandle(stem)!
  const [meta, data] = await Promise.all([
    directory.disk.stat(directory.metaPath(handle)),
    directory.disk.stat(directory.dataPath(handle)),
  ])
  if (meta === undefined) return { fault: 'there is no meta file' }
  try {
    const found = await recoverReplica(directory, clusterId, handle, meta.bytes, data?.bytes)
    if ('replica' in found) {
      const { form } = found.replica
      const bytes = data?.bytes ?? 0
      found.replica.fileBytes = form.kind === 'sealed' ? Math.min(bytes, form.sealed.length) : bytes
      directory.usedBytes += found.replica.fileBytes
    }
    return found
  } catch (error) {
    if (!isDfsError(error, 'DISK_FAILED')) throw error
    // One unreadable chunk is not yet a failed disk.
    directory.onReadError(error)
    return { fault: `it can't be read: ${error.message}` }
  }
}

/** Runs `action` for all items, at most `count` at once. */
async function eachOf<T>(items: readonly T[], count: number, action: (item: T) => Promise<void>): Promise<void> {
  let next = 0
  const work = async () => {
    while (next < items.length) await action(items[next++]!)
  }
  await Promise.all(Array.from({ length: Math.min(count, items.length) }, work))
}
