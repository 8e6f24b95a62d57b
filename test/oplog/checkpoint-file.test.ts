// Checkpoint files: canonical bytes, creation that survives power loss, and every kind of damage.

import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { type DfsError, isDfsError } from '../../src/base/errors.ts'
import { silentLogger } from '../../src/base/log.ts'
import { Random } from '../../src/base/random.ts'
import { MiB } from '../../src/base/units.ts'
import {
  type CheckpointSection,
  checkpointName,
  dropCheckpoints,
  listCheckpoints,
  loadCheckpoint,
  loadNewestCheckpoint,
  removeCheckpointLeftovers,
  writeCheckpoint,
} from '../../src/oplog/checkpoint-file.ts'
import type { CheckpointReader } from '../../src/oplog/checkpoint-reader.ts'
import { clusterId, directory, otherClusterId } from './log-fixture.ts'
import { MemoryDisk } from './memory-disk.ts'

const columns = Buffer.from(Array.from({ length: 2.5 * MiB }, (_, index) => (index * 7) % 251))

/** Three sections, cut into pieces of `pieceBytes`. */
function sections(pieceBytes: number, text = 'small'): CheckpointSection[] {
  function* pieces(bytes: Buffer) {
    for (let at = 0; at < bytes.length; at += pieceBytes) yield bytes.subarray(at, at + pieceBytes)
  }
  return [
    { name: 'inodes', bytes: pieces(columns) },
    { name: 'empty', bytes: [] },
    { name: 'names', bytes: pieces(Buffer.from(text)) },
  ]
}

function write(disk: MemoryDisk, index: number, parts: CheckpointSection[] = sections(MiB)) {
  return writeCheckpoint({ disk, directory, clusterId, index, term: 2 }, parts)
}

async function newDisk(): Promise<MemoryDisk> {
  const disk = new MemoryDisk()
  await disk.makeDirectory(directory)
  return disk
}

async function readAll(reader: CheckpointReader): Promise<Map<string, Buffer>> {
  const found = new Map<string, Buffer>()
  for await (const { name, bytes } of reader.sections()) {
    const pieces: Buffer[] = []
    for await (const piece of bytes) pieces.push(Buffer.from(piece))
    found.set(name, Buffer.concat(pieces))
  }
  return found
}

async function failureOf(promise: Promise<unknown>): Promise<DfsError> {
  try {
    await promise
  } catch (error) {
    if (isDfsError(error)) return error
    throw error
  }
  throw new Error('it did not fail')
}

test('sections come back as they were, in order', async () => {
  const disk = await newDisk()
  const written = await write(disk, 12)
  const { value, reader } = await loadCheckpoint(disk, written.path, clusterId, readAll)
  assert.equal([...value.keys()], ['inodes', 'empty', 'names'])
  assert.is(Buffer.compare(value.get('inodes')!, columns), 0)
  assert.is(value.get('names')!.toString(), 'small')
  assert.is(value.get('empty')!.length, 0)
  assert.equal(reader.header, { clusterId, index: 12, term: 2 })
  assert.is(reader.checksum, written.checksum)
  assert.is(reader.bytes, written.bytes)
  assert.is(disk.bytes(written.path).length, written.bytes)
})

test('equal content is equal bytes, however it was cut into pieces', async () => {
  const disk = await newDisk()
  const whole = await write(disk, 12)
  const bytes = disk.bytes(whole.path)
  for (const pieceBytes of [1000, 4096, MiB - 1, MiB + 1, 10 * MiB]) {
    assert.is((await write(disk, 12, sections(pieceBytes))).checksum, whole.checksum)
    assert.is(Buffer.compare(disk.bytes(whole.path), bytes), 0)
  }
  assert.is.not((await write(disk, 12, sections(MiB, 'other'))).checksum, whole.checksum)
})

test('a reader may leave a section, or all of them, and the rest is verified', async () => {
  const disk = await newDisk()
  const { path, checksum } = await write(disk, 12)
  const leave = async (reader: CheckpointReader) => {
    for await (const { name, bytes } of reader.sections()) {
      for await (const _piece of bytes) break
      if (name === 'empty') break
    }
  }
  assert.is((await loadCheckpoint(disk, path, clusterId, leave)).reader.checksum, checksum)
  const bytes = disk.bytes(path)
  bytes[bytes.length - 60]! ^= 1
  disk.put(path, bytes)
  assert.is((await failureOf(loadCheckpoint(disk, path, clusterId, leave))).code, 'CHECKPOINT_DAMAGED')
})

test('a checkpoint with its name is durable, and what was there before stays until then', async () => {
  for (let cut = 0; cut < 12; cut++) {
    const disk = await newDisk()
    await write(disk, 5)
    await write(disk, 9)
    let calls = 0
    let left: MemoryDisk | undefined
    disk.fault = () => {
      if (calls++ === cut) left = disk.afterPowerLoss()
      return undefined
    }
    await write(disk, 9, sections(MiB, 'newer'))
    await write(disk, 14)
    const newest = await loadNewestCheckpoint(
      { disk: left!, directory, clusterId, logger: silentLogger },
      async (reader) => (await readAll(reader)).get('names')!.toString(),
    )
    assert.ok(newest!.index >= 9 && newest!.passedOver.length === 0, `cut at call ${cut}`)
    await removeCheckpointLeftovers(left!, directory)
    assert.ok(left!.paths().every((path) => path.endsWith('.dfs')))
  }
})

for (const call of ['write', 'sync'] as const) {
  test(`a failing ${call} leaves no name behind`, async () => {
    const disk = await newDisk()
    const code = call === 'write' ? 'DISK_FULL' : 'FSYNC_FAILED'
    disk.fault = (made) => (made === call ? code : undefined)
    assert.is((await failureOf(write(disk, 12))).code, code)
    assert.equal(disk.paths(), [])
  })
}

test('the newest whole checkpoint is loaded, damaged ones are reported and passed over, and stay as they are', async () => {
  const disk = await newDisk()
  for (const index of [3, 7, 9]) await write(disk, index, sections(MiB, `state ${index}`))
  const { path } = (await listCheckpoints(disk, directory))[0]!
  const bytes = disk.bytes(path)
  bytes[bytes.length - 1]! ^= 4
  disk.put(path, bytes)
  const load = () =>
    loadNewestCheckpoint({ disk, directory, clusterId, logger: silentLogger }, async (reader) => {
      return (await readAll(reader)).get('names')!.toString()
    })
  const loaded = (await load())!
  assert.is(loaded.value, 'state 7')
  assert.is(loaded.index, 7)
  assert.equal(
    loaded.passedOver.map((error) => error.detail.path),
    [path],
  )
  assert.is(Buffer.compare(disk.bytes(path), bytes), 0)
  disk.put(path, disk.bytes(`${directory}/${checkpointName(3)}`))
  assert.is((await load())!.index, 7, 'an older checkpoint under a newer name')
  for (const index of [3, 7, 9]) disk.put(`${directory}/${checkpointName(index)}`, Buffer.alloc(0))
  assert.is(await load(), undefined)
})

test('every bit of a checkpoint counts', async () => {
  const disk = await newDisk()
  const small = [{ name: 'names', bytes: [Buffer.from('one two three')] }]
  const { path } = await write(disk, 3, small)
  const good = disk.bytes(path)
  for (let bit = 0; bit < good.length * 8; bit++) {
    const bytes = Buffer.from(good)
    bytes[bit >> 3]! ^= 1 << (bit & 7)
    disk.put(path, bytes)
    const error = await failureOf(loadCheckpoint(disk, path, clusterId, readAll))
    assert.is(error.code, 'CHECKPOINT_DAMAGED', `bit ${bit}`)
    assert.match(error.message, /offset \d+: .*dfsd checkpoint verify/)
  }
})

test('a checkpoint cut at any byte, or longer by one, is damaged', async () => {
  const disk = await newDisk()
  const { path } = await write(disk, 3, [{ name: 'names', bytes: [Buffer.from('one two three')] }])
  const good = disk.bytes(path)
  for (let length = 0; length < good.length; length++) {
    disk.put(path, good.subarray(0, length))
    assert.is((await failureOf(loadCheckpoint(disk, path, clusterId, readAll))).code, 'CHECKPOINT_DAMAGED')
  }
  disk.put(path, Buffer.concat([good, Buffer.alloc(1)]))
  assert.is((await failureOf(loadCheckpoint(disk, path, clusterId, readAll))).code, 'CHECKPOINT_DAMAGED')
})

test('large checkpoints: blocks swapped, repeated or left out are damage', async () => {
  const disk = await newDisk()
  const { path } = await write(disk, 3)
  const good = disk.bytes(path)
  const block = MiB + 24
  const first = 128 + 24 + 'inodes'.length
  const at = (number: number) => good.subarray(first + number * block, first + (number + 1) * block)
  const tail = good.subarray(first + 2 * block)
  const head = good.subarray(0, first)
  const tables = { swapped: [at(1), at(0)], repeated: [at(0), at(0), at(1)], missing: [at(1)], twice: [at(0), at(0)] }
  for (const [what, blocks] of Object.entries(tables)) {
    disk.put(path, Buffer.concat([head, ...blocks, tail]))
    assert.is((await failureOf(loadCheckpoint(disk, path, clusterId, readAll))).code, 'CHECKPOINT_DAMAGED', what)
  }
})

test("another cluster's checkpoint is refused, not passed over", async () => {
  const disk = await newDisk()
  await write(disk, 3)
  const options = { disk, directory, clusterId: otherClusterId, logger: silentLogger }
  assert.is((await failureOf(loadNewestCheckpoint(options, readAll))).code, 'WRONG_DISK')
})

test('dropping keeps the newest, oldest go first, each for good', async () => {
  const disk = await newDisk()
  for (const index of [3, 7, 9, 20]) await write(disk, index, [])
  disk.calls.length = 0
  assert.is(await dropCheckpoints(disk, directory, 2), 9)
  assert.equal(disk.calls, [
    `remove ${directory}/${checkpointName(3)}`,
    `syncDirectory ${directory}`,
    `remove ${directory}/${checkpointName(7)}`,
    `syncDirectory ${directory}`,
  ])
  assert.equal(
    (await listCheckpoints(disk, directory)).map((file) => file.index),
    [20, 9],
  )
  assert.is(await dropCheckpoints(disk, directory, 5), 9)
})

test('garbage is never a checkpoint, and never takes memory for the lengths it claims', async () => {
  const disk = await newDisk()
  const random = new Random(11)
  for (let round = 0; round < 200; round++) {
    const path = `${directory}/${checkpointName(1)}`
    disk.put(path, Buffer.from(Array.from({ length: random.below(600) }, () => random.below(256))))
    assert.is((await failureOf(loadCheckpoint(disk, path, clusterId, readAll))).code, 'CHECKPOINT_DAMAGED')
  }
})

test.run()
