// Output: what goes to stdout and stderr, with back-pressure.
//
// Invariants:
//   - stdout carries results only; warnings, errors and progress go to stderr
//   - a reader that went away (`| head`) ends the verb quietly; output that can't be written (a full disk) fails it
//   - when `flush` resolves, what was written has left the process
//   - lines are gathered to bufferBytesMax, so that a million rows are not a million writes

const bufferBytesMax = 64 * 1024

/** The reader of stdout went away. */
export class OutputClosed extends Error {
  override readonly name = 'OutputClosed'
}

export class Output {
  readonly json: boolean
  /** Whether people watch: then progress bars make sense. */
  readonly hasTerminal: boolean
  private readonly onFailed: (error: Error) => void
  private buffered = ''
  private failed: Error | undefined

  /** @param onFailed  called once, when nothing can be written any more: OutputClosed, or the fault of what stdout is */
  constructor(json: boolean, onFailed: (error: Error) => void) {
    this.json = json
    this.hasTerminal = process.stderr.isTTY === true
    this.onFailed = onFailed
    process.stdout.on('error', (error) => this.fail(error))
  }

  /** One line for people. */
  async line(text: string): Promise<void> {
    this.buffered += `${text}\n`
    if (this.buffered.length >= bufferBytesMax) await this.flush()
  }

  /** One JSON value on a line of its own: a document, or a row of a list. */
  row(value: unknown): Promise<void> {
    return this.line(JSON.stringify(value))
  }

  /** The value as JSON with `--json`, else the lines that `human` makes. */
  async document(value: unknown, human: () => string): Promise<void> {
    if (this.json) await this.row(value)
    else {
      const text = human()
      if (text !== '') await this.line(text)
    }
  }

  /** Raw bytes; the caller keeps the buffer, and may use it again when this resolves. */
  async bytes(bytes: Uint8Array): Promise<void> {
    await this.flush()
    if (bytes.length > 0) await this.write(bytes)
  }

  async flush(): Promise<void> {
    if (this.failed) throw this.failed
    if (this.buffered === '') return
    const text = this.buffered
    this.buffered = ''
    await this.write(text)
  }

  /** A line on stderr that is no error. */
  warn(text: string): void {
    process.stderr.write(`${text}\n`)
  }

  private async write(data: string | Uint8Array): Promise<void> {
    if (this.failed) throw this.failed
    await new Promise<void>((resolve, reject) => {
      process.stdout.write(data, (error) => {
        if (!error) return resolve()
        reject(this.fail(error))
      })
    })
  }

  private fail(error: Error): Error {
    if (this.failed) return this.failed
    const isClosed = 'code' in error && error.code === 'EPIPE'
    this.failed = isClosed ? new OutputClosed('nobody reads the output') : Object.assign(error, { path: 'output' })
    this.onFailed(this.failed)
    return this.failed
  }
}
