import type { MemoryDevice } from '../memory/bus.ts'
import type { Vcpu } from '../vcpu/vcpu.ts'
import type { Ioapic } from './ioapic.ts'
import { apicMode, LAPIC_MODE_XAPIC } from './lapic.ts'

const PAGE = 4096

/** The register page of each vCPU's local APIC: 32-bit registers, 16 bytes apart, in xAPIC mode only. KAPI-61. */
export const apicPage: MemoryDevice = {
  read: (vcpu, gpa, into) => {
    const offset = offsetInPage(vcpu, gpa)
    if (offset < 0) return false
    const value = vcpu.lapic!.read(offset & ~0xf)
    const word = value < 0 ? 0 : value
    for (let i = 0; i < into.length; i++) into[i] = (word >>> (((offset & 0xf) + i) * 8)) & 0xff
    return true
  },
  write: (vcpu, gpa, from) => {
    const offset = offsetInPage(vcpu, gpa)
    if (offset < 0) return false
    // Only aligned 32-bit writes reach a register (SDM Vol. 3, 11.4.1); the rest is dropped.
    if (from.length === 4 && (offset & 0xf) === 0) {
      vcpu.lapic!.write(offset, from[0] | (from[1] << 8) | (from[2] << 16) | (from[3] << 24))
    }
    return true
  },
}

/** Offset in the vCPU's APIC page, -1 outside it or in another mode. */
function offsetInPage(vcpu: Vcpu, gpa: number): number {
  const { lapic } = vcpu
  if (lapic === null || apicMode(vcpu.apicBase) !== LAPIC_MODE_XAPIC) return -1
  const offset = gpa - lapic.baseAddress
  return offset >= 0 && offset < PAGE ? offset : -1
}

/** The I/O APIC's window of 256 bytes at its base. */
export function ioapicWindow(ioapic: Ioapic): MemoryDevice {
  const offsetOf = (gpa: number): number => (gpa >= ioapic.base && gpa < ioapic.base + 0x100 ? gpa - ioapic.base : -1)
  return {
    read: (_vcpu, gpa, into) => {
      const offset = offsetOf(gpa)
      if (offset < 0) return false
      const value = ioapic.read(offset & 0xff)
      for (let i = 0; i < into.length; i++) into[i] = i < 4 ? (value >>> (i * 8)) & 0xff : 0
      return true
    },
    write: (_vcpu, gpa, from) => {
      const offset = offsetOf(gpa)
      if (offset < 0) return false
      let value = 0
      for (let i = 0; i < Math.min(4, from.length); i++) value |= from[i] << (i * 8)
      ioapic.write(offset & 0xff, value)
      return true
    },
  }
}
