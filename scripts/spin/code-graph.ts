import { Vcpu } from '../../src/kvm/vcpu/vcpu.ts'
import type { Preemptible } from '../../src/linux/preemption.ts'
import type { PinnedProcessor } from '../../src/linux/processor.ts'
import { detectionIsOn } from '../../src/linux/splitlock/test-ctrl.ts'
import { type HostModel, HostSystem } from '../../src/tools/explore/host-system.ts'
import type { Transition } from '../../src/tools/explore/system.ts'

/** How large a graph of states is: what a model written by hand and the code it was written after have in common, if it is right. */
export interface GraphSize {
  readonly states: number
  readonly transitions: number
}

/** Steps of each task of the split-lock scenario up to where it only repeats: entries of a guest, the program's access. */
const STEPS_BEFORE_LOOP = [3, 8, 1]
const USER = 2

/**
 * The graph of states of the kernel's own code in the split-lock scenario: breadth first, each state reached by executing its path
 * from the start. Two states are one if what bench/spin/split-lock.pml keeps of them is the same.
 *
 * @param bound preemptions of a run @param mostStates ends the search: then it is larger than the model's anyway
 */
export function codeGraph(model: HostModel, bound: number, mostStates: number): GraphSize {
  const walk = new Walk(model)
  const seen = new Set([walk.follow([])])
  let transitions = 0
  let level: (readonly Transition[])[] = [[]]
  while (level.length > 0 && seen.size <= mostStates) {
    const next: (readonly Transition[])[] = []
    for (const path of level) {
      walk.follow(path)
      const preemptions = path.filter(({ preempts }) => preempts).length
      for (const transition of walk.enabled().filter(({ preempts }) => !preempts || preemptions < bound)) {
        transitions++
        const longer = [...path, transition]
        const state = walk.follow(longer)
        if (seen.has(state)) continue
        seen.add(state)
        next.push(longer)
      }
    }
    level = next
  }
  return { states: seen.size, transitions }
}

/** Runs of the scenario, and what the model keeps of the state they lead to. */
class Walk {
  private readonly model: HostModel
  private readonly system: HostSystem
  private readonly vcpus: Vcpu[]
  /** How far each guest is, in their order. */
  private readonly guests: { readonly next: number }[]
  /** B7's own variable: where a guest was loaded. */
  private readonly loadedOn: { readonly cpu: { readonly id: number } | null }[]
  /** Steps that each task has made, at most up to its loop; -1 it is finished. */
  private readonly steps: number[] = []
  /** A vCPU's thread stopped within what it does before an entry: B1 between register and flag, B5 between test and act. */
  private readonly isHalfway: boolean[] = []
  private preemptions = 0
  private migrations = 0

  constructor(model: HostModel) {
    this.model = model
    const { objects } = model
    this.vcpus = objects.filter((object) => object instanceof Vcpu)
    this.guests = objects.filter((object) => 'alignmentChecks' in object) as unknown as Walk['guests']
    this.loadedOn = objects.filter((object) => Object.keys(object).join() === 'cpu') as Walk['loadedOn']
    this.system = new HostSystem(model)
    for (const [i, vcpu] of this.vcpus.entries())
      watchWork(vcpu, (isHalfway) => {
        this.isHalfway[i] = isHalfway
      })
  }

  enabled(): readonly Transition[] {
    const transitions: Transition[] = []
    this.system.enabled(transitions)
    return transitions
  }

  /** Executes a path from the start. @returns the state's name */
  follow(path: readonly Transition[]): string {
    this.system.reset()
    this.steps.splice(0, Number.POSITIVE_INFINITY, 0, 0, 0)
    this.isHalfway.fill(false)
    this.preemptions = this.migrations = 0
    for (const transition of path) this.execute(transition)
    return this.name()
  }

  private execute(transition: Transition): void {
    const { actors, kernel } = this.model
    const cpu = kernel.cpus[transition.process]
    if (transition.preempts) this.preemptions++
    if (transition.choice !== 'go on') {
      this.migrations += actors.filter(({ name, task }) => transition.choice === `run ${name}` && task.cpuId !== cpu.id).length
      this.system.execute(transition, true)
      return
    }
    const index = actors.findIndex(({ task }) => task === cpu.current)
    const wasLooping = this.steps[index] >= STEPS_BEFORE_LOOP[index]
    const traps = index === USER && wasLooping && detectionIsOn(cpu as PinnedProcessor)
    this.system.execute(transition, true)
    if (cpu.current === null) this.steps[index] = -1
    else if (!wasLooping || (index === USER && !traps)) this.steps[index]++
  }

  private name(): string {
    const { kernel, actors } = this.model
    const cpus = kernel.cpus.map((cpu) => [
      detectionIsOn(cpu as PinnedProcessor),
      actors.findIndex(({ task }) => task === cpu.current),
    ])
    const tasks = actors.map(({ task }, i) => {
      const { splitLockAllowed, cpuId, preemptNotifier } = task
      return [this.steps[i], splitLockAllowed, cpuId, preemptNotifier !== null]
    })
    const vcpus = this.vcpus.map(({ splitLock, exception }, i) => {
      const { guestDetects, hostDetection, loaded } = splitLock!
      return [guestDetects, hostDetection, loaded, this.guests[i].next, exception.pending, this.isHalfway[i] === true]
    })
    const { preemptions, migrations, loadedOn } = this
    return JSON.stringify([cpus, tasks, vcpus, loadedOn.map(({ cpu }) => cpu?.id ?? 0), preemptions, migrations])
  }
}

/** Tells whether the work before an entry of `vcpu` has stopped on its way. */
function watchWork(vcpu: Vcpu, tell: (isHalfway: boolean) => void): void {
  let {
    value = null,
    get = () => value,
    set = (next) => void (value = next),
  } = Object.getOwnPropertyDescriptor(vcpu, 'beforeEntry')!
  Object.defineProperty(vcpu, 'beforeEntry', {
    get: () => {
      const work: Preemptible<void> | null = get.call(vcpu)
      return work === null ? null : watched(work, tell)
    },
    set,
  })
}

function* watched(work: Preemptible<void>, tell: (isHalfway: boolean) => void): Preemptible<void> {
  for (let part = work.next(); part.done !== true; part = work.next()) {
    tell(true)
    yield part.value
    tell(false)
  }
}
