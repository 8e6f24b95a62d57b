// A whole source into a writer.

import type { Source } from './options.ts'
import type { Writer } from './writer.ts'

/** Everything of `data` into the writer, then closes it; a failure of either aborts it. @returns bytes written */
export async function pour(data: Source, writer: Writer): Promise<number> {
  try {
    if (data instanceof Uint8Array) await writer.write(data)
    else for await (const bytes of data) await writer.write(bytes)
    await writer.close()
    return writer.bytesWritten
  } catch (error) {
    await writer.abort()
    throw error
  }
}
