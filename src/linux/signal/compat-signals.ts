import { REG } from '../../machine/execution-context.ts'
import { SEGMENT } from '../../machine/memory-map.ts'
import { EFAULT, EINVAL } from '../errno.ts'
import { findDescriptor, USER_DS, USER32_CS } from '../segments/descriptors.ts'
import { readSsp } from '../shstk/registers.ts'
import { ARCH_SHSTK_SHSTK } from '../shstk/thread.ts'
import type { SyscallArguments } from '../syscalls/arguments.ts'
import type { Task } from '../task.ts'
import { SA_RESTORER, type SignalAction } from './actions.ts'
import { userStackPointer } from './alt-stack.ts'
import { forceFault } from './send.ts'
import { NSIG, SI_KERNEL, SIGKILL, SIGSEGV, SIGSTOP } from './signals.ts'

/** Handlers installed through the 32-bit system calls (IA32 emulation). */

/** The action came through INT 0x80: its handler is 32-bit code (arch/x86/include/asm/signal.h). */
export const SA_IA32_ABI = 0x02000000

/** sigaction of the 32-bit table: struct {handler, mask, flags, restorer}, 32 bits each. */
export function compatSigaction(task: Task, a: SyscallArguments): number {
  const signal = a.int(0)
  const newUser = a.long(1)
  const oldUser = a.long(2)
  const { mm } = task
  let wanted: SignalAction | null = null
  if (newUser !== 0) {
    const words = [0, 4, 8, 12].map((at) => mm.getUser32(newUser + at))
    if (words.includes(-1)) return -EFAULT
    const [handler, mask, flags, restorer] = words
    wanted = { handler, flags: flags | 0 | SA_IA32_ABI | 0, restorer, maskLo: mask & ~((1 << 8) | (1 << 18)), maskHi: 0 }
  }
  if (signal < 1 || signal > NSIG || (newUser !== 0 && (signal === SIGKILL || signal === SIGSTOP))) return -EINVAL
  const old = task.actions.get(signal)
  if (wanted !== null) task.actions.set(signal, wanted)
  if (oldUser === 0) return 0
  const restorer = (old.flags & SA_RESTORER) !== 0 ? old.restorer : 0
  const values = [old.handler, old.maskLo, old.flags, restorer]
  return values.every((value, i) => mm.putUser32(oldUser + i * 4, value | 0)) ? 0 : -EFAULT
}

/** Bytes of a 32-bit frame without siginfo, its FXSAVE header included; what lies in it is not modelled. */
const FRAME_SIZE = 0x2d0

/**
 * Starts a 32-bit handler. Its frame is not modelled, so the handler never runs: with a shadow stack, because the return to a
 * 32-bit segment with SSP above 4 GiB is #GP (SDM Vol. 2A, IRET), which is what Linux reports; without one as if the frame
 * could not be written. False: the latter.
 */
export function deliverToCompatHandler(task: Task, handler: number): boolean {
  const { context } = task
  if ((task.shstk.features & ARCH_SHSTK_SHSTK) === 0 || readSsp(task) < 0x100000000) {
    task.kernel.syscalls.note('32-bit signal handlers')
    return false
  }
  const sp = Math.floor((userStackPointer(task) - FRAME_SIZE + 4) / 16) * 16 - 4
  const code = findDescriptor(task, USER32_CS)!
  context.set(REG.RSP, sp | 0, Math.floor(sp / 4294967296) | 0)
  context.setRip(handler | 0, 0)
  context.setSegment(SEGMENT.CS, USER32_CS, code.rights, code.limit, 0, 0)
  const stack = findDescriptor(task, USER_DS)!
  context.setSegment(SEGMENT.SS, USER_DS, stack.rights, stack.limit, 0, 0)
  task.trap.number = 13
  task.trap.errorCode = 0
  forceFault(task, { signal: SIGSEGV, code: SI_KERNEL, address: 0 })
  return true
}
