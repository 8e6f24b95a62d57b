// The four ports together: what a part of the system is given to touch the world.

import type { Clock } from './clock.ts'
import type { Disk } from './disk.ts'
import type { Entropy } from './entropy.ts'
import type { Network } from './network.ts'

export interface Io {
  readonly clock: Clock
  readonly disk: Disk
  readonly network: Network
  readonly entropy: Entropy
}
