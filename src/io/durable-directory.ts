// Directories that survive power loss: a directory is only there for good once its name is synced in its parent, and
// so on upward for every one that was made.

import { isDfsError } from '../base/errors.ts'
import type { Disk } from './disk.ts'

/** Makes `path` and its parents where they are missing, and syncs the name of each that it made. */
export async function makeDurableDirectory(disk: Disk, path: string): Promise<void> {
  const missing: string[] = []
  for (let at = path; at !== '' && at !== '/' && at !== '.' && !(await disk.stat(at)); at = parentOf(at))
    missing.push(at)
  await disk.makeDirectory(path)
  for (const made of missing.reverse()) await disk.syncDirectory(parentOf(made))
  if (missing.length > 0) return
  try {
    // It may have been made, and not synced, by a process that died.
    await disk.syncDirectory(parentOf(path))
  } catch (error) {
    // A parent that we may not open is the operator's, and so was making this directory.
    if (!isDfsError(error)) throw error
  }
}

function parentOf(path: string): string {
  const trimmed = path.replace(/\/+$/, '')
  const slash = trimmed.lastIndexOf('/')
  if (slash < 0) return '.'
  return slash === 0 ? '/' : trimmed.slice(0, slash)
}
