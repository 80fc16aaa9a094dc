import { ProcessDied } from '../../../src/vmm/errors.ts'
import { Host } from '../../../src/vmm/modelled/host.ts'
import type { Process } from '../../../src/vmm/process.ts'
import type { Explanation } from '../explained.ts'
import { oopsOf } from '../oops-log.ts'
import type { Recording, Scenario } from '../recordings.ts'
import { type Replayed, recordedScenarios, verdictOf } from '../verdicts.ts'
import { apiScenario } from './scenarios.ts'
import { Session } from './session.ts'

const NR_wait4 = 61

/** The modelled host that a recording was made on. */
export function hostOf({ cpu, kernel, cpus, params }: Recording): Host {
  const nested = params.some((param) => param.endsWith('.nested=1'))
  return new Host({ cpu, kernel, processors: cpus, memory: 32 << 20, parameters: { nested } })
}

/**
 * Replays a recording through the typed API, call by call, without a program on the modelled host. Scenarios that are not made of
 * calls alone are left out and counted.
 */
export function replayThroughApi(recording: Recording, only: string, used: Set<Explanation>): Replayed {
  const recorded = [...recordedScenarios(recording)].filter(([name]) => name.startsWith(only))
  const possible = recorded.filter(([name]) => apiScenario(name) !== null)
  const isLog = recording.name.startsWith('oops-')
  let host: Host | null = null
  const verdicts = possible.map(([name, scenario]) => {
    // An oops ends up in the log of its host: each of those scenarios gets a host of its own.
    if (host === null || isLog) host = hostOf(recording)
    const run = runThroughApi(host, name)
    const modelled = isLog ? { ...run, calls: [oopsOf(host.kernel.log.lines.join('\n'))] } : run
    return verdictOf(recording, scenario, modelled, used)
  })
  return { recording, through: 'api', verdicts, leftOut: recorded.length - possible.length, said: [] }
}

/** Makes the calls of one scenario in a child of a process of the host, as the driver program does. */
export function runThroughApi(host: Host, name: string): Scenario {
  const parent = host.newProcess('oracle')
  // Its standard streams: the numbers of the descriptors that follow are the driver's too.
  for (let fd = 0; fd < 3; fd++) parent.open('/dev/null')
  const child = parent.fork()
  const session = new Session(host, child)
  try {
    apiScenario(name)!(session)
    child.exit()
  } catch (error) {
    if (!(error instanceof ProcessDied)) throw error
  }
  const end = endOf(parent)
  parent.exit()
  return { name, calls: session.calls.made, end }
}

/** How the child ended, where that was not exit 0: wait4(2). */
function endOf(parent: Process): Scenario['end'] {
  const memory = parent.allocate(4096)
  parent.syscall('wait4', NR_wait4, -1, memory.address)
  const status = new DataView(memory.bytes(0, 4).buffer).getInt32(0, true)
  const signal = status & 0x7f
  if (signal !== 0) return { killed_by: signal }
  return status >> 8 === 0 ? {} : { exit: status >> 8 }
}
