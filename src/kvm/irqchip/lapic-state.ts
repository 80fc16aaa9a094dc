import { EINVAL } from '../../linux/errno.ts'
import type { IoctlCall } from '../ioctl-table.ts'
import { REQ_EVENT, type Vcpu } from '../vcpu/vcpu.ts'
import * as R from './apic-registers.ts'
import { x2apicLdr } from './lapic.ts'

/** KVM_GET_LAPIC: the register page with the timer's current count. KAPI-62. */
export function readLapicState(vcpu: Vcpu, call: IoctlCall): { regs: Uint8Array } | number {
  const lapic = vcpu.lapic!
  const page = lapic.regs.slice()
  page[R.APIC_TMCCT >> 2] = lapic.timer.currentCount()
  if (lapic.x2apic) {
    if (vcpu.vm.x2apicIds32 && page[R.APIC_ID >> 2] !== vcpu.id)
      return call.refuse(EINVAL, 'KAPI-62', 'the APIC ID is not the vCPU id')
    page[R.APIC_ID >> 2] = vcpu.vm.x2apicIds32 ? vcpu.id : (vcpu.id << 24) >>> 0
  }
  return { regs: new Uint8Array(page.buffer) }
}

/** KVM_SET_LAPIC: takes the page, goes on with the timer from its current count. KAPI-62, KAPI-63. */
export function writeLapicState(vcpu: Vcpu, bytes: Uint8Array, call: IoctlCall): number {
  const lapic = vcpu.lapic!
  const page = new Uint32Array(bytes.slice().buffer)
  if (lapic.x2apic) {
    if (vcpu.vm.x2apicIds32 && page[R.APIC_ID >> 2] !== vcpu.id)
      return call.refuse(EINVAL, 'KAPI-62', 'the APIC ID is not the vCPU id')
    page[R.APIC_ID >> 2] = vcpu.id
    page[R.APIC_LDR >> 2] = x2apicLdr(vcpu.id)
  }
  const count = page[R.APIC_TMCCT >> 2]
  lapic.regs.set(page)
  lapic.setVersion()
  lapic.updatePpr()
  lapic.put(R.APIC_TMCCT, 0)
  lapic.timer.restart(count)
  lapic.arbitrationPriority = 0
  vcpu.request(REQ_EVENT)
  return 0
}
