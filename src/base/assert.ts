/** A broken invariant: a bug in this program, never a fault of the world. Never caught: the process ends. */
export class AssertionError extends Error {
  override readonly name = 'AssertionError'
}

/** Stays on in production: a wrong answer costs more than a restart. */
export function assert(condition: boolean, message = 'broken invariant'): asserts condition {
  if (!condition) throw new AssertionError(message)
}

/** Ends a switch that must name every kind; a new kind fails to compile here. */
export function unreachable(value: never): never {
  throw new AssertionError(`unexpected value: ${JSON.stringify(value)}`)
}
