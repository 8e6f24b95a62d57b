// Small files: bytes into a shared chunk, and one record that makes the file or puts the bytes into it.
//
// Source: DESIGN §4, "Small files".

import { isDfsError } from '../base/errors.ts'
import { type Core, change } from './core.ts'
import type { NewFileOptions } from './options.ts'
import type { Packer } from './packer.ts'
import type { Patience } from './patience.ts'
import type { Extent } from './placed.ts'

const FILE_MODE_DEFAULT = 0o644

/**
 * A small or empty file in one record. Errors: as Writer.close.
 *
 * @param slices  at most `packer.bytesMax` bytes; must not change until it resolves
 */
export async function putSmall(
  core: Core,
  packer: Packer,
  path: string,
  slices: readonly Uint8Array[],
  options: NewFileOptions & { readonly overwrite?: boolean | undefined },
  patience: Patience,
): Promise<void> {
  const publish = { path, overwrite: options.overwrite ?? false }
  const inode = newInodeOf(options)
  const mtimeMs = options.mtimeMs ?? 0
  const put = (extents: Extent[]) =>
    change(core, 'putFile', (by) => ({ by, publish, inode, extents, mtimeMs }), patience, core.namer.name)
  await (slices.every((slice) => slice.length === 0) ? put([]) : packAnd(packer, slices, inode.goal, patience, put))
}

/** Packs the bytes and hands their extent to `log`, again as long as the log finds the chunk too short for it. */
export async function packAnd(
  packer: Packer,
  slices: readonly Uint8Array[],
  goal: number,
  patience: Patience,
  log: (extents: Extent[]) => Promise<unknown>,
): Promise<void> {
  let length = 0
  for (const slice of slices) length += slice.length
  if (length === 0) {
    await log([])
    return
  }
  for (;;) {
    const extent = await packer.place(slices, length, goal, patience)
    try {
      await log([extent])
      return
    } catch (error) {
      if (!isDfsError(error, 'SEALED_SHORT')) throw error
      packer.forget(goal, extent.handle)
      await patience.sleep(1, error)
    }
  }
}

/** The attributes as messages carry them. */
export function newInodeOf(options: NewFileOptions) {
  return {
    mode: options.mode ?? FILE_MODE_DEFAULT,
    owner: options.owner ?? '',
    group: options.group ?? '',
    goal: options.goal ?? 0,
  }
}
