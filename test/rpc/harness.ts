// A server and clients over the ports of a world, and a raw socket that may say anything.

import type { DfsError } from '../../src/base/errors.ts'
import { isDfsError } from '../../src/base/errors.ts'
import type { Io } from '../../src/io/io.ts'
import type { Address, Socket } from '../../src/io/network.ts'
import type { Connection } from '../../src/rpc/connection.ts'
import type { RpcLimits } from '../../src/rpc/limits.ts'
import { type ConnectOptions, connect } from '../../src/rpc/pool.ts'
import type { Handler } from '../../src/rpc/requests.ts'
import { RpcServer, type ServerOptions } from '../../src/rpc/server.ts'
import { decodeBody, encodeBody } from '../../src/wire/body.ts'
import { errorFromBody } from '../../src/wire/error-body.ts'
import { FrameParser } from '../../src/wire/frame.ts'
import { FrameType } from '../../src/wire/header.ts'
import { type Hello, hello, helloToBody } from '../../src/wire/hello.ts'
import { frame, LIMITS, Recorder } from '../wire/frames.ts'

export const CLUSTER = 'c0ffee00'.repeat(4)

/** Bugs met by any connection of this test; the harness throws them at the end. */
export const bugs: unknown[] = []
export const onBug = (error: unknown) => void bugs.push(error)

export function listen(
  io: Io,
  host: string,
  handlers: Record<number, Handler>,
  options: Partial<ServerOptions> = {},
): Promise<RpcServer> {
  return RpcServer.listen(
    io.network,
    { host, port: 0 },
    {
      clock: io.clock,
      hello: () => hello('master', { cluster: CLUSTER, name: 'm-1' }),
      handlers: new Map(Object.entries(handlers).map(([number, handler]) => [Number(number), handler])),
      onBug,
      ...options,
    },
  )
}

export function dial(
  io: Io,
  address: Address,
  options: Partial<ConnectOptions> & { onClose?: (connection: Connection, reason: DfsError) => void } = {},
): Promise<Connection> {
  const { onClose, ...rest } = options
  return connect(
    { clock: io.clock, network: io.network, hello: () => hello('client', { name: 'c' }), onBug, ...rest },
    address,
    3000,
    onClose,
  )
}

/** Limits so short that tests of time are quick; the relations are those of the real ones. */
export const QUICK: Partial<RpcLimits> = {
  helloMs: 500,
  callMs: 3000,
  frameMs: 3000,
  aliveMs: 500,
  silenceMs: 2000,
  stallMs: 3000,
  streamStallMs: 500,
}

/** The DfsError that `promise` is rejected with; anything else is a failure. */
export async function errorOf(promise: Promise<unknown>): Promise<DfsError> {
  try {
    await promise
  } catch (error) {
    if (isDfsError(error)) return error
    throw error
  }
  throw new Error('expected an error, got a value')
}

/** Speaks frames, or anything, by hand. */
export class RawPeer {
  readonly seen = new Recorder()
  isEnded = false
  isClosed = false
  readonly #socket: Socket
  readonly #parser = new FrameParser<string>(this.seen, LIMITS)

  private constructor(socket: Socket) {
    this.#socket = socket
    socket.start({
      onBytes: ({ bytes }) => void this.#parser.push(bytes, ''),
      onDrain: () => {},
      onEnd: () => {
        this.isEnded = true
      },
      onClose: () => {
        this.isClosed = true
      },
    })
  }

  static async connect(io: Io, address: Address): Promise<RawPeer> {
    return new RawPeer(await io.network.connect(address, 3000))
  }

  /** One whose hello was accepted. */
  static async greeted(io: Io, address: Address, fields: Partial<Hello> = {}): Promise<RawPeer> {
    const peer = await RawPeer.connect(io, address)
    peer.hello(fields)
    return peer
  }

  get socket(): Socket {
    return this.#socket
  }

  send(bytes: Uint8Array): void {
    this.#socket.write([bytes])
  }

  hello(fields: Partial<Hello> = {}): void {
    this.send(frame({ type: FrameType.hello, body: encodeBody(helloToBody({ ...hello('client'), ...fields })) }))
  }

  request(message: number, id: number, body: unknown[], data?: Buffer): void {
    this.send(frame({ type: FrameType.request, message, id, body: encodeBody(body), ...(data && { data }) }))
  }

  /** Errors received, by request id; that of the connection has id 0. */
  errors(id: number): DfsError[] {
    return this.seen.frames
      .filter(({ header }) => header.type === FrameType.error && header.id === id)
      .map(({ body }) => errorFromBody(decodeBody(body)))
  }

  replies(): { id: number; body: unknown[] }[] {
    return this.seen.frames
      .filter(({ header }) => header.type === FrameType.reply)
      .map(({ header, body }) => ({ id: header.id, body: decodeBody(body) }))
  }
}
