// The log of a daemon as another process reads it.

/** A line longer than this is passed on in pieces. */
const lineCharactersMax = 1 << 20

/** Calls `take` for each line, without its newline; for the last one also when it has none. */
export function readLines(stream: NodeJS.ReadableStream, take: (line: string) => void): void {
  let rest = ''
  stream.setEncoding('utf8')
  stream.on('data', (text: string) => {
    const lines = (rest + text).split('\n')
    rest = lines.pop() ?? ''
    for (const line of lines) if (line !== '') take(line)
    if (rest.length > lineCharactersMax) {
      take(rest)
      rest = ''
    }
  })
  stream.on('end', () => {
    if (rest !== '') take(rest)
  })
}

/** The fields of one of pino's lines; undefined for anything else. */
export function parseLogLine(line: string): Readonly<Record<string, unknown>> | undefined {
  if (!line.startsWith('{')) return undefined
  try {
    return JSON.parse(line)
  } catch {
    return undefined // not one of pino's lines
  }
}
