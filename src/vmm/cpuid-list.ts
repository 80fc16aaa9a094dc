import { decode, encode } from '../kvm/abi/struct-layout.ts'
import { kvm_cpuid_entry2, kvm_cpuid2 } from '../kvm/abi/structs.ts'
import { type CpuidEntry, findEntry } from '../kvm/cpuid/entries.ts'

/** One answer of a guest's CPUID: kvm_cpuid_entry2. */
export type CpuidEntry2 = CpuidEntry

/** A kvm_cpuid2 with room for `count` entries. */
export function cpuidRoom(count: number): Uint8Array {
  const bytes = new Uint8Array(kvm_cpuid2.size + count * kvm_cpuid_entry2.size)
  encode(kvm_cpuid2, { nent: count }, new DataView(bytes.buffer))
  return bytes
}

export function cpuidFromBytes(bytes: Uint8Array): CpuidEntry2[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset)
  const { nent } = decode(kvm_cpuid2, view)
  return Array.from({ length: nent }, (_, i) => {
    const { padding: _padding, ...entry } = decode(kvm_cpuid_entry2, view, kvm_cpuid2.size + i * kvm_cpuid_entry2.size)
    return entry
  })
}

export function cpuidToBytes(entries: readonly CpuidEntry2[]): Uint8Array {
  const bytes = cpuidRoom(entries.length)
  const view = new DataView(bytes.buffer)
  entries.forEach((entry, i) => {
    encode(kvm_cpuid_entry2, entry, view, kvm_cpuid2.size + i * kvm_cpuid_entry2.size)
  })
  return bytes
}

/** The entry that answers (leaf, index), undefined where there is none. */
export const findCpuid = (entries: readonly CpuidEntry2[], leaf: number, index = 0): CpuidEntry2 | undefined =>
  findEntry(entries, leaf, index)

/** CPUID.(0DH,0).EDX:EAX: the components this CPUID gives a guest. */
export function cpuidXcr0(entries: readonly CpuidEntry2[]): bigint {
  const leaf = findCpuid(entries, 0xd, 0)
  return leaf === undefined ? 0n : (BigInt(leaf.edx) << 32n) | BigInt(leaf.eax)
}
