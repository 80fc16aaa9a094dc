import type { Kernel } from '../../linux/kernel.ts'
import { HostOops } from '../../linux/oops.ts'
import { PREEMPTION_POINT, type Preemptible } from '../../linux/preemption.ts'
import { type HostCpu, type PinnedProcessor, pinnedProcessor } from '../../linux/processor.ts'
import type { Task } from '../../linux/task.ts'
import { PHYSICAL_BASE } from '../../machine/memory-map.ts'
import { type Accesses, addCell, clearAccesses, newAccesses, type Recorder } from './accesses.ts'
import { MemorySnapshot, ObjectSnapshot } from './snapshot.ts'
import type { System, Transition, Values, Violation } from './system.ts'

/** A task of a model: what it does is kernel code that can be preempted wherever it yields. */
export interface Actor {
  readonly name: string
  readonly task: Task
  readonly body: () => Preemptible<unknown>
}

export interface Invariant {
  /** Short name for `--invariant`: kebab-case. */
  readonly id: string
  /** What holds, in a sentence, with the rules that say so. */
  readonly name: string
  /** Null if it holds. Looks at one processor and the task on it, or at cells that its steps touch anyway. */
  readonly check: () => string | null
}

export interface HostModel {
  readonly kernel: Kernel
  readonly actors: readonly Actor[]
  readonly invariants: readonly Invariant[]
  /** Objects whose properties change in a run, beside those of processors, tasks and clock. */
  readonly objects: readonly object[]
  /** Memory that changes in a run: wasm offsets and lengths. */
  readonly memory: readonly { readonly at: number; readonly length: number }[]
  readonly recorder: Recorder
  /** How often a task may come to a processor other than its last. */
  readonly migrations: number
  /** What an interrupt's handler does, and how often one may come, to any processor that runs a task. Default: none comes. */
  readonly interrupts?: { readonly count: number; readonly handler: (cpu: PinnedProcessor) => void }
  readonly describe: () => Values
}

const CLOCK = 'clock'

/** What an oops breaks. The host itself sees it: there is nothing to look at after a step. */
export const HOST_GOES_ON: Invariant = { id: 'host-goes-on', name: 'the host kernel goes on', check: () => null }

/** One choice of one processor, or of the clock. There is one object for each, so that a search allocates none. */
class HostTransition implements Transition {
  readonly process: number
  readonly choice: string
  readonly key: number
  readonly preempts: boolean
  /** Index of the task that comes to the processor; -1: none does. */
  readonly next: number

  constructor(process: number, choice: string, key: number, preempts: boolean, next = -1) {
    this.process = process
    this.choice = choice
    this.key = key
    this.preempts = preempts
    this.next = next
  }
}

/** What one processor may do next. */
interface CpuChoices {
  readonly goOn: HostTransition
  readonly idle: HostTransition
  readonly interrupt: HostTransition
  /** For each task: it comes to the processor, which is idle, or takes it from the one there. */
  readonly run: readonly { readonly ifIdle: HostTransition; readonly preempting: HostTransition }[]
}

/** Choices of a processor beside those that name a task. */
const OTHER_CHOICES = 3

function choicesOf(cpu: number, tasks: readonly string[]): CpuChoices {
  const first = cpu * (tasks.length + OTHER_CHOICES)
  return {
    goOn: new HostTransition(cpu, 'go on', first, false),
    idle: new HostTransition(cpu, 'idle', first + 1, true),
    interrupt: new HostTransition(cpu, 'interrupt', first + 2, false),
    run: tasks.map((name, index) => ({
      ifIdle: new HostTransition(cpu, `run ${name}`, first + OTHER_CHOICES + index, false, index),
      preempting: new HostTransition(cpu, `run ${name}`, first + OTHER_CHOICES + index, true, index),
    })),
  }
}

/**
 * A host as a system to enumerate: each processor runs its task up to the next place where it may lose it, or changes to another
 * task there; the clock lets the next timer come due. Tasks are switched by the kernel's own scheduler code.
 */
export class HostSystem implements System {
  readonly processes: readonly string[]
  violation: Violation | null = null
  readonly cells: readonly string[]
  private readonly model: HostModel
  private readonly kernel: Kernel
  private readonly recorder: Recorder
  private readonly objects: ObjectSnapshot
  private readonly memory: MemorySnapshot
  private readonly cpuCells: number[]
  /** What a task does, and whether it waits for a processor. */
  private readonly taskCells: number[]
  private readonly readyCells: number[]
  private readonly clockCell: number
  private readonly migrationCell: number
  private readonly interruptCell: number
  /** Statistics of the scheduler ask for the time too: that is no access worth an order. */
  private clockIsWatched = true
  private readonly choices: readonly CpuChoices[]
  private readonly timer: HostTransition
  private readonly waiting: readonly { readonly process: number; readonly accesses: Accesses }[]
  private readonly tasks: readonly Task[]
  private readonly finished: boolean[]
  private readonly touched: number
  private migrationsLeft = 0
  private interruptsLeft = 0
  private readonly oopsCounts: boolean
  /** After an oops that does not count nothing happens any more. */
  private isDead = false

  constructor(model: HostModel) {
    const { kernel, recorder, actors } = model
    this.model = model
    this.oopsCounts = model.invariants.includes(HOST_GOES_ON)
    this.kernel = kernel
    this.recorder = recorder
    this.cells = recorder.names
    this.processes = [...kernel.cpus.map((cpu) => `cpu${cpu.id}`), CLOCK]
    this.cpuCells = kernel.cpus.map((cpu) => recorder.cell(`cpu${cpu.id}`))
    this.taskCells = actors.map(({ name }) => recorder.cell(name))
    this.readyCells = actors.map(({ name }) => recorder.cell(`${name} is ready`))
    this.clockCell = recorder.cell(CLOCK)
    this.migrationCell = recorder.cell('migrations left')
    this.interruptCell = recorder.cell('interrupts left')
    this.watchClock()
    this.finished = actors.map(() => false)
    kernel.yieldsEverywhere = true
    // A task that wakes is ready; where it runs is a choice.
    kernel.scheduler.enqueue = (task) => this.becameReady(task)
    const tasks = actors.map(({ task }) => task)
    this.tasks = tasks
    const names = actors.map(({ name }) => name)
    this.choices = kernel.cpus.map(({ id }) => choicesOf(id, names))
    this.timer = new HostTransition(kernel.cpus.length, 'timer', kernel.cpus.length * (names.length + OTHER_CHOICES), false)
    this.waiting = kernel.cpus.map(({ id }) => ({ process: id, accesses: newAccesses() }))
    for (const task of tasks) this.park(task)
    const changing = [
      kernel.clock,
      kernel.machine,
      kernel.splitLock,
      kernel.log,
      kernel.heap,
      kernel.pages,
      ...kernel.cpus,
      ...kernel.cpus.map((cpu) => cpu.processor),
      ...tasks,
      ...tasks.map((task) => task.fpu),
      ...tasks.map((task) => task.fpu.fpstate),
      ...tasks.map((task) => task.pending),
      ...model.objects,
    ]
    this.objects = new ObjectSnapshot(changing, [kernel.model, kernel.profile, kernel.xstate])
    this.touched = kernel.pages.touched
    this.memory = new MemorySnapshot(kernel.machine.mem.u8)
    for (const { at, length } of model.memory) this.memory.add(at, length)
  }

  private watchClock(): void {
    const { kernel, recorder, clockCell } = this
    const { clock } = kernel
    const now = Object.getOwnPropertyDescriptor(Object.getPrototypeOf(clock), 'now')!.get!
    const arm = clock.arm.bind(clock)
    Object.defineProperty(clock, 'now', {
      configurable: true,
      get: () => {
        if (this.clockIsWatched) recorder.read(clockCell)
        return now.call(clock)
      },
    })
    Object.defineProperty(clock, 'arm', {
      configurable: true,
      value: (deadline: number, run: () => void) => {
        recorder.write(clockCell)
        return arm(deadline, run)
      },
    })
  }

  private park(task: Task): void {
    if (task.cpu !== null) this.kernel.scheduler.leave(task.cpu, task)
    task.state = 'runnable'
    task.activity = null
  }

  reset(): void {
    this.recorder.recording = false
    this.clearNewPages()
    this.objects.restore()
    this.memory.restore()
    this.violation = null
    this.isDead = false
    this.migrationsLeft = this.model.migrations
    this.interruptsLeft = this.model.interrupts?.count ?? 0
    this.finished.fill(false)
    // A task starts on its processor if nobody is there yet.
    for (const { task, body } of this.model.actors) {
      task.activity = body() as Preemptible<number>
      const cpu = this.kernel.cpus[task.cpuId]
      if (cpu.current === null) this.kernel.scheduler.switchTo(cpu, task)
    }
  }

  /** Pages that the run was the first to use are zero again, as the allocator takes them to be. */
  private clearNewPages(): void {
    const { pages, machine } = this.kernel
    if (pages.touched > this.touched) machine.mem.u8.fill(0, PHYSICAL_BASE + this.touched, PHYSICAL_BASE + pages.touched)
  }

  private becameReady(task: Task): void {
    const index = this.tasks.indexOf(task)
    if (index >= 0) this.recorder.write(this.readyCells[index])
  }

  // ---- what can happen ----

  enabled(into: Transition[]): void {
    if (this.violation !== null || this.isDead) return
    const { tasks, kernel } = this
    for (const cpu of kernel.cpus) {
      const { current } = cpu
      const { goOn, idle, interrupt, run } = this.choices[cpu.id]
      if (current !== null) into.push(goOn)
      if (current !== null && this.interruptsLeft > 0) into.push(interrupt)
      for (let index = 0; index < tasks.length; index++) {
        if (this.mayRun(index, cpu)) into.push(current === null ? run[index].ifIdle : run[index].preempting)
        // Out of the way for a processor that takes it elsewhere.
        else if (tasks[index] === current && this.migrationsLeft > 0 && canMigrate(current)) into.push(idle)
      }
    }
    if (kernel.clock.nextDeadline !== Number.POSITIVE_INFINITY) into.push(this.timer)
  }

  private mayRun(index: number, cpu: HostCpu): boolean {
    const task = this.tasks[index]
    if (this.finished[index] || task.cpu !== null || task.state !== 'runnable') return false
    if (((task.affinity >>> cpu.id) & 1) === 0) return false
    return task.cpuId === cpu.id || this.migrationsLeft > 0
  }

  /** An idle processor would run a task, had there been one. */
  blocked(): readonly { readonly process: number; readonly accesses: Accesses }[] {
    const { tasks, readyCells, finished } = this
    return this.waiting.filter(({ process, accesses }) => {
      if (this.kernel.cpus[process].current !== null) return false
      clearAccesses(accesses)
      for (let i = 0; i < tasks.length; i++)
        if (!finished[i] && (tasks[i].affinity >>> process) & 1) addCell(accesses.writes, readyCells[i])
      return true
    })
  }

  // ---- one step ----

  execute(transition: Transition, isKnown = false): Accesses {
    const { recorder } = this
    // Of a step that is known nobody asks for the accesses.
    if (!isKnown) recorder.begin()
    try {
      this.perform(transition as HostTransition)
    } catch (error) {
      if (!(error instanceof HostOops)) throw error
      this.oops(error)
    }
    const accesses = recorder.end()
    if (this.violation === null && !isKnown && !this.isDead) this.check()
    return accesses
  }

  private oops({ message, detail, rule }: HostOops): void {
    const { id, name } = HOST_GOES_ON
    if (this.oopsCounts) this.violation = { id, invariant: name, because: `oops: ${message}: ${detail} (${rule})` }
    else this.isDead = true
  }

  private perform(transition: HostTransition): void {
    const { kernel, recorder, tasks, readyCells } = this
    if (transition === this.timer) {
      recorder.write(this.clockCell)
      kernel.clock.skipTo(kernel.clock.nextDeadline)
      return
    }
    const cpu = kernel.cpus[transition.process]
    recorder.write(this.cpuCells[cpu.id])
    if (transition === this.choices[cpu.id].interrupt) {
      recorder.write(this.interruptCell)
      this.interruptsLeft--
      this.model.interrupts!.handler(pinnedProcessor(cpu))
      return
    }
    if (this.model.migrations > 0) recorder.read(this.migrationCell)
    if (this.model.interrupts !== undefined) recorder.read(this.interruptCell)
    // Which tasks could come here is looked at in every step: whoever makes one ready conflicts.
    for (let i = 0; i < tasks.length; i++) {
      const task = tasks[i]
      if (task.cpu === cpu || (this.migrationsLeft > 0 && canMigrate(task)) || task.cpuId === cpu.id) recorder.read(readyCells[i])
    }
    if (transition.next >= 0) this.switchTo(cpu, transition.next)
    else if (transition.preempts) this.leave(cpu)
    else this.goOn(cpu)
  }

  private goOn(cpu: HostCpu): void {
    const task = cpu.current!
    const index = this.tasks.indexOf(task)
    this.recorder.write(this.taskCells[index])
    cpu.needResched = false
    cpu.sliceLeft = Number.MAX_SAFE_INTEGER
    this.kernel.clock.allowance = Number.MAX_SAFE_INTEGER
    const progress = task.activity!.next()
    if (progress.done === true) {
      this.finished[index] = true
      this.leave(cpu)
    } else if (progress.value !== PREEMPTION_POINT && task.state === 'sleeping') this.leave(cpu)
  }

  private leave(cpu: HostCpu): void {
    const task = cpu.current!
    this.recorder.write(this.readyCells[this.tasks.indexOf(task)])
    this.kernel.scheduler.leave(cpu, task)
  }

  private switchTo(cpu: HostCpu, next: number): void {
    const task = this.tasks[next]
    this.recorder.write(this.readyCells[next])
    if (task.cpuId !== cpu.id) {
      this.recorder.write(this.migrationCell)
      this.migrationsLeft--
    }
    if (cpu.current !== null) {
      // Straight to the next task: the idle thread does not come in between.
      cpu.queue.push(task)
      this.leave(cpu)
      cpu.queue.pop()
    }
    this.clockIsWatched = false
    this.kernel.scheduler.switchTo(cpu, task)
    this.clockIsWatched = true
  }

  private check(): void {
    for (const { id, name, check } of this.model.invariants) {
      const because = check()
      if (because === null) continue
      this.violation = { id, invariant: name, because }
      return
    }
  }

  forgive(): void {
    this.violation = null
  }

  describe(): Values {
    return this.model.describe()
  }
}

const canMigrate = ({ affinity }: Task): boolean => (affinity & (affinity - 1)) !== 0
