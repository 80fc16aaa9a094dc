import { DEBUGCTLMSR_BUS_LOCK_DETECT } from '../../../isa/control-registers.ts'
import { MSR_IA32_DEBUGCTLMSR, MSR_TEST_CTRL } from '../../../isa/msr-index.ts'
import type { Processor } from '../../processor.ts'
import { RAISED_STEP } from '../../processor.ts'
import { registerCallOut } from '../../translate/call-outs.ts'

const VECTOR_AC = 17
/** MSR_TEST_CTRL[29]: split locks raise #AC. */
const SPLIT_LOCK_DETECTION = 1n << 29n

/**
 * Assist: a locked access crosses a cache line. [SLD-02] With detection on it raises #AC(0) at any privilege level, before
 * memory changes; [SLD-03] else it goes on (returns 0), as a bus lock that a trap or a VM exit may follow.
 */
registerCallOut('split-lock', (p) => {
  // KVM's emulator writes such an operand plainly: nothing of it is seen by the processor (SLD-46).
  if (p.mmioPort !== null) {
    p.emulatedSplitLock = true
    return 0
  }
  if (((p.msrs.get(MSR_TEST_CTRL) ?? 0n) & SPLIT_LOCK_DETECTION) !== 0n) {
    p.raise(VECTOR_AC, 0, 'split lock')
    return 1
  }
  if (!detectsBusLock(p)) return 0
  // What follows a bus lock comes after its instruction: that one runs alone.
  if (p.stepping) {
    p.busLock = true
    return 0
  }
  p.raised = RAISED_STEP
  return 1
})

/** A bus lock taken now has consequences: the debug exception (SLD-08, CPL > 0 only), or a VM exit (SLD-41). */
function detectsBusLock(p: Processor): boolean {
  if (p.vmcs?.controls.busLockExiting === true) return true
  return p.context.cpl > 0 && trapsBusLock(p)
}

/** IA32_DEBUGCTL[2], the guest's own while a guest runs. */
export function trapsBusLock(p: Processor): boolean {
  if (p.vmcs !== null) return (p.vmcs.debugCtl & DEBUGCTLMSR_BUS_LOCK_DETECT) !== 0
  return ((p.msrs.get(MSR_IA32_DEBUGCTLMSR) ?? 0n) & BigInt(DEBUGCTLMSR_BUS_LOCK_DETECT)) !== 0n
}
