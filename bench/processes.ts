// What a process has cost so far, and processes that end with this one.

import fs from 'node:fs'

/** Of one process, all its threads together. */
export interface Usage {
  /** CPU seconds, in the kernel too. */
  readonly cpuSeconds: number
  /** The most memory that was resident at once. */
  readonly residentBytesMax: number
}

/** Linux counts CPU time in hundredths of a second, whatever the kernel's own clock (USER_HZ). */
const ticksPerSecond = 100

/** @returns undefined when the process is gone, or where there is no /proc */
export function usageOf(pid: number): Usage | undefined {
  try {
    const stat = fs.readFileSync(`/proc/${pid}/stat`, 'utf8')
    const status = fs.readFileSync(`/proc/${pid}/status`, 'utf8')
    // The name, in parentheses, may hold spaces: the fields are counted from behind it, the first is field 3.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    const [userTicks = 0, systemTicks = 0] = [Number(fields[11]), Number(fields[12])]
    const peakKiB = Number(/^VmHWM:\s+(\d+) kB$/m.exec(status)?.[1] ?? Number.NaN)
    return { cpuSeconds: (userTicks + systemTicks) / ticksPerSecond, residentBytesMax: peakKiB * 1024 }
  } catch {
    return undefined // gone is an answer
  }
}

/** Watches a process until it ends, for those whose cost is wanted after their end; up to 20 ms of it may be missed. */
export function watchUsage(pid: number): { stop(): Usage | undefined } {
  let last = usageOf(pid)
  const timer = setInterval(() => {
    const now = usageOf(pid)
    // One that has ended but was not yet awaited has no memory any more.
    if (now !== undefined && !Number.isNaN(now.residentBytesMax)) last = now
  }, 20)
  return {
    stop() {
      clearInterval(timer)
      return last
    },
  }
}

type Child = PromiseLike<unknown> & { kill(signal: 'SIGKILL'): boolean }

const children = new Set<Child>()
const directories = new Set<string>()

/** Whatever ends this process ends the child too. */
export function endWithUs<T extends Child>(child: T): T {
  const forget = (): void => {
    children.delete(child)
  }
  children.add(child)
  child.then(forget, forget)
  return child
}

/** A new directory, removed when this process ends or by `removeDirectory`. */
export function makeDirectory(parent: string, name: string): string {
  const directory = fs.mkdtempSync(`${parent}/dfs-bench-${name}-`)
  directories.add(directory)
  return directory
}

export function removeDirectory(directory: string): void {
  fs.rmSync(directory, { recursive: true, force: true })
  directories.delete(directory)
}

process.once('exit', () => {
  for (const child of children) child.kill('SIGKILL')
  for (const directory of directories) fs.rmSync(directory, { recursive: true, force: true, maxRetries: 3 })
})
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.once(signal, () => process.exit(130))
