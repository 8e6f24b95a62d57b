// Exclusive locks on files, freed by the death of the process.
//
// Node has no flock(2), but flock(1) locks a descriptor that it inherits, and the lock belongs to the open file that
// we share with it: it stays when flock(1) ends and goes when this process does. The file is never written to.
//
// Where there is no flock(1) (macOS), a file `<path>.pid` is made beside with our process id in it. It is taken over
// when no process has that id any more; a foreign process that was given the same id makes it look held, and the
// message says what to remove then.
//
// One process holds a lock once: a table by inode refuses a second holder in the same process.

import { constants } from 'node:fs'
import fs from 'fs-extra'
import { DfsError } from '../../base/errors.ts'
import type { DiskLock } from '../disk.ts'

const held = new Set<string>()

/** Takes the lock: LOCKED when another holder lives. Errors of the system come as they are. */
export async function lockFile(path: string, command = 'flock'): Promise<DiskLock> {
  const descriptor = await fs.open(path, constants.O_RDONLY | constants.O_CREAT, 0o644)
  let name: string | undefined
  let isTaken = false
  try {
    const { dev, ino } = await fs.fstat(descriptor, { bigint: true })
    name = `${dev}:${ino}`
    if (held.has(name)) throw lockedError(path, 'by this process')
    held.add(name)
    isTaken = true
    const pidPath = await takeFromSystem(path, descriptor, command)
    const lockName = name
    let isReleased = false
    return {
      async release() {
        if (isReleased) return
        isReleased = true
        held.delete(lockName)
        if (pidPath !== undefined) await fs.unlink(pidPath)
        await fs.close(descriptor)
      },
    }
  } catch (error) {
    if (isTaken && name !== undefined) held.delete(name)
    await fs.close(descriptor)
    throw error
  }
}

/** @returns the path of the pid file when that had to be used */
async function takeFromSystem(path: string, descriptor: number, command: string): Promise<string | undefined> {
  // Only here: its modules would cost every short command some milliseconds.
  const { spawnSync } = await import('node:child_process')
  const result = spawnSync(command, ['-n', '3'], { stdio: ['ignore', 'ignore', 'pipe', descriptor] })
  if (result.error !== undefined) {
    const isMissing = 'code' in result.error && result.error.code === 'ENOENT'
    if (isMissing) return await takePidFile(path)
    throw result.error
  }
  if (result.status === 0) return undefined
  if (result.status === 1 && result.stderr.length === 0) throw lockedError(path, 'by another process')
  const message = `flock ${path}: ${String(result.stderr).trim() || `status ${result.status}`}`
  throw new DfsError('DISK_FAILED', message, { path })
}

async function takePidFile(path: string): Promise<string> {
  const pidPath = `${path}.pid`
  const ownPath = `${pidPath}.${process.pid}`
  await fs.writeFile(ownPath, `${process.pid}\n`)
  try {
    for (let round = 0; round < 3; round++) {
      try {
        // A link appears whole or not at all, and never replaces.
        await fs.link(ownPath, pidPath)
        return pidPath
      } catch (error) {
        if (!hasCode(error, 'EEXIST')) throw error
      }
      const holder = await readPid(pidPath)
      if (holder !== undefined && isAlive(holder)) {
        throw lockedError(path, `by process ${holder}; if that is another program, remove ${pidPath}`)
      }
      await setAside(pidPath, holder, `${ownPath}.old`)
    }
    throw lockedError(path, 'by processes that start at the same time')
  } finally {
    await fs.unlink(ownPath)
  }
}

/** Removes a dead holder's file, unless a living one has just taken its place: that is put back. */
async function setAside(pidPath: string, holder: number | undefined, asidePath: string): Promise<void> {
  try {
    await fs.rename(pidPath, asidePath)
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return
    throw error
  }
  const moved = await readPid(asidePath)
  if (moved !== holder && moved !== undefined && isAlive(moved)) await fs.link(asidePath, pidPath)
  await fs.unlink(asidePath)
}

async function readPid(path: string): Promise<number | undefined> {
  try {
    const pid = Number.parseInt(await fs.readFile(path, 'utf8'), 10)
    return Number.isSafeInteger(pid) && pid > 0 ? pid : undefined
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return undefined
    throw error
  }
}

/** Our own id in a file that we don't hold is that of an earlier life, as in a container, where it is always 1. */
function isAlive(pid: number): boolean {
  if (pid === process.pid) return false
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return !hasCode(error, 'ESRCH')
  }
}

function hasCode(error: unknown, code: string): boolean {
  return error instanceof Error && 'code' in error && error.code === code
}

function lockedError(path: string, by: string): DfsError {
  return new DfsError('LOCKED', `${path} is locked ${by}`, { path })
}
