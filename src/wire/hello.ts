// The hello: the first frame each way, in which both sides say who they are and check that they belong together.
//
// Body: [versionMin, versionMax, role, cluster, server, instance, name, features]; fields behind these are of later
// versions and not read. Format and rules: README.md.

import { DfsError } from '../base/errors.ts'
import { RANDOM_ID_MAX } from '../base/ids.ts'
import type { Body } from './body.ts'

/** The protocol versions spoken here, both ends included. */
export const PROTOCOL_VERSION_MIN = 1
export const PROTOCOL_VERSION_MAX = 1
/** Body bytes of a hello, and of an error that answers it, at most. */
export const HELLO_BYTES_MAX = 8 * 1024

export const RoleNumber = { master: 1, chunkserver: 2, client: 3 } as const
export type Role = keyof typeof RoleNumber

/** What one side says of itself. */
export interface Hello {
  readonly versionMin: number
  readonly versionMax: number
  readonly role: Role
  /** 32 hex digits; '' for one that has not learned it yet, which belongs anywhere. */
  readonly cluster: string
  /** The number of a chunkserver or master, 0 when it has none. */
  readonly server: number
  /** Drawn at each start of the process: 48 bits, 0 when it doesn't matter. Tells a restart from a broken connection. */
  readonly instance: number
  /** For logs and people: at most 255 characters. */
  readonly name: string
  /** Bits of abilities that both sides must have before they are used. None is defined in version 1. */
  readonly features: number
}

/** A hello of the versions spoken here. */
export function hello(
  role: Role,
  fields: Partial<Pick<Hello, 'cluster' | 'server' | 'instance' | 'name'>> = {},
): Hello {
  return {
    versionMin: PROTOCOL_VERSION_MIN,
    versionMax: PROTOCOL_VERSION_MAX,
    role,
    cluster: fields.cluster ?? '',
    server: fields.server ?? 0,
    instance: fields.instance ?? 0,
    name: (fields.name ?? '').slice(0, 255),
    features: 0,
  }
}

/** What one side wants of the other; what is left out is not checked. */
export interface Expectation {
  readonly roles?: readonly Role[]
  /** The server number that must stand at this address. */
  readonly server?: number
}

export function helloToBody(hello: Hello): Body {
  return [
    hello.versionMin,
    hello.versionMax,
    RoleNumber[hello.role],
    hello.cluster,
    hello.server,
    hello.instance,
    hello.name,
    hello.features,
  ]
}

/**
 * Reads a hello. Throws BAD_REQUEST for another shape, UNSUPPORTED_VERSION when no version is spoken by both (the
 * version is looked at first: later versions may have another shape behind it).
 */
export function helloFromBody(body: Body): Hello {
  const [versionMin, versionMax, roleNumber, cluster, server, instance, name, features] = body
  if (!isCount(versionMin, 65535) || !isCount(versionMax, 65535) || versionMin > versionMax) throw malformed('versions')
  if (versionMin > PROTOCOL_VERSION_MAX || versionMax < PROTOCOL_VERSION_MIN) {
    throw new DfsError(
      'UNSUPPORTED_VERSION',
      `the other side speaks protocol ${versionMin} to ${versionMax}, this one ${PROTOCOL_VERSION_MIN} to ${PROTOCOL_VERSION_MAX}: update the older side`,
      { versionMin, versionMax, spokenMin: PROTOCOL_VERSION_MIN, spokenMax: PROTOCOL_VERSION_MAX },
    )
  }
  const role = (Object.keys(RoleNumber) as Role[]).find((key) => RoleNumber[key] === roleNumber)
  if (role === undefined) throw malformed('role')
  if (typeof cluster !== 'string' || !/^([0-9a-f]{32})?$/.test(cluster)) throw malformed('cluster id')
  if (!isCount(server, 2 ** 32 - 1)) throw malformed('server number')
  if (!isCount(instance, RANDOM_ID_MAX)) throw malformed('instance')
  if (typeof name !== 'string' || name.length > 255) throw malformed('name')
  if (!isCount(features, Number.MAX_SAFE_INTEGER)) throw malformed('features')
  return { versionMin, versionMax, role, cluster, server, instance, name, features }
}

/** Throws WRONG_CLUSTER or WRONG_ROLE when `theirs` is not one that `ours` can work with. */
export function checkHello(ours: Hello, theirs: Hello, expected: Expectation): void {
  if (ours.cluster !== '' && theirs.cluster !== '' && ours.cluster !== theirs.cluster) {
    throw new DfsError(
      'WRONG_CLUSTER',
      `${describe(theirs)} belongs to cluster ${theirs.cluster}, ${describe(ours)} to ${ours.cluster}`,
      {
        theirs: theirs.cluster,
        ours: ours.cluster,
      },
    )
  }
  if (expected.roles !== undefined && !expected.roles.includes(theirs.role)) {
    throw new DfsError(
      'WRONG_ROLE',
      `${describe(theirs)} is a ${theirs.role}, expected ${expected.roles.join(' or ')}`,
      {
        theirs: theirs.role,
        expected: expected.roles.join(','),
      },
    )
  }
  if (expected.server !== undefined && theirs.server !== expected.server) {
    throw new DfsError(
      'WRONG_ROLE',
      `${describe(theirs)} has server number ${theirs.server}, expected ${expected.server}`,
      {
        theirs: theirs.server,
        expected: expected.server,
      },
    )
  }
}

/** The highest version that both speak. */
export function agreedVersion(theirs: Hello): number {
  return Math.min(theirs.versionMax, PROTOCOL_VERSION_MAX)
}

function describe(hello: Hello): string {
  return hello.name === '' ? `the ${hello.role}` : `${hello.role} ${hello.name}`
}

function isCount(value: unknown, max: number): value is number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0 && value <= max
}

function malformed(what: string): DfsError {
  return new DfsError('BAD_REQUEST', `a hello whose ${what} can't be read`, { field: what })
}
