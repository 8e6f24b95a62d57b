// The layout of a page of the tree of entries: offsets, and the bytes of one entry (byte-tree.ts says what a page is).

export const PAGE = 4096
/** No page. */
export const NONE = 0xffffffff
/** Bytes of the directory, which every key begins with. */
export const DIRECTORY_BYTES = 6
/** Byte offset of the first slot. */
export const SLOTS = 20
/** Fields of a page's header, as indexes of 16-bit words. */
export const COUNT = 0
export const LEVEL = 1
export const HEAP = 2
export const DEAD = 3
export const PREFIX = 4
/** Where the last insertion went, to notice keys that arrive in order. */
export const LAST = 5
export const NEXT = 6
export const PREVIOUS = 8
export const SLOT = SLOTS / 2
/** Bytes of an entry's value. */
export const VALUE_BYTES = 6

/** Bytes of an entry in the heap whose key has `rest` bytes after the prefix. */
export function entryBytes(rest: number): number {
  return VALUE_BYTES + (rest < 255 ? 1 : 2) + rest
}

/** Writes a value of 0 .. 2^48 - 1 where an entry begins. */
export function writeValue(bytes: Buffer, at: number, value: number): void {
  const low = value >>> 0
  const high = Math.floor(value / 2 ** 32)
  bytes[at] = low
  bytes[at + 1] = low >>> 8
  bytes[at + 2] = low >>> 16
  bytes[at + 3] = low >>> 24
  bytes[at + 4] = high
  bytes[at + 5] = high >>> 8
}

/** Writes an entry whose rest is bytes `from` .. `to` - 1 of `key`. */
export function writeEntry(bytes: Buffer, at: number, value: number, key: Uint8Array, from: number, to: number): void {
  writeValue(bytes, at, value)
  const rest = to - from
  let write = at + VALUE_BYTES
  if (rest < 255) {
    bytes[write++] = rest
  } else {
    bytes[write++] = 255
    bytes[write++] = rest - 255
  }
  for (let i = from; i < to; i++) bytes[write++] = key[i]!
}

/** Copies the whole key of an entry of the page that begins at `base`. @returns its bytes */
export function copyKey(bytes: Buffer, words: Uint16Array, base: number, slot: number, to: Buffer): number {
  const prefixBytes = words[base / 2 + PREFIX]!
  const prefix = base + PAGE - prefixBytes
  for (let i = 0; i < prefixBytes; i++) to[i] = bytes[prefix + i]!
  let at = base + words[base / 2 + SLOT + slot]! + VALUE_BYTES
  let rest = bytes[at++]!
  if (rest === 255) rest += bytes[at++]!
  for (let i = 0; i < rest; i++) to[prefixBytes + i] = bytes[at + i]!
  return prefixBytes + rest
}

/** How many bytes the two keys share from their start. */
export function commonBytes(a: Uint8Array, aBytes: number, b: Uint8Array, bBytes: number): number {
  const most = Math.min(aBytes, bBytes)
  let common = 0
  while (common < most && a[common] === b[common]) common++
  return common
}
