// fsck: HEALTHY (exit 0), DEGRADED (1) or DAMAGED (2), with each file, why, and the next command.

import { formatHandle, formatServer, HOLE } from '../../base/ids.ts'
import { formatBytes } from '../../base/units.ts'
import type { FsckChunk, FsckDetail, FsckPage, FsckProblem, FsckResult, FsckStatus } from '../../client/index.ts'
import { defineDfsVerb } from '../context.ts'
import type { Output } from '../output.ts'
import { trimSlashes } from './rows.ts'

export const fsckExitCodes: Readonly<Record<FsckStatus, number>> = { HEALTHY: 0, DEGRADED: 1, DAMAGED: 2 }
/** Problems told to people; --json has them all. */
const problemsShownMax = 200

export const fsck = defineDfsVerb({
  usage: '[PATH] [--files] [--chunks] [--locations] [--list-corrupt]',
  words: [0, 1],
  options: {
    files: { kind: 'flag', describe: 'list every file' },
    chunks: { kind: 'flag', describe: 'and its chunks' },
    locations: { kind: 'flag', describe: 'and where their replicas are' },
    'list-corrupt': { kind: 'flag', describe: 'only the files that are damaged' },
  },
  examples: [
    ['dfs fsck', 'is everything there as often as it should be? exit 0 healthy, 1 degraded, 2 damaged'],
    ['dfs fsck /data --list-corrupt', 'what to restore from a copy'],
    ['dfs fsck /data/a --locations', 'each chunk of a file, and which servers hold it'],
  ],
  async run({ context, values, words: [word = '/'] }) {
    const client = await context.client()
    const { out, signal } = context
    const path = trimSlashes(word)
    const detail = detailOf(values)
    const listing = new Listing(out, detail)
    const isListing = detail !== 'problems' && !values['list-corrupt']
    const result = await client.fsck(path, {
      signal,
      detail: isListing ? detail : 'problems',
      ...(isListing && { onPage: (page, chunks) => listing.add(page, chunks) }),
    })
    const shown = values['list-corrupt'] ? result.problems.filter(isDamage) : result.problems
    const document = { ...result, problems: shown, exposure: result.exposure.map(named), ...listing.document() }
    await out.document(document, () =>
      values['list-corrupt'] ? corruptFiles(shown, result) : summary(result, detail === 'problems'),
    )
    return fsckExitCodes[result.status]
  },
})

function detailOf(values: { files: boolean; chunks: boolean; locations: boolean }): FsckDetail {
  if (values.locations) return 'locations'
  if (values.chunks) return 'chunks'
  return values.files ? 'files' : 'problems'
}

/** Files as they are met: lines for people at once, rows for the JSON document at the end. */
class Listing {
  readonly #out: Output
  readonly #detail: FsckDetail
  readonly #rows: object[] = []
  #lastPath = ''

  constructor(out: Output, detail: FsckDetail) {
    this.#out = out
    this.#detail = detail
  }

  async add(page: FsckPage, chunks: ReadonlyMap<number, FsckChunk>): Promise<void> {
    for (const { path, size, extents } of page.rows) {
      const isOdd = extents.some(({ handle }) => !isInOrder(chunks.get(handle)))
      const shown = this.#detail === 'files' ? [] : extents
      if (this.#out.json) {
        const rows = shown.map((extent) => ({ ...extent, ...facts(chunks.get(extent.handle), this.#detail) }))
        this.#rows.push({ path, size, ok: !isOdd, extents: rows })
        continue
      }
      if (path !== this.#lastPath) await this.#out.line(`${path}: ${size} bytes, ${isOdd ? 'NOT IN ORDER' : 'ok'}`)
      this.#lastPath = path
      for (const { offset, length, handle } of shown) {
        const chunk = chunks.get(handle)
        await this.#out.line(`  ${offset} +${length}  ${handle === HOLE || !chunk ? 'zeros' : stateOf(chunk)}`)
        if (this.#detail !== 'locations') continue
        for (const { server, address, disk, state, serverState } of chunk?.replicas ?? []) {
          await this.#out.line(`    ${formatServer(server)} ${address} ${disk} ${state}, server ${serverState}`)
        }
      }
    }
  }

  document(): object {
    return this.#detail === 'problems' ? {} : { rows: this.#rows }
  }
}

function isInOrder(chunk: FsckChunk | undefined): boolean {
  return chunk === undefined || (chunk.whole >= chunk.goal && chunk.corrupt === 0)
}

function facts(chunk: FsckChunk | undefined, detail: FsckDetail): object {
  if (chunk === undefined) return {}
  const { whole, goal, corrupt, isSealed } = chunk
  const replicas = chunk.replicas.map((replica) => ({ ...replica, server: formatServer(replica.server) }))
  return { whole, goal, corrupt, isSealed, ...(detail === 'locations' && { replicas }) }
}

function stateOf({ handle, whole, goal, corrupt, isSealed }: FsckChunk): string {
  const damaged = corrupt > 0 ? `, ${corrupt} damaged` : ''
  return `chunk ${formatHandle(handle)} ${isSealed ? 'sealed' : 'open'}, ${whole} of ${goal} replicas${damaged}`
}

function isDamage({ kind }: FsckProblem): boolean {
  return kind === 'missing' || kind === 'corrupt'
}

function corruptFiles(problems: readonly FsckProblem[], { status }: FsckResult): string {
  const paths = [...new Set(problems.map(({ path }) => path))]
  return [...paths, `${paths.length} damaged files: ${status}`].join('\n')
}

function named({ server, ...rest }: FsckResult['exposure'][number]): object {
  return { server: formatServer(server), ...rest }
}

function summary(result: FsckResult, withProblems: boolean): string {
  const { status, path, files, directories, bytes, chunks, problems, exposure } = result
  const lines: string[] = []
  const shown = withProblems || problems.some(isDamage) ? problems.slice(0, problemsShownMax) : []
  for (const { path: file, offset, length, why, next } of shown) {
    lines.push(`${file}: bytes ${offset} .. ${offset + length - 1}: ${why}`, `  next: ${next}`)
  }
  const rest = problems.length - shown.length + result.problemsLeftOut
  if (rest > 0) lines.push(`… and ${rest} more: see --json`)
  for (const { server, address, chunks: count, bytes: size } of exposure) {
    const name = `${formatServer(server)} (${address})`
    lines.push(`exposed: ${count} chunks (${formatBytes(size)}) are lost if one more server fails: ${name}`)
  }
  for (const warning of result.warnings) lines.push(`warning: ${warning}`)
  lines.push(
    `${path}: ${files} files, ${directories} directories, ${formatBytes(bytes)}, ${chunks} chunks`,
    `under-replicated ${result.underReplicated} (last copies ${result.lastCopy}), missing ${result.missing}, corrupt ${result.corrupt}`,
    status,
  )
  return lines.join('\n')
}
