import type { Vcpu } from '../vcpu/vcpu.ts'
import * as R from './apic-registers.ts'

const KVM_EINVAL = 22

/**
 * KVM_HC_SEND_IPI: one interrupt to up to 128 vCPUs named by a bitmap of APIC ids from `min` on. Linux 6.12 kvm_pv_send_ipi().
 * @returns number of vCPUs it reached, or a negative error for the guest
 */
export function deliverPvIpis(vcpu: Vcpu, bitmapLow: bigint, bitmapHigh: bigint, min: number, icr: number): number {
  if (icr & (R.APIC_DEST_LOGICAL | R.APIC_SHORT_MASK)) return -KVM_EINVAL
  const mode = icr & R.APIC_MODE_MASK
  const bitmap = bitmapLow | (bitmapHigh << 64n)
  let delivered = 0
  for (const target of vcpu.vm.vcpus) {
    if (target.lapic === null || target.id < min || target.id >= min + 128) continue
    if (((bitmap >> BigInt(target.id - min)) & 1n) === 0n) continue
    if (target.lapic.accept(mode, icr & R.APIC_VECTOR_MASK, (icr & R.APIC_INT_ASSERT) !== 0, (icr & R.APIC_INT_LEVELTRIG) !== 0))
      delivered++
  }
  return delivered
}
