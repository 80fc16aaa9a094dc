import type { HostCpu, PinnedProcessor } from '../processor.ts'
import type { FpuThread } from './thread-fpu.ts'

/**
 * Whose extended state a processor's registers hold, and which IA32_XFD it has: the fields that say so are written in this file
 * only, with preemption disabled, and read-only everywhere else. PERM-33, PERM-40.
 */

type Writable<T> = { -readonly [K in keyof T]: T[K] }
const ownerOf = (cpu: HostCpu): Writable<Pick<HostCpu, 'fpuOwner' | 'xfdShadow' | 'inKernelFpu'>> => cpu
const placeOf = (fpu: FpuThread): Writable<Pick<FpuThread, 'lastCpu' | 'needLoad'>> => fpu

/** The registers of `cpu` hold this thread's state (PERM-40). */
export function registersValid(fpu: FpuThread, cpu: HostCpu): boolean {
  return cpu.fpuOwner === fpu && fpu.lastCpu === cpu.id
}

/** The registers hold this thread's state from now on. */
export function takeRegisters(fpu: FpuThread, cpu: PinnedProcessor): void {
  ownerOf(cpu).fpuOwner = fpu
  placeOf(fpu).lastCpu = cpu.id
}

/** The registers hold nobody's state. */
export function disownRegisters(cpu: PinnedProcessor): void {
  ownerOf(cpu).fpuOwner = null
}

/** A thread that will never run again owns no registers, on whatever processor it left them. */
export function disownEverywhere(fpu: FpuThread, cpus: readonly HostCpu[]): void {
  for (const cpu of cpus) if (cpu.fpuOwner === fpu) ownerOf(cpu).fpuOwner = null
}

/** The registers of the running thread are up to date: nothing to load before user mode (clears TIF_NEED_FPU_LOAD). */
export function noteLoaded(fpu: FpuThread, _cpu: PinnedProcessor): void {
  placeOf(fpu).needLoad = false
}

/** They are to be loaded, or found to be valid still, before user mode (sets TIF_NEED_FPU_LOAD). */
export function noteNeedLoad(fpu: FpuThread, _cpu: PinnedProcessor): void {
  placeOf(fpu).needLoad = true
}

/** A thread is switched out with its registers saved: they may be valid still when it comes back. */
export function noteLeft(fpu: FpuThread, cpu: PinnedProcessor): void {
  placeOf(fpu).lastCpu = cpu.id
}

/** A thread's buffer was changed, and is newer than what it left in registers anywhere. For a thread that has its state in no registers now. */
export function forgetRegisters(fpu: FpuThread): void {
  placeOf(fpu).lastCpu = -1
  placeOf(fpu).needLoad = true
}

/** IA32_XFD of this processor is `value` now. */
export function noteXfd(cpu: PinnedProcessor, value: number): void {
  ownerOf(cpu).xfdShadow = value
}

/** kernel_fpu_begin() and kernel_fpu_end(). */
export function noteKernelFpu(cpu: PinnedProcessor, inUse: boolean): void {
  ownerOf(cpu).inKernelFpu = inUse
}
