import * as M from '../../isa/msr-index.ts'
import { msrByIndex, msrWritableMask } from '../../isa/msrs.ts'
import { guestXfd, guestXfdErr, setGuestXfdErr, updateGuestXfd } from '../../linux/fpu/door.ts'
import { withPreemptionDisabled } from '../../linux/preemption.ts'
import type { PinnedProcessor } from '../../linux/processor.ts'
import { CTL } from '../../machine/execution-context.ts'
import { CONTROL, SEGMENT, SEGMENT_BASE } from '../../machine/memory-map.ts'
import { guestCpuidHas, updateRuntimeCpuid } from '../cpuid/vcpu-cpuid.ts'
import { guestHasVmx, readVmxMsr, writeVmxMsr } from '../nested/vmx-capabilities.ts'
import * as PV from '../pv/msr-index.ts'
import * as pv from '../pv/pv-msrs.ts'
import { updateExceptionBitmap } from '../run/intercepts.ts'
import { apicBaseRefusal, guestApicBaseAllowed, setApicBase } from '../vcpu/apic-base.ts'
import { setEferMsr } from '../vcpu/control-registers.ts'
import { hasAllRoom, makeRoom, NO_ROOM, ROOM } from '../vcpu/dynamic-state.ts'
import type { Vcpu } from '../vcpu/vcpu.ts'
import { cetMsrs } from './cet.ts'
import { INVALID, type MsrFailure, UNSUPPORTED } from './failure.ts'
import { readMce, writeMce } from './machine-check.ts'
import { readMtrr, writeMtrr } from './mtrr.ts'
import type { VcpuMsrs } from './vcpu-msrs.ts'

/**
 * One MSR. `read` gives the value or a failure, `write` 0 or a failure; `host` tells KVM_GET/SET_MSRS from guest instructions.
 * Rules: KAPI §8.4; Linux 6.12 kvm_get_msr_common(), kvm_set_msr_common(), vmx_get_msr(), vmx_set_msr(), svm_set_msr().
 */
export interface MsrRow {
  readonly read: (vcpu: Vcpu, host: boolean) => bigint | MsrFailure
  readonly write: (vcpu: Vcpu, value: bigint, host: boolean) => 0 | MsrFailure
}

const LOW32 = 0xffffffffn
const rows = new Map<number, MsrRow>()
const define = (index: number, row: MsrRow): void => {
  rows.set(index, row)
}

const refuseWrite: MsrRow['write'] = () => INVALID
const ignoreWrite: MsrRow['write'] = () => 0
const noRead: MsrRow['read'] = () => UNSUPPORTED

type BigintKey = { [K in keyof VcpuMsrs]: VcpuMsrs[K] extends bigint ? K : never }[keyof VcpuMsrs]
type Allowed = (vcpu: Vcpu, host: boolean) => boolean
type Check = (vcpu: Vcpu, value: bigint, host: boolean) => boolean

/** An MSR that is kept as a field of VcpuMsrs. */
function stored(key: BigintKey, rule: { read?: Allowed; write?: Check } = {}): MsrRow {
  return {
    read: (vcpu, host) => (rule.read === undefined || rule.read(vcpu, host) ? vcpu.msrs[key] : INVALID),
    write: (vcpu, value, host) => {
      if (rule.write !== undefined && !rule.write(vcpu, value, host)) return INVALID
      vcpu.msrs[key] = value
      return 0
    },
  }
}
const hostOnly: Check = (_vcpu, _value, host) => host
const hostOr =
  (feature: string): Allowed =>
  (vcpu, host) =>
    host || guestCpuidHas(vcpu, feature)

/** An MSR that is a 64-bit slot of the execution context. */
function slot(offset: number, check?: Check, convert: (value: bigint, vcpu: Vcpu) => bigint = (value) => value): MsrRow {
  return {
    read: (vcpu) => vcpu.context.mem.u64At(vcpu.context.base + offset),
    write: (vcpu, value, host) => {
      if (check !== undefined && !check(vcpu, value, host)) return INVALID
      vcpu.context.mem.setU64At(vcpu.context.base + offset, convert(value, vcpu))
      return 0
    },
  }
}
const control = (name: keyof typeof CTL): number => CONTROL + CTL[name] * 8

/** Canonical for the guest's linear-address width: 57 bits when its CPUID has LA57 (KAPI-75). */
function isCanonical(vcpu: Vcpu, value: bigint): boolean {
  const bits = guestCpuidHas(vcpu, 'LA57') ? 57 : 48
  return BigInt.asUintN(64, BigInt.asIntN(bits, value)) === value
}
const canonical: Check = (vcpu, value) => isCanonical(vcpu, value)
const makeCanonical = (value: bigint, vcpu: Vcpu): bigint =>
  BigInt.asUintN(64, BigInt.asIntN(vcpu.vm.kvm.caps.hostHas('LA57') ? 57 : 48, value))

// ---- system-call and segment registers ----
define(M.MSR_IA32_SYSENTER_CS, slot(control('SYSENTER_CS')))
define(M.MSR_IA32_SYSENTER_ESP, slot(control('SYSENTER_ESP'), undefined, makeCanonical))
define(M.MSR_IA32_SYSENTER_EIP, slot(control('SYSENTER_EIP'), undefined, makeCanonical))
define(M.MSR_STAR, slot(control('STAR')))
define(M.MSR_LSTAR, slot(control('LSTAR'), canonical))
define(M.MSR_CSTAR, slot(control('CSTAR'), canonical))
define(M.MSR_SYSCALL_MASK, slot(control('FMASK')))
define(M.MSR_FS_BASE, slot(SEGMENT_BASE + SEGMENT.FS * 8, canonical))
define(M.MSR_GS_BASE, slot(SEGMENT_BASE + SEGMENT.GS * 8, canonical))
define(M.MSR_KERNEL_GS_BASE, slot(control('KERNEL_GS_BASE'), canonical))
const hasTscAux: Allowed = (vcpu, host) => host || guestCpuidHas(vcpu, 'RDTSCP') || guestCpuidHas(vcpu, 'RDPID')
define(M.MSR_TSC_AUX, {
  read: (vcpu, host) => (hasTscAux(vcpu, host) ? vcpu.context.ctl(CTL.TSC_AUX) : INVALID),
  write: (vcpu, value, host) => {
    if (!hasTscAux(vcpu, host) || (!vcpu.isAmdCompatible && value >> 32n !== 0n)) return INVALID
    vcpu.context.setCtl64(CTL.TSC_AUX, value & LOW32)
    return 0
  },
})
define(M.MSR_EFER, {
  read: (vcpu) => vcpu.context.ctl(CTL.EFER),
  write: (vcpu, value, host) => (setEferMsr(vcpu, Number(value & LOW32) | 0, Number(value >> 32n) | 0, host) ? 0 : INVALID),
})
const PAT_TYPES = new Set([0, 1, 4, 5, 6, 7])
define(
  M.MSR_IA32_CR_PAT,
  slot(control('PAT'), (_vcpu, value) => {
    for (let i = 0n; i < 64n; i += 8n) if (!PAT_TYPES.has(Number((value >> i) & 0xffn))) return false
    return true
  }),
)

// ---- time ----
define(M.MSR_IA32_TSC, {
  read: (vcpu) => vcpu.vm.guestTsc(vcpu),
  write: (vcpu, value, host) => {
    if (host) vcpu.vm.clock.synchronizeTsc(vcpu, value)
    else {
      const moved = BigInt.asUintN(64, value - vcpu.vm.guestTsc(vcpu))
      vcpu.vm.clock.moveGuestTsc(vcpu, moved)
      vcpu.msrs.tscAdjust = BigInt.asUintN(64, vcpu.msrs.tscAdjust + moved)
    }
    return 0
  },
})
define(M.MSR_IA32_TSC_ADJUST, {
  read: (vcpu) => vcpu.msrs.tscAdjust,
  write: (vcpu, value, host) => {
    if (!guestCpuidHas(vcpu, 'TSC_ADJUST')) return 0
    if (!host) vcpu.vm.clock.moveGuestTsc(vcpu, BigInt.asUintN(64, value - vcpu.msrs.tscAdjust))
    vcpu.msrs.tscAdjust = value
    return 0
  },
})
define(M.MSR_IA32_TSC_DEADLINE, {
  read: (vcpu) => (vcpu.lapic?.timer.isDeadlineMode ? vcpu.lapic.timer.deadlineTsc : 0n),
  write: (vcpu, value) => {
    vcpu.lapic?.timer.writeDeadline(value)
    return 0
  },
})
define(M.MSR_AMD64_TSC_RATIO, {
  read: (vcpu, host) => (!vcpu.vm.kvm.isAmd ? UNSUPPORTED : host ? vcpu.msrs.tscRatio : INVALID),
  // Without TSC scaling the register keeps its default.
  write: (vcpu, value, host) =>
    !vcpu.vm.kvm.isAmd ? UNSUPPORTED : host && (value === 0n || value === vcpu.msrs.tscRatio) ? 0 : INVALID,
})

// ---- APIC ----
define(M.MSR_IA32_APICBASE, {
  read: (vcpu) => BigInt(vcpu.apicBase),
  write: (vcpu, value, host) => {
    if (host ? apicBaseRefusal(vcpu, value) !== null : !guestApicBaseAllowed(vcpu, value)) return INVALID
    setApicBase(vcpu, Number(value))
    return 0
  },
})

// ---- extended state ----
define(M.MSR_IA32_XSS, {
  read: (vcpu, host) => (hostOr('XSAVES')(vcpu, host) ? BigInt(vcpu.xss) : INVALID),
  write: (vcpu, value, host) => {
    if (vcpu.vm.kvm.profile.kvm.xssHostWriteNeedsGuestXsaves && !vcpu.guestHasXsaves) return UNSUPPORTED
    if (!hostOr('XSAVES')(vcpu, host) || (value & ~BigInt(vcpu.guestSupportedXss)) !== 0n) return INVALID
    vcpu.xss = Number(value)
    updateRuntimeCpuid(vcpu, vcpu.cpuid)
    return 0
  },
})
for (const [index, row] of cetMsrs) define(index, row)
/** XFD bits of components that the guest's CPUID has. GFPU-26. */
const guestXfdMask = (vcpu: Vcpu): bigint => BigInt((vcpu.guestSupportedXcr0 & vcpu.vm.kvm.dynamicXfeatures) >>> 0)
define(M.MSR_IA32_XFD, {
  read: (vcpu, host) => (hostOr('XFD')(vcpu, host) ? BigInt(guestXfd(vcpu.guestFpu)) : INVALID),
  write: (vcpu, value, host) => {
    if (!hostOr('XFD')(vcpu, host) || (value & ~guestXfdMask(vcpu)) !== 0n) return INVALID
    const room = makeRoom(vcpu, vcpu.xcr0, Number(value))
    if (room === NO_ROOM) return INVALID
    if (room === ROOM) writeXfd(vcpu, Number(value))
    // D1: who makes the room also changes XFD, in another layer (GFPU-35).
    else if (!host) vcpu.exitsForRoom = true
    return 0
  },
})
define(M.MSR_IA32_XFD_ERR, {
  read: (vcpu, host) => (hostOr('XFD')(vcpu, host) ? BigInt(guestXfdErr(vcpu.guestFpu)) : INVALID),
  write: (vcpu, value, host) => {
    if (!hostOr('XFD')(vcpu, host) || (value & ~guestXfdMask(vcpu)) !== 0n) return INVALID
    setGuestXfdErr(vcpu.guestFpu, Number(value))
    return 0
  },
})

const pendingXfd = { vcpu: null as Vcpu | null, value: 0 }
const storeXfd = (cpu: PinnedProcessor): void => updateGuestXfd(cpu, pendingXfd.vcpu!.guestFpu, pendingXfd.value)

/** An accepted XFD write. The first non-zero one ends interception for good and turns #NM interception on. GFPU-27, -28. */
export function writeXfd(vcpu: Vcpu, value: number): void {
  const { kvm } = vcpu.vm
  pendingXfd.vcpu = vcpu
  pendingXfd.value = value
  withPreemptionDisabled(vcpu.runner ?? kvm.callingTask!, storeXfd)
  pendingXfd.vcpu = null
  kvm.trace?.xfdWritten(vcpu, value)
  if (value === 0 || vcpu.xfdPassThrough) return
  vcpu.xfdArmed = true
  vcpu.xfdPassThrough = hasAllRoom(vcpu)
  updateExceptionBitmap(vcpu)
}

define(M.MSR_IA32_BNDCFGS, {
  read: (vcpu, host) => (vcpu.vm.kvm.caps.has('MPX') && hostOr('MPX')(vcpu, host) ? vcpu.msrs.bndcfgs : INVALID),
  write: (vcpu, value, host) => {
    if (!vcpu.vm.kvm.caps.has('MPX') || !hostOr('MPX')(vcpu, host)) return INVALID
    if (!isCanonical(vcpu, value & ~0xfffn) || value & 0xffcn) return INVALID
    vcpu.msrs.bndcfgs = value
    return 0
  },
})

// ---- speculation, features, power ----
const ALL_ONES = 0xffff_ffff_ffff_ffffn
/** KVM tries the value on the host. */
const hostSpecCtrlBits = (vcpu: Vcpu): bigint => {
  if (vcpu.vm.kvm.model.emulator.unknownMsrsAreZero) return ALL_ONES
  const facts = msrByIndex.get(M.MSR_IA32_SPEC_CTRL)
  return facts === undefined ? 0n : msrWritableMask(facts, vcpu.vm.kvm.model)
}
const guestHasSpecCtrl: Allowed = (vcpu, host) =>
  host || ['SPEC_CTRL', 'AMD_STIBP', 'AMD_IBRS', 'AMD_SSBD', 'INTEL_STIBP', 'SPEC_CTRL_SSBD'].some((f) => guestCpuidHas(vcpu, f))
define(
  M.MSR_IA32_SPEC_CTRL,
  stored('specCtrl', {
    read: guestHasSpecCtrl,
    write: (vcpu, value, host) => guestHasSpecCtrl(vcpu, host) && (value & ~hostSpecCtrlBits(vcpu)) === 0n,
  }),
)
define(M.MSR_IA32_PRED_CMD, { read: noRead, write: (vcpu, value, host) => predCmd(vcpu, value, host) })
const PRED_CMD_IBPB = 1n
const PRED_CMD_SBPB = 1n << 7n
function predCmd(vcpu: Vcpu, value: bigint, host: boolean): 0 | MsrFailure {
  const guestHasIbpb = guestCpuidHas(vcpu, 'SPEC_CTRL') || guestCpuidHas(vcpu, 'AMD_IBPB')
  const guestHasSbpb = guestCpuidHas(vcpu, 'SBPB')
  if (!host && !guestHasIbpb && !guestHasSbpb) return INVALID
  let allowed = 0n
  if ((host || guestHasIbpb) && vcpu.vm.kvm.caps.has('AMD_IBPB')) allowed |= PRED_CMD_IBPB
  if ((host || guestHasSbpb) && vcpu.vm.kvm.caps.has('SBPB')) allowed |= PRED_CMD_SBPB
  return value & ~allowed ? INVALID : 0
}
define(M.MSR_IA32_FLUSH_CMD, {
  read: noRead,
  write: (vcpu, value, host) =>
    hostOr('FLUSH_L1D')(vcpu, host) && vcpu.vm.kvm.caps.hostHas('FLUSH_L1D') && (value & ~1n) === 0n ? 0 : INVALID,
})
const ARCH_CAP_TSX_CTRL = 1n << 7n
const hasTsxCtrl: Allowed = (vcpu, host) => host || (vcpu.msrs.archCapabilities & ARCH_CAP_TSX_CTRL) !== 0n
define(M.MSR_IA32_TSX_CTRL, {
  read: (vcpu, host) => (!hostHasTsxCtrl(vcpu) ? UNSUPPORTED : hasTsxCtrl(vcpu, host) ? vcpu.msrs.tsxCtrl : INVALID),
  write: (vcpu, value, host) => {
    if (!hasTsxCtrl(vcpu, host) || value & ~3n) return INVALID
    if (!hostHasTsxCtrl(vcpu)) return UNSUPPORTED
    vcpu.msrs.tsxCtrl = value
    return 0
  },
})
const hostHasTsxCtrl = ({ vm: { kvm } }: Vcpu): boolean =>
  !kvm.isAmd && (kvm.model.msrs.has(M.MSR_IA32_TSX_CTRL) || (kvm.archCapabilities & ARCH_CAP_TSX_CTRL) !== 0n)
const intelOnly = (row: MsrRow): MsrRow => ({
  read: (vcpu, host) => (vcpu.vm.kvm.isAmd ? UNSUPPORTED : row.read(vcpu, host)),
  write: (vcpu, value, host) => (vcpu.vm.kvm.isAmd ? UNSUPPORTED : row.write(vcpu, value, host)),
})
const amdOnly = (row: MsrRow): MsrRow => ({
  read: (vcpu, host) => (vcpu.vm.kvm.isAmd ? row.read(vcpu, host) : UNSUPPORTED),
  write: (vcpu, value, host) => (vcpu.vm.kvm.isAmd ? row.write(vcpu, value, host) : UNSUPPORTED),
})
define(
  M.MSR_IA32_UMWAIT_CONTROL,
  intelOnly(
    stored('umwaitControl', {
      read: hostOr('WAITPKG'),
      write: (vcpu, value, host) => hostOr('WAITPKG')(vcpu, host) && value >> 32n === 0n && (value & 2n) === 0n,
    }),
  ),
)
define(M.MSR_IA32_ARCH_CAPABILITIES, stored('archCapabilities', { read: hostOr('ARCH_CAPABILITIES'), write: hostOnly }))
// No vPMU: nothing can be set (KAPI-124).
define(
  M.MSR_IA32_PERF_CAPABILITIES,
  stored('perfCapabilities', { read: hostOr('PDCM'), write: (_vcpu, value, host) => host && value === 0n }),
)
define(M.MSR_IA32_UCODE_REV, {
  read: (vcpu) => vcpu.msrs.ucodeRev,
  write: (vcpu, value, host) => {
    if (host) vcpu.msrs.ucodeRev = value
    return 0
  },
})
define(M.MSR_IA32_UCODE_WRITE, { read: noRead, write: ignoreWrite })
const FEAT_CTL_LOCKED = 1n
/** LOCKED, VMX in and outside SMX, SGX, SGX_LC, LMCE. */
const FEAT_CTL_HOST = 0x160007n
const FEAT_CTL_VMX = 0x6n
const FEAT_CTL_LMCE = 1n << 20n
define(
  M.MSR_IA32_FEAT_CTL,
  intelOnly(
    stored('featCtl', {
      write: (vcpu, value, host) => {
        if (host) return (value & ~FEAT_CTL_HOST) === 0n
        const lmce = vcpu.msrs.mcgCap & (1n << 27n) ? FEAT_CTL_LMCE : 0n
        const vmx = guestHasVmx(vcpu) ? FEAT_CTL_VMX : 0n
        return (vcpu.msrs.featCtl & FEAT_CTL_LOCKED) === 0n && (value & ~(FEAT_CTL_LOCKED | lmce | vmx)) === 0n
      },
    }),
  ),
)
for (let index = M.MSR_IA32_VMX_BASIC; index <= M.MSR_IA32_VMX_VMFUNC; index++) {
  define(
    index,
    intelOnly({
      read: (vcpu) => readVmxMsr(vcpu, index),
      write: (vcpu, value, host) => writeVmxMsr(vcpu, index, value, host),
    }),
  )
}
define(M.MSR_SMI_COUNT, stored('smiCount', { write: hostOnly }))
const CPUID_FAULT = 1n << 31n
define(M.MSR_PLATFORM_INFO, {
  read: (vcpu, host) => (host || vcpu.vm.guestReadsPlatformInfo ? vcpu.msrs.platformInfo : INVALID),
  write: (vcpu, value, host) => {
    if (!host || (!(value & CPUID_FAULT) && vcpu.msrs.miscFeatures & 1)) return INVALID
    vcpu.msrs.platformInfo = value
    return 0
  },
})
define(M.MSR_MISC_FEATURES_ENABLES, {
  read: (vcpu) => BigInt(vcpu.msrs.miscFeatures),
  write: (vcpu, value) => {
    if (value & ~1n || (value & 1n && !(vcpu.msrs.platformInfo & CPUID_FAULT))) return INVALID
    vcpu.msrs.miscFeatures = Number(value)
    return 0
  },
})
/** MISC_ENABLE: bits 11 and 12 (no BTS, no PEBS) are read-only, writes of bit 7 are ignored, bit 18 is MONITOR. */
const MISC_ENABLE_PMU_RO = 0x1800n | (1n << 7n)
const MISC_ENABLE_MWAIT = 1n << 18n
const QUIRK_MISC_ENABLE_NO_MWAIT = 4
define(M.MSR_IA32_MISC_ENABLE, {
  read: (vcpu) => vcpu.msrs.miscEnable,
  write: (vcpu, value, host) => {
    const old = vcpu.msrs.miscEnable
    let data = value
    if (!host) {
      if ((old ^ data) & (MISC_ENABLE_PMU_RO & ~(1n << 7n))) return INVALID
      data = (data & ~(1n << 7n)) | (old & (1n << 7n))
    }
    const followsMonitor = !vcpu.vm.hasQuirk(QUIRK_MISC_ENABLE_NO_MWAIT) && (old ^ data) & MISC_ENABLE_MWAIT
    if (followsMonitor && !guestCpuidHas(vcpu, 'XMM3')) return INVALID
    vcpu.msrs.miscEnable = data
    if (followsMonitor) updateRuntimeCpuid(vcpu, vcpu.cpuid)
    return 0
  },
})
define(M.MSR_IA32_POWER_CTL, stored('powerCtl'))
/** No LBR, no BTF, and bus-lock detection only with its CPUID bit; LBR and BTF are dropped silently. */
define(M.MSR_IA32_DEBUGCTLMSR, {
  read: (vcpu) => vcpu.msrs.debugCtl,
  write: (vcpu, value) => {
    const dropped = 3n
    const supported = guestCpuidHas(vcpu, 'BUS_LOCK_DETECT') ? 4n : 0n
    if (value & ~(supported | dropped)) return INVALID
    vcpu.msrs.debugCtl = value & supported
    vcpu.vmcs.debugCtl = Number(value & supported)
    return 0
  },
})
const propagateTestCtrl = (cpu: PinnedProcessor, { splitLock }: Vcpu): void => splitLock!.propagate(cpu)
/** Split-lock detection of guests: there under the proposals only (SLD-36, SLD-44, SLD-45). */
define(M.MSR_TEST_CTRL, {
  read: (vcpu) => vcpu.splitLock?.testCtrl ?? UNSUPPORTED,
  write: (vcpu, value) => {
    if (vcpu.splitLock === null) return UNSUPPORTED
    if (!vcpu.splitLock.writeTestCtrl(value)) return INVALID
    withPreemptionDisabled(vcpu.runner ?? vcpu.vm.kvm.callingTask!, propagateTestCtrl, vcpu)
    return 0
  },
})
define(M.MSR_IA32_CORE_CAPS, {
  read: (vcpu, host) => {
    if (vcpu.splitLock === null) return UNSUPPORTED
    return host || guestCpuidHas(vcpu, 'CORE_CAPABILITIES') ? vcpu.splitLock.coreCapabilities : INVALID
  },
  write: (vcpu, value, host) => {
    if (vcpu.splitLock === null) return UNSUPPORTED
    return host && vcpu.splitLock.writeCoreCapabilities(value) ? 0 : INVALID
  },
})
define(M.MSR_K7_HWCR, {
  read: (vcpu) => vcpu.msrs.hwcr,
  write: (vcpu, value) => {
    const data = value & ~0x148n // TLB cache disable, flush filter disable, IGNNE emulation: ignored
    if (data & ~((1n << 18n) | (1n << 24n))) return INVALID
    vcpu.msrs.hwcr = data
    return 0
  },
})
define(M.MSR_VM_HSAVE_PA, {
  read: (vcpu) => (vcpu.vm.kvm.isAmd ? vcpu.msrs.hsavePa : 0n),
  write: (vcpu, value) => {
    if (vcpu.vm.kvm.isAmd) vcpu.msrs.hsavePa = value
    return 0
  },
})
define(M.MSR_VM_CR, amdOnly(stored('vmCr', { write: (_vcpu, value) => (value & ~0x1fn) === 0n })))
define(M.MSR_AMD64_DE_CFG, amdOnly(stored('deCfg', { write: (_vcpu, value) => (value & ~2n) === 0n })))
define(
  PV.MSR_AMD64_VIRT_SPEC_CTRL,
  amdOnly(
    stored('virtSpecCtrl', {
      read: hostOr('VIRT_SSBD'),
      write: (vcpu, value, host) => hostOr('VIRT_SSBD')(vcpu, host) && (value & ~4n) === 0n,
    }),
  ),
)
const hasOsvw: Allowed = (vcpu) => guestCpuidHas(vcpu, 'OSVW')
define(M.MSR_AMD64_OSVW_ID_LENGTH, stored('osvwLength', { read: hasOsvw, write: (vcpu, _value, host) => hasOsvw(vcpu, host) }))
define(M.MSR_AMD64_OSVW_STATUS, stored('osvwStatus', { read: hasOsvw, write: (vcpu, _value, host) => hasOsvw(vcpu, host) }))

// ---- machine check, memory types ----
define(M.MSR_IA32_MCG_CAP, { read: (vcpu) => vcpu.msrs.mcgCap, write: refuseWrite })
define(M.MSR_IA32_MCG_STATUS, stored('mcgStatus'))
const MCG_CTL_P = 1n << 8n
define(M.MSR_IA32_MCG_CTL, {
  read: (vcpu, host) => (vcpu.msrs.mcgCap & MCG_CTL_P || host ? vcpu.msrs.mcgCtl : INVALID),
  write: (vcpu, value, host) => {
    if (!(vcpu.msrs.mcgCap & MCG_CTL_P) && (value !== 0n || !host)) return INVALID
    if (value !== 0n && value !== 0xffff_ffff_ffff_ffffn) return INVALID
    vcpu.msrs.mcgCtl = value
    return 0
  },
})
const hasLmce: Allowed = (vcpu, host) =>
  host || ((vcpu.msrs.featCtl & FEAT_CTL_LMCE) !== 0n && (vcpu.msrs.mcgCap & (1n << 27n)) !== 0n)
define(
  PV.MSR_IA32_MCG_EXT_CTL,
  intelOnly({
    read: (vcpu, host) => (hasLmce(vcpu, host) ? 0n : INVALID),
    write: (vcpu, value, host) => (hasLmce(vcpu, host) && (value & ~1n) === 0n ? 0 : INVALID),
  }),
)
define(M.MSR_IA32_P5_MC_ADDR, { read: () => 0n, write: () => UNSUPPORTED })
define(M.MSR_IA32_P5_MC_TYPE, { read: () => 0n, write: () => UNSUPPORTED })

// ---- registers that only exist so that old guests do not stumble ----
const constant = (value: bigint, write: MsrRow['write']): MsrRow => ({ read: () => value, write })
const unsupportedWrite: MsrRow['write'] = () => UNSUPPORTED
define(0xcd, constant(3n, unsupportedWrite)) // FSB frequency
define(0x2c, constant(1n << 24n, unsupportedWrite)) // EBC_FREQUENCY_ID: ratio 1
define(0x11e, constant(0xbe702111n, ignoreWrite)) // BBL_CR_CTL3
define(M.MSR_IA32_PERF_STATUS, constant(1000n | (4n << 40n), unsupportedWrite))
define(0xc001001b, constant(0x20000000n, ignoreWrite)) // K7_CLK_CTL
for (const index of [
  M.MSR_IA32_PLATFORM_ID,
  0x2a,
  0x1db,
  0x1dc,
  0x1dd,
  0x1de,
  0x606,
  0x611,
  0x619,
  0x639,
  0x641,
  M.MSR_IA32_PERF_CTL,
  M.MSR_AMD64_SYSCFG,
  0xc0010112,
  0xc0010113,
  0xc0010055,
]) {
  define(index, constant(0n, unsupportedWrite))
}
for (const index of [M.MSR_AMD64_NB_CFG, 0xc001102a, 0xc0011022, 0xc0011023, 0xc001102c]) define(index, constant(0n, ignoreWrite))
define(M.MSR_AMD64_PATCH_LOADER, { read: noRead, write: ignoreWrite })
define(
  0xc0010058,
  constant(0n, (_vcpu, value) => (value === 0n ? 0 : INVALID)),
) // FAM10H_MMIO_CONF_BASE
// Performance counters without a vPMU read 0 and ignore writes (KAPI-124).
for (const first of [0xc1, 0x186]) for (let i = 0; i < 2; i++) define(first + i, constant(0n, ignoreWrite))
for (const first of [M.MSR_K7_EVNTSEL0, M.MSR_K7_PERFCTR0])
  for (let i = 0; i < 4; i++) define(first + i, constant(0n, ignoreWrite))

// ---- paravirtual ----
for (const [index, row] of pv.pvMsrs) define(index, row)

const rangeRows: readonly { first: number; last: number; row: (index: number) => MsrRow }[] = [
  { first: 0x200, last: 0x26f, row: mtrrRow },
  { first: 0x280, last: 0x29f, row: mceRow },
  { first: M.MSR_MTRRdefType, last: M.MSR_MTRRdefType, row: mtrrRow },
  { first: 0x400, last: 0x400 + 32 * 4 - 1, row: mceRow },
]

function mtrrRow(index: number): MsrRow {
  return {
    read: (vcpu) => readMtrr(vcpu, index) ?? INVALID,
    write: (vcpu, value) => (writeMtrr(vcpu, index, value) ? 0 : INVALID),
  }
}
function mceRow(index: number): MsrRow {
  return {
    read: (vcpu) => readMce(vcpu, index) ?? INVALID,
    write: (vcpu, value, host) => (writeMce(vcpu, index, value, host) ? 0 : INVALID),
  }
}
for (const { first, last, row } of rangeRows) {
  for (let index = first; index <= last; index++) {
    if (!rows.has(index)) define(index, row(index))
  }
}
define(M.MSR_MTRRcap, { read: (vcpu) => readMtrr(vcpu, M.MSR_MTRRcap) ?? INVALID, write: () => UNSUPPORTED })

/** The row of an MSR, undefined if KVM does not know it. x2APIC registers are elsewhere. */
export const msrRow = (index: number): MsrRow | undefined => rows.get(index)

/** All indices with a row, for the compatibility page and tests. */
export const knownMsrs = (): number[] => [...rows.keys()].sort((a, b) => a - b)
