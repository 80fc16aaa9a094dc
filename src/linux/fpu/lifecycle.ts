import { XFEATURE_MASK_PASID, XSAVE_LEGACY_AND_HEADER } from '../../isa/xfeatures.ts'
import { withPreemptionDisabled } from '../preemption.ts'
import type { PinnedProcessor } from '../processor.ts'
import type { Task } from '../task.ts'
import { PKRU_DEFAULT } from './config.ts'
import { disownEverywhere, forgetRegisters, registersValid } from './register-owner.ts'
import { loadForUser, loadInitialState, markActive, updateXfd } from './registers.ts'
import { FpuThread } from './thread-fpu.ts'

/** fork, exec, exit and reset of extended state. PERM-24..26, -43, -49, -54. */

/** Extended state of a new program's first task: initial, nothing loaded. */
export function newProgramFpu(task: Task): FpuThread {
  const fpu = new FpuThread(task.kernel, PKRU_DEFAULT)
  copyInitImage(fpu)
  return fpu
}

/**
 * Child's extended state at fork and clone (fpu_clone): the parent's registers saved with the default mask, so that tile data is
 * lost; permissions copied unless the child is a thread of the same group.
 */
export function cloneFpu(parent: Task, isThread: boolean): FpuThread {
  const child = new FpuThread(parent.kernel, parent.fpu.pkru)
  withPreemptionDisabled(parent, saveToChild, child)
  if (!isThread && child.config.dynamicSizing) {
    const leader = parent.group.leader.fpu
    child.perm = { ...leader.perm }
    child.guestPerm = { ...leader.guestPerm }
  }
  child.fpstate.xstateBv &= ~XFEATURE_MASK_PASID
  return child
}

function saveToChild(cpu: PinnedProcessor, child: FpuThread): void {
  const { fpu } = cpu.current!
  const { config } = fpu
  if (config.pku) child.pkru = cpu.processor.pkru
  if (fpu.needLoad) loadForUser(fpu, cpu)
  // Default features only; XFD stays the parent's, as nothing dynamic is in the mask.
  cpu.processor.xsave(config.saveForm, child.fpstate.image, child.fpstate.xfeatures)
}

/** exec (fpu_flush_thread): default buffer and permissions, initial state, loaded on return to user mode. */
export function flushFpu(cpu: PinnedProcessor, task: Task): void {
  const { fpu } = task
  const old = fpu.fpstate
  fpu.reset()
  if (old !== fpu.embedded) old.free()
  copyInitImage(fpu)
  forgetRegisters(fpu)
  fpu.pkru = PKRU_DEFAULT
  if (fpu.config.pku) cpu.processor.setPkru(PKRU_DEFAULT)
}

function copyInitImage(fpu: FpuThread): void {
  const { config, fpstate } = fpu
  const { u8 } = fpu.mem
  u8.copyWithin(fpstate.image, config.initImage, config.initImage + XSAVE_LEGACY_AND_HEADER)
}

/** Resets the user components of the running task in the registers, keeps supervisor ones; PKRU to its default (PERM-49). */
export function clearUserStates(cpu: PinnedProcessor, task: Task): void {
  const { fpu } = task
  const { config } = fpu
  if (config.supervisor !== 0 && !registersValid(fpu, cpu)) {
    cpu.processor.xrstor(config.restoreForm, fpu.fpstate.image, config.supervisor)
  }
  updateXfd(fpu, cpu, fpu.fpstate)
  loadInitialState(fpu, cpu, config.userRestoreMask)
  if (config.pku) cpu.processor.setPkru(PKRU_DEFAULT)
  markActive(fpu, cpu)
}

/** The task exits: nobody owns registers it left. */
export function dropFpu(task: Task): void {
  disownEverywhere(task.fpu, task.kernel.cpus)
  task.fpu.dispose()
}
