import { test } from 'uvu'
import * as assert from 'uvu/assert'
import type { DirectoryId, Life, ServerId } from '../../../src/base/ids.ts'
import { Random } from '../../../src/base/random.ts'
import { type PlacementServer, placeReplicas } from '../../../src/master/plan/placement.ts'

const ROOM = 1000

function server(id: number, fields: Partial<PlacementServer> & { freeBytes?: number } = {}): PlacementServer {
  const { freeBytes = 50_000, ...rest } = fields
  return {
    id: id as ServerId,
    host: `host-${id}`,
    rack: '',
    zone: '',
    excluded: undefined,
    load: 0,
    directories: [
      {
        directory: (id * 10) as DirectoryId,
        life: (id * 100) as Life,
        isWritable: true,
        capacityBytes: 100_000,
        usedBytes: 100_000 - freeBytes,
        freeBytes,
      },
    ],
    ...rest,
  }
}

function place(servers: readonly PlacementServer[], count = 3, avoid: readonly number[] = [], minimum = 2, seed = 1) {
  const placement = placeReplicas(servers, count, minimum, ROOM, new Set(avoid as ServerId[]), new Random(seed))
  return { ...placement, ids: placement.members.map((member) => member.server as number) }
}

test('every member is on a server of its own, with the directory and life it was offered', () => {
  for (let seed = 0; seed < 50; seed++) {
    const { members, ids } = place(
      [1, 2, 3, 4, 5].map((id) => server(id)),
      3,
      [],
      2,
      seed,
    )
    assert.is(new Set(ids).size, 3)
    for (const { server: id, directory, life } of members) assert.equal([directory, life], [id * 10, id * 100])
  }
})

test('never two replicas on one host while others exist', () => {
  const servers = [
    server(1, { host: 'a' }),
    server(2, { host: 'a' }),
    server(3, { host: 'b', freeBytes: 2000 }),
    server(4, { host: 'c', freeBytes: 2000, load: 50 }),
  ]
  for (let seed = 0; seed < 50; seed++) {
    const hosts = place(servers, 3, [], 2, seed).ids.map((id) => servers[id - 1]!.host)
    assert.is(new Set(hosts).size, 3, `seed ${seed}: ${hosts}`)
  }
})

test('one host is taken more than once when there is no other', () => {
  assert.is(place([1, 2, 3].map((id) => server(id, { host: '127.0.0.1' }))).ids.length, 3)
})

test('GFS §4.2: racks, then zones, are kept apart while they suffice', () => {
  const servers = [1, 2, 3, 4, 5, 6].map((id) => server(id, { rack: `r${id % 3}`, zone: 'z' }))
  for (let seed = 0; seed < 50; seed++) {
    const racks = place(servers, 3, [], 2, seed).ids.map((id) => servers[id - 1]!.rack)
    assert.is(new Set(racks).size, 3)
  }
  const zones = [1, 2, 3, 4].map((id) => server(id, { zone: id < 3 ? 'near' : 'far' }))
  for (let seed = 0; seed < 50; seed++) {
    const taken = new Set(place(zones, 2, [], 2, seed).ids.map((id) => zones[id - 1]!.zone))
    assert.is(taken.size, 2)
  }
})

test('room and little load win', () => {
  const servers = [
    server(1, { freeBytes: 95_000 }),
    server(2, { freeBytes: 90_000 }),
    server(3, { freeBytes: 5000 }),
    server(4, { load: 30, freeBytes: 90_000 }),
  ]
  for (let seed = 0; seed < 20; seed++) assert.equal(place(servers, 2, [], 2, seed).ids.sort(), [1, 2])
})

test('full disks and excluded servers are passed over with the reason', () => {
  const { ids, excluded } = place([
    server(1),
    server(2, { freeBytes: ROOM - 1 }),
    server(3, { excluded: 'it is dead' }),
  ])
  assert.equal(ids, [1])
  assert.equal(
    excluded.map(({ server: id, reason }) => [id, reason]),
    [
      [2, 'no disk with 1000 bytes of room'],
      [3, 'it is dead'],
    ],
  )
})

test('servers that just failed the writer are taken only to reach the minimum', () => {
  assert.equal(
    place(
      [1, 2, 3, 4].map((id) => server(id)),
      3,
      [4],
    ).ids.sort(),
    [1, 2, 3],
  )
  assert.equal(
    place(
      [1, 2, 3].map((id) => server(id)),
      3,
      [3],
    ).ids.sort(),
    [1, 2],
    'two are enough without it',
  )
  assert.equal(
    place(
      [1, 2].map((id) => server(id)),
      3,
      [2],
    ).ids.sort(),
    [1, 2],
    'two are not',
  )
})

test('the emptiest writable disk of a server is taken', () => {
  const disks = (['a', 'b', 'c'] as const).map((_, index) => ({
    directory: (index + 1) as DirectoryId,
    life: (index + 11) as Life,
    isWritable: index !== 2,
    capacityBytes: 100_000,
    usedBytes: 100_000 - 10_000 * (index + 1),
    freeBytes: 10_000 * (index + 1),
  }))
  assert.is(place([server(1, { directories: disks })], 1, [], 1).members[0]?.directory, 2)
})

test.run()
