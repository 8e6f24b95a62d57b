// What a chunk lacks or has too much of, and which copies come first (GFS §4.3; DESIGN §5).

import { test } from 'uvu'
import * as assert from 'uvu/assert'
import type { ChunkHandle, DirectoryId, Life, ServerId } from '../../../src/base/ids.ts'
import { Random } from '../../../src/base/random.ts'
import {
  type CopyWant,
  judgeChunk,
  planCopies,
  type RepairServer,
  type ReplicaView,
  sourcesOf,
  worstReplica,
} from '../../../src/master/plan/repair.ts'

/** `g`ood, `c`orrupt, `s`hort, `d`ifferent, `o`pen; `h`ere, `u`nsure, `a`way, `l`eaving, `x` lost; `!` doomed. */
function replicas(text: string): ReplicaView[] {
  const states = { g: 'good', c: 'corrupt', s: 'short', d: 'different', o: 'open' } as const
  const presences = { h: 'here', u: 'unsure', a: 'away', l: 'leaving', x: 'lost' } as const
  return text.split(' ').map((word, index) => ({
    server: (index + 1) as ServerId,
    directory: (index + 101) as DirectoryId,
    state: states[word[0] as keyof typeof states],
    presence: presences[word[1] as keyof typeof presences],
    isDoomed: word[2] === '!',
  }))
}

const verdicts: readonly [what: string, goal: number, replicas: string, verdict: string][] = [
  ['at its goal', 3, 'gh gh gh', 'well'],
  ['a dead server', 3, 'gh gh gx', 'lacking 1 of 2'],
  ['two dead servers', 3, 'gh gx gx', 'lacking 2 of 1'],
  ['all dead', 3, 'gx gx gx', 'unreachable'],
  ['a silent server counts for a moment', 3, 'gh gh gu', 'well'],
  ['a bad block', 3, 'gh gh ch', 'lacking 1 of 2'],
  ['three bad blocks', 3, 'ch ch ch', 'lacking 3 of 0'],
  ['only short ones', 3, 'sh sx', 'lacking 3 of 0'],
  ['other content proves nothing', 3, 'dh dh', 'unreachable'],
  ['maintenance is waited for', 3, 'gh gh ga', 'well'],
  ['but not with one left', 3, 'gh ga ga', 'lacking 1 of 1'],
  ['one that stopped before its seal is waited for too', 3, 'gh gh oa', 'well'],
  ['maintenance does not hide a death', 3, 'gh gh ga gx', 'well'],
  ['... when something is lacking besides', 3, 'gh ga gx', 'lacking 1 of 1'],
  ['a goal of one in maintenance can not be copied', 1, 'ga', 'unreachable'],
  ['a drained server is read from and does not count', 3, 'gh gh gl', 'lacking 1 of 3'],
  ['one too many', 3, 'gh gh gh gh', 'surplus 1: 1 2 3 4'],
  ['none too many while one is silent', 3, 'gh gh gh gu', 'surplus 0: '],
  ['a bad one beside enough good ones', 3, 'gh gh gh ch', 'surplus 1: 4'],
  ['a bad one while good ones are missing', 3, 'gh gh ch', 'lacking 1 of 2'],
  ['bad ones go before good ones', 2, 'gh gh gh sh', 'surplus 1: 4'],
  ['a doomed one counts as gone', 3, 'gh gh gh gh!', 'well'],
  ['... and is missed', 3, 'gh gh gh!', 'lacking 1 of 2'],
  ['a replica that waits for its seal is no surplus', 2, 'gh gh oh', 'well'],
]

for (const [what, goal, text, expected] of verdicts) {
  test(`${what}: goal ${goal}, ${text}`, () => {
    const verdict = judgeChunk(goal, replicas(text))
    const words =
      verdict.kind === 'lacking'
        ? `lacking ${verdict.missing} of ${verdict.whole}`
        : verdict.kind === 'surplus'
          ? `surplus ${verdict.count}: ${verdict.replicas.map(({ server }) => server).join(' ')}`
          : verdict.kind
    if (expected === 'surplus 0: ') assert.is(words, 'well')
    else assert.is(words, expected)
  })
}

test('whatever the replicas, a surplus is only found beside so many whole ones on live servers as the goal wants', () => {
  const random = new Random(7)
  const words = [...'gcsdo'].flatMap((state) => [...'hualx'].flatMap((presence) => [`${state}${presence}`]))
  for (let round = 0; round < 20_000; round++) {
    const count = 1 + random.below(6)
    const views = replicas(Array.from({ length: count }, () => words[random.below(words.length)]!).join(' '))
    const goal = 1 + random.below(4)
    const verdict = judgeChunk(goal, views)
    if (verdict.kind !== 'surplus') continue
    const gone = verdict.replicas[random.below(verdict.replicas.length)]
    const left = views.filter((view) => view !== gone && view.state === 'good' && view.presence === 'here')
    assert.ok(left.length >= goal, JSON.stringify({ goal, views }))
  }
})

function server(id: number, fields: Partial<RepairServer> = {}): RepairServer {
  return {
    id: id as ServerId,
    host: `host-${id}`,
    rack: '',
    zone: '',
    excluded: undefined,
    load: 0,
    directories: [
      {
        directory: (id + 100) as DirectoryId,
        life: 1 as Life,
        isWritable: true,
        capacityBytes: 1000,
        usedBytes: 500,
        freeBytes: 500,
      },
    ],
    copiesIn: 0,
    copiesOut: 0,
    ...fields,
  }
}

function want(handle: number, text: string, fields: Partial<CopyWant> = {}): CopyWant {
  const views = replicas(text)
  const verdict = judgeChunk(3, views)
  assert.is(verdict.kind, 'lacking')
  const { missing, whole } = verdict as { missing: number; whole: number }
  const avoid = new Set<ServerId>()
  return {
    handle: handle as ChunkHandle,
    length: 10,
    missing,
    whole,
    replicas: views,
    isAwaited: false,
    avoid,
    failedOn: new Set<ServerId>(),
    ...fields,
  }
}

const servers = [1, 2, 3, 4, 5].map((id) => server(id))
const limits = { budget: 100, inPerServer: 10, outPerServer: 10 }

test('fewest whole replicas first, then who is waited for, then the furthest from the goal', () => {
  const wants = [want(1, 'gh gh gx'), want(2, 'gh gx gx'), want(3, 'gh gh gx', { isAwaited: true })]
  const plans = planCopies(wants, servers, { ...limits, budget: 3 }, new Random(1))
  assert.equal(
    plans.map(({ handle }) => handle),
    [2, 2, 3],
  )
})

test('a target never holds the chunk already, unless nothing else is left: then its bad replica is replaced', () => {
  for (let seed = 0; seed < 50; seed++) {
    const [plan] = planCopies([want(1, 'gh gh ch')], servers, limits, new Random(seed))
    assert.ok(plan!.target > 3)
    const [inPlace] = planCopies([want(1, 'gh gh ch')], servers.slice(0, 3), limits, new Random(seed))
    assert.is(inPlace!.target, 3)
    assert.is(inPlace!.sources.at(-1), 3, 'its own blocks come last')
  }
})

test('where a copy failed it is tried again only when there is no other place; never where one is under way', () => {
  const failedOn = new Set([4 as ServerId])
  const some = [server(1), server(2), server(4), server(5)]
  for (let seed = 0; seed < 20; seed++) {
    const random = new Random(seed)
    assert.is(planCopies([want(1, 'gh gh gx', { failedOn })], some, limits, random)[0]!.target, 5)
    assert.is(planCopies([want(1, 'gh gh gx', { failedOn })], some.slice(0, 3), limits, random)[0]!.target, 4)
    const avoid = failedOn
    assert.equal(planCopies([want(1, 'gh gh gx', { avoid })], some.slice(0, 3), limits, random), [])
  }
})

test('limits hold for the cluster, for each target and for each source', () => {
  const wants = Array.from({ length: 40 }, (_, index) => want(index + 1, 'gh gh gx'))
  const plans = planCopies(wants, servers, { budget: 30, inPerServer: 2, outPerServer: 3 }, new Random(3))
  const per = (of: (plan: (typeof plans)[number]) => number | undefined) =>
    Math.max(...servers.map(({ id }) => plans.filter((plan) => of(plan) === id).length))
  assert.ok(plans.length >= 4 && plans.length <= 6)
  assert.ok(per(({ target }) => target) <= 2)
  assert.ok(per(({ sources }) => sources[0]) <= 3)
})

test('a last copy finds a slot where others have taken all', () => {
  const busy = [1, 2, 3, 4].map((id) => server(id, { copiesIn: 2, copiesOut: 3 }))
  const narrow = { budget: 10, inPerServer: 2, outPerServer: 3 }
  assert.equal(planCopies([want(1, 'gh gh gx')], busy, narrow, new Random(1)), [])
  assert.is(planCopies([want(1, 'gh gx gx')], busy, narrow, new Random(1)).length, 1, 'one from that source')
})

test('dead, full and unwilling servers are no targets, dead ones no sources', () => {
  const full = server(4, { directories: [{ ...server(4).directories[0]!, freeBytes: 5 }] })
  const plans = planCopies(
    [want(1, 'gh gx gx')],
    [
      server(1),
      server(2, { excluded: 'it is dead' }),
      server(3, { excluded: 'it is dead' }),
      full,
      server(5, { excluded: 'it is dead' }),
    ],
    limits,
    new Random(4),
  )
  assert.equal(plans, [])
})

test('a copy goes to the rack that has none', () => {
  const racks = [1, 2, 3, 4, 5].map((id) => server(id, { rack: id === 5 ? 'b' : 'a' }))
  for (let seed = 0; seed < 20; seed++) {
    const [plan] = planCopies([want(1, 'gh gh gx')], racks, limits, new Random(seed))
    assert.is(plan!.target, 5)
  }
})

test('a copy comes from the same rack, then the same zone; one that is busy gives way, a damaged one never comes first', () => {
  const at = (id: number, zone: string, rack: string, fields: Partial<RepairServer> = {}) =>
    server(id, { zone, rack, ...fields })
  const cluster = [at(1, 'a', 'r1'), at(2, 'b', 'r1'), at(3, 'b', 'r2'), at(4, 'b', 'r2', { excluded: 'full' })]
  const target = at(5, 'b', 'r2')
  const from = (views: ReplicaView[], copiesOut: readonly [number, number][] = []) =>
    sourcesOf(views, target, new Map(cluster.map((view) => [view.id, view])), new Map(copiesOut as never), 4)
  assert.equal(from(replicas('gh gh gh')), [3, 2, 1])
  assert.equal(from(replicas('gh gh ch')), [2, 1, 3])
  assert.equal(from(replicas('gh gu gh'), [[3, 2]]), [1, 3, 2], 'two copies outweigh a rack and a zone')
  assert.equal(
    from(replicas('gh gh gh'), [
      [3, 4],
      [2, 4],
    ]),
    [1, 3, 2],
    'who is at the limit comes last',
  )
  assert.equal(from(replicas('gl gx ga')), [1], 'the dead and the stopped are not asked')
})

test('the replica to give up shares its host, or has the fullest disk', () => {
  const views = replicas('gh gh gh gh')
  const shared = [server(1), server(2, { host: 'x' }), server(3, { host: 'x' }), server(4)]
  const worst = worstReplica(views, new Map(shared.map((view) => [view.id, view])))
  assert.ok(worst === 2 || worst === 3)
  const filled = servers.map((view) =>
    view.id === 4 ? server(4, { directories: [{ ...view.directories[0]!, usedBytes: 999, freeBytes: 1 }] }) : view,
  )
  assert.is(worstReplica(views, new Map(filled.map((view) => [view.id, view]))), 4)
})

test.run()
