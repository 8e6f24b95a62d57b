import os from 'node:os'
import { type Address, formatAddress } from '../../io/network.ts'

/**
 * The address that others are told, when none was given: the one listened at, or, listening at all of them, the first
 * of this machine that is not its loopback.
 */
export function advertisedAddress({ host, port }: Address): string {
  if (host !== '0.0.0.0' && host !== '::') return formatAddress({ host, port })
  const outside = Object.values(os.networkInterfaces())
    .flatMap((entries) => entries ?? [])
    .filter((entry) => !entry.internal && (entry.family === 'IPv4' || host === '::'))
  const found = outside.find((entry) => entry.family === 'IPv4') ?? outside[0]
  return formatAddress({ host: found?.address ?? '127.0.0.1', port })
}
