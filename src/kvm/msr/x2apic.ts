import * as R from '../irqchip/apic-registers.ts'
import type { Vcpu } from '../vcpu/vcpu.ts'
import { INVALID, type MsrFailure } from './failure.ts'

/**
 * x2APIC registers as MSRs 0x800 + offset / 16. Outside x2APIC mode, or for a register that does not exist in it: #GP. The ICR
 * is one 64-bit register. KAPI-61, KAPI-64; Linux 6.12 kvm_x2apic_msr_read(), kvm_x2apic_msr_write().
 */
export function readX2apic(vcpu: Vcpu, index: number): bigint | MsrFailure {
  const { lapic } = vcpu
  if (lapic === null || !lapic.x2apic) return INVALID
  const offset = (index - 0x800) << 4
  if (offset === R.APIC_DFR || offset === R.APIC_ICR2) return INVALID
  if (offset === R.APIC_ICR) return (BigInt(lapic.get(R.APIC_ICR2)) << 32n) | BigInt(lapic.get(R.APIC_ICR))
  if (offset === R.APIC_ID) return BigInt(vcpu.id)
  const value = lapic.read(offset)
  return value < 0 ? INVALID : BigInt(value >>> 0)
}

/** ICR bits that must be 0: 31:20, 17:16, 13. Bit 12 (busy) is dropped. */
const ICR_RESERVED = 0xfff32000n

export function writeX2apic(vcpu: Vcpu, index: number, value: bigint): 0 | MsrFailure {
  const { lapic } = vcpu
  if (lapic === null || !lapic.x2apic) return INVALID
  const offset = (index - 0x800) << 4
  if (offset === R.APIC_ICR) {
    if (value & ICR_RESERVED) return INVALID
    const low = Number(value & 0xffffffffn & ~BigInt(R.APIC_ICR_BUSY))
    const high = Number(value >> 32n)
    lapic.sendIpi(low, high)
    lapic.put(R.APIC_ICR, low)
    lapic.put(R.APIC_ICR2, high)
    return 0
  }
  if (value >> 32n !== 0n) return INVALID
  return lapic.write(offset, Number(value)) ? 0 : INVALID
}
