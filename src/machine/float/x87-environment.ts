import { X87_FDP, X87_FIP, X87_FOP } from '../memory-map.ts'
import { EXCEPTIONS } from './mxcsr.ts'
import { FCW_INIT, FSW_B, FSW_C1, FSW_ES, FSW_SF, X87_FAULT_MF, X87_OK } from './x87-state.ts'
import { X87Transcendental } from './x87-transcendental.ts'

/**
 * Layout of the x87 environment in memory, by operand size and mode (SDM Vol. 1 Figures 8-9 to 8-12). 64-bit mode uses the
 * protected-mode ones.
 */
export const ENVIRONMENT_PROTECTED_32 = 0
export const ENVIRONMENT_PROTECTED_16 = 1
export const ENVIRONMENT_REAL_32 = 2
export const ENVIRONMENT_REAL_16 = 3

/** Control instructions. */
export class X87Environment extends X87Transcendental {
  fninit(): number {
    this.fcw = FCW_INIT
    this.fsw = 0
    this.abridgedTags = 0
    this.setPointers(0, 0, 0)
    return X87_OK
  }

  fnclex(): number {
    this.fsw &= ~(EXCEPTIONS | FSW_SF | FSW_ES | FSW_B)
    return X87_OK
  }

  fldcw(mem: number): number {
    if (this.pending) return X87_FAULT_MF
    this.setControl(this.u16[mem >> 1])
    return X87_OK
  }

  fnstcw(mem: number): number {
    this.u16[mem >> 1] = this.fcw
    this.stored = 2
    return X87_OK
  }

  /** FNSTSW m16; for FNSTSW AX the caller takes the word from `mem`. */
  fnstsw(mem: number): number {
    this.u16[mem >> 1] = this.fsw
    this.stored = 2
    return X87_OK
  }

  /** FWAIT */
  fwait(): number {
    return this.pending ? X87_FAULT_MF : X87_OK
  }

  fincstp(): number {
    return this.rotate(1)
  }

  fdecstp(): number {
    return this.rotate(-1)
  }

  private rotate(by: number): number {
    if (this.pending) return X87_FAULT_MF
    this.setCondition(0, FSW_C1)
    this.top = this.top + by
    return X87_OK
  }

  /** FFREE ST(i), and FFREEP with `pop`. */
  ffree(i: number, pop: boolean): number {
    if (this.pending) return X87_FAULT_MF
    this.setCondition(0, FSW_C1)
    this.markEmpty(i)
    if (pop) this.pop()
    return X87_OK
  }

  fxch(i: number): number {
    if (this.pending) return X87_FAULT_MF
    this.setCondition(0, FSW_C1)
    const first = this.isEmpty(0)
    const second = this.isEmpty(i)
    if (first || second) {
      // Masked: an empty register counts as the indefinite.
      if (this.stackUnderflow()) return X87_OK
      if (first) this.write(0)
      if (second) {
        this.setIndefinite()
        this.write(i)
      }
    }
    this.take(0)
    const { se, hi, lo } = this
    this.take(i)
    this.write(0)
    this.setResult(se, hi, lo)
    this.write(i)
    return X87_OK
  }

  /** FCMOVcc ST(0), ST(i); the caller tests the condition. */
  fcmov(i: number, condition: boolean): number {
    if (this.pending) return X87_FAULT_MF
    if (this.isEmpty(0) || this.isEmpty(i)) {
      if (!this.stackUnderflow()) this.write(0)
      return X87_OK
    }
    if (!condition) return X87_OK
    this.take(i)
    this.write(0)
    return X87_OK
  }

  // ---- environment and state images ----

  /** Bytes of the environment, and of the state image with its eight registers. */
  static environmentSize(layout: number): number {
    return layout === ENVIRONMENT_PROTECTED_32 || layout === ENVIRONMENT_REAL_32 ? 28 : 14
  }

  /** FNSTENV: stores the environment, then masks all exceptions. */
  fnstenv(mem: number, layout: number): number {
    this.storeEnvironment(mem, layout)
    this.fcw |= EXCEPTIONS
    this.updateSummary()
    return X87_OK
  }

  fldenv(mem: number, layout: number): number {
    if (this.pending) return X87_FAULT_MF
    this.loadEnvironment(mem, layout)
    return X87_OK
  }

  /** FNSAVE: environment, ST(0) .. ST(7) in 10 bytes each, then FNINIT. */
  fnsave(mem: number, layout: number): number {
    this.storeEnvironment(mem, layout)
    const size = X87Environment.environmentSize(layout)
    for (let i = 0; i < 8; i++) this.u8.copyWithin(mem + size + 10 * i, this.offsetOf(i), this.offsetOf(i) + 10)
    this.stored = size + 80
    return this.fninit()
  }

  frstor(mem: number, layout: number): number {
    if (this.pending) return X87_FAULT_MF
    this.loadEnvironment(mem, layout)
    const size = X87Environment.environmentSize(layout)
    for (let i = 0; i < 8; i++) this.u8.copyWithin(this.offsetOf(i), mem + size + 10 * i, mem + size + 10 * i + 10)
    return X87_OK
  }

  private setControl(value: number): void {
    // Reserved bits read as 0, bit 6 as 1.
    this.fcw = (value & 0x1f3f) | 0x40
    this.updateSummary()
  }

  private setPointers(fop: number, fip: number, fdp: number): void {
    this.u16[(this.base + X87_FOP) >> 1] = fop
    this.i32[(this.base + X87_FIP) >> 2] = fip
    this.i32[(this.base + X87_FIP + 4) >> 2] = 0
    this.i32[(this.base + X87_FDP) >> 2] = fdp
    this.i32[(this.base + X87_FDP + 4) >> 2] = 0
  }

  /** The selectors FCS and FDS are stored as 0: CPUID.(7,0):EBX[13] is 1 on every processor modelled. */
  private storeEnvironment(mem: number, layout: number): void {
    const wide = X87Environment.environmentSize(layout) === 28
    const fip = this.i32[(this.base + X87_FIP) >> 2]
    const fdp = this.i32[(this.base + X87_FDP) >> 2]
    const fop = this.u16[(this.base + X87_FOP) >> 1]
    const words = [this.fcw, this.fsw, this.tags]
    if (layout === ENVIRONMENT_PROTECTED_32) words.push(fip, fop << 16, fdp, 0)
    else if (layout === ENVIRONMENT_PROTECTED_16) words.push(fip, 0, fdp, 0)
    else words.push(fip & 0xffff, ((fip >>> 16) << 12) | fop, fdp & 0xffff, (fdp >>> 16) << 12)
    for (let i = 0; i < 7; i++) {
      // The unused upper halves of 32-bit slots hold ones.
      const ones = i < 3 || i === 6 || (layout === ENVIRONMENT_REAL_32 && (i === 3 || i === 5))
      if (!wide) this.u16[(mem >> 1) + i] = words[i]
      else this.i32[(mem >> 2) + i] = words[i] | (ones && (i !== 6 || layout === ENVIRONMENT_PROTECTED_32) ? 0xffff0000 : 0)
    }
    this.stored = wide ? 28 : 14
  }

  private loadEnvironment(mem: number, layout: number): void {
    const wide = X87Environment.environmentSize(layout) === 28
    const word = (i: number) => (wide ? this.i32[(mem >> 2) + i] : this.u16[(mem >> 1) + i])
    let fip = word(3)
    let fdp = word(5)
    let fop = 0
    if (layout === ENVIRONMENT_PROTECTED_32) {
      fop = (word(4) >>> 16) & 0x7ff
    } else if (layout >= ENVIRONMENT_REAL_32) {
      fop = word(4) & 0x7ff
      fip = (fip & 0xffff) | ((word(4) >>> 12) << 16)
      fdp = (fdp & 0xffff) | ((word(6) >>> 12) << 16)
    }
    this.setPointers(fop, fip, fdp)
    this.fsw = word(1)
    this.tags = word(2)
    this.setControl(word(0))
  }
}
