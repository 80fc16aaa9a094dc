import { FXSAVE, FXSAVE_SIZE, XFEATURE_MASK_FPSSE } from '../../isa/xfeatures.ts'
import { EINVAL, refuse } from '../errno.ts'
import type { Task } from '../task.ts'
import { forgetRegisters } from './register-owner.ts'
import { checkUabi, copyFromUabi, copyToUabi, reservedMxcsr } from './uabi-copy.ts'

/** ptrace's view of a stopped task's extended state: its buffer is up to date, as it is not running. PERM-55..58, -71. */

export const FXREGS_SIZE = FXSAVE_SIZE

/** The standard image, user max size for every task (PERM-55). */
export function getXstate(target: Task, into: Uint8Array): void {
  const { fpu } = target
  const own = fpu.taskFpstate ?? fpu.fpstate
  copyToUabi(fpu.config, fpu.mem, own, into, 0, into.length, own.userXfeatures, fpu.pkru)
}

/** PERM-56, -57. */
export function setXstate(tracer: Task, target: Task, from: Uint8Array): number {
  const { fpu } = target
  const own = fpu.taskFpstate ?? fpu.fpstate
  const refusal = checkUabi(fpu.config, own, from, 0)
  if (refusal !== null) return refuse(tracer, EINVAL, 'PERM-56', refusal.sentence, refusal.details)
  const pkru = copyFromUabi(fpu.config, fpu.mem, own, from, 0)
  fpu.pkru = pkru < 0 ? 0 : pkru
  forgetRegisters(target.fpu)
  return 0
}

/** NT_PRFPREG: the FXSAVE region with initial values for components that are initial. */
export function getFxregs(target: Task, into: Uint8Array): void {
  const { fpu } = target
  const full = new Uint8Array(FXSAVE_SIZE)
  copyToUabi(fpu.config, fpu.mem, fpu.fpstate, full, 0, FXSAVE_SIZE, XFEATURE_MASK_FPSSE, 0)
  full.fill(0, FXSAVE.RESERVED)
  into.set(full)
}

/** PERM-58. */
export function setFxregs(tracer: Task, target: Task, from: Uint8Array): number {
  const { fpu } = target
  const view = new DataView(from.buffer, from.byteOffset)
  const mxcsr = view.getUint32(FXSAVE.MXCSR, true)
  if ((mxcsr & ~fpu.config.mxcsrMask) !== 0) {
    const { sentence, details } = reservedMxcsr(mxcsr, fpu.config.mxcsrMask)
    return refuse(tracer, EINVAL, 'PERM-58', sentence, details)
  }
  const { fpstate, mem } = fpu
  mem.u8.set(from.subarray(0, FXSAVE.RESERVED), fpstate.image)
  fpstate.xstateBv |= XFEATURE_MASK_FPSSE
  forgetRegisters(target.fpu)
  return 0
}
