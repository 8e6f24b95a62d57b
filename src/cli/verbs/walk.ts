// Walks a tree of the cluster in order, page by page: nothing is held but the path down to where the walk is.

import type { Client } from '../../client/index.ts'
import { join, type PathRow, pathRow } from './rows.ts'

export interface WalkedRow {
  readonly row: PathRow
  /** 0 for the entries of the directory that was asked for. */
  readonly depth: number
  /** Whether it is the last entry of its directory. */
  readonly isLast: boolean
}

/** Everything below `directory`, each directory before its entries. A directory that is removed meanwhile ends early. */
export async function* walk(
  client: Client,
  directory: string,
  signal: AbortSignal,
  depth = 0,
  depthMax = Number.POSITIVE_INFINITY,
): AsyncGenerator<WalkedRow> {
  let waiting: PathRow | undefined
  const emit = async function* (row: PathRow, isLast: boolean): AsyncGenerator<WalkedRow> {
    yield { row, depth, isLast }
    if (row.type === 'directory' && depth < depthMax) yield* walk(client, row.path, signal, depth + 1, depthMax)
  }
  for await (const entry of client.listAll(directory, { signal })) {
    if (waiting) yield* emit(waiting, false)
    waiting = pathRow(join(directory, entry.name), entry)
  }
  if (waiting) yield* emit(waiting, true)
}
