// Hosts of one cluster on one machine, each with a network of its own that can be cut, also one way only.
//
// A program that calls `enterNetwork` starts itself again as the first process of new network, process and mount
// namespaces. Its own network is the hub, a bridge; each host is one more network namespace behind a pair of virtual
// interfaces. Whatever ends that first process ends everything in the namespaces, and the kernel takes them away: nothing
// is left behind, not even after SIGKILL.
//
//   hub 10.77.0.1 (the clients) ── bridge ─┬─ host 10.77.0.2
//                                          └─ host 10.77.0.3 …
//
// A one-way cut gives the sender a wrong hardware address for the receiver: its packets go out and nobody takes them, as
// with a dead link. Neither end is told. Where namespaces can't be had, hosts are 127.0.0.1 and can't be cut.

import { type ChildProcess, execFile, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import fs from 'node:fs'
import { promisify } from 'node:util'

const run = promisify(execFile)

const INSIDE = 'DFS_TORTURE_INSIDE'
const NAMESPACES = ['--net', '--pid', '--fork', '--kill-child', '--mount-proc']
const BRIDGE = 'hub0'
const NOBODY = '02:d5:ff:ff:ff:ff'
const HOSTS_MAX = 250
const FIRST = 2

/** Why this machine has no networks to cut; undefined when it has. */
export function networkFault(): string | undefined {
  if (process.env[INSIDE] !== undefined) return undefined
  if (process.platform !== 'linux') return `network namespaces are Linux's, this is ${process.platform}`
  const probe = spawnSync('unshare', [
    ...userOptions(),
    ...NAMESPACES,
    '--',
    'ip',
    'link',
    'add',
    'p0',
    'type',
    'bridge',
  ])
  if (probe.error !== undefined) return `unshare can't be run: ${probe.error.message}`
  if (probe.status !== 0) return `no network namespaces here: ${String(probe.stderr).trim() || `code ${probe.status}`}`
  return undefined
}

/** Who is not root can be it in a user namespace, where the kernel's settings allow it. */
function userOptions(): string[] {
  return process.getuid?.() === 0 ? [] : ['--map-root-user']
}

/**
 * Goes on in new namespaces: outside, the call runs this program again there and ends with its exit code. Where there are
 * none it says so on stderr and goes on here.
 *
 * @returns whether hosts can be cut
 */
export async function enterNetwork(): Promise<boolean> {
  if (process.env[INSIDE] !== undefined) {
    // The program outside has ended, by whatever means.
    process.once('disconnect', () => process.exit(1))
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.once(signal, () => process.exit(130))
    await run('ip', ['link', 'set', 'lo', 'up'])
    await run('ip', ['link', 'add', BRIDGE, 'address', hardwareAddress(1), 'type', 'bridge'])
    await run('ip', ['addr', 'add', `${addressOf(1)}/24`, 'dev', BRIDGE])
    await run('ip', ['link', 'set', BRIDGE, 'up'])
    return true
  }
  const fault = networkFault()
  if (fault !== undefined) {
    console.error(`WITHOUT NETWORK CUTS: ${fault}`)
    return false
  }
  const self = [process.execPath, ...process.execArgv, ...process.argv.slice(1)]
  const child = spawn('unshare', [...userOptions(), ...NAMESPACES, '--', ...self], {
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    env: { ...process.env, [INSIDE]: '1' },
  })
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => child.disconnect())
  const [code] = await once(child, 'exit')
  process.exit(typeof code === 'number' ? code : 1)
}

/** A machine of the cluster, as far as the network can tell. */
export interface Host {
  readonly name: string
  readonly address: string
  /** The command that runs others on it. */
  readonly prefix: readonly string[]
}

interface Member extends Host {
  readonly number: number
  readonly device: string
  /** Keeps the namespace alive while nothing runs in it; it ends with its standard input, so with us. */
  readonly holder: ChildProcess | undefined
}

export class Hosts {
  /** Where this process is. */
  readonly hub: Host
  readonly #canCut: boolean
  readonly #members: Member[] = []

  private constructor(canCut: boolean) {
    this.#canCut = canCut
    const hub = { name: 'clients', address: canCut ? addressOf(1) : '127.0.0.1', prefix: [] }
    this.hub = hub
    this.#members.push({ ...hub, number: 1, device: BRIDGE, holder: undefined })
  }

  /** @param canCut  what `enterNetwork` returned */
  static async make(canCut: boolean, names: readonly string[]): Promise<Hosts> {
    if (names.length > HOSTS_MAX) throw new Error(`${names.length} hosts, at most ${HOSTS_MAX} have an address`)
    const hosts = new Hosts(canCut)
    for (const [index, name] of names.entries()) hosts.#members.push(await addHost(canCut, name, FIRST + index))
    await hosts.heal()
    return hosts
  }

  get(name: string): Host {
    return this.#member(name)
  }

  /** Drops what `from` sends to `to` from now on, and with `bothWays` what comes back. */
  async cut(from: string, to: string, options: { readonly bothWays?: boolean } = {}): Promise<void> {
    if (!this.#canCut) throw new Error('these hosts share one network: nothing can be cut')
    await setNeighbour(this.#member(from), this.#member(to), NOBODY)
    if (options.bothWays) await setNeighbour(this.#member(to), this.#member(from), NOBODY)
  }

  /** Cuts one host off from all others. */
  async isolate(name: string): Promise<void> {
    for (const other of this.#members) if (other.name !== name) await this.cut(name, other.name, { bothWays: true })
  }

  /** Everyone reaches everyone; or `one`, when given, everyone both ways. */
  async heal(one?: string, other?: string): Promise<void> {
    if (!this.#canCut) return
    for (const from of this.#members) {
      for (const to of this.#members) {
        if (from === to) continue
        const names = [from.name, to.name]
        if (one !== undefined && !names.includes(one)) continue
        if (other !== undefined && !names.includes(other)) continue
        await setNeighbour(from, to, hardwareAddress(to.number))
      }
    }
  }

  /** Takes the hosts away; nothing may run on them any more. */
  async close(): Promise<void> {
    for (const { holder } of this.#members.splice(1)) {
      if (holder === undefined) continue
      const ended = once(holder, 'exit')
      holder.kill('SIGKILL')
      await ended
    }
  }

  #member(name: string): Member {
    const found = this.#members.find((member) => member.name === name)
    if (found === undefined) throw new Error(`there is no host ${name}`)
    return found
  }
}

async function addHost(canCut: boolean, name: string, number: number): Promise<Member> {
  if (!canCut) return { name, number, address: '127.0.0.1', prefix: [], device: 'lo', holder: undefined }
  const holder = spawn('unshare', ['--net', 'cat'], { stdio: ['pipe', 'ignore', 'inherit'] })
  const pid = String(holder.pid)
  while (fs.readlinkSync(`/proc/${pid}/ns/net`) === fs.readlinkSync('/proc/self/ns/net')) {
    if (holder.exitCode !== null) throw new Error(`no network for ${name}: unshare ended with ${holder.exitCode}`)
    await new Promise((resolve) => setTimeout(resolve, 5))
  }
  const prefix = ['nsenter', '--net', '--target', pid, '--']
  const outer = `host${number}`
  const there = (...args: string[]) => run('nsenter', ['--net', '--target', pid, '--', 'ip', ...args])
  const inner = ['eth0', 'address', hardwareAddress(number), 'netns', pid]
  await run('ip', ['link', 'add', outer, 'type', 'veth', 'peer', 'name', ...inner])
  await run('ip', ['link', 'set', outer, 'master', BRIDGE, 'up'])
  await there('link', 'set', 'lo', 'up')
  await there('addr', 'add', `${addressOf(number)}/24`, 'dev', 'eth0')
  await there('link', 'set', 'eth0', 'up')
  return { name, number, address: addressOf(number), prefix, device: 'eth0', holder }
}

/** The hardware address that `from` takes for `to`'s. */
async function setNeighbour(from: Member, to: Member, hardware: string): Promise<void> {
  const args = ['neigh', 'replace', to.address, 'lladdr', hardware, 'nud', 'permanent', 'dev', from.device]
  const [command = 'ip', ...rest] = [...from.prefix, 'ip', ...args]
  await run(command, rest)
}

function addressOf(number: number): string {
  return `10.77.0.${number}`
}

function hardwareAddress(number: number): string {
  return `02:d5:00:00:00:${number.toString(16).padStart(2, '0')}`
}
