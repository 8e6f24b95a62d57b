// Units: bytes and milliseconds as plain numbers, and as people write and read them.

export const KiB = 1024
export const MiB = 1024 * KiB
export const GiB = 1024 * MiB

export const SECOND_MS = 1000
export const MINUTE_MS = 60 * SECOND_MS
export const HOUR_MS = 60 * MINUTE_MS
export const DAY_MS = 24 * HOUR_MS

const sizes: Readonly<Record<string, number>> = {
  '': 1,
  b: 1,
  kb: 1e3,
  mb: 1e6,
  gb: 1e9,
  tb: 1e12,
  k: KiB,
  m: MiB,
  g: GiB,
  t: 1024 * GiB,
  kib: KiB,
  mib: MiB,
  gib: GiB,
  tib: 1024 * GiB,
}

/** Bytes of `64MiB`, `10GB`, `4k` (binary) or `123`; undefined when it is none of these or over 2^53 - 1. */
export function parseSize(text: string): number | undefined {
  const match = /^([0-9]+(?:\.[0-9]+)?)\s*([a-z]*)$/i.exec(text.trim())
  const unit = match && sizes[(match[2] ?? '').toLowerCase()]
  if (!match || !unit) return undefined
  const bytes = Math.round(Number(match[1]) * unit)
  return Number.isSafeInteger(bytes) ? bytes : undefined
}

const durations: Readonly<Record<string, number>> = {
  ms: 1,
  s: SECOND_MS,
  m: MINUTE_MS,
  h: HOUR_MS,
  d: DAY_MS,
  w: 7 * DAY_MS,
}

/** Milliseconds of `500ms`, `30s`, `3d`; a bare number is milliseconds. Undefined when it is none of these. */
export function parseDuration(text: string): number | undefined {
  const match = /^([0-9]+(?:\.[0-9]+)?)\s*([a-z]*)$/i.exec(text.trim())
  if (!match) return undefined
  const unit = match[2] ? durations[match[2].toLowerCase()] : 1
  const ms = unit === undefined ? Number.NaN : Math.round(Number(match[1]) * unit)
  return Number.isSafeInteger(ms) ? ms : undefined
}

/** `1.5 GiB`: for people. */
export function formatBytes(bytes: number): string {
  const names = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB']
  let value = bytes
  let index = 0
  while (value >= 1024 && index < names.length - 1) {
    value /= 1024
    index++
  }
  return `${index === 0 ? value : value.toFixed(value < 10 ? 1 : 0)} ${names[index]}`
}

/** `3.2 s`, `250 ms`: for people. */
export function formatDuration(ms: number): string {
  if (ms < SECOND_MS) return `${Math.round(ms)} ms`
  if (ms < MINUTE_MS) return `${(ms / SECOND_MS).toFixed(1)} s`
  if (ms < HOUR_MS) return `${Math.round(ms / MINUTE_MS)} min`
  if (ms < DAY_MS) return `${(ms / HOUR_MS).toFixed(1)} h`
  return `${(ms / DAY_MS).toFixed(1)} d`
}
