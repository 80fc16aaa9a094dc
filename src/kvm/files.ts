import { EFAULT, EINTR, EINVAL, EIO, ENOTTY, refuse } from '../linux/errno.ts'
import { O_RDWR, OpenFile } from '../linux/file.ts'
import { BEYOND_END, type PageSource } from '../linux/mm/page-source.ts'
import type { Vma } from '../linux/mm/vma.ts'
import { type MaybePreemptible, PREEMPTION_POINT, type Preemptible, type Yielded } from '../linux/preemption.ts'
import type { Task } from '../linux/task.ts'
import { WOKEN, waitUntil } from '../linux/wait-queue.ts'
import { ioctlNr, ioctlSize, ioctlType } from './abi/ioctl-encoding.ts'
import { KVM_IOCTL } from './abi/ioctl-numbers.ts'
import { IoctlCall, type IoctlRow, type IoctlTable, runIoctl } from './ioctl-table.ts'
import type { Kvm } from './kvm.ts'
import { kvmRun } from './run/run.ts'
import { systemIoctls } from './system-ioctls.ts'
import type { Vcpu } from './vcpu/vcpu.ts'
import { vcpuIoctls } from './vcpu-ioctls.ts'
import type { Vm } from './vm.ts'
import { vmIoctls } from './vm-ioctls.ts'

const KVM_RUN = KVM_IOCTL.KVM_RUN

/** A number nobody defines, or with another size than the defined one, is an unknown ioctl. KAPI-01. */
function unknownIoctl(kvm: Kvm, task: Task, kind: string, request: number, errno: number): number {
  const text = `${kind} ioctl 0x${request.toString(16)} (type 0x${ioctlType(request).toString(16)}, nr 0x${ioctlNr(request).toString(16)}, ${ioctlSize(request)} bytes)`
  kvm.unknownIoctls.set(text, (kvm.unknownIoctls.get(text) ?? 0) + 1)
  return refuse(task, errno, 'KAPI-01', `${text} is not known`)
}

function dispatch<T>(kvm: Kvm, row: IoctlRow<T>, target: T, task: Task, argument: number): MaybePreemptible<number> {
  const call = new IoctlCall(task, task.mm, argument)
  const trace = kvm.trace
  const previous = kvm.callingTask
  kvm.callingTask = task
  try {
    const result = runIoctl(row, target, call, trace === null ? null : (r, c, status) => trace.ioctl(r, c, status))
    return typeof result === 'number' ? result : calledBy(kvm, task, result)
  } finally {
    kvm.callingTask = previous
  }
}

/** An ioctl that can lose its processor: others' calls may come in between, so whose it is, is said for each stretch of it. */
function* calledBy(kvm: Kvm, task: Task, code: Preemptible<number>): Preemptible<number> {
  for (;;) {
    const previous = kvm.callingTask
    kvm.callingTask = task
    let stretch: IteratorResult<Yielded, number>
    try {
      stretch = code.next()
    } finally {
      kvm.callingTask = previous
    }
    if (stretch.done === true) return stretch.value
    yield stretch.value
  }
}

/** /dev/kvm. */
export class KvmFile extends OpenFile {
  readonly name = '/dev/kvm'
  private readonly kvm: Kvm

  constructor(kvm: Kvm, flags: number) {
    super(flags)
    this.kvm = kvm
  }
  override ioctl(task: Task, request: number, argument: number): MaybePreemptible<number> {
    const row = systemIoctls.get(request)
    return row === undefined
      ? unknownIoctl(this.kvm, task, '/dev/kvm', request, EINVAL)
      : dispatch(this.kvm, row, this.kvm, task, argument)
  }
}

/** What keeps a VM alive: its own fd, those of its vCPUs and statistics (KAPI-05). */
abstract class VmHolder extends OpenFile {
  protected readonly vm: Vm
  constructor(vm: Vm) {
    super(O_RDWR)
    this.vm = vm
  }
  override release(): void {
    this.vm.put()
  }
  /** KAPI-02, KAPI-03: another process's address space, or a dead VM. */
  protected unusable(task: Task): number {
    if (task.mm !== this.vm.mm) return refuse(task, EIO, 'KAPI-02', 'the VM belongs to another address space')
    return this.vm.dead ? refuse(task, EIO, 'KAPI-03', 'the VM is dead') : 0
  }
}

class VmFile extends VmHolder {
  readonly name = 'anon_inode:kvm-vm'
  override ioctl(task: Task, request: number, argument: number): MaybePreemptible<number> {
    const unusable = this.unusable(task)
    if (unusable !== 0) return unusable
    const row = vmIoctls.get(request)
    return row === undefined
      ? unknownIoctl(this.vm.kvm, task, 'VM', request, ENOTTY)
      : dispatch(this.vm.kvm, row, this.vm, task, argument)
  }
}

/** Pages of a vCPU's mapping: kvm_run, port-I/O data, coalesced ring. KAPI-07. */
class VcpuPages implements PageSource {
  private readonly vcpu: Vcpu
  constructor(vcpu: Vcpu) {
    this.vcpu = vcpu
  }
  page(index: number): number {
    if (index === 0) return this.vcpu.run.hpa
    if (index === 1) return this.vcpu.run.pioHpa
    return index === 2 ? this.vcpu.vm.coalescedRingHpa : BEYOND_END
  }
}

class VcpuFile extends VmHolder {
  readonly name: string
  readonly vcpu: Vcpu
  private readonly pages: VcpuPages
  private readonly runRow = vcpuIoctls.get(KVM_RUN)!

  constructor(vcpu: Vcpu) {
    super(vcpu.vm.retain())
    this.vcpu = vcpu
    this.name = `anon_inode:kvm-vcpu:${vcpu.id}`
    this.pages = new VcpuPages(vcpu)
  }

  override mmap(_task: Task, vma: Vma): number {
    vma.source = this.pages
    return 0
  }

  override ioctl(task: Task, request: number, argument: number): MaybePreemptible<number> {
    const unusable = this.unusable(task)
    if (unusable !== 0) return unusable
    const row = vcpuIoctls.get(request)
    if (row === undefined) return unknownIoctl(this.vm.kvm, task, 'vCPU', request, EINVAL)
    const { vcpu } = this
    // All vCPU ioctls take the vCPU's mutex; KVM_RUN holds it for its whole duration (KAPI-04).
    if (vcpu.mutexOwner !== null) return this.waitForMutex(row, task, argument)
    vcpu.mutexOwner = task
    if (task.kernel.yieldsEverywhere && request !== KVM_RUN) return this.withEveryPreemptionPoint(row, task, argument)
    vcpu.residency.load(task)
    const result = request === KVM_RUN ? this.run(task, argument) : dispatch(this.vm.kvm, row, vcpu, task, argument)
    if (typeof result !== 'number') return this.finishHolding(task, result)
    this.unlock(task)
    return result
  }

  /** The same steps with the places where Linux's could lose the processor: before vcpu_load(), after it, before vcpu_put(). */
  private *withEveryPreemptionPoint(row: IoctlRow<Vcpu>, task: Task, argument: number): Preemptible<number> {
    const { vcpu } = this
    let isLoaded = false
    try {
      yield PREEMPTION_POINT
      vcpu.residency.load(task)
      isLoaded = true
      yield PREEMPTION_POINT
      const result = dispatch(this.vm.kvm, row, vcpu, task, argument)
      if (typeof result !== 'number') return yield* result
      yield PREEMPTION_POINT
      return result
    } finally {
      this.unlock(task, isLoaded)
    }
  }

  /** KVM_RUN without the generic part's buffers: it is called a few hundred thousand times a second. */
  private run(task: Task, argument: number): MaybePreemptible<number> {
    const { kvm } = this.vm
    const { counters } = this.runRow
    counters.calls++
    const call = new IoctlCall(task, task.mm, argument)
    const result = kvmRun(this.vcpu, argument, call)
    if (typeof result !== 'number') return result
    if (result < 0) counters.failures++
    kvm.trace?.userExit(this.vcpu, result)
    return result
  }

  private *finishHolding(task: Task, code: Preemptible<number>): Preemptible<number> {
    try {
      const result = yield* code
      this.vm.kvm.trace?.userExit(this.vcpu, result)
      return result
    } finally {
      this.unlock(task)
    }
  }

  private *waitForMutex(row: IoctlRow<Vcpu>, task: Task, argument: number): Preemptible<number> {
    const { vcpu } = this
    const waited = yield* waitUntil(task, vcpu.mutexWaiters, () => vcpu.mutexOwner === null, Number.POSITIVE_INFINITY, true)
    if (waited !== WOKEN) return -EINTR
    const result = this.ioctl(task, row.number, argument)
    return typeof result === 'number' ? result : yield* result
  }

  private unlock(task: Task, isLoaded = true): void {
    if (isLoaded) this.vcpu.residency.put(task)
    this.vcpu.mutexOwner = null
    if (!this.vcpu.mutexWaiters.idle) this.vcpu.mutexWaiters.wakeAll()
  }
}

/** Binary statistics: read and pread only. KAPI-116. */
class StatsFile extends VmHolder {
  readonly name = 'anon_inode:kvm-stats'
  private readonly image: () => Uint8Array
  constructor(vm: Vm, image: () => Uint8Array) {
    super(vm.retain())
    this.image = image
  }
  override get seekable(): boolean {
    return true
  }
  override read(task: Task, user: number, length: number, position: number): number {
    const image = this.image()
    const count = Math.max(0, Math.min(length, image.length - position))
    if (count === 0) return 0
    return task.mm.copyToUser(user, image, position, count) ? count : -EFAULT
  }
}

export const createVmFile = (vm: Vm): OpenFile => new VmFile(vm)
export const createVcpuFile = (vcpu: Vcpu): OpenFile => new VcpuFile(vcpu)
export const createStatsFile = (vm: Vm, image: () => Uint8Array): OpenFile => new StatsFile(vm, image)

export type AnyIoctlTable = IoctlTable<any>
