import type { CpuidEntry2 } from '../cpuid-list.ts'
import type { Process } from '../process.ts'

/** Leaves 80000002H..80000004H hold the processor's name, 48 bytes with its NUL. SDM Vol. 2A CPUID. */
const BRAND_FIRST = 0x80000002
const BRAND_LEAVES = 3

/**
 * The CPUID of vCPU `apicId`: what KVM supports, with what KVM leaves to the VMM: the processor's name (KVM gives zeros), and
 * the APIC id, which in KVM's list is that of the processor that was asked.
 */
export function guestCpuid(supported: readonly CpuidEntry2[], brand: string, apicId: number): CpuidEntry2[] {
  const text = new Uint8Array(BRAND_LEAVES * 16)
  text.set(new TextEncoder().encode(brand).subarray(0, text.length - 1))
  const words = new DataView(text.buffer)
  return supported.map((entry): CpuidEntry2 => {
    const leaf = entry.function >>> 0
    if (leaf === 1) return { ...entry, ebx: ((entry.ebx & 0xffffff) | (apicId << 24)) >>> 0 }
    if (leaf === 0xb || leaf === 0x1f) return { ...entry, edx: apicId }
    const at = (leaf - BRAND_FIRST) * 16
    if (at < 0 || at >= text.length) return entry
    const [eax, ebx, ecx, edx] = [0, 4, 8, 12].map((offset) => words.getUint32(at + offset, true))
    return { ...entry, eax, ebx, ecx, edx }
  })
}

/** The host processor's name, as /proc/cpuinfo says it; empty where it does not. */
export function hostBrand(process: Process): string {
  return /^model name\s*: (.*)$/m.exec(process.readFile('/proc/cpuinfo'))?.[1] ?? ''
}
