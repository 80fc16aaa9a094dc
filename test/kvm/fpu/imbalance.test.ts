import { describe, expect, test } from 'vitest'
import { MSR_IA32_XFD, MSR_IA32_XFD_ERR } from '../../../src/isa/msr-index.ts'
import { resetVcpuState } from '../../../src/kvm/vcpu/reset.ts'
import type { Vcpu } from '../../../src/kvm/vcpu/vcpu.ts'
import { loadGuestFpu } from '../../../src/linux/fpu/door.ts'
import { pinnedProcessor } from '../../../src/linux/processor.ts'
import type { Host } from '../../../src/vmm/modelled/host.ts'
import { amxVcpu, realModeVcpu, testHost } from '../../vmm/hosts.ts'

const insideOf = (host: Host): Vcpu => [...host.kvm.vms].at(-1)!.vcpus[0]

/** Loads the registers of the newest vCPU behind KVM's back, on the processor that its thread holds. */
function loadBehindKvm(host: Host): void {
  const cpu = pinnedProcessor(host.kernel.cpus.find(({ current }) => current !== null)!)
  loadGuestFpu(cpu, insideOf(host).guestFpu)
}

describe('registers swapped out of turn', () => {
  test('kill the VM under 6.18: KVM_RUN and everything after it is EIO [GFPU-16]', () => {
    const host = testHost({ kernel: 'linux-6.18' })
    const { vcpu } = realModeVcpu([0xf4], host)
    vcpu.getRegs()
    loadBehindKvm(host)
    expect(() => vcpu.run()).toThrow(/EIO/)
    expect(() => vcpu.getRegs()).toThrow(/EIO/)
    expect(host.kernel.log.lines.join('\n')).toMatch(/kvm_load_guest_fpu: guest registers swapped out of turn/)
  })

  test('go unnoticed by KVM of 6.12 [GFPU-16]', () => {
    const host = testHost()
    const { vcpu } = realModeVcpu([0xf4], host)
    vcpu.getRegs()
    loadBehindKvm(host)
    expect(vcpu.run().reason).toBe('hlt')
    expect(vcpu.getRegs().rip).toBe(1n)
  })
})

describe('RESET and INIT', () => {
  test('a new vCPU has XCR0 1 and zero in XSS, XFD, XFD_ERR and CR4; INIT zeroes CR4 and leaves the others [GFPU-34, GFPU-49]', () => {
    const host = testHost()
    const process = host.newProcess()
    const fresh = process.openKvm().createVm().createVcpu()
    expect(fresh.getXcr0()).toBe(1n)
    expect(fresh.getMsrs([MSR_IA32_XFD, MSR_IA32_XFD_ERR]).map(({ data }) => data)).toEqual([0n, 0n])
    expect(fresh.getSregs().cr4).toBe(0n)

    const vcpu = amxVcpu(host)
    vcpu.setSregs({ ...vcpu.getSregs(), cr4: 0x40600n })
    vcpu.writeMsr(MSR_IA32_XFD, 0x40000n)
    vcpu.writeMsr(MSR_IA32_XFD_ERR, 0x40000n)
    const image = vcpu.getXsave2()
    image.xstateBv = 0x207n
    image.bytes.fill(0x33, 576, 832)
    image.component(9).fill(0x44)
    vcpu.setXsave(image)
    const before = vcpu.getXsave2().bytes
    resetVcpuState(insideOf(host), true)
    expect(vcpu.getXcr0()).toBe(0x602e7n)
    expect(vcpu.readMsr(MSR_IA32_XFD)).toBe(0x40000n)
    expect(vcpu.readMsr(MSR_IA32_XFD_ERR)).toBe(0x40000n)
    expect(vcpu.getSregs().cr4).toBe(0n)
    expect(vcpu.getXsave2().bytes).toEqual(before)
  })

  test('INIT zeroes the MPX components and keeps their bits [GFPU-48]', () => {
    const host = testHost({ cpu: 'Skylake-Server,+mpx' })
    const process = host.newProcess()
    const kvm = process.openKvm()
    expect(kvm.supportedXcr0() & 0x18n).toBe(0x18n)
    const vcpu = kvm.createVm().createVcpu()
    vcpu.setCpuid2(kvm.getSupportedCpuid())
    const image = vcpu.getXsave2()
    image.xstateBv = 0x1cn
    for (const nr of [2, 3, 4]) image.component(nr).fill(nr)
    vcpu.setXsave(image)
    resetVcpuState(insideOf(host), true)
    const after = vcpu.getXsave2()
    expect(after.xstateBv).toBe(0x1cn)
    expect([...after.component(2)].every((byte) => byte === 2)).toBe(true)
    for (const nr of [3, 4]) expect([...after.component(nr)].every((byte) => byte === 0)).toBe(true)
    // A component whose bit is clear is not touched.
    after.xstateBv = 4n
    vcpu.setXsave(after)
    resetVcpuState(insideOf(host), true)
    expect(vcpu.getXsave2().xstateBv).toBe(4n)
  })
})
