import type { CpuModel } from '../../isa/cpu-model.ts'
import {
  MSR_IA32_VMX_BASIC,
  MSR_IA32_VMX_PROCBASED_CTLS2,
  MSR_IA32_VMX_TRUE_ENTRY_CTLS,
  MSR_IA32_VMX_TRUE_EXIT_CTLS,
} from '../../isa/msr-index.ts'
import { XFEATURE_MASK_CET } from '../../isa/xfeatures.ts'
import type { KernelProfile } from '../../profiles/kernel-profile.ts'
import type { KvmCpuCaps } from './cpu-caps.ts'

/** Whether guests can have CET. Two-dimensional paging, a 64-bit kernel and full MAXPHYADDR hold for every modelled host. CET-20..22. */

/** What VMX must allow (SDM Vol. 3D Appendix A): allowed-1 bits of capability MSRs, or bit 56 of IA32_VMX_BASIC. */
const VMX_NEEDS: readonly (readonly [number, bigint])[] = [
  // VM entry may deliver any exception with or without an error code: #CP is not on the old list of those that have one.
  [MSR_IA32_VMX_BASIC, 1n << 56n],
  [MSR_IA32_VMX_TRUE_ENTRY_CTLS, 1n << (32n + 20n)],
  [MSR_IA32_VMX_TRUE_EXIT_CTLS, 1n << (32n + 28n)],
  // Unrestricted guest.
  [MSR_IA32_VMX_PROCBASED_CTLS2, 1n << (32n + 7n)],
]

/** Models that do not state a capability are taken to have it: Intel brought these with CET (not read from a chip). */
const vmxCanSwitchCet = (model: CpuModel): boolean =>
  VMX_NEEDS.every(([index, bit]) => {
    const value = model.msrs.get(index)
    return value === undefined || (value & bit) !== 0n
  })

/** @param hostXss IA32_XSS of the host */
export function offersCet(model: CpuModel, { cet, kvm }: KernelProfile, hostXss: number): boolean {
  if (!cet.offeredToGuests || (hostXss & kvm.supportedXss & cet.neededXss) !== cet.neededXss) return false
  return model.vendor === 'AuthenticAMD' || vmxCanSwitchCet(model)
}

/** Supervisor components that guests can have: those of CET only if one of its features is offered. CET-20, CET-21. */
export function virtualizedXss({ kvm }: KernelProfile, hostXss: number, caps: KvmCpuCaps): number {
  const common = caps.has('XSAVES') ? hostXss & kvm.supportedXss : 0
  return (caps.has('SHSTK') || caps.has('IBT') ? common : common & ~XFEATURE_MASK_CET) >>> 0
}
