import { X86_EFLAGS_FIXED, X86_EFLAGS_TF } from '../../isa/control-registers.ts'
import { CTL, type ExecutionContext, REG, SEGMENT_UNUSABLE } from '../../machine/execution-context.ts'
import { SEGMENT } from '../../machine/memory-map.ts'
import type { ValueOf } from '../abi/struct-layout.ts'
import type { kvm_dtable, kvm_regs, kvm_segment, kvm_sregs } from '../abi/structs.ts'

export type KvmRegs = ValueOf<typeof kvm_regs>
export type KvmSegment = ValueOf<typeof kvm_segment>
export type KvmDtable = ValueOf<typeof kvm_dtable>
export type KvmSregs = ValueOf<typeof kvm_sregs>

/** kvm_regs field -> register number. */
const GENERAL = {
  rax: REG.RAX,
  rbx: REG.RBX,
  rcx: REG.RCX,
  rdx: REG.RDX,
  rsi: REG.RSI,
  rdi: REG.RDI,
  rsp: REG.RSP,
  rbp: REG.RBP,
  r8: REG.R8,
  r9: REG.R9,
  r10: REG.R10,
  r11: REG.R11,
  r12: REG.R12,
  r13: REG.R13,
  r14: REG.R14,
  r15: REG.R15,
} as const
const GENERAL_NAMES = Object.keys(GENERAL) as (keyof typeof GENERAL)[]

/** KVM_GET_REGS. @param hideTf RFLAGS.TF was set by KVM for single-stepping and is not the guest's (KAPI-42). */
export function readRegs(context: ExecutionContext, hideTf: boolean): KvmRegs {
  const regs = {} as KvmRegs
  for (const name of GENERAL_NAMES) regs[name] = context.reg(GENERAL[name])
  regs.rip = context.rip
  regs.rflags = BigInt(guestRflags(context, hideTf))
  return regs
}

/** KVM_SET_REGS without the exception queue: RFLAGS bit 1 is forced (KAPI-42). */
export function writeRegs(context: ExecutionContext, regs: KvmRegs): void {
  for (const name of GENERAL_NAMES) context.setReg(GENERAL[name], regs[name])
  context.rip = regs.rip
  context.rflags = Number(regs.rflags & 0xffffffffn) | X86_EFLAGS_FIXED
}

export function guestRflags(context: ExecutionContext, hideTf: boolean): number {
  const rflags = context.rflags
  return (hideTf ? rflags & ~X86_EFLAGS_TF : rflags) >>> 0
}

/** kvm_sregs segment field -> segment index, in structure order. */
export const SEGMENTS_OF_SREGS = {
  cs: SEGMENT.CS,
  ds: SEGMENT.DS,
  es: SEGMENT.ES,
  fs: SEGMENT.FS,
  gs: SEGMENT.GS,
  ss: SEGMENT.SS,
  tr: SEGMENT.TR,
  ldt: SEGMENT.LDTR,
} as const

const bit = (value: number, n: number): number => (value >>> n) & 1

const u64of = (lo: number, hi: number): bigint => (BigInt(hi >>> 0) << 32n) | BigInt(lo >>> 0)

/** A segment as KVM_GET_SREGS shows it: present is "not unusable" (Linux 6.12 vmx_get_segment()). */
export function readSegment(context: ExecutionContext, index: number): KvmSegment {
  const ar = context.attributes(index)
  const unusable = bit(ar, 16)
  return {
    base: u64of(context.segmentBaseLo(index), context.segmentBaseHi(index)),
    limit: context.limit(index),
    selector: context.selector(index),
    type: ar & 0xf,
    present: unusable ^ 1,
    dpl: (ar >>> 5) & 3,
    db: bit(ar, 14),
    s: bit(ar, 4),
    l: bit(ar, 13),
    g: bit(ar, 15),
    avl: bit(ar, 12),
    unusable,
  }
}

/**
 * KVM_SET_SREGS of one segment, taken as given (KAPI-46): a segment that is not present is unusable. On VMX with unrestricted
 * guest the accessed bit of all but LDTR is set (Linux 6.12 __vmx_set_segment()).
 */
export function writeSegment(context: ExecutionContext, index: number, s: KvmSegment): void {
  const type = index === SEGMENT.LDTR ? s.type : s.type | 1
  const attributes =
    (type & 0xf) |
    ((s.s & 1) << 4) |
    ((s.dpl & 3) << 5) |
    ((s.present & 1) << 7) |
    ((s.avl & 1) << 12) |
    ((s.l & 1) << 13) |
    ((s.db & 1) << 14) |
    ((s.g & 1) << 15) |
    (s.unusable !== 0 || s.present === 0 ? SEGMENT_UNUSABLE : 0)
  context.setSegment(index, s.selector, attributes, s.limit, Number(s.base & 0xffffffffn) | 0, Number(s.base >> 32n) | 0)
}

export function readDtable(context: ExecutionContext, base: number, limit: number): KvmDtable {
  return { base: context.ctl(base), limit: context.ctlLo(limit) & 0xffff }
}

export function writeDtable(context: ExecutionContext, base: number, limit: number, table: KvmDtable): void {
  context.setCtl64(base, table.base)
  context.setCtl(limit, table.limit, 0)
}

/** All of kvm_sregs that lives in the execution context. */
export function readContextSregs(context: ExecutionContext): Omit<KvmSregs, 'cr8' | 'apic_base' | 'interrupt_bitmap'> {
  const segments = {} as Record<keyof typeof SEGMENTS_OF_SREGS, KvmSegment>
  for (const name of Object.keys(SEGMENTS_OF_SREGS) as (keyof typeof SEGMENTS_OF_SREGS)[]) {
    segments[name] = readSegment(context, SEGMENTS_OF_SREGS[name])
  }
  return {
    ...segments,
    gdt: readDtable(context, CTL.GDTR_BASE, CTL.GDTR_LIMIT),
    idt: readDtable(context, CTL.IDTR_BASE, CTL.IDTR_LIMIT),
    cr0: context.ctl(CTL.CR0),
    cr2: context.ctl(CTL.CR2),
    cr3: context.ctl(CTL.CR3),
    cr4: context.ctl(CTL.CR4),
    efer: context.ctl(CTL.EFER),
  }
}
