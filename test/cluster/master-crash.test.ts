// The master killed at any moment under load: what was acknowledged is there, what was not is whole or absent, and no
// retry happened twice. Real processes and a real disk: this says nothing about fsync, which the simulator and the
// power-loss test do; strace shows a sync that fails.
// deadline: 240 s

import { spawnSync } from 'node:child_process'
import path from 'node:path'
import fs from 'fs-extra'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { type Client, connect, isDfsError } from '../../src/client/index.ts'
import { Cluster, Daemon, dfsd, killAll } from './harness.ts'

const killCount = 20
const workerCount = 16

test.after(killAll)

test(`kill -9 of the master ${killCount} times under load: every acknowledged change is there, once`, async () => {
  const cluster = await Cluster.start({ chunkservers: 1 })
  const client = await connect({ masters: cluster.address, timeoutMs: 60_000 })
  const load = new Load(client)
  load.start()
  try {
    for (let kill = 0; kill < killCount; kill++) {
      const before = load.acknowledged
      const delayMs = 20 + ((kill * 7919) % 250)
      await new Promise((resolve) => setTimeout(resolve, delayMs))
      await cluster.master.kill()
      await cluster.startMaster()
      await load.goesOn(before)
    }
  } finally {
    await load.stop()
  }
  console.log(`${load.acknowledged} acknowledged changes, ${killCount} kills`)
  assert.ok(load.acknowledged > killCount * 10, `only ${load.acknowledged} changes`)
  await cluster.master.kill()
  await cluster.startMaster()
  await load.check()
  client.close()
  const { code, out } = await dfsd('oplog', 'verify', cluster.masterData, '--json')
  assert.is(JSON.parse(out).isSound, true, out)
  assert.is(code, 0)
  await cluster.stop()
})

/**
 * Each worker makes a directory of its own step by step: file n is made, then renamed to its final name, and every
 * third one removed. A change that happened twice shows as ALREADY_EXISTS or NOT_FOUND for the retry.
 */
class Load {
  acknowledged = 0
  readonly #client: Client
  readonly #expected = new Map<string, 'there' | 'gone' | 'open'>()
  #isRunning = true
  #workers: Promise<void>[] = []

  constructor(client: Client) {
    this.#client = client
  }

  start(): void {
    this.#workers = Array.from({ length: workerCount }, (_, index) => this.#work(`/w${index}`))
  }

  async stop(): Promise<void> {
    this.#isRunning = false
    await Promise.all(this.#workers)
  }

  /** Waits until the load moves on. */
  async goesOn(before: number): Promise<void> {
    const late = Date.now() + 20_000
    while (this.acknowledged === before) {
      if (Date.now() > late) throw new Error('the load stands still after a restart of the master')
      await new Promise((resolve) => setTimeout(resolve, 5))
    }
  }

  async check(): Promise<void> {
    const found = new Set<string>()
    for (let index = 0; index < workerCount; index++) {
      for await (const { name } of this.#client.listAll(`/w${index}`)) found.add(`/w${index}/${name}`)
    }
    for (const [name, state] of this.#expected) {
      if (state === 'there') assert.ok(found.delete(name), `${name} was acknowledged and is not there`)
      else if (state === 'gone') assert.not(found.has(name), `${name} was removed and is there`)
      else found.delete(name)
    }
    assert.equal([...found], [], 'what nobody asked for')
  }

  async #work(directory: string): Promise<void> {
    await this.#change(directory, () => this.#client.makeDirectory(directory))
    for (let n = 0; this.#isRunning; n++) {
      const made = `${directory}/made-${n}`
      const named = `${directory}/named-${n}`
      this.#expected.set(made, 'open')
      await this.#change(made, () => this.#client.writeFile(made, Buffer.alloc(0)))
      this.#expected.set(named, 'open')
      await this.#change(named, () => this.#client.rename(made, named))
      this.#expected.set(made, 'gone')
      this.#expected.set(named, 'there')
      if (n % 3 !== 0) continue
      this.#expected.set(named, 'open')
      await this.#change(named, () => this.#client.remove(named))
      this.#expected.set(named, 'gone')
    }
  }

  async #change(what: string, act: () => Promise<unknown>): Promise<void> {
    try {
      await act()
      this.acknowledged++
    } catch (error) {
      const code = isDfsError(error) ? `${error.code}: ${error.message}` : String(error)
      throw new Error(`${what}: ${code}: a change that was retried must happen once`)
    }
  }
}

test('a sync of the log that fails ends the master with the reason, and what it had acknowledged is there', async () => {
  if (spawnSync('strace', ['-V']).status !== 0) {
    console.log('SKIPPED: no strace on this machine; the simulator fails syncs too')
    return
  }
  const cluster = await Cluster.start({ chunkservers: 0 })
  const client = await connect({ masters: cluster.address, timeoutMs: 20_000 })
  await client.makeDirectory('/before')
  await cluster.master.kill('SIGTERM')
  // The first syncs belong to the start; the twentieth falls among the changes below.
  const strace = [
    'strace',
    '-f',
    '-qq',
    '-o',
    '/dev/null',
    '-e',
    'trace=fdatasync',
    '-e',
    'inject=fdatasync:error=EIO:when=20',
  ]
  await cluster.startMaster(strace)
  const acknowledged: string[] = []
  const attempts = async () => {
    for (let n = 0; n < 200; n++) {
      await client.makeDirectory(`/d${n}`)
      acknowledged.push(`/d${n}`)
    }
  }
  const changing = attempts().then(
    () => 'all of it',
    () => 'ended',
  )
  const code = await cluster.master.ended
  assert.is(code, 1)
  const failed = cluster.master.lines.find((fields) => fields.event === 'failed')
  assert.is(failed?.code, 'FSYNC_FAILED')
  await cluster.startMaster()
  await changing
  assert.ok(acknowledged.length > 5)
  assert.ok(await client.exists('/before'))
  for (const name of acknowledged) assert.ok(await client.exists(name), name)
  client.close()
  await cluster.stop()
})

test('two daemons on one data directory: the second is refused with the reason, and the first goes on', async () => {
  const cluster = await Cluster.start({ chunkservers: 1 })
  const at = ['--listen', '127.0.0.1:0', '--http', '127.0.0.1:0']
  for (const args of [
    ['master', '--data', cluster.masterData, ...at],
    ['chunk', '--data', cluster.chunkData(0), '--master', cluster.address, ...at],
  ]) {
    const second = new Daemon(args)
    const refused = await second.event('refused')
    assert.is(refused.code, 'LOCKED')
    assert.ok(refused.next)
    assert.is(await second.ended, 1)
  }
  await cluster.dfs('mkdir', '/still')
  await cluster.stop()
})

test('a copy of a data directory beside its live twin is refused at the start, and the twin serves on', async () => {
  const cluster = await Cluster.start({ chunkservers: 1 })
  fs.outputFileSync(path.join(cluster.directory, 'thesis.txt'), 'years of work')
  await cluster.dfs('put', path.join(cluster.directory, 'thesis.txt'), '/thesis.txt')
  const copied = path.join(cluster.directory, 'copied')
  fs.copySync(cluster.chunkData(0), copied)
  const at = ['--listen', '127.0.0.1:0', '--http', '127.0.0.1:0']
  const copy = new Daemon(['chunk', '--data', copied, '--master', cluster.address, ...at])
  const refused = await copy.event('refused')
  assert.is(await copy.ended, 1)
  assert.is(refused.code, 'DUPLICATE_IDENTITY', JSON.stringify(refused))
  assert.match(copy.text.join('\n'), /shows the identity of cs-1, which is live at .*stop the copy/s)
  assert.is(await cluster.dfs('cat', '/thesis.txt'), 'years of work')
  // The same server, killed and started at once, is not its own twin.
  await cluster.chunkservers[0]!.kill()
  await cluster.startChunkserver(0)
  assert.is(await cluster.dfs('cat', '/thesis.txt'), 'years of work')
  await cluster.stop()
})

test('a directory of another cluster, or of something else, is refused and left as it is', async () => {
  const one = await Cluster.start({ chunkservers: 1 })
  const other = await Cluster.start({ chunkservers: 1 })
  await other.chunkservers[0]!.kill('SIGTERM')
  const at = ['--listen', '127.0.0.1:0', '--http', '127.0.0.1:0']
  const stray = new Daemon(['chunk', '--data', other.chunkData(0), '--master', one.address, ...at])
  const end = await Promise.race([stray.ended, stray.event('refused').then(() => stray.ended)])
  assert.is(end, 1)
  assert.ok(
    stray.lines.some((fields) => fields.code === 'WRONG_CLUSTER' || fields.code === 'WRONG_DISK'),
    stray.text.join('\n'),
  )
  assert.match(stray.text.at(-1) ?? '', /not taken in by the master at/)
  await other.startChunkserver(0)

  const home = path.join(one.directory, 'home')
  fs.outputFileSync(path.join(home, 'thesis.txt'), 'years of work')
  for (const args of [
    ['master', '--data', home, ...at],
    ['chunk', '--data', home, '--master', one.address, ...at],
  ]) {
    const refused = await new Daemon(args).event('refused')
    assert.is(refused.code, 'WRONG_DISK', JSON.stringify(refused))
  }
  const dev = await new Daemon(['dev', '--data', home, '--listen', '127.0.0.1:0']).event('refused')
  assert.is(dev.code, 'WRONG_DISK', JSON.stringify(dev))
  assert.is(fs.readFileSync(path.join(home, 'thesis.txt'), 'utf8'), 'years of work')
  assert.equal(fs.readdirSync(home), ['thesis.txt'], 'not even a lock is left')

  const orphan = path.join(one.directory, 'orphan')
  fs.copySync(other.chunkData(0), orphan)
  fs.outputFileSync(path.join(orphan, 'chunks', '01', '00000000000001.data'), 'bytes')
  fs.removeSync(path.join(orphan, 'identity'))
  for (const [data, reason] of [
    [orphan, /orphan holds chunks but no identity: put the file identity back/],
    [`${home},${home}`, /home is named twice/],
  ] as const) {
    const refused = await new Daemon(['chunk', '--data', data, '--master', one.address, ...at]).event('refused')
    assert.match(String(refused.reason), reason)
  }

  await one.master.kill('SIGTERM')
  const taken = new Daemon(['chunk', '--data', one.masterData, '--master', other.address, ...at])
  assert.match(String((await taken.event('refused')).reason), /is the data directory of a master/)
  await one.stop()
  await other.stop()
})

test.run()
