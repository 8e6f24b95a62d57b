// The real network: TCP with TCP_NODELAY, listeners and connects. Sockets are in socket.ts.

import * as net from 'node:net'
import { DfsError, type ErrorCode } from '../../base/errors.ts'
import { type Address, formatAddress, type Listener, type Network, type Socket } from '../network.ts'
import { NodeSocket, SOCKET_OPTIONS } from './socket.ts'

/** Connections the kernel keeps for us until they are accepted. */
const BACKLOG = 1024

export const nodeNetwork: Network = { connect, listen }

function connect(address: Address, timeoutMs: number): Promise<Socket> {
  const name = formatAddress(address)
  return new Promise((resolve, reject) => {
    const { socket, tcp } = NodeSocket.connecting(address)
    const timer = setTimeout(() => {
      fail(new DfsError('TIMEOUT', `connecting to ${name} took longer than ${timeoutMs} ms`, { address: name }))
    }, timeoutMs)
    const onError = (error: Error): void => {
      const code = 'code' in error ? String(error.code) : error.message
      const ours: ErrorCode = code === 'ETIMEDOUT' ? 'TIMEOUT' : 'UNAVAILABLE'
      fail(new DfsError(ours, `can't connect to ${name}: ${code}`, { address: name, errno: code }, error))
    }
    const fail = (error: DfsError): void => {
      clearTimeout(timer)
      reject(error)
      tcp.destroy()
    }
    tcp.once('error', onError)
    tcp.once('connect', () => {
      clearTimeout(timer)
      tcp.off('error', onError)
      socket.opened()
      resolve(socket)
    })
  })
}

function listen(address: Address, onSocket: (socket: Socket) => void): Promise<Listener> {
  return new Promise((resolve, reject) => {
    const server = net.createServer({ ...SOCKET_OPTIONS, pauseOnConnect: true }, (accepted) => {
      const socket = NodeSocket.accepted(accepted)
      if (socket !== undefined) onSocket(socket)
    })
    const onError = (error: Error): void => {
      const code = 'code' in error ? String(error.code) : error.message
      const message = `can't listen on ${formatAddress(address)}: ${listenFault(code)}`
      const next = 'give another address (port 0: a free one), or stop what has it'
      reject(new DfsError('INVALID_ARGUMENT', message, { address: formatAddress(address), errno: code, next }, error))
    }
    server.once('error', onError)
    server.listen({ host: address.host, port: address.port, backlog: BACKLOG }, () => {
      server.off('error', onError)
      // A failed accept (EMFILE, a peer that left) costs that connection alone: its peer sees it, we go on listening.
      server.on('error', () => {})
      const bound = server.address()
      const port = bound !== null && typeof bound === 'object' ? bound.port : address.port
      resolve({
        address: { host: address.host, port },
        async close() {
          // Its callback waits for live connections as well; the port is free at once.
          server.close()
          await new Promise<void>((closed) => setImmediate(closed))
        },
      })
    })
  })
}

/** What an error of `listen` means, with its name for those who look it up. */
export function listenFault(code: string): string {
  const means = listenFaults[code]
  return means === undefined ? code : `${means} (${code})`
}

const listenFaults: Readonly<Record<string, string>> = {
  EADDRINUSE: 'another process listens there',
  EADDRNOTAVAIL: 'this machine has no such address',
  EACCES: 'ports below 1024 are for the superuser',
  ENOTFOUND: 'there is no host of that name',
}
