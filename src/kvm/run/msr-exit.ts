import { msrName } from '../../isa/msrs.ts'
import { X86_TRAP_GP } from '../../isa/vectors.ts'
import { refusedBy, u64Of } from '../../linux/refusal.ts'
import { REG } from '../../machine/execution-context.ts'
import {
  KVM_EXIT_X86_RDMSR,
  KVM_EXIT_X86_WRMSR,
  KVM_MSR_EXIT_REASON_FILTER,
  KVM_MSR_EXIT_REASON_INVAL,
  KVM_MSR_EXIT_REASON_UNKNOWN,
} from '../abi/exit-reasons.ts'
import { msrRefused, type Reasoned, refusedToGuest } from '../explain.ts'
import { INVALID, readMsr, UNSUPPORTED, writeMsr } from '../msr/access.ts'
import { isMsrAllowed, KVM_MSR_FILTER_READ, KVM_MSR_FILTER_WRITE } from '../msr/filter.ts'
import type { Vcpu } from '../vcpu/vcpu.ts'
import { ENTER_GUEST, EXIT_TO_USER } from './exit-results.ts'
import { skipInstruction } from './instruction.ts'
import { reallocExit } from './realloc-exit.ts'

/** kvm_run.msr (KAPI §3). */
const MSR_ERROR = 0x20
const MSR_REASON = 0x28
const MSR_INDEX = 0x2c
const MSR_DATA = 0x30

const generalProtection = (vcpu: Vcpu): number => {
  vcpu.queueExceptionWithCode(X86_TRAP_GP, 0)
  return ENTER_GUEST
}

/** Guest RDMSR that exits: filter, access, result. KAPI-70, KAPI-71. */
export function handleMsrRead(vcpu: Vcpu): number {
  const { context } = vcpu
  const index = context.lo(REG.RCX) >>> 0
  if (!isMsrAllowed(vcpu.vm.msrFilter, index, KVM_MSR_FILTER_READ)) return refuse(vcpu, index, false, KVM_MSR_EXIT_REASON_FILTER)
  const value = readMsr(vcpu, index, false)
  if (typeof value !== 'bigint') return refuse(vcpu, index, false, reasonOf(value))
  loadResult(vcpu, Number(value & 0xffffffffn) | 0, Number(value >> 32n) | 0)
  vcpu.vm.kvm.trace?.msr(vcpu, false, index, value)
  return skipInstruction(vcpu)
}

export function handleMsrWrite(vcpu: Vcpu): number {
  const { context } = vcpu
  const index = context.lo(REG.RCX) >>> 0
  if (!isMsrAllowed(vcpu.vm.msrFilter, index, KVM_MSR_FILTER_WRITE)) return refuse(vcpu, index, true, KVM_MSR_EXIT_REASON_FILTER)
  const value = (BigInt(context.lo(REG.RDX) >>> 0) << 32n) | BigInt(context.lo(REG.RAX) >>> 0)
  const result = writeMsr(vcpu, index, value, false)
  if (result !== 0) return refuse(vcpu, index, true, reasonOf(result))
  vcpu.vm.kvm.trace?.msr(vcpu, true, index, value)
  return vcpu.exitsForRoom ? reallocExit(vcpu) : skipInstruction(vcpu)
}

const reasonOf = (failure: number): number => (failure === UNSUPPORTED ? KVM_MSR_EXIT_REASON_UNKNOWN : KVM_MSR_EXIT_REASON_INVAL)

function loadResult(vcpu: Vcpu, lo: number, hi: number): void {
  vcpu.context.set32(REG.RAX, lo)
  vcpu.context.set32(REG.RDX, hi)
}

/** An access that fails: user space if it asked for this kind, else #GP. */
function refuse(vcpu: Vcpu, index: number, isWrite: boolean, reason: number): number {
  if ((vcpu.vm.userSpaceMsrMask & reason) === 0) {
    vcpu.vm.kvm.noteMsrRefused(index, isWrite)
    refusedToGuest(vcpu, '#GP(0)', () => msrFault(vcpu, index, isWrite, reason))
    return generalProtection(vcpu)
  }
  const { run, context } = vcpu
  run.exitReason = isWrite ? KVM_EXIT_X86_WRMSR : KVM_EXIT_X86_RDMSR
  run.setU8(MSR_ERROR, 0)
  run.setU32(MSR_REASON, reason)
  run.setU32(MSR_INDEX, index)
  run.setHalves(MSR_DATA, isWrite ? context.lo(REG.RAX) : 0, isWrite ? context.lo(REG.RDX) : 0)
  vcpu.pio.length = vcpu.vmcs.exitInstructionLength
  vcpu.completion = isWrite ? completeWrite : completeRead
  return EXIT_TO_USER
}

function msrFault(vcpu: Vcpu, index: number, isWrite: boolean, reason: number): Reasoned {
  const { context } = vcpu
  const value = isWrite ? u64Of(context.lo(REG.RAX), context.lo(REG.RDX)) : null
  if (reason !== KVM_MSR_EXIT_REASON_FILTER) {
    return msrRefused(vcpu, index, value, false, reason === KVM_MSR_EXIT_REASON_UNKNOWN ? UNSUPPORTED : INVALID)
  }
  const asked = { kind: 'MSR', name: msrName(index), value } as const
  const chain = [refusedBy('MSR', "the VM's filter (KVM_X86_SET_MSR_FILTER)", u64Of(index))]
  return { rule: 'KAPI-76', sentence: `${asked.name} is denied by the VM's MSR filter`, details: { asked, chain } }
}

function completeRead(vcpu: Vcpu): number {
  const { run } = vcpu
  if (run.u8(MSR_ERROR) !== 0) return generalProtection(vcpu)
  loadResult(vcpu, run.u32(MSR_DATA) | 0, run.u32(MSR_DATA + 4) | 0)
  return finish(vcpu)
}
function completeWrite(vcpu: Vcpu): number {
  return vcpu.run.u8(MSR_ERROR) !== 0 ? generalProtection(vcpu) : finish(vcpu)
}
function finish(vcpu: Vcpu): number {
  vcpu.vmcs.exitInstructionLength = vcpu.pio.length
  return skipInstruction(vcpu)
}
