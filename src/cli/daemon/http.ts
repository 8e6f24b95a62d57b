// The HTTP face of a daemon: /healthz, /readyz, /metrics, /version. For probes and Prometheus; read only.

import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import { Counter, collectDefaultMetrics, Gauge, Registry } from 'prom-client'
import { DfsError } from '../../base/errors.ts'
import { formatAddress, parseAddress } from '../../io/network.ts'
import { listenFault } from '../../io/node/network.ts'

/** Numbers by name; a map inside gives one series for each of its keys. */
export type MetricValues = Readonly<Record<string, number | Readonly<Record<string, number>>>>

export interface HttpFace {
  /** `host:port`, with the port that was chosen. */
  readonly address: string
  close(): Promise<void>
}

export interface HttpContent {
  /** `master`, `chunk`, `dev`: the middle of each metric's name. */
  readonly role: string
  readonly version: string
  /** Undefined when serving; else why not. */
  notReady(): string | undefined
  /** What a person should know although it serves. */
  remark(): string | undefined
  metrics(): MetricValues
}

const headersMsMax = 10_000
const connectionsMax = 256

/** @throws DfsError INVALID_ARGUMENT when the address can't be had */
export async function openHttp(listen: string, content: HttpContent): Promise<HttpFace> {
  const address = parseAddress(listen)
  if (!address) throw new DfsError('INVALID_ARGUMENT', `--http ${listen} is not HOST:PORT`)
  const registry = new Registry()
  collectDefaultMetrics({ register: registry, eventLoopMonitoringPrecision: 100 })
  const server = createServer({ requestTimeout: headersMsMax, headersTimeout: headersMsMax }, (request, response) => {
    answer(request, response, content, registry).catch((error) => {
      reply(response, 500, 'text/plain', `${error instanceof Error ? error.message : error}\n`)
    })
  })
  server.maxConnections = connectionsMax
  await listening(server, address.host, address.port, listen)
  const bound = server.address()
  const port = typeof bound === 'object' && bound ? bound.port : address.port
  return {
    address: formatAddress({ host: address.host, port }),
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
}

function listening(server: Server, host: string, port: number, text: string): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', (error) => {
      const why = 'code' in error && typeof error.code === 'string' ? listenFault(error.code) : error.message
      const next = 'give another --http (port 0: a free one), or stop what has it'
      reject(new DfsError('INVALID_ARGUMENT', `--http ${text} can't be had: ${why}`, { address: text, next }, error))
    })
    server.listen(port, host, resolve)
  })
}

async function answer(
  request: IncomingMessage,
  response: ServerResponse,
  content: HttpContent,
  registry: Registry,
): Promise<void> {
  if (request.method !== 'GET' && request.method !== 'HEAD') {
    return reply(response, 405, 'text/plain', 'only GET and HEAD\n')
  }
  const path = (request.url ?? '/').split('?')[0]
  switch (path) {
    case '/healthz':
      return reply(response, 200, 'text/plain', 'ok\n')
    case '/readyz': {
      const reason = content.notReady()
      if (reason !== undefined) return reply(response, 503, 'text/plain', `${reason}\n`)
      // A master that only takes removals is ready: turned away from it, nobody could read, or remove what fills it.
      const remark = content.remark()
      return reply(response, 200, 'text/plain', remark === undefined ? 'ok\n' : `ok, but ${remark}\n`)
    }
    case '/version': {
      const { role, version } = content
      const text = JSON.stringify({ version, role, node: process.versions.node, pid: process.pid })
      return reply(response, 200, 'application/json', `${text}\n`)
    }
    case '/metrics':
      update(registry, content)
      return reply(response, 200, registry.contentType, await registry.metrics())
    default:
      return reply(response, 404, 'text/plain', 'try /healthz, /readyz, /metrics or /version\n')
  }
}

function reply(response: ServerResponse, status: number, type: string, text: string): void {
  response.writeHead(status, { 'content-type': type, 'content-length': Buffer.byteLength(text) })
  response.end(text)
}

/** Puts the values of this moment into the registry. A name that ends in `Total` only grows and becomes a counter. */
function update(registry: Registry, content: HttpContent): void {
  const values = { ready: content.notReady() === undefined ? 1 : 0, ...content.metrics() }
  for (const [key, value] of Object.entries(values)) {
    const name = `dfs_${content.role}_${snakeCase(key)}`
    const metric = registry.getSingleMetric(name) ?? create(registry, name, key, typeof value === 'object')
    if (metric instanceof Counter) metric.reset()
    const add = (labels: Record<string, string>, amount: number) => {
      if (!Number.isFinite(amount)) return
      if (metric instanceof Counter) metric.inc(labels, amount)
      else if (metric instanceof Gauge) metric.set(labels, amount)
    }
    if (typeof value === 'number') add({}, value)
    else for (const [label, amount] of Object.entries<number>(value)) add({ kind: label }, amount)
  }
}

function create(registry: Registry, name: string, key: string, isLabelled: boolean) {
  const settings = { name, help: words(key), registers: [registry], labelNames: isLabelled ? ['kind'] : [] }
  return key.endsWith('Total') ? new Counter(settings) : new Gauge(settings)
}

function snakeCase(name: string): string {
  return name.replace(/[A-Z]+/g, (letters) => `_${letters.toLowerCase()}`).replace(/[^a-z0-9_]/g, '_')
}

function words(name: string): string {
  return snakeCase(name).replaceAll('_', ' ')
}
