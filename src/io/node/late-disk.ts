// The real disk, loaded when it is first asked for something: most commands of a client never do, and start without it.

import type { Disk } from '../disk.ts'

let loading: Promise<Disk> | undefined

function disk(): Promise<Disk> {
  loading ??= import('./disk.ts').then(({ nodeDisk }) => nodeDisk)
  return loading
}

export const lateDisk: Disk = {
  open: async (path, mode) => (await disk()).open(path, mode),
  stat: async (path) => (await disk()).stat(path),
  list: async (path) => (await disk()).list(path),
  makeDirectory: async (path) => (await disk()).makeDirectory(path),
  rename: async (from, to) => (await disk()).rename(from, to),
  remove: async (path) => (await disk()).remove(path),
  removeDirectory: async (path) => (await disk()).removeDirectory(path),
  syncDirectory: async (path) => (await disk()).syncDirectory(path),
  space: async (path) => (await disk()).space(path),
  lock: async (path) => (await disk()).lock(path),
}
