/** The candidate that takes the fewest changed, added, missing or swapped letters; undefined when none is near. */
export function nearest(word: string, candidates: Iterable<string>): string | undefined {
  let best: string | undefined
  let bestDistance = Math.max(2, Math.floor(word.length / 2)) + 1
  for (const candidate of candidates) {
    const distance = editDistance(word.toLowerCase(), candidate)
    if (distance < bestDistance) {
      best = candidate
      bestDistance = distance
    }
  }
  return best
}

/** Damerau–Levenshtein (restricted): one swap of neighbours counts as one change. */
function editDistance(a: string, b: string): number {
  const width = b.length + 1
  const rows = new Uint16Array((a.length + 1) * width)
  for (let i = 0; i <= a.length; i++) rows[i * width] = i
  for (let j = 0; j <= b.length; j++) rows[j] = j
  for (let i = 1; i <= a.length; i++) {
    for (let j = 1; j <= b.length; j++) {
      const same = a[i - 1] === b[j - 1] ? 0 : 1
      let least = Math.min(
        rows[(i - 1) * width + j]! + 1,
        rows[i * width + j - 1]! + 1,
        rows[(i - 1) * width + j - 1]! + same,
      )
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]) {
        least = Math.min(least, rows[(i - 2) * width + j - 2]! + 1)
      }
      rows[i * width + j] = least
    }
  }
  return rows[rows.length - 1]!
}
