import { array, bytes, nested, nestedArray, s8, s32, s64, struct, u8, u16, u32, u64 } from './struct-layout.ts'

// biome-ignore-all format: tables keep the grouping of the C structures
/**
 * Structures of include/uapi/linux/kvm.h and arch/x86/include/uapi/asm/kvm.h (Linux 6.12), field names as there.
 * Offsets in bytes. Padding is left out; "flexible" structures list their header, the repeated entry is its own table.
 */

// ==== registers ====================================================================================================

export const kvm_regs = struct('kvm_regs', 0x90, {
  rax: u64(0x00),
  rbx: u64(0x08),
  rcx: u64(0x10),
  rdx: u64(0x18),
  rsi: u64(0x20),
  rdi: u64(0x28),
  rsp: u64(0x30),
  rbp: u64(0x38),
  r8: u64(0x40),
  r9: u64(0x48),
  r10: u64(0x50),
  r11: u64(0x58),
  r12: u64(0x60),
  r13: u64(0x68),
  r14: u64(0x70),
  r15: u64(0x78),
  rip: u64(0x80),
  rflags: u64(0x88),
})

export const kvm_segment = struct('kvm_segment', 0x18, {
  base: u64(0x00),
  limit: u32(0x08),
  selector: u16(0x0c),
  type: u8(0x0e),
  present: u8(0x0f),
  dpl: u8(0x10),
  db: u8(0x11),
  s: u8(0x12),
  l: u8(0x13),
  g: u8(0x14),
  avl: u8(0x15),
  unusable: u8(0x16),
})

export const kvm_dtable = struct('kvm_dtable', 0x10, { base: u64(0x00), limit: u16(0x08) })

const sregsCommon = {
  cs: nested(kvm_segment, 0x00),
  ds: nested(kvm_segment, 0x18),
  es: nested(kvm_segment, 0x30),
  fs: nested(kvm_segment, 0x48),
  gs: nested(kvm_segment, 0x60),
  ss: nested(kvm_segment, 0x78),
  tr: nested(kvm_segment, 0x90),
  ldt: nested(kvm_segment, 0xa8),
  gdt: nested(kvm_dtable, 0xc0),
  idt: nested(kvm_dtable, 0xd0),
  cr0: u64(0xe0),
  cr2: u64(0xe8),
  cr3: u64(0xf0),
  cr4: u64(0xf8),
  cr8: u64(0x100),
  efer: u64(0x108),
  apic_base: u64(0x110),
}
export const kvm_sregs = struct('kvm_sregs', 0x138, { ...sregsCommon, interrupt_bitmap: array(u64, 0x118, 4) })
export const kvm_sregs2 = struct('kvm_sregs2', 0x140, { ...sregsCommon, flags: u64(0x118), pdptrs: array(u64, 0x120, 4) })

export const kvm_vcpu_events = struct('kvm_vcpu_events', 0x40, {
  exception_injected: u8(0x00),
  exception_nr: u8(0x01),
  exception_has_error_code: u8(0x02),
  exception_pending: u8(0x03),
  exception_error_code: u32(0x04),
  interrupt_injected: u8(0x08),
  interrupt_nr: u8(0x09),
  interrupt_soft: u8(0x0a),
  interrupt_shadow: u8(0x0b),
  nmi_injected: u8(0x0c),
  nmi_pending: u8(0x0d),
  nmi_masked: u8(0x0e),
  sipi_vector: u32(0x10),
  flags: u32(0x14),
  smi_smm: u8(0x18),
  smi_pending: u8(0x19),
  smi_smm_inside_nmi: u8(0x1a),
  smi_latched_init: u8(0x1b),
  triple_fault_pending: u8(0x1c),
  exception_has_payload: u8(0x37),
  exception_payload: u64(0x38),
})

export const kvm_debugregs = struct('kvm_debugregs', 0x80, {
  db: array(u64, 0x00, 4),
  dr6: u64(0x20),
  dr7: u64(0x28),
  flags: u64(0x30),
})
export const kvm_guest_debug = struct('kvm_guest_debug', 0x48, { control: u32(0x00), debugreg: array(u64, 0x08, 8) })
export const kvm_one_reg = struct('kvm_one_reg', 0x10, { id: u64(0x00), addr: u64(0x08) })
/** Ids follow. */
export const kvm_reg_list = struct('kvm_reg_list', 0x08, { n: u64(0x00) })
export const kvm_mp_state = struct('kvm_mp_state', 0x04, { mp_state: u32(0x00) })
export const kvm_interrupt = struct('kvm_interrupt', 0x04, { irq: u32(0x00) })
export const kvm_translation = struct('kvm_translation', 0x18, {
  linear_address: u64(0x00),
  physical_address: u64(0x08),
  valid: u8(0x10),
  writeable: u8(0x11),
  usermode: u8(0x12),
})

// ==== extended state ===============================================================================================

export const kvm_fpu = struct('kvm_fpu', 0x1a0, {
  fpr: bytes(0x00, 128),
  fcw: u16(0x80),
  fsw: u16(0x82),
  ftwx: u8(0x84),
  last_opcode: u16(0x86),
  last_ip: u64(0x88),
  last_dp: u64(0x90),
  xmm: bytes(0x98, 256),
  mxcsr: u32(0x198),
})
/** Also KVM_GET_XSAVE2 and KVM_SET_XSAVE of a vCPU with dynamic components: the flexible tail follows. */
export const kvm_xsave = struct('kvm_xsave', 0x1000, { region: bytes(0x00, 4096) })
export const kvm_xcr = struct('kvm_xcr', 0x10, { xcr: u32(0x00), value: u64(0x08) })
export const kvm_xcrs = struct('kvm_xcrs', 0x188, { nr_xcrs: u32(0x00), flags: u32(0x04), xcrs: nestedArray(kvm_xcr, 0x08, 16) })

// ==== MSRs and CPUID ===============================================================================================

export const kvm_msr_entry = struct('kvm_msr_entry', 0x10, { index: u32(0x00), data: u64(0x08) })
/** Flexible: `nmsrs` kvm_msr_entry follow. */
export const kvm_msrs = struct('kvm_msrs', 0x08, { nmsrs: u32(0x00) })
/** Flexible: `nmsrs` u32 indices follow. */
export const kvm_msr_list = struct('kvm_msr_list', 0x04, { nmsrs: u32(0x00) })
export const kvm_msr_filter_range = struct('kvm_msr_filter_range', 0x18, {
  flags: u32(0x00),
  nmsrs: u32(0x04),
  base: u32(0x08),
  bitmap: u64(0x10),
})
export const kvm_msr_filter = struct('kvm_msr_filter', 0x188, {
  flags: u32(0x00),
  ranges: nestedArray(kvm_msr_filter_range, 0x08, 16),
})
/** Legacy KVM_SET_CPUID entry. */
export const kvm_cpuid_entry = struct('kvm_cpuid_entry', 0x18, {
  function: u32(0x00),
  eax: u32(0x04),
  ebx: u32(0x08),
  ecx: u32(0x0c),
  edx: u32(0x10),
})
export const kvm_cpuid_entry2 = struct('kvm_cpuid_entry2', 0x28, {
  function: u32(0x00),
  index: u32(0x04),
  flags: u32(0x08),
  eax: u32(0x0c),
  ebx: u32(0x10),
  ecx: u32(0x14),
  edx: u32(0x18),
  padding: array(u32, 0x1c, 3),
})
/** Flexible: `nent` entries follow. Serves kvm_cpuid (legacy) and kvm_cpuid2. */
export const kvm_cpuid2 = struct('kvm_cpuid2', 0x08, { nent: u32(0x00) })

// ==== memory =======================================================================================================

const userspaceMemoryRegion = {
  slot: u32(0x00),
  flags: u32(0x04),
  guest_phys_addr: u64(0x08),
  memory_size: u64(0x10),
  userspace_addr: u64(0x18),
}
export const kvm_userspace_memory_region = struct('kvm_userspace_memory_region', 0x20, userspaceMemoryRegion)
export const kvm_userspace_memory_region2 = struct('kvm_userspace_memory_region2', 0xa0, {
  ...userspaceMemoryRegion,
  guest_memfd_offset: u64(0x20),
  guest_memfd: u32(0x28),
})
export const kvm_dirty_log = struct('kvm_dirty_log', 0x10, { slot: u32(0x00), dirty_bitmap: u64(0x08) })
export const kvm_clear_dirty_log = struct('kvm_clear_dirty_log', 0x18, {
  slot: u32(0x00),
  num_pages: u32(0x04),
  first_page: u64(0x08),
  dirty_bitmap: u64(0x10),
})
export const kvm_dirty_gfn = struct('kvm_dirty_gfn', 0x10, { flags: u32(0x00), slot: u32(0x04), offset: u64(0x08) })
export const kvm_coalesced_mmio_zone = struct('kvm_coalesced_mmio_zone', 0x10, {
  addr: u64(0x00),
  size: u32(0x08),
  pio: u32(0x0c),
})
export const kvm_coalesced_mmio = struct('kvm_coalesced_mmio', 0x18, {
  phys_addr: u64(0x00),
  len: u32(0x08),
  pio: u32(0x0c),
  data: bytes(0x10, 8),
})
/** `first` and `last` of the ring page; entries of kvm_coalesced_mmio follow at 8. */
export const kvm_coalesced_mmio_ring = struct('kvm_coalesced_mmio_ring', 0x08, { first: u32(0x00), last: u32(0x04) })
export const kvm_memory_attributes = struct('kvm_memory_attributes', 0x20, {
  address: u64(0x00),
  size: u64(0x08),
  attributes: u64(0x10),
  flags: u64(0x18),
})
export const kvm_create_guest_memfd = struct('kvm_create_guest_memfd', 0x40, { size: u64(0x00), flags: u64(0x08) })
export const kvm_pre_fault_memory = struct('kvm_pre_fault_memory', 0x40, { gpa: u64(0x00), size: u64(0x08), flags: u64(0x10) })

// ==== interrupts and time ==========================================================================================

export const kvm_irq_level = struct('kvm_irq_level', 0x08, { irq: u32(0x00), level: u32(0x04) })
/** u@0x10 is {irqchip, pin} or {address_lo, address_hi, data, devid}. */
export const kvm_irq_routing_entry = struct('kvm_irq_routing_entry', 0x30, {
  gsi: u32(0x00),
  type: u32(0x04),
  flags: u32(0x08),
  u0: u32(0x10),
  u1: u32(0x14),
  u2: u32(0x18),
  u3: u32(0x1c),
})
/** Flexible: `nr` entries follow. */
export const kvm_irq_routing = struct('kvm_irq_routing', 0x08, { nr: u32(0x00), flags: u32(0x04) })
export const kvm_irqfd = struct('kvm_irqfd', 0x20, { fd: u32(0x00), gsi: u32(0x04), flags: u32(0x08), resamplefd: u32(0x0c) })
export const kvm_ioeventfd = struct('kvm_ioeventfd', 0x40, {
  datamatch: u64(0x00),
  addr: u64(0x08),
  len: u32(0x10),
  fd: s32(0x14),
  flags: u32(0x18),
})
export const kvm_msi = struct('kvm_msi', 0x20, {
  address_lo: u32(0x00),
  address_hi: u32(0x04),
  data: u32(0x08),
  flags: u32(0x0c),
  devid: u32(0x10),
})
export const kvm_irqchip = struct('kvm_irqchip', 0x208, { chip_id: u32(0x00), chip: bytes(0x08, 512) })
export const kvm_pic_state = struct('kvm_pic_state', 0x10, {
  last_irr: u8(0x0),
  irr: u8(0x1),
  imr: u8(0x2),
  isr: u8(0x3),
  priority_add: u8(0x4),
  irq_base: u8(0x5),
  read_reg_select: u8(0x6),
  poll: u8(0x7),
  special_mask: u8(0x8),
  init_state: u8(0x9),
  auto_eoi: u8(0xa),
  rotate_on_auto_eoi: u8(0xb),
  special_fully_nested_mode: u8(0xc),
  init4: u8(0xd),
  elcr: u8(0xe),
  elcr_mask: u8(0xf),
})
export const kvm_ioapic_state = struct('kvm_ioapic_state', 0xd8, {
  base_address: u64(0x00),
  ioregsel: u32(0x08),
  id: u32(0x0c),
  irr: u32(0x10),
  redirtbl: array(u64, 0x18, 24),
})
export const kvm_lapic_state = struct('kvm_lapic_state', 0x400, { regs: bytes(0x00, 1024) })
export const kvm_pit_channel_state = struct('kvm_pit_channel_state', 0x18, {
  count: u32(0x00),
  latched_count: u16(0x04),
  count_latched: u8(0x06),
  status_latched: u8(0x07),
  status: u8(0x08),
  read_state: u8(0x09),
  write_state: u8(0x0a),
  write_latch: u8(0x0b),
  rw_mode: u8(0x0c),
  mode: u8(0x0d),
  bcd: u8(0x0e),
  gate: u8(0x0f),
  count_load_time: s64(0x10),
})
export const kvm_pit_state = struct('kvm_pit_state', 0x48, { channels: nestedArray(kvm_pit_channel_state, 0x00, 3) })
export const kvm_pit_state2 = struct('kvm_pit_state2', 0x70, {
  channels: nestedArray(kvm_pit_channel_state, 0x00, 3),
  flags: u32(0x48),
})
export const kvm_pit_config = struct('kvm_pit_config', 0x40, { flags: u32(0x00) })
export const kvm_reinject_control = struct('kvm_reinject_control', 0x20, { pit_reinject: u8(0x00) })
export const kvm_clock_data = struct('kvm_clock_data', 0x30, {
  clock: u64(0x00),
  flags: u32(0x08),
  realtime: u64(0x10),
  host_tsc: u64(0x18),
})
export const kvm_vapic_addr = struct('kvm_vapic_addr', 0x08, { vapic_addr: u64(0x00) })
export const kvm_tpr_access_ctl = struct('kvm_tpr_access_ctl', 0x28, { enabled: u32(0x00), flags: u32(0x04) })
/** Guest memory, not an ioctl argument: kvmclock page. */
export const pvclock_vcpu_time_info = struct('pvclock_vcpu_time_info', 0x20, {
  version: u32(0x00),
  tsc_timestamp: u64(0x08),
  system_time: u64(0x10),
  tsc_to_system_mul: u32(0x18),
  tsc_shift: s8(0x1c),
  flags: u8(0x1d),
})
export const kvm_steal_time = struct('kvm_steal_time', 0x40, {
  steal: u64(0x00),
  version: u32(0x08),
  flags: u32(0x0c),
  preempted: u8(0x10),
})

// ==== control ======================================================================================================

export const kvm_enable_cap = struct('kvm_enable_cap', 0x68, { cap: u32(0x00), flags: u32(0x04), args: array(u64, 0x08, 4) })
export const kvm_device_attr = struct('kvm_device_attr', 0x18, {
  flags: u32(0x00),
  group: u32(0x04),
  attr: u64(0x08),
  addr: u64(0x10),
})
export const kvm_create_device = struct('kvm_create_device', 0x0c, { type: u32(0x00), fd: u32(0x04), flags: u32(0x08) })
/** Flexible: `len` bytes of signal set follow. */
export const kvm_signal_mask = struct('kvm_signal_mask', 0x04, { len: u32(0x00) })
export const kvm_x86_mce = struct('kvm_x86_mce', 0x40, {
  status: u64(0x00),
  addr: u64(0x08),
  misc: u64(0x10),
  mcg_status: u64(0x18),
  bank: u8(0x20),
})
/** Flexible: `nevents` u64 follow. */
export const kvm_pmu_event_filter = struct('kvm_pmu_event_filter', 0x20, {
  action: u32(0x00),
  nevents: u32(0x04),
  fixed_counter_bitmap: u32(0x08),
  flags: u32(0x0c),
})
export const kvm_stats_header = struct('kvm_stats_header', 0x18, {
  flags: u32(0x00),
  name_size: u32(0x04),
  num_desc: u32(0x08),
  id_offset: u32(0x0c),
  desc_offset: u32(0x10),
  data_offset: u32(0x14),
})
export const kvm_stats_desc = struct('kvm_stats_desc', 0x40, {
  flags: u32(0x00),
  exponent: u16(0x04),
  size: u16(0x06),
  offset: u32(0x08),
  bucket_size: u32(0x0c),
  name: bytes(0x10, 48),
})

/** Offsets in the shared kvm_run page (0x930 bytes used). The exit union starts at EXIT; its fields depend on exit_reason. */
export const KVM_RUN_PAGE = {
  request_interrupt_window: 0x00,
  immediate_exit: 0x01,
  exit_reason: 0x08,
  ready_for_interrupt_injection: 0x0c,
  if_flag: 0x0d,
  flags: 0x0e,
  cr8: 0x10,
  apic_base: 0x18,
  EXIT: 0x20,
  kvm_valid_regs: 0x120,
  kvm_dirty_regs: 0x128,
  sync_regs: 0x130,
  sync_sregs: 0x1c0,
  sync_events: 0x2f8,
} as const
