// The namer: what names small files goes to the master together, each file still a change of its own.
//
// Files that are named at about the same time are one message and one answer with a verdict for each. The request numbers
// are the files' own, so whatever becomes of a message, each file is asked for again by itself, happens once and is
// refused alone. One file goes as `putFile`; so does what the master leaves untried, and all of it where the master is
// of a version that doesn't know `putFiles`.

import { assert } from '../base/assert.ts'
import { DfsError, isDfsError } from '../base/errors.ts'
import type { InodeId } from '../base/ids.ts'
import { FILES_PER_REQUEST_MAX } from '../base/limits.ts'
import type { Clock } from '../io/clock.ts'
import type { Connection } from '../rpc/connection.ts'
import { errorFromBody } from '../wire/error-body.ts'
import type { ReplyOf, RequestOf } from '../wire/messages.ts'
import type { Aborts } from './aborts.ts'
import { Groups, type Member } from './groups.ts'
import type { Links } from './links.ts'
import { MASTER_CALL_MS, type SendOptions } from './masters.ts'

type Request = RequestOf<'putFile'>
type Answer = ReplyOf<'putFile'>

/** Messages under way on one connection. */
const GROUPS_MAX = 4

interface Naming {
  readonly request: Request
  readonly options: SendOptions
}

type Asked = Member<Naming, Answer>

export class FileNamer {
  readonly #clock: Clock
  readonly #aborts: Aborts
  readonly #links: Links
  readonly #groups = new WeakMap<Connection, Groups<Naming, Answer>>()
  /** To masters that don't know `putFiles`. */
  readonly #old = new WeakSet<Connection>()

  constructor(clock: Clock, aborts: Aborts, links: Links) {
    this.#clock = clock
    this.#aborts = aborts
    this.#links = links
  }

  /** Asks for one file. Errors: as `putFile`'s, and of the connection. @param request  with one extent at most */
  readonly name = (connection: Connection, request: Request, options: SendOptions): Promise<Answer> => {
    assert(request.extents.length <= 1, 'a small file of several extents')
    if (this.#old.has(connection)) return this.#nameOne(connection, { request, options })
    return this.#groupsOf(connection).add({ request, options }, 1, options.timeoutMs, options.signal)
  }

  #groupsOf(connection: Connection): Groups<Naming, Answer> {
    let groups = this.#groups.get(connection)
    if (groups === undefined) {
      groups = new Groups({
        clock: this.#clock,
        aborts: this.#aborts,
        groupsMax: GROUPS_MAX,
        membersMax: FILES_PER_REQUEST_MAX,
        sizeMax: () => FILES_PER_REQUEST_MAX,
        fits: (first, naming) => first.request.by.session === naming.request.by.session,
        run: (members) => this.#nameAll(connection, members),
      })
      this.#groups.set(connection, groups)
    }
    return groups
  }

  async #nameAll(connection: Connection, members: readonly Asked[]): Promise<void> {
    if (members.length === 1) return this.#nameEach(connection, members)
    const { session } = members[0]!.item.request.by
    let floor = Number.MAX_SAFE_INTEGER
    const files = members.map(({ item }) => {
      const { by, publish, inode, extents, mtimeMs } = item.request
      floor = Math.min(floor, by.floor)
      item.options.onSend()
      return { request: by.request, publish, inode, extent: extents[0], mtimeMs }
    })
    let verdicts: ReplyOf<'putFiles'>['verdicts']
    try {
      const request = { session, floor, files }
      verdicts = (await this.#links.call(connection, 'putFiles', request, { timeoutMs: MASTER_CALL_MS })).verdicts
    } catch (error) {
      if (!isDfsError(error, 'UNKNOWN_MESSAGE')) throw error
      this.#old.add(connection)
      return this.#nameEach(connection, members)
    }
    if (verdicts.length !== members.length) {
      throw new DfsError('BAD_REQUEST', `putFiles: ${verdicts.length} verdicts on ${members.length} files`)
    }
    const untried: Asked[] = []
    members.forEach((member, index) => {
      const { inode, refusal } = verdicts[index]!
      if (refusal !== undefined) member.reject(refusalOf(refusal))
      else if (inode > 0) member.resolve({ inode: inode as InodeId })
      else untried.push(member)
    })
    // Not awaited: they may take long, and are nobody's but their callers'.
    void this.#nameEach(connection, untried)
  }

  /** Side by side, each by itself. Never rejects. */
  async #nameEach(connection: Connection, members: readonly Asked[]): Promise<void> {
    const waiting = members.filter((member) => member.isWaiting)
    await Promise.all(
      waiting.map((member) => {
        return this.#nameOne(connection, member.item).then(
          (answer) => member.resolve(answer),
          (error: unknown) => member.reject(error),
        )
      }),
    )
  }

  #nameOne(connection: Connection, { request, options }: Naming): Promise<Answer> {
    options.onSend()
    return this.#links.call(connection, 'putFile', request, options)
  }
}

function refusalOf(refusal: unknown): DfsError {
  if (Array.isArray(refusal)) return errorFromBody(refusal)
  return new DfsError('BAD_REQUEST', 'putFiles: a refusal that is no list')
}
