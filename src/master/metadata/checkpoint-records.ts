// The sections of what is few: the state's own fields, profiles, open chunks, sessions, servers, trash, the job.

import type { ErrorDetail } from '../../base/errors.ts'
import { ErrorCode, errorCodeOf } from '../../base/errors.ts'
import type { ChunkHandle, ClusterId, DirectoryId, InodeId, Life, ServerId, SessionId } from '../../base/ids.ts'
import type { Member, Outcome } from '../operations.ts'
import { records, type SectionRow } from './checkpoint-context.ts'
import { addHold } from './chunk-operations.ts'
import type { ChunkOwner } from './chunk-table.ts'
import { isClusterOption } from './cluster.ts'
import { IdMap, IdSets } from './id-map.ts'
import { badSection, type RecordFields } from './sections.ts'
import type { Job, Session, TrashEntry } from './state.ts'

/** Version of the sections' meaning, the first field of section `state`. */
export const SECTIONS_VERSION = 4

const INTENTS = ['serve', 'maintain', 'drain'] as const

/** Before the tables. */
export const stateSections: readonly SectionRow[] = [
  records(
    'state',
    (state) => [
      [
        SECTIONS_VERSION,
        state.clusterId,
        state.lineage,
        [...state.lineages].sort((a, b) => a[0] - b[0]).flat(),
        state.chunkBytes,
        state.goal,
        state.clusterMs,
        state.wallMs,
        state.lastIndex,
        state.lastTerm,
        state.rollbackLostIndex,
        state.nextInode,
        state.nextTrash,
        state.nextServer,
        state.trashDueThrough,
      ],
    ],
    (context, fields) => {
      const { state } = context
      const version = fields.whole()
      if (version < 1 || version > SECTIONS_VERSION) {
        throw badSection('state', `version ${version}, known are 1 to ${SECTIONS_VERSION}`)
      }
      context.version = version
      state.clusterId = fields.text() as ClusterId
      state.lineage = fields.whole()
      const lineages = fields.wholes(2)
      for (let i = 0; i < lineages.length; i += 2) state.lineages.set(lineages[i]!, lineages[i + 1]!)
      state.chunkBytes = fields.whole()
      state.goal = fields.whole()
      state.clusterMs = fields.whole()
      state.wallMs = fields.whole()
      state.lastIndex = fields.whole()
      state.lastTerm = fields.whole()
      state.rollbackLostIndex = fields.whole()
      state.nextInode = fields.whole()
      state.nextTrash = fields.whole()
      state.nextServer = fields.whole()
      state.trashDueThrough = fields.whole()
    },
  ),
  records(
    'profiles',
    (state, { profileOrder }) =>
      profileOrder.map((number) => {
        const { mode, owner, group, goal } = state.profiles.get(number)
        return [mode, owner, group, goal]
      }),
    ({ state, profiles }, fields) => {
      const profile = { mode: fields.whole(), owner: fields.text(), group: fields.text(), goal: fields.whole() }
      if (!state.profiles.hasRoomFor(profile)) throw badSection('profiles', 'too many')
      profiles.push(state.profiles.use(profile))
    },
  ),
]

/** After the tables. */
export const recordSections: readonly SectionRow[] = [
  records(
    'indexes',
    (state) => sorted(state.chunks.indexDigests),
    ({ state }, fields) => state.chunks.indexDigests.set(fields.whole() as ChunkHandle, fields.whole()),
  ),
  records(
    'members',
    (state) => sorted(state.chunks.members).map(([handle, members]) => [handle, flatMembers(members)]),
    ({ state }, fields) => state.chunks.members.set(fields.whole() as ChunkHandle, membersOf(fields.wholes(3))),
  ),
  records(
    'sessions',
    (state) => sorted(state.sessionTable).map(([, session]) => sessionRecord(session)),
    ({ state }, fields) => {
      const session = readSession(fields)
      state.sessionTable.set(session.id, session)
    },
  ),
  records(
    'sessionsEnded',
    (state) => state.sessionsEnded,
    ({ state }, fields) => state.sessionsEnded.set(fields.whole() as SessionId, fields.whole()),
  ),
  records(
    'owners',
    (state) => sorted(state.chunks.owners).map(([handle, one]) => [handle, one.session, one.inode, one.closed]),
    ({ state }, fields) => {
      const handle = fields.whole() as ChunkHandle
      const owner: ChunkOwner = {
        session: fields.whole() as SessionId,
        inode: fields.whole() as InodeId,
        closed: fields.truth(),
      }
      if (!state.sessionTable.has(owner.session)) throw badSection('owners', 'a session that is not there')
      state.chunks.owners.set(handle, owner)
      addHold(state, owner.session, owner.inode, handle)
    },
  ),
  records(
    'unnamed',
    (state) => sorted(state.unnamed),
    ({ state }, fields) => {
      const inode = fields.whole() as InodeId
      const session = state.sessionTable.get(fields.whole() as SessionId)
      if (session === undefined) throw badSection('unnamed', 'a session that is not there')
      state.unnamed.set(inode, session.id)
      session.unnamed.set(inode, true)
    },
  ),
  records(
    'attributes',
    (state) => sorted(state.attributes).map(([inode, attributes]) => [inode, [...attributes].flat()]),
    ({ state }, fields) => {
      const inode = fields.whole() as InodeId
      const list = fields.list()
      const attributes = new Map<string, string>()
      while (list.left > 0) attributes.set(list.text(), list.text())
      const row = state.inodes.row(inode)
      if (row < 0) throw badSection('attributes', `inode ${inode} is not there`)
      state.attributes.set(inode, attributes)
      state.inodes.setHasAttributes(row, true)
    },
  ),
  records(
    'servers',
    (state) =>
      sorted(state.serverTable).map(([, one]) => [
        one.id,
        one.identity,
        one.directories,
        one.address,
        one.zone,
        one.rack,
        INTENTS.indexOf(one.intent),
        one.untilMs,
      ]),
    ({ state }, fields) => {
      const id = fields.whole() as ServerId
      state.serverTable.set(id, {
        id,
        identity: fields.whole(),
        directories: fields.wholes(1) as DirectoryId[],
        address: fields.text(),
        zone: fields.text(),
        rack: fields.text(),
        intent: INTENTS[fields.whole()] ?? fields.fail('no such intent'),
        untilMs: fields.whole(),
      })
    },
  ),
  records(
    'trash',
    (state) =>
      [...state.trashTable.values()].map((one) => [
        one.id,
        one.inode,
        one.path,
        one.type === 'directory',
        one.size,
        one.removedAtMs,
        one.removedWallMs,
        one.dueNow,
        one.isPurging,
      ]),
    ({ state }, fields) => {
      const entry: TrashEntry = {
        id: fields.whole(),
        inode: fields.whole() as InodeId,
        path: fields.text(),
        type: fields.truth() ? 'directory' : 'file',
        size: fields.whole(),
        removedAtMs: fields.whole(),
        removedWallMs: fields.whole(),
        dueNow: fields.truth(),
        isPurging: fields.truth(),
      }
      state.trashTable.set(entry.id, entry)
      state.trashOf.set(entry.inode, entry.id)
      if (entry.dueNow) state.trashDue.push(0, entry.id)
    },
  ),
  records(
    'job',
    (state) => (state.job === undefined ? [] : [jobRecord(state.job)]),
    ({ state }, fields) => {
      state.job = readJob(fields)
    },
  ),
  {
    ...records(
      'tails',
      (state) => sorted(state.chunks.tails),
      ({ state }, fields) => {
        const inode = fields.whole() as InodeId
        const handle = fields.whole() as ChunkHandle
        const row = state.chunks.row(handle)
        if (state.inodes.row(inode) < 0) throw badSection('tails', `inode ${inode} is not there`)
        if (row < 0 || !state.chunks.isOpen(row)) throw badSection('tails', `chunk ${handle} is not open`)
        state.chunks.tails.set(inode, handle)
        state.chunks.tailFiles.set(handle, inode)
      },
    ),
    since: 2,
  },
  {
    ...records(
      'reserved',
      ({ reserved }) => (reserved === undefined ? [] : [[reserved.handle, reserved.index]]),
      ({ state }, fields) => {
        const handle = fields.whole() as ChunkHandle
        if (state.hasChunk(handle)) throw badSection('reserved', `chunk ${handle} is in the table`)
        state.reserved = { handle, index: fields.whole() }
      },
    ),
    since: 3,
  },
  {
    ...records(
      'options',
      ({ options }) => [...options].sort((a, b) => (a[0] < b[0] ? -1 : 1)),
      ({ state }, fields) => {
        const name = fields.text()
        if (!isClusterOption(name)) throw badSection('options', `${name} is no option of a cluster`)
        state.options.set(name, fields.whole())
      },
    ),
    since: 4,
  },
]

function sorted<K extends number, V>(map: Iterable<readonly [K, V]>): [K, V][] {
  return Array.from(map, ([key, value]): [K, V] => [key, value]).sort((a, b) => a[0] - b[0])
}

function flatMembers(members: readonly Member[]): number[] {
  return members.flatMap(({ server, directory, life }) => [server, directory, life])
}

function membersOf(flat: readonly number[]): Member[] {
  const members: Member[] = []
  for (let i = 0; i < flat.length; i += 3) {
    members.push({ server: flat[i] as ServerId, directory: flat[i + 1] as DirectoryId, life: flat[i + 2] as Life })
  }
  return members
}

function sessionRecord(session: Session): readonly unknown[] {
  const replies = sorted(session.replies).map(([request, outcome]) => [request, ...outcomeFields(outcome)])
  return [session.id, session.openedMs, session.lastActiveMs, session.floor, session.isEnding, replies]
}

function outcomeFields(outcome: Outcome): readonly unknown[] {
  if (outcome.ok) return [true, outcome.reply]
  const detail = Object.entries(outcome.detail ?? {}).filter(([, value]) => value !== undefined)
  return [false, ErrorCode[outcome.code].number, outcome.message, detail.flat()]
}

function readSession(fields: RecordFields): Session {
  const session: Session = {
    id: fields.whole() as SessionId,
    openedMs: fields.whole(),
    lastActiveMs: fields.whole(),
    floor: fields.whole(),
    isEnding: fields.truth(),
    replies: new IdMap(),
    unnamed: new IdMap(),
    holds: new IdSets(),
  }
  const replies = fields.list()
  while (replies.left > 0) {
    const reply = replies.list()
    session.replies.set(reply.whole(), readOutcome(reply))
    reply.end()
  }
  return session
}

function readOutcome(fields: RecordFields): Outcome {
  if (fields.truth()) {
    const list = fields.list()
    const reply: (number | string)[] = []
    while (list.left > 0) {
      const value = list.plain()
      reply.push(typeof value === 'boolean' ? list.fail('a truth value in a reply') : value)
    }
    return { ok: true, reply }
  }
  const code = errorCodeOf(fields.whole())
  const message = fields.text()
  const list = fields.list()
  if (list.left === 0) return { ok: false, code, message }
  const detail: Record<string, string | number | boolean> = {}
  while (list.left > 0) detail[list.text()] = list.plain()
  return { ok: false, code, message, detail: detail satisfies ErrorDetail }
}

function jobRecord(job: Job): readonly unknown[] {
  const { by, file } = job
  return [
    by.session,
    by.request,
    by.floor,
    job.from,
    job.to,
    job.overwrite,
    job.root,
    job.stack.flatMap(({ source, target, after }) => [source, target, after]),
    file === undefined ? [] : [file.source, file.target, file.next],
  ]
}

function readJob(fields: RecordFields): Job {
  const by = { session: fields.whole() as SessionId, request: fields.whole(), floor: fields.whole() }
  const from = fields.text()
  const to = fields.text()
  const overwrite = fields.truth()
  const root = fields.whole() as InodeId
  const job: Job = { by, from, to, overwrite, root, stack: [], file: undefined }
  const stack = fields.list()
  while (stack.left > 0) {
    job.stack.push({ source: stack.whole() as InodeId, target: stack.whole() as InodeId, after: stack.text() })
  }
  const file = fields.list()
  if (file.left > 0) {
    job.file = { source: file.whole() as InodeId, target: file.whole() as InodeId, next: file.whole() }
    file.end()
  }
  return job
}
