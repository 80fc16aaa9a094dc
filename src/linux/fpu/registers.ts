import { HostOops } from '../oops.ts'
import type { PinnedProcessor } from '../processor.ts'
import type { FpState } from './fpstate.ts'
import { reportOverrun } from './overrun.ts'
import { noteLoaded, noteXfd, registersValid, takeRegisters } from './register-owner.ts'
import type { FpuThread } from './thread-fpu.ts'

/** Moves extended state between registers and buffers. Everything here runs with preemption disabled. PERM-33..42. */

/** Registers to the thread's active buffer (save_fpregs_to_fpstate). The registers stay as they are. */
export function saveRegisters(fpu: FpuThread, cpu: PinnedProcessor): void {
  const { fpstate, config } = fpu
  cpu.processor.xsave(config.saveForm, fpstate.image, fpstate.xfeatures)
  if (fpstate.shortBy !== 0) noteOverrun(cpu, fpstate, 'Write', 'save_fpregs_to_fpstate')
}

function noteOverrun(cpu: PinnedProcessor, fpstate: FpState, kind: 'Read' | 'Write', name: string): void {
  reportOverrun(cpu.kernel, fpstate, { kind, function: name, task: cpu.current }, fpstate.xstateBv)
}

/** IA32_XFD of this buffer, if the processor has another (PERM-33, -34). */
export function updateXfd(fpu: FpuThread, cpu: PinnedProcessor, fpstate: FpState): void {
  if (!fpu.config.dynamicSizing || cpu.xfdShadow === fpstate.xfd) return
  cpu.processor.wrmsrXfd(fpstate.xfd)
  noteXfd(cpu, fpstate.xfd)
}

/** Buffer to registers, of all components of `mask` (restore_fpregs_from_fpstate). Writes XFD first. */
export function restoreRegisters(fpu: FpuThread, cpu: PinnedProcessor, fpstate: FpState, mask: number): void {
  updateXfd(fpu, cpu, fpstate)
  if (fpstate.shortBy !== 0) noteOverrun(cpu, fpstate, 'Read', 'restore_fpregs_from_fpstate')
  loadImage(fpu, cpu, fpstate.image, mask & fpu.config.kernelMax)
}

/** XRSTORS by the kernel: a #NM is fatal (GFPU-53), a #GP resets the registers with a warning. */
function loadImage(fpu: FpuThread, cpu: PinnedProcessor, image: number, mask: number): void {
  const { config } = fpu
  const vector = cpu.processor.xrstor(config.restoreForm, image, mask)
  if (vector === 0) return
  const { log } = cpu.kernel
  if (vector === 7) {
    const xfdErr = cpu.processor.readXfdErr()
    cpu.processor.writeXfdErr(0)
    throw new HostOops(
      'unexpected #NM exception',
      'GFPU-53',
      `XRSTORS in the host kernel, IA32_XFD_ERR = 0x${xfdErr.toString(16)}`,
      // The instruction mask is EDX:EAX. The handler of #NM warns before it gives up (PERM-36).
      { function: 'restore_fpregs_from_fpstate', warning: 'exc_device_not_available', registers: { RAX: mask, RDX: 0 } },
    )
  }
  log.warn(`Bad FPU state detected at restore_fpregs_from_fpstate, reinitializing FPU registers.`)
  cpu.processor.xrstor(config.restoreForm, config.initImage, config.restoreMask)
}

/** The user components of `mask` to their initial state, and PKRU to its default (restore_fpregs_from_init_fpstate). */
export function loadInitialState(fpu: FpuThread, cpu: PinnedProcessor, mask: number): void {
  loadImage(fpu, cpu, fpu.config.initImage, mask & fpu.config.kernelMax)
}

/** The thread's registers are the processor's now (fpregs_mark_activate). */
export function markActive(fpu: FpuThread, cpu: PinnedProcessor): void {
  takeRegisters(fpu, cpu)
  noteLoaded(fpu, cpu)
}

/** Makes the registers the thread's (switch_fpu_return): loads them unless they are still valid. */
export function loadForUser(fpu: FpuThread, cpu: PinnedProcessor): void {
  if (!registersValid(fpu, cpu)) {
    restoreRegisters(fpu, cpu, fpu.fpstate, fpu.config.restoreMask)
    takeRegisters(fpu, cpu)
  }
  noteLoaded(fpu, cpu)
}

/** Brings the thread's buffer up to date if the registers are newer (fpu_sync_fpstate). For the running task. */
export function syncBuffer(fpu: FpuThread, cpu: PinnedProcessor): void {
  if (!fpu.needLoad) saveRegisters(fpu, cpu)
}
