// One real connection, tuned for bytes per CPU-second.
//
// Receiving goes through `onread` into pooled buffers (receive-buffer.ts): about twice the bytes per second of `data`
// events. On the accepting side that needs the connection's handle, which Node does not document: it is taken from the
// paused socket of `pauseOnConnect` and given to a socket of our own. Where there is no such handle, ordinary `data`
// events serve. This file is the only one that knows.
//
// Sending gathers the writes of one turn into one `writev`. Small slices are copied together, because a system call
// spends more on an entry of its list than on copying a few hundred bytes; large ones are never copied.

import * as net from 'node:net'
import { assert } from '../../base/assert.ts'
import { DfsError } from '../../base/errors.ts'
import { type Linked, LinkedList } from '../../base/linked-list.ts'
import { KiB, MiB } from '../../base/units.ts'
import { type Address, formatAddress, type ReceivedBytes, type Socket, type SocketHandler } from '../network.ts'
import { ReceiveBuffer } from './receive-buffer.ts'

/** `write` returns false while more than this is queued, and `onDrain` follows when it is half empty. */
const QUEUE_BYTES_MAX = 1 * MiB
/** Slices below this are copied together, up to this much in one piece. */
const COPIED_BYTES_MAX = 4 * KiB

export const SOCKET_OPTIONS = {
  allowHalfOpen: true,
  noDelay: true,
  keepAlive: true,
  keepAliveInitialDelay: 30_000,
} as const

interface Batch extends Linked<Batch> {
  readonly onWritten: readonly ((error?: Error) => void)[]
  readonly bytes: number
}

export class NodeSocket implements Socket {
  local: Address = { host: '', port: 0 }
  remote: Address
  #tcp: net.Socket | undefined
  #handler: SocketHandler | undefined
  readonly #buffer = new ReceiveBuffer()
  #error: Error | undefined
  #isClosed = false
  #hasEnded = false
  // Writes of this turn, not given to Node yet, and the batches that are.
  #slices: Uint8Array[] = []
  #callbacks: ((error?: Error) => void)[] = []
  #turnBytes = 0
  #isFlushPlanned = false
  #queuedBytes = 0
  #wantsDrain = false
  readonly #batches = new LinkedList<Batch>()

  private constructor(remote: Address) {
    this.remote = remote
  }

  /** A socket that connects; `opened` is to be called when it has. */
  static connecting(address: Address): { socket: NodeSocket; tcp: net.Socket } {
    const socket = new NodeSocket(address)
    const tcp = net.connect({ ...SOCKET_OPTIONS, ...address, onread: socket.#onRead() })
    socket.#tcp = tcp
    return { socket, tcp }
  }

  /** A socket for an accepted, paused connection; undefined when it is gone already. */
  static accepted(paused: net.Socket): NodeSocket | undefined {
    const { remoteAddress, remotePort } = paused
    if (remoteAddress === undefined || remotePort === undefined) {
      paused.destroy()
      return undefined
    }
    const socket = new NodeSocket({ host: remoteAddress, port: remotePort })
    const handle = takeHandle(paused)
    if (handle === undefined) {
      socket.#tcp = paused
      paused.on('data', (bytes: Buffer) => socket.#deliver({ bytes, retain() {}, release() {} }))
    } else {
      // `handle` is not in the types either.
      const options = { ...SOCKET_OPTIONS, handle, onread: socket.#onRead() } as net.SocketConstructorOpts
      socket.#tcp = new net.Socket(options)
    }
    socket.opened()
    return socket
  }

  /** The connection stands: listens to what becomes of it. */
  opened(): void {
    const tcp = this.#connection
    this.local = { host: tcp.localAddress ?? '', port: tcp.localPort ?? 0 }
    tcp.on('error', (error) => {
      this.#error ??= error instanceof DfsError ? error : this.#lost(error)
    })
    tcp.on('end', () => this.#handler?.onEnd())
    tcp.on('close', () => this.#closed())
  }

  get queuedBytes(): number {
    return this.#queuedBytes
  }

  start(handler: SocketHandler): void {
    assert(this.#handler === undefined, 'start called twice')
    this.#handler = handler
    if (this.#isClosed) queueMicrotask(() => handler.onClose(this.#error))
    else this.#connection.resume()
  }

  write(slices: readonly Uint8Array[], onWritten?: (error?: Error) => void): boolean {
    assert(!this.#hasEnded || this.#connection.destroyed, 'write after end')
    if (this.#connection.destroyed) {
      if (onWritten) queueMicrotask(() => onWritten(this.#error ?? this.#lost()))
      return false
    }
    for (const slice of slices) {
      if (slice.length === 0) continue
      this.#slices.push(slice)
      this.#turnBytes += slice.length
      this.#queuedBytes += slice.length
    }
    if (onWritten) this.#callbacks.push(onWritten)
    if (!this.#isFlushPlanned) {
      this.#isFlushPlanned = true
      process.nextTick(() => this.#flush())
    }
    if (this.#queuedBytes <= QUEUE_BYTES_MAX) return true
    this.#wantsDrain = true
    return false
  }

  flush(): void {
    if (!this.#connection.destroyed) this.#flush()
  }

  pause(): void {
    this.#connection.pause()
  }

  resume(): void {
    this.#connection.resume()
  }

  end(): void {
    if (this.#hasEnded || this.#connection.destroyed) return
    this.#flush()
    this.#hasEnded = true
    this.#connection.end()
  }

  destroy(error?: Error): void {
    if (this.#connection.destroyed) return
    this.#error ??= error
    this.#connection.destroy()
  }

  get #connection(): net.Socket {
    assert(this.#tcp !== undefined, 'no connection')
    return this.#tcp
  }

  #onRead(): net.OnReadOpts {
    return {
      buffer: () => this.#buffer.room(),
      callback: (count) => {
        this.#buffer.filled(count, (received) => this.#deliver(received))
        return true
      },
    }
  }

  #deliver(received: ReceivedBytes): void {
    if (this.#isClosed || this.#connection.destroyed) return
    assert(this.#handler !== undefined, 'bytes came before start')
    this.#handler.onBytes(received)
  }

  #flush(): void {
    this.#isFlushPlanned = false
    const slices = this.#slices
    const batch: Batch = { onWritten: this.#callbacks, bytes: this.#turnBytes, before: undefined, after: undefined }
    this.#slices = []
    this.#callbacks = []
    this.#turnBytes = 0
    if (slices.length === 0 && batch.onWritten.length === 0) return
    this.#batches.add(batch)
    const tcp = this.#connection
    const pieces = gather(slices)
    tcp.cork()
    for (let index = 0; index < pieces.length - 1; index++) tcp.write(pieces[index]!)
    tcp.write(pieces.at(-1) ?? EMPTY, (error) => {
      // Node reports a write that was under way when the socket was destroyed as done.
      this.#written(batch, error ?? (tcp.destroyed ? this.#lost() : undefined))
    })
    tcp.uncork()
  }

  #written(batch: Batch, error: Error | undefined): void {
    if (!this.#batches.delete(batch)) return
    this.#queuedBytes -= batch.bytes
    const translated = error === undefined ? undefined : (this.#error ?? this.#lost(error))
    for (const callback of batch.onWritten) callback(translated)
    if (translated === undefined && this.#wantsDrain && this.#queuedBytes <= QUEUE_BYTES_MAX / 2) {
      this.#wantsDrain = false
      this.#handler?.onDrain()
    }
  }

  #closed(): void {
    if (this.#isClosed) return
    this.#flush()
    this.#isClosed = true
    for (const batch of [...this.#batches]) this.#written(batch, this.#error ?? this.#lost())
    this.#buffer.close()
    this.#handler?.onClose(this.#error)
  }

  #lost(cause?: Error): DfsError {
    const address = formatAddress(this.remote)
    const code = cause !== undefined && 'code' in cause ? String(cause.code) : undefined
    const why = code ?? cause?.message ?? 'closed'
    return new DfsError(
      'CONNECTION_LOST',
      `the connection with ${address} broke: ${why}`,
      { address, errno: code },
      cause,
    )
  }
}

const EMPTY = Buffer.alloc(0)

/** The same bytes in fewer slices: neighbours that are small are copied together. */
function gather(slices: readonly Uint8Array[]): Uint8Array[] {
  const pieces: Uint8Array[] = []
  let small: Uint8Array[] = []
  let smallBytes = 0
  const join = (): void => {
    if (small.length > 0) pieces.push(small.length === 1 ? small[0]! : Buffer.concat(small, smallBytes))
    small = []
    smallBytes = 0
  }
  for (const slice of slices) {
    if (slice.length >= COPIED_BYTES_MAX) {
      join()
      pieces.push(slice)
      continue
    }
    if (smallBytes + slice.length > COPIED_BYTES_MAX) join()
    small.push(slice)
    smallBytes += slice.length
  }
  join()
  return pieces
}

/** Takes the handle out of a paused socket, which is left empty; undefined where Node keeps it elsewhere. */
function takeHandle(paused: net.Socket): object | undefined {
  const holder = paused as unknown as { _handle?: object | null }
  const handle = holder._handle
  if (handle === undefined || handle === null) return undefined
  holder._handle = null
  return handle
}
