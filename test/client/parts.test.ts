// The parts of the library that decide by themselves: proof of blocks, cutting, placing, sessions, patience.

import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { crc32 } from '../../src/base/crc32.ts'
import { DfsError } from '../../src/base/errors.ts'
import type { ChunkHandle } from '../../src/base/ids.ts'
import { BLOCK_BYTES } from '../../src/base/limits.ts'
import { Random } from '../../src/base/random.ts'
import { BlockCheck } from '../../src/client/block-check.ts'
import { zerosChecksum } from '../../src/client/checksum.ts'
import { forEachParallel } from '../../src/client/parallel.ts'
import { Patience } from '../../src/client/patience.ts'
import { type Piece, PieceCutter, splitPiece } from '../../src/client/pieces.ts'
import { Placed } from '../../src/client/placed.ts'
import { Session } from '../../src/client/session.ts'
import { SimWorld } from '../sim/world.ts'
import { rejects } from './cluster-fixture.ts'

const random = new Random(7)

/** A reply to `read` with the given bytes, delivered in odd slices. */
function deliver(
  data: Buffer,
  wanted: { offset: number; length: number },
  how: { offset?: number; target?: Buffer; damage?: (data: Buffer, checksums: Buffer) => void } = {},
) {
  const checksums = Buffer.alloc(4 * Math.ceil(data.length / BLOCK_BYTES))
  for (let at = 0; at < data.length; at += BLOCK_BYTES) {
    checksums.writeUInt32LE(crc32(data.subarray(at, at + BLOCK_BYTES)), (at / BLOCK_BYTES) * 4)
  }
  const sent = Buffer.from(data)
  how.damage?.(sent, checksums)
  let retained = 0
  let end: { error: DfsError | undefined } | undefined
  const check = new BlockCheck(wanted, how.offset ?? 0, checksums, sent.length, how.target, (error) => {
    end = { error }
  })
  for (let at = 0; at < sent.length; ) {
    const bytes = sent.subarray(at, at + 1 + random.below(9000))
    check.onData(bytes, { bytes, retain: () => retained++, release: () => retained-- })
    at += bytes.length
  }
  assert.is(check.crc(), how.damage === undefined ? crc32(sent) : check.crc(), 'the checksum of the frame')
  check.onEnd()
  return { check, error: end?.error, retained: () => retained }
}

test('proven blocks are trimmed to what was asked, wherever the slices are cut', () => {
  const data = random.bytes(10 * BLOCK_BYTES + 100)
  for (const [offset, length] of [
    [0, data.length],
    [1, 1],
    [4095, 2],
    [5000, 20_000],
    [10 * BLOCK_BYTES, 100],
  ] as const) {
    const lent = deliver(data, { offset, length })
    assert.is(lent.error, undefined)
    assert.is(Buffer.compare(Buffer.concat(lent.check.slices), data.subarray(offset, offset + length)), 0)
    lent.check.release()
    assert.is(lent.retained(), 0)
    const target = Buffer.alloc(length)
    assert.is(deliver(data, { offset, length }, { target }).error, undefined)
    assert.is(Buffer.compare(target, data.subarray(offset, offset + length)), 0)
  }
})

test('a flipped bit anywhere, in the bytes or in the checksums, is never handed out', () => {
  const data = random.bytes(3 * BLOCK_BYTES + 7)
  for (let i = 0; i < 200; i++) {
    const isInData = random.chance(0.5)
    const { check, error, retained } = deliver(
      data,
      { offset: 0, length: data.length },
      {
        damage: (bytes, checksums) => {
          const into = isInData ? bytes : checksums
          const at = random.below(into.length)
          into[at] = into[at]! ^ (1 << random.below(8))
        },
      },
    )
    assert.is(error?.code, 'CORRUPT_REPLICA')
    assert.is(check.slices.length, 0)
    assert.is(retained(), 0)
  }
})

test('blocks that arrive together are told apart when one is wrong', () => {
  const data = random.bytes(20 * BLOCK_BYTES)
  const checksums = Buffer.alloc(4 * 20)
  for (let block = 0; block < 20; block++) {
    checksums.writeUInt32LE(crc32(data.subarray(block * BLOCK_BYTES, (block + 1) * BLOCK_BYTES)), 4 * block)
  }
  for (const cuts of [[], [100], [BLOCK_BYTES], [3 * BLOCK_BYTES + 5, 17 * BLOCK_BYTES - 5]]) {
    for (const bad of [undefined, 0, 3, 16, 19]) {
      const sent = Buffer.from(data)
      if (bad !== undefined) sent[bad * BLOCK_BYTES + 77] = sent[bad * BLOCK_BYTES + 77]! ^ 4
      let error: DfsError | undefined
      const wanted = { offset: BLOCK_BYTES, length: sent.length }
      const check = new BlockCheck(wanted, BLOCK_BYTES, checksums, sent.length, Buffer.alloc(sent.length), (met) => {
        error = met
      })
      const ends = [...cuts, sent.length]
      for (const [index, end] of ends.entries()) {
        const bytes = sent.subarray(index === 0 ? 0 : ends[index - 1], end)
        check.onData(bytes, { bytes, retain: () => {}, release: () => {} })
      }
      assert.is(check.crc(), crc32(sent), 'the checksum of the frame is that of what came')
      check.onEnd()
      assert.is(error?.detail.chunkOffset, bad === undefined ? undefined : (bad + 1) * BLOCK_BYTES)
    }
  }
})

test('an answer that cannot be one is refused: another range, too few checksums, unaligned', () => {
  const data = random.bytes(2 * BLOCK_BYTES)
  const attempts = [
    () => deliver(data, { offset: 3 * BLOCK_BYTES, length: 10 }),
    () => deliver(data, { offset: 10, length: 10 }, { offset: BLOCK_BYTES }),
    () => deliver(data, { offset: 10, length: 10 }, { offset: 5 }),
    () => new BlockCheck({ offset: 0, length: 1 }, 0, Buffer.alloc(4), 2 * BLOCK_BYTES, undefined, () => {}),
  ]
  for (const attempt of attempts) {
    try {
      attempt()
    } catch (error) {
      assert.is((error as DfsError).code, 'CORRUPT_REPLICA')
      continue
    }
    assert.unreachable('it was taken')
  }
})

test('a stream is cut into the same bytes, at multiples of the piece size, with right checksums', () => {
  for (let round = 0; round < 50; round++) {
    const start = random.below(3) * 100
    const data = random.bytes(random.below(5000))
    const cutter = new PieceCutter(256, start)
    const pieces: Piece[] = []
    for (let at = 0; at < data.length; ) {
      const end = at + 1 + random.below(700)
      cutter.pieceBytes = random.below(2) === 0 ? 256 : 1024 // always at multiples of the smaller
      pieces.push(...cutter.push(data.subarray(at, end)))
      at = end
    }
    const last = cutter.flush()
    if (last !== undefined) pieces.push(last)
    let at = start
    for (const piece of pieces.flatMap((one) =>
      one.length > 1 ? splitPiece(one, 1 + random.below(one.length - 1)) : [one],
    )) {
      const bytes = Buffer.concat(piece.slices)
      assert.is(piece.offset, at)
      assert.is(piece.length, bytes.length)
      assert.is(piece.crc, crc32(bytes))
      assert.is(Buffer.compare(bytes, data.subarray(at - start, at - start + bytes.length)), 0)
      at += piece.length
    }
    assert.is(at, start + data.length)
    assert.ok(pieces.slice(0, -1).every((piece) => (piece.offset + piece.length) % 256 === 0))
  }
})

test('what was placed comes back as extents in file order, merged; what a seal cut comes back as pieces', () => {
  const piece = (offset: number, length = 10): Piece => ({ offset, length, slices: [], crc: 0, releases: [] })
  const [a, b] = [1 as ChunkHandle, 2 as ChunkHandle]
  const gone: number[] = []
  const placed = new Placed(25, ({ offset }) => gone.push(offset))
  placed.add(piece(0), a, 0)
  placed.add(piece(10), a, 10)
  placed.add(piece(30), b, 0)
  placed.add(piece(40), b, 10)
  placed.add(piece(20), b, 20) // sent again, later in the chunk than what follows it in the file
  assert.equal(placed.extents(), [
    { handle: a, offset: 0, length: 20 },
    { handle: b, offset: 20, length: 10 },
    { handle: b, offset: 0, length: 20 },
  ])
  placed.drop(0)
  const cut = placed.takeBeyond(b, 15)
  assert.equal(cut.pieces.map(({ offset }) => offset).sort(), [20, 40])
  assert.is(cut.lost, undefined)
  assert.equal(gone, [0, 10, 30], 'what was given back is not gone')
  const short = new Placed(10, () => {})
  for (let at = 0; at < 50; at += 10) short.add(piece(at), a, at)
  assert.equal(short.takeBeyond(a, 5).lost, { offset: 5, length: 40 })
  placed.add(piece(50), b, 30)
  placed.drop(20)
  assert.is(
    placed.extents().reduce((sum, extent) => sum + extent.length, 0),
    20,
  )
})

test('bytes are released when every piece with a part of them is, once', () => {
  const cutter = new PieceCutter(100, 0)
  const released: string[] = []
  const [first, second] = cutter.push(Buffer.alloc(250), () => released.push('a'))
  const [third] = cutter.push(Buffer.alloc(60), () => released.push('b'))
  const last = cutter.flush()
  const release = (piece: Piece | undefined) => {
    for (const one of piece!.releases) one()
  }
  for (const piece of [third, first]) release(piece)
  assert.equal(released, [])
  release(second)
  assert.equal(released, ['a'])
  release(last)
  assert.equal(released, ['a', 'b'])
})

test('a session never has more numbers open than the master keeps answers for, and its floor follows the oldest', async () => {
  const world = new SimWorld(1)
  await world.run(async () => {
    const { clock, entropy } = world.machine('a').io
    const session = new Session(clock, entropy)
    const patience = new Patience(clock, { timeoutMs: 100 })
    const first = await session.begin(patience)
    let highest = first
    await rejects(
      (async () => {
        for (;;) {
          highest = await session.begin(patience)
          if (highest % 2 === 0) session.end(highest)
        }
      })(),
      'TIMEOUT',
    )
    assert.is(session.floor, 0)
    assert.ok(highest < 1024, `${highest}`)
    const waiting = session.begin(new Patience(clock, { timeoutMs: 100 }))
    session.end(first)
    assert.is(await waiting, highest + 1)
    assert.is(session.floor, 2)
  })
})

test('patience ends by its signal, its deadline, or the time without progress, and only then', async () => {
  const world = new SimWorld(2)
  await world.run(async () => {
    const { clock } = world.machine('a').io
    const patience = new Patience(clock, { timeoutMs: 100, deadlineMs: 1000 })
    for (let i = 0; i < 12; i++) {
      await patience.sleep(80)
      patience.progress()
    }
    await rejects(patience.sleep(80), 'TIMEOUT')
    assert.ok(world.nowMs <= 1001)
    const idle = new Patience(clock, { timeoutMs: 100 })
    const error = await rejects(idle.sleep(500, new DfsError('NO_SERVERS', 'too few')), 'TIMEOUT')
    assert.match(error.message, /too few/)
    const controller = new AbortController()
    const aborted = new Patience(clock, { signal: controller.signal }).sleep(500)
    controller.abort()
    await rejects(aborted, 'ABORTED')
  })
})

test('the checksum of zeros is found without making them', () => {
  for (const length of [0, 1, 7, 4096, 1_000_001]) assert.is(zerosChecksum(length), crc32(Buffer.alloc(length)))
})

test('parallel work keeps its bound, takes no more after a failure, and waits for what is under way', async () => {
  let running = 0
  let most = 0
  let begun = 0
  const work = async (item: number): Promise<void> => {
    begun++
    most = Math.max(most, ++running)
    for (let turn = 0; turn < 20; turn++) await Promise.resolve()
    running--
    if (item === 20) throw new DfsError('NOT_FOUND', 'twenty')
  }
  await rejects(
    forEachParallel(
      Array.from({ length: 100 }, (_, i) => i),
      4,
      work,
    ),
    'NOT_FOUND',
  )
  assert.is(most, 4)
  assert.is(running, 0)
  assert.ok(begun < 30)
})

test.run()
