// Several at a time: a source of tasks of any length, a bounded number under way.

/**
 * Runs `work` for every item, at most `countMax` at once, in the order of the items. The first failure stops taking
 * more; when what is under way has ended, it is thrown.
 *
 * @param items  taken one by one, as there is room; an endless or slow source is fine
 */
export async function forEachParallel<T>(
  items: Iterable<T> | AsyncIterable<T>,
  countMax: number,
  work: (item: T) => Promise<void>,
): Promise<void> {
  const running = new Set<Promise<void>>()
  let failure: { readonly error: unknown } | undefined
  for await (const item of items) {
    if (failure !== undefined) break
    const task: Promise<void> = work(item)
      .catch((error: unknown) => {
        failure ??= { error }
      })
      .finally(() => running.delete(task))
    running.add(task)
    if (running.size >= countMax) await Promise.race(running)
    if (failure !== undefined) break
  }
  await Promise.all(running)
  if (failure !== undefined) throw failure.error
}
