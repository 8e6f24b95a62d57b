// Opens the data directories of a server: locks them, proves that they belong together, formats new ones.
//
// How a start decides (nothing is changed on disk before every directory has passed):
//
//   identity file   other entries   the known ones name a missing sibling   → verdict
//   readable        any             –                                        known
//   unreadable      any             –                                        WRONG_DISK
//   none            none            no, or all are new                       new: formatted
//   none            none            yes                                      WRONG_DISK, unless `adoptEmpty`
//   none            some            –                                        WRONG_DISK
//
// `lock`, `lost+found` and a half-written `identity.new` count as nothing. Known directories must share cluster and
// server identity.

import { DfsError } from '../base/errors.ts'
import { type ClusterId, type DirectoryId, type Life, RANDOM_ID_MAX, type ServerId } from '../base/ids.ts'
import { DIRECTORIES_MAX } from '../base/limits.ts'
import type { Logger } from '../base/log.ts'
import type { DiskLock } from '../io/disk.ts'
import type { Io } from '../io/io.ts'
import { CHUNKS_NAME, DataDirectory, IDENTITY_NAME, LOCK_NAME, QUARANTINE_NAME, SHARD_COUNT } from './data-directory.ts'
import { type DirectoryIdentity, decodeIdentity, encodeIdentity, IDENTITY_BYTES } from './identity-format.ts'
import { WatchedDisk } from './watched-disk.ts'

const IDENTITY_NEW_NAME = 'identity.new'
/** How the identity of a master's directory begins (../master/identity.ts). */
const MASTER_IDENTITY = 'dfs-master '
const COUNTS_AS_NOTHING = new Set([LOCK_NAME, 'lost+found', IDENTITY_NEW_NAME])

export interface DirectoriesOptions {
  /** 1 .. DIRECTORIES_MAX paths; made when missing. */
  readonly paths: readonly string[]
  /** Lets an empty directory take the place of a known one. */
  readonly adoptEmpty: boolean
  readonly logger: Logger
}

/** Directories that are locked and have passed the checks; nothing is written yet. */
export interface CheckedDirectories {
  /** Of the known directories; undefined when all are new. */
  readonly clusterId: ClusterId | undefined
  /** The server's identity: 48 random bits, drawn now when all are new. */
  readonly server: number
  /** What the master called this server before; 0 when it never did. */
  readonly serverId: ServerId | 0
  readonly places: readonly Place[]
}

interface Place {
  readonly path: string
  readonly lock: DiskLock
  readonly identity: DirectoryIdentity | undefined
}

/**
 * Locks and checks. Throws LOCKED, WRONG_DISK, BAD_FORMAT, INVALID_ARGUMENT, DISK_FAILED; then no lock is held and
 * nothing has been changed.
 */
export async function checkDirectories(io: Io, options: DirectoriesOptions): Promise<CheckedDirectories> {
  const { paths } = options
  if (paths.length === 0 || paths.length > DIRECTORIES_MAX) {
    const message = `${paths.length} data directories, 1 to ${DIRECTORIES_MAX} are possible`
    throw new DfsError('INVALID_ARGUMENT', message)
  }
  const twice = paths.find((path, index) => paths.indexOf(path) !== index)
  if (twice !== undefined) {
    throw new DfsError('INVALID_ARGUMENT', `${twice} is named twice among the data directories`, { path: twice })
  }
  const places: Place[] = []
  try {
    for (const path of paths) places.push(await lockPlace(io, path))
    return checkTogether(io, places, options)
  } catch (error) {
    for (const place of places) await place.lock.release()
    throw error
  }
}

/** Formats what is new, writes identities where they change, and draws a life for each directory. */
export async function openDirectories(
  io: Io,
  checked: CheckedDirectories,
  clusterId: ClusterId,
  options: {
    readonly serverId: ServerId | 0
    readonly reserveBytes: number
    readonly logger: Logger
    readonly onFailed: (directory: DataDirectory) => void
  },
): Promise<DataDirectory[]> {
  const ids = checked.places.map((place) => place.identity?.directory ?? randomId<DirectoryId>(io))
  // First an identity each, then the siblings: a start that dies between leaves none that misses another.
  for (const [index, { path, identity }] of checked.places.entries()) {
    if (identity !== undefined) continue
    const directory = ids[index]!
    const { server } = checked
    await layOut(io, path)
    await writeIdentity(io, path, undefined, {
      clusterId,
      server,
      serverId: options.serverId,
      directory,
      siblings: [directory],
    })
  }
  const directories: DataDirectory[] = []
  for (const [index, place] of checked.places.entries()) {
    const identity: DirectoryIdentity = {
      clusterId,
      server: checked.server,
      serverId: options.serverId,
      directory: ids[index]!,
      siblings: ids,
    }
    await writeIdentity(io, place.path, place.identity, identity)
    const directory = new DataDirectory({
      path: place.path,
      identity,
      life: randomId<Life>(io),
      disk: new WatchedDisk(io.disk, io.clock),
      lock: place.lock,
      logger: options.logger,
      reserveBytes: options.reserveBytes,
      onFailed: options.onFailed,
    })
    await directory.measure()
    directories.push(directory)
  }
  return directories
}

/** Notes the number that the master gave the server. */
export async function noteServerId(io: Io, directories: readonly DataDirectory[], serverId: ServerId): Promise<void> {
  for (const directory of directories) {
    const identity = { ...directory.identity, serverId }
    await writeIdentity(io, directory.path, directory.identity, identity)
    directory.identity = identity
  }
}

/** The identity of the directory at `path`; undefined when it has none. WRONG_DISK when it can't be read. */
export async function readIdentity(io: Io, path: string): Promise<DirectoryIdentity | undefined> {
  const name = `${path}/${IDENTITY_NAME}`
  const stat = await io.disk.stat(name)
  if (stat === undefined) return undefined
  const file = await io.disk.open(name, 'read')
  try {
    const bytes = Buffer.alloc(IDENTITY_BYTES)
    const count = await file.read(bytes, 0)
    const identity = decodeIdentity(stat.bytes === IDENTITY_BYTES ? bytes.subarray(0, count) : bytes.subarray(0, 0))
    if (!('fault' in identity)) return identity
    // A slip of the hand that is not damage.
    if (bytes.toString('latin1', 0, MASTER_IDENTITY.length) === MASTER_IDENTITY) {
      const message = `${path} is the data directory of a master: give the chunkserver one of its own`
      throw new DfsError('WRONG_DISK', message, { path: name })
    }
    const message = `${name} can't be read: ${identity.fault}. Put it back from a copy; nothing was changed`
    throw new DfsError('WRONG_DISK', message, { path: name })
  } finally {
    await file.close()
  }
}

async function lockPlace(io: Io, path: string): Promise<Place> {
  await makeDurably(io, path)
  // Looked at before the lock as well: in a directory of somebody else's not even that is left behind.
  await requireOurs(io, path)
  const lock = await io.disk.lock(`${path}/${LOCK_NAME}`)
  try {
    return { path, lock, identity: await requireOurs(io, path) }
  } catch (error) {
    await lock.release()
    throw error
  }
}

/** The identity of a data directory, undefined for one that may become one. WRONG_DISK for all others. */
async function requireOurs(io: Io, path: string): Promise<DirectoryIdentity | undefined> {
  const identity = await readIdentity(io, path)
  if (identity === undefined) await requireEmpty(io, path)
  return identity
}

/** Makes the directory, with its parents; each new name is synced in the directory that holds it. */
async function makeDurably(io: Io, path: string): Promise<void> {
  const holders: string[] = []
  for (let at = path; (await io.disk.stat(at)) === undefined; at = holders.at(-1)!) holders.push(parentOf(at))
  if (holders.length === 0) return
  await io.disk.makeDirectory(path)
  for (const holder of holders.reverse()) await io.disk.syncDirectory(holder)
}

function parentOf(path: string): string {
  const slash = path.replace(/\/+$/, '').lastIndexOf('/')
  if (slash < 0) return '.'
  return slash === 0 ? '/' : path.slice(0, slash)
}

/** `chunks` and `quarantine` without a file in them are what an interrupted first start leaves. */
async function requireEmpty(io: Io, path: string): Promise<void> {
  for (const entry of await io.disk.list(path)) {
    if (COUNTS_AS_NOTHING.has(entry.name)) continue
    const isOurs = entry.kind === 'directory' && (entry.name === CHUNKS_NAME || entry.name === QUARANTINE_NAME)
    if (isOurs && (await hasNoFiles(io, `${path}/${entry.name}`))) continue
    const message = isOurs
      ? `${path} holds chunks but no identity: put the file ${IDENTITY_NAME} back from a copy, or give an empty directory`
      : `${path} is no data directory and not empty (${entry.name}): give an empty one`
    throw new DfsError('WRONG_DISK', message, { path, entry: entry.name })
  }
}

async function hasNoFiles(io: Io, path: string): Promise<boolean> {
  for (const entry of await io.disk.list(path)) {
    if (entry.kind !== 'directory' || (await io.disk.list(`${path}/${entry.name}`)).length > 0) return false
  }
  return true
}

function checkTogether(io: Io, places: readonly Place[], options: DirectoriesOptions): CheckedDirectories {
  const known = places.filter((place) => place.identity !== undefined)
  const first = known[0]
  if (first === undefined) {
    return { clusterId: undefined, server: randomId(io), serverId: 0, places }
  }
  const { clusterId, server } = first.identity!
  for (const { path, identity } of known) {
    if (identity!.clusterId !== clusterId) {
      const message = `${path} belongs to cluster ${identity!.clusterId}, ${first.path} to ${clusterId}: leave one out`
      throw new DfsError('WRONG_DISK', message, { path })
    }
    if (identity!.server !== server) {
      const message = `${path} belongs to server identity ${identity!.server}, ${first.path} to ${server}: put it back into its own server`
      throw new DfsError('WRONG_DISK', message, { path })
    }
  }
  const present = new Map<DirectoryId, string>()
  for (const { path, identity } of known) {
    const other = present.get(identity!.directory)
    if (other !== undefined) {
      const message = `${path} and ${other} are the same directory ${identity!.directory}: one is a copy, leave it out`
      throw new DfsError('WRONG_DISK', message, { path, other })
    }
    present.set(identity!.directory, path)
  }
  const missing = new Set(known.flatMap((place) => place.identity!.siblings).filter((id) => !present.has(id)))
  const empty = places.find((place) => place.identity === undefined)
  if (empty !== undefined && missing.size > 0 && !options.adoptEmpty) {
    const message = `${empty.path} is empty, but this server has a directory ${[...missing][0]} that is not here: is the disk mounted? With --adopt-empty the empty one takes its place`
    throw new DfsError('WRONG_DISK', message, { path: empty.path, missing: missing.size })
  }
  if (missing.size > 0) {
    options.logger.warn({ missing: [...missing] }, `starting without ${missing.size} known data directories`)
  }
  return { clusterId, server, serverId: first.identity!.serverId, places }
}

async function layOut(io: Io, path: string): Promise<void> {
  const { disk } = io
  const chunks = `${path}/${CHUNKS_NAME}`
  await disk.makeDirectory(`${path}/${QUARANTINE_NAME}`)
  for (let shard = 0; shard < SHARD_COUNT; shard++) {
    await disk.makeDirectory(`${chunks}/${shard.toString(16).padStart(2, '0')}`)
  }
  await disk.syncDirectory(chunks)
  await disk.syncDirectory(path)
}

/** Written beside, synced, renamed, the directory synced; nothing when it says the same already. */
async function writeIdentity(
  io: Io,
  path: string,
  old: DirectoryIdentity | undefined,
  identity: DirectoryIdentity,
): Promise<void> {
  const { disk } = io
  const bytes = encodeIdentity(identity)
  if (old !== undefined && Buffer.compare(encodeIdentity(old), bytes) === 0) return
  const beside = `${path}/${IDENTITY_NEW_NAME}`
  if ((await disk.stat(beside)) !== undefined) await disk.remove(beside)
  const file = await disk.open(beside, 'create')
  try {
    await file.write([bytes], 0)
    await file.sync()
  } finally {
    await file.close()
  }
  await disk.rename(beside, `${path}/${IDENTITY_NAME}`)
  await disk.syncDirectory(path)
}

function randomId<T extends number>(io: Io): T {
  return (1 + io.entropy.below(RANDOM_ID_MAX)) as T
}
