import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { crc32 } from '../../src/base/crc32.ts'
import { isDfsError } from '../../src/base/errors.ts'
import { Random } from '../../src/base/random.ts'
import { type FrameEvents, FrameParser } from '../../src/wire/frame.ts'
import { FrameType, HEADER_BYTES, TRAILER_BYTES } from '../../src/wire/header.ts'
import { frame, LIMITS, parse, Recorder, type SeenFrame } from './frames.ts'

const body = Buffer.from([0x93, 1, 2, 3])
const data = new Random(7).bytes(50)
const stream = [
  frame({ type: FrameType.hello, body }),
  frame({ type: FrameType.request, message: 513, id: 0xfffffffe, body, data }),
  frame({ type: FrameType.ping }),
  frame({ type: FrameType.reply, id: 5, body, data, isAborted: true }),
  frame({ type: FrameType.cancel, id: 6 }),
  frame({ type: FrameType.error, id: 0, body }),
  frame({ type: FrameType.reply, id: 9, body: new Random(8).bytes(70) }),
]
const bytes = Buffer.concat(stream)

function summary(frames: readonly SeenFrame[]): unknown {
  return frames.map(({ header, body, data, verdict }) => [header, body.toString('hex'), data.toString('hex'), verdict])
}

test('frames cut at every byte, and into single bytes, are the same frames', () => {
  const whole = parse([bytes])
  assert.is(whole.error, undefined)
  assert.is(whole.recorder.frames.length, stream.length)
  assert.equal(
    whole.recorder.frames.map((seen) => seen.verdict),
    [undefined, 'complete', undefined, 'aborted', undefined, undefined, undefined],
  )
  const expected = summary(whole.recorder.frames)
  for (let cut = 0; cut <= bytes.length; cut++) {
    const { recorder, error } = parse([bytes.subarray(0, cut), bytes.subarray(cut)])
    assert.is(error, undefined)
    assert.equal(summary(recorder.frames), expected, `cut at ${cut}`)
  }
  for (const size of [1, 2, 3, 31, 33]) {
    const slices: Buffer[] = []
    for (let at = 0; at < bytes.length; at += size) slices.push(bytes.subarray(at, at + size))
    assert.equal(summary(parse(slices).recorder.frames), expected, `slices of ${size}`)
  }
})

test('data passes through as views, with the owner of their slice; a body inside one slice is a view too', () => {
  const slice = frame({ type: FrameType.request, message: 1, id: 1, body, data })
  const views: Buffer[] = []
  const events: FrameEvents<object> = {
    onFrame: (_, seen) => void views.push(seen),
    onData: (seen, owner) => {
      assert.is(owner, slice)
      views.push(seen)
    },
    onDataEnd: () => {},
  }
  new FrameParser(events, LIMITS).push(slice, slice)
  assert.is(views.length, 2)
  for (const view of views) assert.is(view.buffer, slice.buffer)
})

test('a body over several slices is put together without more memory than has come', () => {
  const large = new Random(9).bytes(LIMITS.bodyBytesMax)
  const all = frame({ type: FrameType.reply, id: 1, body: large })
  const slices: Buffer[] = []
  for (let at = 0; at < all.length; at += 10_000) slices.push(all.subarray(at, at + 10_000))
  const { recorder } = parse(slices)
  assert.is(Buffer.compare(recorder.frames[0]!.body, large), 0)
})

test('every single flipped bit of a frame is noticed', () => {
  const good = frame({ type: FrameType.request, message: 3, id: 77, body, data })
  for (let bit = 0; bit < good.length * 8; bit++) {
    const bad = Buffer.from(good)
    bad[bit >> 3]! ^= 1 << (bit & 7)
    const { error, recorder } = parse([bad])
    const inVersion = bit >> 3 === 1
    assert.ok(isDfsError(error, inVersion ? 'UNSUPPORTED_VERSION' : 'BAD_FRAME'), `bit ${bit}: ${error}`)
    assert.not.equal(recorder.frames.at(-1)?.verdict, 'complete')
    if (bit >> 3 < HEADER_BYTES + body.length) assert.is(recorder.frames.length, 0, `bit ${bit} let a frame through`)
  }
})

test('lengths over the limits are refused before a byte behind the header', () => {
  const cases = [
    { type: FrameType.request, override: { bodyBytes: LIMITS.bodyBytesMax + 1 } },
    { type: FrameType.request, override: { dataBytes: LIMITS.dataBytesMax + 1 } },
    { type: FrameType.request, override: { bodyBytes: 0xffffffff } },
    { type: FrameType.reply, override: { dataBytes: 0xffffffff } },
  ]
  for (const { type, override } of cases) {
    const { error } = parse([frame({ type, id: 1, body, override })])
    assert.ok(isDfsError(error, 'FRAME_TOO_LARGE'))
  }
})

test('headers that contradict themselves are refused though their checksum is right', () => {
  const cases: [string, Parameters<typeof frame>[0]][] = [
    ['type 0', { type: FrameType.request, id: 1, body, override: { type: 0 as FrameType } }],
    ['type 7', { type: FrameType.request, id: 1, body, override: { type: 7 as FrameType } }],
    ['a request without an id', { type: FrameType.request, body }],
    ['a reply without an id', { type: FrameType.reply, body }],
    ['a cancel without an id', { type: FrameType.cancel }],
    ['a cancel with a body', { type: FrameType.cancel, id: 1, body }],
    ['a ping with data', { type: FrameType.ping, data }],
    ['a ping with an id', { type: FrameType.ping, id: 4 }],
    ['a hello with an id', { type: FrameType.hello, id: 4, body }],
    ['a hello with data', { type: FrameType.hello, body, data }],
    ['an error with data', { type: FrameType.error, id: 1, body, data }],
    ['a reply with a message number', { type: FrameType.reply, id: 1, message: 1, body }],
    ['a request without a body', { type: FrameType.request, id: 1 }],
    ['a checksum of no body', { type: FrameType.ping, override: { bodyCrc: 1 } }],
    ['a checksum of no data', { type: FrameType.reply, id: 1, body, override: { dataCrc: 1 } }],
  ]
  for (const [name, parts] of cases) {
    const { error, recorder } = parse([frame(parts)])
    assert.ok(isDfsError(error, 'BAD_FRAME'), name)
    assert.is(recorder.frames.length, 0, name)
  }
})

test('a reserved bit is refused', () => {
  for (const at of [3, 6, 7]) {
    const bad = frame({ type: FrameType.ping })
    bad[at] = 1
    bad.writeUInt32LE(crc32(bad.subarray(0, 28)), 28)
    assert.ok(isDfsError(parse([bad]).error, 'BAD_FRAME'))
  }
})

test('garbage is refused at its first byte', () => {
  assert.ok(isDfsError(parse([Buffer.from('G')]).error, 'BAD_FRAME'))
  const random = new Random(3)
  for (let i = 0; i < 200; i++) {
    const { error, recorder } = parse([random.bytes(64)])
    assert.ok(isDfsError(error))
    assert.is(recorder.frames.length, 0)
  }
})

test('data that does not match its checksum is corrupt, and the parser takes no more', () => {
  const { error, recorder } = parse([frame({ type: FrameType.request, id: 1, body, data, override: { dataCrc: 1 } })])
  assert.ok(isDfsError(error, 'BAD_FRAME'))
  assert.is(recorder.frames[0]!.verdict, 'corrupt')
})

test('a word other than DONE and ABRT behind the data is corrupt', () => {
  const bad = frame({ type: FrameType.request, id: 1, body, data })
  bad.writeUInt32LE(0, bad.length - TRAILER_BYTES)
  const { error, recorder } = parse([bad])
  assert.ok(isDfsError(error, 'BAD_FRAME'))
  assert.is(recorder.frames[0]!.verdict, 'corrupt')
})

test('a consumer may bring the data checksum: right passes, wrong is corrupt, nothing is computed twice', () => {
  for (const [crc, verdict] of [
    [crc32(data), 'complete'],
    [crc32(data) ^ 1, 'corrupt'],
  ] as const) {
    const recorder = new Recorder()
    const parser = new FrameParser<string>(
      {
        onFrame: (header, seen) => {
          recorder.onFrame(header, seen)
          if (header.dataBytes > 0) parser.checkDataWith(() => crc)
        },
        onData: (seen, owner) => recorder.onData(seen, owner),
        onDataEnd: (seen) => recorder.onDataEnd(seen),
      },
      LIMITS,
    )
    try {
      parser.push(frame({ type: FrameType.request, id: 1, body, data }), '')
    } catch (error) {
      assert.ok(isDfsError(error, 'BAD_FRAME'))
    }
    assert.is(recorder.frames[0]!.verdict, verdict)
  }
})

test('a stopped parser returns after the event and goes on where it stood', () => {
  const recorder = new Recorder()
  const parser = new FrameParser<string>(
    {
      onFrame: (header, seen) => {
        recorder.onFrame(header, seen)
        parser.stop()
      },
      onData: (seen, owner) => {
        recorder.onData(seen, owner)
        parser.stop()
      },
      onDataEnd: (verdict) => recorder.onDataEnd(verdict),
    },
    LIMITS,
  )
  let at = 0
  let rounds = 0
  while (at < bytes.length) {
    parser.go()
    at += parser.push(bytes.subarray(at), '')
    rounds++
  }
  assert.is(rounds, stream.length + 2)
  assert.equal(summary(recorder.frames), summary(parse([bytes]).recorder.frames))
})

test.run()
