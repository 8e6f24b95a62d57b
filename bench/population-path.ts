// The names of population.ts, for those that only look its files up.

export const filesPerDirectory = 1000

/** Where file `index` of a population is: 20 bytes that share no long prefix with their neighbours. */
export function populationPath(index: number): string {
  const name = `${String(Math.imul(index, 2654435761) >>> 0).padStart(10, '0')}-${String(index).padStart(9, '0')}`
  return `${directoryPath(Math.floor(index / filesPerDirectory))}/${name}`
}

export function directoryPath(number: number): string {
  return `/directory-${String(number).padStart(10, '0')}`
}
