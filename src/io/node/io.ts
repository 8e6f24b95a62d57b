// The real ports together. Only the command lines import this.

import type { Io } from '../io.ts'
import { nodeClock } from './clock.ts'
import { nodeEntropy } from './entropy.ts'
import { lateDisk } from './late-disk.ts'
import { nodeNetwork } from './network.ts'

export function nodeIo(): Io {
  return { clock: nodeClock, disk: lateDisk, network: nodeNetwork, entropy: nodeEntropy }
}
