import type { VcpuCostSource } from '../../linux/costs.ts'
import { guestImageBytes } from '../../linux/fpu/door.ts'
import type { PinnedProcessor } from '../../linux/processor.ts'
import type { PreemptNotifier, Task } from '../../linux/task.ts'
import type { Vcpu } from './vcpu.ts'

/**
 * A vCPU on a processor: vcpu_load() and vcpu_put(), also when the scheduler takes the processor from the task in KVM_RUN and
 * gives it back; and what the vCPU costs.
 */
export class VcpuResidency implements PreemptNotifier, VcpuCostSource {
  private readonly vcpu: Vcpu

  constructor(vcpu: Vcpu) {
    this.vcpu = vcpu
  }

  /** An ioctl of the vCPU begins: `task` has it until `put`, and while it is scheduled out the processor has nothing of it. */
  load(task: Task): void {
    this.arrive()
    task.preemptNotifier = this
  }
  /** It ends. What KVM_RUN left on the processor has left it by now (`leave`). */
  put(task: Task): void {
    task.preemptNotifier = null
    this.depart()
  }

  schedIn(_cpu: PinnedProcessor): void {
    this.arrive()
  }
  schedOut(cpu: PinnedProcessor, _preempted: boolean): void {
    this.leave(cpu)
    this.depart()
  }

  /** The vCPU is on a processor from here to `depart`. */
  arrive(): void {
    this.vcpu.vm.kvm.kernel.costs.vcpuLoads++
  }
  depart(): void {
    this.vcpu.vm.kvm.kernel.costs.vcpuPuts++
  }

  /**
   * What a vCPU leaves on the processor between two VM entries, and no longer than it is there: its split-lock setting (SLD §6), and
   * what KVM switches by hand. Both are loaded again at the next VM entry.
   */
  leave(cpu: PinnedProcessor): void {
    this.vcpu.splitLock?.put(cpu)
    this.vcpu.supervisorSsp.leave(cpu)
  }

  get pid(): number {
    return this.vcpu.vm.ownerPid
  }
  get id(): number {
    return this.vcpu.id
  }
  get imageBytes(): number {
    return guestImageBytes(this.vcpu.guestFpu)
  }
  get byHandBytes(): number {
    return this.vcpu.supervisorSsp.bytes
  }
}
