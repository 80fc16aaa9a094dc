import type { VcpuCostSource } from '../../linux/costs.ts'
import { guestImageBytes } from '../../linux/fpu/door.ts'
import type { PinnedProcessor } from '../../linux/processor.ts'
import type { PreemptNotifier } from '../../linux/task.ts'
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

  /** A vCPU ioctl begins. */
  load(): void {
    this.vcpu.vm.kvm.kernel.costs.vcpuLoads++
  }
  /** It ends. */
  put(): void {
    this.vcpu.vm.kvm.kernel.costs.vcpuPuts++
  }

  schedIn(_cpu: PinnedProcessor): void {
    this.load()
  }
  schedOut(cpu: PinnedProcessor, _preempted: boolean): void {
    this.leave(cpu)
    this.put()
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
