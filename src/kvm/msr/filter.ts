import { EFAULT, EINVAL } from '../../linux/errno.ts'
import type { ValueOf } from '../abi/struct-layout.ts'
import type { kvm_msr_filter } from '../abi/structs.ts'
import type { IoctlCall } from '../ioctl-table.ts'

/** KVM_X86_SET_MSR_FILTER. KAPI-76. */
export const KVM_MSR_FILTER_DEFAULT_DENY = 1
export const KVM_MSR_FILTER_READ = 1
export const KVM_MSR_FILTER_WRITE = 2
const MAX_BITMAP_BYTES = 0x600

interface FilterRange {
  readonly flags: number
  readonly base: number
  readonly count: number
  readonly bitmap: Uint8Array
}

export interface MsrFilter {
  readonly defaultAllow: boolean
  readonly ranges: readonly FilterRange[]
}

/** The x2APIC range is never filtered. */
const isX2apic = (index: number): boolean => index >= 0x800 && index <= 0x8ff

/** @param direction KVM_MSR_FILTER_READ or _WRITE */
export function isMsrAllowed(filter: MsrFilter | null, index: number, direction: number): boolean {
  if (filter === null || isX2apic(index)) return true
  for (const range of filter.ranges) {
    if (index < range.base || index >= range.base + range.count || (range.flags & direction) === 0) continue
    const bit = index - range.base
    return ((range.bitmap[bit >> 3] >> (bit & 7)) & 1) === 1
  }
  return filter.defaultAllow
}

/** Builds a filter from user space's description, or a negative errno. */
export function readMsrFilter(value: ValueOf<typeof kvm_msr_filter>, call: IoctlCall): MsrFilter | number {
  if (value.flags & ~KVM_MSR_FILTER_DEFAULT_DENY) return call.refuse(EINVAL, 'KAPI-76', 'unknown flags')
  const used = value.ranges.filter((r) => r.nmsrs !== 0)
  const defaultAllow = (value.flags & KVM_MSR_FILTER_DEFAULT_DENY) === 0
  if (used.length === 0 && !defaultAllow)
    return call.refuse(EINVAL, 'KAPI-76', 'default deny without a range would deny everything')
  const ranges: FilterRange[] = []
  for (const r of used) {
    if (r.flags === 0 || r.flags & ~(KVM_MSR_FILTER_READ | KVM_MSR_FILTER_WRITE))
      return call.refuse(EINVAL, 'KAPI-76', 'a range filters neither reads nor writes')
    const bytes = Math.ceil(r.nmsrs / 64) * 8
    if (bytes > MAX_BITMAP_BYTES) return call.refuse(EINVAL, 'KAPI-76', `a bitmap of ${bytes} bytes, at most ${MAX_BITMAP_BYTES}`)
    const bitmap = new Uint8Array(bytes)
    if (!call.read(Number(r.bitmap), bitmap)) return call.refuse(EFAULT, 'KAPI-76', 'a bitmap cannot be read')
    ranges.push({ flags: r.flags, base: r.base, count: r.nmsrs, bitmap })
  }
  return { defaultAllow, ranges }
}
