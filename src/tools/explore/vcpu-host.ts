import { XFEATURE_MASK_PKRU } from '../../isa/xfeatures.ts'
import { KVM_EXIT_UNKNOWN } from '../../kvm/abi/exit-reasons.ts'
import { KVM_IOCTL } from '../../kvm/abi/ioctl-numbers.ts'
import type { Vcpu } from '../../kvm/vcpu/vcpu.ts'
import type { OpenFile } from '../../linux/file.ts'
import { kernelFpuBegin, kernelFpuEnd } from '../../linux/fpu/kernel-fpu.ts'
import type { MaybePreemptible, Preemptible } from '../../linux/preemption.ts'
import type { HostCpu, PinnedProcessor } from '../../linux/processor.ts'
import type { Task } from '../../linux/task.ts'
import { EXIT_REASON_EXCEPTION_NMI } from '../../machine/exits.ts'
import { CONTEXT_STRIDE, TILE_SCRATCH } from '../../machine/memory-map.ts'
import type { Vmcs } from '../../machine/vmcs.ts'
import { Host } from '../../vmm/modelled/host.ts'
import type { Process } from '../../vmm/process.ts'
import type { VcpuFd } from '../../vmm/vcpu-fd.ts'
import { Recorder } from './accesses.ts'
import { enterScript, type GuestEvent, type GuestScript, newProgress } from './guest-script.ts'
import { fillRegisters, RegisterMarks } from './register-marks.ts'
import { watch } from './watch.ts'

/** What the kernel leaves in registers that it used itself. */
const KERNEL_MARK = 0xee

/** One vCPU of a model: its thread and its guest. */
export interface ModelVcpu {
  readonly task: Task
  readonly vcpu: Vcpu
  readonly fd: VcpuFd
  readonly script: GuestScript
  readonly file: OpenFile
}

/** A modelled host with vCPUs whose guests are scripts, each on a thread of one process, and tasks beside them. */
export class VcpuHost {
  readonly host: Host
  /** The VMM. */
  readonly process: Process
  readonly recorder = new Recorder()
  readonly vcpus: ModelVcpu[] = []
  readonly tasks: Task[] = []
  private readonly scripts = new Map<Vmcs, GuestScript>()
  private readonly more: object[] = []
  /** The cell of each processor's extended state. */
  private readonly xstateCells: number[]
  private marks = 0
  /** A guest's own instruction is under way. */
  inGuest = false
  private readonly onNm = new Map<Vcpu, () => void>()

  /** @param guests one list of events for each vCPU @param others how many tasks beside the vCPUs' */
  constructor(options: {
    readonly kernel: string
    readonly cpu: string
    readonly decoder: WebAssembly.Module
    readonly splitLockDetect?: string
    readonly guests: readonly (readonly GuestEvent[])[]
    readonly others: number
    /** Threads of the VMM beside those of vCPUs. */
    readonly threads?: number
    /** Before the vCPUs run for the first time. */
    readonly prepare?: (fd: VcpuFd, index: number) => void
    /** Before the first vCPU exists. */
    readonly permit?: (process: Process) => void
    readonly prepareOther?: (process: Process) => void
  }) {
    const { splitLockDetect } = options
    this.host = new Host({
      cpu: options.cpu,
      kernel: options.kernel,
      processors: 2,
      memory: 16 << 20,
      decoder: options.decoder,
      ...(splitLockDetect === undefined ? {} : { splitLockDetect }),
    })
    this.xstateCells = this.host.kernel.cpus.map(({ id }) => this.recorder.cell(`cpu${id}.xstate`))
    this.process = this.host.newProcess('vmm')
    options.permit?.(this.process)
    this.makeVcpus(options.guests, options.prepare)
    for (let i = 0; i < (options.threads ?? 0); i++) {
      this.process.newThread()
      this.tasks.push(this.lastTask())
    }
    for (let i = 0; i < options.others; i++) {
      const process = this.host.newProcess(`task${i}`)
      options.prepareOther?.(process)
      this.tasks.push(this.lastTask())
    }
    for (const cpu of this.host.kernel.cpus) this.instrument(cpu)
  }

  /** A mark of its own for a guest or task. @param pkru PKRU it begins with; null: it has none */
  newMarks(pkru: number | null): RegisterMarks {
    return new RegisterMarks(++this.marks * 0x11, this.recorder, this.xstateCells, pkru)
  }

  /** The task made last. */
  private lastTask(): Task {
    return [...this.host.kernel.tasks.values()].at(-1)!
  }

  private makeVcpus(guests: readonly (readonly GuestEvent[])[], prepare?: (fd: VcpuFd, index: number) => void): void {
    const { process } = this
    const leader = this.lastTask()
    if (guests.length === 0) return
    const vmFd = process.openKvm().createVm()
    guests.forEach((events, index) => {
      const fd = vmFd.createVcpu(index)
      fd.setCpuid2(vmFd.kvm.getSupportedCpuid())
      prepare?.(fd, index)
      if (index > 0) process.newThread()
      const task = index === 0 ? leader : this.lastTask()
      task.comm = `vcpu${index}`
      const vcpu = [...this.host.kvm.vms][0].vcpuById(index)!
      const marks = this.newMarks((vcpu.xcr0 & XFEATURE_MASK_PKRU) !== 0 ? vcpu.pkru : null)
      const script: GuestScript = { vcpu, events, progress: newProgress(), marks }
      this.scripts.set(vcpu.vmcs, script)
      this.vcpus.push({ task, vcpu, fd, script, file: task.files.get(fd.fd)! })
    })
  }

  /** Guests are entered through their scripts; accesses to registers are steps' accesses of cells. */
  private instrument(cpu: HostCpu): void {
    const { recorder, scripts } = this
    const processor = this.host.machine.processors[cpu.id]
    const name = `cpu${cpu.id}`
    const state = this.xstateCells[cpu.id]
    const msrs = new Map<number, number>()
    const msrCell = (index: number): number => {
      let cell = msrs.get(index)
      if (cell === undefined) msrs.set(index, (cell = recorder.cell(`${name}.msr.${index.toString(16)}`)))
      return cell
    }
    const { rdmsr, wrmsr, wrmsrXfd, xsave, xrstor, readXfdErr, writeXfdErr } = processor
    Object.assign(processor, {
      enterGuest: (vmcs: Vmcs) => {
        const script = scripts.get(vmcs)!
        this.inGuest = true
        const reason = enterScript(cpu, script)
        this.inGuest = false
        if (reason === EXIT_REASON_EXCEPTION_NMI) this.onNm.get(script.vcpu)?.()
        return reason
      },
      retired: 0,
      rdmsr: (index: number) => {
        recorder.read(msrCell(index))
        return rdmsr.call(processor, index)
      },
      wrmsr: (index: number, value: bigint) => {
        recorder.write(msrCell(index))
        return wrmsr.call(processor, index, value)
      },
      wrmsrXfd: (value: number) => {
        recorder.write(msrCell(0x1c4))
        wrmsrXfd.call(processor, value)
      },
      readXfdErr: () => {
        recorder.read(msrCell(0x1c5))
        return readXfdErr.call(processor)
      },
      writeXfdErr: (value: number) => {
        recorder.write(msrCell(0x1c5))
        writeXfdErr.call(processor, value)
      },
      xsave: (...args: Parameters<typeof xsave>) => {
        recorder.read(state)
        xsave.apply(processor, args)
      },
      xrstor: (...args: Parameters<typeof xrstor>) => {
        recorder.write(state)
        return xrstor.apply(processor, args)
      },
    })
    for (const index of [0x33, 0x1c4, 0x1c5]) msrCell(index)
    watch(recorder, cpu, name, 'fpuOwner', 'xfdShadow', 'previous')
  }

  /** An ioctl of a vCPU, as its file does it: with the vCPU's mutex. */
  *ioctl({ file }: ModelVcpu, task: Task, name: keyof typeof KVM_IOCTL, argument = 0): Preemptible<number> {
    const result: MaybePreemptible<number> = file.ioctl(task, KVM_IOCTL[name], argument)
    return typeof result === 'number' ? result : yield* result
  }

  /** An interrupt whose handler uses vector registers: it asks for them first (GFPU-13). */
  interrupt = (cpu: PinnedProcessor): void => {
    kernelFpuBegin(cpu, true)
    this.fillRegisters(cpu)
    kernelFpuEnd(cpu)
  }
  /** The kernel's own use of vector registers. */
  fillRegisters(cpu: PinnedProcessor): void {
    fillRegisters(cpu, KERNEL_MARK, this.recorder, this.xstateCells)
  }

  /** Calls `told` at each exception exit of this vCPU. */
  afterNm(vcpu: Vcpu, told: () => void): void {
    this.onNm.set(vcpu, told)
  }

  /** A variant's own state is part of the model's. */
  also(state: object): void {
    this.more.push(state)
  }

  /** KVM_RUN of this vCPU is at its end: this is vcpu_put, not a preemption. */
  isPutting(vcpu: Vcpu): boolean {
    return vcpu.run.exitReason !== 0 && vcpu.run.exitReason !== KVM_EXIT_UNKNOWN
  }

  /** Everything of vCPUs that changes in a run. */
  get objects(): object[] {
    return [
      ...this.vcpus.flatMap(({ vcpu, script }) => {
        const guestFpu = vcpu.guestFpu as unknown as { fpstate: object }
        const own = [
          vcpu,
          vcpu.mutexWaiters,
          vcpu.wakeups,
          vcpu.vmcs,
          vcpu.exception,
          vcpu.stats,
          guestFpu,
          guestFpu.fpstate,
          script.progress,
          script.marks.left,
        ]
        return vcpu.splitLock === null ? own : [...own, vcpu.splitLock]
      }),
      // Last: putting back what a variant watches may change what it keeps.
      ...this.more,
    ]
  }

  get allTasks(): Task[] {
    return [...this.vcpus.map(({ task }) => task), ...this.tasks]
  }

  get memory(): { at: number; length: number }[] {
    const { kernel } = this.host
    const image = (fpstate: { readonly image: number; readonly size: number }) => ({ at: fpstate.image, length: fpstate.size })
    const tasks = this.allTasks
    return [
      ...kernel.cpus.map(({ processor }) => ({ at: processor.registerFile, length: TILE_SCRATCH })),
      ...tasks.map(({ context }) => ({ at: context.base, length: CONTEXT_STRIDE })),
      ...tasks.map(({ fpu }) => image(fpu.fpstate)),
      ...this.vcpus.flatMap(({ vcpu }) => [
        { at: vcpu.context.base, length: CONTEXT_STRIDE },
        { at: vcpu.run.base, length: 1024 },
        image((vcpu.guestFpu as unknown as { fpstate: { image: number; size: number } }).fpstate),
      ]),
    ]
  }
}

/** struct kvm_msrs with one entry. */
export function msrList(index: number, value: bigint): Uint8Array {
  const bytes = new Uint8Array(24)
  const view = new DataView(bytes.buffer)
  view.setUint32(0, 1, true)
  view.setUint32(8, index, true)
  view.setBigUint64(16, value, true)
  return bytes
}

/** User memory of the VMM with these bytes. */
export function argument(host: VcpuHost, bytes: Uint8Array): number {
  const memory = host.process.allocate(4096)
  memory.write(0, bytes)
  return memory.address
}
