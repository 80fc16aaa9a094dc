import { X86_TRAP_UD } from '../../isa/vectors.ts'
import { ACCESS_FETCH } from '../../machine/page-walk.ts'
import { KVM_EXIT_INTERNAL_ERROR, KVM_INTERNAL_ERROR_EMULATION } from '../abi/exit-reasons.ts'
import type { Vcpu } from '../vcpu/vcpu.ts'
import { ENTER_GUEST, EXIT_TO_USER } from './exit-results.ts'
import { LINEAR_OK } from './guest-linear.ts'
import { linearRipHi, linearRipLo } from './instruction.ts'

const MAX_INSTRUCTION = 15
const NOP = 0x90

/** Instruction bytes at RIP as far as they are readable; null if not one is. */
export function fetchInstruction(vcpu: Vcpu): Uint8Array | null {
  const bytes = new Uint8Array(MAX_INSTRUCTION)
  const user = vcpu.context.cpl === 3
  const lo = linearRipLo(vcpu)
  const hi = linearRipHi(vcpu)
  if (vcpu.linear.read(lo, hi, bytes, user, ACCESS_FETCH, false) === LINEAR_OK) return bytes
  const inPage = Math.min(MAX_INSTRUCTION, 4096 - (lo & 0xfff))
  const head = new Uint8Array(inPage)
  return vcpu.linear.read(lo, hi, head, user, ACCESS_FETCH, false) === LINEAR_OK ? head : null
}

/**
 * KVM could not emulate an instruction. User space is told if it asked for that, or if the guest kernel did it; the guest gets
 * #UD. KAPI-38; Linux 6.12 handle_emulation_failure().
 * @param instruction its bytes when they are known
 */
export function emulationFailure(vcpu: Vcpu, instruction: Uint8Array | null): number {
  vcpu.stats.insn_emulation_fail++
  if (vcpu.vm.exitOnEmulationFailure) {
    prepareEmulationFailureExit(vcpu, instruction)
    return EXIT_TO_USER
  }
  vcpu.queueException(X86_TRAP_UD)
  if (vcpu.context.cpl === 0) {
    prepareEmulationFailureExit(vcpu, instruction)
    return EXIT_TO_USER
  }
  return ENTER_GUEST
}

/** KVM_EXIT_INTERNAL_ERROR with the payload of KAPI-39. */
export function prepareEmulationFailureExit(vcpu: Vcpu, instruction: Uint8Array | null): void {
  const { run, vmcs } = vcpu
  run.exitReason = KVM_EXIT_INTERNAL_ERROR
  run.setU32(0x20, KVM_INTERNAL_ERROR_EMULATION)
  const info = [vcpu.lastExitReason, vmcs.exitQualification, 0, vmcs.exitInterruptionInfo >>> 0, vmcs.exitErrorCode >>> 0]
  let next = 0
  const put = (value: number): void => run.setU64(0x28 + next++ * 8, value)
  if (instruction !== null) {
    run.setU32(0x24, 3 + info.length)
    put(1) // flags: the instruction bytes are valid
    run.setU64(0x30, 0)
    run.setU64(0x38, 0)
    run.setU8(0x30, instruction.length)
    const bytes = run.bytes(0x31, MAX_INSTRUCTION)
    bytes.fill(NOP)
    bytes.set(instruction)
    next = 3
  } else {
    run.setU32(0x24, 1 + info.length)
    put(0)
  }
  for (const value of info) put(value)
}
