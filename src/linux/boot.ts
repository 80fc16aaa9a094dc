import type { Machine } from '../machine/machine.ts'
import { Kernel, type KernelOptions } from './kernel.ts'
import { onEachProcessor } from './preemption.ts'
import { announceDetection } from './splitlock/boot.ts'
import { startProcessor } from './start-processor.ts'

/** Boots a host kernel on a machine: XCR0, IA32_XSS and IA32_XFD set on every processor, file tree made, nothing running. */
export function bootKernel(machine: Machine, options: KernelOptions): Kernel {
  const kernel = new Kernel(machine, machine.model, options)
  onEachProcessor(kernel, startProcessor)
  announceDetection(kernel)
  return kernel
}
