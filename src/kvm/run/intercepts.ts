import { X86_TRAP_AC, X86_TRAP_BP, X86_TRAP_DB, X86_TRAP_MC, X86_TRAP_NM, X86_TRAP_UD } from '../../isa/vectors.ts'
import type { VmControls } from '../../machine/vmcs.ts'
import { msrReadExits, msrWriteExits } from '../msr/intercepts.ts'
import type { Vcpu } from '../vcpu/vcpu.ts'
import type { Vm } from '../vm.ts'
import { KVM_GUESTDBG_USE_SW_BP } from './instruction.ts'

/** KVM_CAP_X86_DISABLE_EXITS. */
export const KVM_X86_DISABLE_EXITS_MWAIT = 1
export const KVM_X86_DISABLE_EXITS_HLT = 2
export const KVM_X86_DISABLE_EXITS_PAUSE = 4
export const KVM_X86_DISABLE_EXITS_CSTATE = 8

/** Exceptions KVM wants to see: #UD (foreign hypercalls), #MC, #DB, #AC always; #NM once XFD was not 0 (GFPU-28). */
const ALWAYS = (1 << X86_TRAP_UD) | (1 << X86_TRAP_MC) | (1 << X86_TRAP_DB) | (1 << X86_TRAP_AC)

export function updateExceptionBitmap(vcpu: Vcpu): void {
  let bitmap = ALWAYS
  if (vcpu.guestDebug & KVM_GUESTDBG_USE_SW_BP) bitmap |= 1 << X86_TRAP_BP
  if (vcpu.xfdArmed) bitmap |= 1 << X86_TRAP_NM
  vcpu.vmcs.controls.exceptionBitmap = bitmap
}

/** Controls of a new vCPU. `bind` gives it the vCPU once that exists. */
export function newControls(vm: Vm): VmControls & { bind(vcpu: Vcpu): void } {
  let owner: Vcpu | null = null
  return {
    exceptionBitmap: ALWAYS,
    msrReadExits: (index) => owner === null || msrReadExits(owner, index),
    msrWriteExits: (index) => owner === null || msrWriteExits(owner, index),
    hltExiting: (vm.disabledExits & KVM_X86_DISABLE_EXITS_HLT) === 0,
    pauseExiting: false,
    rdtscExiting: false,
    rdpmcExiting: true,
    drExiting: true,
    mwaitExiting: (vm.disabledExits & KVM_X86_DISABLE_EXITS_MWAIT) === 0,
    interruptWindowExiting: false,
    nmiWindowExiting: false,
    // The task priority register belongs to the local APIC model.
    cr8Exiting: true,
    busLockExiting: vm.busLockExits,
    bind: (vcpu) => {
      owner = vcpu
    },
  }
}
