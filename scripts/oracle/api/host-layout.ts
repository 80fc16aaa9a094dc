import type { Host } from '../../../src/vmm/modelled/host.ts'

/** Where the processor puts a user component in a standard-form image: what its CPUID says; null where it has none there. */
export function standardOffset({ model }: Host, component: number): { offset: number; size: number } | null {
  if (component === 2) return { offset: 576, size: 256 }
  const { eax, ebx, ecx } = model.cpuid(0xd, component)
  return eax === 0 || (ecx & 1) !== 0 || ebx === 0 ? null : { offset: ebx, size: eax }
}

/** The process could use tiles: the processor has them and the kernel enabled them in XCR0. */
export const hasAmx = (host: Host, supported: bigint): boolean =>
  host.model.has('amx-tile') && (supported & 0x60000n) === 0x60000n
