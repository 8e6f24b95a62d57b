// Bytes that lie in several slices.

import { crc32 } from '../base/crc32.ts'

export function bytesOf(slices: readonly Uint8Array[]): number {
  let bytes = 0
  for (const slice of slices) bytes += slice.length
  return bytes
}

export function crcOf(slices: readonly Uint8Array[]): number {
  let crc = 0
  for (const slice of slices) crc = crc32(slice, crc)
  return crc
}
