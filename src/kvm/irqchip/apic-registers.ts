/** Local APIC register offsets and bits (SDM Vol. 3 chapter 11; Linux arch/x86/include/asm/apicdef.h). */
export const APIC_ID = 0x20
export const APIC_LVR = 0x30
export const APIC_TASKPRI = 0x80
export const APIC_PROCPRI = 0xa0
export const APIC_EOI = 0xb0
export const APIC_LDR = 0xd0
export const APIC_DFR = 0xe0
export const APIC_SPIV = 0xf0
export const APIC_ISR = 0x100
export const APIC_TMR = 0x180
export const APIC_IRR = 0x200
export const APIC_ESR = 0x280
export const APIC_LVTCMCI = 0x2f0
export const APIC_ICR = 0x300
export const APIC_ICR2 = 0x310
export const APIC_LVTT = 0x320
export const APIC_LVTTHMR = 0x330
export const APIC_LVTPC = 0x340
export const APIC_LVT0 = 0x350
export const APIC_LVT1 = 0x360
export const APIC_LVTERR = 0x370
export const APIC_TMICT = 0x380
export const APIC_TMCCT = 0x390
export const APIC_TDCR = 0x3e0
export const APIC_SELF_IPI = 0x3f0

export const APIC_SPIV_APIC_ENABLED = 1 << 8
export const APIC_LVT_MASKED = 1 << 16
export const APIC_LVT_LEVEL_TRIGGER = 1 << 15
export const APIC_MODE_MASK = 0x700
export const APIC_VECTOR_MASK = 0xff

/** Delivery modes, bits 10:8 of ICR, LVT and redirection entries. */
export const APIC_DM_FIXED = 0x000
export const APIC_DM_LOWEST = 0x100
export const APIC_DM_SMI = 0x200
export const APIC_DM_REMRD = 0x300
export const APIC_DM_NMI = 0x400
export const APIC_DM_INIT = 0x500
export const APIC_DM_STARTUP = 0x600
export const APIC_DM_EXTINT = 0x700

export const APIC_ICR_BUSY = 1 << 12
export const APIC_DEST_LOGICAL = 1 << 11
export const APIC_INT_ASSERT = 1 << 14
export const APIC_INT_LEVELTRIG = 1 << 15
export const APIC_SHORT_MASK = 0xc0000
export const APIC_DEST_NOSHORT = 0
export const APIC_DEST_SELF = 0x40000
export const APIC_DEST_ALLINC = 0x80000
export const APIC_DEST_ALLBUT = 0xc0000
export const APIC_DFR_FLAT = 0xffffffff
/** Destination that means every APIC: 8-bit xAPIC, 32-bit x2APIC. */
export const APIC_BROADCAST = 0xff
export const X2APIC_BROADCAST = 0xffffffff

/** LVT timer modes, bits 18:17. */
export const APIC_LVT_TIMER_PERIODIC = 1 << 17
export const APIC_LVT_TIMER_TSCDEADLINE = 2 << 17

/** IA32_APIC_BASE bits. */
export const MSR_IA32_APICBASE_BSP = 1 << 8
export const X2APIC_ENABLE = 1 << 10
export const MSR_IA32_APICBASE_ENABLE = 1 << 11
export const APIC_DEFAULT_PHYS_BASE = 0xfee00000

const LVT_BASE_BITS = APIC_LVT_MASKED | (1 << 12) | APIC_VECTOR_MASK
const LINT_BITS = LVT_BASE_BITS | APIC_MODE_MASK | (1 << 13) | (1 << 14) | APIC_LVT_LEVEL_TRIGGER

/** LVT registers in KVM's order, and the bits that can be written (Linux 6.12 apic_lvt_mask). */
export const LVT_ENTRIES: readonly { readonly offset: number; readonly writable: number }[] = [
  { offset: APIC_LVTT, writable: LVT_BASE_BITS }, // the timer mode bits are added from CPUID
  { offset: APIC_LVTTHMR, writable: LVT_BASE_BITS | APIC_MODE_MASK },
  { offset: APIC_LVTPC, writable: LVT_BASE_BITS | APIC_MODE_MASK },
  { offset: APIC_LVT0, writable: LINT_BITS },
  { offset: APIC_LVT1, writable: LINT_BITS },
  { offset: APIC_LVTERR, writable: LVT_BASE_BITS },
  { offset: APIC_LVTCMCI, writable: LVT_BASE_BITS | APIC_MODE_MASK },
]
/** APIC version register: version 0x14, bits 23:16 = number of the highest LVT entry. */
export const APIC_VERSION = 0x14
