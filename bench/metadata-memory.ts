// What does the metadata of a file cost in memory, and how fast is it replayed, written and loaded?
//
//   node --expose-gc --import tsx bench/metadata-memory.ts [--files 2000000]
//
// Method: files of one extent in a chunk of its own, 20-byte names, 1000 a directory. The slope of the resident set is
// taken between half of the files and all of them, after a garbage collection each, so that Node's own share falls out.
// Replay is decode and apply of `putFile` records with one extent in a shared chunk, one session. Rates are by processor
// time of the whole process, garbage collection included. One run: it is the same each time.

import type { ChunkHandle, ClusterId, DirectoryId, InodeId, Life, ServerId, SessionId } from '../src/base/ids.ts'
import { chunkHandle, ROOT_INODE } from '../src/base/ids.ts'
import { MiB } from '../src/base/units.ts'
import { apply } from '../src/master/metadata/apply.ts'
import { encodeCheckpoint, loadCheckpointSections } from '../src/master/metadata/checkpoint.ts'
import { MetadataState } from '../src/master/metadata/state.ts'
import { decodeOperation, encodeOperation } from '../src/master/operation-codec.ts'
import type { Operation, RecordTime } from '../src/master/operations.ts'
import { operationTable } from '../src/master/operations.ts'
import { Bench, readOptions } from './measure.ts'

const FILES_PER_DIRECTORY = 1000
const time: RecordTime = { clusterMs: 1000, wallMs: 1.7e12 }
const newInode = { mode: 0o644, owner: 'someone', group: 'people', goal: 0 }

function freshState(): { state: MetadataState; index: number } {
  const state = new MetadataState()
  state.changes.isCollecting = false
  const clusterId = '00112233445566778899aabbccddeeff' as ClusterId
  apply(state, { kind: 'formatCluster', clusterId, lineage: 7, chunkBytes: 64 * MiB, goal: 3 }, time, 1, 1)
  const directories = [1 as DirectoryId]
  const server = { identity: 1, directories, address: 'a:1', zone: '', rack: '' }
  apply(state, { kind: 'registerServer', server: 0, ...server }, time, 2, 1)
  return { state, index: 2 }
}

/** Builds the namespace below `apply`, as a load would: this measures the tables, not the session's replies. */
function addFiles(state: MetadataState, from: number, to: number): void {
  let directory = ROOT_INODE as InodeId
  const profile = state.profiles.use(newInode)
  for (let i = from; i < to; i++) {
    if (i % FILES_PER_DIRECTORY === 0) {
      directory = state.nextInode++ as InodeId
      state.inodes.create(directory, true, ROOT_INODE, state.profiles.useAgain(profile), time.wallMs, time.wallMs)
      state.names.link(
        ROOT_INODE,
        `directory-${String(i / FILES_PER_DIRECTORY).padStart(10, '0')}`,
        directory,
        time.wallMs,
      )
    }
    const inode = state.nextInode++ as InodeId
    const row = state.inodes.create(
      inode,
      false,
      ROOT_INODE,
      state.profiles.useAgain(profile),
      time.wallMs,
      time.wallMs,
    )
    const counter = state.handleCounter(state.lineage) + 1
    state.lineages.set(state.lineage, counter)
    const handle = chunkHandle(state.lineage, counter)
    const chunk = state.chunks.allocate(handle, [], 3, true, i, undefined)
    state.chunks.seal(handle, chunk, MiB, i, 0)
    state.chunks.addReference(handle, chunk, MiB, MiB)
    state.inodes.replaceExtents(row, 0, 0, [{ handle, offset: 0, length: MiB }])
    state.names.link(directory, nameOf(i), inode, time.wallMs)
  }
}

/** 20 bytes that share no long prefix with their neighbours. */
function nameOf(i: number): string {
  return `${String(Math.imul(i, 2654435761) >>> 0).padStart(10, '0')}-${String(i).padStart(9, '0')}`
}

/** Processor time, so that a busy machine doesn't show. */
function cpuMs(): number {
  const { user, system } = process.cpuUsage()
  return (user + system) / 1000
}

function residentBytes(): number {
  for (let i = 0; i < 4; i++) (globalThis as { gc?: () => void }).gc?.()
  return process.memoryUsage().rss
}

const bench = new Bench('metadata-memory', readOptions(2_000_000))
const { files } = bench.options
if (!('gc' in globalThis)) throw new Error('memory is measured after a collection: start Node with --expose-gc')
const { state } = freshState()
const half = Math.floor(files / 2)
addFiles(state, 0, half)
const before = residentBytes()
const tablesBefore = state.tableBytes
addFiles(state, half, files)
const bytesPerFile = (residentBytes() - before) / (files - half)
const tableBytesPerFile = (state.tableBytes - tablesBefore) / (files - half)

const writeStart = cpuMs()
const sections = Array.from(encodeCheckpoint(state), ({ name, bytes }) => ({
  name,
  bytes: Array.from(bytes, (piece) => Buffer.from(piece)),
}))
const writeMs = cpuMs() - writeStart
const checkpointBytes = sections.reduce((sum, { bytes }) => sum + bytes.reduce((n, b) => n + b.length, 0), 0)
const loadStart = cpuMs()
const loaded = await loadCheckpointSections(
  (async function* () {
    yield* sections
  })(),
)
const loadMs = cpuMs() - loadStart

const lookups = 1_000_000
const lookupStart = cpuMs()
for (let i = 0; i < lookups; i++) {
  const n = (i * 7919) % files
  const directory = `directory-${String(Math.floor(n / FILES_PER_DIRECTORY)).padStart(10, '0')}`
  if (loaded.resolve(`/${directory}/${nameOf(n)}`) === undefined) throw new Error('a file is missing')
}
const lookupMs = cpuMs() - lookupStart

const replayed = 300_000
const payloads: Buffer[] = []
const target = freshState()
const members = [{ server: 1 as ServerId, directory: 1 as DirectoryId, life: 5 as Life }]
const packing = apply(target.state, { kind: 'openPackingChunk', members, goal: 0 }, time, ++target.index, 1)
const handle = (packing.ok ? packing.reply[0] : 0) as ChunkHandle
const session = 77 as SessionId
let request = 0
for (let i = 0; i < replayed / FILES_PER_DIRECTORY; i++) {
  request++
  const by = { session, request, floor: request - 1 }
  const op: Operation = { kind: 'makeDirectory', by, path: `/d${i}`, parents: false, inode: newInode }
  apply(target.state, op, time, ++target.index, 1)
}
for (let i = 0; i < replayed; i++) {
  request++
  const op: Operation = {
    kind: 'putFile',
    by: { session, request, floor: Math.max(0, request - 64) },
    publish: { path: `/d${Math.floor(i / FILES_PER_DIRECTORY)}/${nameOf(i)}`, overwrite: false },
    inode: newInode,
    extents: [{ handle, offset: (i % 10_000) * 4096, length: 4096 }],
    mtimeMs: 0,
  }
  payloads.push(encodeOperation(time, op))
}
const { number, version } = operationTable.putFile
const decodeStart = cpuMs()
for (const payload of payloads) decodeOperation(number, version, payload)
const decodeMs = cpuMs() - decodeStart
const replayStart = cpuMs()
for (const payload of payloads) {
  const { op } = decodeOperation(number, version, payload)
  const outcome = apply(target.state, op, time, ++target.index, 1)
  if (!outcome.ok) throw new Error(outcome.message)
}
const replayMs = cpuMs() - replayStart

bench.add('memory a file', 'B', bytesPerFile)
bench.add('of it in tables', 'B', tableBytesPerFile)
bench.add('checkpoint a file', 'B', checkpointBytes / files)
bench.add('checkpoint, encode', 's', writeMs / 1000)
bench.add('checkpoint, load', 's', loadMs / 1000)
bench.add('lookups', '1/s', (lookups / lookupMs) * 1000)
bench.add('decode', '1/s', (replayed / decodeMs) * 1000)
bench.add('decode and apply', '1/s', (replayed / replayMs) * 1000)
bench.print()
