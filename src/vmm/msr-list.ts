import { decode, encode } from '../kvm/abi/struct-layout.ts'
import { kvm_msr_entry, kvm_msrs } from '../kvm/abi/structs.ts'

/** kvm_msr_entry */
export interface MsrEntry {
  readonly index: number
  readonly data: bigint
}

/** Most entries of one KVM_GET_MSRS or KVM_SET_MSRS (more are E2BIG). */
export const MAX_MSR_ENTRIES = 255

export function msrsToBytes(entries: readonly MsrEntry[]): Uint8Array {
  const bytes = new Uint8Array(kvm_msrs.size + entries.length * kvm_msr_entry.size)
  const view = new DataView(bytes.buffer)
  encode(kvm_msrs, { nmsrs: entries.length }, view)
  entries.forEach((entry, i) => {
    encode(kvm_msr_entry, entry, view, kvm_msrs.size + i * kvm_msr_entry.size)
  })
  return bytes
}

/** The first `count` entries. */
export function msrsFromBytes(bytes: Uint8Array, count: number): MsrEntry[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset)
  return Array.from({ length: count }, (_, i) => decode(kvm_msr_entry, view, kvm_msrs.size + i * kvm_msr_entry.size))
}
