import { readFileSync } from 'node:fs'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { combineSums } from '../../src/base/blocks.ts'
import { crc32 } from '../../src/base/crc32.ts'
import type { DirectoryId, Life, ServerId, SessionId } from '../../src/base/ids.ts'
import { Random } from '../../src/base/random.ts'
import { BlockSums, PieceSums } from '../../src/chunkserver/block-sums.ts'
import {
  CHUNK_HEADER_BYTES,
  type ChunkHeader,
  decodeHeader,
  decodeRecord,
  decodeTrailer,
  encodeHeader,
  encodeRecord,
  encodeTrailer,
  type JournalRecord,
  RECORD_HEADER_BYTES,
  SEALED_TRAILER_BYTES,
} from '../../src/chunkserver/format.ts'
import {
  type DirectoryIdentity,
  decodeIdentity,
  encodeIdentity,
  IDENTITY_BYTES,
} from '../../src/chunkserver/identity-format.ts'
import { ENTRY_BYTES } from '../../src/chunkserver/record-index.ts'
import { replay } from '../../src/chunkserver/replay.ts'
import { bytesAt, CLUSTER, handleOf } from './store-fixture.ts'

const header: ChunkHeader = {
  clusterId: CLUSTER,
  handle: handleOf(258),
  version: 3,
  logIndex: 2 ** 40 + 5,
  chunkBytes: 1 << 26,
  shared: true,
  directory: 0x123456789abc as DirectoryId,
  life: 0xfedcba987654 as Life,
  isTombstone: false,
  members: [
    { server: 1 as ServerId, directory: 0x123456789abc as DirectoryId, life: 0xfedcba987654 as Life },
    { server: 9 as ServerId, directory: 5 as DirectoryId, life: 6 as Life },
  ],
}
const entry = { writer: 0xaabbccddeeff as SessionId, sequence: 2 ** 33, count: 3, offset: 0, length: 5000 }
const records: JournalRecord[] = [
  { kind: 'extend', serial: 7, from: 0, to: 5000, sums: new Uint32Array([11, 12]), entries: [entry] },
  { kind: 'synced', length: 5000 },
  { kind: 'extend', serial: 8, from: 5000, to: 8192, sums: new Uint32Array([13]), entries: [] },
  { kind: 'version', version: 4 },
  { kind: 'fenced' },
]

/** A meta file of these records; each says that all before it was on disk when `isSynced`. */
function metaFile(list: readonly JournalRecord[], isSynced: boolean): { bytes: Buffer; ends: number[] } {
  const first = encodeHeader(header)
  const parts = [first]
  const ends: number[] = []
  let at = CHUNK_HEADER_BYTES
  let seed = first.readUInt32LE(CHUNK_HEADER_BYTES - 4)
  for (const record of list) {
    const { bytes, crc } = encodeRecord(record, at, seed, isSynced ? at : 0)
    parts.push(bytes)
    at += bytes.length
    seed = crc
    ends.push(at)
  }
  return { bytes: Buffer.concat(parts), ends }
}

test('header, records, trailer and identity come back as they were written', () => {
  assert.equal(decodeHeader(encodeHeader(header)), header)
  const tombstone = { ...header, isTombstone: true, members: [] }
  assert.equal(decodeHeader(encodeHeader(tombstone)), tombstone)
  assert.ok('fault' in decodeHeader(encodeHeader({ ...header, version: 0 })), 'the protocol has no version 0')
  const { bytes } = metaFile(records, true)
  let at = CHUNK_HEADER_BYTES
  for (const record of records) {
    const stored = decodeRecord(bytes, at)!
    assert.equal(stored.record, record)
    at += stored.bytes
  }
  assert.is(at, bytes.length)
  const trailer = {
    handle: header.handle,
    version: 4,
    length: 1,
    digest: 2,
    indexDigest: 3,
    recordOffset: 4,
    recordBytes: 5,
    recordCrc: 6,
  }
  assert.equal(decodeTrailer(encodeTrailer(trailer)), trailer)
  const identity: DirectoryIdentity = {
    clusterId: CLUSTER,
    server: 0x111111111111,
    serverId: 4 as ServerId,
    directory: 5 as DirectoryId,
    siblings: [5, 6, 7] as DirectoryId[],
  }
  assert.equal(decodeIdentity(encodeIdentity(identity)), identity)
})

test('one bit flipped anywhere is noticed in header, record, trailer and identity', () => {
  const random = new Random(1)
  const flipped = (bytes: Buffer) => {
    const copy = Buffer.from(bytes)
    const at = random.below(bytes.length)
    copy[at] = copy[at]! ^ (1 << random.below(8))
    return copy
  }
  const good = encodeHeader(header)
  const record = metaFile(records.slice(0, 1), false).bytes
  const trailer = encodeTrailer({
    handle: header.handle,
    version: 4,
    length: 1,
    digest: 2,
    indexDigest: 3,
    recordOffset: 4,
    recordBytes: 5,
    recordCrc: 6,
  })
  const identity = encodeIdentity({
    clusterId: CLUSTER,
    server: 1,
    serverId: 0,
    directory: 2 as DirectoryId,
    siblings: [],
  })
  for (let turn = 0; turn < 500; turn++) {
    assert.ok('fault' in decodeHeader(flipped(good)))
    const file = Buffer.concat([good, flipped(record.subarray(CHUNK_HEADER_BYTES))])
    assert.is(decodeRecord(file, CHUNK_HEADER_BYTES), undefined)
    assert.is(decodeTrailer(flipped(trailer)), undefined)
    assert.ok('fault' in decodeIdentity(flipped(identity)))
  }
})

test('a journal cut at every byte keeps the records before the cut, and is no damage', () => {
  const { bytes, ends } = metaFile(records, true)
  for (let cut = CHUNK_HEADER_BYTES; cut < bytes.length; cut++) {
    const found = replay(bytes.subarray(0, cut))
    assert.not('fault' in found)
    if ('fault' in found) return
    assert.is(found.damage, undefined)
    const whole = ends.filter((end) => end <= cut).length
    assert.is(found.recordCount, whole)
    assert.is(found.endBytes, whole === 0 ? CHUNK_HEADER_BYTES : ends[whole - 1])
    assert.is(found.tornBytes, cut - found.endBytes)
    assert.is(found.sums.length, whole >= 2 ? 5000 : 0, 'proven by a synced record only')
  }
  for (let cut = 0; cut < CHUNK_HEADER_BYTES; cut += 97) assert.ok('fault' in replay(bytes.subarray(0, cut)))
})

test('a damaged record is damage when a later one says it was on disk, else a torn tail', () => {
  for (const isSynced of [true, false]) {
    const { bytes, ends } = metaFile(records, isSynced)
    for (let index = 0; index < records.length - 1; index++) {
      const start = index === 0 ? CHUNK_HEADER_BYTES : ends[index - 1]!
      for (let at = start; at < ends[index]!; at++) {
        const file = Buffer.from(bytes)
        file[at] = file[at]! ^ 0x10
        const found = replay(file)
        if ('fault' in found) throw new Error(found.fault)
        assert.is(found.recordCount, index)
        assert.is(found.damage !== undefined, isSynced, `byte ${at}`)
      }
    }
  }
})

test('a record of another chunk, twice, or out of its turn does not fit in', () => {
  const { bytes, ends } = metaFile(records, false)
  const first = bytes.subarray(CHUNK_HEADER_BYTES, ends[0])
  const twice = Buffer.concat([bytes.subarray(0, ends[0]), first, bytes.subarray(ends[0]!)])
  const found = replay(twice)
  if ('fault' in found) throw new Error(found.fault)
  assert.is(found.recordCount, 1)
  const foreign = encodeRecord(records[1]!, ends[0]!, 12345, 0).bytes
  const mixed = replay(Buffer.concat([bytes.subarray(0, ends[0]), foreign]))
  if ('fault' in mixed) throw new Error(mixed.fault)
  assert.is(mixed.recordCount, 1)
})

test('sums of pieces cut anywhere are those of the blocks, and combine to the digest', () => {
  const random = new Random(7)
  for (let turn = 0; turn < 200; turn++) {
    const bytes = bytesAt(turn, 0, random.below(30_000) + 1)
    const sums = new BlockSums()
    let partial = 0
    for (let at = 0; at < bytes.length; ) {
      const count = Math.min(bytes.length - at, random.pick([1, 100, 4095, 4096, 4097, 9000]))
      const piece = new PieceSums(at, partial)
      for (let inside = 0; inside < count; ) {
        const slice = Math.min(count - inside, random.pick([1, 50, 4096, 5000]))
        piece.push(bytes.subarray(at + inside, at + inside + slice))
        inside += slice
      }
      assert.is(piece.crc, crc32(bytes.subarray(at, at + count)))
      sums.extend(at + count, piece.sums)
      partial = piece.partialSum
      at += count
      assert.is(sums.digest(), crc32(bytes.subarray(0, at)))
      assert.is(sums.partialSum, partial)
    }
    for (let block = 0; block * 4096 < bytes.length; block++) {
      assert.is(sums.at(block), crc32(bytes.subarray(block * 4096, (block + 1) * 4096)))
    }
    const blocks = Math.ceil(bytes.length / 4096)
    assert.is(combineSums(sums.slice(0, blocks), bytes.length - (blocks - 1) * 4096), crc32(bytes))
  }
})

test('README.md gives the sizes, magics and kinds that the code has', () => {
  const page = readFileSync(new URL('../../src/chunkserver/README.md', import.meta.url), 'utf8')
  const sizes = [
    `header (${CHUNK_HEADER_BYTES} bytes)`,
    `trailer (${SEALED_TRAILER_BYTES} bytes)`,
    `\`identity\` is ${IDENTITY_BYTES} bytes`,
    `entries × ${ENTRY_BYTES}`,
  ]
  for (const text of [...sizes, `| ${RECORD_HEADER_BYTES} | | payload |`]) assert.ok(page.includes(text), text)
  const magics = [
    encodeHeader(header).toString('latin1', 0, 8),
    encodeIdentity({ clusterId: CLUSTER, server: 1, serverId: 0, directory: 2 as DirectoryId, siblings: [] }).toString(
      'latin1',
      0,
      8,
    ),
  ]
  for (const magic of magics) assert.ok(page.includes(`\`${magic}\``), magic)
  for (const record of records) {
    const { bytes } = encodeRecord(record, 4096, 0, 0)
    assert.ok(page.includes(`| ${bytes[4]} | ${record.kind} |`), record.kind)
  }
  // Where the page says that a field stands, the code put it.
  const bytes = encodeHeader(header)
  const row = (name: string) =>
    Number(new RegExp(`\\| (\\d+) \\| \\d+ (?:each )?\\| ${name} \\|`).exec(page.slice(page.indexOf('### Header')))![1])
  assert.is(bytes.readUInt32LE(row('chunk version')), header.version)
  assert.is(bytes.readUInt32LE(row('chunk bytes')), header.chunkBytes)
  assert.is(bytes.readUIntLE(row('log index'), 6), header.logIndex)
  assert.is(bytes.readUIntLE(row('life'), 6), header.life)
  assert.is(bytes[row('shared')], 1)
})

test.run()
