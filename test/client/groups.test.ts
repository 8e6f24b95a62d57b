// Groups by themselves: who goes with whom, when, and who is told what.

import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { DfsError } from '../../src/base/errors.ts'
import { Aborts } from '../../src/client/aborts.ts'
import { addPatiently, Groups, type Member } from '../../src/client/groups.ts'
import { Patience } from '../../src/client/patience.ts'
import { SimWorld } from '../sim/world.ts'
import { rejects } from './cluster-fixture.ts'

interface Run {
  readonly members: readonly Member<string, string>[]
  readonly items: readonly string[]
  end(error?: DfsError): void
}

/** Groups of up to 4 members or size 10, two at once; texts of one first letter go together. Each run waits for the test. */
async function withGroups(
  check: (groups: Groups<string, string>, runs: Run[], world: SimWorld) => Promise<void>,
): Promise<void> {
  const world = new SimWorld(3)
  await world.run(async () => {
    const runs: Run[] = []
    const groups = new Groups<string, string>({
      clock: world.machine('a').io.clock,
      aborts: new Aborts(),
      groupsMax: 2,
      membersMax: 4,
      sizeMax: () => 10,
      fits: (first, item) => first[0] === item[0],
      run: (members) =>
        new Promise((resolve, reject) => {
          const items = members.map(({ item }) => item)
          const end = (error?: DfsError): void => {
            if (error === undefined) for (const member of members) member.resolve(`${member.item}!`)
            if (error === undefined) resolve()
            else reject(error)
          }
          runs.push({ members, items, end })
        }),
    })
    await check(groups, runs, world)
  })
}

test('what one turn brings is a group; one that comes alone does not wait for company', () =>
  withGroups(async (groups, runs, world) => {
    const answers = ['a1', 'a2', 'a3'].map((item) => groups.add(item, 1, 100, undefined))
    await world.sleep(1)
    assert.equal(
      runs.map((run) => run.items),
      [['a1', 'a2', 'a3']],
    )
    runs[0]!.end()
    assert.equal(await Promise.all(answers), ['a1!', 'a2!', 'a3!'])
    const alone = groups.add('a4', 1, 100, undefined)
    await world.sleep(1)
    assert.equal(runs[1]!.items, ['a4'])
    runs[1]!.end()
    assert.is(await alone, 'a4!')
  }))

test('a second group goes beside the first once it is half full, a third waits, and order is kept', () =>
  withGroups(async (groups, runs, world) => {
    const answers: Promise<string>[] = []
    const add = async (...items: string[]): Promise<void> => {
      for (const item of items) answers.push(groups.add(item, 1, 1000, undefined))
      await world.sleep(1)
    }
    await add('a1')
    await add('a2')
    assert.is(runs.length, 1)
    await add('a3')
    assert.equal(runs[1]!.items, ['a2', 'a3'])
    await add('a4', 'a5', 'b1', 'a6', 'a7', 'a8', 'a9')
    assert.is(runs.length, 2, 'two at once')
    runs[1]!.end()
    await world.sleep(1)
    assert.equal(runs[2]!.items, ['a4', 'a5'])
    runs[0]!.end()
    runs[2]!.end()
    await world.sleep(1)
    assert.equal(
      runs.slice(3).map((run) => run.items),
      [['b1'], ['a6', 'a7', 'a8', 'a9']],
    )
    for (const run of runs.slice(3)) run.end()
    assert.is((await Promise.all(answers)).length, 10)
  }))

test('sizes fill a group; a member larger than a group goes alone', () =>
  withGroups(async (groups, runs, world) => {
    const sizes = [6, 5, 25, 3]
    const answers = sizes.map((size) => groups.add(`a${size}`, size, 1000, undefined))
    for (let i = 0; i < 4; i++) {
      await world.sleep(1)
      runs[i]!.end()
    }
    await Promise.all(answers)
    assert.equal(
      runs.map((run) => run.items),
      [['a6'], ['a5'], ['a25'], ['a3']],
    )
  }))

test('whoever gives up or runs out of time leaves the others alone, in the queue and under way', () =>
  withGroups(async (groups, runs, world) => {
    const controller = new AbortController()
    const { signal } = controller
    const underWay = groups.add('a1', 1, 1000, signal)
    const stays = groups.add('a2', 1, 1000, undefined)
    await world.sleep(1)
    const queued = groups.add('a3', 1, 1000, signal)
    const late = groups.add('a4', 1, 20, undefined)
    late.catch(() => {}) // looked at below, after it has failed
    runs[0]!.members[1]!.last = new DfsError('NO_SERVERS', 'too few')
    controller.abort()
    await rejects(underWay, 'ABORTED')
    await rejects(queued, 'ABORTED')
    await rejects(late, 'TIMEOUT')
    await rejects(groups.add('a5', 1, 1000, signal), 'ABORTED')
    assert.equal(
      runs[0]!.members.map((member) => member.isWaiting),
      [false, true],
    )
    assert.is((await rejects(stays, 'TIMEOUT')).cause, runs[0]!.members[1]!.last, 'why it took so long')
    runs[0]!.end()
    await world.sleep(1)
    assert.is(runs.length, 1, 'nobody was left to go')
  }))

test('a group that fails fails for all its members, and the next one goes', () =>
  withGroups(async (groups, runs, world) => {
    const first = groups.add('a1', 1, 1000, undefined)
    const second = groups.add('a2', 1, 1000, undefined)
    await world.sleep(1)
    const next = groups.add('a3', 1, 1000, undefined)
    runs[0]!.end(new DfsError('CHUNK_FULL', 'full'))
    await rejects(first, 'CHUNK_FULL')
    await rejects(second, 'CHUNK_FULL')
    await world.sleep(1)
    runs[1]!.end()
    assert.is(await next, 'a3!')
  }))

test('patience that is renewed elsewhere lasts; what ends it names the last fault', () =>
  withGroups(async (groups, runs, world) => {
    const patience = new Patience(world.machine('a').io.clock, { timeoutMs: 100 })
    const answer = addPatiently(groups, 'a1', 1, patience)
    answer.catch(() => {}) // looked at below, after it has failed
    await world.sleep(80)
    patience.progress()
    await world.sleep(80)
    runs[0]!.end()
    await world.sleep(1)
    runs[1]!.members[0]!.last = new DfsError('NO_SERVERS', 'too few')
    const startMs = world.nowMs
    const error = await rejects(answer, 'NO_SERVERS')
    assert.ok(world.nowMs - startMs < 30, `${world.nowMs - startMs} ms`)
    assert.match(error.message, /too few \(no progress for 100 ms\)/)
  }))

test.run()
