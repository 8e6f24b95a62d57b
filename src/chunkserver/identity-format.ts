// The identity file of a data directory: whose it is, and which others belong to the same server.
//
// README.md beside this file describes it byte by byte; only this file reads or writes those bytes.

import { assert } from '../base/assert.ts'
import { crc32 } from '../base/crc32.ts'
import type { ClusterId, DirectoryId, ServerId } from '../base/ids.ts'
import { DIRECTORIES_MAX } from '../base/limits.ts'
import { readU64, writeU64 } from './bytes.ts'

export const IDENTITY_BYTES = 1024
const MAGIC = Buffer.from('dfschdir', 'latin1')
const FORMAT_VERSION = 1
const SIBLINGS_AT = 64

export interface DirectoryIdentity {
  readonly clusterId: ClusterId
  /** The same in all directories of one server: 48 random bits. */
  readonly server: number
  /** Given by the master; 0 until then. */
  readonly serverId: ServerId | 0
  readonly directory: DirectoryId
  /** All directories of the server, this one included. */
  readonly siblings: readonly DirectoryId[]
}

export function encodeIdentity(identity: DirectoryIdentity): Buffer {
  assert(identity.siblings.length <= DIRECTORIES_MAX, 'too many directories')
  const bytes = Buffer.alloc(IDENTITY_BYTES)
  MAGIC.copy(bytes)
  bytes.writeUInt16LE(FORMAT_VERSION, 8)
  bytes.writeUInt32LE(IDENTITY_BYTES, 12)
  bytes.write(identity.clusterId, 16, 16, 'hex')
  writeU64(bytes, identity.server, 32)
  writeU64(bytes, identity.directory, 40)
  bytes.writeUInt32LE(identity.serverId, 48)
  bytes.writeUInt32LE(identity.siblings.length, 52)
  identity.siblings.forEach((sibling, index) => {
    writeU64(bytes, sibling, SIBLINGS_AT + 8 * index)
  })
  bytes.writeUInt32LE(crc32(bytes.subarray(0, IDENTITY_BYTES - 4)), IDENTITY_BYTES - 4)
  return bytes
}

/** The identity in `bytes`, or why it can't be read. */
export function decodeIdentity(bytes: Buffer): DirectoryIdentity | { readonly fault: string } {
  if (bytes.length !== IDENTITY_BYTES) return { fault: `${bytes.length} bytes, an identity has ${IDENTITY_BYTES}` }
  if (!bytes.subarray(0, 8).equals(MAGIC)) return { fault: 'it does not start as an identity' }
  const expected = bytes.readUInt32LE(IDENTITY_BYTES - 4)
  const actual = crc32(bytes.subarray(0, IDENTITY_BYTES - 4))
  if (expected !== actual) return { fault: `checksum ${expected} on disk, ${actual} computed` }
  const version = bytes.readUInt16LE(8)
  if (version !== FORMAT_VERSION || bytes.readUInt16LE(10) !== 0)
    return { fault: `format version ${version} of a later program` }
  const count = bytes.readUInt32LE(52)
  const server = readU64(bytes, 32)
  const directory = readU64(bytes, 40)
  if (!server || !directory || count > DIRECTORIES_MAX) return { fault: 'a field out of range' }
  const siblings: DirectoryId[] = []
  for (let index = 0; index < count; index++) {
    siblings.push((readU64(bytes, SIBLINGS_AT + 8 * index) ?? 0) as DirectoryId)
  }
  return {
    clusterId: bytes.toString('hex', 16, 32) as ClusterId,
    server,
    serverId: bytes.readUInt32LE(48) as ServerId | 0,
    directory: directory as DirectoryId,
    siblings,
  }
}
