import type { Kernel } from '../../linux/kernel.ts'
import { HostOops } from '../../linux/oops.ts'
import { PREEMPTION_POINT, type Preemptible } from '../../linux/preemption.ts'
import type { HostCpu } from '../../linux/processor.ts'
import type { Task } from '../../linux/task.ts'
import { PHYSICAL_BASE } from '../../machine/memory-map.ts'
import { type Accesses, newAccesses, type Recorder } from './accesses.ts'
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
  readonly describe: () => Values
}

const CLOCK = 'clock'

/** What an oops breaks. The host itself sees it: there is nothing to look at after a step. */
export const HOST_GOES_ON: Invariant = { id: 'host-goes-on', name: 'the host kernel goes on', check: () => null }

/**
 * A host as a system to enumerate: each processor runs its task up to the next place where it may lose it, or changes to another
 * task there; the clock lets the next timer come due. Tasks are switched by the kernel's own scheduler code.
 */
export class HostSystem implements System {
  readonly processes: readonly string[]
  violation: Violation | null = null
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
  /** Statistics of the scheduler ask for the time too: that is no access worth an order. */
  private clockIsWatched = true
  private readonly finished: boolean[]
  private readonly touched: number
  private migrationsLeft = 0
  private readonly oopsCounts: boolean
  /** After an oops that does not count nothing happens any more. */
  private isDead = false

  constructor(model: HostModel) {
    const { kernel, recorder, actors } = model
    this.model = model
    this.oopsCounts = model.invariants.includes(HOST_GOES_ON)
    this.kernel = kernel
    this.recorder = recorder
    this.processes = [...kernel.cpus.map((cpu) => `cpu${cpu.id}`), CLOCK]
    this.cpuCells = kernel.cpus.map((cpu) => recorder.cell(`cpu${cpu.id}`))
    this.taskCells = actors.map(({ name }) => recorder.cell(name))
    this.readyCells = actors.map(({ name }) => recorder.cell(`${name} is ready`))
    this.clockCell = recorder.cell(CLOCK)
    this.migrationCell = recorder.cell('migrations left')
    this.watchClock()
    this.finished = actors.map(() => false)
    kernel.yieldsEverywhere = true
    // A task that wakes is ready; where it runs is a choice.
    kernel.scheduler.enqueue = (task) => this.becameReady(task)
    const tasks = actors.map(({ task }) => task)
    for (const task of tasks) this.park(task)
    this.objects = new ObjectSnapshot([
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
    ])
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

  private indexOf(task: Task): number {
    return this.model.actors.findIndex((actor) => actor.task === task)
  }

  private becameReady(task: Task): void {
    const index = this.indexOf(task)
    if (index >= 0) this.recorder.write(this.readyCells[index])
  }

  // ---- what can happen ----

  enabled(): readonly Transition[] {
    if (this.violation !== null || this.isDead) return []
    const transitions: Transition[] = []
    for (const cpu of this.kernel.cpus) {
      const { current } = cpu
      if (current !== null) transitions.push({ process: cpu.id, choice: 'go on', preempts: false })
      for (const [index, { name, task }] of this.model.actors.entries()) {
        if (this.mayRun(index, cpu)) transitions.push({ process: cpu.id, choice: `run ${name}`, preempts: current !== null })
        // Out of the way for a processor that takes it elsewhere.
        else if (task === current && this.migrationsLeft > 0 && this.canMigrate(task))
          transitions.push({ process: cpu.id, choice: 'idle', preempts: true })
      }
    }
    if (this.kernel.clock.nextDeadline !== Number.POSITIVE_INFINITY)
      transitions.push({ process: this.kernel.cpus.length, choice: 'timer', preempts: false })
    return transitions
  }

  private mayRun(index: number, cpu: HostCpu): boolean {
    const { task } = this.model.actors[index]
    if (this.finished[index] || task.cpu !== null || task.state !== 'runnable') return false
    if (((task.affinity >>> cpu.id) & 1) === 0) return false
    return task.cpuId === cpu.id || this.migrationsLeft > 0
  }
  private canMigrate(task: Task): boolean {
    return (task.affinity & (task.affinity - 1)) !== 0
  }

  /** An idle processor would run a task, had there been one. */
  blocked(): { process: number; accesses: Accesses }[] {
    return this.kernel.cpus
      .filter(({ current }) => current === null)
      .map(({ id }) => {
        const accesses = newAccesses()
        for (const [index, { task }] of this.model.actors.entries()) {
          const cell = this.readyCells[index]
          if (!this.finished[index] && (task.affinity >>> id) & 1) accesses.writes[cell >>> 5] |= 1 << (cell & 31)
        }
        return { process: id, accesses }
      })
  }

  // ---- one step ----

  execute({ process, choice }: Transition, isKnown = false): Accesses {
    const { recorder, kernel } = this
    recorder.begin()
    try {
      if (process === kernel.cpus.length) this.fireTimer()
      else this.stepCpu(kernel.cpus[process], choice)
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

  private fireTimer(): void {
    const { clock } = this.kernel
    this.recorder.write(this.clockCell)
    clock.skipTo(clock.nextDeadline)
  }

  private stepCpu(cpu: HostCpu, choice: string): void {
    const { recorder } = this
    recorder.write(this.cpuCells[cpu.id])
    if (this.model.migrations > 0) recorder.read(this.migrationCell)
    // Which tasks could come here is looked at in every step: whoever makes one ready conflicts.
    for (const [index, { task }] of this.model.actors.entries())
      if (task.cpu === cpu || (this.migrationsLeft > 0 && this.canMigrate(task)) || task.cpuId === cpu.id)
        recorder.read(this.readyCells[index])
    if (choice === 'go on') this.goOn(cpu, cpu.current!)
    else if (choice === 'idle') this.leave(cpu)
    else this.switchTo(cpu, this.model.actors.find(({ name }) => choice === `run ${name}`)!.task)
  }

  private goOn(cpu: HostCpu, task: Task): void {
    const index = this.indexOf(task)
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
    this.recorder.write(this.readyCells[this.indexOf(task)])
    this.kernel.scheduler.leave(cpu, task)
  }

  private switchTo(cpu: HostCpu, task: Task): void {
    this.recorder.write(this.readyCells[this.indexOf(task)])
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
