import { MSR_IA32_PL0_SSP } from '../../isa/msr-index.ts'
import { ensureRegistersLoaded, isLoaded, loadGuestFpu, putGuestFpu } from '../../linux/fpu/door.ts'
import { withPreemptionDisabled } from '../../linux/preemption.ts'
import type { PinnedProcessor } from '../../linux/processor.ts'
import type { Vcpu } from './vcpu.ts'

/** IA32_PL0_SSP to IA32_PL2_SSP. */
const REGISTERS = 3

/** Hardware access without BigInt, as a switch of vCPUs needs it. */
interface SspProcessor {
  /** WRMSR and RDMSR of IA32_PLn_SSP, n = 0..2. */
  wrmsrSsp(n: number, lo: number, hi: number): void
  rdmsrSsp(n: number, into: Int32Array, at: number): void
}

/**
 * The supervisor shadow-stack pointers of a vCPU, where the profile's design keeps them (CET §5). K and G: in its image as CET_S,
 * moved with everything else. M: here, three numbers in KVM's own structure, moved by MSR accesses: written at the first VM entry
 * after vcpu_load(), read back at vcpu_put(), so that exits KVM handles itself cost nothing (CET-40).
 */
export class SupervisorSsp {
  /** Design M. */
  readonly managed: boolean
  private readonly waitsForUse: boolean
  private readonly vcpu: Vcpu
  private readonly halves: Int32Array
  /** One of them has been written with something other than 0 (CET-41). */
  private used = false
  /** The processor's registers hold them. */
  private inRegisters = false

  constructor(vcpu: Vcpu) {
    const { cet } = vcpu.vm.kvm.profile
    this.vcpu = vcpu
    this.managed = cet.supervisorState === 'kvm-managed'
    this.waitsForUse = cet.managedStateWaitsForUse
    this.halves = new Int32Array(this.managed ? REGISTERS * 2 : 0)
  }

  /** Bytes that KVM keeps by hand. */
  get bytes(): number {
    return this.halves.byteLength
  }

  /** The guest reads and writes them without an exit. With CET-41 a first write must be seen. */
  get passThrough(): boolean {
    return this.vcpu.hasShadowStacks && !(this.managed && this.waitsForUse && !this.used)
  }

  /** Before a VM entry. */
  enter(cpu: PinnedProcessor): void {
    if (this.inRegisters || !this.managed || !this.passThrough) return
    const processor = cpu.processor as unknown as SspProcessor
    for (let n = 0; n < REGISTERS; n++) processor.wrmsrSsp(n, this.halves[n * 2], this.halves[n * 2 + 1])
    this.inRegisters = true
  }

  /** At vcpu_put(). The host uses none of them: PL1 and PL2 may keep what they have. */
  leave(cpu: PinnedProcessor): void {
    if (!this.inRegisters) return
    const processor = cpu.processor as unknown as SspProcessor
    for (let n = 0; n < REGISTERS; n++) processor.rdmsrSsp(n, this.halves, n * 2)
    processor.wrmsrSsp(0, 0, 0)
    this.inRegisters = false
  }

  /** For the guest (an access that exits) or the host. @param index IA32_PL0_SSP..PL2_SSP */
  read(index: number): bigint {
    const n = index - MSR_IA32_PL0_SSP
    if (!this.managed) return this.inImage((cpu) => cpu.processor.rdmsr(index))
    if (this.inRegisters) return withPreemptionDisabled(this.vcpu.runner!, (cpu) => cpu.processor.rdmsr(index))
    return BigInt.asUintN(64, (BigInt(this.halves[n * 2 + 1]) << 32n) | BigInt(this.halves[n * 2] >>> 0))
  }

  write(index: number, value: bigint): void {
    const n = index - MSR_IA32_PL0_SSP
    if (!this.managed) {
      this.inImage((cpu) => cpu.processor.wrmsr(index, value))
      return
    }
    this.halves[n * 2] = Number(value & 0xffffffffn) | 0
    this.halves[n * 2 + 1] = Number(value >> 32n) | 0
    if (value !== 0n) this.used = true
    if (this.inRegisters) withPreemptionDisabled(this.vcpu.runner!, (cpu) => cpu.processor.wrmsr(index, value))
  }

  /** The registers are the guest's inside KVM_RUN; outside the image is loaded around the access (CET-13). */
  private inImage<T extends bigint | number>(access: (cpu: PinnedProcessor) => T): T {
    const { vcpu } = this
    const { runner } = vcpu
    return withPreemptionDisabled(runner ?? vcpu.vm.kvm.callingTask!, (cpu) => {
      if (runner !== null || isLoaded(vcpu.guestFpu)) {
        ensureRegistersLoaded(cpu)
        return access(cpu)
      }
      loadGuestFpu(cpu, vcpu.guestFpu)
      const result = access(cpu)
      putGuestFpu(cpu, vcpu.guestFpu)
      return result
    })
  }
}
