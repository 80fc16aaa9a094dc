import type { Kernel } from '../linux/kernel.ts'
import { CTL } from '../machine/execution-context.ts'
import { REQ_CLOCK_UPDATE, type Vcpu } from './vcpu/vcpu.ts'

const MASK64 = 0xffff_ffff_ffff_ffffn
/** KVM_GET_CLOCK and KVM_SET_CLOCK flags. KAPI-95. */
export const KVM_CLOCK_TSC_STABLE = 2
export const KVM_CLOCK_REALTIME = 4
export const KVM_CLOCK_HOST_TSC = 8
export const KVM_CLOCK_VALID_FLAGS = 0xe

/** Time of one VM: its guests' TSC offsets and its paravirtual clock. KAPI-91..97. */
export class VmClock {
  private readonly kernel: Kernel
  private readonly hostTscKhz: number
  /** kvmclock = host ns + offset. */
  private offsetNs: number
  /** The last TSC value written by user space: generation of vCPUs that share an offset (KAPI-93). */
  private lastTscWrite = 0n
  private lastTscNs = 0
  private generationOffset = 0n
  private hasGeneration = false
  userSetTsc = false

  constructor(kernel: Kernel) {
    this.kernel = kernel
    this.hostTscKhz = kernel.model.tscKhz
    this.offsetNs = -kernel.clock.now
  }

  /** The host's TSC now. */
  hostTsc(): bigint {
    return BigInt(this.kernel.machine.processors[0].tsc())
  }

  /** ns of the VM's paravirtual clock. */
  now(): number {
    return this.kernel.clock.now + this.offsetNs
  }
  set(ns: number): void {
    this.offsetNs = ns - this.kernel.clock.now
  }
  /** Real time (ns) at which the VM's clock was 0. */
  wallClockOfZero(): number {
    return this.kernel.realTime() - this.now()
  }
  realTime(): number {
    return this.kernel.realTime()
  }

  guestTsc(vcpu: Vcpu): bigint {
    return (this.scaled(this.hostTsc(), vcpu.tscKhz) + vcpu.tscOffset) & MASK64
  }
  private scaled(tsc: bigint, khz: number): bigint {
    return khz === this.hostTscKhz || khz === 0 ? tsc : (tsc * BigInt(khz)) / BigInt(this.hostTscKhz)
  }

  setOffset(vcpu: Vcpu, offset: bigint): void {
    vcpu.tscOffset = offset & MASK64
    vcpu.context.setCtl64(CTL.TSC_OFFSET, vcpu.tscOffset)
    vcpu.request(REQ_CLOCK_UPDATE)
  }
  /** A guest write of TSC or TSC_ADJUST moves its TSC by `delta`. */
  moveGuestTsc(vcpu: Vcpu, delta: bigint): void {
    this.setOffset(vcpu, vcpu.tscOffset + delta)
  }

  /** A rate other than the host's: RDTSC exits and is computed. */
  setRate(vcpu: Vcpu, khz: number): void {
    vcpu.tscKhz = khz
    vcpu.vmcs.controls.rdtscExiting = khz !== this.hostTscKhz
    vcpu.request(REQ_CLOCK_UPDATE)
  }

  /**
   * A TSC value from user space. Linux 6.12 kvm_synchronize_tsc(): 0 joins the VM's generation, which starts at creation; so
   * does a value within a second of what the generation shows, once user space has written one. Else a new generation begins.
   */
  synchronizeTsc(vcpu: Vcpu, value: bigint): void {
    const now = this.kernel.clock.now
    const offset = (value - this.scaled(this.hostTsc(), vcpu.tscKhz)) & MASK64
    let joins = false
    if (value === 0n) joins = this.hasGeneration
    else {
      if (this.userSetTsc && this.hasGeneration) {
        const elapsed = BigInt(Math.floor(((now - this.lastTscNs) * vcpu.tscKhz) / 1e6))
        const expected = this.lastTscWrite + elapsed
        const distance = value > expected ? value - expected : expected - value
        joins = distance < BigInt(vcpu.tscKhz) * 1000n
      }
      this.userSetTsc = true
    }
    if (!joins) {
      this.generationOffset = offset
      this.hasGeneration = true
    }
    this.lastTscWrite = joins ? (this.scaled(this.hostTsc(), vcpu.tscKhz) + this.generationOffset) & MASK64 : value
    this.lastTscNs = now
    this.setOffset(vcpu, this.generationOffset)
  }
}
