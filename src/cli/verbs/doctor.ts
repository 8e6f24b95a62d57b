// doctor: from this client, is everything reachable and fit? Says what a newcomer must mend, and how.
//
// Every address that the cluster tells its clients is tried from here: one that only works on the server's own machine
// is the commonest fault of a first installation. Exit 0 when nothing has to be mended (warnings may be there), else 1.

import { DfsError, isDfsError } from '../../base/errors.ts'
import { formatBytes, formatDuration, SECOND_MS } from '../../base/units.ts'
import { VERSION } from '../../base/version.ts'
import type { Client } from '../../client/index.ts'
import { parseAddress } from '../../io/network.ts'
import { type DfsContext, defineDfsVerb } from '../context.ts'
import { asReport, type Report } from './documents.ts'

const reachMsMax = 5 * SECOND_MS
/** Clocks apart by more than this are told: times of files and logs get confusing. No promise rests on them. */
const skewMsMax = 5 * SECOND_MS
/** A share of free room below which a disk is told. */
const freeShareMin = 0.1

interface Finding {
  readonly level: 'ok' | 'warning' | 'fault'
  readonly what: string
  readonly message: string
  readonly next?: string
}

type Server = Report['servers'][number]

export const doctor = defineDfsVerb({
  usage: '',
  words: [0, 0],
  options: {},
  examples: [['dfs doctor', 'is everything reachable from here, and what has to be mended?']],
  async run({ context }) {
    const findings = await examine(context)
    const faults = findings.filter(({ level }) => level === 'fault').length
    const warnings = findings.filter(({ level }) => level === 'warning').length
    await context.out.document({ healthy: faults === 0, faults, warnings, findings }, () =>
      [
        ...findings.map(({ level, what, message, next }) => {
          return `${level.padEnd(8)} ${what}: ${message}${next === undefined ? '' : `\n         next: ${next}`}`
        }),
        faults > 0 ? `${faults} things have to be mended` : 'nothing has to be mended',
      ].join('\n'),
    )
    return faults > 0 ? 1 : undefined
  },
})

async function examine(context: DfsContext): Promise<Finding[]> {
  const { clock } = context.io
  let client: Client
  const startMs = clock.nowMs()
  try {
    client = await context.client()
  } catch (error) {
    if (!isDfsError(error)) throw error
    return [fault('master', error.message, error.next)]
  }
  const findings: Finding[] = [ok('master', `answers after ${formatDuration(Math.ceil(clock.nowMs() - startMs))}`)]
  findings.push(...clockFindings('master', client.cluster.wallMs, clock.wallMs()))
  findings.push(...versionFindings('master', client.cluster.version))
  const report = asReport(await client.report({ signal: context.signal }))
  findings.push(...clusterFindings(report, client.cluster.goal))
  const examined = await Promise.all(report.servers.map((server) => examineServer(context, client, server)))
  return [...findings, ...examined.flat()]
}

function clusterFindings(report: Report, goal: number): Finding[] {
  const { safeMode, readOnly, servers, repair } = report
  const findings: Finding[] = []
  if (safeMode.on) {
    const next = 'wait with `dfs admin safemode wait`, or start the chunkservers that are missing'
    findings.push(warning('safe mode', safeMode.reason ?? 'on', next))
  }
  if (readOnly)
    findings.push(fault('master', 'its log disk is almost full: only removals are taken', 'free room there'))
  const live = servers.filter(({ state }) => state === 'live')
  if (live.length === 0) findings.push(fault('chunkservers', 'none is live', 'start `dfsd chunk` on each machine'))
  else if (live.length < goal) {
    const message = `${live.length} are live, files want ${goal} replicas`
    findings.push(warning('chunkservers', message, 'start more, or lower the goal with `dfs setrep`'))
  }
  const hosts = new Set(live.map(({ address }) => parseAddress(address)?.host ?? address))
  if (live.length > 1 && hosts.size === 1) {
    const message = `all ${live.length} are on ${[...hosts][0]}: its failure is the failure of every replica`
    findings.push(warning('failure domains', message, 'spread chunkservers over machines'))
  }
  if (repair.missing > 0) {
    findings.push(fault('redundancy', `${repair.missing} chunks have no whole replica`, 'see `dfs fsck`'))
  } else if (repair.underReplicated > 0) {
    findings.push(warning('redundancy', `${repair.underReplicated} chunks are below their goal`, 'see `dfs fsck`'))
  } else findings.push(ok('redundancy', 'every chunk is as often there as it should be'))
  return findings
}

async function examineServer(context: DfsContext, client: Client, server: Server): Promise<Finding[]> {
  const { id, address, state, seesMoreHistory } = server
  const findings: Finding[] = []
  if (state === 'dead' || state === 'suspect') {
    const last =
      server.lastContactMs === null ? 'not heard of' : `last heard of ${formatDuration(server.lastContactMs)} ago`
    const next = `start it again; if it never comes back: \`dfs admin servers drain ${id}\``
    findings.push((state === 'dead' ? fault : warning)(id, `${state} (${address}), ${last}`, next))
    if (state === 'dead') return findings
  }
  if (seesMoreHistory) {
    const next = "restore the master's log, or run `dfs admin accept-rollback`"
    findings.push(fault(id, "it has seen more history than the master's log has", next))
  }
  const reached = await reachFinding(context, client, server)
  if (state === 'maintenance' && reached.level === 'fault') {
    // It said that it stops, or the operator did: nothing that a newcomer has to mend.
    const next = `start it again, or \`dfs admin servers drain ${id}\` if it never comes back`
    return [...findings, warning(id, `in maintenance, and stopped (${address})`, next)]
  }
  findings.push(reached)
  findings.push(...(await httpFindings(context, server)))
  findings.push(...versionFindings(id, server.version))
  for (const disk of server.disks) {
    const room = `${formatBytes(disk.freeBytes)} of ${formatBytes(disk.capacityBytes)} free for chunks`
    if (disk.state === 'failed' || disk.state === 'readonly') {
      findings.push(fault(id, `disk ${disk.path} is ${disk.state}`, 'replace the disk, or restart when it is well'))
    } else if (disk.state === 'full' || disk.freeBytes < freeShareMin * disk.capacityBytes) {
      findings.push(warning(id, `disk ${disk.path}: ${room}`, 'free room (`dfs trash empty`), or add disks or servers'))
    }
  }
  return findings
}

async function reachFinding({ signal }: DfsContext, client: Client, { id, address }: Server): Promise<Finding> {
  try {
    const tookMs = await client.reach(address, { signal, timeoutMs: reachMsMax, deadlineMs: reachMsMax })
    return ok(id, `${address} answers after ${formatDuration(Math.ceil(tookMs))}`)
  } catch (error) {
    if (!isDfsError(error) || error.code === 'ABORTED') throw error
    const next = isLoopback(address)
      ? 'it tells others an address of its own machine: start it with --listen and --advertise that clients reach'
      : 'open the port in the firewall, or start it with --advertise HOST:PORT that clients reach'
    return fault(id, `${address} can't be reached from here: ${error.message}`, next)
  }
}

async function httpFindings({ io, signal }: DfsContext, { id, http }: Server): Promise<Finding[]> {
  if (http === '') return []
  try {
    const within = AbortSignal.any([signal, io.clock.timeoutSignal(reachMsMax)])
    const response = await fetch(`http://${http}/readyz`, { signal: within })
    const text = (await response.text()).trim()
    const told = Date.parse(response.headers.get('date') ?? '')
    const clocks = Number.isNaN(told) ? [] : clockFindings(id, told, io.clock.wallMs())
    if (response.ok) return clocks
    return [...clocks, warning(id, `http://${http}/readyz: ${text}`, 'see its log')]
  } catch (error) {
    if (signal.aborted) throw new DfsError('ABORTED', 'interrupted', {}, error)
    const next = 'metrics and probes need it: start the server with --http HOST:PORT that is reached from here'
    return [warning(id, `http://${http} can't be reached from here`, next)]
  }
}

function clockFindings(what: string, theirsMs: number, oursMs: number): Finding[] {
  const apartMs = Math.abs(theirsMs - oursMs)
  if (theirsMs === 0 || apartMs <= skewMsMax) return []
  const side = theirsMs > oursMs ? 'ahead of' : 'behind'
  return [warning(what, `its clock is ${formatDuration(apartMs)} ${side} the one here`, 'run NTP on both machines')]
}

function versionFindings(what: string, version: string): Finding[] {
  if (version === '' || version === VERSION) return []
  return [warning(what, `runs version ${version}, this program is ${VERSION}`, 'update the older one')]
}

function isLoopback(address: string): boolean {
  const host = parseAddress(address)?.host ?? ''
  return host === 'localhost' || host === '::1' || host.startsWith('127.')
}

function ok(what: string, message: string): Finding {
  return { level: 'ok', what, message }
}

function warning(what: string, message: string, next: string): Finding {
  return { level: 'warning', what, message, next }
}

function fault(what: string, message: string, next: string): Finding {
  return { level: 'fault', what, message, next }
}
