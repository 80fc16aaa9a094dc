import { FCW_INIT, FXSAVE, MXCSR_INIT } from '../../isa/xfeatures.ts'
import type { MachineMemory } from '../machine-memory.ts'
import { MXCSR, VECTOR, VECTOR_STRIDE, X87_FCW, X87_FDP, X87_FIP, X87_FTW, X87_REGISTERS } from '../memory-map.ts'
import type { XsaveBehaviour } from './behaviour.ts'
import { MODE_LONG, MODE_REX_W } from './forms.ts'
import type { RowCopy } from './row-copy.ts'

/** FCW bits that exist; bit 6 reads as 1 (measured on Zen 5; SDM Vol. 1 Figure 8-6). */
const FCW_WRITABLE = 0x1f3f
const FCW_ALWAYS_SET = 0x0040
const FSW_EXCEPTIONS = 0x3f
const FSW_ES_B = 0x8080
const FOP_MASK = 0x07ff

/** x87, MXCSR and XMM registers to and from the first 416 bytes of an area. No checks: the caller has made them. */
export class LegacyRegion {
  private readonly i32: Int32Array
  private readonly base: number
  private readonly word: number
  private readonly rows: RowCopy
  private readonly behaviour: XsaveBehaviour

  /** @param base wasm offset of the processor's register file */
  constructor(memory: MachineMemory, base: number, rows: RowCopy, behaviour: XsaveBehaviour) {
    this.i32 = memory.i32
    this.base = base
    this.word = base >>> 2
    this.rows = rows
    this.behaviour = behaviour
  }

  /** XINUSE[0]. SDM Vol. 1 §13.6; FOP counts as well, being part of what is saved. */
  x87InUse(): boolean {
    const { i32, word } = this
    if (i32[word + (X87_FCW >> 2)] !== FCW_INIT) return true
    const tagAndOpcode = i32[word + (X87_FTW >> 2)]
    if ((tagAndOpcode & 0xff) !== 0) return true
    if (this.pointersExist() && ((tagAndOpcode >>> 16) & FOP_MASK) !== 0) return true
    const fip = word + (X87_FIP >> 2)
    if (this.pointersExist() && (i32[fip] | i32[fip + 1] | i32[fip + 2] | i32[fip + 3]) !== 0) return true
    for (let r = word + (X87_REGISTERS >> 2), end = r + 32; r < end; r += 4) {
      if ((i32[r] | i32[r + 1] | (i32[r + 2] & 0xffff)) !== 0) return true
    }
    return false
  }

  private pointersExist(): boolean {
    return !this.behaviour.x87PointersOnlyWithError || ((this.i32[this.word + (X87_FCW >> 2)] >>> 16) & 0x80) !== 0
  }

  saveX87(image: number, mode: number): void {
    const { i32, word } = this
    const out = image >>> 2
    const controlAndStatus = i32[word + (X87_FCW >> 2)]
    const pointers = this.pointersExist()
    const wide = pointers && (mode & MODE_REX_W) !== 0
    const fip = word + (X87_FIP >> 2)
    const fdp = word + (X87_FDP >> 2)
    i32[out + (FXSAVE.FCW >> 2)] = controlAndStatus
    i32[out + (FXSAVE.FTW >> 2)] = i32[word + (X87_FTW >> 2)] & (pointers ? (FOP_MASK << 16) | 0xff : 0xff)
    // In the 32-bit forms the selectors FCS and FDS follow; they are saved as 0 (CPUID.7.0:EBX[13]).
    i32[out + (FXSAVE.FIP >> 2)] = pointers ? i32[fip] : 0
    i32[out + (FXSAVE.FIP >> 2) + 1] = wide ? i32[fip + 1] : 0
    i32[out + (FXSAVE.FDP >> 2)] = pointers ? i32[fdp] : 0
    i32[out + (FXSAVE.FDP >> 2) + 1] = wide ? i32[fdp + 1] : 0
    // The image is relative to the top of the stack, the register file is not.
    const top = (controlAndStatus >>> 27) & 7
    const registers = word + (X87_REGISTERS >> 2)
    for (let i = 0; i < 8; i++) {
      const from = registers + ((top + i) & 7) * 4
      const to = out + (FXSAVE.ST >> 2) + i * 4
      i32[to] = i32[from]
      i32[to + 1] = i32[from + 1]
      i32[to + 2] = i32[from + 2] & 0xffff
      i32[to + 3] = 0
    }
  }

  loadX87(image: number, mode: number): void {
    const { i32, word } = this
    const from = image >>> 2
    const fcw = (i32[from + (FXSAVE.FCW >> 2)] & FCW_WRITABLE) | FCW_ALWAYS_SET
    // The summary bits are not loaded but follow from the exception flags and masks.
    let fsw = (i32[from + (FXSAVE.FCW >> 2)] >>> 16) & ~FSW_ES_B
    if ((fsw & ~fcw & FSW_EXCEPTIONS) !== 0) fsw |= FSW_ES_B
    i32[word + (X87_FCW >> 2)] = fcw | (fsw << 16)
    const pointers = this.pointersExist()
    const wide = pointers && (mode & MODE_REX_W) !== 0
    i32[word + (X87_FTW >> 2)] = i32[from + (FXSAVE.FTW >> 2)] & (pointers ? (FOP_MASK << 16) | 0xff : 0xff)
    const fip = word + (X87_FIP >> 2)
    const fdp = word + (X87_FDP >> 2)
    i32[fip] = pointers ? i32[from + (FXSAVE.FIP >> 2)] : 0
    i32[fip + 1] = wide ? this.pointerHigh(i32[from + (FXSAVE.FIP >> 2) + 1]) : 0
    i32[fdp] = pointers ? i32[from + (FXSAVE.FDP >> 2)] : 0
    i32[fdp + 1] = wide ? this.pointerHigh(i32[from + (FXSAVE.FDP >> 2) + 1]) : 0
    const top = (fsw >>> 11) & 7
    const registers = word + (X87_REGISTERS >> 2)
    for (let i = 0; i < 8; i++) {
      const st = from + (FXSAVE.ST >> 2) + i * 4
      const to = registers + ((top + i) & 7) * 4
      i32[to] = i32[st]
      i32[to + 1] = i32[st + 1]
      i32[to + 2] = i32[st + 2] & 0xffff
      i32[to + 3] = 0
    }
  }

  private pointerHigh(high: number): number {
    return this.behaviour.x87PointersOnlyWithError ? (high << 7) >> 7 : high
  }

  initX87(): void {
    this.i32.fill(0, this.word + (X87_REGISTERS >> 2), this.word + (X87_FDP >> 2) + 2)
    this.i32[this.word + (X87_FCW >> 2)] = FCW_INIT
  }

  /** XINUSE[1]: the XMM registers alone, without MXCSR. */
  xmmInUse(mode: number): boolean {
    return (
      this.rows.anySet(this.base + VECTOR, xmmCount(this.behaviour.inUseIgnoresMode ? MODE_LONG : mode), 16, VECTOR_STRIDE) !== 0
    )
  }
  saveXmm(image: number, mode: number): void {
    this.rows.copy(image + FXSAVE.XMM, this.base + VECTOR, xmmCount(mode), 16, 16, VECTOR_STRIDE)
  }
  loadXmm(image: number, mode: number): void {
    this.rows.copy(this.base + VECTOR, image + FXSAVE.XMM, xmmCount(mode), 16, VECTOR_STRIDE, 16)
  }
  initXmm(mode: number): void {
    this.rows.zero(this.base + VECTOR, xmmCount(mode), 16, VECTOR_STRIDE)
  }

  get mxcsr(): number {
    return this.i32[this.word + (MXCSR >> 2)]
  }
  saveMxcsr(image: number): void {
    this.i32[(image + FXSAVE.MXCSR) >>> 2] = this.mxcsr
    this.i32[(image + FXSAVE.MXCSR_MASK) >>> 2] = this.behaviour.mxcsrMask
  }
  /** Whether loading MXCSR from the image would be a #GP: a reserved bit is set. */
  mxcsrReserved(image: number): boolean {
    return (this.i32[(image + FXSAVE.MXCSR) >>> 2] & this.behaviour.mxcsrReserved) !== 0
  }
  loadMxcsr(image: number): void {
    this.i32[this.word + (MXCSR >> 2)] = this.i32[(image + FXSAVE.MXCSR) >>> 2]
  }
  initMxcsr(): void {
    this.i32[this.word + (MXCSR >> 2)] = MXCSR_INIT
  }
}

/** Outside 64-bit mode XMM8..XMM15 are neither saved nor loaded (SDM Vol. 1 §13.5.2). */
export function xmmCount(mode: number): number {
  return (mode & MODE_LONG) !== 0 ? 16 : 8
}
