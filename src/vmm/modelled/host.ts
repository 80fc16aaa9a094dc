import { parseCpuSpec } from '../../isa/cpu-grammar.ts'
import type { CpuModel } from '../../isa/cpu-model.ts'
import type { Kvm as KvmModule, KvmParameters } from '../../kvm/kvm.ts'
import { loadKvm } from '../../kvm/module.ts'
import { bootKernel } from '../../linux/boot.ts'
import type { Costs } from '../../linux/costs.ts'
import type { Kernel } from '../../linux/kernel.ts'
import type { Refusal } from '../../linux/refusal.ts'
import type { EngineOptions } from '../../machine/code-cache.ts'
import { Machine } from '../../machine/machine.ts'
import { DEFAULT_KERNEL_PROFILE, kernelProfile } from '../../profiles/index.ts'
import { Process } from '../process.ts'
import { registeredDecoder } from './decoder.ts'
import { HeldTasks } from './held-tasks.ts'
import { ModelledProcess } from './modelled-process.ts'

export interface HostOptions {
  /** QEMU's -cpu grammar: `SapphireRapids`, `GraniteRapids,-amx-fp16`. */
  readonly cpu: string
  /** Kernel profile. Default `linux-6.12`. */
  readonly kernel?: string
  /** Bytes of host memory, rounded down to 64 KiB; committed when touched. Default 256 MiB. */
  readonly memory?: number
  /** Logical processors, 1 to 16. Default 2. */
  readonly processors?: number
  /** Hyper-threads of a core, Intel models only; `processors` counts all. Default 1. */
  readonly threadsPerCore?: 1 | 2
  /** Seed of every random choice. Default 1. */
  readonly seed?: number
  /** Boot parameter split_lock_detect: `off`, `warn`, `fatal`, `ratelimit:N`; default `warn` where the processor can (SLD-13). */
  readonly splitLockDetect?: string
  /** Who processes are, default 1000. 0 is root: may write sysctls, and take processors offline. */
  readonly uid?: number
  /** Boot parameter strict_sas_size (PERM-31). */
  readonly strictSigaltstack?: boolean
  /** iced-x86's compiled .wasm; default the one given to `registerDecoder`. */
  readonly decoder?: WebAssembly.Module
  readonly engine?: EngineOptions
  /** Module parameters of KVM. Default: those of the kernel. */
  readonly parameters?: KvmParameters
}

/** Something that happened on a modelled host, under the kernel's own event names (`kvm_create_vcpu`, `permission_request`). */
export interface HostEvent {
  readonly name: string
  /** Virtual time in ns since boot. */
  readonly at: number
  /** Thread it happened to, null for none. */
  readonly tid: number | null
  readonly values: Readonly<Record<string, number | string>>
}

/** Something that was refused: a call, or an instruction of a program or a guest. */
export interface HostRefusal {
  /** Virtual time in ns since boot. */
  readonly at: number
  readonly tid: number | null
  /** The vCPU whose guest it happened to; null for none. */
  readonly vcpu: number | null
  /** The system call as strace prints it; null for an exception. */
  readonly call: string | null
  /** What the call returned; null for an exception. */
  readonly result: number | null
  readonly reason: Refusal
}

export interface HostWatcher {
  readonly event?: (event: HostEvent) => void
  /** Every refusal. */
  readonly refusal?: (refusal: HostRefusal) => void
  /** Only those that no call returns: signals and exceptions. Costs nothing while there are none. */
  readonly exception?: (refusal: HostRefusal) => void
}

/** A modelled computer that has booted Linux with KVM: machine, kernel and the processes in it. */
export class Host {
  readonly model: CpuModel
  readonly machine: Machine
  readonly kernel: Kernel
  /** Its KVM module, for tools that look inside. */
  readonly kvm: KvmModule
  /** What extended state costs on this host, counted: `snapshot()`, then `since(before)`. */
  readonly costs: Costs
  private readonly held: HeldTasks

  /** @throws UserError for a CPU model, feature or profile that is not known, or memory that cannot be had */
  constructor(options: HostOptions) {
    const profile = kernelProfile(options.kernel ?? DEFAULT_KERNEL_PROFILE)
    this.model = parseCpuSpec(options.cpu)
    this.machine = new Machine({
      model: this.model,
      processors: options.processors ?? 2,
      threadsPerCore: options.threadsPerCore ?? 1,
      physicalBytes: Math.floor((options.memory ?? 256 << 20) / 0x10000) * 0x10000,
      decoder: options.decoder ?? registeredDecoder(),
      engine: options.engine ?? {},
      seed: options.seed ?? 1,
    })
    const { splitLockDetect, strictSigaltstack, uid } = options
    this.kernel = bootKernel(this.machine, {
      profile,
      seed: options.seed ?? 1,
      ...(splitLockDetect === undefined ? {} : { splitLockDetect }),
      ...(strictSigaltstack === undefined ? {} : { strictSigaltstack }),
      ...(uid === undefined ? {} : { uid }),
    })
    this.costs = this.kernel.costs
    this.kvm = loadKvm(this.kernel, this.machine, options.parameters)
    this.held = new HeldTasks(this.kernel)
  }

  /** `modelled SapphireRapids, linux-6.12` */
  get description(): string {
    return `modelled ${this.model.spec}, ${this.kernel.profile.name}`
  }

  /** A process without a program: what you do with it is what it does. */
  newProcess(name = 'vmm'): Process {
    return new Process(new ModelledProcess(this, this.held, name))
  }

  /** Tells `watcher` what happens from now on; watching costs time. */
  watch(watcher: HostWatcher): void {
    const { trace, clock } = this.kernel
    const { event, refusal, exception } = watcher
    if (event !== undefined) {
      trace.fpu = (name, task, values) => event({ name, at: clock.now, tid: task.tid, values })
      trace.event = (name, task, values) => event({ name, at: clock.now, tid: task?.tid ?? null, values })
    }
    if (refusal !== undefined) {
      trace.syscall = (task, call, result, reason) => {
        if (reason !== null && result !== null) refusal({ at: clock.now, tid: task.tid, vcpu: null, call, result, reason })
      }
    }
    if (refusal !== undefined || exception !== undefined) {
      trace.exception = (task, vcpu, reason) => {
        const what = { at: clock.now, tid: task?.tid ?? null, vcpu: vcpu < 0 ? null : vcpu, call: null, result: null, reason }
        refusal?.(what)
        exception?.(what)
      }
    }
  }
}
