import { X86_CR4_VMXE } from '../../isa/control-registers.ts'
import type { CpuModel } from '../../isa/cpu-model.ts'
import * as M from '../../isa/msr-index.ts'
import { UserError } from '../../isa/user-error.ts'
import { guestCpuidHas } from '../cpuid/vcpu-cpuid.ts'
import { INVALID, type MsrFailure } from '../msr/failure.ts'
import type { Vcpu } from '../vcpu/vcpu.ts'

/**
 * VMX capability MSRs that KVM shows to guests with `nested=1` (SDM Vol. 3D Appendix A; Linux 6.12 nested_vmx_setup_ctls_msrs()):
 * what the processor allows, cut down to what KVM can give on, plus what KVM emulates by itself. Only the capabilities are
 * modelled: a guest can see VMX but not enter it.
 */

/** The VMX control fields with an MSR of their own. */
interface ControlField {
  /** MSR with the true must-be-1 bits; the one of the same field without them. */
  readonly msr: number
  readonly plain: number
  /** Bits that are 1 in `plain`. */
  readonly alwaysOn: number
  /** Of the processor's allowed bits KVM passes these on. */
  readonly offered: number
  /** KVM allows these whatever the processor does. */
  readonly added: number
  /** Of `alwaysOn` these may be 0 in `msr`. */
  readonly free: number
}

const FIELDS: readonly ControlField[] = [
  {
    msr: M.MSR_IA32_VMX_TRUE_PINBASED_CTLS,
    plain: M.MSR_IA32_VMX_PINBASED_CTLS,
    alwaysOn: 0x16,
    offered: 0xa9, // external interrupts, NMI, virtual NMIs, posted interrupts
    added: 0x40, // preemption timer
    free: 0,
  },
  {
    msr: M.MSR_IA32_VMX_TRUE_PROCBASED_CTLS,
    plain: M.MSR_IA32_VMX_PROCBASED_CTLS,
    alwaysOn: 0x0401e172,
    offered: 0xebf99e8c, // interrupt and NMI window, TSC, HLT, INVLPG, MWAIT, CR3, CR8, DR, I/O, MTF, MONITOR, RDPMC, RDTSC, PAUSE, TPR, secondary
    added: 0x10000000, // MSR bitmaps
    free: 0x18000, // CR3 load and store
  },
  {
    msr: M.MSR_IA32_VMX_TRUE_EXIT_CTLS,
    plain: M.MSR_IA32_VMX_EXIT_CTLS,
    alwaysOn: 0x36dff,
    offered: 0x8c0200, // 64-bit host, PAT, BNDCFGS
    added: 0x709000, // EFER, preemption timer, acknowledge interrupt, PERF_GLOBAL_CTRL
    free: 4, // save debug controls
  },
  {
    msr: M.MSR_IA32_VMX_TRUE_ENTRY_CTLS,
    plain: M.MSR_IA32_VMX_ENTRY_CTLS,
    alwaysOn: 0x11ff,
    offered: 0x14200, // IA-32e mode, PAT, BNDCFGS
    added: 0xa000, // EFER, PERF_GLOBAL_CTRL
    free: 4, // load debug controls
  },
]
/** Secondary controls KVM passes on: descriptor tables, RDTSCP, x2APIC, WBINVD, APIC registers, virtual interrupts, RDRAND, INVPCID, VMFUNC, RDSEED, XSAVES, TSC scaling, TPAUSE. */
const SECONDARY_OFFERED = 0x06113b5c | 0
/** ... and emulates or has by itself: APIC accesses, EPT, VPID, unrestricted guest, VMCS shadowing, PML. */
const SECONDARY_ADDED = 0x000240a3

/** VMCS12: revision, 4096 bytes, write-back memory; true controls; INS and OUTS information if the processor has it. */
const BASIC = 0x00981000_11e57ed0n
const BASIC_INOUT = 1n << 54n
const BASIC_FEATURES = (1n << 49n) | BASIC_INOUT | (1n << 55n)
const BASIC_RESERVED = (0xffn << 56n) | (7n << 45n) | (1n << 31n)
const MISC_SAVE_EFER_LMA = 0x20n
/** VMWRITE of read-only fields, HLT and wait-for-SIPI, preemption timer at TSC / 32. */
const MISC_ADDED = 0x20000145n
const MISC_FEATURES = 0x7000c1e0n
const MISC_RESERVED = 0x80003e00n
/** CR0: PE, PG, NE. */
const CR0_FIXED0 = 0x80000021n
/** Highest field index of VMCS12, times two. */
const VMCS_ENUM = 0x32n
/** Execute-only, 4 and 5 levels, write-back, INVEPT; then what KVM has in any case: all contexts, 2 MiB, 1 GiB, A/D bits. */
const EPT_OFFERED = 0x1040c1n
const EPT_ADDED = 0x06230000n
/** INVVPID, all four kinds. */
const VPID = 0xf01n << 32n

const high = (value: number): bigint => BigInt(value >>> 0) << 32n
const low = (value: number): bigint => BigInt(value >>> 0)

/**
 * The MSRs by index, for a processor whose own are known.
 *
 * @throws UserError for a model that does not state its VMX capability MSRs
 */
export function nestedVmxMsrs(model: CpuModel): ReadonlyMap<number, bigint> {
  const host = (index: number): bigint => {
    const value = model.msrs.get(index)
    if (value === undefined) throw unknownCapabilities(model)
    return value
  }
  const allowed = (index: number): number => Number(host(index) >> 32n) | 0
  const msrs = new Map<number, bigint>()
  for (const { msr, plain, alwaysOn, offered, added, free } of FIELDS) {
    const may = (allowed(msr) & offered) | alwaysOn | added
    msrs.set(msr, high(may) | low(alwaysOn & ~free))
    msrs.set(plain, high(may) | low(alwaysOn))
  }
  const secondary = (allowed(M.MSR_IA32_VMX_PROCBASED_CTLS2) & SECONDARY_OFFERED) | SECONDARY_ADDED
  msrs.set(M.MSR_IA32_VMX_PROCBASED_CTLS2, high(secondary))
  msrs.set(M.MSR_IA32_VMX_BASIC, BASIC | (host(M.MSR_IA32_VMX_BASIC) & BASIC_INOUT))
  msrs.set(M.MSR_IA32_VMX_MISC, (host(M.MSR_IA32_VMX_MISC) & MISC_SAVE_EFER_LMA) | MISC_ADDED)
  msrs.set(M.MSR_IA32_VMX_CR0_FIXED0, CR0_FIXED0)
  msrs.set(M.MSR_IA32_VMX_CR0_FIXED1, host(M.MSR_IA32_VMX_CR0_FIXED1))
  msrs.set(M.MSR_IA32_VMX_CR4_FIXED0, BigInt(X86_CR4_VMXE))
  msrs.set(M.MSR_IA32_VMX_CR4_FIXED1, host(M.MSR_IA32_VMX_CR4_FIXED1))
  msrs.set(M.MSR_IA32_VMX_VMCS_ENUM, VMCS_ENUM)
  msrs.set(M.MSR_IA32_VMX_EPT_VPID_CAP, (host(M.MSR_IA32_VMX_EPT_VPID_CAP) & EPT_OFFERED) | EPT_ADDED | VPID)
  msrs.set(M.MSR_IA32_VMX_VMFUNC, host(M.MSR_IA32_VMX_VMFUNC) & 1n) // EPTP switching
  return msrs
}

function unknownCapabilities(model: CpuModel): UserError {
  return new UserError({
    code: 'vmx-capabilities-unknown',
    what: `kvm_intel cannot be loaded with nested=1 on ${model.name}`,
    where: 'nested',
    because: 'the model does not state its VMX capability MSRs (480H to 491H)',
    fix: 'leave nested virtualization off, or take SapphireRapids-bochs',
  })
}

// ---- a vCPU's copy --------------------------------------------------------------------------------------------------

/** The vCPU's CPUID has VMX, and KVM gives it on. */
export const guestHasVmx = (vcpu: Vcpu): boolean => vcpu.vm.kvm.caps.has('VMX') && guestCpuidHas(vcpu, 'VMX')

/** CR4 bits a guest may set in VMX operation, by feature (nested_vmx_cr_fixed1_bits_update()). */
const CR4_BY_FEATURE: readonly (readonly [feature: string, bits: number])[] = [
  ['VME', 0x3],
  ['TSC', 0x4],
  ['DE', 0x8],
  ['PSE', 0x10],
  ['PAE', 0x20],
  ['MCE', 0x40],
  ['PGE', 0x80],
  ['FXSR', 0x200],
  ['XMM', 0x400],
  ['UMIP', 0x800],
  ['LA57', 0x1000],
  ['VMX', 0x2000],
  ['FSGSBASE', 0x10000],
  ['PCID', 0x20000],
  ['XSAVE', 0x40000],
  ['SMEP', 0x100000],
  ['SMAP', 0x200000],
  ['PKU', 0x400000],
  ['LAM', 0x10000000],
]
const CR4_PCE = 0x100
const CR0_FIXED1_OF_GUEST = 0xffffffffn

/** RDMSR, KVM_GET_MSRS. */
export function readVmxMsr(vcpu: Vcpu, index: number): bigint | MsrFailure {
  if (!guestHasVmx(vcpu)) return INVALID
  if (index === M.MSR_IA32_VMX_CR0_FIXED1) return CR0_FIXED1_OF_GUEST
  if (index === M.MSR_IA32_VMX_CR4_FIXED1) {
    let bits = CR4_PCE
    for (const [feature, mask] of CR4_BY_FEATURE) if (guestCpuidHas(vcpu, feature)) bits |= mask
    return low(bits)
  }
  const field = FIELDS.find(({ plain }) => plain === index)
  if (field !== undefined) return ofVcpu(vcpu, field.msr) | low(field.alwaysOn)
  return ofVcpu(vcpu, index)
}

const ofVcpu = (vcpu: Vcpu, index: number): bigint =>
  vcpu.msrs.vmxCapabilities.get(index) ?? vcpu.vm.kvm.nestedVmx!.get(index) ?? 0n

/** KVM_SET_MSRS: user space may take capabilities away, never add one. To the guest they are read-only. */
export function writeVmxMsr(vcpu: Vcpu, index: number, value: bigint, host: boolean): 0 | MsrFailure {
  if (!host || !guestHasVmx(vcpu) || !mayRestore(vcpu.vm.kvm.nestedVmx!, index, value)) return INVALID
  vcpu.msrs.vmxCapabilities.set(index, value)
  return 0
}

const isSubset = (all: bigint, part: bigint, mask: bigint): boolean => (part & mask & ~all) === 0n
const LOW32 = 0xffffffffn
const HIGH32 = LOW32 << 32n
const ALL = LOW32 | HIGH32

/** Linux 6.12 vmx_set_vmx_msr(). The fixed-to-1 and the plain control MSRs follow from others and cannot be restored. */
function mayRestore(own: ReadonlyMap<number, bigint>, index: number, value: bigint): boolean {
  const supported = own.get(index)!
  switch (index) {
    case M.MSR_IA32_VMX_BASIC:
      return (
        isSubset(supported, value, BASIC_FEATURES | BASIC_RESERVED) &&
        (value & (1n << 48n)) === 0n &&
        (value & 0x7fffffffn) === (supported & 0x7fffffffn) &&
        ((value >> 32n) & 0x1fffn) >= ((supported >> 32n) & 0x1fffn)
      )
    case M.MSR_IA32_VMX_TRUE_PINBASED_CTLS:
    case M.MSR_IA32_VMX_TRUE_PROCBASED_CTLS:
    case M.MSR_IA32_VMX_TRUE_EXIT_CTLS:
    case M.MSR_IA32_VMX_TRUE_ENTRY_CTLS:
    case M.MSR_IA32_VMX_PROCBASED_CTLS2:
      return isSubset(value, supported, LOW32) && isSubset(supported, value, HIGH32)
    case M.MSR_IA32_VMX_MISC:
      return isSubset(supported, value, MISC_FEATURES | MISC_RESERVED) && miscFieldsFit(supported, value)
    case M.MSR_IA32_VMX_CR0_FIXED0:
    case M.MSR_IA32_VMX_CR4_FIXED0:
      return isSubset(value, supported, ALL)
    case M.MSR_IA32_VMX_EPT_VPID_CAP:
    case M.MSR_IA32_VMX_VMFUNC:
      return isSubset(supported, value, ALL)
    default:
      return index === M.MSR_IA32_VMX_VMCS_ENUM
  }
}

/** Timer rate and MSEG revision equal; CR3-target count and MSR-list size not larger. */
function miscFieldsFit(supported: bigint, value: bigint): boolean {
  const field = (v: bigint, at: bigint, bits: bigint) => (v >> at) & ((1n << bits) - 1n)
  return (
    field(value, 0n, 5n) === field(supported, 0n, 5n) &&
    field(value, 16n, 9n) <= field(supported, 16n, 9n) &&
    field(value, 25n, 3n) <= field(supported, 25n, 3n) &&
    field(value, 32n, 32n) === field(supported, 32n, 32n)
  )
}
