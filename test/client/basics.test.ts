// The library against the real master, nothing failing: what is written is read, in every size and way.

import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { crc32 } from '../../src/base/crc32.ts'
import { SMALL_FILE_BYTES_MAX } from '../../src/base/limits.ts'
import { KiB, MiB } from '../../src/base/units.ts'
import { rejects, withCluster } from './cluster-fixture.ts'

test('files of every size come back byte for byte, with the right checksum', async () => {
  await withCluster(
    1,
    async ({ client, world }) => {
      const sizes = [
        0,
        1,
        4095,
        4096,
        4097,
        SMALL_FILE_BYTES_MAX,
        SMALL_FILE_BYTES_MAX + 1,
        MiB,
        3 * MiB + 5,
        4 * MiB,
        9 * MiB + 1,
      ]
      for (const size of sizes) {
        const bytes = world.random.bytes(size)
        await client.writeFile(`/f${size}`, bytes)
        const read = await client.readFile(`/f${size}`)
        assert.is(Buffer.compare(read, bytes), 0, `size ${size}`)
        assert.is(await client.checksum(`/f${size}`), crc32(bytes), `checksum of ${size}`)
        assert.is((await client.stat(`/f${size}`)).size, size)
      }
      const names = []
      for await (const entry of client.listAll('/', { limit: 3 })) names.push(entry.name)
      assert.equal(names, sizes.map((size) => `f${size}`).sort())
    },
    { master: { chunkBytes: 4 * MiB } },
  )
})

test('a stream of small writes makes the same file as one write; its middle can be read', async () => {
  await withCluster(2, async ({ client, world }) => {
    const bytes = world.random.bytes(2 * MiB + 777)
    const writer = client.createWriter('/stream')
    for (let at = 0; at < bytes.length; at += 10_007) await writer.write(bytes.subarray(at, at + 10_007))
    assert.is(await client.exists('/stream'), false, 'not seen before it is closed')
    await writer.close()
    const reader = await client.openReader('/stream')
    assert.is(reader.size, bytes.length)
    const middle = await reader.read(MiB - 3, 70_000)
    assert.is(Buffer.compare(middle, bytes.subarray(MiB - 3, MiB - 3 + 70_000)), 0)
    assert.is((await reader.read(bytes.length - 5, 100)).length, 5)
    assert.is((await reader.read(bytes.length + 5, 100)).length, 0)
    const short = Buffer.alloc(5000)
    assert.is(await reader.readInto(short, 4095), 5000)
    assert.is(Buffer.compare(short, bytes.subarray(4095, 9095)), 0)
    const whole = Buffer.alloc(bytes.length)
    assert.is(await reader.readInto(whole, 7), bytes.length - 7)
    assert.is(Buffer.compare(whole.subarray(0, -7), bytes.subarray(7)), 0)
    assert.is(await reader.readInto(short, bytes.length + 5), 0)
    const streamed = []
    for await (const part of reader.stream({ offset: 5, length: MiB })) streamed.push(part)
    assert.is(Buffer.compare(Buffer.concat(streamed), bytes.subarray(5, 5 + MiB)), 0)
    const sunk: Buffer[] = []
    const count = await reader.copyTo(async (slices) => {
      for (const slice of slices) sunk.push(Buffer.from(slice))
    })
    assert.is(count, bytes.length)
    assert.is(Buffer.compare(Buffer.concat(sunk), bytes), 0)
    assert.is(world.network.retainedBuffers, 0)
  })
})

test('stat counts the chunks of a file for who asks, each once, without holes', async () => {
  await withCluster(
    3,
    async ({ client }) => {
      await client.writeFile('/f', Buffer.alloc(3 * MiB, 'f'))
      const [before, part] = [await client.stat('/f', { withChunks: true }), await client.stat('/f')]
      assert.equal([before.chunks, part.chunks], [3, undefined])
      await client.truncate('/f', 64 * MiB)
      const after = await client.stat('/f', { withChunks: true })
      assert.is(after.chunks, 3, 'what truncate made longer is a hole')
      assert.is((await client.stat('/', { withChunks: true })).chunks, 0)
    },
    { master: { chunkBytes: MiB } },
  )
})

test('Node and web streams carry files in both directions', async () => {
  await withCluster(3, async ({ client, world }) => {
    const bytes = world.random.bytes(700_000)
    await new Promise<void>((resolve, reject) => {
      const stream = client.createWriter('/node').toNodeStream()
      stream.on('finish', resolve).on('error', reject)
      for (let at = 0; at < bytes.length; at += 65_536) stream.write(bytes.subarray(at, at + 65_536))
      stream.end()
    })
    const web = client.createWriter('/web').toWebStream().getWriter()
    await web.write(bytes)
    await web.close()
    const parts: Buffer[] = []
    for await (const part of (await client.openReader('/node')).toNodeStream()) parts.push(part)
    assert.is(Buffer.compare(Buffer.concat(parts), bytes), 0)
    const webParts: Uint8Array[] = []
    for await (const part of (await client.openReader('/web')).toWebStream({ offset: 1 })) webParts.push(part)
    assert.is(Buffer.compare(Buffer.concat(webParts), bytes.subarray(1)), 0)
  })
})

test('append, writeAt, truncate and concat change what they should and nothing else', async () => {
  await withCluster(4, async ({ client, world }) => {
    let model = world.random.bytes(1000)
    await client.writeFile('/a', model)
    const more = world.random.bytes(600_000)
    await client.append('/a', more)
    model = Buffer.concat([model, more])
    await client.append('/a', Buffer.from('tail'))
    model = Buffer.concat([model, Buffer.from('tail')])
    await client.writeAt('/a', 100, Buffer.from('HELLO'))
    Buffer.from('HELLO').copy(model, 100)
    const big = world.random.bytes(400_000)
    await client.writeAt('/a', 300_000, big)
    model = Buffer.concat([model.subarray(0, 300_000), big])
    await client.truncate('/a', 800_000)
    model = Buffer.concat([model, Buffer.alloc(100_000)])
    await client.writeAt('/a', 900_000, Buffer.from('beyond'))
    model = Buffer.concat([model, Buffer.alloc(100_000), Buffer.from('beyond')])
    assert.is(Buffer.compare(await client.readFile('/a'), model), 0)
    assert.is(await client.checksum('/a'), crc32(model))
    await client.writeFile('/b', Buffer.from('bbb'))
    await client.concat('/a', ['/b'])
    model = Buffer.concat([model, Buffer.from('bbb')])
    assert.is(Buffer.compare(await client.readFile('/a'), model), 0)
    assert.is(await client.exists('/b'), false)
    await rejects(client.append('/none', Buffer.from('x')), 'NOT_FOUND')
    await client.append('/none', Buffer.from('x'), { create: true })
    await client.append('/none', Buffer.from('y'), { create: true })
    assert.is((await client.readFile('/none')).toString(), 'xy')
  })
})

test('a flush shows what was written so far; an abort leaves the file as it was at the last flush', async () => {
  await withCluster(5, async ({ client }) => {
    const writer = client.createWriter('/log')
    void writer.write(Buffer.from('one '))
    await writer.flush()
    assert.is((await client.readFile('/log')).toString(), 'one ')
    void writer.write(Buffer.from('two '))
    void writer.write(Buffer.from('three '))
    await writer.flush()
    assert.is((await client.readFile('/log')).toString(), 'one two three ')
    await writer.write(Buffer.from('never seen'))
    await writer.abort()
    assert.is((await client.readFile('/log')).toString(), 'one two three ')
    const unnamed = client.createWriter('/unnamed')
    await unnamed.write(Buffer.alloc(MiB))
    await unnamed.abort()
    assert.is(await client.exists('/unnamed'), false)
    await rejects(unnamed.write(Buffer.alloc(1)), 'ABORTED')
  })
})

test('a name that is taken is refused, unless it may be replaced; the old file lies in the trash', async () => {
  await withCluster(6, async ({ client }) => {
    await client.writeFile('/x', Buffer.from('old'))
    await rejects(client.writeFile('/x', Buffer.from('new')), 'ALREADY_EXISTS')
    await rejects(client.writeFile('/x', Buffer.alloc(MiB)), 'ALREADY_EXISTS')
    await client.writeFile('/x', Buffer.from('new'), { overwrite: true, mode: 0o600, owner: 'ann', mtimeMs: 1234 })
    assert.is((await client.readFile('/x')).toString(), 'new')
    const { mode, owner, mtimeMs } = await client.stat('/x')
    assert.equal([mode, owner, mtimeMs], [0o600, 'ann', 1234])
    const { entries } = await client.trashList()
    assert.equal(
      entries.map((entry) => entry.path),
      ['/x'],
    )
    await client.trashRestore(entries[0]!.id, { to: '/y' })
    assert.is((await client.readFile('/y')).toString(), 'old')
    await rejects(client.writeFile('/no/dir', Buffer.from('x')), 'NOT_FOUND')
  })
})

test('names: directories, renames, copies, removals, attributes', async () => {
  await withCluster(7, async ({ client }) => {
    await client.makeDirectory('/d/e/f', { parents: true })
    await client.writeFile('/d/e/file', Buffer.from('bytes'))
    await client.rename('/d/e', '/moved')
    assert.is((await client.readFile('/moved/file')).toString(), 'bytes')
    await client.snapshot('/moved', '/snap')
    await client.copy('/moved/file', '/copy')
    await client.remove('/moved', { recursive: true })
    assert.is((await client.readFile('/snap/file')).toString(), 'bytes')
    assert.is((await client.readFile('/copy')).toString(), 'bytes')
    await rejects(client.remove('/snap'), 'IS_A_DIRECTORY')
    await rejects(client.remove('/snap', { directory: true }), 'NOT_EMPTY')
    await client.remove('/d', { directory: true })
    await client.setAttributes('/copy', { mode: 0o400, goal: 2, attributes: { colour: 'red' } })
    const stat = await client.stat('/copy')
    assert.equal([stat.mode, stat.goal, stat.attributes], [0o400, 2, [{ name: 'colour', value: 'red' }]])
    await rejects(client.openReader('/snap'), 'IS_A_DIRECTORY')
    assert.type(await client.report(), 'object')
    assert.type(await client.info('/copy'), 'object')
    assert.type(await client.space(), 'object')
  })
})

test('a path that is none is refused before anything is sent, also one that UTF-8 cannot say', async () => {
  await withCluster(9, async ({ client }) => {
    for (const path of [
      '',
      'a',
      '/a/',
      '/a//b',
      '/a/../b',
      '/\0',
      '/\ud800',
      `/${'x'.repeat(256)}`,
      `/${'y/'.repeat(4000)}z`,
    ]) {
      await rejects(client.stat(path), 'INVALID_PATH')
      await rejects(client.writeFile(path, Buffer.alloc(1)), 'INVALID_PATH')
      await rejects(client.openReader(path), 'INVALID_PATH')
      await rejects(client.rename('/', path), 'INVALID_PATH')
      await rejects(client.writeAt(path, 0, Buffer.alloc(1)), 'INVALID_PATH')
    }
    await rejects(client.writeAt('/a', -1, Buffer.alloc(1)), 'INVALID_ARGUMENT')
    await client.writeFile('/ünïcode ☃ 𝄞', Buffer.from('x'))
    assert.is((await client.readFile('/ünïcode ☃ 𝄞')).toString(), 'x')
  })
})

test('many small files at once share chunks', async () => {
  await withCluster(8, async ({ client, world, servers }) => {
    const files = Array.from({ length: 300 }, (_, i) => ({
      path: `/s${i}`,
      data: world.random.bytes(1 + world.random.below(4 * KiB)),
    }))
    let done = 0
    await client.putMany(files, { parallel: 32, onDone: () => done++ })
    assert.is(done, files.length)
    for (const { path, data } of files) assert.is(Buffer.compare(await client.readFile(path), data), 0)
    assert.ok(servers[0]!.disk.chunks.size <= 4, `${servers[0]!.disk.chunks.size} chunks for 300 small files`)
  })
})

test.run()
