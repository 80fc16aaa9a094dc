import { MSR_IA32_VMX_BASIC, MSR_IA32_VMX_VMFUNC } from '../../isa/msr-index.ts'
import type { Vcpu } from '../vcpu/vcpu.ts'
import { INVALID, type MsrFailure, UNSUPPORTED } from './failure.ts'
import { msrRow } from './table.ts'
import { readX2apic, writeX2apic } from './x2apic.ts'

/** Feature MSRs the host cannot change once the vCPU has run (KAPI-74); the microcode revision is not one of them. */
const IMMUTABLE_AFTER_RUN = new Set([0xc0011029, 0x10a, 0x345])
const isImmutableAfterRun = (index: number): boolean => IMMUTABLE_AFTER_RUN.has(index) || isVmxMsr(index)
const isVmxMsr = (index: number): boolean => index >= MSR_IA32_VMX_BASIC && index <= MSR_IA32_VMX_VMFUNC

const isX2apic = (index: number): boolean => index >= 0x800 && index <= 0x8ff

/** Reads an MSR for the guest or the host, without filter. */
export function readMsr(vcpu: Vcpu, index: number, host: boolean): bigint | MsrFailure {
  if (isX2apic(index)) return readX2apic(vcpu, index)
  const row = msrRow(index)
  return row === undefined ? UNSUPPORTED : row.read(vcpu, host)
}

export function writeMsr(vcpu: Vcpu, index: number, value: bigint, host: boolean): 0 | MsrFailure {
  if (isX2apic(index)) return writeX2apic(vcpu, index, value)
  const row = msrRow(index)
  return row === undefined ? UNSUPPORTED : row.write(vcpu, value, host)
}

/** Why the host's last access that stopped did so; `fixed`: a feature MSR after the first run. */
export const hostFailure: { why: MsrFailure | 'fixed' } = { why: INVALID }

/** KVM_GET_MSRS of one MSR: an advertised one that does not exist here reads 0. KAPI-72. Null = stop. */
export function hostReadMsr(vcpu: Vcpu, index: number): bigint | null {
  const value = readMsr(vcpu, index, true)
  if (typeof value === 'bigint') return value
  hostFailure.why = value
  return value === UNSUPPORTED && vcpu.vm.kvm.isAdvertisedMsr(index) ? 0n : null
}

/** KVM_SET_MSRS of one MSR. False = stop. KAPI-72, KAPI-74. */
export function hostWriteMsr(vcpu: Vcpu, index: number, value: bigint): boolean {
  if (vcpu.hasRun && isImmutableAfterRun(index)) {
    const same = hostReadMsr(vcpu, index) === value
    hostFailure.why = 'fixed'
    return same
  }
  const result = writeMsr(vcpu, index, value, true)
  if (result === 0) return true
  hostFailure.why = result
  return result === UNSUPPORTED && value === 0n && vcpu.vm.kvm.isAdvertisedMsr(index)
}

export { INVALID, UNSUPPORTED }
