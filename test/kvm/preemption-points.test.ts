import { beforeEach, describe, expect, test } from 'vitest'
import { MSR_IA32_PL3_SSP, MSR_IA32_POWER_CTL, MSR_IA32_U_CET } from '../../src/isa/msr-index.ts'
import { KVM_IOCTL, type KvmIoctlName } from '../../src/kvm/abi/ioctl-numbers.ts'
import type { Vcpu } from '../../src/kvm/vcpu/vcpu.ts'
import { ARCH_REQ_XCOMP_GUEST_PERM, groupPermission } from '../../src/linux/fpu/permission.ts'
import { type MaybePreemptible, PREEMPTION_POINT, SLEEP } from '../../src/linux/preemption.ts'
import { archPrctl } from '../../src/linux/syscalls/arch-prctl.ts'
import type { Task } from '../../src/linux/task.ts'
import { REG } from '../../src/machine/execution-context.ts'
import type { Host } from '../../src/vmm/modelled/host.ts'
import type { Process } from '../../src/vmm/process.ts'
import type { VcpuFd } from '../../src/vmm/vcpu-fd.ts'
import { testHost } from '../vmm/hosts.ts'

const XTILE_DATA = 18

/** A VMM with a vCPU and a second thread on two processors, where every place at which Linux could lose the processor counts. */
class Scene {
  readonly host: Host
  readonly process: Process
  readonly fd: VcpuFd
  readonly vcpu: Vcpu
  readonly task: Task
  readonly second: Task

  constructor(kernel = 'linux-6.12', withCpuid = true) {
    this.host = testHost({ kernel, processors: 2 })
    this.process = this.host.newProcess()
    this.task = [...this.host.kernel.tasks.values()].at(-1)!
    this.process.archPrctl.reqXcompGuestPerm(XTILE_DATA)
    const vm = this.process.openKvm().createVm()
    this.fd = vm.createVcpu()
    if (withCpuid) this.fd.setCpuid2(vm.kvm.getSupportedCpuid())
    this.vcpu = [...this.host.kvm.vms][0].vcpuById(0)!
    this.process.newThread()
    this.second = [...this.host.kernel.tasks.values()].at(-1)!
    this.host.kernel.yieldsEverywhere = true
  }

  /** `bytes` in the VMM's memory, while it can still be asked for. */
  buffer(bytes: Uint8Array): number {
    const { kernel } = this.host
    kernel.yieldsEverywhere = false
    const memory = this.process.allocate(16384)
    memory.write(0, bytes)
    kernel.yieldsEverywhere = true
    return memory.address
  }

  ioctl(task: Task, name: KvmIoctlName, argument: number): MaybePreemptible<number> {
    this.moveTo(task, task === this.task ? 0 : 1)
    return task.files.get(this.fd.fd)!.ioctl(task, KVM_IOCTL[name], argument)
  }

  /** Scheduled out, wherever it is, and in on this processor. */
  moveTo(task: Task, id: number): void {
    const { scheduler, cpus } = this.host.kernel
    if (task.cpu !== null) scheduler.leave(task.cpu, task)
    const { current } = cpus[id]
    if (current !== null) scheduler.leave(cpus[id], current)
    scheduler.switchTo(cpus[id], task)
  }

  /** Runs kernel code of the first thread that changes its processor at every point. `atPoint` looks on. */
  migrating(code: MaybePreemptible<number>, atPoint: (point: number) => void = () => {}): { result: number; points: number } {
    if (typeof code === 'number') throw new Error('it cannot be preempted')
    for (let point = 1; ; point++) {
      const step = code.next()
      if (step.done === true) return { result: step.value, points: point - 1 }
      expect(step.value).toBe(PREEMPTION_POINT)
      atPoint(point)
      this.moveTo(this.task, point & 1)
    }
  }
}

/** struct kvm_msrs. */
function msrList(...entries: (readonly [index: number, value: bigint])[]): Uint8Array {
  const bytes = new Uint8Array(8 + entries.length * 16)
  const view = new DataView(bytes.buffer)
  view.setUint32(0, entries.length, true)
  entries.forEach(([index, value], i) => {
    view.setUint32(8 + i * 16, index, true)
    view.setBigUint64(16 + i * 16, value, true)
  })
  return bytes
}

describe('a vCPU ioctl that can be preempted', () => {
  let scene: Scene
  beforeEach(() => {
    scene = new Scene()
  })

  test('has the vCPU from the first point to the last, loaded from vcpu_load() to vcpu_put() [SLD-56, SLD-60]', () => {
    const { vcpu, task } = scene
    const list = scene.buffer(msrList([MSR_IA32_POWER_CTL, 5n], [MSR_IA32_POWER_CTL, 7n]))
    const seen: unknown[] = []
    const run = scene.migrating(scene.ioctl(task, 'KVM_SET_MSRS', list), () =>
      seen.push([vcpu.mutexOwner === task, task.preemptNotifier === vcpu.residency, vcpu.msrs.powerCtl]),
    )
    expect(run.result).toBe(2)
    // Before vcpu_load(), after it, after each entry.
    expect(seen).toEqual([
      [true, false, 0n],
      [true, true, 0n],
      [true, true, 5n],
      [true, true, 7n],
    ])
    expect([vcpu.mutexOwner, task.preemptNotifier]).toEqual([null, null])
  })

  test('lets a second thread sleep until it has finished, and wakes it then [SLD-61, KAPI-04]', () => {
    const { task, second, vcpu } = scene
    const list = scene.buffer(msrList([MSR_IA32_POWER_CTL, 5n]))
    const first = scene.ioctl(task, 'KVM_SET_MSRS', list)
    if (typeof first === 'number') throw new Error('it cannot be preempted')
    first.next()
    const other = scene.ioctl(second, 'KVM_SET_MSRS', list)
    if (typeof other === 'number') throw new Error('it did not wait')
    expect(other.next()).toEqual({ done: false, value: SLEEP })
    expect([second.state, vcpu.mutexOwner]).toEqual(['sleeping', task])
    scene.host.kernel.scheduler.leave(second.cpu!, second)
    for (let step = first.next(); step.done !== true; step = first.next()) expect(second.state).toBe('sleeping')
    expect(second.state).toBe('runnable')
    scene.host.kernel.scheduler.dequeue(second)
    scene.moveTo(second, 1)
    expect(other.next().value).toBe(PREEMPTION_POINT)
    expect(vcpu.mutexOwner).toBe(second)
  })

  test('KVM_SET_XSAVE loads what it copied in, whoever used the buffer of others meanwhile [XSAVE-15]', () => {
    const { fd, task, host } = scene
    const image = fd.getXsave2().bytes
    new DataView(image.buffer).setUint32(512, 3, true)
    image.fill(0x5a, 160, 176)
    const at = scene.buffer(image)
    const run = scene.migrating(scene.ioctl(task, 'KVM_SET_XSAVE', at), () => {
      const scratch = host.kernel.xstate.scratchImage
      host.machine.mem.u8.fill(0xff, scratch, scratch + image.length)
    })
    expect(run).toEqual({ result: 0, points: 4 })
    host.kernel.yieldsEverywhere = false
    expect(fd.getXsave2().bytes.subarray(160, 176)).toEqual(new Uint8Array(16).fill(0x5a))
  })

  test('KVM_GET_XSAVE2 gives what it found, whoever used the buffer of others meanwhile [XSAVE-06]', () => {
    const { fd, task, host } = scene
    const expected = fd.getXsave2().bytes
    const at = scene.buffer(new Uint8Array(expected.length).fill(0xee))
    const run = scene.migrating(scene.ioctl(task, 'KVM_GET_XSAVE2', at), () => {
      const scratch = host.kernel.xstate.scratchImage
      host.machine.mem.u8.fill(0xff, scratch, scratch + expected.length)
    })
    expect(run).toEqual({ result: 0, points: 3 })
    const found = new Uint8Array(expected.length)
    expect(scene.task.mm.copyFromUser(found, 0, at, found.length)).toBe(true)
    expect(found).toEqual(expected)
  })
})

test('MSRs in the registers of the guest FPU are the guest’s at every point, on either processor [CET-13, GFPU-12]', () => {
  const scene = new Scene('linux-6.18')
  const { task } = scene
  const values = [
    [MSR_IA32_U_CET, 1n],
    [MSR_IA32_PL3_SSP, 0x7000n],
  ] as const
  const hostPl3 = () => scene.host.machine.processors.map((processor) => processor.rdmsr(MSR_IA32_PL3_SSP))
  expect(scene.migrating(scene.ioctl(task, 'KVM_SET_MSRS', scene.buffer(msrList(...values)))).result).toBe(2)
  const at = scene.buffer(msrList([MSR_IA32_U_CET, 0n], [MSR_IA32_PL3_SSP, 0n]))
  expect(scene.migrating(scene.ioctl(task, 'KVM_GET_MSRS', at)).result).toBe(2)
  const read = new Uint8Array(40)
  expect(task.mm.copyFromUser(read, 0, at, read.length)).toBe(true)
  expect(read).toEqual(msrList(...values))
  // The thread's own are back.
  scene.host.kernel.yieldsEverywhere = false
  scene.fd.getRegs()
  expect(hostPl3()[task.cpu!.id]).toBe(0n)
})

describe('KVM_SET_CPUID2 with AMX', () => {
  const cpuid = (scene: Scene): number => {
    const list = scene.fd.vm.kvm.getSupportedCpuid()
    const bytes = new Uint8Array(8 + list.length * 40)
    const view = new DataView(bytes.buffer)
    view.setUint32(0, list.length, true)
    list.forEach((e, i) => {
      for (const [k, word] of [e.function, e.index, e.flags, e.eax, e.ebx, e.ecx, e.edx].entries())
        view.setUint32(8 + i * 40 + k * 4, word, true)
    })
    return scene.buffer(bytes)
  }

  test('makes a larger image between points: before and after the lock, before and after the exchange [GFPU-39]', () => {
    const scene = new Scene('linux-6.12', false)
    const list = cpuid(scene)
    const sizes: number[] = []
    const run = scene.migrating(scene.ioctl(scene.task, 'KVM_SET_CPUID2', list), () =>
      sizes.push(scene.vcpu.residency.imageBytes),
    )
    expect(run.result).toBe(0)
    const larger = scene.vcpu.residency.imageBytes
    // vcpu_load() and before it, the lock, its end, the allocation; then the exchange, and CPUID itself.
    expect(sizes.map((size) => size === larger)).toEqual([false, false, false, false, false, true, true])
    scene.host.kernel.yieldsEverywhere = false
    expect(scene.fd.getXsave2().bytes.length).toBe(11008)
  })
})

describe('ARCH_REQ_XCOMP_GUEST_PERM', () => {
  test('is refused when the first vCPU came between the look without the lock and the one with it [PERM-17, PERM-23]', () => {
    const host = testHost({ processors: 2 })
    host.newProcess()
    const task = [...host.kernel.tasks.values()].at(-1)!
    host.kernel.yieldsEverywhere = true
    task.context.set(REG.RSI, XTILE_DATA, 0)
    task.context.set(REG.RDI, ARCH_REQ_XCOMP_GUEST_PERM, 0)
    const asking = archPrctl(task, task.args)
    if (typeof asking === 'number') throw new Error('it cannot be preempted')
    asking.next()
    asking.next()
    // What a vCPU's creation does under the same lock.
    groupPermission(task, true).locked = true
    expect(asking.next().value).toBe(PREEMPTION_POINT)
    expect(asking.next()).toEqual({ done: true, value: -16 })
    expect(groupPermission(task, true).statePerm & (1 << XTILE_DATA)).toBe(0)
  })
})

test('in an ordinary run these calls make no generator', () => {
  const scene = new Scene()
  const list = scene.buffer(msrList([MSR_IA32_POWER_CTL, 5n]))
  scene.host.kernel.yieldsEverywhere = false
  expect(scene.ioctl(scene.task, 'KVM_SET_MSRS', list)).toBe(1)
})
