import { expect, it } from 'vitest'
import type { Process } from '../../src/vmm/process.ts'
import { realModeVcpu, testHost } from './hosts.ts'

const [NR_write, NR_sched_setaffinity, NR_getcpu] = [1, 203, 309]
const O_WRONLY = 1

function setOnline(process: Process, cpu: number, text: string): void {
  const fd = process.open(`/sys/devices/system/cpu/cpu${cpu}/online`, O_WRONLY)
  const memory = process.allocate(0x1000)
  memory.write(0, new TextEncoder().encode(text))
  expect(process.syscall('write', NR_write, fd, memory.address, text.length)).toBe(text.length)
  process.close(fd)
}

function bind(process: Process, cpu: number): void {
  const memory = process.allocate(0x1000)
  memory.write(0, Uint8Array.of(1 << cpu))
  process.syscall('sched_setaffinity', NR_sched_setaffinity, 0, 8, memory.address)
}

function where(process: Process): number {
  const memory = process.allocate(0x1000)
  process.syscall('getcpu', NR_getcpu, memory.address, 0, 0)
  return memory.bytes(0, 1)[0]
}

it('a VMM whose processor another process takes offline goes on elsewhere, and its guest with it; KVM recommends fewer vCPUs', () => {
  const host = testHost({ uid: 0, processors: 3 })
  // inc ax; hlt, twice
  const { vcpu } = realModeVcpu([0x40, 0xf4, 0x40, 0xf4], host)
  const vmm = vcpu.vm.kvm.process
  bind(vmm, 1)
  vcpu.setRegs({ ...vcpu.getRegs(), rax: 1n })
  vcpu.run()
  expect([where(vmm), vcpu.getRegs().rax]).toEqual([1, 2n])
  expect(vcpu.vm.kvm.checkExtension('KVM_CAP_NR_VCPUS')).toBe(3)
  const root = host.newProcess()
  setOnline(root, 1, '0')
  expect(vcpu.vm.kvm.checkExtension('KVM_CAP_NR_VCPUS')).toBe(2)
  expect(where(vmm)).not.toBe(1)
  vcpu.run()
  expect(vcpu.getRegs().rax).toBe(3n)
  setOnline(root, 1, '1')
  bind(vmm, 1)
  expect(where(vmm)).toBe(1)
})

it('a process that takes its own processor offline is elsewhere when the call returns', () => {
  const root = testHost({ uid: 0 }).newProcess()
  bind(root, 1)
  expect(where(root)).toBe(1)
  setOnline(root, 1, '0')
  expect(where(root)).toBe(0)
})

it('only root may: EACCES', () => {
  const process = testHost().newProcess()
  expect(() => setOnline(process, 1, '0')).toThrow(/EACCES/)
})
