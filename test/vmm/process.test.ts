import { describe, expect, it } from 'vitest'
import { KvmError, ProcessDied, SyscallError } from '../../src/vmm/errors.ts'
import { testHost } from './hosts.ts'

const thrown = (action: () => unknown): unknown => {
  try {
    action()
  } catch (error) {
    return error
  }
  return undefined
}

describe('a process without a program', () => {
  it('opens /dev/kvm and asks it questions [KAPI-06, KAPI-11]', () => {
    const kvm = testHost().newProcess().openKvm()
    expect(kvm.getApiVersion()).toBe(12)
    expect(kvm.getVcpuMmapSize()).toBe(12288)
    expect(kvm.checkExtension('KVM_CAP_NR_MEMSLOTS')).toBe(32764)
    expect(kvm.checkExtension(65535)).toBe(0)
  })

  it('gets errors that say the call, the errno, why and by which rule', () => {
    const process = testHost().newProcess()
    const missing = thrown(() => process.open('/dev/nothing'))
    expect(missing).toBeInstanceOf(SyscallError)
    expect(missing).toMatchObject({ call: 'open /dev/nothing', errno: 'ENOENT', errnoNumber: 2 })
    const refused = thrown(() => process.openKvm().createVm(7))
    expect(refused).toBeInstanceOf(KvmError)
    expect(refused).toMatchObject({ call: 'KVM_CREATE_VM', errno: 'EINVAL', rule: 'KAPI-08' })
    expect((refused as Error).message).toBe('EINVAL: KVM_CREATE_VM: VM type 7 is not in KVM_CAP_VM_TYPES (KAPI-08)')
  })

  it('reads files of its host', () => {
    expect(testHost().newProcess().readFile('/proc/cpuinfo')).toMatch(/model name\s*: Intel/)
    expect(testHost().newProcess().readFile('/sys/module/kvm/parameters/enable_pmu')).toBe('N\n')
  })

  it('has memory of its own, zero at first', () => {
    const host = testHost()
    const memory = host.newProcess().allocate(0x3000)
    expect(memory.bytes(0, 0x3000).every((byte) => byte === 0)).toBe(true)
    memory.write(0xffe, Uint8Array.of(1, 2, 3, 4))
    expect([...memory.bytes(0xffd, 6)]).toEqual([0, 1, 2, 3, 4, 0])
    expect(() => memory.bytes(0x2fff, 2)).toThrow(RangeError)
    expect([...host.newProcess().allocate(0x3000).bytes(0xffd, 6)]).toEqual([0, 0, 0, 0, 0, 0])
  })

  it('forks: the child has memory, files and permissions as they were, and its own from then on [PERM-24]', () => {
    const parent = testHost().newProcess()
    const kvm = parent.openKvm()
    const memory = parent.allocate(0x1000)
    memory.write(0, Uint8Array.of(1))
    parent.archPrctl.reqXcompGuestPerm(18)
    const child = parent.fork()
    expect(child.archPrctl.getXcompGuestPerm()).toBe(0x602e7n)
    expect(child.ioctl(kvm.fd, 'KVM_GET_API_VERSION')).toBe(12)
    memory.write(0, Uint8Array.of(2))
    const seen = new Uint8Array(1)
    expect(child.backend.read(memory.address, seen)).toBe(true)
    expect(seen[0]).toBe(1)
    child.archPrctl.reqXcompPerm(18)
    expect(parent.archPrctl.getXcompPerm()).toBe(0x202e7n)
    child.exit()
    expect(kvm.getApiVersion()).toBe(12)
  })

  it("starts threads, which share its leader's permissions [PERM-25]", () => {
    const process = testHost().newProcess()
    const thread = process.newThread()
    thread.archPrctl.reqXcompPerm(18)
    expect(process.archPrctl.getXcompPerm()).toBe(0x602e7n)
    expect(process.openKvm().fd).not.toBe(thread.openKvm().fd)
  })

  it('ends with all its threads, whichever of them ends it', () => {
    const host = testHost()
    const free = host.kernel.pages.available
    const process = host.newProcess()
    const thread = process.newThread()
    thread.openKvm().createVm().createVcpu()
    thread.exit()
    expect(() => process.archPrctl.getXcompPerm()).toThrow(ProcessDied)
    expect(host.kernel.pages.available).toBe(free)
  })

  it('sees the hyper-threads of a core in /sys', () => {
    const read = (threadsPerCore: 1 | 2) => {
      const process = testHost({ processors: 4, threadsPerCore }).newProcess()
      const names = ['smt/active', 'smt/control', 'cpu3/topology/core_id', 'cpu3/topology/thread_siblings_list']
      return names.map((name) => process.readFile(`/sys/devices/system/cpu/${name}`).trim())
    }
    expect(read(1)).toEqual(['0', 'notsupported', '3', '3'])
    expect(read(2)).toEqual(['1', 'on', '1', '2-3'])
  })

  it('lets a thread change its processors', () => {
    const host = testHost()
    const process = host.newProcess()
    const mask = process.allocate(4096)
    for (const cpu of [1, 0, 1]) {
      mask.write(0, Uint8Array.of(1 << cpu, 0, 0, 0, 0, 0, 0, 0))
      process.syscall('sched_setaffinity', 203, 0, 8, mask.address)
      expect(host.kernel.cpus.map(({ current }) => current !== null)).toEqual([cpu === 0, cpu === 1])
    }
  })

  it('does not execute what is no program', () => {
    const process = testHost().newProcess()
    expect(thrown(() => process.exec('/proc/cpuinfo'))).toMatchObject({ errno: 'EACCES' })
    expect(process.openKvm().getApiVersion()).toBe(12)
  })

  it('can do nothing after it has exited, and its host goes on', () => {
    const host = testHost()
    const free = host.kernel.pages.available
    const process = host.newProcess()
    const kvm = process.openKvm()
    const memory = process.allocate(0x10000)
    memory.write(0, new Uint8Array(0x10000).fill(1))
    kvm.createVm().createVcpu()
    process.exit()
    expect(() => kvm.getApiVersion()).toThrow(ProcessDied)
    expect(() => memory.bytes(0, 1)).toThrow(ProcessDied)
    expect(host.kernel.pages.available).toBe(free)
    expect(host.newProcess().openKvm().getApiVersion()).toBe(12)
  })

  it('shares the host with others: three processes on one processor, call by call', () => {
    const host = testHost({ processors: 1 })
    const processes = [1, 2, 3].map(() => host.newProcess())
    const vcpus = processes.map((process) => process.openKvm().createVm().createVcpu())
    for (let round = 0n; round < 3n; round++) {
      vcpus.forEach((vcpu, i) => {
        vcpu.setRegs({ ...vcpu.getRegs(), rbx: round * 10n + BigInt(i) })
      })
      expect(vcpus.map((vcpu) => vcpu.getRegs().rbx)).toEqual([0n, 1n, 2n].map((i) => round * 10n + i))
    }
  })
})

describe('a file descriptor', () => {
  it('means nothing in another process', () => {
    const host = testHost()
    const vm = host.newProcess().openKvm().createVm()
    const other = host.newProcess()
    expect(thrown(() => other.ioctl(vm.fd, 'KVM_CREATE_VCPU', 0))).toMatchObject({ errno: 'EBADF' })
  })

  it('answers ENOTTY or EINVAL to an ioctl of another kind of descriptor [KAPI-01]', () => {
    const process = testHost().newProcess()
    const kvm = process.openKvm()
    const vm = kvm.createVm()
    expect(thrown(() => process.ioctl(kvm.fd, 'KVM_GET_REGS'))).toMatchObject({ errno: 'EINVAL', rule: 'KAPI-01' })
    expect(thrown(() => process.ioctl(vm.fd, 'KVM_GET_REGS'))).toMatchObject({ errno: 'ENOTTY', rule: 'KAPI-01' })
  })
})
