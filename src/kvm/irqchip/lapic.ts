import type { Clock } from '../../linux/clock.ts'
import { KVM_MP_STATE_INIT_RECEIVED, KVM_MP_STATE_RUNNABLE } from '../abi/exit-reasons.ts'
import { REQ_EVENT, type Vcpu } from '../vcpu/vcpu.ts'
import * as R from './apic-registers.ts'
import { ApicTimer } from './apic-timer.ts'
import { deliverToApics } from './delivery.ts'

/** Modes of IA32_APIC_BASE bits 11:10. */
export const LAPIC_MODE_DISABLED = 0
export const LAPIC_MODE_INVALID = R.X2APIC_ENABLE
export const LAPIC_MODE_XAPIC = R.MSR_IA32_APICBASE_ENABLE
export const LAPIC_MODE_X2APIC = R.MSR_IA32_APICBASE_ENABLE | R.X2APIC_ENABLE
export const apicMode = (base: number): number => base & LAPIC_MODE_X2APIC

/** Registers KVM lets be read (Linux 6.12 kvm_lapic_readable_reg_mask()), by offset. */
const READABLE = new Set<number>([
  R.APIC_ID,
  R.APIC_LVR,
  R.APIC_TASKPRI,
  R.APIC_PROCPRI,
  R.APIC_LDR,
  R.APIC_SPIV,
  R.APIC_ESR,
  R.APIC_ICR,
  R.APIC_LVTT,
  R.APIC_LVTTHMR,
  R.APIC_LVTPC,
  R.APIC_LVT0,
  R.APIC_LVT1,
  R.APIC_LVTERR,
  R.APIC_TMICT,
  R.APIC_TMCCT,
  R.APIC_TDCR,
])
for (let i = 0; i < 8; i++) for (const bank of [R.APIC_ISR, R.APIC_TMR, R.APIC_IRR]) READABLE.add(bank + i * 16)

/** One vCPU's in-kernel local APIC. KAPI-60..66; Linux 6.12 arch/x86/kvm/lapic.c. */
export class Lapic {
  readonly vcpu: Vcpu
  /** The register page: 32-bit register at offset o is word o / 4. */
  readonly regs = new Uint32Array(256)
  readonly timer: ApicTimer
  initPending = false
  sipiPending = false
  sipiVector = 0
  /** Arbitration priority of lowest-priority delivery: how often this APIC was chosen. */
  arbitrationPriority = 0

  constructor(vcpu: Vcpu, clock: Clock) {
    this.vcpu = vcpu
    this.timer = new ApicTimer(this, clock)
  }

  get(offset: number): number {
    return this.regs[offset >> 2]
  }
  put(offset: number, value: number): void {
    this.regs[offset >> 2] = value
  }

  get hardwareEnabled(): boolean {
    return (this.vcpu.apicBase & R.MSR_IA32_APICBASE_ENABLE) !== 0
  }
  get softwareEnabled(): boolean {
    return (this.get(R.APIC_SPIV) & R.APIC_SPIV_APIC_ENABLED) !== 0
  }
  get enabled(): boolean {
    return this.hardwareEnabled && this.softwareEnabled
  }
  get x2apic(): boolean {
    return apicMode(this.vcpu.apicBase) === LAPIC_MODE_X2APIC
  }
  /** Where the register page lies in xAPIC mode. */
  get baseAddress(): number {
    return this.vcpu.apicBase - (this.vcpu.apicBase % 4096)
  }
  get xapicId(): number {
    return this.get(R.APIC_ID) >>> 24
  }
  get destinationId(): number {
    return this.x2apic ? this.vcpu.id : this.xapicId
  }

  // ---- reset, mode ----

  /** RESET (creation) or INIT. KAPI-66; Linux 6.12 kvm_lapic_reset(). */
  reset(init: boolean): void {
    this.timer.cancel()
    if (!init) this.setXapicId(this.vcpu.id)
    this.setVersion()
    for (const lvt of this.lvtEntries) this.put(lvt.offset, R.APIC_LVT_MASKED)
    const { vm } = this.vcpu
    if (this.vcpu.isBsp && vm.hasQuirk(0 /* LINT0_REENABLED */)) this.put(R.APIC_LVT0, R.APIC_DM_EXTINT)
    this.put(R.APIC_DFR, R.APIC_DFR_FLAT)
    this.put(R.APIC_SPIV, 0xff)
    this.put(R.APIC_TASKPRI, 0)
    if (!this.x2apic) this.put(R.APIC_LDR, 0)
    for (const offset of [R.APIC_ESR, R.APIC_ICR, R.APIC_ICR2, R.APIC_TDCR, R.APIC_TMICT]) this.put(offset, 0)
    for (let i = 0; i < 8; i++) for (const bank of [R.APIC_IRR, R.APIC_ISR, R.APIC_TMR]) this.put(bank + i * 16, 0)
    this.timer.updateDivide()
    this.vcpu.msrs.pvEoi = 0n
    this.updatePpr()
    this.arbitrationPriority = 0
  }

  /** LVT entries this APIC has: LVTCMCI only with MCG_CMCI_P (KAPI-121). */
  get lvtEntries(): readonly { offset: number; writable: number }[] {
    return this.vcpu.msrs.mcgCap & (1n << 10n) ? R.LVT_ENTRIES : R.LVT_ENTRIES.slice(0, 6)
  }

  setVersion(): void {
    this.put(R.APIC_LVR, R.APIC_VERSION | ((this.lvtEntries.length - 1) << 16))
  }

  private setXapicId(id: number): void {
    this.put(R.APIC_ID, (id << 24) >>> 0)
  }

  /** The effects of a new IA32_APIC_BASE (already checked and stored). KAPI-63: switching modes sets the ID. */
  baseChanged(old: number, now: number): void {
    const changed = old ^ now
    if (changed & R.MSR_IA32_APICBASE_ENABLE && now & R.MSR_IA32_APICBASE_ENABLE) this.setXapicId(this.vcpu.id)
    if (changed & R.X2APIC_ENABLE) {
      if (now & R.X2APIC_ENABLE) {
        this.put(R.APIC_ID, this.vcpu.id)
        this.put(R.APIC_LDR, x2apicLdr(this.vcpu.id))
      } else if (now & R.MSR_IA32_APICBASE_ENABLE) this.setXapicId(this.vcpu.id)
    }
  }

  // ---- interrupt acceptance ----

  private testVector(bank: number, vector: number): boolean {
    return ((this.get(bank + (vector >> 5) * 16) >>> (vector & 31)) & 1) === 1
  }
  private setVector(bank: number, vector: number): void {
    const offset = bank + (vector >> 5) * 16
    this.put(offset, (this.get(offset) | (1 << (vector & 31))) >>> 0)
  }
  private clearVector(bank: number, vector: number): void {
    const offset = bank + (vector >> 5) * 16
    this.put(offset, (this.get(offset) & ~(1 << (vector & 31))) >>> 0)
  }
  private highest(bank: number): number {
    for (let word = 7; word >= 0; word--) {
      const bits = this.get(bank + word * 16)
      if (bits !== 0) return word * 32 + 31 - Math.clz32(bits)
    }
    return -1
  }

  /**
   * Delivers one interrupt message to this APIC. Linux 6.12 __apic_accept_irq().
   * @returns false when it was dropped (APIC off, de-assertion, unknown mode)
   */
  accept(deliveryMode: number, vector: number, level: boolean, levelTriggered: boolean): boolean {
    switch (deliveryMode) {
      case R.APIC_DM_LOWEST:
        this.arbitrationPriority++
        return this.acceptFixed(vector, level, levelTriggered)
      case R.APIC_DM_FIXED:
        return this.acceptFixed(vector, level, levelTriggered)
      case R.APIC_DM_REMRD:
        this.vcpu.pvUnhalted = true
        this.wake()
        return true
      case R.APIC_DM_NMI:
        this.vcpu.vm.injectNmi(this.vcpu)
        return true
      case R.APIC_DM_INIT:
        if (levelTriggered && !level) return false
        this.initPending = true
        this.sipiPending = false
        this.wake()
        return true
      case R.APIC_DM_STARTUP:
        this.sipiVector = vector
        this.sipiPending = true
        this.wake()
        return true
      default:
        return false
    }
  }

  private acceptFixed(vector: number, level: boolean, levelTriggered: boolean): boolean {
    if (levelTriggered && !level) return false
    if (!this.enabled) return false
    if (levelTriggered) this.setVector(R.APIC_TMR, vector)
    else this.clearVector(R.APIC_TMR, vector)
    this.setVector(R.APIC_IRR, vector)
    this.wake()
    return true
  }

  private wake(): void {
    this.vcpu.request(REQ_EVENT)
    this.vcpu.kick()
  }

  /** True when an LVT entry was unmasked and its interrupt went out. */
  deliverLocal(lvtOffset: number): boolean {
    const lvt = this.get(lvtOffset)
    if (!this.hardwareEnabled || lvt & R.APIC_LVT_MASKED) return false
    return this.accept(lvt & R.APIC_MODE_MASK, lvt & R.APIC_VECTOR_MASK, true, (lvt & R.APIC_LVT_LEVEL_TRIGGER) !== 0)
  }

  /** The PIC's INTR output reaches this CPU: LVT0 is unmasked ExtINT, or the APIC is off in hardware. */
  get acceptsPic(): boolean {
    const lvt0 = this.get(R.APIC_LVT0)
    if (!this.hardwareEnabled) return true
    return (lvt0 & R.APIC_LVT_MASKED) === 0 && (lvt0 & R.APIC_MODE_MASK) === R.APIC_DM_EXTINT
  }

  /** Highest vector that may interrupt now, -1 if none: above the processor priority. */
  pendingVector(): number {
    if (!this.hardwareEnabled) return -1
    this.updatePpr()
    const irr = this.highest(R.APIC_IRR)
    return irr >= 0 && (irr & 0xf0) > this.get(R.APIC_PROCPRI) ? irr : -1
  }

  /** The processor takes `vector`: from requested to in service. */
  acknowledge(vector: number): void {
    this.clearVector(R.APIC_IRR, vector)
    this.setVector(R.APIC_ISR, vector)
    this.updatePpr()
  }

  updatePpr(): void {
    const tpr = this.get(R.APIC_TASKPRI)
    const isr = this.highest(R.APIC_ISR)
    const isrv = isr < 0 ? 0 : isr
    const ppr = (tpr & 0xf0) >= (isrv & 0xf0) ? tpr & 0xff : isrv & 0xf0
    const old = this.get(R.APIC_PROCPRI)
    if (old === ppr) return
    this.put(R.APIC_PROCPRI, ppr)
    if (ppr < old) this.vcpu.request(REQ_EVENT)
  }

  private endOfInterrupt(): void {
    const vector = this.highest(R.APIC_ISR)
    if (vector < 0) return
    this.clearVector(R.APIC_ISR, vector)
    this.updatePpr()
    this.vcpu.vm.apicEoi(this.vcpu, vector, this.testVector(R.APIC_TMR, vector))
    this.vcpu.request(REQ_EVENT)
  }

  /** CR8 and the task priority register are one. */
  get cr8(): number {
    return (this.get(R.APIC_TASKPRI) & 0xf0) >> 4
  }
  setCr8(value: number): void {
    this.put(R.APIC_TASKPRI, ((value & 0xf) << 4) | (this.get(R.APIC_TASKPRI) & 4))
    this.updatePpr()
  }

  /** INIT and SIPI that arrived. KAPI-55; Linux 6.12 kvm_apic_accept_events(). */
  processInitSipi(): void {
    const { vcpu } = this
    if (vcpu.smm) {
      this.sipiPending = false
      return
    }
    if (this.initPending) {
      this.initPending = false
      vcpu.vm.resetVcpu(vcpu, true)
      vcpu.mpState = vcpu.isBsp ? KVM_MP_STATE_RUNNABLE : KVM_MP_STATE_INIT_RECEIVED
    }
    if (this.sipiPending) {
      this.sipiPending = false
      if (vcpu.mpState === KVM_MP_STATE_INIT_RECEIVED) {
        vcpu.vm.startAtSipiVector(vcpu, this.sipiVector)
        vcpu.mpState = KVM_MP_STATE_RUNNABLE
      }
    }
  }

  // ---- register access ----

  /** Value of the aligned 32-bit register at `offset`, -1 if it cannot be read. */
  read(offset: number): number {
    if (!this.readable(offset)) return -1
    if (offset === R.APIC_TMCCT) return this.timer.currentCount()
    if (offset === R.APIC_PROCPRI) this.updatePpr()
    return this.get(offset)
  }

  private readable(offset: number): boolean {
    if (offset === R.APIC_LVTCMCI) return this.lvtEntries.length > 6
    if (!this.x2apic && (offset === R.APIC_DFR || offset === R.APIC_ICR2)) return true
    return READABLE.has(offset)
  }

  /** Writes the register at `offset`; false if that is refused (x2APIC: #GP; xAPIC: ignored). */
  write(offset: number, value: number): boolean {
    const writer = WRITERS.get(offset)
    return writer === undefined ? false : writer(this, value >>> 0)
  }

  writeEoi(): boolean {
    this.endOfInterrupt()
    return true
  }

  setSpiv(value: number): void {
    this.put(R.APIC_SPIV, value)
    if (value & R.APIC_SPIV_APIC_ENABLED) {
      this.vcpu.request(REQ_EVENT)
      return
    }
    for (const lvt of this.lvtEntries) this.put(lvt.offset, (this.get(lvt.offset) | R.APIC_LVT_MASKED) >>> 0)
    this.timer.updateMode()
  }

  writeLvt(offset: number, value: number): boolean {
    const entry = this.lvtEntries.find((e) => e.offset === offset)
    if (entry === undefined) return false
    const masked = this.softwareEnabled ? value : value | R.APIC_LVT_MASKED
    const writable = offset === R.APIC_LVTT ? entry.writable | this.timer.modeMask : entry.writable
    this.put(offset, (masked & writable) >>> 0)
    if (offset === R.APIC_LVTT) this.timer.updateMode()
    return true
  }

  sendIpi(icrLow: number, icrHigh: number): void {
    deliverToApics(this.vcpu.vm, this, {
      vector: icrLow & R.APIC_VECTOR_MASK,
      deliveryMode: icrLow & R.APIC_MODE_MASK,
      logical: (icrLow & R.APIC_DEST_LOGICAL) !== 0,
      level: (icrLow & R.APIC_INT_ASSERT) !== 0,
      levelTriggered: (icrLow & R.APIC_INT_LEVELTRIG) !== 0,
      shorthand: icrLow & R.APIC_SHORT_MASK,
      destination: this.x2apic ? icrHigh >>> 0 : icrHigh >>> 24,
    })
  }
}

/** Logical ID of an x2APIC: cluster in bits 31:16, one bit of 16 below (SDM Vol. 3, 11.12.10.2). */
export const x2apicLdr = (id: number): number => (((id >>> 4) << 16) | (1 << (id & 0xf))) >>> 0

type RegisterWriter = (apic: Lapic, value: number) => boolean
const done = (_: unknown): true => true

/** What a write of each register does. Linux 6.12 kvm_lapic_reg_write(). */
const WRITERS = new Map<number, RegisterWriter>([
  [R.APIC_ID, (a, v) => !a.x2apic && done(a.put(R.APIC_ID, v & 0xff000000))],
  [R.APIC_TASKPRI, (a, v) => done((a.put(R.APIC_TASKPRI, v & 0xff), a.updatePpr()))],
  [R.APIC_EOI, (a) => a.writeEoi()],
  [R.APIC_LDR, (a, v) => !a.x2apic && done(a.put(R.APIC_LDR, v & 0xff000000))],
  [R.APIC_DFR, (a, v) => !a.x2apic && done(a.put(R.APIC_DFR, (v | 0x0fffffff) >>> 0))],
  [R.APIC_SPIV, (a, v) => done(a.setSpiv(v & 0x3ff))],
  [
    R.APIC_ICR,
    (a, v) => {
      const icr = (v & ~R.APIC_ICR_BUSY) >>> 0
      a.sendIpi(icr, a.get(R.APIC_ICR2))
      a.put(R.APIC_ICR, icr)
      return true
    },
  ],
  [R.APIC_ICR2, (a, v) => !a.x2apic && done(a.put(R.APIC_ICR2, v & 0xff000000))],
  ...R.LVT_ENTRIES.map(({ offset }): [number, RegisterWriter] => [offset, (a, v) => a.writeLvt(offset, v)]),
  [R.APIC_TMICT, (a, v) => done(a.timer.writeInitialCount(v))],
  [R.APIC_TDCR, (a, v) => done(a.timer.writeDivide(v & 0xb))],
  [R.APIC_ESR, (a, v) => !a.x2apic || v === 0],
  [R.APIC_SELF_IPI, (a, v) => a.x2apic && (v & ~0xff) === 0 && done(a.sendIpi(R.APIC_DEST_SELF | v, 0))],
])
