import { EINVAL } from '../../linux/errno.ts'
import { decode, encode } from '../abi/struct-layout.ts'
import { KVM_RUN_PAGE, kvm_regs, kvm_sregs, kvm_vcpu_events } from '../abi/structs.ts'
import type { IoctlCall } from '../ioctl-table.ts'
import { KVM_GUESTDBG_SINGLESTEP } from '../run/instruction.ts'
import { getVcpuEvents, setVcpuEvents } from './events.ts'
import { readRegs, writeRegs } from './registers.ts'
import { getSregs, setSregs } from './sregs.ts'
import type { Vcpu } from './vcpu.ts'

/** Register sets that travel in the kvm_run page. KAPI-15..17. */
export const KVM_SYNC_X86_REGS = 1
export const KVM_SYNC_X86_SREGS = 2
export const KVM_SYNC_X86_EVENTS = 4
export const KVM_SYNC_X86_VALID_FIELDS = 7

/** Takes over the sets marked dirty; a set's bit is cleared once it is in. 0 or -EINVAL. */
export function importSyncRegs(vcpu: Vcpu, dirty: number, call: IoctlCall): number {
  const { run } = vcpu
  const view = run.view()
  let left = dirty
  const done = (bit: number): void => {
    left &= ~bit
    run.setHalves(KVM_RUN_PAGE.kvm_dirty_regs, left, 0)
  }
  if (dirty & KVM_SYNC_X86_REGS) {
    setRegs(vcpu, decode(kvm_regs, view, KVM_RUN_PAGE.sync_regs))
    done(KVM_SYNC_X86_REGS)
  }
  if (dirty & KVM_SYNC_X86_SREGS) {
    if (setSregs(vcpu, decode(kvm_sregs, view, KVM_RUN_PAGE.sync_sregs), call) !== 0) return -EINVAL
    done(KVM_SYNC_X86_SREGS)
  }
  if (dirty & KVM_SYNC_X86_EVENTS) {
    if (setVcpuEvents(vcpu, decode(kvm_vcpu_events, view, KVM_RUN_PAGE.sync_events), call) !== 0) return -EINVAL
    done(KVM_SYNC_X86_EVENTS)
  }
  return 0
}

export function exportSyncRegs(vcpu: Vcpu, valid: number): void {
  const view = vcpu.run.view()
  if (valid & KVM_SYNC_X86_REGS) encode(kvm_regs, getRegs(vcpu), view, KVM_RUN_PAGE.sync_regs)
  if (valid & KVM_SYNC_X86_SREGS) encode(kvm_sregs, getSregs(vcpu), view, KVM_RUN_PAGE.sync_sregs)
  if (valid & KVM_SYNC_X86_EVENTS) encode(kvm_vcpu_events, getVcpuEvents(vcpu), view, KVM_RUN_PAGE.sync_events)
}

/** KVM_GET_REGS. */
export const getRegs = (vcpu: Vcpu) => readRegs(vcpu.context, (vcpu.guestDebug & KVM_GUESTDBG_SINGLESTEP) !== 0)

/** KVM_SET_REGS: a pending exception is forgotten. KAPI-42. */
export function setRegs(vcpu: Vcpu, regs: ReturnType<typeof getRegs>): void {
  writeRegs(vcpu.context, regs)
  vcpu.exception.pending = false
  vcpu.requestEvent()
}
