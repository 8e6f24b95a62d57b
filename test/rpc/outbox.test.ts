// The sending side alone, over a socket that only writes down what it is given.

import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { crc32 } from '../../src/base/crc32.ts'
import { DfsError } from '../../src/base/errors.ts'
import { Random } from '../../src/base/random.ts'
import type { Clock } from '../../src/io/clock.ts'
import type { Socket } from '../../src/io/network.ts'
import { Outbox } from '../../src/rpc/outbox.ts'
import { encodeBody } from '../../src/wire/body.ts'
import { FrameType } from '../../src/wire/header.ts'
import { parse } from '../wire/frames.ts'

/** Takes `roomBytes`, then says it is full until `drain`. */
class FakeSocket {
  readonly writes: Uint8Array[][] = []
  readonly #onWritten: ((error?: Error) => void)[] = []
  roomBytes = Number.POSITIVE_INFINITY

  write(slices: readonly Uint8Array[], onWritten: (error?: Error) => void): boolean {
    this.writes.push([...slices])
    this.#onWritten.push(onWritten)
    for (const slice of slices) this.roomBytes -= slice.length
    return this.roomBytes > 0
  }

  flushCount = 0
  flush(): void {
    this.flushCount++
  }

  /** The system took everything so far. */
  written(): void {
    for (const onWritten of this.#onWritten.splice(0)) onWritten()
  }

  bytes(): Buffer {
    return Buffer.concat(this.writes.flat())
  }
}

function setup() {
  const socket = new FakeSocket()
  const due: (() => void)[] = []
  let roomCount = 0
  const clock = { defer: (callback: () => void) => void due.push(callback) }
  const outbox = new Outbox(socket as unknown as Socket, clock as unknown as Clock, () => roomCount++)
  return {
    socket,
    outbox,
    rooms: () => roomCount,
    turn: () => {
      for (const callback of due.splice(0)) callback()
    },
  }
}

const body = encodeBody([1, 'abc'])
const data = new Random(1).bytes(5000)
const call = (id: number) => ({ type: FrameType.request, message: 1, id, body })

test('the small frames of one turn leave in one write of one slice', () => {
  const { socket, outbox, turn } = setup()
  for (let id = 1; id <= 31; id++) outbox.send(FrameType.request, 1, id, body)
  assert.is(socket.writes.length, 0)
  turn()
  assert.is(socket.writes.length, 1)
  assert.is(socket.writes[0]!.length, 1)
  assert.is(socket.flushCount, 0)
  assert.is(parse([socket.bytes()]).recorder.frames.length, 31)
  outbox.send(FrameType.ping, 0, 0, undefined)
  turn()
  assert.is(socket.writes.length, 2)
})

test('when a turn makes many frames, each 32 of them leave at once, so that the other side can begin', () => {
  const { socket, outbox, turn } = setup()
  for (let id = 1; id <= 70; id++) outbox.send(FrameType.request, 1, id, body)
  assert.equal([socket.writes.length, socket.flushCount], [2, 2])
  assert.is(parse([socket.bytes()]).recorder.frames.length, 64)
  turn()
  assert.equal([socket.writes.length, socket.flushCount], [3, 2])
  assert.is(parse([socket.bytes()]).recorder.frames.length, 70)
})

test('data leaves as the slices it was given', () => {
  const { socket, outbox, turn } = setup()
  const large = new Random(2).bytes(100_000)
  outbox.sendData(call(1), [data, large], data.length + large.length, crc32(large, crc32(data)))
  turn()
  assert.ok(socket.writes.flat().includes(data))
  assert.ok(socket.writes.flat().includes(large))
  assert.is(parse([socket.bytes()]).recorder.frames[0]!.verdict, 'complete')
})

test('a socket without room gets no more until it drains, in steps of at most 1 MiB, and backlog is counted', () => {
  const { socket, outbox, turn, rooms } = setup()
  const large = Buffer.alloc(5 * 1024 * 1024, 3)
  socket.roomBytes = 1
  let written = 0
  outbox.sendData(call(1), [large], large.length, crc32(large), () => written++)
  turn()
  assert.is(socket.writes.length, 1)
  assert.is(socket.bytes().length, 1024 * 1024)
  assert.is(outbox.backlogBytes, 32 + body.length + large.length + 4)
  assert.is(outbox.callDataBytes, large.length)
  for (let round = 0; round < 10; round++) {
    socket.written()
    socket.roomBytes = 1
    outbox.drained()
  }
  assert.is(written, 1)
  assert.is(outbox.backlogBytes, 0)
  assert.is(outbox.callDataBytes, 0)
  assert.ok(rooms() > 0)
  assert.ok(socket.writes.every((slices) => slices.reduce((sum, slice) => sum + slice.length, 0) <= 1024 * 1024))
  assert.is(Buffer.compare(parse([socket.bytes()]).recorder.frames[0]!.data, large), 0)
})

test('what is sent during a stream waits behind it in order; a dropped call never leaves', () => {
  const { socket, outbox, turn } = setup()
  const first = outbox.beginStream(
    call(1),
    data.length,
    crc32(data),
    () => {},
    () => {},
  )
  const second = outbox.beginStream(
    call(2),
    data.length,
    crc32(data),
    () => {},
    () => {},
  )
  const told: (string | undefined)[] = []
  outbox.send(FrameType.ping, 0, 0, undefined)
  outbox.sendData(call(3), [data], data.length, crc32(data), (error) => told.push(error?.code))
  outbox.send(FrameType.request, 1, 4, body)
  assert.not(second.write([data.subarray(0, 10)]), 'it waits')
  assert.ok(outbox.drop(3, new DfsError('TIMEOUT', 'late')))
  assert.not(outbox.drop(1, new DfsError('TIMEOUT', 'it runs already')))
  assert.equal(told, ['TIMEOUT'])
  first.write([data.subarray(0, 1000)])
  turn()
  assert.is(parse([socket.bytes()]).recorder.frames.length, 1)
  first.write([data.subarray(1000)])
  second.write([data.subarray(10)])
  turn()
  const { frames } = parse([socket.bytes()]).recorder
  assert.equal(
    frames.map(({ header }) => header.id),
    [1, 2, 0, 4],
  )
  assert.equal(
    frames.map(({ verdict }) => verdict),
    ['complete', 'complete', undefined, undefined],
  )
  socket.written()
  assert.is(outbox.backlogBytes, 0)
  assert.is(outbox.callDataBytes, 0)
})

test('an aborted stream is filled up and marked; one that still waits leaves nothing', () => {
  const { socket, outbox, turn } = setup()
  const aborted: string[] = []
  const open = (id: number) =>
    outbox.beginStream(
      call(id),
      100_000,
      7,
      () => {},
      (error) => aborted.push(`${id} ${error.code}`),
    )
  const first = open(1)
  const second = open(2)
  outbox.send(FrameType.request, 1, 3, body)
  first.write([data])
  second.write([data])
  second.abort(new DfsError('ABORTED', 'x'))
  first.abort(new DfsError('TIMEOUT', 'x'))
  first.abort(new DfsError('TIMEOUT', 'again'))
  assert.equal(aborted, ['2 ABORTED', '1 TIMEOUT'])
  let late: string | undefined
  first.write([data], (error) => {
    late = error?.code
  })
  assert.is(late, 'TIMEOUT')
  turn()
  const { frames } = parse([socket.bytes()]).recorder
  assert.equal(
    frames.map(({ header, verdict }) => [header.id, verdict]),
    [
      [1, 'aborted'],
      [3, undefined],
    ],
  )
  socket.written()
  assert.is(outbox.backlogBytes, 0)
  assert.is(outbox.callDataBytes, 0)
})

test('thousands of streams that wait complete do not pile up on the stack', () => {
  const { socket, outbox, turn } = setup()
  const first = outbox.beginStream(
    call(1),
    1,
    crc32(data.subarray(0, 1)),
    () => {},
    () => {},
  )
  for (let id = 2; id <= 20_000; id++) {
    outbox
      .beginStream(
        call(id),
        1,
        crc32(data.subarray(0, 1)),
        () => {},
        () => {},
      )
      .write([data.subarray(0, 1)])
  }
  first.write([data.subarray(0, 1)])
  turn()
  assert.is(parse([socket.bytes()]).recorder.frames.length, 20_000)
})

test('when it closes, everybody who waits is told once; what the socket may hold is told when it is gone', () => {
  const { socket, outbox, turn } = setup()
  const told: string[] = []
  const tell = (name: string) => (error?: DfsError) => told.push(`${name} ${error?.code}`)
  outbox.sendData(call(1), [data], data.length, crc32(data), tell('handed'))
  turn()
  const stream = outbox.beginStream(
    call(2),
    data.length,
    crc32(data),
    () => {},
    () => {},
  )
  outbox.sendData(call(3), [data], data.length, crc32(data), tell('waiting'))
  const reason = new DfsError('CONNECTION_LOST', 'gone')
  outbox.close(reason)
  assert.ok(stream.isOver)
  assert.equal(told, ['waiting CONNECTION_LOST'])
  outbox.sendData(call(4), [data], data.length, crc32(data), tell('later'))
  outbox.settle(reason)
  outbox.settle(reason)
  assert.equal(told, ['waiting CONNECTION_LOST', 'later CONNECTION_LOST', 'handed CONNECTION_LOST'])
  assert.is(parse([socket.bytes()]).recorder.frames.length, 1)
})

test.run()
