import {
  MSR_FS_BASE,
  MSR_GS_BASE,
  MSR_IA32_SYSENTER_CS,
  MSR_IA32_SYSENTER_EIP,
  MSR_IA32_SYSENTER_ESP,
  MSR_IA32_XFD,
  MSR_IA32_XFD_ERR,
  MSR_KERNEL_GS_BASE,
} from '../../isa/msr-index.ts'
import type { Vcpu } from '../vcpu/vcpu.ts'
import { cetMsrPasses } from './cet.ts'
import { isMsrAllowed, KVM_MSR_FILTER_READ, KVM_MSR_FILTER_WRITE } from './filter.ts'

/** MSRs the guest reads and writes without exit, as on VMX (vmx_possible_passthrough_msrs). */
const PASS_THROUGH = new Set([
  MSR_FS_BASE,
  MSR_GS_BASE,
  MSR_KERNEL_GS_BASE,
  MSR_IA32_SYSENTER_CS,
  MSR_IA32_SYSENTER_ESP,
  MSR_IA32_SYSENTER_EIP,
])

/** Whether RDMSR of the MSR exits now. XFD: GFPU-28; XFD_ERR: GFPU-31; a filtered MSR always exits. */
export function msrReadExits(vcpu: Vcpu, index: number): boolean {
  const passes =
    PASS_THROUGH.has(index) ||
    (index === MSR_IA32_XFD && vcpu.xfdPassThrough) ||
    (index === MSR_IA32_XFD_ERR && vcpu.guestHasXfd) ||
    cetMsrPasses(vcpu, index)
  return !passes || !isMsrAllowed(vcpu.vm.msrFilter, index, KVM_MSR_FILTER_READ)
}

export function msrWriteExits(vcpu: Vcpu, index: number): boolean {
  const passes = PASS_THROUGH.has(index) || (index === MSR_IA32_XFD && vcpu.xfdPassThrough) || cetMsrPasses(vcpu, index)
  return !passes || !isMsrAllowed(vcpu.vm.msrFilter, index, KVM_MSR_FILTER_WRITE)
}
