import { Host, type HostOptions } from '../../src/vmm/modelled/host.ts'
import type { ProcessMemory } from '../../src/vmm/process-memory.ts'
import type { VcpuFd } from '../../src/vmm/vcpu-fd.ts'
import { icedModule } from '../machine/bare-host.ts'

/** A modelled host for a test: Sapphire Rapids under linux-6.12 with little memory, unless told otherwise. */
export function testHost(options: Partial<HostOptions> = {}): Host {
  return new Host({ cpu: 'SapphireRapids', memory: 32 << 20, decoder: icedModule(), ...options })
}

const XTILE_DATA = 18

/** A vCPU with the host's CPUID, in a process that has asked for AMX first. */
export function amxVcpu(host = testHost()): VcpuFd {
  const process = host.newProcess()
  process.archPrctl.reqXcompGuestPerm(XTILE_DATA)
  const kvm = process.openKvm()
  const vcpu = kvm.createVm().createVcpu()
  vcpu.setCpuid2(kvm.getSupportedCpuid())
  vcpu.setXcr0(0x602e7n)
  return vcpu
}

/** A vCPU whose CPUID has no AMX. */
export function plainVcpu(options: { permission?: boolean } = {}): VcpuFd {
  const process = testHost().newProcess()
  const kvm = process.openKvm()
  const cpuid = kvm.getSupportedCpuid()
  if (options.permission) process.archPrctl.reqXcompGuestPerm(XTILE_DATA)
  const vcpu = kvm.createVm().createVcpu()
  vcpu.setCpuid2(cpuid)
  return vcpu
}

/** A vCPU in real mode with `code` at address 0 of `memory`, 64 KiB. */
export function realModeVcpu(code: readonly number[], host = testHost()): { vcpu: VcpuFd; memory: ProcessMemory } {
  const process = host.newProcess()
  const kvm = process.openKvm()
  const vm = kvm.createVm()
  const memory = process.allocate(0x10000)
  memory.write(0, Uint8Array.from(code))
  vm.setUserMemoryRegion({ slot: 0, guestPhysAddr: 0, memory })
  const vcpu = vm.createVcpu()
  vcpu.setCpuid2(kvm.getSupportedCpuid())
  const sregs = vcpu.getSregs()
  vcpu.setSregs({ ...sregs, cs: { ...sregs.cs, base: 0n, selector: 0 } })
  vcpu.setRegs({ ...vcpu.getRegs(), rip: 0n, rsp: 0x8000n })
  return { vcpu, memory }
}
