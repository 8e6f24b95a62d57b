// The file of --config: one map of option names to values, in JSON or YAML.

import fs from 'fs-extra'
import { parse } from 'yaml'
import { UsageError } from './failure.ts'
import type { RawValues } from './options.ts'

/** More than this is not a file of options. */
const fileCharactersMax = 1 << 20

/** @throws UsageError when it is neither, or no map; errors of the file system as they are */
export async function readConfigFile(path: string): Promise<RawValues> {
  const text = await fs.readFile(path, 'utf8').catch((error: unknown) => {
    // An error of reading, unlike one of opening, doesn't say of what.
    if (error instanceof Error && 'code' in error && error.code === 'EISDIR')
      throw new UsageError(`--config ${path} is a directory: a file is wanted`)
    throw error
  })
  if (text.length > fileCharactersMax) {
    throw new UsageError(`--config ${path} has ${text.length} characters, over ${fileCharactersMax}`)
  }
  const value = await parseText(path, text)
  if (value === null || value === undefined) return {}
  if (typeof value !== 'object' || Array.isArray(value)) {
    throw new UsageError(`--config ${path} holds no map of option names to values`)
  }
  return value as RawValues
}

async function parseText(path: string, text: string): Promise<unknown> {
  try {
    if (path.endsWith('.json')) return JSON.parse(text)
    return parse(text, { maxAliasCount: 0 })
  } catch (error) {
    throw new UsageError(`--config ${path}: ${error instanceof Error ? error.message : String(error)}`)
  }
}
