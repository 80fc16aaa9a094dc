import { FCW_INIT, MXCSR_INIT } from '../../isa/xfeatures.ts'
import { X87_FCW, X87_FSW, X87_FTW } from '../../machine/memory-map.ts'
import type { PinnedProcessor } from '../processor.ts'
import { disownRegisters, noteKernelFpu, noteNeedLoad } from './register-owner.ts'
import { saveRegisters } from './registers.ts'

/** Use of vector registers by the kernel itself (kernel_fpu_begin, kernel_fpu_end). GFPU-13. */

/** The registers are the kernel's from here on: live ones are saved to the active buffer first, be it a vCPU's. */
export function kernelFpuBegin(cpu: PinnedProcessor, x87: boolean): void {
  if (cpu.inKernelFpu) throw new Error(`kernel_fpu_begin nested on cpu ${cpu.id} (GFPU-13)`)
  noteKernelFpu(cpu, true)
  const fpu = cpu.current?.fpu
  if (fpu !== undefined && !fpu.needLoad) {
    noteNeedLoad(fpu, cpu)
    saveRegisters(fpu, cpu)
  }
  disownRegisters(cpu)
  const { mem } = cpu.kernel.machine
  const file = cpu.processor.registerFile
  cpu.processor.setMxcsr(MXCSR_INIT)
  if (!x87) return
  mem.u16[(file + X87_FCW) >>> 1] = FCW_INIT
  mem.u16[(file + X87_FSW) >>> 1] = 0
  mem.u8[file + X87_FTW] = 0
}

export function kernelFpuEnd(cpu: PinnedProcessor): void {
  if (!cpu.inKernelFpu) throw new Error(`kernel_fpu_end without begin on cpu ${cpu.id} (GFPU-13)`)
  noteKernelFpu(cpu, false)
}
