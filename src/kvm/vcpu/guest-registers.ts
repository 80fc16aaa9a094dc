import { isLoaded, loadGuestFpu, putGuestFpu } from '../../linux/fpu/door.ts'
import type { PinnedProcessor } from '../../linux/processor.ts'
import type { Vcpu } from './vcpu.ts'

/** The exchange of host and guest registers around KVM_RUN. GFPU-09..11, -16; Linux kvm_load_guest_fpu(), kvm_put_guest_fpu(). */

export function loadGuestRegisters(cpu: PinnedProcessor, vcpu: Vcpu): void {
  if (isLoaded(vcpu.guestFpu) && killsVm(vcpu, 'kvm_load_guest_fpu')) return
  loadGuestFpu(cpu, vcpu.guestFpu)
}

export function putGuestRegisters(cpu: PinnedProcessor, vcpu: Vcpu): void {
  if (!isLoaded(vcpu.guestFpu) && killsVm(vcpu, 'kvm_put_guest_fpu')) return
  putGuestFpu(cpu, vcpu.guestFpu)
}

/** KVM_BUG_ON: the VM is dead, every later ioctl on it is EIO. Kernels without that check go on (GFPU-16). */
function killsVm({ vm }: Vcpu, place: string): boolean {
  const { kernel, profile } = vm.kvm
  if (!profile.fpu.imbalancedSwapIsBug) return false
  kernel.log.warn(`WARNING: ${place}: guest registers swapped out of turn (GFPU-16)`)
  vm.markDead()
  return true
}
