import { guestCpuidHas, updateRuntimeCpuid } from '../cpuid/vcpu-cpuid.ts'
import { MSR_IA32_APICBASE_ENABLE, X2APIC_ENABLE } from '../irqchip/apic-registers.ts'
import { apicMode, LAPIC_MODE_DISABLED, LAPIC_MODE_INVALID, LAPIC_MODE_X2APIC, LAPIC_MODE_XAPIC } from '../irqchip/lapic.ts'
import type { Vcpu } from './vcpu.ts'

/** Null, or why `value` cannot be IA32_APIC_BASE (for the host). KAPI-44; Linux 6.12 kvm_apic_set_base(). */
export function apicBaseRefusal(vcpu: Vcpu, value: bigint): string | null {
  const beyond = value >> BigInt(vcpu.maxPhysAddr)
  if (beyond !== 0n) return 'apic_base is beyond MAXPHYADDR'
  if (value & 0x2ffn) return 'apic_base has a reserved bit'
  if (value & BigInt(X2APIC_ENABLE) && !guestCpuidHas(vcpu, 'X2APIC')) return 'x2APIC is not in the guest CPUID'
  return apicMode(Number(value & 0xfffn)) === LAPIC_MODE_INVALID ? 'x2APIC without the APIC enabled' : null
}

/** A guest's WRMSR has two transitions less: x2APIC to xAPIC, and off to x2APIC. */
export function guestApicBaseAllowed(vcpu: Vcpu, value: bigint): boolean {
  if (apicBaseRefusal(vcpu, value) !== null) return false
  const old = apicMode(vcpu.apicBase)
  const now = apicMode(Number(value & 0xfffn))
  if (old === LAPIC_MODE_X2APIC && now === LAPIC_MODE_XAPIC) return false
  return !(old === LAPIC_MODE_DISABLED && now === LAPIC_MODE_X2APIC)
}

/** Stores an accepted value: CPUID.1:EDX[9] follows the enable bit. */
export function setApicBase(vcpu: Vcpu, value: number): void {
  const old = vcpu.apicBase
  vcpu.apicBase = value
  if ((old ^ value) & MSR_IA32_APICBASE_ENABLE) updateRuntimeCpuid(vcpu, vcpu.cpuid)
  vcpu.lapic?.baseChanged(old, value)
}
