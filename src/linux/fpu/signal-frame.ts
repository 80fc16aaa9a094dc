import {
  FXSAVE,
  FXSAVE_SIZE,
  XCOMP_BV_OFFSET,
  XFEATURE_MASK_FPSSE,
  XFEATURE_MASK_PKRU,
  XFEATURE_MASK_XTILE,
  XFEATURE_PKRU,
  XSAVE_HDR_OFFSET,
  XSAVE_HDR_SIZE,
  XSAVE_LEGACY_AND_HEADER,
  XSTATE_BV_OFFSET,
} from '../../isa/xfeatures.ts'
import { XRSTOR, XSAVE } from '../../machine/xsave/forms.ts'
import { withPreemptionDisabled } from '../preemption.ts'
import type { PinnedProcessor } from '../processor.ts'
import type { Task } from '../task.ts'
import { type FrameHeader, faultingFrame, unreadableFrame } from './explain.ts'
import { clearUserStates } from './lifecycle.ts'
import { disownRegisters } from './register-owner.ts'
import { loadForUser, loadInitialState, markActive, updateXfd } from './registers.ts'

/** Extended state on signal frames (64-bit). PERM-45..54, -67..70. */

export const FP_XSTATE_MAGIC1 = 0x46505853
export const FP_XSTATE_MAGIC2 = 0x46505845
const SW_EXTENDED_SIZE = FXSAVE.SW_RESERVED + 4
const SW_XFEATURES = FXSAVE.SW_RESERVED + 8
const SW_XSTATE_SIZE = FXSAVE.SW_RESERVED + 16

/** Address of the state area for a frame below `sp`: room for the image and magic2, 64-byte aligned (PERM-45). */
export function allocateFrame(task: Task, sp: number): number {
  const size = task.fpu.fpstate.userSize + (task.fpu.config.xsave ? 4 : 0)
  return Math.floor((sp - size) / 64) * 64
}

/** Writes the running task's extended state at `user`. False: not writable. */
export function saveToFrame(task: Task, user: number): boolean {
  const { mm } = task
  const { config, fpstate } = task.fpu
  if (!mm.inUserRange(user, fpstate.userSize + 4)) return false
  if (config.xsave && !mm.clearUser(user + XSAVE_HDR_OFFSET, XSAVE_HDR_SIZE)) return false
  withPreemptionDisabled(task, saveToScratch, task)
  if (!copyExtentsOut(task, user)) return false
  return writeSoftwareBytes(task, user) && finishHeader(task, user)
}

/** XSAVE of the user components into the scratch buffer; extents say what it wrote. */
function saveToScratch(cpu: PinnedProcessor, task: Task): void {
  const { fpu } = task
  const { config, fpstate } = fpu
  if (fpu.needLoad) loadForUser(fpu, cpu)
  const scratch = config.scratchImage
  fpu.mem.u8.fill(0, scratch + XSAVE_HDR_OFFSET, scratch + XSAVE_LEGACY_AND_HEADER)
  let mask = fpstate.userXfeatures
  if (config.dynamicSizing) mask &= cpu.processor.xsaveEngine.inUse(config.userMax) | ~XFEATURE_MASK_XTILE
  cpu.processor.xsave(XSAVE, scratch, mask)
}

function copyExtentsOut(task: Task, user: number): boolean {
  const { extents, extentCount } = task.cpu!.processor.xsaveEngine
  const { scratchImage } = task.fpu.config
  for (let i = 0; i < extentCount; i++) {
    const offset = extents[i * 2]
    if (!task.mm.copyToUser(user + offset, task.fpu.mem.u8, scratchImage + offset, extents[i * 2 + 1])) return false
  }
  return true
}

/** PERM-46: sw_reserved and magic2. */
function writeSoftwareBytes(task: Task, user: number): boolean {
  const { userSize, userXfeatures } = task.fpu.fpstate
  const bytes = new Uint8Array(48)
  const view = new DataView(bytes.buffer)
  view.setUint32(0, FP_XSTATE_MAGIC1, true)
  view.setUint32(4, userSize + 4, true)
  view.setUint32(8, userXfeatures, true)
  view.setUint32(16, userSize, true)
  return task.mm.copyToUser(user + FXSAVE.SW_RESERVED, bytes, 0, 48) && task.mm.putUser32(user + userSize, FP_XSTATE_MAGIC2)
}

/** PERM-47: FP and SSE always set; the interrupted PKRU in its slot. */
function finishHeader(task: Task, user: number): boolean {
  const { mm } = task
  const { config } = task.fpu
  const withPkru = config.pku && config.profile.fpu.signalFrameCarriesPkru
  const xstateBv = mm.getUser32(user + XSTATE_BV_OFFSET)
  if (xstateBv < 0) return false
  const features = xstateBv | XFEATURE_MASK_FPSSE | (withPkru ? XFEATURE_MASK_PKRU : 0)
  if (!mm.putUser32(user + XSTATE_BV_OFFSET, features)) return false
  return !withPkru || mm.putUser32(user + config.layout.offsets[XFEATURE_PKRU], task.cpu!.processor.pkru)
}

/** rt_sigreturn's part (fpu__restore_sig). False: SIGSEGV; the user state is reset then (PERM-50..54). */
export function restoreFromFrame(task: Task, user: number): boolean {
  task.fault = null
  const restored = user === 0 ? false : tryRestore(task, user)
  if (restored) return true
  if (user !== 0) task.fault ??= unreadableFrame('PERM-50', 'the extended state of the signal frame')
  withPreemptionDisabled(task, clearUserStates, task)
  return user === 0
}

function tryRestore(task: Task, user: number): boolean {
  const { mm } = task
  const { fpstate, mem, config } = task.fpu
  if (!mm.inUserRange(user, fpstate.userSize + 4)) return false
  const scratch = config.scratchImage
  if (!mm.copyFromUser(mem.u8, scratch, user, FXSAVE_SIZE)) return false
  const magic = checkMagic(task, user)
  if (magic === null) return false
  const xfeatures = magic ? mem.view.getUint32(scratch + SW_XFEATURES, true) : XFEATURE_MASK_FPSSE
  if (magic && !mm.copyFromUser(mem.u8, scratch + FXSAVE_SIZE, user + FXSAVE_SIZE, XSAVE_HDR_SIZE)) return false
  const restore = xfeatures & fpstate.userXfeatures
  if (magic && !copyExtentsIn(task, user, restore)) return false
  return withPreemptionDisabled(task, loadScratch, { task, restore, extended: magic })
}

/** True: an extended image; false: FX-only (PERM-51); null: unreadable. */
function checkMagic(task: Task, user: number): boolean | null {
  const { view } = task.fpu.mem
  const scratch = task.fpu.config.scratchImage
  const extendedSize = view.getUint32(scratch + SW_EXTENDED_SIZE, true)
  const size = view.getUint32(scratch + SW_XSTATE_SIZE, true)
  if (view.getUint32(scratch + FXSAVE.SW_RESERVED, true) !== FP_XSTATE_MAGIC1) return false
  if (size < XSAVE_LEGACY_AND_HEADER || size > task.fpu.fpstate.userSize || size > extendedSize) return false
  const magic2 = task.mm.getUser32(user + size)
  return magic2 < 0 ? null : magic2 === FP_XSTATE_MAGIC2
}

/** Brings the bytes XRSTOR will read into the scratch buffer. */
function copyExtentsIn(task: Task, user: number, restore: number): boolean {
  const { xsaveEngine } = task.cpu!.processor
  const { mem, config } = task.fpu
  xsaveEngine.restoreExtents(config.scratchImage, restore, XRSTOR)
  for (let i = 0; i < xsaveEngine.extentCount; i++) {
    const offset = xsaveEngine.extents[i * 2]
    const length = xsaveEngine.extents[i * 2 + 1]
    if (!task.mm.copyFromUser(mem.u8, config.scratchImage + offset, user + offset, length)) return false
  }
  return true
}

function frameHeader(task: Task): FrameHeader {
  const { view } = task.fpu.mem
  const scratch = task.fpu.config.scratchImage
  return {
    bvLo: view.getInt32(scratch + XSTATE_BV_OFFSET, true),
    bvHi: view.getInt32(scratch + XSTATE_BV_OFFSET + 4, true),
    xcompBv: view.getBigUint64(scratch + XCOMP_BV_OFFSET, true),
    mxcsr: view.getUint32(scratch + FXSAVE.MXCSR, true),
  }
}

function loadScratch(cpu: PinnedProcessor, what: { task: Task; restore: number; extended: boolean }): boolean {
  const { fpu } = what.task
  const { config, fpstate } = fpu
  updateXfd(fpu, cpu, fpstate)
  if (!what.extended) prepareFxOnly(what.task)
  const loaded = what.extended ? what.restore : XFEATURE_MASK_FPSSE
  const vector = cpu.processor.xrstor(XRSTOR, config.scratchImage, loaded)
  if (vector !== 0) {
    what.task.fault = faultingFrame(what.task, vector, config.userMax, frameHeader(what.task))
    if (vector === 7) cpu.processor.writeXfdErr(0)
    if (fpu.needLoad) disownRegisters(cpu)
    return false
  }
  const reset = fpstate.userXfeatures & ~loaded
  // PKRU is among them and becomes 0, all keys open, not the default (PERM-51, -70).
  if (reset !== 0) loadInitialState(fpu, cpu, reset)
  if (fpu.needLoad && config.supervisor !== 0) cpu.processor.xrstor(config.restoreForm, fpstate.image, config.supervisor)
  markActive(fpu, cpu)
  return true
}

/** FX-only: what FXRSTOR loads, as a standard image of FP and SSE alone. */
function prepareFxOnly(task: Task): void {
  const { mem, config } = task.fpu
  const header = config.scratchImage + XSAVE_HDR_OFFSET
  mem.u8.fill(0, header, header + XSAVE_HDR_SIZE)
  mem.view.setUint32(header, XFEATURE_MASK_FPSSE, true)
}
