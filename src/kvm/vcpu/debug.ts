import { X86_EFLAGS_TF } from '../../isa/control-registers.ts'
import { X86_TRAP_BP, X86_TRAP_DB } from '../../isa/vectors.ts'
import { EBUSY, EINVAL } from '../../linux/errno.ts'
import type { ValueOf } from '../abi/struct-layout.ts'
import type { kvm_debugregs, kvm_guest_debug } from '../abi/structs.ts'
import type { IoctlCall } from '../ioctl-table.ts'
import {
  KVM_GUESTDBG_ENABLE,
  KVM_GUESTDBG_INJECT_BP,
  KVM_GUESTDBG_INJECT_DB,
  KVM_GUESTDBG_SINGLESTEP,
  KVM_GUESTDBG_USE_HW_BP,
  linearRip,
} from '../run/instruction.ts'
import { updateExceptionBitmap } from '../run/intercepts.ts'
import { deliverPayloadForUser } from './events.ts'
import type { Vcpu } from './vcpu.ts'

/** KVM_GET_DEBUGREGS. */
export function getDebugregs(vcpu: Vcpu): ValueOf<typeof kvm_debugregs> {
  deliverPayloadForUser(vcpu)
  return { db: [...vcpu.db], dr6: BigInt(vcpu.dr6 >>> 0), dr7: BigInt(vcpu.dr7 >>> 0), flags: 0n }
}

/** KVM_SET_DEBUGREGS: stored as given. KAPI-49. */
export function setDebugregs(vcpu: Vcpu, regs: ValueOf<typeof kvm_debugregs>, call: IoctlCall): number {
  if (regs.flags !== 0n) return call.refuse(EINVAL, 'KAPI-49', 'flags must be 0')
  if (regs.dr6 >> 32n || regs.dr7 >> 32n) return call.refuse(EINVAL, 'KAPI-49', 'DR6 and DR7 have 32 bits')
  for (let i = 0; i < 4; i++) vcpu.db[i] = regs.db[i]
  vcpu.dr6 = Number(regs.dr6)
  vcpu.dr7 = Number(regs.dr7)
  vcpu.updateDr7()
  return 0
}

/** KVM_SET_GUEST_DEBUG. KAPI-56; Linux 6.12 kvm_arch_vcpu_ioctl_set_guest_debug(). */
export function setGuestDebug(vcpu: Vcpu, debug: ValueOf<typeof kvm_guest_debug>, call: IoctlCall): number {
  const { control } = debug
  if (control & (KVM_GUESTDBG_INJECT_DB | KVM_GUESTDBG_INJECT_BP)) {
    if (vcpu.exception.pending) return call.refuse(EBUSY, 'KAPI-56', 'an exception is pending')
    vcpu.queueException(control & KVM_GUESTDBG_INJECT_DB ? X86_TRAP_DB : X86_TRAP_BP)
  }
  vcpu.guestDebug = control & KVM_GUESTDBG_ENABLE ? control : 0
  if (vcpu.guestDebug & KVM_GUESTDBG_USE_HW_BP) {
    for (let i = 0; i < 4; i++) vcpu.debugDb[i] = debug.debugreg[i]
    vcpu.debugDr7 = Number(debug.debugreg[7] & 0xffffffffn)
  }
  vcpu.updateDr7()
  if (vcpu.guestDebug & KVM_GUESTDBG_SINGLESTEP) vcpu.singleStepRip = linearRip(vcpu)
  else vcpu.context.rflagsRest &= ~X86_EFLAGS_TF
  updateExceptionBitmap(vcpu)
  return 0
}
