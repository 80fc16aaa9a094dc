import { MSR_TEST_CTRL } from '../../isa/msr-index.ts'
import type { Vcpu } from '../../kvm/vcpu/vcpu.ts'
import type { HostCpu } from '../../linux/processor.ts'
import { REG } from '../../machine/execution-context.ts'
import {
  EXIT_REASON_EXCEPTION_NMI,
  EXIT_REASON_HLT,
  EXIT_REASON_MSR_WRITE,
  EXIT_REASON_PREEMPTION_TIMER,
} from '../../machine/exits.ts'
import { INTR_INFO_DELIVER_CODE, INTR_INFO_VALID, INTR_TYPE_HARD_EXCEPTION, type Vmcs } from '../../machine/vmcs.ts'

/** What a guest of a model does, one event an entry: guests are scripts at the door where a processor enters one. */
export type GuestEvent =
  /** A locked access across cache lines, at CPL 0. */
  | { readonly kind: 'split-lock' }
  | { readonly kind: 'wrmsr'; readonly index: number; readonly value: number }
  /** HLT: KVM_RUN returns to user space. */
  | { readonly kind: 'hlt' }

export interface GuestScript {
  readonly vcpu: Vcpu
  readonly events: readonly GuestEvent[]
  /** Part of the model's state: how far the guest is, and the #AC it was given. */
  readonly progress: { next: number; alignmentChecks: number }
}

const VECTOR_AC = 17
const SPLIT_LOCK_DETECTION = 1n << 29n

/** Runs a guest's next event on `cpu`. @returns the basic exit reason, as a VM entry does */
export function enterScript(cpu: HostCpu, { vcpu, events, progress }: GuestScript): number {
  const { vmcs } = vcpu
  // A timer tick ends every stay in the guest: the host gets to choose after each event.
  cpu.needResched = true
  const injected = vmcs.entryInterruptionInfo
  if ((injected & INTR_INFO_VALID) !== 0) {
    vmcs.entryInterruptionInfo = 0
    if ((injected & 0xff) === VECTOR_AC) {
      // Its handler gives up the access.
      progress.alignmentChecks++
      progress.next++
    }
    return EXIT_REASON_PREEMPTION_TIMER
  }
  vmcs.idtVectoringInfo = 0
  return perform(cpu, vcpu, vmcs, events[progress.next] ?? { kind: 'hlt' }, progress)
}

function perform(cpu: HostCpu, vcpu: Vcpu, vmcs: Vmcs, event: GuestEvent, progress: GuestScript['progress']): number {
  switch (event.kind) {
    case 'split-lock':
      if ((cpu.processor.rdmsr(MSR_TEST_CTRL) & SPLIT_LOCK_DETECTION) === 0n) {
        progress.next++
        return EXIT_REASON_PREEMPTION_TIMER
      }
      vmcs.exitInterruptionInfo = VECTOR_AC | INTR_TYPE_HARD_EXCEPTION | INTR_INFO_DELIVER_CODE | INTR_INFO_VALID
      vmcs.exitErrorCode = 0
      return EXIT_REASON_EXCEPTION_NMI
    case 'wrmsr':
      progress.next++
      vcpu.context.set(REG.RCX, event.index | 0, 0)
      vcpu.context.set(REG.RAX, event.value | 0, 0)
      vcpu.context.set(REG.RDX, 0, 0)
      vmcs.exitInstructionLength = 2
      return EXIT_REASON_MSR_WRITE
    case 'hlt':
      progress.next++
      vmcs.exitInstructionLength = 1
      return EXIT_REASON_HLT
  }
}
