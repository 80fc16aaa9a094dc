/** CPUID lists as KVM keeps them, and how it looks things up in them. */

/** kvm_cpuid_entry2 flag: the entry answers only for its own ECX. */
export const KVM_CPUID_FLAG_SIGNIFCANT_INDEX = 1
export const KVM_MAX_CPUID_ENTRIES = 256

export interface CpuidEntry {
  function: number
  index: number
  flags: number
  eax: number
  ebx: number
  ecx: number
  edx: number
}

/** Leaves whose answer depends on ECX. Linux 6.12 arch/x86/kvm/cpuid.h cpuid_function_is_indexed(). */
const INDEXED = new Set([0x4, 0x7, 0xb, 0xd, 0xf, 0x10, 0x12, 0x14, 0x17, 0x18, 0x1d, 0x1e, 0x1f, 0x24, 0x8000001d])

export const isIndexedLeaf = (leaf: number): boolean => INDEXED.has(leaf)

/** Any index: for leaves that have no subleaves. */
export const ANY_INDEX = -1

/**
 * First entry that answers (leaf, index): an entry without the significant-index flag answers every index (so a legacy
 * KVM_SET_CPUID list matches every subleaf with its first entry, XSAVE-53).
 */
export function findEntry(entries: readonly CpuidEntry[], leaf: number, index: number): CpuidEntry | undefined {
  for (let i = 0; i < entries.length; i++) {
    const e = entries[i]
    if (e.function !== leaf) continue
    if ((e.flags & KVM_CPUID_FLAG_SIGNIFCANT_INDEX) === 0 || e.index === index || index === ANY_INDEX) return e
  }
  return undefined
}

export function entriesEqual(a: readonly CpuidEntry[], b: readonly CpuidEntry[]): boolean {
  if (a.length !== b.length) return false
  return a.every((x, i) => {
    const y = b[i]
    return (
      x.function === y.function &&
      x.index === y.index &&
      x.flags === y.flags &&
      x.eax === y.eax &&
      x.ebx === y.ebx &&
      x.ecx === y.ecx &&
      x.edx === y.edx
    )
  })
}
