// The network port: reliable byte streams that can stall, break and be cut at any byte.
//
// Buffers: bytes arrive in buffers that belong to the socket and are used again. `ReceivedBytes` lets a reader keep
// the bytes without a copy: retain() before returning from `onBytes`, release() once when done. What is not retained
// is invalid after `onBytes` returns.

export interface Address {
  readonly host: string
  /** 0 .. 65535; 0 only for listening. */
  readonly port: number
}

/** A run of received bytes inside a pooled buffer. */
export interface ReceivedBytes {
  readonly bytes: Buffer
  /** Keeps the underlying buffer from reuse; counted. */
  retain(): void
  /** Gives back one retain(). Slices of `bytes` are invalid after the last one. */
  release(): void
}

export interface SocketHandler {
  /** Bytes came. Called synchronously, in order; never after `onClose`. */
  onBytes(received: ReceivedBytes): void
  /** `write` had returned false and there is room again. */
  onDrain(): void
  /** The other side ended its sending; we may still write. */
  onEnd(): void
  /** The last call: the connection is gone; `error` when it broke (CONNECTION_LOST or another DfsError). */
  onClose(error?: Error): void
}

export interface Socket {
  readonly local: Address
  readonly remote: Address
  /** Starts delivery. Called once, in the same turn the socket was got. */
  start(handler: SocketHandler): void
  /**
   * Queues the slices in order. They must not change until `onWritten` is called or the socket closes.
   * @param onWritten  called once when the bytes left this process, or with an error when they never will
   * @returns false when more than the high-water mark is queued: wait for `onDrain` before writing much more
   */
  write(slices: readonly Uint8Array[], onWritten?: (error?: Error) => void): boolean
  /** Hands over now what `write` may keep until the end of the turn: who does much in one turn lets the other side begin. */
  flush(): void
  /** Bytes queued and not yet handed to the system. */
  readonly queuedBytes: number
  /** Stops delivery soon; bytes already read may still come in this turn. */
  pause(): void
  resume(): void
  /** Sends what is queued, then ends. */
  end(): void
  /** Breaks the connection now; `onClose` follows in a later turn. */
  destroy(error?: Error): void
}

export interface Listener {
  /** The address in use, with the port the system chose. */
  readonly address: Address
  /** Accepts no more; live sockets stay. */
  close(): Promise<void>
}

export interface Network {
  /** Connects; UNAVAILABLE when refused or unreachable, TIMEOUT after `timeoutMs`. */
  connect(address: Address, timeoutMs: number): Promise<Socket>
  /** Listens; INVALID_ARGUMENT when the address can't be had. `onSocket` must call `start` before it returns. */
  listen(address: Address, onSocket: (socket: Socket) => void): Promise<Listener>
}

/** The address of `host:port` or `[v6]:port`, or undefined. */
export function parseAddress(text: string): Address | undefined {
  const match = /^(?:\[([0-9a-f:.%]+)\]|([^:\s/]+)):([0-9]{1,5})$/i.exec(text)
  const port = match ? Number(match[3]) : Number.NaN
  const host = match?.[1] ?? match?.[2]
  return host !== undefined && port <= 65535 ? { host, port } : undefined
}

export function formatAddress(address: Address): string {
  return address.host.includes(':') ? `[${address.host}]:${address.port}` : `${address.host}:${address.port}`
}
