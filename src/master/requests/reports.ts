// Requests for people and scripts: what there is, where it is, how it is. The shapes are those of the commands'
// `--json` output.

import { DfsError } from '../../base/errors.ts'
import type { DirectoryId } from '../../base/ids.ts'
import { formatServer, HOLE, LINEAGE_COUNT } from '../../base/ids.ts'
import { VERSION } from '../../base/version.ts'
import type { DirectoryFacts } from '../../wire/messages.ts'
import type { CensusTaker } from '../census.ts'
import type { Compactor } from '../compactor.ts'
import { change, type Handlers, type MasterContext } from '../context.ts'
import { isRolledBack, newerServer } from '../history.ts'
import { factsOf, fileAt } from '../lookup.ts'
import { intentNow } from '../plan/standing.ts'
import type { Reclaimer } from '../reclaimer.ts'
import type { Repairer } from '../repairer.ts'
import type { Replicas } from '../replicas.ts'
import type { TrashSizes } from '../trash-sizes.ts'

/** Extents that `info` shows at most; a file with more is told so. */
const INFO_EXTENTS_MAX = 100_000

/** Who knows what is reported. */
export interface ReportParts {
  readonly census: CensusTaker
  readonly trashSizes: TrashSizes
  readonly replicas: Replicas
  readonly repairer: Repairer
  readonly compactor: Compactor
  readonly reclaimer: Reclaimer
}

export function reportHandlers(parts: ReportParts) {
  const { replicas } = parts
  return {
    clusterInfo: ({ state, clock }) => ({
      clusterId: state.clusterId,
      chunkBytes: state.chunkBytes,
      goal: state.goal,
      version: VERSION,
      wallMs: Math.max(0, Math.floor(clock.wallMs())),
    }),

    report: async (context) => ({ document: await report(context, parts) }),

    space: async (context) => ({ document: await space(context, parts) }),

    info: (context, { path }) => ({ document: info(context, path) }),

    complain(context, { handle, server, code, reason }) {
      context.logger.warn({ event: 'complaint', handle, server, code, reason }, 'a reader complains of a replica')
      replicas.awaited(handle)
      return {}
    },

    checkpoint: async (context) => ({ logIndex: await context.checkpoint() }),

    acceptRollback: async (context) => {
      const { state, servers, random, logger } = context
      if (newerServer(context) === undefined) {
        // Who asks again because the answer was lost is told the same.
        if (state.rollbackLostIndex > 0) return { lostIndex: state.rollbackLostIndex }
        const message = `no chunkserver that has joined saw more history than the log has (up to ${state.lastIndex})`
        const next = 'nothing has to be accepted; `dfs report` shows who has joined'
        throw new DfsError('INVALID_ARGUMENT', message, { logIndex: state.lastIndex, next })
      }
      const lostIndex = Math.max(
        state.lastIndex,
        state.rollbackLostIndex,
        ...servers.all().map((server) => server.seenLogIndex),
      )
      const used = new Set(state.lineages.keys())
      let lineage = random.below(LINEAGE_COUNT)
      while (used.has(lineage)) lineage = (lineage + 1) % LINEAGE_COUNT
      await change(context, { kind: 'acceptRollback', lineage, lostIndex })
      logger.warn({ event: 'rollback-accepted', lostIndex, lineage }, 'the loss of later history was accepted')
      return { lostIndex }
    },
  } satisfies Handlers
}

async function report(context: MasterContext, parts: ReportParts): Promise<unknown> {
  const { census, replicas, repairer, compactor, reclaimer } = parts
  const { state, servers, clock, safeMode, sealer, givenUp } = context
  const counted = await census.take()
  const nowMs = clock.nowMs()
  const joined = servers.all()
  const absent = [...state.servers()].filter(({ id }) => !servers.get(id))
  return {
    clusterId: state.clusterId,
    logIndex: state.lastIndex,
    safeMode: { on: safeMode.isOn, reason: safeMode.reason, leftMs: Math.round(safeMode.leftMs) },
    readOnly: context.isReadOnly(),
    servers: [
      ...joined.map((server) => {
        const intent = intentNow(state.server(server.id), context.proposer.clusterMs)
        const liveness = servers.liveness(server, nowMs)
        return {
          id: formatServer(server.id),
          address: server.address,
          http: server.http,
          zone: server.zone,
          rack: server.rack,
          state:
            liveness === 'live' && intent === 'drain'
              ? 'draining'
              : liveness === 'live' && intent === 'maintain'
                ? 'maintenance'
                : liveness,
          ...roomOf(server.directories),
          usedBytes: sum(server.directories, (directory) => directory.usedBytes),
          chunks: sum(server.directories, (directory) => directory.chunks),
          lastContactMs: Math.round(nowMs - server.lastContactMs),
          version: server.version,
          pid: server.pid,
          disks: server.directories.map((directory) => ({
            path: directory.path,
            state: directory.state,
            capacityBytes: directory.capacityBytes,
            usedBytes: directory.usedBytes,
            freeBytes: directory.freeBytes,
            scrubPermille: directory.scrubPermille,
            scrubAgeMs: directory.scrubAgeMs ?? null,
            slow: servers.slowDisks.isSlow(directory.directory, nowMs),
          })),
          seesMoreHistory: isRolledBack(context, server),
        }
      }),
      // Known from the log, not heard of since this master started.
      ...absent.map((server) => ({
        id: formatServer(server.id),
        address: server.address,
        http: '',
        zone: server.zone,
        rack: server.rack,
        state: safeMode.isOn ? 'suspect' : 'dead',
        capacityBytes: 0,
        usedBytes: 0,
        freeBytes: 0,
        chunks: 0,
        lastContactMs: null,
        version: '',
        pid: 0,
        disks: [],
        seesMoreHistory: false,
      })),
    ],
    totals: {
      files: state.fileCount,
      directories: state.directoryCount,
      chunks: state.chunkCount,
      bytes: state.fileBytes,
    },
    repair: {
      missing: safeMode.isOn ? 0 : counted.missing,
      corrupt: counted.corrupt,
      lastCopy: counted.lastCopy,
      underReplicated: counted.underReplicated,
      overReplicated: counted.overReplicated,
      ...repairer.facts(),
      givenUp: givenUp.count,
      retainedEarly: reclaimer.earlyCount,
      sealing: sealer.count,
      quarantined: replicas.quarantinedCount,
    },
    compaction: compactor.facts(),
  }
}

async function space(context: MasterContext, { census, trashSizes, replicas }: ReportParts): Promise<unknown> {
  const { servers, clock, state } = context
  const counted = await census.take()
  const trashBytes = await trashSizes.total()
  const nowMs = clock.nowMs()
  const live = servers.all().filter((server) => servers.liveness(server, nowMs) !== 'dead')
  return {
    ...roomOf(live.flatMap((server) => server.directories)),
    usedBytes: sum(live, (server) => sum(server.directories, (directory) => directory.usedBytes)),
    /**
     * Bytes that files outside the trash name, those that snapshots share once, holes not at all; never less than that,
     * and no more than the files' sizes, or all named bytes, the trash's too. Then the bytes of all whole replicas of the
     * chunks that files name, in the trash or not.
     */
    liveBytes: Math.max(0, Math.min(state.fileBytes - trashBytes, counted.liveBytes)),
    replicaBytes: counted.replicaBytes,
    /** Once: files in the trash, and chunks that no file names any more. */
    retainedBytes: counted.retainedBytes + trashBytes,
    trashBytes,
    deadBytes: counted.deadBytes,
    pendingDeletionBytes: replicas.pendingDeleteBytes,
    pendingDeletionChunks: replicas.pendingDeletes,
  }
}

function info(context: MasterContext, path: string): unknown {
  const { state, locations, servers, clock } = context
  const inode = fileAt(state, path)
  const extents = state.extents(inode, 0, INFO_EXTENTS_MAX)
  const handles = new Set(extents.map(({ handle }) => handle))
  handles.delete(HOLE)
  // Records are being appended to it; its bytes are not in the extents yet.
  const tail = state.chunks.tails.get(inode)
  if (tail !== undefined) handles.add(tail)
  const nowMs = clock.nowMs()
  return {
    path,
    size: factsOf(state, inode).size,
    contentVersion: factsOf(state, inode).contentVersion,
    extents: extents.map(({ fileOffset, handle, offset, length }) => ({
      offset: fileOffset,
      length,
      handle,
      chunkOffset: offset,
    })),
    tail: tail ?? null,
    chunks: [...handles].flatMap((handle) => {
      const chunk = state.chunk(handle)
      if (!chunk) return []
      return {
        handle,
        state: chunk.state,
        version: chunk.version,
        length: chunk.length,
        digest: chunk.state === 'sealed' ? chunk.digest.toString(16).padStart(8, '0') : null,
        goal: chunk.goal || state.goal,
        shared: chunk.shared,
        references: chunk.references,
        liveBytes: chunk.liveBytes,
        replicas: locations.of(handle).flatMap(({ directory, state: replicaState }) => {
          const server = servers.serverOfDirectory(directory)
          if (!server) return []
          return {
            server: formatServer(server.id),
            address: server.address,
            state: replicaState,
            serverState: servers.liveness(server, nowMs),
            disk: diskPath(server.directories, directory),
          }
        }),
      }
    }),
  }
}

/** Capacity and room of some directories; what several of them share is counted once. */
function roomOf(directories: readonly DirectoryFacts[]): { capacityBytes: number; freeBytes: number } {
  const devices = new Set<string>()
  const room = { capacityBytes: 0, freeBytes: 0 }
  for (const { device, capacityBytes, freeBytes } of directories) {
    if (device !== '' && devices.has(device)) continue
    devices.add(device)
    room.capacityBytes += capacityBytes
    room.freeBytes += freeBytes
  }
  return room
}

function diskPath(
  directories: readonly { readonly directory: DirectoryId; readonly path: string }[],
  directory: DirectoryId,
): string {
  return directories.find((facts) => facts.directory === directory)?.path ?? ''
}

function sum<T>(items: readonly T[], of: (item: T) => number): number {
  return items.reduce((total, item) => total + of(item), 0)
}
