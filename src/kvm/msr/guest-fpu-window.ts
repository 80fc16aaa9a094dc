import { withPreemptionDisabled } from '../../linux/preemption.ts'
import type { Task } from '../../linux/task.ts'
import { loadGuestRegisters, putGuestRegisters } from '../vcpu/guest-registers.ts'
import type { Vcpu } from '../vcpu/vcpu.ts'
import { isInGuestFpu } from './cet.ts'

/** Swaps the guest FPU in at the first MSR of an ioctl that is reached in the registers, once. GFPU-09, CET-13. */
export class GuestFpuWindow {
  private readonly vcpu: Vcpu
  private readonly task: Task
  private isOpen = false

  constructor(vcpu: Vcpu, task: Task) {
    this.vcpu = vcpu
    this.task = task
  }

  /** Before each access. */
  reaches(index: number): void {
    if (this.isOpen || !isInGuestFpu(this.vcpu, index)) return
    withPreemptionDisabled(this.task, loadGuestRegisters, this.vcpu)
    this.isOpen = true
  }

  close(): void {
    if (this.isOpen) withPreemptionDisabled(this.task, putGuestRegisters, this.vcpu)
  }
}

/** Runs the accesses of one ioctl. They do not sleep. */
export function withGuestFpuForMsrs(vcpu: Vcpu, task: Task, accesses: (window: GuestFpuWindow) => number): number {
  const window = new GuestFpuWindow(vcpu, task)
  const result = accesses(window)
  window.close()
  return result
}
