import type { CpuModel } from '../isa/cpu-model.ts'
import type { KernelProfile } from '../profiles/kernel-profile.ts'
import { Clock } from './clock.ts'
import { Costs } from './costs.ts'
import type { OpenFile } from './file.ts'
import { type XstateConfig, xstateConfig } from './fpu/config.ts'
import { DeviceNode, type DeviceOpen } from './fs/devices.ts'
import type { HostFiles } from './fs/host-bind.ts'
import type { FixedDirectory, Node } from './fs/node.ts'
import { bindHostFiles, makeRoot } from './fs/root.ts'
import { type TextFile, TextNode } from './fs/text-file.ts'
import type { HostHardware, HostMachine } from './hardware.ts'
import { KernelLog } from './kernel-log.ts'
import { KernelHeap } from './mm/heap.ts'
import { Mm } from './mm/mm.ts'
import { PageAllocator } from './mm/page-allocator.ts'
import { HostCpu } from './processor.ts'
import { SeededRandom } from './random.ts'
import { type RunState, Scheduler } from './sched/scheduler.ts'
import { DescriptorTables } from './segments/tables.ts'
import { SplitLock } from './splitlock/state.ts'
import { FutexTable } from './sync/futex-table.ts'
import { SyscallCounters } from './syscalls/counters.ts'
import type { Task } from './task.ts'
import type { ThreadGroup } from './thread-group.ts'
import type { KernelTrace } from './trace.ts'

export interface KernelOptions {
  readonly profile: KernelProfile
  /** Seed of every random byte. Default 0. */
  readonly seed?: number
  /** Who the programs run as. Default 1000, and the group of that number. */
  readonly uid?: number
  readonly gid?: number
  readonly hostname?: string
  /** Virtual real time at boot, ns since the epoch. Default 2025-01-01. */
  readonly bootTime?: number
  /** Boot parameter strict_sas_size (PERM-31). */
  readonly strictSigaltstack?: boolean
  /** Boot parameter split_lock_detect: `off`, `warn`, `fatal`, `ratelimit:N` (SLD-13). */
  readonly splitLockDetect?: string
}

function commandLine({ strictSigaltstack, splitLockDetect }: KernelOptions): string {
  const words = ['console=ttyS0']
  if (strictSigaltstack === true) words.push('strict_sas_size')
  if (splitLockDetect !== undefined) words.push(`split_lock_detect=${splitLockDetect}`)
  return words.join(' ')
}

/** 2025-01-01T00:00:00Z in ns. */
const DEFAULT_BOOT_TIME = 1735689600e9

/** The modelled host's kernel. One per machine. */
export class Kernel {
  readonly machine: HostMachine
  readonly model: CpuModel
  readonly profile: KernelProfile
  readonly clock: Clock
  readonly cpus: HostCpu[]
  /** Bit n: processor n is online (cpu_online_mask). `sched/hotplug.ts` changes it. */
  onlineMask: number
  readonly scheduler: Scheduler
  readonly pages: PageAllocator
  readonly heap: KernelHeap
  readonly xstate: XstateConfig
  /** What extended state costs here. */
  readonly costs: Costs
  readonly splitLock: SplitLock
  /** What boot was told, as /proc/cmdline shows it. */
  readonly commandLine: string
  readonly random: SeededRandom
  readonly log: KernelLog
  readonly trace: KernelTrace = {}
  readonly syscalls = new SyscallCounters()
  /**
   * Code that can be preempted yields wherever it can be, not only where something waits for its processor. For enumerating
   * schedules; an ordinary run has no use for it.
   */
  yieldsEverywhere = false
  /** How often this kernel oopsed. */
  oopses = 0
  /** How often a buffer was used beyond its end (`reportOverrun`). */
  overruns = 0
  readonly futexes = new FutexTable()
  readonly descriptors: DescriptorTables
  readonly root: FixedDirectory
  /** What is mounted over the tree, by canonical path. */
  readonly mounts = new Map<string, Node>()
  readonly tasks = new Map<number, Task>()
  readonly groups = new Map<number, ThreadGroup>()
  /** The first program: when it ends, the run ends. */
  init: ThreadGroup | null = null
  readonly uid: number
  readonly gid: number
  hostname: string
  private readonly bootTime: number
  /** Offset that clock_settime would change; nobody may. */
  private readonly zeroPage: number
  private nextPid = 1000
  private nextMm = 1

  constructor(machine: HostHardware, model: CpuModel, options: KernelOptions) {
    this.machine = machine
    this.model = model
    this.profile = options.profile
    this.uid = options.uid ?? 1000
    this.gid = options.gid ?? this.uid
    this.hostname = options.hostname ?? 'worldswitch'
    this.bootTime = options.bootTime ?? DEFAULT_BOOT_TIME
    this.clock = new Clock(machine, model.instructionsPerMicrosecond)
    this.log = new KernelLog(() => this.clock.now)
    this.random = new SeededRandom(options.seed ?? 0)
    this.pages = new PageAllocator(machine)
    this.heap = new KernelHeap(machine.mem, this.pages)
    this.costs = new Costs(machine.counters, this.tasks)
    this.zeroPage = this.pages.allocate()
    this.xstate = xstateConfig(model, options.profile, this.heap, { strictSigaltstack: options.strictSigaltstack ?? false })
    this.splitLock = new SplitLock(this, machine.processors[0], options.splitLockDetect)
    this.commandLine = commandLine(options)
    this.cpus = machine.processors.map((processor) => new HostCpu(this, processor))
    this.onlineMask = (1 << this.cpus.length) - 1
    this.scheduler = new Scheduler(this)
    this.descriptors = new DescriptorTables(this)
    this.root = makeRoot(this)
  }

  /** An address space with nothing but the kernel half. RangeError when memory is exhausted. */
  newMm(): Mm {
    const mm = new Mm(this.nextMm++, this.machine, this.pages, this.zeroPage)
    mm.onRelease = () => this.descriptors.releaseLdt(mm)
    this.descriptors.mapInto(mm)
    return mm
  }

  allocatePid(): number {
    return this.nextPid++
  }

  /** Wall-clock time of the model, ns since the epoch. Whole microseconds: doubles carry no more. */
  realTime(): number {
    return this.bootTime + Math.floor(this.clock.now / 1000) * 1000
  }

  /** A character device, for example `/dev/kvm`. */
  registerDevice(path: string, open: DeviceOpen, major = 10, minor = 232, permissions = 0o666): void {
    this.place(path, new DeviceNode(major, minor, permissions, open))
  }

  /** A file of generated text, for example below `/sys`. */
  registerFile(path: string, file: TextFile): void {
    this.place(path, new TextNode(file))
  }

  /** `/sys/module/MODULE/parameters/NAME` (KAPI-136): booleans as Y or N, integers as decimal text. */
  registerModuleParameter(module: string, name: string, value: () => boolean | number | string): void {
    const read = () => {
      const now = value()
      return `${typeof now === 'boolean' ? (now ? 'Y' : 'N') : now}\n`
    }
    this.registerFile(`/sys/module/${module}/parameters/${name}`, { read, mode: 0o444, size: 4096 })
  }

  /** Shows files of the world outside at `at`. False: there is nothing to show, or a file is in the way. */
  bind(at: string, files: HostFiles): boolean {
    return bindHostFiles(this, at, files)
  }

  private place(path: string, node: DeviceNode | TextNode): void {
    const parts = path.split('/').filter((part) => part !== '')
    const name = parts.pop()!
    let directory = this.root
    for (const part of parts) directory = directory.directory(part)
    node.dev = directory.dev
    directory.add(name, node)
  }

  private readonly inodes = new WeakMap<object, number>()
  private nextInode = 2
  /** The inode number of a file-like object: in the order in which programs see them. */
  inodeNumber(identity: object): number {
    let number = this.inodes.get(identity)
    if (number === undefined) {
      number = this.nextInode++
      this.inodes.set(identity, number)
    }
    return number
  }

  /**
   * Runs the host until `maxInstructions` have retired, nothing can run, or `enough` (asked every few ten thousand instructions)
   * says so. Plain and synchronous: the driver calls it again and again, and looks after the world outside in between. How a run
   * is cut into slices makes no difference to it.
   */
  runSlice(maxInstructions: number, enough?: () => boolean): RunState {
    return this.scheduler.runSlice(maxInstructions, enough)
  }

  /** Gives `file` to `task` as a new descriptor. */
  installFile(task: Task, file: OpenFile, closeOnExec: boolean): number {
    return task.files.install(task, file, closeOnExec)
  }
}
