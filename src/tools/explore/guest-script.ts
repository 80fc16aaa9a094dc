import { MSR_IA32_XFD, MSR_IA32_XFD_ERR, MSR_TEST_CTRL } from '../../isa/msr-index.ts'
import { XFEATURE_MASK_XTILE_DATA } from '../../isa/xfeatures.ts'
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
import type { RegisterMarks } from './register-marks.ts'

/** What a guest of a model does, one event an entry: guests are scripts at the door where a processor enters one. */
export type GuestEvent =
  /** A locked access across cache lines, at CPL 0. */
  | { readonly kind: 'split-lock' }
  /** WRMSR; whether it exits is KVM's choice. */
  | { readonly kind: 'wrmsr'; readonly index: number; readonly value: number }
  /** Writes every register but tiles, PKRU among them, after a look at what they hold. */
  | { readonly kind: 'registers' }
  /** Writes a tile: #NM while IA32_XFD says so; the handler turns XFD off and tries again. */
  | { readonly kind: 'tiles' }
  /** HLT: KVM_RUN returns to user space. */
  | { readonly kind: 'hlt' }

/** How far a guest is: part of a model's state. */
export interface GuestProgress {
  next: number
  alignmentChecks: number
  /** In the #NM handler: XFD_ERR is to be cleared. */
  inNmHandler: boolean
  /** What the guest saw that it never should; '' so far. */
  wrong: string
}

export interface GuestScript {
  readonly vcpu: Vcpu
  readonly events: readonly GuestEvent[]
  readonly progress: GuestProgress
  readonly marks: RegisterMarks
}

export const newProgress = (): GuestProgress => ({ next: 0, alignmentChecks: 0, inNmHandler: false, wrong: '' })

const VECTOR_NM = 7
const VECTOR_AC = 17
const SPLIT_LOCK_DETECTION = 1n << 29n

/** Runs a guest's next event on `cpu`. @returns the basic exit reason, as a VM entry does */
export function enterScript(cpu: HostCpu, script: GuestScript): number {
  const { vmcs } = script.vcpu
  // A timer tick ends every stay in the guest: the host gets to choose after each event.
  cpu.needResched = true
  vmcs.idtVectoringInfo = 0
  script.marks.mustHold(cpu, script.progress)
  const injected = vmcs.entryInterruptionInfo
  if ((injected & INTR_INFO_VALID) !== 0) {
    vmcs.entryInterruptionInfo = 0
    return takeException(cpu, script, injected & 0xff)
  }
  if (script.progress.inNmHandler) {
    script.progress.inNmHandler = false
    return exitForWrmsr(script.vcpu, MSR_IA32_XFD_ERR, 0)
  }
  return perform(cpu, script, script.events[script.progress.next] ?? { kind: 'hlt' })
}

/** The guest's handlers: of #AC gives up the access; of #NM turns IA32_XFD off, which exits or not. */
function takeException(cpu: HostCpu, { vcpu, progress, marks }: GuestScript, vector: number): number {
  if (vector === VECTOR_AC) {
    progress.alignmentChecks++
    progress.next++
  } else if (vector === VECTOR_NM) {
    const error = cpu.processor.readXfdErr()
    if (error !== XFEATURE_MASK_XTILE_DATA) progress.wrong = `#NM with XFD_ERR = 0x${error.toString(16)}`
    progress.inNmHandler = true
    if (!vcpu.xfdPassThrough) return exitForWrmsr(vcpu, MSR_IA32_XFD, 0)
    marks.setXfd(cpu, 0)
  }
  return EXIT_REASON_PREEMPTION_TIMER
}

function perform(cpu: HostCpu, script: GuestScript, event: GuestEvent): number {
  const { vcpu, progress, marks } = script
  switch (event.kind) {
    case 'split-lock':
      if ((cpu.processor.rdmsr(MSR_TEST_CTRL) & SPLIT_LOCK_DETECTION) !== 0n) return exception(vcpu.vmcs, VECTOR_AC, true)
      break
    case 'wrmsr':
      progress.next++
      return exitForWrmsr(vcpu, event.index, event.value)
    case 'registers':
      marks.writeRegisters(cpu)
      break
    case 'tiles':
      if ((cpu.processor.xfd & XFEATURE_MASK_XTILE_DATA) !== 0) {
        marks.raiseXfdErr(cpu)
        return exception(vcpu.vmcs, VECTOR_NM, false)
      }
      marks.writeTiles(cpu)
      break
    case 'hlt':
      progress.next++
      vcpu.vmcs.exitInstructionLength = 1
      return EXIT_REASON_HLT
  }
  progress.next++
  return EXIT_REASON_PREEMPTION_TIMER
}

function exception(vmcs: Vmcs, vector: number, hasErrorCode: boolean): number {
  vmcs.exitInterruptionInfo = vector | INTR_TYPE_HARD_EXCEPTION | (hasErrorCode ? INTR_INFO_DELIVER_CODE : 0) | INTR_INFO_VALID
  vmcs.exitErrorCode = 0
  return EXIT_REASON_EXCEPTION_NMI
}

function exitForWrmsr({ context, vmcs }: Vcpu, index: number, value: number): number {
  context.set(REG.RCX, index | 0, 0)
  context.set(REG.RAX, value | 0, 0)
  context.set(REG.RDX, 0, 0)
  vmcs.exitInstructionLength = 2
  return EXIT_REASON_MSR_WRITE
}
