// The identity of a master's data directory: which cluster it belongs to. Written beside, synced, renamed.
//
// One line of text, so that a person can read it:  dfs-master 1 CLUSTER new|formed CRC32\n
// (format version, 32 hex digits, CRC32 of what stands before the last space as eight hex digits). `new` becomes
// `formed` when the log's first record is durable: from then on a missing log is damage, never a reason to begin anew.
// See ../../oplog-format.md.
//
//   DIR/identity      this file
//   DIR/lock          locked while a master runs
//   DIR/log/          the operation log
//   DIR/checkpoints/  checkpoints

import { crc32 } from '../base/crc32.ts'
import { DfsError } from '../base/errors.ts'
import type { ClusterId } from '../base/ids.ts'
import type { Disk } from '../io/disk.ts'
import type { Entropy } from '../io/entropy.ts'

export const IDENTITY_FORMAT_VERSION = 1

export interface MasterDirectory {
  readonly clusterId: ClusterId
  readonly logDirectory: string
  readonly checkpointDirectory: string
  /** The log has had a durable record: it must be there. */
  readonly isFormed: boolean
}

/**
 * Opens a data directory, formatting an empty one (`lost+found` doesn't count). The caller holds its lock.
 *
 * @throws WRONG_DISK when it holds something else or a damaged identity; nothing is changed then
 */
export async function openMasterDirectory(disk: Disk, entropy: Entropy, directory: string): Promise<MasterDirectory> {
  const identity = (await readIdentity(disk, directory)) ?? (await format(disk, entropy, directory))
  return { ...identity, logDirectory: `${directory}/log`, checkpointDirectory: `${directory}/checkpoints` }
}

export interface MasterIdentity {
  readonly clusterId: ClusterId
  readonly isFormed: boolean
}

/** Says that the log's first record is durable. */
export function markFormed(disk: Disk, directory: string, clusterId: ClusterId): Promise<void> {
  return writeIdentity(disk, directory, { clusterId, isFormed: true })
}

/** The identity of a data directory; undefined for one that has none. @throws WRONG_DISK for a damaged one */
export async function readIdentity(disk: Disk, directory: string): Promise<MasterIdentity | undefined> {
  const path = `${directory}/identity`
  const stat = await disk.stat(path)
  if (!stat) return undefined
  const bytes = Buffer.alloc(Math.min(stat.bytes, 4096))
  const file = await disk.open(path, 'read')
  try {
    await file.read(bytes, 0)
  } finally {
    await file.close()
  }
  return decodeIdentity(bytes, path)
}

export function encodeIdentity({ clusterId, isFormed }: MasterIdentity): Buffer {
  const facts = `dfs-master ${IDENTITY_FORMAT_VERSION} ${clusterId} ${isFormed ? 'formed' : 'new'}`
  return Buffer.from(`${facts} ${crc32(Buffer.from(facts)).toString(16).padStart(8, '0')}\n`)
}

/** @throws WRONG_DISK */
export function decodeIdentity(bytes: Buffer, path: string): MasterIdentity {
  const match = /^(dfs-master (\d+) ([0-9a-f]{32}) (new|formed)) ([0-9a-f]{8})\n$/.exec(bytes.toString('latin1'))
  const version = Number(match?.[2])
  if (match && version > IDENTITY_FORMAT_VERSION)
    throw new DfsError(
      'BAD_FORMAT',
      `${path}: format version ${version}, at most ${IDENTITY_FORMAT_VERSION} is known`,
      { path },
    )
  if (!match || crc32(Buffer.from(match[1]!)).toString(16).padStart(8, '0') !== match[5])
    throw new DfsError(
      'WRONG_DISK',
      `${path} is not the identity of a master (a chunkserver's directory, or damaged); nothing was changed`,
      { path },
    )
  return { clusterId: match[3] as ClusterId, isFormed: match[4] === 'formed' }
}

/**
 * Refuses a directory that can't be a master's, before anything is made in it.
 *
 * @throws WRONG_DISK
 */
export async function requireMasterDirectory(disk: Disk, directory: string): Promise<void> {
  if ((await readIdentity(disk, directory)) === undefined) await requireEmpty(disk, directory)
}

async function requireEmpty(disk: Disk, directory: string): Promise<void> {
  const ours = new Set(['lost+found', 'lock', 'identity.tmp'])
  const strangers = (await disk.list(directory)).filter(({ name }) => !ours.has(name))
  if (strangers.length > 0)
    throw new DfsError(
      'WRONG_DISK',
      `${directory} has no identity of a master but is not empty (${strangers[0]?.name}); give an empty directory or the right one`,
      { path: directory },
    )
}

async function format(disk: Disk, entropy: Entropy, directory: string): Promise<MasterIdentity> {
  await requireEmpty(disk, directory)
  const identity = { clusterId: entropy.bytes(16).toString('hex') as ClusterId, isFormed: false }
  await writeIdentity(disk, directory, identity)
  return identity
}

async function writeIdentity(disk: Disk, directory: string, identity: MasterIdentity): Promise<void> {
  const path = `${directory}/identity`
  const beside = `${path}.tmp`
  if (await disk.stat(beside)) await disk.remove(beside)
  const file = await disk.open(beside, 'create')
  try {
    await file.write([encodeIdentity(identity)], 0)
    await file.sync()
  } finally {
    await file.close()
  }
  await disk.rename(beside, path)
  await disk.syncDirectory(directory)
}
