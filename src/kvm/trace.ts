import { msrName } from '../isa/msrs.ts'
import { xfeatureNames } from '../isa/xfeatures.ts'
import { guestXfd, uabiSize } from '../linux/fpu/door.ts'
import type { Kernel } from '../linux/kernel.ts'
import type { Task } from '../linux/task.ts'
import { CTL } from '../machine/execution-context.ts'
import { KVM_EXIT_NAMES } from './abi/exit-reasons.ts'
import { describeIoctl, type IoctlCall, type IoctlRow } from './ioctl-table.ts'
import type { Vcpu } from './vcpu/vcpu.ts'

type Values = Record<string, number | string>
const hex = (value: number | bigint): string => `0x${value.toString(16)}`

/** KVM's events, under the kernel's names where it has one (kvm_msr, kvm_fpu, kvm_exit …). */
export class KvmTrace {
  private readonly kernel: Kernel
  constructor(kernel: Kernel) {
    this.kernel = kernel
  }

  private emit(name: string, task: Task | null, values: Values): void {
    this.kernel.trace.event?.(name, task, values)
  }
  private ofVcpu(name: string, vcpu: Vcpu, values: Values): void {
    this.emit(name, vcpu.runner ?? vcpu.vm.kvm.callingTask, { vcpu: vcpu.id, ...values })
  }

  ioctl(row: IoctlRow<unknown>, call: IoctlCall, result: number): void {
    this.emit('kvm_ioctl', call.task, { ioctl: row.name, result, text: describeIoctl(row, call, result) })
  }
  vmCreated(task: Task): void {
    this.emit('kvm_create_vm', task, {})
  }
  vcpuCreated(vcpu: Vcpu): void {
    this.ofVcpu('kvm_create_vcpu', vcpu, { uabi_size: uabiSize(vcpu.guestFpu) })
  }
  guestStateEnlarged(vcpu: Vcpu): void {
    this.ofVcpu('fpu_guest_enlarged', vcpu, { uabi_size: uabiSize(vcpu.guestFpu) })
  }
  xfdWritten(vcpu: Vcpu, value: number): void {
    this.ofVcpu('kvm_xfd_write', vcpu, { xfd: hex(value), by: vcpu.runner === null ? 'host' : 'guest' })
  }
  xcr0Written(vcpu: Vcpu): void {
    this.ofVcpu('kvm_xcr0_write', vcpu, { xcr0: hex(vcpu.xcr0), components: xfeatureNames(vcpu.xcr0).join(' ') })
  }
  deviceNotAvailable(vcpu: Vcpu): void {
    this.ofVcpu('kvm_nm', vcpu, { xfd: hex(guestXfd(vcpu.guestFpu)), rip: hex(vcpu.context.rip) })
  }
  controlRegister(vcpu: Vcpu, cr: number): void {
    this.ofVcpu('kvm_cr', vcpu, { cr, value: hex(vcpu.context.ctl(cr === 4 ? CTL.CR4 : CTL.CR0)) })
  }
  msr(vcpu: Vcpu, isWrite: boolean, index: number, value: bigint): void {
    this.ofVcpu('kvm_msr', vcpu, { access: isWrite ? 'write' : 'read', msr: msrName(index), value: hex(value) })
  }
  interrupt(vcpu: Vcpu, vector: number): void {
    this.ofVcpu('kvm_inj_virq', vcpu, { vector })
  }
  userExit(vcpu: Vcpu, result: number): void {
    const { exitReason } = vcpu.run
    this.ofVcpu('kvm_userspace_exit', vcpu, { reason: result < 0 ? 'error' : (KVM_EXIT_NAMES[exitReason] ?? exitReason), result })
  }
}
