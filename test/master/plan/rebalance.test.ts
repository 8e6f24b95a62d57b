// Which replicas go elsewhere, and that it comes to an end (plan/rebalance.ts).

import { test } from 'uvu'
import * as assert from 'uvu/assert'
import type { ChunkHandle, DirectoryId, Life, ServerId } from '../../../src/base/ids.ts'
import { Random } from '../../../src/base/random.ts'
import { companyOf, fullness } from '../../../src/master/plan/placement.ts'
import {
  type BalanceDisk,
  BEGIN_SPREAD,
  END_SPREAD,
  Levels,
  type MoveWant,
  mustLevel,
  planMoves,
} from '../../../src/master/plan/rebalance.ts'
import { type RepairServer, worstReplica } from '../../../src/master/plan/repair.ts'

const ROOM = 1000
const limits = { budget: 1000, perServer: 1000, isLevelling: true }

interface Given {
  readonly used: number
  readonly room?: number
  readonly host?: string
  readonly rack?: string
  readonly zone?: string
  readonly mayGive?: boolean
  readonly mayTake?: boolean
}

/** Servers 1, 2, … with one disk each, numbered 101, 102, … */
function cluster(given: readonly Given[]) {
  const servers = new Map<ServerId, RepairServer>()
  const disks: BalanceDisk[] = []
  for (const [index, one] of given.entries()) {
    const id = (index + 1) as ServerId
    const directory = (index + 101) as DirectoryId
    const { used, room = ROOM, host = `host-${id}`, rack = '', zone = '', mayGive = true, mayTake = true } = one
    const bytes = { capacityBytes: room, usedBytes: used, freeBytes: room - used }
    servers.set(id, {
      id,
      host,
      rack,
      zone,
      excluded: undefined,
      load: 0,
      directories: [{ directory, life: 1 as Life, isWritable: mayTake, ...bytes }],
      copiesIn: 0,
      copiesOut: 0,
    })
    disks.push({ server: id, directory, device: '', usedBytes: used, freeBytes: room - used, mayGive, mayTake })
  }
  return { servers, disks, levels: new Levels(disks) }
}

function want(handle: number, length: number, ...servers: number[]): MoveWant {
  return {
    handle: handle as ChunkHandle,
    length,
    replicas: servers.map((id) => ({
      server: id as ServerId,
      directory: (id + 100) as DirectoryId,
      state: 'good',
      presence: 'here',
      isDoomed: false,
    })),
  }
}

test('directories of a server on one device are one disk, also while moves are planned', () => {
  const disk = (server: number, directory: number, device: string, usedBytes: number, freeBytes: number) => ({
    server: server as ServerId,
    directory: directory as DirectoryId,
    device,
    usedBytes,
    freeBytes,
    mayGive: true,
    mayTake: true,
  })
  // Server 1: 800 of 1000 in two directories. Apart, each would seem to have 400 of 600.
  const levels = new Levels([
    disk(1, 101, 'sda', 400, 200),
    disk(1, 102, 'sda', 400, 210),
    disk(2, 103, 'sda', 200, 800),
    disk(3, 104, '', 200, 800),
    disk(3, 105, '', 200, 800),
  ])
  assert.is(levels.mean, 1400 / 4000)
  assert.is(levels.fullnessOf(101 as DirectoryId), 0.8)
  assert.is(levels.fullnessOf(102 as DirectoryId), 0.8)
  assert.is(levels.fullnessOf(103 as DirectoryId), 0.2, "another server's device is another, whatever its name")
  assert.is(levels.fullnessOf(105 as DirectoryId), 0.2, 'without a name it is its own')
  levels.move(101 as DirectoryId, 104 as DirectoryId, 300)
  assert.is(levels.fullnessOf(102 as DirectoryId), 0.5, 'what leaves one is room for the other')
  assert.is(levels.of(101 as DirectoryId)!.freeBytes, 500)
})

test('from the fuller to the emptier: the target holds none, and trims would take the replica that is meant', () => {
  const { servers, levels } = cluster([{ used: 800 }, { used: 700 }, { used: 600 }, { used: 100 }])
  const [plan, ...others] = planMoves([want(1, 10, 1, 2, 3)], levels, servers, limits)
  assert.equal(others, [])
  assert.is(plan!.target, 4)
  assert.is(plan!.from.server, 1)
  assert.is(plan!.reason, 'full')
  assert.ok(!plan!.sources.includes(4 as ServerId) && plan!.sources.length === 3)
})

test('nothing moves that would leave its target fuller than its source', () => {
  const { servers, levels } = cluster([{ used: 600 }, { used: 500 }, { used: 500 }, { used: 400 }])
  assert.is(planMoves([want(1, 101, 1, 2, 3)], levels, servers, limits).length, 0)
  assert.is(planMoves([want(1, 100, 1, 2, 3)], levels, servers, limits).length, 1)
})

test('within the band only crowded replicas are moved, and levelling does not begin before its threshold', () => {
  const { servers, levels } = cluster([
    { used: 800 },
    { used: 100, host: 'x' },
    { used: 100, host: 'x' },
    { used: 900 },
  ])
  const wants = [want(1, 10, 1, 2), want(2, 10, 1, 2, 3)]
  const plans = planMoves(wants, levels, servers, { ...limits, isLevelling: false })
  assert.equal(
    plans.map(({ handle, target, reason }) => [handle, target, reason]),
    [[2, 4, 'crowded']],
    'two on host x, and none on the fourth, however full it is',
  )
  assert.not.ok(mustLevel(BEGIN_SPREAD, false))
  assert.ok(mustLevel(BEGIN_SPREAD + 0.01, false))
  assert.ok(mustLevel(END_SPREAD + 0.01, true))
  assert.not.ok(mustLevel(END_SPREAD, true))
})

test('a move never costs a failure domain: the empty disk on a host that has a replica is passed over', () => {
  const { servers, levels } = cluster([
    { used: 900, rack: 'a' },
    { used: 800, rack: 'b' },
    { used: 0, rack: 'b' },
    { used: 300, rack: 'a' },
  ])
  const [plan] = planMoves([want(1, 10, 1, 2)], levels, servers, limits)
  assert.is(plan!.target, 4, 'rack a, where the replica on the fullest disk is')
  assert.is(plan!.from.server, 1)
})

test('racks: two replicas on one rack, an empty one elsewhere; unnamed racks are shared with nobody', () => {
  const racks = cluster([
    { used: 500, rack: 'a' },
    { used: 400, rack: 'a' },
    { used: 500, rack: 'b' },
    { used: 500, rack: 'c' },
  ])
  const [plan] = planMoves([want(1, 10, 1, 2, 3)], racks.levels, racks.servers, { ...limits, isLevelling: false })
  assert.is(plan!.target, 4)
  assert.is(plan!.from.server, 1)
  const unnamed = cluster([{ used: 500 }, { used: 400 }, { used: 500 }, { used: 500 }])
  assert.equal(
    planMoves([want(1, 10, 1, 2, 3)], unnamed.levels, unnamed.servers, { ...limits, isLevelling: false }),
    [],
  )
})

test('who may not give gives nothing, who may not take takes nothing, limits hold', () => {
  const silent = cluster([{ used: 900, mayGive: false }, { used: 100 }])
  assert.equal(planMoves([want(1, 10, 1)], silent.levels, silent.servers, limits), [])
  const full = cluster([{ used: 900 }, { used: 100, mayTake: false }, { used: 200 }])
  assert.is(planMoves([want(1, 10, 1)], full.levels, full.servers, limits)[0]!.target, 3)
  const many = Array.from({ length: 20 }, (_, index) => want(index + 1, 10, 1))
  const narrow = cluster([{ used: 900 }, { used: 100 }, { used: 100 }])
  assert.is(planMoves(many, narrow.levels, narrow.servers, { ...limits, perServer: 2 }).length, 2, 'one source')
  const wide = cluster([{ used: 900 }, { used: 100 }, { used: 100 }])
  assert.is(planMoves(many, wide.levels, wide.servers, { ...limits, budget: 3 }).length, 3)
})

// Random clusters, random domains, random chunks; the moves are carried out as the master does: copy, then the trim
// takes the worst replica. Whatever the start it comes to rest, no chunk gets more company, and levels get no worse.
test('from any start it comes to rest: disks alike, no chunk more crowded than before', () => {
  for (let seed = 1; seed <= 40; seed++) {
    const random = new Random(seed)
    const count = 4 + random.below(7)
    const isOneHost = random.below(5) === 0
    const racks = 1 + random.below(4)
    const chunks = Array.from({ length: 100 }, (_, index) => {
      const ids = Array.from({ length: count - (random.below(2) === 0 ? 1 : 0) }, (_, id) => id + 1)
      const chosen = Array.from({ length: 3 }, () => ids.splice(random.below(ids.length), 1)[0]!)
      return { handle: index + 1, length: 1 + random.below(12), servers: chosen }
    })
    const rooms = Array.from({ length: count }, () => 1000 + random.below(1000))
    const make = () =>
      cluster(
        rooms.map((room, index) => ({
          room,
          used: chunks.reduce((sum, { length, servers }) => sum + (servers.includes(index + 1) ? length : 0), 0),
          host: isOneHost ? 'one' : `host-${index}`,
          rack: `r${index % racks}`,
        })),
      )
    const { servers: domains } = make()
    const crowds = () =>
      chunks.map((chunk) => {
        const views = chunk.servers.map((id) => domains.get(id as ServerId)!)
        return views.reduce(
          (sum, view) =>
            sum +
            companyOf(
              view,
              views.filter((other) => other !== view),
            ),
          0,
        )
      })
    let before = crowds()
    let moves = 0
    for (let isQuiet = false; !isQuiet; ) {
      const { servers, levels } = make()
      const wants = chunks.map(({ handle, length, servers: ids }) => want(handle, length, ...ids))
      const plans = planMoves(wants, levels, servers, { ...limits, perServer: 4 })
      isQuiet = plans.length === 0
      for (const { handle, target } of plans) {
        const chunk = chunks[handle - 1]!
        chunk.servers.push(target)
        const now = make().servers
        const gone = worstReplica(want(handle, chunk.length, ...chunk.servers).replicas, now)!
        assert.is.not(gone, target, `seed ${seed}: the new replica went`)
        chunk.servers = chunk.servers.filter((id) => id !== gone)
        moves++
      }
      assert.ok(moves < 2000, `seed ${seed}: it does not end`)
      const after = crowds()
      for (const [index, company] of after.entries()) {
        assert.ok(company <= before[index]!, `seed ${seed}: chunk ${index + 1} is more crowded`)
      }
      before = after
    }
    const { levels, disks } = make()
    const spare = disks.every((disk) => Math.abs(fullness(disk) - levels.mean) <= END_SPREAD)
    // With three replicas on few servers of different sizes the band can't always be met; with one rack and many it can.
    if (racks === 1 && count >= 7) assert.ok(spare, `seed ${seed}: spread ${levels.spread}`)
  }
})

test.run()
