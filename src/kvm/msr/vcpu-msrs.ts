import { CTL } from '../../machine/execution-context.ts'
import type { Vcpu } from '../vcpu/vcpu.ts'
import { type MachineCheckBank, newMachineCheckBanks } from './machine-check.ts'

/** PAT at RESET: WB, WT, UC-, UC, twice (KAPI-113). */
const PAT_RESET_LO = 0x00070406
/** MISC_ENABLE: no BTS, no PEBS. */
const MISC_ENABLE_RESET = 0x1800n
/** Platform info: CPUID faulting is available. */
const PLATFORM_INFO_RESET = 0x80000000n
const UCODE_REV_VMX = 0x100000000n
const UCODE_REV_SVM = 0x01000065n

/** Model-specific registers of a vCPU that have no place in its execution context. Names follow §8.4 of the KVM API rules. */
export interface VcpuMsrs {
  tscAdjust: bigint
  featCtl: bigint
  specCtrl: bigint
  virtSpecCtrl: bigint
  ucodeRev: bigint
  smiCount: bigint
  platformInfo: bigint
  archCapabilities: bigint
  perfCapabilities: bigint
  tsxCtrl: bigint
  umwaitControl: bigint
  /** Low bits only: bit 0 CPUID faulting. */
  miscFeatures: number
  miscEnable: bigint
  debugCtl: bigint
  powerCtl: bigint
  bndcfgs: bigint
  hwcr: bigint
  osvwLength: bigint
  osvwStatus: bigint
  deCfg: bigint
  tscRatio: bigint
  vmCr: bigint
  hsavePa: bigint
  mcgCap: bigint
  mcgStatus: bigint
  mcgCtl: bigint
  mcBanks: MachineCheckBank[]
  mtrrFixed: bigint[]
  /** Base and mask pairs. */
  mtrrVariable: bigint[]
  mtrrDefType: bigint
  /** KVM's own. */
  systemTime: bigint
  systemTimeOld: boolean
  asyncPfEnabled: bigint
  asyncPfInt: bigint
  stealTime: bigint
  pvEoi: bigint
  pollControl: bigint
  /** kvmclock: what the last update left in the guest's page. */
  clockVersion: number
  guestStopped: boolean
  /** Steal time accounted so far: the thread's run delay at the last update. */
  lastRunDelay: number
  /** VMX capability MSRs that user space cut down (nested=1), by index. */
  readonly vmxCapabilities: Map<number, bigint>
}

export function newVcpuMsrs(): VcpuMsrs {
  return {
    tscAdjust: 0n,
    featCtl: 0n,
    specCtrl: 0n,
    virtSpecCtrl: 0n,
    ucodeRev: 0n,
    smiCount: 0n,
    platformInfo: 0n,
    archCapabilities: 0n,
    perfCapabilities: 0n,
    tsxCtrl: 0n,
    umwaitControl: 0n,
    miscFeatures: 0,
    miscEnable: 0n,
    debugCtl: 0n,
    powerCtl: 0n,
    bndcfgs: 0n,
    hwcr: 0n,
    osvwLength: 0n,
    osvwStatus: 0n,
    deCfg: 0n,
    tscRatio: 0x100000000n,
    vmCr: 0n,
    hsavePa: 0n,
    mcgCap: 32n,
    mcgStatus: 0n,
    mcgCtl: 0n,
    mcBanks: newMachineCheckBanks(),
    mtrrFixed: new Array(11).fill(0n),
    mtrrVariable: new Array(16).fill(0n),
    mtrrDefType: 0n,
    systemTime: 0n,
    systemTimeOld: false,
    asyncPfEnabled: 0n,
    asyncPfInt: 0n,
    stealTime: 0n,
    pvEoi: 0n,
    pollControl: 1n,
    clockVersion: 0,
    guestStopped: false,
    lastRunDelay: 0,
    vmxCapabilities: new Map(),
  }
}

/** RESET (creation) or INIT of the MSRs. KAPI-113, KAPI-114. */
export function resetMsrs(vcpu: Vcpu, init: boolean): void {
  const { msrs, context, vm } = vcpu
  for (const slot of [CTL.SYSENTER_CS, CTL.SYSENTER_ESP, CTL.SYSENTER_EIP]) context.setCtl(slot, 0, 0)
  msrs.systemTime = msrs.asyncPfEnabled = msrs.asyncPfInt = msrs.stealTime = 0n
  msrs.miscFeatures = 0
  msrs.specCtrl = 0n
  msrs.umwaitControl = 0n
  msrs.debugCtl = 0n
  if (init) return
  for (const slot of [CTL.STAR, CTL.LSTAR, CTL.CSTAR, CTL.FMASK, CTL.KERNEL_GS_BASE, CTL.TSC_AUX]) context.setCtl(slot, 0, 0)
  context.setCtl(CTL.PAT, PAT_RESET_LO, PAT_RESET_LO)
  msrs.miscEnable = MISC_ENABLE_RESET
  msrs.platformInfo = PLATFORM_INFO_RESET
  msrs.ucodeRev = vm.kvm.isAmd ? UCODE_REV_SVM : UCODE_REV_VMX
  msrs.archCapabilities = vm.kvm.archCapabilities
  msrs.pollControl = 1n
}
