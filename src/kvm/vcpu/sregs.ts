import { EFER_LMA, X86_CR0_PE, X86_CR0_PG, X86_CR4_PAE } from '../../isa/control-registers.ts'
import { EINVAL } from '../../linux/errno.ts'
import { CTL } from '../../machine/execution-context.ts'
import { SEGMENT } from '../../machine/memory-map.ts'
import { KVM_MP_STATE_RUNNABLE } from '../abi/exit-reasons.ts'
import type { ValueOf } from '../abi/struct-layout.ts'
import type { kvm_sregs2 } from '../abi/structs.ts'
import { cr4Foreign } from '../explain.ts'
import type { IoctlCall } from '../ioctl-table.ts'
import { apicBaseRefusal, setApicBase } from './apic-base.ts'
import { CR4_FOREIGN, getCr8, setCr8, sregsRefusal, storeCr4 } from './control-registers.ts'
import { deliverPayloadForUser } from './events.ts'
import { type KvmSregs, readContextSregs, SEGMENTS_OF_SREGS, writeDtable, writeSegment } from './registers.ts'
import { REQ_EVENT, type Vcpu } from './vcpu.ts'

type KvmSregs2 = ValueOf<typeof kvm_sregs2>
type CommonSregs = Omit<KvmSregs, 'interrupt_bitmap'>

export const KVM_SREGS2_FLAGS_PDPTRS_VALID = 1

function readCommon(vcpu: Vcpu): CommonSregs {
  deliverPayloadForUser(vcpu)
  return { ...readContextSregs(vcpu.context), cr8: BigInt(getCr8(vcpu)), apic_base: BigInt(vcpu.apicBase) }
}

/** KVM_GET_SREGS: at most one bit of interrupt_bitmap, the interrupt that is injected. KAPI-46. */
export function getSregs(vcpu: Vcpu): KvmSregs {
  const bitmap = [0n, 0n, 0n, 0n]
  if (vcpu.interruptInjected && !vcpu.interruptSoft) bitmap[vcpu.interruptNr >> 6] = 1n << BigInt(vcpu.interruptNr & 63)
  return { ...readCommon(vcpu), interrupt_bitmap: bitmap }
}

const usesPaePaging = (vcpu: Vcpu): boolean =>
  (vcpu.context.ctlLo(CTL.CR0) & X86_CR0_PG) !== 0 &&
  (vcpu.context.ctlLo(CTL.CR4) & X86_CR4_PAE) !== 0 &&
  (vcpu.context.ctlLo(CTL.EFER) & EFER_LMA) === 0

/** KVM_GET_SREGS2: the page-directory pointers only in PAE paging. KAPI-48. */
export function getSregs2(vcpu: Vcpu): KvmSregs2 {
  const isPae = usesPaePaging(vcpu)
  return {
    ...readCommon(vcpu),
    flags: isPae ? BigInt(KVM_SREGS2_FLAGS_PDPTRS_VALID) : 0n,
    pdptrs: isPae ? readPdptrs(vcpu) : [0n, 0n, 0n, 0n],
  }
}

function readPdptrs(vcpu: Vcpu): bigint[] {
  const table = new Uint8Array(32)
  const gpa = (vcpu.context.ctlLo(CTL.CR3) & ~0x1f) >>> 0
  if (!vcpu.vm.memory.read(gpa, table)) return [0n, 0n, 0n, 0n]
  const view = new DataView(table.buffer)
  return [0, 8, 16, 24].map((at) => view.getBigUint64(at, true))
}

/** Checks first, then loads: a refused call leaves everything as it was. KAPI-43..46; Linux 6.12 __set_sregs_common(). */
function setCommon(vcpu: Vcpu, s: CommonSregs, call: IoctlCall): number {
  const refusal = sregsRefusal(vcpu, s.cr0, s.cr3, s.cr4, s.efer, s.cs.l)
  if (refusal !== null) {
    const foreign = refusal === CR4_FOREIGN ? cr4Foreign(vcpu, Number(s.cr4 & 0xffffffffn), Number(s.cr4 >> 32n)) : null
    return call.refuse(EINVAL, 'KAPI-43', foreign?.sentence ?? refusal, foreign?.details)
  }
  const apic = apicBaseRefusal(vcpu, s.apic_base)
  if (apic !== null) return call.refuse(EINVAL, 'KAPI-44', apic)
  setApicBase(vcpu, Number(s.apic_base))
  const { context } = vcpu
  writeDtable(context, CTL.IDTR_BASE, CTL.IDTR_LIMIT, s.idt)
  writeDtable(context, CTL.GDTR_BASE, CTL.GDTR_LIMIT, s.gdt)
  context.setCtl64(CTL.CR2, s.cr2)
  context.setCtl64(CTL.CR3, s.cr3)
  setCr8(vcpu, Number(s.cr8 & 0xfn))
  context.setCtl64(CTL.EFER, s.efer)
  context.setCtl64(CTL.CR0, s.cr0)
  storeCr4(vcpu, Number(s.cr4 & 0xffffffffn) | 0)
  for (const name of Object.keys(SEGMENTS_OF_SREGS) as (keyof typeof SEGMENTS_OF_SREGS)[]) {
    writeSegment(context, SEGMENTS_OF_SREGS[name], s[name])
  }
  vcpu.vmcs.space.flush()
  makeRunnableAtResetVector(vcpu)
  return 0
}

/** A boot CPU loaded with the reset state runs, whatever it waited for. KAPI-47. */
function makeRunnableAtResetVector(vcpu: Vcpu): void {
  const { context } = vcpu
  const atVector =
    context.rip === 0xfff0n && context.selector(SEGMENT.CS) === 0xf000 && context.segmentBaseLo(SEGMENT.CS) === (0xffff0000 | 0)
  if (vcpu.isBsp && atVector && (context.ctlLo(CTL.CR0) & X86_CR0_PE) === 0) vcpu.mpState = KVM_MP_STATE_RUNNABLE
}

export function setSregs(vcpu: Vcpu, sregs: KvmSregs, call: IoctlCall): number {
  const result = setCommon(vcpu, sregs, call)
  if (result !== 0) return result
  const vector = lowestVector(sregs.interrupt_bitmap)
  if (vector >= 0) vcpu.queueInterrupt(vector, false)
  vcpu.request(REQ_EVENT)
  return 0
}

function lowestVector(bitmap: readonly bigint[]): number {
  for (let vector = 0; vector < 256; vector++) if ((bitmap[vector >> 6] >> BigInt(vector & 63)) & 1n) return vector
  return -1
}

export function setSregs2(vcpu: Vcpu, sregs: KvmSregs2, call: IoctlCall): number {
  if (sregs.flags & ~BigInt(KVM_SREGS2_FLAGS_PDPTRS_VALID)) return call.refuse(EINVAL, 'KAPI-48', 'unknown flags')
  const hasPdptrs = (sregs.flags & 1n) !== 0n
  const isPae =
    (sregs.cr0 & BigInt(X86_CR0_PG)) !== 0n && (sregs.cr4 & BigInt(X86_CR4_PAE)) !== 0n && (sregs.efer & BigInt(EFER_LMA)) === 0n
  if (hasPdptrs && !isPae) return call.refuse(EINVAL, 'KAPI-48', 'page-directory pointers are valid only in PAE paging')
  const result = setCommon(vcpu, sregs, call)
  if (result !== 0) return result
  vcpu.request(REQ_EVENT)
  return 0
}
