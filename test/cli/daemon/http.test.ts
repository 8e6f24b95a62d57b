// What probes see of a daemon.

import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { type HttpContent, openHttp } from '../../../src/cli/daemon/http.ts'

async function readyz(content: Partial<HttpContent>): Promise<[number, string]> {
  const quiet = {
    role: 'master',
    version: '1',
    notReady: () => undefined,
    remark: () => undefined,
    metrics: () => ({}),
  }
  const face = await openHttp('127.0.0.1:0', { ...quiet, ...content })
  try {
    const response = await fetch(`http://${face.address}/readyz`)
    return [response.status, await response.text()]
  } finally {
    await face.close()
  }
}

test('a daemon is ready, or says why it is not', async () => {
  assert.equal(await readyz({}), [200, 'ok\n'])
  assert.equal(await readyz({ notReady: () => 'it is starting', remark: () => 'more' }), [503, 'it is starting\n'])
})

test('one that serves with a limit stays ready, since reads and removals must reach it, and says so', async () => {
  const remark = 'read-only: the log disk is almost full'
  assert.equal(await readyz({ remark: () => remark }), [200, `ok, but ${remark}\n`])
})

test.run()
