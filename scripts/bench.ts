// npm run bench: what this commit costs, against the machine itself and against qemu's user mode, in one run.
import { spawnSync } from 'node:child_process'
import { cpus } from 'node:os'
import { parseArgs } from 'node:util'
import { api, exitsUnderExec, explore, loop, type Row, runnersHere, startUp, xstate } from './bench/rows.ts'
import { reported, tableHead, tableRow } from './bench/table.ts'

const { values } = parseArgs({
  options: {
    json: { type: 'boolean' },
    only: { type: 'string', multiple: true },
    cpu: { type: 'string', default: 'SapphireRapids' },
    kernel: { type: 'string', default: 'linux-6.12' },
  },
})
const print = (line: string) => process.stdout.write(`${line}\n`)
const say = (line: string) => process.stderr.write(`bench: ${line}\n`)
const runners = runnersHere(values.cpu, values.kernel)

/** By the word `--only` takes. */
const benchmarks: Record<string, () => Row[]> = {
  start: () => [startUp(runners, say)],
  integer: () => [loop('integer loop', 'integer', runners, say)],
  float: () => [loop('floating-point loop', 'float', runners, say)],
  memory: () => [loop('memory loop', 'memory', runners, say)],
  syscall: () => [loop('system-call loop', 'syscall', runners, say)],
  exits: () => [exitsUnderExec(runners, say)],
  api: () => api(say),
  xstate: () => xstate(say),
  explore: () => explore(say),
}
const unknown = values.only?.find((name) => !(name in benchmarks))
if (unknown) {
  say(`no benchmark ${unknown}; there are: ${Object.keys(benchmarks).join(' ')}`)
  process.exit(2)
}

if (!values.json) {
  const commit = spawnSync('git', ['describe', '--always', '--dirty'], { encoding: 'utf8' }).stdout.trim()
  print(`worldswitch ${commit || '(no commit)'} on ${cpus()[0].model}, Node ${process.versions.node}`)
  print('loops: CPU seconds (user + system) of the whole process; start-up and rates: wall time, fastest of several runs')
  print('native exits: this machine’s own /dev/kvm; / copy: times as long as a plain copy of the same bytes')
  print(tableHead())
}
let missing = 0
for (const name of values.only ?? Object.keys(benchmarks))
  for (const row of benchmarks[name]()) {
    // qemu's user mode starts without a machine, a kernel or a KVM to model: no ratio for start-up.
    const shown = reported(row, name !== 'start')
    print(values.json ? JSON.stringify(shown) : tableRow(shown))
    if (shown.worldswitch === null) missing++
  }
// A figure of ours that could not be taken is a failure; one of a peer is not.
process.exitCode = missing > 0 ? 1 : 0
