import type { HostMachine } from './hardware.ts'
import { type HostCpu, type PinnedProcessor, pinnedProcessor } from './processor.ts'

export interface Timer {
  /** Virtual time in ns. */
  deadline: number
  readonly run: () => void
  /** Position in the heap, -1 = not armed. */
  index: number
  /** Order among equal deadlines. */
  sequence: number
}

/**
 * Virtual time. It advances by retired instructions (`instructionsPerMicrosecond` of the CPU model), of all processors
 * together (the machine counts them), and jumps when every task sleeps. Times are ns since boot.
 */
export class Clock {
  readonly instructionsPerMicrosecond: number
  private readonly machine: HostMachine
  private readonly heap: Timer[] = []
  private sequence = 0
  /** Instructions the driver still allows in this slice of the outer loop. */
  allowance = 0

  constructor(machine: HostMachine, instructionsPerMicrosecond: number) {
    this.machine = machine
    this.instructionsPerMicrosecond = instructionsPerMicrosecond
  }

  /** The clock in its own unit: instructions retired since the machine was made plus the time slept through. */
  get instructions(): number {
    return this.machine.retired + this.machine.idle
  }

  /** Nanoseconds since boot. */
  get now(): number {
    return Math.floor((this.instructions * 1000) / this.instructionsPerMicrosecond)
  }

  /** Instructions after which `now` has reached `deadline`. */
  private instructionsUntil(deadline: number): number {
    return Math.ceil((deadline * this.instructionsPerMicrosecond) / 1000) - this.instructions
  }

  /** Runs `run` once when virtual time has reached `deadline`, between instructions of whatever runs then. */
  arm(deadline: number, run: () => void): Timer {
    const timer: Timer = { deadline, run, index: this.heap.length, sequence: this.sequence++ }
    this.heap.push(timer)
    this.up(timer.index)
    return timer
  }

  /**
   * Work on a given processor, interrupting whoever runs there then; on another one if that is offline then, as its workers are bound
   * to nothing meanwhile. Linux: schedule_delayed_work_on(), kernel/workqueue.c unbind_workers().
   */
  armOn(cpu: HostCpu, deadline: number, run: (cpu: PinnedProcessor) => void): Timer {
    return this.arm(deadline, () => run(pinnedProcessor(cpu.isOnline ? cpu : firstOnline(cpu.kernel.cpus))))
  }

  cancel(timer: Timer): void {
    const { index } = timer
    if (index < 0) return
    timer.index = -1
    const last = this.heap.pop()!
    if (last === timer) return
    this.heap[index] = last
    last.index = index
    this.up(index)
    this.down(last.index)
  }

  /** Deadline of the next timer, Infinity if none. */
  get nextDeadline(): number {
    return this.heap.length === 0 ? Number.POSITIVE_INFINITY : this.heap[0].deadline
  }

  budget(cpu: HostCpu): number {
    let budget = Math.min(cpu.sliceLeft, this.allowance)
    if (this.heap.length > 0) budget = Math.min(budget, this.instructionsUntil(this.heap[0].deadline))
    return budget < 1 ? 1 : budget
  }

  account(cpu: HostCpu, instructions: number): void {
    this.allowance -= instructions
    cpu.sliceLeft -= instructions
    if (cpu.sliceLeft <= 0 || this.allowance <= 0) cpu.needResched = true
    if (this.heap.length > 0) this.runDue()
  }

  /** Runs every timer that is due. */
  runDue(): void {
    while (this.heap.length > 0 && this.instructionsUntil(this.heap[0].deadline) <= 0) {
      const timer = this.heap[0]
      this.cancel(timer)
      timer.run()
    }
  }

  /** Everybody sleeps: lets time pass up to `deadline` and runs what is due then. */
  skipTo(deadline: number): void {
    const instructions = this.instructionsUntil(deadline)
    if (instructions > 0) this.machine.idle += instructions
    this.runDue()
  }

  private before(a: Timer, b: Timer): boolean {
    return a.deadline < b.deadline || (a.deadline === b.deadline && a.sequence < b.sequence)
  }

  private up(from: number): void {
    const { heap } = this
    let index = from
    while (index > 0) {
      const parent = (index - 1) >> 1
      if (!this.before(heap[index], heap[parent])) return
      this.swap(index, parent)
      index = parent
    }
  }

  private down(from: number): void {
    const { heap } = this
    let index = from
    for (;;) {
      const left = index * 2 + 1
      if (left >= heap.length) return
      const child = left + 1 < heap.length && this.before(heap[left + 1], heap[left]) ? left + 1 : left
      if (!this.before(heap[child], heap[index])) return
      this.swap(index, child)
      index = child
    }
  }

  private swap(a: number, b: number): void {
    const { heap } = this
    const x = heap[a]
    heap[a] = heap[b]
    heap[b] = x
    heap[a].index = a
    x.index = b
  }
}

const firstOnline = (cpus: readonly HostCpu[]): HostCpu => cpus.find((cpu) => cpu.isOnline)!
