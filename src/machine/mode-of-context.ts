import { X86_CR4_CET } from '../isa/control-registers.ts'
import { CET_ENDBR_EN, CET_SH_STK_EN, CET_TRACKER } from './cet.ts'
import { CTL, type ExecutionContext } from './execution-context.ts'
import type { MachineMemory } from './machine-memory.ts'
import { SEGMENT, U_CET, XCR0 } from './memory-map.ts'
import {
  MODE_ALIGNMENT_CHECK,
  MODE_AMX_UD,
  MODE_AVX_UD,
  MODE_AVX512_UD,
  MODE_CODE_16,
  MODE_CODE_32,
  MODE_CODE_64,
  MODE_ENDBRANCH_DUE,
  MODE_IBT,
  MODE_REAL,
  MODE_SHADOW_STACK,
  MODE_SSE_UD,
  MODE_STACK_32,
  MODE_TS,
  MODE_USER,
  MODE_X87_NM,
} from './mode.ts'

const CR0_PE = 1
const CR0_EM = 4
const CR0_TS = 8
const CR0_AM = 1 << 18
const CR4_OSFXSR = 1 << 9
const CR4_OSXSAVE = 1 << 18
const EFER_LMA = 1 << 10
const RFLAGS_VM = 1 << 17
const RFLAGS_AC = 1 << 18
/** Segment attributes (VMX format). */
const ATTRIBUTE_L = 1 << 13
const ATTRIBUTE_DB = 1 << 14

/** The code-generation mode that follows from a context's control state and the processor's XCR0 (SDM Vol. 1, 14.x and 13.2). */
export function computeMode(ctx: ExecutionContext, registerFile: number, mem: MachineMemory): number {
  const cr0 = ctx.ctlLo(CTL.CR0)
  const cr4 = ctx.ctlLo(CTL.CR4)
  const rflags = ctx.rflagsRest
  const cs = ctx.attributes(SEGMENT.CS)
  let mode =
    (ctx.ctlLo(CTL.EFER) & EFER_LMA) !== 0 && (cs & ATTRIBUTE_L) !== 0
      ? MODE_CODE_64
      : cs & ATTRIBUTE_DB
        ? MODE_CODE_32
        : MODE_CODE_16
  if (ctx.cpl === 3) mode |= MODE_USER
  if ((cr0 & CR0_PE) === 0 || (rflags & RFLAGS_VM) !== 0) mode |= MODE_REAL
  if (ctx.attributes(SEGMENT.SS) & ATTRIBUTE_DB) mode |= MODE_STACK_32
  if ((mode & MODE_USER) !== 0 && (cr0 & CR0_AM) !== 0 && (rflags & RFLAGS_AC) !== 0) mode |= MODE_ALIGNMENT_CHECK
  if (cr0 & (CR0_EM | CR0_TS)) mode |= MODE_X87_NM
  if (cr0 & CR0_TS) mode |= MODE_TS
  if ((cr0 & CR0_EM) !== 0 || (cr4 & CR4_OSFXSR) === 0) mode |= MODE_SSE_UD
  const xcr0 = cr4 & CR4_OSXSAVE ? mem.i32[(registerFile + XCR0) >> 2] : 0
  if ((xcr0 & 6) !== 6) mode |= MODE_AVX_UD
  if ((xcr0 & 0xe6) !== 0xe6) mode |= MODE_AVX512_UD
  if ((xcr0 & 0x60000) !== 0x60000) mode |= MODE_AMX_UD
  if ((cr4 & X86_CR4_CET) !== 0 && (mode & MODE_REAL) === 0) {
    const cet = mode & MODE_USER ? mem.i32[(registerFile + U_CET) >> 2] : ctx.ctlLo(CTL.S_CET)
    if (cet & CET_SH_STK_EN) mode |= MODE_SHADOW_STACK
    if (cet & CET_ENDBR_EN) mode |= cet & CET_TRACKER ? MODE_IBT | MODE_ENDBRANCH_DUE : MODE_IBT
  }
  return mode
}
