import {
  X86_CR0_AM,
  X86_CR0_ET,
  X86_CR0_MP,
  X86_CR0_NE,
  X86_CR0_PE,
  X86_CR0_PG,
  X86_CR0_WP,
  X86_CR4_CET,
  X86_CR4_DE,
  X86_CR4_FSGSBASE,
  X86_CR4_MCE,
  X86_CR4_OSFXSR,
  X86_CR4_OSXMMEXCPT,
  X86_CR4_OSXSAVE,
  X86_CR4_PAE,
  X86_CR4_PGE,
  X86_CR4_PKE,
  X86_CR4_PSE,
  X86_CR4_UMIP,
} from '../../isa/control-registers.ts'
import { CTL } from '../../machine/execution-context.ts'
import { noteXfd } from '../fpu/register-owner.ts'
import type { Kernel } from '../kernel.ts'
import type { PinnedProcessor } from '../processor.ts'
import { hasUserShadowStacks } from '../shstk/thread.ts'
import type { Task } from '../task.ts'

const EFER_SCE = 1
const EFER_LME = 1 << 8
const EFER_LMA = 1 << 10
const EFER_NX = 1 << 11

/** CR0 of the running kernel (arch/x86/include/uapi/asm/processor-flags.h CR0_STATE). */
export const HOST_CR0 = X86_CR0_PE | X86_CR0_MP | X86_CR0_ET | X86_CR0_NE | X86_CR0_WP | X86_CR0_AM | (X86_CR0_PG | 0)

/** CR4 of the running kernel on this model. */
export function hostCr4(kernel: Kernel): number {
  const { model, xstate } = kernel
  let cr4 = X86_CR4_DE | X86_CR4_PSE | X86_CR4_PAE | X86_CR4_MCE | X86_CR4_PGE | X86_CR4_OSFXSR | X86_CR4_OSXMMEXCPT
  if (model.has('umip')) cr4 |= X86_CR4_UMIP
  if (model.has('fsgsbase')) cr4 |= X86_CR4_FSGSBASE
  if (xstate.xsave) cr4 |= X86_CR4_OSXSAVE
  if (xstate.pku) cr4 |= X86_CR4_PKE
  if (hasUserShadowStacks(kernel)) cr4 |= X86_CR4_CET
  return cr4
}

/** Control registers a task's user code runs under: those of the kernel, and its own page tables. */
export function loadHostControl(task: Task): void {
  const { context, kernel } = task
  context.setCtl(CTL.CR0, HOST_CR0, 0)
  context.setCtl(CTL.CR4, hostCr4(kernel), 0)
  context.setCtl(CTL.CR3, task.mm.table.root, 0)
  context.setCtl(CTL.EFER, EFER_SCE | EFER_LME | EFER_LMA | EFER_NX, 0)
  context.setCtl(CTL.DR6, 0xffff0ff0 | 0, 0)
  context.setCtl(CTL.DR7, 0x400, 0)
}

/** XCR0, IA32_XSS and IA32_XFD of a processor that comes up (PERM-11, -13). Linux 6.12 fpu__init_cpu_xstate(). */
export function initXstate(cpu: PinnedProcessor): void {
  const { xstate } = cpu.kernel
  if (!xstate.xsave) return
  cpu.processor.setXcr0(xstate.userMax)
  if (xstate.xss !== 0) cpu.processor.setXss(xstate.xss)
  if (xstate.dynamicSizing) cpu.processor.wrmsrXfd(xstate.initXfd)
  noteXfd(cpu, xstate.initXfd)
}
