import { readFileSync, writeFileSync } from 'node:fs'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { isDfsError } from '../../../src/base/errors.ts'
import type { SessionId } from '../../../src/base/ids.ts'
import { pack } from '../../../src/base/msgpack.ts'
import { sectionTable } from '../../../src/master/metadata/checkpoint.ts'
import { checkInvariants } from '../../../src/master/metadata/invariants.ts'
import { MetadataState } from '../../../src/master/metadata/state.ts'
import { checkpointOf, extent, firstDifference, Harness, INODE, load, MEMBERS } from './harness.ts'

const GOLDEN_1 = new URL('../../golden/metadata-v1.bin', import.meta.url)
const GOLDEN_2 = new URL('../../golden/metadata-v2.bin', import.meta.url)
const GOLDEN_3 = new URL('../../golden/metadata-v3.bin', import.meta.url)
const GOLDEN = new URL('../../golden/metadata-v4.bin', import.meta.url)

/** A state in which no section is empty. */
function full(): Harness {
  const harness = new Harness()
  const handle = harness.packing()
  for (const name of ['b', 'a', 'é', 'a-rather-long-name-'.repeat(12)]) harness.put(`/${name}`, [extent(handle, 5, 7)])
  harness.mkdir('/d/e/f')
  harness.put('/d/list', [extent(handle, 0, 1), extent(0, 0, 2 ** 33), extent(handle, 8, 2)])
  harness.clientOk({ kind: 'setAttributes', path: '/d', mode: 0o700, attributes: [['user.x', 'y']] })
  harness.clientOk({ kind: 'copy', from: '/d', to: '/copy', recursive: true, overwrite: false })
  harness.clientOk({ kind: 'remove', path: '/copy', what: 'tree', now: true })
  harness.ok({ kind: 'sealChunk', handle, length: 100, digest: 2 ** 32 - 1, indexDigest: 77 })
  harness.ok({ kind: 'raiseVersion', handle, version: 300 })
  const writer = harness.open(2)
  const commit = { kind: 'commitFile', inode: writer.inode, seals: [], close: false, mtimeMs: 0 } as const
  harness.clientOk({ ...commit, extents: [extent(writer.handle, 0, 9)] }, 2)
  harness.client({ kind: 'truncateFile', path: '/none', size: 0 }, 2)
  harness.mkdir('/gone')
  harness.client({ kind: 'emptyTrash', trash: 0 }, 3)
  harness.ok({ kind: 'endSession', session: 3 as SessionId })
  harness.ok({ kind: 'setServerIntent', server: MEMBERS[1]!.server, intent: 'maintain', untilMs: 99 })
  const large = harness.packing()
  const big = harness.put('/big')
  for (let round = 0; round < 3; round++) {
    const extents = Array.from({ length: 4000 }, (_, i) => extent(large, (round * 4000 + i) * 2, 1))
    harness.clientOk({ ...commit, inode: big, extents })
  }
  harness.ok({ kind: 'openTail', inode: harness.inode('/a'), members: MEMBERS })
  harness.ok({ kind: 'reserveHandle' })
  harness.ok({
    kind: 'setClusterOptions',
    options: [
      ['repairBytesPerSecond', 2 ** 40],
      ['isBalancing', 0],
      ['copiesPerServer', 2],
      ['copiesPerServer', null],
    ],
  })
  harness.clientOk({ kind: 'copy', from: '/big', to: '/copied', recursive: false, overwrite: false })
  assert.ok(harness.state.job)
  return harness
}

test('a state comes back from its sections, however they are cut', async () => {
  const { state } = full()
  const sections = checkpointOf(state)
  for (const { name, bytes } of sections) assert.ok(bytes.length > 0, `${name} is empty`)
  for (const pieceBytes of [1, 7, 4096, 1 << 20]) {
    const loaded = await load(sections, pieceBytes)
    checkInvariants(loaded)
    assert.is(firstDifference(state, loaded), undefined)
    assert.is(loaded.fileBytes, state.fileBytes)
  }
})

test('an empty state comes back too', async () => {
  const loaded = await load(checkpointOf(new MetadataState()))
  assert.is(firstDifference(loaded, new MetadataState()), undefined)
})

test('the table in README.md names the sections that are written, in their order', () => {
  const readme = readFileSync(new URL('../../../src/master/metadata/README.md', import.meta.url), 'utf8')
  const rows = [...readme.matchAll(/^\| `([a-zA-Z.]+)` \| ([^|]+) \|[^|]*\|$/gm)].map(([, name, shape]) => ({
    name,
    shape,
  }))
  assert.equal(rows, sectionTable)
})

test('sections missing, swapped, doubled, unknown or of another length are BAD_FORMAT', async () => {
  const sections = checkpointOf(full().state)
  const refused = async (changed: { name: string; bytes: Buffer }[], what: string): Promise<void> => {
    try {
      await load(changed)
    } catch (error) {
      assert.ok(isDfsError(error, 'BAD_FORMAT'), `${what}: ${error}`)
      return
    }
    assert.unreachable(`${what} was loaded`)
  }
  for (const [i, { name, bytes }] of sections.entries()) {
    await refused(sections.toSpliced(i, 1), `without ${name}`)
    await refused(sections.toSpliced(i, 0, sections[i]!), `${name} twice`)
    await refused(sections.with(i, { name: 'other', bytes }), `${name} under another name`)
    await refused(sections.with(i, { name, bytes: bytes.subarray(0, -1) }), `${name} cut`)
    await refused(
      sections.with(i, { name, bytes: Buffer.concat([bytes, Buffer.from([1])]) }),
      `${name} with a byte more`,
    )
  }
  const state = sections[0]!
  const later = pack([5])
  const length = Buffer.alloc(4)
  length.writeUInt32LE(later.length)
  await refused(sections.with(0, { name: state.name, bytes: Buffer.concat([length, later]) }), 'a later version')
})

test('any byte of a small checkpoint changed is loaded or refused, never a crash of another kind', async () => {
  const harness = new Harness()
  harness.put('/f', [extent(harness.packing(), 0, 5)])
  harness.open(2)
  const sections = checkpointOf(harness.state)
  for (const [i, { name, bytes }] of sections.entries()) {
    for (let at = 0; at < bytes.length; at++) {
      const changed = Buffer.from(bytes)
      changed[at] = changed[at]! ^ 0x41
      try {
        await load(sections.with(i, { name, bytes: changed }))
      } catch (error) {
        assert.ok(isDfsError(error, 'BAD_FORMAT'), `${name} byte ${at}: ${(error as Error).stack}`)
      }
    }
  }
})

// Format of the golden file: for each section name length (1), name, length (4, little-endian), bytes.
function framed(sections: readonly { name: string; bytes: Buffer }[]): Buffer {
  return Buffer.concat(
    sections.flatMap(({ name, bytes }) => {
      const length = Buffer.alloc(4)
      length.writeUInt32LE(bytes.length)
      return [Buffer.from([name.length]), Buffer.from(name), length, bytes]
    }),
  )
}

function unframed(file: Buffer): { name: string; bytes: Buffer }[] {
  const sections: { name: string; bytes: Buffer }[] = []
  for (let at = 0; at < file.length; ) {
    const name = file.toString('utf8', at + 1, at + 1 + file[at]!)
    const start = at + 1 + file[at]! + 4
    const end = start + file.readUInt32LE(start - 4)
    sections.push({ name, bytes: file.subarray(start, end) })
    at = end
  }
  return sections
}

/** The golden state: small, no section empty but `job`. Version 1 had no tail, version 2 no reserved handle, version 3 no options. */
function golden(): Harness {
  const harness = new Harness()
  const handle = harness.packing()
  for (const name of ['b', 'a', 'é']) harness.put(`/${name}`, [extent(handle, 5, 7)])
  harness.put('/list', [extent(handle, 0, 1), extent(0, 0, 2 ** 33), extent(handle, 8, 2)])
  harness.clientOk({ kind: 'makeDirectory', path: '/d/e', parents: true, inode: { ...INODE, mode: 0o755, goal: 2 } })
  harness.clientOk({ kind: 'setAttributes', path: '/d', attributes: [['user.x', 'y']] })
  harness.clientOk({ kind: 'remove', path: '/b', what: 'file', now: false })
  harness.ok({ kind: 'sealChunk', handle, length: 100, digest: 0xdeadbeef, indexDigest: 77 })
  const writer = harness.open(2)
  const extents = [extent(writer.handle, 0, 9)]
  harness.clientOk({ kind: 'commitFile', inode: writer.inode, extents, seals: [], close: false, mtimeMs: 0 }, 2)
  harness.client({ kind: 'truncateFile', path: '/none', size: 0 }, 2)
  harness.client({ kind: 'emptyTrash', trash: 0 }, 3)
  harness.ok({ kind: 'endSession', session: 3 as SessionId })
  harness.ok({ kind: 'openTail', inode: harness.inode('/a'), members: MEMBERS })
  harness.ok({ kind: 'reserveHandle' })
  harness.ok({ kind: 'setClusterOptions', options: [['repairBytesPerSecond', 52_428_800]] })
  return harness
}

if (process.env.WRITE_GOLDEN === 'metadata-v4') writeFileSync(GOLDEN, framed(checkpointOf(golden().state)))

for (const [version, file] of [GOLDEN_1, GOLDEN_2, GOLDEN_3, GOLDEN].entries()) {
  test(`the golden checkpoint of version ${version + 1} opens`, async () => {
    const state = await load(unframed(readFileSync(file)))
    checkInvariants(state)
    assert.equal(
      state.list(1 as never, undefined, 9).map(({ name }) => name),
      ['a', 'd', 'list', 'é'],
    )
    assert.is(state.stat(state.resolve('/list')!)!.size, 2 ** 33 + 3)
    assert.equal([...state.stat(state.resolve('/d')!)!.attributes], [['user.x', 'y']])
    assert.equal(
      state.trash(0, 9).map(({ path }) => path),
      ['/b'],
    )
    assert.ok(state.sessionEnded(3 as SessionId))
    const refusal = state.sessionReply(2 as SessionId, 3)!
    assert.ok(!refusal.ok && refusal.code === 'NOT_FOUND')
    assert.is(state.chunks.tails.get(state.resolve('/a')!) !== undefined, file !== GOLDEN_1)
    assert.is(state.reserved !== undefined, file === GOLDEN_3 || file === GOLDEN)
    assert.equal([...state.options], file === GOLDEN ? [['repairBytesPerSecond', 52_428_800]] : [])
  })
}

test('today the same state is still written as the same bytes', () => {
  assert.is(Buffer.compare(framed(checkpointOf(golden().state)), readFileSync(GOLDEN)), 0)
})

test.run()
