// dfsd master.

import path from 'node:path'
import { formatAddress, parseAddress } from '../../io/network.ts'
import { UsageError } from '../failure.ts'
import { advertisedAddress } from './advertise.ts'
import { defineDaemonVerb } from './context.ts'
import { runDaemon } from './lifecycle.ts'
import { checkChunkSize, masterTuning } from './options.ts'

export const master = defineDaemonVerb({
  usage: '--data DIR [options]',
  words: [0, 0],
  options: {
    data: { kind: 'text', required: true, describe: 'directory of the operation log and the checkpoints' },
    listen: {
      kind: 'text',
      default: '127.0.0.1:7400',
      describe: 'HOST:PORT for clients and chunkservers; port 0: a free one',
    },
    http: { kind: 'text', default: '127.0.0.1:7401', describe: 'HOST:PORT of /healthz, /readyz, /metrics, /version' },
    advertise: { kind: 'text', describe: 'HOST:PORT that others are told to connect to' },
    replication: {
      kind: 'number',
      min: 1,
      max: 16,
      default: '3',
      describe: 'replicas of a new file; taken when the cluster is made',
    },
    ...masterTuning,
  },
  examples: [['dfsd master --data /srv/dfs/master --listen 10.0.0.1:7400', 'on the address that the others reach']],
  async run({ context: { io, globals }, values }) {
    const listen = parseAddress(values.listen)
    if (!listen) throw new UsageError(`--listen ${values.listen} is not HOST:PORT`)
    if (values.advertise !== undefined && !parseAddress(values.advertise)) {
      throw new UsageError(`--advertise ${values.advertise} is not HOST:PORT`)
    }
    checkChunkSize(values['chunk-size'])
    const advertise = values.advertise ?? advertisedAddress(listen)
    const { 'log-level': logLevel, 'stop-with-stdin': stopsWithStdin } = globals
    return runDaemon({ role: 'master', http: values.http, logLevel, stopsWithStdin }, async ({ logger }) => {
      const [{ startMaster }, { checkpointerOf }] = await Promise.all([
        import('../../master/node.ts'),
        import('./checkpoint-thread.ts'),
      ])
      const node = await startMaster(io, logger, {
        data: path.resolve(values.data),
        listen,
        ...(advertise === undefined ? {} : { advertise }),
        goal: values.replication,
        minReplicas: values['min-replicas'],
        chunkBytes: values['chunk-size'],
        ...(values['heartbeat-ms'] === undefined ? {} : { heartbeatMs: values['heartbeat-ms'] }),
        ...(values['dead-after-ms'] === undefined ? {} : { deadAfterMs: values['dead-after-ms'] }),
        repairBytesPerSecond: values['repair-rate'],
        leaseMs: values['lease-ms'],
        retentionMs: values.retention,
        logBudgetBytes: values['log-budget'],
        checkpointEveryBytes: values['checkpoint-every'],
        makeCheckpoint: checkpointerOf(logger),
      })
      return {
        listen: formatAddress(node.address),
        facts: { advertise: node.advertised, clusterId: node.clusterId },
        ready: Promise.resolve(),
        failed: node.failed,
        notReady: () => {
          const { isReady, reason } = node.status()
          return isReady ? undefined : reason
        },
        remark: () => node.status().reason || undefined,
        metrics: () => node.metrics(),
        close: () => node.close(),
      }
    })
  },
})
