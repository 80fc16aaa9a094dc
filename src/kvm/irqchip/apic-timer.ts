import type { Clock, Timer } from '../../linux/clock.ts'
import * as R from './apic-registers.ts'
import type { Lapic } from './lapic.ts'

/** The APIC timer: one-shot, periodic and TSC-deadline. KAPI-65. */
export class ApicTimer {
  private readonly apic: Lapic
  private readonly clock: Clock
  private armed: Timer | null = null
  /** Virtual time in ns when the count reaches zero; 0 = not running. */
  private expiry = 0
  private periodNs = 0
  private divide = 2
  /** Guest TSC of IA32_TSC_DEADLINE, 0n = disarmed. */
  deadlineTsc = 0n
  /** LVTT mode bits the guest may set: TSC-deadline needs its CPUID bit. */
  modeMask = R.APIC_LVT_TIMER_PERIODIC
  /** LVTT mode in force. */
  private mode = 0

  constructor(apic: Lapic, clock: Clock) {
    this.apic = apic
    this.clock = clock
  }

  get isDeadlineMode(): boolean {
    return this.mode === R.APIC_LVT_TIMER_TSCDEADLINE
  }

  cancel(): void {
    if (this.armed !== null) this.clock.cancel(this.armed)
    this.armed = null
  }

  /** TDCR 0 -> 2, 1 -> 4, 2 -> 8, 3 -> 16, 8 -> 32, 9 -> 64, A -> 128, B -> 1. */
  updateDivide(): void {
    const tdcr = this.apic.get(R.APIC_TDCR)
    const shift = ((tdcr & 3) | ((tdcr & 8) >> 1)) + 1
    this.divide = 1 << (shift & 7)
  }

  /** LVTT changed its mode: a change into or out of deadline mode stops the timer. */
  updateMode(): void {
    const mode = this.apic.get(R.APIC_LVTT) & this.modeMask
    if (mode === this.mode) return
    if (mode === R.APIC_LVT_TIMER_TSCDEADLINE || this.mode === R.APIC_LVT_TIMER_TSCDEADLINE) {
      this.cancel()
      this.apic.put(R.APIC_TMICT, 0)
      this.expiry = 0
      this.deadlineTsc = 0n
    }
    this.mode = mode
  }

  writeInitialCount(value: number): void {
    if (this.isDeadlineMode) return
    this.cancel()
    this.apic.put(R.APIC_TMICT, value)
    this.start(value)
  }

  writeDivide(value: number): void {
    const left = this.currentCount()
    this.apic.put(R.APIC_TDCR, value)
    const old = this.divide
    this.updateDivide()
    if (this.divide === old || this.expiry === 0) return
    this.cancel()
    this.periodNs = this.nsOf(this.apic.get(R.APIC_TMICT))
    this.arm(this.clock.now + this.nsOf(left))
  }

  /** Starts from `count` ticks left; the period is TMICT's. */
  private start(count: number): void {
    const initial = this.apic.get(R.APIC_TMICT)
    this.expiry = 0
    if (initial === 0) return
    this.periodNs = this.nsOf(initial)
    this.arm(this.clock.now + this.nsOf(count))
  }

  /** KVM_SET_LAPIC: goes on from the current count in the page (KAPI-63). */
  restart(currentCount: number): void {
    this.cancel()
    this.mode = this.apic.get(R.APIC_LVTT) & this.modeMask
    this.updateDivide()
    if (this.isDeadlineMode) this.armDeadline()
    else this.start(currentCount === 0 ? this.apic.get(R.APIC_TMICT) : currentCount)
  }

  private nsOf(ticks: number): number {
    return ticks * this.divide * this.apic.vcpu.vm.apicBusCycleNs
  }

  private arm(deadline: number): void {
    this.expiry = deadline
    this.armed = this.clock.arm(deadline, () => this.expired())
  }

  private expired(): void {
    this.armed = null
    const { expiry } = this
    if (this.mode === R.APIC_LVT_TIMER_PERIODIC && this.periodNs > 0) this.arm(expiry + this.periodNs)
    else this.expiry = 0
    if (this.isDeadlineMode) this.deadlineTsc = 0n
    this.apic.deliverLocal(R.APIC_LVTT)
  }

  currentCount(): number {
    if (this.expiry === 0 || this.isDeadlineMode) return 0
    const left = Math.max(0, this.expiry - this.clock.now)
    return Math.floor(left / (this.divide * this.apic.vcpu.vm.apicBusCycleNs)) >>> 0
  }

  /** IA32_TSC_DEADLINE; ignored outside deadline mode. */
  writeDeadline(tsc: bigint): void {
    if (!this.isDeadlineMode) return
    this.cancel()
    this.deadlineTsc = tsc
    this.armDeadline()
  }

  private armDeadline(): void {
    this.expiry = 0
    if (this.deadlineTsc === 0n) return
    const { vcpu } = this.apic
    const left = this.deadlineTsc - vcpu.vm.guestTsc(vcpu)
    const ns = left <= 0n ? 0 : Math.ceil((Number(left) * 1e6) / vcpu.tscKhz)
    if (ns === 0) {
      this.expired()
      return
    }
    this.arm(this.clock.now + ns)
  }
}
