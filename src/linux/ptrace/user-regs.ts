import { CTL, REG } from '../../machine/execution-context.ts'
import { SEGMENT } from '../../machine/memory-map.ts'
import { EFAULT, EIO } from '../errno.ts'
import { TASK_SIZE_MAX } from '../mm/layout.ts'
import { loadReturnSegments } from '../segments/user-segments.ts'
import type { Task } from '../task.ts'

/** struct user_regs_struct: 27 u64 (LUX-55). */
export const USER_REGS_SIZE = 27 * 8
/** offsetof(struct user, u_debugreg), and their end. */
const DEBUG_REGISTERS = 848

/** General registers by position; -1 where something else stands. */
const ORDER = [15, 14, 13, 12, REG.RBP, REG.RBX, 11, 10, 9, 8, REG.RAX, REG.RCX, REG.RDX, REG.RSI, REG.RDI]
const ORIG_RAX = 15
const RIP_AT = 16
const CS_AT = 17
const EFLAGS_AT = 18
const RSP_AT = 19
const SS_AT = 20
const FS_BASE_AT = 21
const GS_BASE_AT = 22
const SELECTORS: Readonly<Record<number, number>> = { 23: SEGMENT.DS, 24: SEGMENT.ES, 25: SEGMENT.FS, 26: SEGMENT.GS }

/** RFLAGS bits a tracer may change (FLAG_MASK: CF PF AF ZF SF TF DF OF RF AC NT). */
const FLAG_MASK = 0x54dd5

export function readUserRegs(target: Task, bytes: Uint8Array): void {
  const view = new DataView(bytes.buffer, bytes.byteOffset)
  for (let i = 0; i * 8 < bytes.length; i++) {
    const [lo, hi] = readRegister(target, i)
    view.setInt32(i * 8, lo, true)
    view.setInt32(i * 8 + 4, hi, true)
  }
}

function readRegister(target: Task, index: number): [number, number] {
  const { context } = target
  if (index < ORDER.length) return [context.lo(ORDER[index]), context.hi(ORDER[index])]
  switch (index) {
    case ORIG_RAX:
      return [target.origRax, target.origRaxHi]
    case RIP_AT:
      return [context.ripLo, context.ripHi]
    case CS_AT:
      return [context.selector(SEGMENT.CS), 0]
    case EFLAGS_AT:
      return [target.ptrace?.singleStep ? context.rflags & ~0x100 : context.rflags, 0]
    case RSP_AT:
      return [context.lo(REG.RSP), context.hi(REG.RSP)]
    case SS_AT:
      return [context.selector(SEGMENT.SS), 0]
    case FS_BASE_AT:
      return [context.segmentBaseLo(SEGMENT.FS), context.segmentBaseHi(SEGMENT.FS)]
    case GS_BASE_AT:
      return [context.segmentBaseLo(SEGMENT.GS), context.segmentBaseHi(SEGMENT.GS)]
    default:
      return [context.selector(SELECTORS[index]), 0]
  }
}

/** Writes as many registers as `length` bytes hold. 0 or -EIO. */
export function writeUserRegs(target: Task, bytes: Uint8Array, length: number): number {
  const view = new DataView(bytes.buffer, bytes.byteOffset)
  for (let i = 0; i * 8 + 8 <= length; i++) {
    const result = writeRegister(target, i, view.getInt32(i * 8, true), view.getInt32(i * 8 + 4, true))
    if (result < 0) return result
  }
  return 0
}

function writeRegister(target: Task, index: number, lo: number, hi: number): number {
  const { context } = target
  if (index < ORDER.length) {
    context.set(ORDER[index], lo, hi)
    return 0
  }
  switch (index) {
    case ORIG_RAX:
      target.origRax = lo
      target.origRaxHi = hi
      return 0
    case RIP_AT:
      context.setRip(lo, hi)
      return 0
    case EFLAGS_AT:
      context.rflags = (context.rflags & ~FLAG_MASK) | (lo & FLAG_MASK)
      return 0
    case RSP_AT:
      context.set(REG.RSP, lo, hi)
      return 0
    case CS_AT:
    case SS_AT:
      return writeStackOrCode(target, index, lo & 0xffff)
    case FS_BASE_AT:
    case GS_BASE_AT: {
      const base = hi * 4294967296 + (lo >>> 0)
      if (base < 0 || base >= TASK_SIZE_MAX) return -EIO
      context.setSegmentBase(index === FS_BASE_AT ? SEGMENT.FS : SEGMENT.GS, lo, hi)
      return 0
    }
    default: {
      const selector = lo & 0xffff
      if (selector !== 0 && (selector & 3) !== 3) return -EIO
      // The base stays (LUX-55).
      context.setSelector(SELECTORS[index], selector)
      return 0
    }
  }
}

function writeStackOrCode(target: Task, index: number, selector: number): number {
  if ((selector & 3) !== 3) return -EIO
  const { context } = target
  const cs = index === CS_AT ? selector : context.selector(SEGMENT.CS)
  const ss = index === SS_AT ? selector : context.selector(SEGMENT.SS)
  if (loadReturnSegments(target, cs, ss) !== null) context.setSelector(index === CS_AT ? SEGMENT.CS : SEGMENT.SS, selector)
  return 0
}

/** PTRACE_PEEKUSER: registers, then debug registers of struct user; zeroes elsewhere. */
export function peekUser(task: Task, target: Task, offset: number, user: number): number {
  if (offset < 0 || offset % 8 !== 0 || offset >= 912) return -EIO
  let value: [number, number] = [0, 0]
  if (offset < USER_REGS_SIZE) value = readRegister(target, offset / 8)
  else if (offset >= DEBUG_REGISTERS) {
    const slot = debugSlot((offset - DEBUG_REGISTERS) / 8)
    if (slot >= 0) value = [target.context.ctlLo(slot), target.context.ctlHi(slot)]
  }
  return task.mm.putUser64(user, value[0], value[1]) ? 0 : -EFAULT
}

export function pokeUser(target: Task, offset: number, lo: number, hi: number): number {
  if (offset < 0 || offset % 8 !== 0 || offset >= 912) return -EIO
  if (offset < USER_REGS_SIZE) return writeRegister(target, offset / 8, lo, hi)
  if (offset < DEBUG_REGISTERS) return 0
  target.kernel.syscalls.note('PTRACE_POKEUSER of a debug register')
  return -EIO
}

function debugSlot(index: number): number {
  if (index < 4) return CTL.DR0 + index
  return index === 6 ? CTL.DR6 : index === 7 ? CTL.DR7 : -1
}
