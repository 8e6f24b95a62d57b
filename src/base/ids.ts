// Ids: the numbers and strings that name things for ever.
//
// A chunk handle is lineage × 2^37 + counter: exact in a double, never used again, never 0. Handle 0 stands for
// zeros (a hole). A lineage is 16 random bits, drawn at format and at an accepted rollback.

import { assert } from './assert.ts'

type Brand<T, Name extends string> = T & { readonly __brand: Name }

/** Names a chunk: 1 .. 2^53 - 1. 0 (`HOLE`) stands for zeros. */
export type ChunkHandle = Brand<number, 'ChunkHandle'>
/** Names an inode: 1 (the root) upward, never used again. */
export type InodeId = Brand<number, 'InodeId'>
/** Names a chunkserver: 1 upward, given by the master; users see `cs-N`. */
export type ServerId = Brand<number, 'ServerId'>
/** Names a client session: 48 random bits drawn by the client. */
export type SessionId = Brand<number, 'SessionId'>
/** Names one data directory (disk) of a chunkserver: 48 random bits, drawn when it is formatted. */
export type DirectoryId = Brand<number, 'DirectoryId'>
/** Drawn each time a data directory is opened: 48 random bits. A member in another life takes no more bytes. */
export type Life = Brand<number, 'Life'>
/** Names a cluster: 16 random bytes as 32 hex digits. */
export type ClusterId = Brand<string, 'ClusterId'>

export const HOLE = 0 as ChunkHandle
export const ROOT_INODE = 1 as InodeId

export const LINEAGE_COUNT = 2 ** 16
export const HANDLE_COUNTER_COUNT = 2 ** 37
/** Session, directory and life ids are random numbers in 1 .. RANDOM_ID_MAX. */
export const RANDOM_ID_MAX = 2 ** 48 - 1

/** The handle of `counter` (1 .. 2^37 - 1) in `lineage` (0 .. 2^16 - 1). */
export function chunkHandle(lineage: number, counter: number): ChunkHandle {
  assert(
    lineage >= 0 && lineage < LINEAGE_COUNT && counter >= 1 && counter < HANDLE_COUNTER_COUNT,
    'handle parts out of range',
  )
  return (lineage * HANDLE_COUNTER_COUNT + counter) as ChunkHandle
}

export function lineageOf(handle: ChunkHandle): number {
  return Math.floor(handle / HANDLE_COUNTER_COUNT)
}

export function counterOf(handle: ChunkHandle): number {
  return handle % HANDLE_COUNTER_COUNT
}

/** 14 lower-case hex digits: how handles appear in file names and to people. */
export function formatHandle(handle: ChunkHandle): string {
  return handle.toString(16).padStart(14, '0')
}

/** The handle of 14 hex digits, or undefined. */
export function parseHandle(text: string): ChunkHandle | undefined {
  if (!/^[0-9a-f]{14}$/.test(text)) return undefined
  const value = Number.parseInt(text, 16)
  return Number.isSafeInteger(value) ? (value as ChunkHandle) : undefined
}

/** `cs-3`: how servers appear to people. */
export function formatServer(id: ServerId): string {
  return `cs-${id}`
}

/** The server id of `cs-3`, or undefined. */
export function parseServer(text: string): ServerId | undefined {
  const match = /^cs-([1-9][0-9]{0,8})$/.exec(text)
  return match ? (Number(match[1]) as ServerId) : undefined
}
