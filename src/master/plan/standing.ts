// Standing: what a server's liveness and the operator's intent mean for the replicas on it.
//
// Three questions that are easily mixed up are answered here, once for all: can a replica be read now, does it count
// towards the goal of its chunk, may its server take new ones.

import type { Liveness } from '../cluster/servers.ts'

export type Intent = 'serve' | 'maintain' | 'drain'

export interface Standing {
  readonly liveness: Liveness
  readonly intent: Intent
}

/** The operator's intent at this cluster time: maintenance ends by itself; a server the log doesn't know serves. */
export function intentNow(
  row: { readonly intent: Intent; readonly untilMs: number } | undefined,
  clusterMs: number,
): Intent {
  if (row === undefined) return 'serve'
  return row.intent === 'maintain' && row.untilMs !== 0 && clusterMs >= row.untilMs ? 'serve' : row.intent
}

/** Whether replicas there can be read now, as far as is known. */
export function isReachable(liveness: Liveness): boolean {
  return liveness === 'live' || liveness === 'suspect'
}

/**
 * Whether whole replicas there count towards the goal of their chunk. Those of a draining server are read from but
 * leave: others have to be made first.
 */
export function countsTowardsGoal({ liveness, intent }: Standing): boolean {
  return isReachable(liveness) && intent !== 'drain'
}
