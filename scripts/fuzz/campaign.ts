import { Host } from '../../src/vmm/modelled/host.ts'
import { randomStep } from './generate.ts'
import { type Complaint, judge, OOPS } from './judge.ts'
import { Random } from './random.ts'
import type { Step } from './steps.ts'
import { Subject, type SubjectOptions } from './subject.ts'

/** Kernels and processors that calls are made on. */
export interface Choices {
  readonly kernels: readonly string[]
  readonly cpus: readonly string[]
}

/** A host, and a process on it, made to be called: enough to do it again. */
export interface Setup extends SubjectOptions {
  readonly cpu: string
  readonly kernel: string
}

export interface Failure {
  readonly setup: Setup
  /** The calls that lead there, the last of which is the one complained about; as few as were found. */
  readonly steps: readonly Step[]
  readonly what: string
}

export interface Tally {
  runs: number
  /** How often each call ended how: `KVM_SET_XSAVE EINVAL`. */
  readonly outcomes: Map<string, number>
  readonly setups: Set<string>
  readonly failures: Failure[]
}

/** Calls to one vCPU before the next is made. */
const STEPS_A_SUBJECT = 80
const SUBJECTS_A_HOST = 8
const MOST_FAILURES = 5

/** Makes `runs` random calls. The same seed makes the same ones. */
export function campaign(choices: Choices, runs: number, seed: number, progress: (tally: Tally) => void = () => {}): Tally {
  const random = new Random(seed)
  const tally: Tally = { runs: 0, outcomes: new Map(), setups: new Set(), failures: [] }
  while (tally.runs < runs && tally.failures.length < MOST_FAILURES) {
    const [cpu, kernel] = [random.of(choices.cpus), random.of(choices.kernels)]
    tally.setups.add(`${cpu}, ${kernel}`)
    const host = newHost(cpu, kernel)
    for (let i = 0; i < SUBJECTS_A_HOST && tally.runs < runs && tally.failures.length < MOST_FAILURES; i++) {
      const setup = { cpu, kernel, permission: random.chance(60), irqchip: random.chance(25) }
      const end = oneSubject(host, setup, random, Math.min(STEPS_A_SUBJECT, runs - tally.runs), tally)
      if (end === 'fine') continue
      if (end !== 'oops') tally.failures.push({ ...end, steps: shortest(end) })
      break
    }
    progress(tally)
  }
  return tally
}

const newHost = (cpu: string, kernel: string): Host => new Host({ cpu, kernel, memory: 16 << 20, processors: 1 })

function oneSubject(host: Host, setup: Setup, random: Random, most: number, tally: Tally): Failure | 'fine' | 'oops' {
  const { kernel } = host
  const baseline = [kernel.heap.bytesInUse, kernel.pages.available]
  const subject = new Subject(host, setup)
  const steps: Step[] = []
  let state = subject.state.digest()
  for (let i = 0; i < most; i++) {
    const step = randomStep(random)
    steps.push(step)
    const { outcome, complaint, retire, after } = judge(subject, step, state)
    state = after
    tally.runs++
    tally.outcomes.set(outcome, (tally.outcomes.get(outcome) ?? 0) + 1)
    if (complaint !== null) return { setup, steps, what: complaint.what }
    // The vCPU's image was in the registers and is never freed: a real host leaks it too (GFPU-05).
    if (outcome === OOPS) return 'oops'
    if (retire) break
  }
  subject.end()
  const left = [kernel.heap.bytesInUse, kernel.pages.available]
  if (left[0] === baseline[0] && left[1] === baseline[1]) return 'fine'
  return {
    setup,
    steps,
    what: `leak: bytes of buffers, free pages ${baseline.join(', ')} before the process, ${left.join(', ')} after`,
  }
}

/** Makes the calls again on a host of their own; what there is to complain about. */
export function replay(setup: Setup, steps: readonly Step[]): Complaint | null {
  const subject = new Subject(newHost(setup.cpu, setup.kernel), setup)
  let state = subject.state.digest()
  for (const step of steps) {
    const { complaint, after } = judge(subject, step, state)
    if (complaint !== null) return complaint
    state = after
  }
  return null
}

/** As few of the steps as still end in the same complaint: without each, one after the other. */
function shortest({ setup, steps, what }: Failure): readonly Step[] {
  const kind = what.slice(0, 40)
  let kept = [...steps]
  for (let i = kept.length - 2; i >= 0; i--) {
    const fewer = kept.filter((_, at) => at !== i)
    if (replay(setup, fewer)?.what.slice(0, 40) === kind) kept = fewer
  }
  return kept
}
