import { CC_FLAGS, materializeArithmeticFlags } from './flags.ts'
import type { MachineMemory } from './machine-memory.ts'
import {
  BUDGET,
  CC_A,
  CC_B,
  CC_OP,
  CC_RES,
  CONTROL,
  GPR,
  RFLAGS_REST,
  RIP,
  SEGMENT,
  SEGMENT_BASE,
  SEGMENTS,
} from './memory-map.ts'

/** General-register numbers in encoding order. */
export const REG = {
  RAX: 0,
  RCX: 1,
  RDX: 2,
  RBX: 3,
  RSP: 4,
  RBP: 5,
  RSI: 6,
  RDI: 7,
  R8: 8,
  R9: 9,
  R10: 10,
  R11: 11,
  R12: 12,
  R13: 13,
  R14: 14,
  R15: 15,
} as const

/** Control state of a context: each name is a u64 slot of the CONTROL area (slot number; byte offset CONTROL + 8 * slot). */
export const CTL = {
  CR0: 0,
  CR2: 1,
  CR3: 2,
  CR4: 3,
  CR8: 4,
  EFER: 5,
  STAR: 6,
  LSTAR: 7,
  CSTAR: 8,
  FMASK: 9,
  KERNEL_GS_BASE: 10,
  SYSENTER_CS: 11,
  SYSENTER_ESP: 12,
  SYSENTER_EIP: 13,
  TSC_AUX: 14,
  PAT: 15,
  DR0: 16,
  DR1: 17,
  DR2: 18,
  DR3: 19,
  DR6: 20,
  DR7: 21,
  GDTR_BASE: 22,
  GDTR_LIMIT: 23,
  IDTR_BASE: 24,
  IDTR_LIMIT: 25,
  LDTR_BASE: 26,
  TR_BASE: 27,
  TSC_OFFSET: 28,
  DEBUGCTL: 29,
  S_CET: 31,
  SSP: 32,
  INT_SSP_TAB: 37,
  /** Bit 0 STI shadow, bit 1 MOV SS shadow, bit 3 NMI blocked (VMX interruptibility format). */
  INTERRUPTIBILITY: 38,
  /** 0 active, 1 HLT (VMX activity state). */
  ACTIVITY: 39,
} as const

export type SegmentName = keyof typeof SEGMENT

/**
 * What one flow of execution (a host task, or a vCPU's guest) owns of a logical processor apart from the register file:
 * general registers, RIP, RFLAGS, segments, control registers, system-call MSRs. It lives in wasm memory at `base`, so a
 * world or task switch is a change of base. 64-bit values are pairs of 32-bit halves (`lo`, `hi`, both signed int32 as
 * stored); the bigint accessors are for edges (ioctls, printing, tests).
 */
export class ExecutionContext {
  readonly mem: MachineMemory
  /** Wasm offset of this context's block (2 KiB). */
  readonly base: number
  /** base >> 2, for the 32-bit views. */
  readonly word: number

  constructor(mem: MachineMemory, base: number) {
    this.mem = mem
    this.base = base
    this.word = base >> 2
  }

  // ---- general registers ----
  lo(reg: number): number {
    return this.mem.i32[this.word + reg * 2]
  }
  hi(reg: number): number {
    return this.mem.i32[this.word + reg * 2 + 1]
  }
  set(reg: number, lo: number, hi: number): void {
    const w = this.word + reg * 2
    this.mem.i32[w] = lo
    this.mem.i32[w + 1] = hi
  }
  /** Writes a 32-bit value zero-extended. */
  set32(reg: number, value: number): void {
    this.set(reg, value, 0)
  }
  reg(reg: number): bigint {
    return this.mem.u64At(this.base + GPR + reg * 8)
  }
  setReg(reg: number, value: bigint): void {
    this.mem.setU64At(this.base + GPR + reg * 8, value)
  }

  get ripLo(): number {
    return this.mem.i32[this.word + (RIP >> 2)]
  }
  get ripHi(): number {
    return this.mem.i32[this.word + (RIP >> 2) + 1]
  }
  setRip(lo: number, hi: number): void {
    this.mem.i32[this.word + (RIP >> 2)] = lo
    this.mem.i32[this.word + (RIP >> 2) + 1] = hi
  }
  get rip(): bigint {
    return this.mem.u64At(this.base + RIP)
  }
  set rip(value: bigint) {
    this.mem.setU64At(this.base + RIP, value)
  }
  /** Advances RIP by `bytes` (0..15). */
  advanceRip(bytes: number): void {
    const lo = this.ripLo
    const next = (lo + bytes) | 0
    this.setRip(next, next >>> 0 < lo >>> 0 ? (this.ripHi + 1) | 0 : this.ripHi)
  }

  // ---- RFLAGS ----
  /** The architectural RFLAGS, low 32 bits (the upper half is 0). */
  get rflags(): number {
    const i32 = this.mem.i32
    return i32[this.word + (RFLAGS_REST >> 2)] | materializeArithmeticFlags(this.mem, this.base)
  }
  set rflags(value: number) {
    const i32 = this.mem.i32
    i32[this.word + (RFLAGS_REST >> 2)] = (value & ~0x8d5) | 2
    i32[this.word + (CC_OP >> 2)] = CC_FLAGS
    i32[this.word + (CC_RES >> 2)] = value & 0x8d5
    i32[this.word + (CC_RES >> 2) + 1] = 0
    i32[this.word + (CC_A >> 2)] = i32[this.word + (CC_B >> 2)] = 0
  }
  /** RFLAGS bits other than CF PF AF ZF SF OF, without materializing the lazy ones. */
  get rflagsRest(): number {
    return this.mem.i32[this.word + (RFLAGS_REST >> 2)]
  }
  set rflagsRest(value: number) {
    this.mem.i32[this.word + (RFLAGS_REST >> 2)] = value
  }

  get budget(): number {
    return this.mem.i32[this.word + (BUDGET >> 2)]
  }
  set budget(value: number) {
    this.mem.i32[this.word + (BUDGET >> 2)] = value
  }

  // ---- control state ----
  ctlLo(slot: number): number {
    return this.mem.i32[this.word + (CONTROL >> 2) + slot * 2]
  }
  ctlHi(slot: number): number {
    return this.mem.i32[this.word + (CONTROL >> 2) + slot * 2 + 1]
  }
  setCtl(slot: number, lo: number, hi: number): void {
    const w = this.word + (CONTROL >> 2) + slot * 2
    this.mem.i32[w] = lo
    this.mem.i32[w + 1] = hi
  }
  ctl(slot: number): bigint {
    return this.mem.u64At(this.base + CONTROL + slot * 8)
  }
  setCtl64(slot: number, value: bigint): void {
    this.mem.setU64At(this.base + CONTROL + slot * 8, value)
  }

  // ---- segments ----
  /** Attributes in VMX access-rights format: type 3:0, S 4, DPL 6:5, P 7, AVL 12, L 13, D/B 14, G 15, unusable 16. */
  selector(seg: number): number {
    return this.mem.u16[(this.base + SEGMENTS + seg * 16) >> 1]
  }
  attributes(seg: number): number {
    return this.mem.i32[(this.base + SEGMENTS + seg * 16 + 8) >> 2]
  }
  limit(seg: number): number {
    return this.mem.u32[(this.base + SEGMENTS + seg * 16 + 4) >> 2]
  }
  segmentBaseLo(seg: number): number {
    return seg < 6 ? this.mem.i32[(this.base + SEGMENT_BASE + seg * 8) >> 2] : this.ctlLo(seg === 6 ? CTL.LDTR_BASE : CTL.TR_BASE)
  }
  segmentBaseHi(seg: number): number {
    return seg < 6
      ? this.mem.i32[(this.base + SEGMENT_BASE + seg * 8 + 4) >> 2]
      : this.ctlHi(seg === 6 ? CTL.LDTR_BASE : CTL.TR_BASE)
  }
  setSegmentBase(seg: number, lo: number, hi: number): void {
    if (seg >= 6) {
      this.setCtl(seg === 6 ? CTL.LDTR_BASE : CTL.TR_BASE, lo, hi)
      return
    }
    const w = (this.base + SEGMENT_BASE + seg * 8) >> 2
    this.mem.i32[w] = lo
    this.mem.i32[w + 1] = hi
  }
  setSegment(seg: number, selector: number, attributes: number, limit: number, baseLo: number, baseHi: number): void {
    const at = this.base + SEGMENTS + seg * 16
    this.mem.u16[at >> 1] = selector
    this.mem.u32[(at + 4) >> 2] = limit
    this.mem.i32[(at + 8) >> 2] = attributes
    this.setSegmentBase(seg, baseLo, baseHi)
  }
  setSelector(seg: number, selector: number): void {
    this.mem.u16[(this.base + SEGMENTS + seg * 16) >> 1] = selector
  }
  /** Current privilege level: DPL of SS (VMX convention; equals CS.RPL outside real mode). */
  get cpl(): number {
    return (this.attributes(SEGMENT.SS) >> 5) & 3
  }
}

/** VMX access-rights bit that marks a segment unusable. */
export const SEGMENT_UNUSABLE = 0x10000
