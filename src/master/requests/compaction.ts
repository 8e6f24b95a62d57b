// Requests of operators about compaction.

import type { Compactor } from '../compactor.ts'
import type { Handlers } from '../context.ts'

export function compactionHandlers(compactor: Compactor) {
  return {
    compact(context) {
      compactor.begin()
      context.logger.info({ event: 'compact' }, 'the operator asked for compaction')
      return {}
    },
  } satisfies Handlers
}
