import { KVM_EXIT_FPU_REALLOC } from '../abi/exit-reasons.ts'
import type { Vcpu } from '../vcpu/vcpu.ts'
import { EXIT_TO_USER } from './exit-results.ts'
import { skipInstruction } from './instruction.ts'

/**
 * Design D1: KVM_RUN returns so that the guest FPU is put, which makes the room that the guest's XSETBV or WRMSR asked for; the next
 * KVM_RUN completes the instruction. The exit carries nothing that user space could act on. GFPU-35.
 */
export function reallocExit(vcpu: Vcpu): number {
  vcpu.exitsForRoom = false
  vcpu.run.exitReason = KVM_EXIT_FPU_REALLOC
  vcpu.pio.length = vcpu.vmcs.exitInstructionLength
  vcpu.completion = complete
  return EXIT_TO_USER
}

function complete(vcpu: Vcpu): number {
  vcpu.vmcs.exitInstructionLength = vcpu.pio.length
  return skipInstruction(vcpu)
}
