import type { Machine } from '../machine/machine.ts'
import { bootProcessors } from './entry/host-control.ts'
import { Kernel, type KernelOptions } from './kernel.ts'
import { bootSplitLock } from './splitlock/boot.ts'

/** Boots a host kernel on a machine: XCR0, IA32_XSS and IA32_XFD set on every processor, file tree made, nothing running. */
export function bootKernel(machine: Machine, options: KernelOptions): Kernel {
  const kernel = new Kernel(machine, machine.model, options)
  bootProcessors(kernel)
  bootSplitLock(kernel)
  return kernel
}
