// A line through points, by least squares.

export interface Line {
  readonly mean: number
  /** Of y for one of x. */
  readonly slope: number
  /** The standard error of the slope, if the points scatter independently. */
  readonly slopeError: number
  /** The standard deviation of the points from the line. */
  readonly scatter: number
}

/** @param xs  as many as `ys`, 3 upward, not all the same */
export function fitLine(xs: readonly number[], ys: readonly number[]): Line {
  const count = xs.length
  if (count < 3 || ys.length !== count) throw new Error(`a line through ${count} and ${ys.length} points`)
  const meanX = xs.reduce((sum, x) => sum + x, 0) / count
  const mean = ys.reduce((sum, y) => sum + y, 0) / count
  let xx = 0
  let xy = 0
  for (let i = 0; i < count; i++) {
    xx += (xs[i]! - meanX) ** 2
    xy += (xs[i]! - meanX) * (ys[i]! - mean)
  }
  const slope = xy / xx
  const squares = xs.reduce((sum, x, i) => sum + (ys[i]! - mean - slope * (x - meanX)) ** 2, 0)
  const scatter = Math.sqrt(squares / (count - 2))
  return { mean, slope, slopeError: scatter / Math.sqrt(xx), scatter }
}
