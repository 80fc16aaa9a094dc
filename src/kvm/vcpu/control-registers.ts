import {
  CR0_DEFINED,
  cr4Bits,
  EFER_AUTOIBRS,
  EFER_FFXSR,
  EFER_LMA,
  EFER_LME,
  EFER_LMSLE,
  EFER_NX,
  EFER_SCE,
  EFER_SVME,
  X86_CR0_CD,
  X86_CR0_ET,
  X86_CR0_NW,
  X86_CR0_PE,
  X86_CR0_PG,
  X86_CR0_WP,
  X86_CR3_LAM_U48_HI,
  X86_CR3_LAM_U57_HI,
  X86_CR4_CET,
  X86_CR4_FSGSBASE,
  X86_CR4_LA57,
  X86_CR4_LAM_SUP,
  X86_CR4_OSXSAVE,
  X86_CR4_PAE,
  X86_CR4_PCIDE,
  X86_CR4_PKE,
  X86_CR4_SMAP,
  X86_CR4_SMEP,
  X86_CR4_SMXE,
  X86_CR4_UMIP,
  X86_CR4_VMXE,
} from '../../isa/control-registers.ts'
import { CTL } from '../../machine/execution-context.ts'
import { SEGMENT } from '../../machine/memory-map.ts'
import type { KvmCpuCaps } from '../cpuid/cpu-caps.ts'
import { guestCpuidHas, updateRuntimeCpuid } from '../cpuid/vcpu-cpuid.ts'
import type { Vcpu } from './vcpu.ts'

/**
 * CR0, CR3, CR4, CR8 and EFER as KVM checks and stores them: for guest instructions that exit (false = #GP(0)) and for ioctls
 * (false = EINVAL). KAPI-43, KAPI-137; Linux 6.12 arch/x86/kvm/regs.c.
 */

/** CR4 bits KVM can virtualize at all. KL, PKS, UINTR, LASS and FRED are not among them (KAPI-137). */
const KVM_CR4_BITS = (() => {
  let mask = 0
  for (const bit of cr4Bits) if (!['KL', 'PKS', 'UINTR', 'LASS'].includes(bit.name)) mask |= bit.mask
  return mask & ~X86_CR4_SMXE
})()

/** CR4 bits KVM ties to a feature: Linux 6.12 __cr4_reserved_bits(). Names are Linux's. */
const CR4_FEATURES: readonly (readonly [number, string])[] = [
  [X86_CR4_OSXSAVE, 'XSAVE'],
  [X86_CR4_SMEP, 'SMEP'],
  [X86_CR4_SMAP, 'SMAP'],
  [X86_CR4_FSGSBASE, 'FSGSBASE'],
  [X86_CR4_PKE, 'PKU'],
  [X86_CR4_LA57, 'LA57'],
  [X86_CR4_UMIP, 'UMIP'],
  [X86_CR4_VMXE, 'VMX'],
  [X86_CR4_PCIDE, 'PCID'],
  [X86_CR4_LAM_SUP, 'LAM'],
]

/** CR4 bits nobody may set, given who has which feature. Low half; the upper half is always reserved. */
export function cr4ReservedBits(has: (feature: string) => boolean): number {
  let reserved = ~KVM_CR4_BITS
  for (const [bit, feature] of CR4_FEATURES) if (!has(feature)) reserved |= bit
  if (!has('SHSTK') && !has('IBT')) reserved |= X86_CR4_CET // CET-06
  return reserved >>> 0
}

/** Bits of EFER this KVM knows: SVME with nested=1. */
export function eferReservedBits(caps: KvmCpuCaps, isAmd: boolean): number {
  let known = EFER_SCE | EFER_LME | EFER_LMA
  if (caps.has('NX')) known |= EFER_NX
  if (isAmd && caps.has('SVM')) known |= EFER_SVME | EFER_LMSLE
  if (isAmd && caps.has('FXSR_OPT')) known |= EFER_FFXSR
  if (isAmd && caps.has('AUTOIBRS')) known |= EFER_AUTOIBRS
  return ~known >>> 0
}

const bitsOf = (value: bigint): { lo: number; hi: number } => ({
  lo: Number(value & 0xffffffffn) | 0,
  hi: Number((value >> 32n) & 0xffffffffn) | 0,
})

export function isValidCr0(lo: number, hi: number): boolean {
  if (hi !== 0) return false
  if (lo & X86_CR0_NW && !(lo & X86_CR0_CD)) return false
  return !(lo & X86_CR0_PG && !(lo & X86_CR0_PE))
}

export function isValidCr4(vcpu: Vcpu, lo: number, hi: number): boolean {
  return hi === 0 && (lo & vcpu.vm.kvm.cr4Reserved) === 0 && (lo & vcpu.cr4Reserved) === 0
}

/** CR3 addresses memory below MAXPHYADDR; with LAM its two mode bits may be set. */
export function isLegalCr3(vcpu: Vcpu, hi: number): boolean {
  let high = hi
  if (guestCpuidHas(vcpu, 'LAM')) high &= ~(X86_CR3_LAM_U48_HI | X86_CR3_LAM_U57_HI)
  return isLegalPhysicalHigh(vcpu, high)
}

/** Bits 63:32 of a guest-physical address lie within MAXPHYADDR. */
export function isLegalPhysicalHigh(vcpu: Vcpu, hi: number): boolean {
  const bits = vcpu.maxPhysAddr - 32
  return bits >= 32 || (bits <= 0 ? hi === 0 : hi >>> bits === 0)
}

/** EFER bits that need a CPUID bit of the guest, and bits KVM does not know. KAPI-43. */
export function isValidEfer(vcpu: Vcpu, lo: number, hi: number): boolean {
  if (hi !== 0 || (lo & vcpu.vm.kvm.eferReserved) !== 0) return false
  const unchecked = vcpu.cpuid.length === 0 && !vcpu.vm.kvm.profile.kvm.setSregsChecksEferBeforeCpuid
  return unchecked || isGuestEfer(vcpu, lo)
}

/** Only the part that depends on the guest's CPUID (host writes of the MSR skip it). */
function isGuestEfer(vcpu: Vcpu, lo: number): boolean {
  if (lo & EFER_AUTOIBRS && !guestCpuidHas(vcpu, 'AUTOIBRS')) return false
  if (lo & EFER_SVME && !guestCpuidHas(vcpu, 'SVM')) return false
  if (lo & EFER_FFXSR && !guestCpuidHas(vcpu, 'FXSR_OPT')) return false
  if (lo & (EFER_LME | EFER_LMA) && !guestCpuidHas(vcpu, 'LM')) return false
  return !(lo & EFER_NX && !guestCpuidHas(vcpu, 'NX'))
}

/** Guest or host write of IA32_EFER: LMA cannot change, LME not while paging is on. */
export function setEferMsr(vcpu: Vcpu, lo: number, hi: number, fromHost: boolean): boolean {
  if (hi !== 0 || lo & vcpu.vm.kvm.eferReserved) return false
  const { context } = vcpu
  const old = context.ctlLo(CTL.EFER)
  if (!fromHost) {
    if (!isGuestEfer(vcpu, lo)) return false
    if (context.ctlLo(CTL.CR0) & X86_CR0_PG && (old ^ lo) & EFER_LME) return false
  }
  storeEfer(vcpu, (lo & ~EFER_LMA) | (old & EFER_LMA))
  return true
}

function storeEfer(vcpu: Vcpu, lo: number): void {
  const { context } = vcpu
  const changed = context.ctlLo(CTL.EFER) ^ lo
  context.setCtl(CTL.EFER, lo, 0)
  if (changed & EFER_NX) vcpu.vmcs.space.flush()
}

/** Guest MOV to CR0, CLTS, LMSW. */
export function setCr0(vcpu: Vcpu, lo: number, hi: number): boolean {
  if (!isValidCr0(lo, hi)) return false
  const { context } = vcpu
  const value = (lo | X86_CR0_ET) & CR0_DEFINED
  const old = context.ctlLo(CTL.CR0)
  const efer = context.ctlLo(CTL.EFER)
  const cr4 = context.ctlLo(CTL.CR4)
  const turnsPagingOn = (value & X86_CR0_PG) !== 0 && (old & X86_CR0_PG) === 0
  const is64 = (efer & EFER_LMA) !== 0 && (context.attributes(SEGMENT.CS) & 0x2000) !== 0
  if (turnsPagingOn && efer & EFER_LME && (!(cr4 & X86_CR4_PAE) || context.attributes(SEGMENT.CS) & 0x2000)) return false
  if (!(value & X86_CR0_PG) && (is64 || cr4 & X86_CR4_PCIDE)) return false
  if (!(value & X86_CR0_WP) && cr4 & X86_CR4_CET) return false // CET-06
  context.setCtl(CTL.CR0, value, 0)
  if (turnsPagingOn && efer & EFER_LME) storeEfer(vcpu, efer | EFER_LMA)
  if (!(value & X86_CR0_PG) && old & X86_CR0_PG && efer & EFER_LMA) storeEfer(vcpu, efer & ~EFER_LMA)
  if ((value ^ old) & ~8) vcpu.vmcs.space.flush()
  return true
}

/** Guest MOV to CR4. */
export function setCr4(vcpu: Vcpu, lo: number, hi: number): boolean {
  if (!isValidCr4(vcpu, lo, hi)) return false
  const { context } = vcpu
  const old = context.ctlLo(CTL.CR4)
  const isLong = (context.ctlLo(CTL.EFER) & EFER_LMA) !== 0
  if (isLong && (!(lo & X86_CR4_PAE) || (lo ^ old) & X86_CR4_LA57)) return false
  if (lo & X86_CR4_PCIDE && !(old & X86_CR4_PCIDE) && (!isLong || context.ctlLo(CTL.CR3) & 0xfff)) return false
  if (lo & X86_CR4_CET && !(context.ctlLo(CTL.CR0) & X86_CR0_WP)) return false // CET-06
  storeCr4(vcpu, lo)
  return true
}

/** Stores CR4 and what follows: translations, CPUID's run-time bits (XSAVE-51). */
export function storeCr4(vcpu: Vcpu, lo: number): void {
  const { context } = vcpu
  const changed = context.ctlLo(CTL.CR4) ^ lo
  context.setCtl(CTL.CR4, lo, 0)
  if (changed === 0) return
  vcpu.vmcs.space.flush()
  if (changed & (X86_CR4_OSXSAVE | X86_CR4_PKE)) updateRuntimeCpuid(vcpu, vcpu.cpuid)
}

/** CR8, the task priority: 0..15. */
export function setCr8(vcpu: Vcpu, value: number): boolean {
  if (value < 0 || value > 15) return false
  if (vcpu.lapic !== null) vcpu.lapic.setCr8(value)
  else vcpu.context.setCtl(CTL.CR8, value, 0)
  return true
}
export function getCr8(vcpu: Vcpu): number {
  return vcpu.lapic !== null ? vcpu.lapic.cr8 : vcpu.context.ctlLo(CTL.CR8)
}

/** Reason of `sregsRefusal` for CR4 bits that nobody has. */
export const CR4_FOREIGN = 'CR4 has a bit that KVM or the guest CPUID does not have'

/**
 * Whether a set of special registers may be loaded together. KAPI-43; Linux 6.12 kvm_is_valid_sregs().
 * @returns null, or why not
 */
export function sregsRefusal(vcpu: Vcpu, cr0: bigint, cr3: bigint, cr4: bigint, efer: bigint, csL: number): string | null {
  const c0 = bitsOf(cr0)
  const c4 = bitsOf(cr4)
  const e = bitsOf(efer)
  if (e.lo & EFER_LME && c0.lo & X86_CR0_PG) {
    if (!(c4.lo & X86_CR4_PAE) || !(e.lo & EFER_LMA)) return 'long mode with paging needs CR4.PAE and EFER.LMA'
    if (!isLegalCr3(vcpu, bitsOf(cr3).hi)) return 'CR3 is beyond MAXPHYADDR'
  } else if (e.lo & EFER_LMA || csL !== 0) return 'EFER.LMA or CS.L without long mode'
  if (!isValidCr4(vcpu, c4.lo, c4.hi)) return CR4_FOREIGN
  if (!isValidCr0(c0.lo, c0.hi)) return 'CR0 is not a legal combination'
  return isValidEfer(vcpu, e.lo, e.hi) ? null : 'EFER has a bit that KVM or the guest CPUID does not have'
}
