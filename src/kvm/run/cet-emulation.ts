import { MSR_IA32_U_CET } from '../../isa/msr-index.ts'
import { ensureRegistersLoaded } from '../../linux/fpu/door.ts'
import type { PinnedProcessor } from '../../linux/processor.ts'
import { CET_ENDBR_EN, CET_SH_STK_EN, isCetOn } from '../../machine/cet.ts'
import { CET_FAR, CET_IBT_SOURCE, CET_USES_SHADOW_STACK, cetUseAtRip } from '../../machine/cet-instructions.ts'
import { CTL } from '../../machine/execution-context.ts'
import type { Processor } from '../../machine/processor.ts'
import type { Vcpu } from '../vcpu/vcpu.ts'

/**
 * KVM's emulator has no part of CET: it fails on an instruction at RIP that would use a shadow stack that is on, or start tracking
 * that is on. A near branch looks at the settings of its own level, a far one at both. CET-24.
 */
export function emulatorLacksCetOf(vcpu: Vcpu, cpu: PinnedProcessor): boolean {
  const { context } = vcpu
  if (!isCetOn(context)) return false
  ensureRegistersLoaded(cpu)
  const use = cetUseAtRip(cpu.processor as Processor, vcpu.vmcs)
  if (use === 0) return false
  const user = context.cpl === 3
  let settings = 0
  if (user || use & CET_FAR) settings |= Number(cpu.processor.rdmsr(MSR_IA32_U_CET) & 0xffn)
  if (!user || use & CET_FAR) settings |= context.ctlLo(CTL.S_CET)
  return (
    ((use & CET_USES_SHADOW_STACK) !== 0 && (settings & CET_SH_STK_EN) !== 0) ||
    ((use & CET_IBT_SOURCE) !== 0 && (settings & CET_ENDBR_EN) !== 0)
  )
}
