import { encode } from './abi/struct-layout.ts'
import { kvm_stats_desc, kvm_stats_header } from './abi/structs.ts'

/** Binary statistics: KVM_GET_STATS_FD. KAPI-116, KAPI-117; Linux 6.12 virt/kvm/binary_stats.c, x86.c kvm_vm_stats_desc. */

const CUMULATIVE = 0
const INSTANT = 1
const PEAK = 2
const LOG_HIST = 4
const UNIT_NONE = 0 << 4
const UNIT_SECONDS = 2 << 4
const UNIT_BOOLEAN = 4 << 4
const BASE_POW10 = 0 << 8

interface StatRow {
  readonly name: string
  readonly flags: number
  readonly exponent: number
  /** Number of values: 1, or the buckets of a histogram. */
  readonly size: number
}

const count = (name: string): StatRow => ({ name, flags: CUMULATIVE | UNIT_NONE | BASE_POW10, exponent: 0, size: 1 })
const instant = (name: string): StatRow => ({ name, flags: INSTANT | UNIT_NONE | BASE_POW10, exponent: 0, size: 1 })
const peak = (name: string): StatRow => ({ name, flags: PEAK | UNIT_NONE | BASE_POW10, exponent: 0, size: 1 })
const flag = (name: string): StatRow => ({ name, flags: INSTANT | UNIT_BOOLEAN | BASE_POW10, exponent: 0, size: 1 })
const nanoseconds = (name: string): StatRow => ({ name, flags: CUMULATIVE | UNIT_SECONDS | BASE_POW10, exponent: -9, size: 1 })
const histogram = (name: string): StatRow => ({ name, flags: LOG_HIST | UNIT_SECONDS | BASE_POW10, exponent: -9, size: 32 })

export const VM_STATS = [
  count('remote_tlb_flush'),
  count('remote_tlb_flush_requests'),
  count('mmu_shadow_zapped'),
  count('mmu_pte_write'),
  count('mmu_pde_zapped'),
  count('mmu_flooded'),
  count('mmu_recycled'),
  count('mmu_cache_miss'),
  instant('mmu_unsync'),
  instant('pages_4k'),
  instant('pages_2m'),
  instant('pages_1g'),
  instant('nx_lpage_splits'),
  peak('max_mmu_rmap_size'),
  peak('max_mmu_page_hash_collisions'),
] as const

export const VCPU_STATS = [
  count('halt_successful_poll'),
  count('halt_attempted_poll'),
  count('halt_poll_invalid'),
  count('halt_wakeup'),
  nanoseconds('halt_poll_success_ns'),
  nanoseconds('halt_poll_fail_ns'),
  nanoseconds('halt_wait_ns'),
  histogram('halt_poll_success_hist'),
  histogram('halt_poll_fail_hist'),
  histogram('halt_wait_hist'),
  flag('blocking'),
  count('pf_taken'),
  count('pf_fixed'),
  count('pf_emulate'),
  count('pf_spurious'),
  count('pf_fast'),
  count('pf_mmio_spte_created'),
  count('pf_guest'),
  count('tlb_flush'),
  count('invlpg'),
  count('exits'),
  count('io_exits'),
  count('mmio_exits'),
  count('signal_exits'),
  count('irq_window_exits'),
  count('nmi_window_exits'),
  count('l1d_flush'),
  count('halt_exits'),
  count('request_irq_exits'),
  count('irq_exits'),
  count('host_state_reload'),
  count('fpu_reload'),
  count('insn_emulation'),
  count('insn_emulation_fail'),
  count('hypercalls'),
  count('irq_injections'),
  count('nmi_injections'),
  count('req_event'),
  count('nested_run'),
  count('directed_yield_attempted'),
  count('directed_yield_successful'),
  count('preemption_reported'),
  count('preemption_other'),
  flag('guest_mode'),
  count('notify_window_exits'),
] as const

/** Counters KVM keeps; histograms and what the model never does stay 0. */
export interface VcpuStats {
  halt_wakeup: number
  pf_taken: number
  pf_fixed: number
  pf_emulate: number
  exits: number
  io_exits: number
  mmio_exits: number
  signal_exits: number
  irq_window_exits: number
  nmi_window_exits: number
  halt_exits: number
  request_irq_exits: number
  irq_exits: number
  insn_emulation: number
  insn_emulation_fail: number
  hypercalls: number
  irq_injections: number
  nmi_injections: number
  req_event: number
}
export const newVcpuStats = (): VcpuStats => ({
  halt_wakeup: 0,
  pf_taken: 0,
  pf_fixed: 0,
  pf_emulate: 0,
  exits: 0,
  io_exits: 0,
  mmio_exits: 0,
  signal_exits: 0,
  irq_window_exits: 0,
  nmi_window_exits: 0,
  halt_exits: 0,
  request_irq_exits: 0,
  irq_exits: 0,
  insn_emulation: 0,
  insn_emulation_fail: 0,
  hypercalls: 0,
  irq_injections: 0,
  nmi_injections: 0,
  req_event: 0,
})

const NAME_SIZE = 48

/** The whole file: header, id string, descriptors, data. */
export function statsImage(id: string, rows: readonly StatRow[], values: Readonly<Record<string, number>>): Uint8Array {
  const descOffset = kvm_stats_header.size + NAME_SIZE
  const dataOffset = descOffset + rows.length * kvm_stats_desc.size
  const words = rows.reduce((sum, row) => sum + row.size, 0)
  const image = new Uint8Array(dataOffset + words * 8)
  const view = new DataView(image.buffer)
  encode(
    kvm_stats_header,
    {
      flags: 0,
      name_size: NAME_SIZE,
      num_desc: rows.length,
      id_offset: kvm_stats_header.size,
      desc_offset: descOffset,
      data_offset: dataOffset,
    },
    view,
  )
  image.set(ascii(id), kvm_stats_header.size)
  let offset = 0
  rows.forEach((row, i) => {
    const at = descOffset + i * kvm_stats_desc.size
    encode(
      kvm_stats_desc,
      { flags: row.flags, exponent: row.exponent & 0xffff, size: row.size, offset, bucket_size: 0, name: ascii(row.name) },
      view,
      at,
    )
    view.setBigUint64(dataOffset + offset, BigInt(values[row.name] ?? 0), true)
    offset += row.size * 8
  })
  return image
}

function ascii(text: string): Uint8Array {
  const bytes = new Uint8Array(NAME_SIZE)
  for (let i = 0; i < text.length && i < NAME_SIZE - 1; i++) bytes[i] = text.charCodeAt(i)
  return bytes
}
