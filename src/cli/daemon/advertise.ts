import os from 'node:os'
import { type Address, formatAddress } from '../../io/network.ts'

/**
 * The address that others are told, when none was given and every address is listened at: the first of this machine
 * that is not its loopback. Undefined when one address is listened at: that one is told; and for a port that is
 * not known yet.
 */
export function advertisedAddress({ host, port }: Address): string | undefined {
  if ((host !== '0.0.0.0' && host !== '::') || port === 0) return undefined
  const outside = Object.values(os.networkInterfaces())
    .flatMap((entries) => entries ?? [])
    .filter((entry) => !entry.internal && (entry.family === 'IPv4' || host === '::'))
  const found = outside.find((entry) => entry.family === 'IPv4') ?? outside[0]
  return formatAddress({ host: found?.address ?? '127.0.0.1', port })
}
