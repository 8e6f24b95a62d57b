// admin balance: how evenly the disks are filled, what is being moved, and what would be.

import { type ChunkHandle, formatHandle } from '../../base/ids.ts'
import { formatBytes, formatDuration } from '../../base/units.ts'
import { defineDfsVerb } from '../context.ts'
import { UsageError } from '../failure.ts'
import { table } from './table.ts'

/** Moves told to people; --json has those that the master lists. */
const movesShownMax = 50

interface Balance {
  readonly on: boolean
  readonly state: 'off' | 'waiting' | 'levelling' | 'uneven' | 'level'
  readonly mean: number
  readonly spread: number
  readonly beginSpread: number
  readonly endSpread: number
  readonly bytesToMove: number
  readonly inFlight: number
  readonly bytesPerSecond: number
  readonly rateLimit: number
  readonly etaMs: number | null
  readonly moved: { readonly copies: number; readonly bytes: number }
  readonly disks: readonly {
    readonly server: string
    readonly path: string
    readonly usedBytes: number
    readonly freeBytes: number
    readonly fullness: number
    readonly takes: boolean
  }[]
}

interface BalancePlan {
  readonly spreadBefore: number
  readonly spreadAfter: number
  readonly moves: number
  readonly bytes: number
  readonly crowded: number
  readonly listed: readonly {
    readonly handle: number
    readonly bytes: number
    readonly from: { readonly server: string; readonly disk: string }
    readonly to: { readonly server: string; readonly disk: string }
    readonly reason: 'crowded' | 'full'
  }[]
}

const states: Readonly<Record<Balance['state'], string>> = {
  off: 'off: nothing is moved until `dfs admin balance on`',
  waiting: 'waiting: repair goes first, and servers must have stayed as they are for 10 s',
  levelling: 'levelling',
  uneven: 'uneven, but no replica can be moved without harm',
  level: 'level: nothing to do',
}

const reasons = { crowded: 'shares a host, rack or zone', full: 'fuller than the mean' } as const

export const adminBalance = defineDfsVerb({
  usage: '[on|off] [--plan] [--rate R] [--reset]',
  words: [0, 1],
  options: {
    plan: { kind: 'flag', describe: 'what would be moved and why; nothing is' },
    rate: {
      kind: 'size',
      flagOnly: true,
      describe: 'bytes a second that moves may take of each chunkserver from now on; 0: no limit',
    },
    reset: {
      kind: 'flag',
      flagOnly: true,
      describe: 'on, at a quarter of what the master was started with for repair',
    },
  },
  examples: [
    ['dfs admin balance', 'how full the disks are, what is being moved, and how long it will take'],
    ['dfs admin balance --plan', 'each move that would be made, and its reason'],
    ['dfs admin balance off', 'no moves until `on`, also after a restart of the master'],
  ],
  async run({ context, values, words: [action] }) {
    if (action !== undefined && action !== 'on' && action !== 'off')
      throw new UsageError(`${action}: on or off is wanted`)
    const client = await context.client()
    const { signal, out } = context
    const isBalancing = action === undefined ? undefined : action === 'on'
    const reset = values.reset ? (['isBalancing', 'balanceBytesPerSecond'] as const) : []
    if (isBalancing !== undefined || values.rate !== undefined || values.reset)
      await client.copyLimits({ isBalancing, balanceBytesPerSecond: values.rate, reset }, { signal })
    const document = await client.balance(values.plan, { signal })
    await out.document(document, () =>
      values.plan ? planText(document as BalancePlan) : stateText(document as Balance),
    )
    return undefined
  },
})

function stateText(balance: Balance): string {
  const { state, mean, spread, beginSpread, endSpread, bytesToMove, inFlight, bytesPerSecond, rateLimit } = balance
  const { etaMs, moved } = balance
  const rows = balance.disks.map((disk) => [
    disk.server,
    disk.path,
    formatBytes(disk.usedBytes),
    formatBytes(disk.freeBytes),
    percent(disk.fullness),
    signed(disk.fullness - mean),
    disk.takes ? '' : 'takes no more',
  ])
  const band = `levelling begins above ${percent(beginSpread)}, ends below ${percent(endSpread)}`
  const eta = etaMs === null ? '' : `, ${formatDuration(etaMs)} to go`
  const limit = rateLimit === 0 ? 'no limit' : `at most ${formatBytes(rateLimit)}/s to a server`
  return [
    states[state],
    `mean ${percent(mean)}, furthest from it ${percent(spread)}: ${band}; ${formatBytes(bytesToMove)} above the mean`,
    table(['server', 'disk', 'used', 'free', 'full', 'off the mean', ''], rows),
    `${inFlight} moves under way, ${formatBytes(bytesPerSecond)}/s (${limit})${eta}`,
    `${moved.copies} moves, ${formatBytes(moved.bytes)} since the master started`,
  ].join('\n')
}

function planText({ spreadBefore, spreadAfter, moves, bytes, crowded, listed }: BalancePlan): string {
  if (moves === 0) return `nothing would be moved: furthest from the mean is ${percent(spreadBefore)}`
  const rows = listed
    .slice(0, movesShownMax)
    .map(({ handle, bytes, from, to, reason }) => [
      formatHandle(handle as ChunkHandle),
      formatBytes(bytes),
      `${from.server} ${from.disk}`,
      `${to.server} ${to.disk}`,
      reasons[reason],
    ])
  return [
    table(['chunk', 'bytes', 'from', 'to', 'because it'], rows),
    ...(moves > rows.length ? [`… and ${moves - rows.length} more: see --json`] : []),
    `${moves} moves, ${formatBytes(bytes)}, ${crowded} of them for failure domains`,
    `furthest from the mean: ${percent(spreadBefore)} now, ${percent(spreadAfter)} then`,
  ].join('\n')
}

function percent(part: number): string {
  return `${(100 * part).toFixed(1)} %`
}

function signed(part: number): string {
  return `${part >= 0 ? '+' : '-'}${percent(Math.abs(part))}`
}
