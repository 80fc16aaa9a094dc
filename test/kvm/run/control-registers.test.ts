import { describe, expect, test } from 'vitest'
import type { VcpuFd } from '../../../src/vmm/vcpu-fd.ts'
import { testHost } from '../../vmm/hosts.ts'

const CODE = 0x8000
const MOV_CR4_RAX = [0x0f, 0x22, 0xe0]
const HLT = 0xf4
/** PAE, OSFXSR, OSXMMEXCPT. */
const CR4 = 0x620n

/** A vCPU in 64-bit mode, the first 2 MiB mapped one to one, no interrupt table. */
function longModeVcpu(cpu: string, code: readonly number[], rax: bigint): VcpuFd {
  const process = testHost({ cpu }).newProcess()
  const kvm = process.openKvm()
  const vm = kvm.createVm()
  const memory = process.allocate(0x10000)
  const entry = (at: number, value: number) => memory.write(at, new Uint8Array(new BigUint64Array([BigInt(value)]).buffer))
  entry(0x1000, 0x2003)
  entry(0x2000, 0x3003)
  entry(0x3000, 0x83)
  memory.write(CODE, Uint8Array.from(code))
  vm.setUserMemoryRegion({ slot: 0, guestPhysAddr: 0, memory })
  const vcpu = vm.createVcpu()
  vcpu.setCpuid2(kvm.getSupportedCpuid())
  const sregs = vcpu.getSregs()
  const segment = { ...sregs.cs, base: 0n, limit: 0xffffffff, g: 1, db: 0, l: 0, type: 3 }
  vcpu.setSregs({
    ...sregs,
    cr0: 0x80050033n,
    cr3: 0x1000n,
    cr4: CR4,
    efer: 0x500n,
    cs: { ...segment, selector: 8, l: 1, type: 11 },
    ss: { ...segment, selector: 16 },
    ds: { ...segment, selector: 16 },
  })
  vcpu.setRegs({ ...vcpu.getRegs(), rip: BigInt(CODE), rsp: 0x7000n, rax })
  return vcpu
}

describe('MOV to CR4 with a bit of the upper half', () => {
  const run = (cpu: string) => {
    const vcpu = longModeVcpu(cpu, [...MOV_CR4_RAX, HLT], CR4 | (1n << 32n))
    return { exit: vcpu.run(), cr4: vcpu.getSregs().cr4 }
  }

  test.each(['SapphireRapids', 'EPYC-Genoa'])('is #GP on %s', (cpu) => {
    // No handler: the guest shuts down.
    expect(run(cpu)).toMatchObject({ exit: { reason: 'shutdown' }, cr4: CR4 })
  })

  test('loses it where kvm_amd has no decode assists and emulates the instruction [recorded: guest.misc.PC]', () => {
    expect(run('qemu-tcg-max')).toMatchObject({ exit: { reason: 'hlt' }, cr4: CR4 })
  })
})
