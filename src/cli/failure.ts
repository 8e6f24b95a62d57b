// Failures at the edge: how an error becomes words for a person, one JSON line for a script, and an exit code.

import { DfsError } from '../base/errors.ts'

export const ExitCode = { done: 0, failed: 1, usage: 2, timeout: 124, interrupted: 130 } as const

/** Wrong usage: exit code 2. */
export class UsageError extends Error {
  override readonly name = 'UsageError'
}

/** What `--json` prints on stderr, and what the words are made of. */
export interface Failure {
  readonly code: string
  readonly message: string
  readonly retriable: boolean
  readonly next: string
  readonly exitCode: number
}

/** @param command  for the hint of a wrong usage: `dfs put` */
export function describeFailure(error: unknown, command: string): Failure {
  if (error instanceof UsageError) {
    const next = `see \`${command} --help\``
    return { code: 'USAGE', message: error.message, retriable: false, next, exitCode: ExitCode.usage }
  }
  if (error instanceof DfsError) {
    const { code, message, retriable, next } = error
    return { code, message, retriable, next, exitCode: exitCodeOf(error) }
  }
  const local = localFailure(error)
  if (local) return local
  const message = error instanceof Error ? (error.stack ?? error.message) : String(error)
  return {
    code: 'INTERNAL',
    message,
    retriable: false,
    next: 'this is a bug: report it with this text',
    exitCode: ExitCode.failed,
  }
}

export function formatFailure(failure: Failure, command: string, json: boolean): string {
  const { code, message, retriable, next } = failure
  if (json) return `${JSON.stringify({ error: { code, message, retriable, next } })}\n`
  // A stack has lines of its own; any other message may hold names that somebody else chose.
  const shown = code === 'INTERNAL' ? message : withoutControls(message)
  return `${command}: ${shown} (${code})\n  next: ${next}\n`
}

/** Text that does nothing to a terminal: each control character is spelled out, `\u{1b}`. */
export function withoutControls(text: string): string {
  return text.replace(/\p{Cc}/gu, (control) => `\\u{${control.charCodeAt(0).toString(16)}}`)
}

function exitCodeOf(error: DfsError): number {
  // `timedOut`: patience ended while a server kept giving that answer.
  if (error.code === 'TIMEOUT' || error.detail.timedOut === true) return ExitCode.timeout
  if (error.code === 'ABORTED') return ExitCode.interrupted
  return ExitCode.failed
}

/** Errors of the local file system that people meet. */
function localFailure(error: unknown): Failure | undefined {
  if (!(error instanceof Error) || !('code' in error) || typeof error.code !== 'string') return undefined
  const words = localErrors[error.code]
  if (!words) return undefined
  const path = 'path' in error && typeof error.path === 'string' ? `local ${error.path}` : 'local file'
  const [means, next] = words
  return {
    code: error.code,
    message: `${path}: ${means}`,
    retriable: false,
    next,
    exitCode: ExitCode.failed,
  }
}

const localErrors: Readonly<Record<string, readonly [means: string, next: string]>> = {
  ENOENT: ['no such file or directory', 'check the local path'],
  EACCES: ['permission denied', 'check the rights of the local file'],
  EPERM: ['operation not permitted', 'check the rights of the local file'],
  EEXIST: ['exists already', 'choose another name, or overwrite with -f'],
  ENOTDIR: ['a part of the path is not a directory', 'check the local path'],
  EISDIR: ['is a directory', 'use -r for directories'],
  ENOSPC: ['the local disk is full', 'free space on this machine'],
  EDQUOT: ['the quota of the local disk is used up', 'free space on this machine'],
  EROFS: ['the local disk is read-only', 'choose another place'],
  EIO: ['the local disk gave an I/O error', 'check the disk of this machine'],
  EMFILE: ['too many open files', 'raise `ulimit -n`, or lower -t'],
  ENAMETOOLONG: ['the name is too long for the local file system', 'choose another name'],
  ELOOP: ['too many symbolic links', 'check the local path'],
  EADDRINUSE: ['the address is in use', 'choose another port, or 0 for any'],
}
