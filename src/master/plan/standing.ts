// Standing: what a server's liveness and the operator's intent mean for the replicas on it.
//
// Two questions that are easily mixed up are answered here, once for all: can a replica be read now, and does it count
// towards the goal of its chunk (`Presence`, judged in repair.ts).

import type { Liveness } from '../cluster/servers.ts'

export type Intent = 'serve' | 'maintain' | 'drain'

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
 * What a server means for the replicas on it:
 *   here     live and has reported: what is known of its replicas is so
 *   unsure   silent for a moment, or not reported since it joined: counts, but nothing is given up for it
 *   away     stopped for maintenance: counts while enough others are reachable
 *   leaving  drained: read from, doesn't count: others have to be made first
 *   lost     dead or a failed disk
 */
export type Presence = 'here' | 'unsure' | 'away' | 'leaving' | 'lost'

/** @param hasReported  all its replicas are known since it joined */
export function presenceOf(liveness: Liveness, intent: Intent, hasReported: boolean): Presence {
  if (liveness === 'dead') return 'lost'
  if (liveness === 'maintenance') return 'away'
  if (intent === 'drain') return 'leaving'
  return liveness === 'live' && hasReported ? 'here' : 'unsure'
}
