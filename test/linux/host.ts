import { readFileSync } from 'node:fs'
import { parseCpuSpec } from '../../src/isa/cpu-grammar.ts'
import type { CpuModel } from '../../src/isa/cpu-model.ts'
import { bootKernel } from '../../src/linux/boot.ts'
import { newTask } from '../../src/linux/exec/spawn.ts'
import type { Kernel } from '../../src/linux/kernel.ts'
import { mmap } from '../../src/linux/mm/mmap.ts'
import type { Preemptible } from '../../src/linux/preemption.ts'
import { syscallTable } from '../../src/linux/syscalls/table.ts'
import type { Task } from '../../src/linux/task.ts'
import { REG } from '../../src/machine/execution-context.ts'
import { Machine } from '../../src/machine/machine.ts'
import { kernelProfile } from '../../src/profiles/index.ts'

let decoder: WebAssembly.Module | undefined
function icedModule(): WebAssembly.Module {
  decoder ??= new WebAssembly.Module(readFileSync(new URL('../../node_modules/iced-x86/iced_x86_bg.wasm', import.meta.url)))
  return decoder
}

const models = new Map<string, CpuModel>()
export function model(spec: string): CpuModel {
  let known = models.get(spec)
  if (known === undefined) models.set(spec, (known = parseCpuSpec(spec)))
  return known
}

export interface TestHostOptions {
  cpu?: string
  profile?: string
  processors?: number
  threadsPerCore?: 1 | 2
  physicalBytes?: number
  strictSigaltstack?: boolean
  splitLockDetect?: string
  /** Who programs run as. */
  uid?: number
  /** What firmware leaves to the kernel. */
  firmware?: (machine: Machine) => void
}

/** A booted host without programs. */
export function bootHost(options: TestHostOptions = {}): Kernel {
  const machine = new Machine({
    model: model(options.cpu ?? 'SapphireRapids'),
    processors: options.processors ?? 2,
    threadsPerCore: options.threadsPerCore ?? 1,
    physicalBytes: options.physicalBytes ?? 64 << 20,
    decoder: icedModule(),
  })
  options.firmware?.(machine)
  const profile = kernelProfile(options.profile ?? 'linux-6.12')
  const { splitLockDetect, uid } = options
  return bootKernel(machine, {
    profile,
    strictSigaltstack: options.strictSigaltstack ?? false,
    ...(splitLockDetect === undefined ? {} : { splitLockDetect }),
    ...(uid === undefined ? {} : { uid }),
  })
}

/** A process without a program, running on processor 0, whose system calls a test makes itself. */
export class CallingProcess {
  readonly kernel: Kernel
  readonly task: Task
  /** 64 KiB of its memory for arguments and results. */
  readonly scratch: number

  constructor(kernel: Kernel, cpu = 0) {
    this.kernel = kernel
    this.task = newTask(kernel)
    kernel.scheduler.switchTo(kernel.cpus[cpu], this.task)
    this.scratch = mmap(this.task, 0, 0x10000, 3, 0x22, null, 0)
  }

  /** Makes a system call; the result as a number. Calls that would sleep fail the test. */
  call(nr: number, ...args: number[]): number {
    const order = [REG.RDI, REG.RSI, REG.RDX, 10, 8, 9]
    const { context } = this.task
    args.forEach((value, i) => {
      context.set(order[i], value | 0, Math.floor(value / 4294967296) | 0)
    })
    this.task.refusal = null
    this.task.args.compat = false
    const result = syscallTable[nr]!.run(this.task, this.task.args)
    return typeof result === 'number' ? result : this.finish(result)
  }

  private finish(code: Preemptible<number>): number {
    for (let i = 0; i < 100; i++) {
      const step = code.next()
      if (step.done) return step.value
      if (this.task.state !== 'runnable') throw new Error('the call sleeps')
    }
    throw new Error('the call does not end')
  }

  /** Leaves the processor, so that another process can run. */
  leave(): void {
    this.kernel.scheduler.leave(this.task.cpu!, this.task)
  }

  bytes(address: number, length: number): Uint8Array {
    const into = new Uint8Array(length)
    if (!this.task.mm.copyFromUser(into, 0, address, length)) throw new Error(`no memory at 0x${address.toString(16)}`)
    return into
  }
  write(address: number, bytes: ArrayLike<number>): void {
    if (!this.task.mm.copyToUser(address, Uint8Array.from(bytes), 0, bytes.length))
      throw new Error(`no memory at 0x${address.toString(16)}`)
  }
  /** A NUL-terminated string in scratch memory at `offset`; its address. */
  text(text: string, offset = 0x8000): number {
    this.write(
      this.scratch + offset,
      Array.from(`${text}\0`, (c) => c.charCodeAt(0)),
    )
    return this.scratch + offset
  }
}

/** -errno by name. */
export { errnoTable as E } from '../../src/linux/errno.ts'
