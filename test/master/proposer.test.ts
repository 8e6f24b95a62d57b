// What the proposer answers while a change of many records is under way.

import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { DfsError, isDfsError } from '../../src/base/errors.ts'
import type { SessionId } from '../../src/base/ids.ts'
import type { Clock } from '../../src/io/clock.ts'
import type { Operation, Outcome } from '../../src/master/operations.ts'
import { Proposer } from '../../src/master/proposer.ts'
import { extent, Harness, INODE } from './metadata/harness.ts'

const FILES = 11_000

/** A tree that takes several records to copy, and a log that may have no room. */
function begun() {
  const harness = new Harness()
  const handle = harness.packing()
  harness.mkdir('/tree')
  for (let file = 0; file < FILES; file++) harness.put(`/tree/f${file}`, [extent(handle, (file % 60_000) + 1, 1)])
  const log = { lastIndex: harness.index, isFull: false }
  const proposer = new Proposer({
    state: harness.state,
    clock: { nowMs: () => 0, wallMs: () => 0 } as unknown as Clock,
    term: 2,
    onApplied: () => {},
    log: {
      append: () => {
        if (log.isFull) throw new DfsError('BUSY', 'too much waits for the log')
        return ++log.lastIndex
      },
    },
  })
  const by = { session: 5 as SessionId, request: 1, floor: 0 }
  const copy: Operation = { kind: 'copy', by, from: '/tree', to: '/copy', recursive: true, overwrite: false }
  return { harness, proposer, copy, log }
}

// Goal: P4, also where a long change is interrupted. Method: the log has no room for the change's second record; whoever
// asked asks again under the same number.
test('a copy whose steps are refused has begun: its requester is not told that nothing happened, and hears the end', async () => {
  const { harness, proposer, copy, log } = begun()
  const { state } = harness
  const sync = (): void => proposer.synced(log.lastIndex)

  const asked = proposer.propose(copy).catch((error: unknown) => error)
  log.isFull = true
  sync()
  const fault = await asked
  assert.ok(isDfsError(fault, 'UNAVAILABLE'), 'its outcome is open')
  log.isFull = false
  const again = proposer.propose(copy)
  while (state.job !== undefined) sync()
  assert.equal(await again, { ok: true, reply: [harness.inode('/copy')] }, 'the first try is what happened')
})

test('what others ask for while the steps of a copy are refused is refused as well, never acknowledged with the copy', async () => {
  const { harness, proposer, copy, log } = begun()
  const mkdir = (session: number): Operation => {
    const by = { session: session as SessionId, request: 1, floor: 0 }
    return { kind: 'makeDirectory', by, path: `/d${session}`, parents: false, inode: INODE }
  }
  const asked = proposer.propose(copy).catch((error: unknown) => error)
  proposer.synced(log.lastIndex)
  const held = proposer.propose(mkdir(8))
  log.isFull = true
  proposer.synced(log.lastIndex)
  await asked
  log.isFull = false
  const late = proposer.propose(mkdir(9))
  for (let syncs = 0; syncs < 3; syncs++) proposer.synced(log.lastIndex)
  for (const [session, answer] of [
    [8, await held.catch((error: unknown) => error)],
    [9, await late],
  ] as const) {
    const isMade = harness.state.resolve(`/d${session}`) !== undefined
    assert.is((answer as Outcome).ok === true, isMade, `session ${session}: ${JSON.stringify(answer)}`)
  }
  const finished = proposer.finishJob()
  while (harness.state.job !== undefined) proposer.synced(log.lastIndex)
  await finished
  assert.ok(harness.state.resolve('/copy') !== undefined)
})

test.run()
