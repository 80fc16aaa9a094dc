import type { MsrRow } from '../msr/table.ts'
import { REQ_CLOCK_UPDATE, REQ_STEAL_UPDATE, type Vcpu } from '../vcpu/vcpu.ts'
import { writeWallClock } from './clock-page.ts'
import * as PV from './msr-index.ts'

/** Feature bits of leaf 0x40000001 (include/uapi/asm/kvm_para.h). */
export const KVM_FEATURE_CLOCKSOURCE = 0
export const KVM_FEATURE_CLOCKSOURCE2 = 3
export const KVM_FEATURE_ASYNC_PF = 4
export const KVM_FEATURE_STEAL_TIME = 5
export const KVM_FEATURE_PV_EOI = 6
export const KVM_FEATURE_ASYNC_PF_VMEXIT = 10
export const KVM_FEATURE_POLL_CONTROL = 12
export const KVM_FEATURE_ASYNC_PF_INT = 14

const INVALID = 1
const UNSUPPORTED = 2

/** With ENFORCE_PV_FEATURE_CPUID a feature that the guest's CPUID lacks makes its MSRs unknown; else all work. */
const has = (vcpu: Vcpu, feature: number): boolean => !vcpu.enforcePvFeatures || ((vcpu.pvFeatures >>> feature) & 1) === 1

const gated = (feature: number, row: MsrRow): MsrRow => ({
  read: (vcpu, host) => (has(vcpu, feature) ? row.read(vcpu, host) : UNSUPPORTED),
  write: (vcpu, value, host) => (has(vcpu, feature) ? row.write(vcpu, value, host) : UNSUPPORTED),
})

const wallClock: MsrRow = {
  read: (vcpu) => vcpu.vm.wallClock,
  write: (vcpu, value) => {
    vcpu.vm.wallClock = value
    writeWallClock(vcpu.vm, value)
    return 0
  },
}
const systemTime = (old: boolean): MsrRow => ({
  read: (vcpu) => vcpu.msrs.systemTime,
  write: (vcpu, value) => {
    vcpu.msrs.systemTime = value
    vcpu.msrs.systemTimeOld = old
    vcpu.msrs.clockVersion = 0
    vcpu.request(REQ_CLOCK_UPDATE)
    return 0
  },
})

/** bit 0 enable, 1 send always, 2 as VM exit, 3 as interrupt; 5:4 reserved; the rest a 64-byte aligned area. */
function writeAsyncPf(vcpu: Vcpu, value: bigint): 0 | 1 {
  if (value & 0x30n) return INVALID
  if (value & 4n && !has(vcpu, KVM_FEATURE_ASYNC_PF_VMEXIT)) return INVALID
  if (value & 8n && !has(vcpu, KVM_FEATURE_ASYNC_PF_INT)) return INVALID
  if (vcpu.lapic === null && value !== 0n) return INVALID
  vcpu.msrs.asyncPfEnabled = value
  return 0
}

export const pvMsrs: readonly (readonly [number, MsrRow])[] = [
  [PV.MSR_KVM_WALL_CLOCK, gated(KVM_FEATURE_CLOCKSOURCE, wallClock)],
  [PV.MSR_KVM_WALL_CLOCK_NEW, gated(KVM_FEATURE_CLOCKSOURCE2, wallClock)],
  [PV.MSR_KVM_SYSTEM_TIME, gated(KVM_FEATURE_CLOCKSOURCE, systemTime(true))],
  [PV.MSR_KVM_SYSTEM_TIME_NEW, gated(KVM_FEATURE_CLOCKSOURCE2, systemTime(false))],
  [PV.MSR_KVM_ASYNC_PF_EN, gated(KVM_FEATURE_ASYNC_PF, { read: (vcpu) => vcpu.msrs.asyncPfEnabled, write: writeAsyncPf })],
  [
    PV.MSR_KVM_ASYNC_PF_INT,
    gated(KVM_FEATURE_ASYNC_PF_INT, {
      read: (vcpu) => vcpu.msrs.asyncPfInt,
      write: (vcpu, value) => {
        if (value >> 8n !== 0n || vcpu.lapic === null) return INVALID
        vcpu.msrs.asyncPfInt = value
        return 0
      },
    }),
  ],
  [PV.MSR_KVM_ASYNC_PF_ACK, gated(KVM_FEATURE_ASYNC_PF_INT, { read: () => 0n, write: () => 0 })],
  [
    PV.MSR_KVM_STEAL_TIME,
    gated(KVM_FEATURE_STEAL_TIME, {
      read: (vcpu) => vcpu.msrs.stealTime,
      write: (vcpu, value) => {
        if (value & 0x3en) return INVALID
        vcpu.msrs.stealTime = value
        if (value & 1n) vcpu.request(REQ_STEAL_UPDATE)
        return 0
      },
    }),
  ],
  [
    PV.MSR_KVM_PV_EOI_EN,
    gated(KVM_FEATURE_PV_EOI, {
      read: (vcpu) => vcpu.msrs.pvEoi,
      write: (vcpu, value) => {
        if ((value & ~1n) % 4n !== 0n) return INVALID
        vcpu.msrs.pvEoi = value
        return 0
      },
    }),
  ],
  [
    PV.MSR_KVM_POLL_CONTROL,
    gated(KVM_FEATURE_POLL_CONTROL, {
      read: (vcpu) => vcpu.msrs.pollControl,
      write: (vcpu, value) => {
        if (value & ~1n) return INVALID
        vcpu.msrs.pollControl = value
        return 0
      },
    }),
  ],
]
