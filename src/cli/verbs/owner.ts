import { userInfo } from 'node:os'

let known: { readonly owner: string; readonly group: string } | undefined

/** Who owns what this command makes: the user who runs it. */
export function inodeDefaults(): { readonly owner: string; readonly group: string } {
  known ??= look()
  return known
}

function look() {
  try {
    const { username, gid } = userInfo()
    return { owner: username, group: gid === 0 ? 'root' : username }
  } catch {
    // A container may run under a number that no user file names.
    const id = String(process.getuid?.() ?? 'nobody')
    return { owner: id, group: id }
  }
}
