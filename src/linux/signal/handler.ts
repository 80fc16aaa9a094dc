import { REG } from '../../machine/execution-context.ts'
import { SEGMENT } from '../../machine/memory-map.ts'
import { clearUserStates } from '../fpu/lifecycle.ts'
import { allocateFrame, saveToFrame } from '../fpu/signal-frame.ts'
import { TASK_SIZE_MAX } from '../mm/layout.ts'
import { withPreemptionDisabled } from '../preemption.ts'
import { traceTrap } from '../ptrace/stops.ts'
import { rseqSignalDeliver } from '../sched/rseq.ts'
import { forceValidStack, in64BitMode, set64BitCode } from '../segments/user-segments.ts'
import { pushSignalFrame } from '../shstk/signal-frame.ts'
import { SS_AUTODISARM, type Task } from '../task.ts'
import { SA_NODEFER, SA_ONSTACK, SA_RESETHAND, SA_RESTORER, SA_SIGINFO, SIG_DFL, type SignalAction } from './actions.ts'
import { altStackState, liesOnAltStack, onAltStack, resetAltStack, userStackPointer } from './alt-stack.ts'
import { deliverToCompatHandler, SA_IA32_ABI } from './compat-signals.ts'
import { forceSegv } from './send.ts'
import { SIGINFO_SIZE, writeSiginfo } from './siginfo.ts'
import { SIGKILL, SIGSTOP, type SignalInfo, signalName } from './signals.ts'

/** Size and offsets of struct rt_sigframe (LUX §7.1). */
export const RT_FRAME_SIZE = 440
export const FRAME_UC_FLAGS = 8
export const FRAME_UC_STACK = 24
export const FRAME_SIGCONTEXT = 48
export const FRAME_SIGMASK = 304
export const FRAME_SIGINFO = 312
export const UC_FP_XSTATE = 1
export const UC_SIGCONTEXT_SS = 2
export const UC_STRICT_RESTORE_SS = 4

/** General registers in sigcontext order from offset 0: r8..r15, rdi, rsi, rbp, rbx, rdx, rax, rcx, rsp. */
export const SIGCONTEXT_ORDER = [
  8,
  9,
  10,
  11,
  12,
  13,
  14,
  15,
  REG.RDI,
  REG.RSI,
  REG.RBP,
  REG.RBX,
  REG.RDX,
  REG.RAX,
  REG.RCX,
  REG.RSP,
]
export const SC_RIP = 128
export const SC_EFLAGS = 136
export const SC_CS = 144
export const SC_SS = 150
export const SC_ERR = 152
export const SC_TRAPNO = 160
export const SC_OLDMASK = 168
export const SC_CR2 = 176
export const SC_FPSTATE = 184

const RFLAGS_TF = 0x100
const RFLAGS_DF = 0x400
const RFLAGS_RF = 0x10000
const RED_ZONE = 128

/** Starts the handler of a signal: frame on the stack, registers for the handler, mask (LUX-38..45, handle_signal). */
export function deliverToHandler(task: Task, info: SignalInfo, action: SignalAction): void {
  task.kernel.trace.signal?.(task, `${signalName(info.signal)} si_code=${info.code}`)
  const { ptrace, context } = task
  const wasStepping = ptrace?.singleStep
  if (wasStepping) {
    ptrace.singleStep = false
    context.rflagsRest = context.rflagsRest & ~RFLAGS_TF
  }
  const compat = (action.flags & SA_IA32_ABI) !== 0
  if (!(compat ? deliverToCompatHandler(task, action.handler) : buildFrame(task, info, action))) {
    forceSegv(task, info.signal)
    return
  }
  context.rflags = context.rflags & ~(RFLAGS_DF | RFLAGS_RF | RFLAGS_TF)
  withPreemptionDisabled(task, clearUserStatesOf, task)
  const { blocked } = task
  task.savedBlocked = null
  blocked.set(blocked.lo | action.maskLo, blocked.hi | action.maskHi)
  if ((action.flags & SA_NODEFER) === 0) blocked.add(info.signal)
  blocked.delete(SIGKILL)
  blocked.delete(SIGSTOP)
  if (wasStepping) traceTrap(task)
}

const clearUserStatesOf = clearUserStates

/** Where the frame goes: its address and the extended state's; null when it leaves the alternate stack (LUX-42, -43). */
function placeFrame(task: Task, action: SignalAction): { frame: number; fpstate: number } | null {
  const interrupted = userStackPointer(task)
  const nested = onAltStack(task, interrupted)
  let entering = false
  let sp = interrupted - RED_ZONE
  if ((action.flags & SA_ONSTACK) !== 0 && altStackState(task, sp) === 0) {
    sp = task.altStack.sp + task.altStack.size
    entering = true
  }
  const fpstate = allocateFrame(task, sp)
  const frame = Math.floor((fpstate - RT_FRAME_SIZE) / 16) * 16 - 8
  if ((nested || entering) && !liesOnAltStack(task, frame)) {
    task.kernel.log.write(`${task.comm}[${task.tid}] overflowed sigaltstack`)
    return null
  }
  return { frame, fpstate }
}

function buildFrame(task: Task, info: SignalInfo, action: SignalAction): boolean {
  rseqSignalDeliver(task)
  if ((action.flags & SA_RESTORER) === 0) return false
  const place = placeFrame(task, action)
  if (place === null) return false
  const { frame, fpstate } = place
  if (frame < 0 || fpstate >= TASK_SIZE_MAX || !saveToFrame(task, fpstate)) return false
  const bytes = new Uint8Array(RT_FRAME_SIZE)
  const view = new DataView(bytes.buffer)
  putLong(view, 0, action.restorer)
  const flags = (task.kernel.xstate.xsave ? UC_FP_XSTATE : 0) | UC_SIGCONTEXT_SS | (in64BitMode(task) ? UC_STRICT_RESTORE_SS : 0)
  view.setUint32(FRAME_UC_FLAGS, flags, true)
  writeAltStack(task, view)
  writeSigcontext(task, view, fpstate)
  const mask = task.savedBlocked ?? task.blocked
  view.setInt32(FRAME_SIGMASK, mask.lo, true)
  view.setInt32(FRAME_SIGMASK + 4, mask.hi, true)
  const siginfo = (action.flags & SA_SIGINFO) !== 0
  if (siginfo) writeSiginfo(view, FRAME_SIGINFO, info)
  if (!task.mm.copyToUser(frame, bytes, 0, siginfo ? FRAME_SIGINFO + SIGINFO_SIZE : FRAME_SIGINFO)) return false
  if (!pushSignalFrame(task, action.restorer)) return false
  if ((task.altStack.flags & SS_AUTODISARM) !== 0) resetAltStack(task)
  enterHandler(task, info.signal, action, frame)
  if ((action.flags & SA_RESETHAND) !== 0) task.actions.set(info.signal, { ...action, handler: SIG_DFL })
  return true
}

function writeAltStack(task: Task, view: DataView): void {
  const { altStack } = task
  putLong(view, FRAME_UC_STACK, altStack.sp)
  view.setInt32(FRAME_UC_STACK + 8, altStackState(task, userStackPointer(task)) | (altStack.flags & SS_AUTODISARM), true)
  putLong(view, FRAME_UC_STACK + 16, altStack.size)
}

function writeSigcontext(task: Task, view: DataView, fpstate: number): void {
  const { context, trap } = task
  const mask = task.savedBlocked ?? task.blocked
  const at = FRAME_SIGCONTEXT
  SIGCONTEXT_ORDER.forEach((register, i) => {
    view.setInt32(at + i * 8, context.lo(register), true)
    view.setInt32(at + i * 8 + 4, context.hi(register), true)
  })
  view.setInt32(at + SC_RIP, context.ripLo, true)
  view.setInt32(at + SC_RIP + 4, context.ripHi, true)
  view.setInt32(at + SC_EFLAGS, context.rflags, true)
  view.setUint16(at + SC_CS, context.selector(SEGMENT.CS), true)
  view.setUint16(at + SC_SS, context.selector(SEGMENT.SS), true)
  putLong(view, at + SC_ERR, trap.errorCode)
  putLong(view, at + SC_TRAPNO, trap.number)
  view.setInt32(at + SC_OLDMASK, mask.lo, true)
  view.setInt32(at + SC_OLDMASK + 4, mask.hi, true)
  view.setInt32(at + SC_CR2, trap.cr2Lo, true)
  view.setInt32(at + SC_CR2 + 4, trap.cr2Hi, true)
  putLong(view, at + SC_FPSTATE, fpstate)
}

function enterHandler(task: Task, signal: number, action: SignalAction, frame: number): void {
  const { context } = task
  setRegister(task, REG.RDI, signal)
  setRegister(task, REG.RAX, 0)
  setRegister(task, REG.RSI, frame + FRAME_SIGINFO)
  setRegister(task, REG.RDX, frame + FRAME_UC_FLAGS)
  setRegister(task, REG.RSP, frame)
  context.setRip(action.handler | 0, Math.floor(action.handler / 4294967296) | 0)
  set64BitCode(task)
  forceValidStack(task)
}

function setRegister(task: Task, register: number, value: number): void {
  task.context.set(register, value | 0, Math.floor(value / 4294967296) | 0)
}

function putLong(view: DataView, at: number, value: number): void {
  view.setInt32(at, value | 0, true)
  view.setInt32(at + 4, Math.floor(value / 4294967296) | 0, true)
}
