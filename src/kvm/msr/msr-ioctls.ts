import { MSR_IA32_XFD } from '../../isa/msr-index.ts'
import type { MaybePreemptible, Preemptible } from '../../linux/preemption.ts'
import { stoppedAtMsr } from '../explain.ts'
import type { IoctlCall } from '../ioctl-table.ts'
import type { Vcpu } from '../vcpu/vcpu.ts'
import { hostFailure, hostReadMsr, hostWriteMsr } from './access.ts'
import { GuestFpuWindow } from './guest-fpu-window.ts'
import { type MsrAccess, transferMsrs, transferMsrsPreemptibly } from './msr-list.ts'

/** KVM_GET_MSRS and KVM_SET_MSRS of a vCPU. KAPI-72..74. */

export function getMsrs(vcpu: Vcpu, call: IoctlCall): MaybePreemptible<number> {
  return overMsrs(vcpu, call, true, (index) => {
    const data = hostReadMsr(vcpu, index)
    if (data === null) call.task.refusal = stoppedAtMsr(vcpu, index, null, hostFailure.why)
    return data
  })
}

export function setMsrs(vcpu: Vcpu, call: IoctlCall): MaybePreemptible<number> {
  return overMsrs(vcpu, call, false, (index, data) => {
    if (!hostWriteMsr(vcpu, index, data)) {
      call.task.refusal = stoppedAtMsr(vcpu, index, data, hostFailure.why)
      return null
    }
    if (index !== MSR_IA32_XFD) vcpu.vm.kvm.trace?.msr(vcpu, true, index, data)
    return data
  })
}

/** With the guest FPU swapped in from the first MSR on that lies in its registers. */
function overMsrs(vcpu: Vcpu, call: IoctlCall, reads: boolean, access: MsrAccess): MaybePreemptible<number> {
  const window = new GuestFpuWindow(vcpu, call.task)
  const inWindow: MsrAccess = (index, data) => {
    window.reaches(index)
    return access(index, data)
  }
  if (call.task.kernel.yieldsEverywhere) return preemptibly(call, reads, inWindow, window)
  const result = transferMsrs(call, reads, inWindow)
  window.close()
  return result
}

function* preemptibly(call: IoctlCall, reads: boolean, access: MsrAccess, window: GuestFpuWindow): Preemptible<number> {
  const result = yield* transferMsrsPreemptibly(call, reads, access)
  window.close()
  return result
}
