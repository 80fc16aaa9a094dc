import { REG } from '../../machine/execution-context.ts'
import { SEGMENT } from '../../machine/memory-map.ts'
import { NO_RESULT } from '../entry/syscall-entry.ts'
import { unreadableFrame } from '../fpu/explain.ts'
import { restoreFromFrame } from '../fpu/signal-frame.ts'
import { exceptionRefusal } from '../refusal.ts'
import { findDescriptor, stackSegmentFault, USER_DS } from '../segments/descriptors.ts'
import { in64BitMode, loadReturnSegments, raiseReturnFault } from '../segments/user-segments.ts'
import { popSignalFrame } from '../shstk/signal-frame.ts'
import { SS_AUTODISARM, type Task } from '../task.ts'
import { onAltStack, setAltStack, userStackPointer } from './alt-stack.ts'
import {
  FRAME_SIGCONTEXT,
  FRAME_SIGMASK,
  FRAME_UC_FLAGS,
  FRAME_UC_STACK,
  RT_FRAME_SIZE,
  SC_CS,
  SC_EFLAGS,
  SC_FPSTATE,
  SC_RIP,
  SC_SS,
  SIGCONTEXT_ORDER,
  UC_STRICT_RESTORE_SS,
} from './handler.ts'
import { forceFault } from './send.ts'
import { SI_KERNEL, SIGKILL, SIGSEGV, SIGSTOP } from './signals.ts'

/** RFLAGS bits a frame may change: CF PF AF ZF SF TF DF OF RF AC (LUX-47). */
const FIX_EFLAGS = 0x50dd5

/** rt_sigreturn(2): LUX-46..49. The restored registers are the result. */
export function rtSigreturn(task: Task): number {
  const { mm } = task
  const frame = userStackPointer(task) - 8
  task.fault = null
  const bytes = new Uint8Array(RT_FRAME_SIZE)
  if (!mm.inUserRange(frame, RT_FRAME_SIZE) || !mm.copyFromUser(bytes, 0, frame, RT_FRAME_SIZE - 128)) return badFrame(task)
  const view = new DataView(bytes.buffer)
  task.blocked.set(view.getInt32(FRAME_SIGMASK, true), view.getInt32(FRAME_SIGMASK + 4, true))
  task.blocked.delete(SIGKILL)
  task.blocked.delete(SIGSTOP)
  restoreAltStack(task, view)
  const segments = restoreRegisters(task, view)
  task.forgetSyscall()
  task.restart = null
  if (!restoreFromFrame(task, longAt(view, FRAME_SIGCONTEXT + SC_FPSTATE))) return badFrame(task)
  if (!popSignalFrame(task)) {
    task.fault = exceptionRefusal('SIGSEGV', 'LUX-35', 'the shadow stack does not hold the token of this signal frame', {
      asked: { kind: 'frame', name: 'shadow-stack signal frame', value: null },
    })
    return badFrame(task)
  }
  if (segments !== null) raiseReturnFault(task, segments)
  return NO_RESULT
}

function badFrame(task: Task): number {
  task.forgetSyscall()
  task.kernel.log.write(`${task.comm}[${task.tid}] bad frame in rt_sigreturn`)
  forceFault(task, { signal: SIGSEGV, code: SI_KERNEL, address: 0 }, task.fault ?? unreadableFrame('LUX-46', 'the signal frame'))
  return 0
}

function longAt(view: DataView, at: number): number {
  return view.getInt32(at + 4, true) * 4294967296 + view.getUint32(at, true)
}

/** Refusals are ignored here (PERM-31). */
function restoreAltStack(task: Task, view: DataView): void {
  const flags = view.getInt32(FRAME_UC_STACK + 8, true)
  const sp = userStackPointer(task)
  if (onAltStack(task, sp) && (task.altStack.flags & SS_AUTODISARM) === 0) return
  const refusal = task.refusal
  setAltStack(task, sp, longAt(view, FRAME_UC_STACK), flags, longAt(view, FRAME_UC_STACK + 16), 2048)
  task.refusal = refusal
}

/** General registers, RIP, RFLAGS, CS and SS; what IRET would raise for the segments, or null. */
function restoreRegisters(task: Task, view: DataView): ReturnType<typeof loadReturnSegments> {
  const { context } = task
  const at = FRAME_SIGCONTEXT
  SIGCONTEXT_ORDER.forEach((register, i) => {
    context.set(register, view.getInt32(at + i * 8, true), view.getInt32(at + i * 8 + 4, true))
  })
  context.setRip(view.getInt32(at + SC_RIP, true), view.getInt32(at + SC_RIP + 4, true))
  context.rflags = (context.rflags & ~FIX_EFLAGS) | (view.getInt32(at + SC_EFLAGS, true) & FIX_EFLAGS)
  const cs = view.getUint16(at + SC_CS, true) | 3
  let ss = view.getUint16(at + SC_SS, true) | 3
  const strict = (view.getUint32(FRAME_UC_FLAGS, true) & UC_STRICT_RESTORE_SS) !== 0
  const code64 = ((findDescriptor(task, cs)?.rights ?? 0) & 0x2000) !== 0
  if (!strict && code64 && stackSegmentFault(findDescriptor(task, ss)) !== 0) ss = USER_DS
  const fault = loadReturnSegments(task, cs, ss)
  if (fault !== null) {
    context.setSelector(SEGMENT.CS, cs)
    context.setSelector(SEGMENT.SS, ss)
  } else if (!in64BitMode(task)) {
    context.set(REG.RSP, context.lo(REG.RSP), 0)
    context.setRip(context.ripLo, 0)
  }
  return fault
}
