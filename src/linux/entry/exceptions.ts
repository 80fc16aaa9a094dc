import { DR6_BUS_LOCK } from '../../isa/control-registers.ts'
import { FXSAVE } from '../../isa/xfeatures.ts'
import { saveRegisters } from '../fpu/registers.ts'
import { handleXfdFault } from '../fpu/xfd-fault.ts'
import { FAULT_OOM, FAULT_SEGV_ACCERR } from '../mm/fault.ts'
import { TASK_SIZE_MAX } from '../mm/layout.ts'
import type { PinnedProcessor } from '../processor.ts'
import { exceptionRefusal, type Refusal, refusedBy } from '../refusal.ts'
import { forceFault, sendSignal } from '../signal/send.ts'
import {
  BUS_ADRALN,
  FPE_FLTDIV,
  FPE_FLTINV,
  FPE_FLTOVF,
  FPE_FLTRES,
  FPE_FLTUND,
  FPE_INTDIV,
  ILL_ILLOPC,
  ILL_ILLOPN,
  SEGV_CPERR,
  SEGV_MAPERR,
  SEGV_PKUERR,
  SI_KERNEL,
  SIGBUS,
  SIGFPE,
  SIGILL,
  SIGKILL,
  SIGSEGV,
  SIGTRAP,
  TRAP_BRKPT,
  TRAP_HWBKPT,
  TRAP_TRACE,
} from '../signal/signals.ts'
import { userBusLock, userSplitLock } from '../splitlock/user-traps.ts'
import type { Task } from '../task.ts'

const PF_WRITE = 2
const PF_FETCH = 16
const PF_PKEY = 32
const PF_SHADOW_STACK = 64
const DR6_SINGLE_STEP = 0x4000
const RFLAGS_TF = 0x100

/** An exception of host user mode: fixed up, or turned into a signal (LUX-40). */
export function handleException(cpu: PinnedProcessor, task: Task): void {
  const { fault } = cpu.processor
  const { vector } = fault
  if (vector === 14) {
    pageFault(cpu, task)
    return
  }
  // An XFD event is no ordinary trap: the thread's trap record stays (PERM-67).
  if (vector === 7) {
    deviceNotAvailable(cpu, task)
    return
  }
  const rip = instructionAddress(task)
  if (handleSplitLock(task, vector, fault.dr6, rip)) return
  task.trap.number = vector
  task.trap.errorCode = fault.hasErrorCode ? fault.errorCode : 0
  if (vector === 1) debugTrap(task, fault.dr6, rip)
  else if (vector === 16 || vector === 19) mathError(cpu, task, vector, rip)
  else {
    const { signal, code, address } = SIGNALS[vector] ?? GENERAL_PROTECTION
    const refusal = vector === 6 ? unsupportedInstruction(task) : null
    forceFault(task, address === 'none' ? { signal, code } : { signal, code, address: address === 'rip' ? rip : 0 }, refusal)
  }
}

/** #AC of a split lock and #DB of a bus lock, where they are not (only) a signal. True: nothing else is to be done. */
function handleSplitLock(task: Task, vector: number, dr6: number, rip: number): boolean {
  if (vector === 17) task.activity = userSplitLock(task, rip)
  else if (vector === 1 && (dr6 & DR6_BUS_LOCK) !== 0) task.activity = userBusLock(task, rip)
  else return false
  task.activityKind = 'work'
  // A trap for a bus lock may be one for a single step too; #AC that is no split lock is SIGBUS.
  return vector === 1 ? (dr6 & (DR6_SINGLE_STEP | 0xf)) === 0 : task.activity !== null
}

/** Signal, si_code and si_addr of the exceptions that need no look at the state. LUX-40; arch/x86/kernel/traps.c. */
const GENERAL_PROTECTION = { signal: SIGSEGV, code: SI_KERNEL, address: 0 } as const
const SIGNALS: Readonly<Record<number, { signal: number; code: number; address: 'rip' | 'none' | 0 }>> = {
  0: { signal: SIGFPE, code: FPE_INTDIV, address: 'rip' },
  3: { signal: SIGTRAP, code: SI_KERNEL, address: 'none' },
  6: { signal: SIGILL, code: ILL_ILLOPN, address: 'rip' },
  11: { signal: SIGBUS, code: SI_KERNEL, address: 0 },
  12: { signal: SIGBUS, code: SI_KERNEL, address: 0 },
  17: { signal: SIGBUS, code: BUS_ADRALN, address: 0 },
  21: { signal: SIGSEGV, code: SEGV_CPERR, address: 0 },
}

export function instructionAddress(task: Task): number {
  return task.context.ripHi * 4294967296 + (task.context.ripLo >>> 0)
}

/** #UD of an instruction that the processor does not have, or the model; null when it is another #UD (UD2). */
function unsupportedInstruction(task: Task): Refusal | null {
  const { last, lastRip } = task.kernel.machine.unsupported
  if (last === null || lastRip !== task.context.rip) return null
  const { mnemonic, bytes, features, reason } = last
  const needs = features.join(' and ')
  const sentence =
    reason === 'invalid'
      ? `the bytes ${bytes} are no instruction`
      : `${mnemonic} [${bytes}] needs ${needs}, which ${reason === 'model' ? 'this CPU model does not have' : 'is not modelled'}`
  return exceptionRefusal('SIGILL', 'LUX-40', sentence, {
    asked: { kind: 'instruction', name: mnemonic, value: null },
    chain: reason === 'invalid' ? [] : features.map((name) => refusedBy('CPUID bit', name, 0)),
  })
}

function pageFault(cpu: PinnedProcessor, task: Task): void {
  const { fault } = cpu.processor
  const address = fault.addressHi * 4294967296 + (fault.addressLo >>> 0)
  const error = fault.errorCode
  // A protection-key fault is never repaired: the mapping allows the access, PKRU does not.
  const outcome =
    (error & PF_PKEY) !== 0 && pkeyDenies(task, address)
      ? FAULT_SEGV_ACCERR
      : task.mm.fault(address, (error & PF_WRITE) !== 0, (error & PF_FETCH) !== 0, (error & PF_SHADOW_STACK) !== 0)
  if (outcome === 0) return
  const { trap } = task
  trap.number = 14
  // The kernel half is never shown to be present or not: "protection violation" always.
  trap.errorCode = address >= 0 && address < TASK_SIZE_MAX ? error : error | 1
  trap.cr2Lo = fault.addressLo
  trap.cr2Hi = fault.addressHi
  if (outcome === FAULT_OOM) {
    task.kernel.log.write(`Out of memory: Killed process ${task.group.pid} (${task.comm})`)
    sendSignal(task, { signal: SIGKILL, code: SI_KERNEL })
    return
  }
  const signal = outcome >> 8
  let code = outcome & 0xff
  if ((error & PF_PKEY) !== 0) code = SEGV_PKUERR
  const pkey = code === SEGV_PKUERR ? (task.mm.vmas.find(address)?.pkey ?? 0) : 0
  forceFault(task, { signal: signal === SIGSEGV && code === SEGV_MAPERR ? SIGSEGV : signal, code, address, pkey })
}

function pkeyDenies(task: Task, address: number): boolean {
  return task.mm.vmas.find(address) !== null
}

function deviceNotAvailable(cpu: PinnedProcessor, task: Task): void {
  const outcome = handleXfdFault(cpu, task)
  if (outcome === 'retry') return
  if (outcome === 'not permitted') {
    forceFault(task, { signal: SIGILL, code: ILL_ILLOPC, address: instructionAddress(task) }, task.fault)
    return
  }
  // CR0.TS is never set on this host; a real kernel warns of an unexpected #NM and goes on.
  if (outcome === 'unexpected')
    task.kernel.log.warnOnce(`unexpected #NM in user mode at ${instructionAddress(task).toString(16)}`)
  forceFault(task, { signal: SIGSEGV, code: SI_KERNEL, address: 0 }, outcome === 'no memory' ? task.fault : null)
}

function debugTrap(task: Task, dr6: number, rip: number): void {
  const { context, ptrace } = task
  if ((dr6 & DR6_SINGLE_STEP) !== 0 && ptrace !== null && ptrace.singleStep) {
    ptrace.singleStep = false
    context.rflagsRest = context.rflagsRest & ~RFLAGS_TF
  }
  const code = (dr6 & DR6_SINGLE_STEP) !== 0 ? TRAP_TRACE : (dr6 & 0xf) !== 0 ? TRAP_HWBKPT : TRAP_BRKPT
  forceFault(task, { signal: SIGTRAP, code, address: rip })
}

/** si_code of an unmasked floating-point exception (fpu__exception_code). */
function mathError(cpu: PinnedProcessor, task: Task, vector: number, rip: number): void {
  const { fpu } = task
  const { view } = task.kernel.machine.mem
  if (!fpu.needLoad) saveRegisters(fpu, cpu)
  const { image } = fpu.fpstate
  let unmasked: number
  if (vector === 16) {
    unmasked = view.getUint16(image + FXSAVE.FSW, true) & ~view.getUint16(image + FXSAVE.FCW, true)
  } else {
    const mxcsr = view.getUint32(image + FXSAVE.MXCSR, true)
    unmasked = ~(mxcsr >>> 7) & mxcsr
  }
  let code = 0
  if (unmasked & 1) code = FPE_FLTINV
  else if (unmasked & 4) code = FPE_FLTDIV
  else if (unmasked & 8) code = FPE_FLTOVF
  else if (unmasked & 0x12) code = FPE_FLTUND
  else if (unmasked & 0x20) code = FPE_FLTRES
  if (code !== 0) forceFault(task, { signal: SIGFPE, code, address: rip })
}
