import { describe, expect, test } from 'vitest'
import { findCpuid } from '../../src/vmm/cpuid-list.ts'
import type { KvmError } from '../../src/vmm/errors.ts'
import { testHost } from './hosts.ts'

/** Permission designs as a VMM meets them: PERM §10, §11. */

describe('an image that the old bookkeeping made 16 bytes too small', () => {
  const runWithBoth = (kernel: string) => {
    const host = testHost({ cpu: 'Synthetic-TwoDynamic', kernel })
    const process = host.newProcess()
    for (const nr of [18, 20]) process.archPrctl.reqXcompGuestPerm(nr)
    const kvm = process.openKvm()
    const vcpu = kvm.createVm().createVcpu()
    vcpu.setCpuid2(kvm.getSupportedCpuid())
    const image = vcpu.getXsave2()
    image.xstateBv |= 1n << 20n
    image.component(20).fill(0xa5)
    vcpu.setXsave(image)
    vcpu.run({ maxInstructions: 1 })
    const saved = vcpu.getXsave2()
    return { host, saved, log: host.kernel.log.lines.map((line) => line.replace(/^\[[^\]]*\] /, '')) }
  }

  test('is written beyond its end: the modelled kernel says so, and nothing of the model breaks [PERM-60]', () => {
    const { host, saved, log } = runWithBoth('proposal:perm-bookkeeping-before')
    expect(host.costs.snapshot().vcpus[0].image).toBe(9288)
    const reports = log.filter((line) => line.startsWith('BUG: KASAN: vmalloc-out-of-bounds in '))
    expect(reports.map((line) => line.slice(37))).toEqual([
      'copy_uabi_to_xstate',
      'restore_fpregs_from_fpstate',
      'save_fpregs_to_fpstate',
      '__copy_xstate_to_uabi_buf',
    ])
    expect(log).toContain('Write of size 256 at byte 9048 of the image')
    expect(log).toContain('The image has 9288 bytes, its components 0x140a07 take 9304: 16 bytes short (PERM-60)')
    expect(host.kernel.overruns).toBeGreaterThanOrEqual(4)
    expect(saved.component(20).every((byte) => byte === 0xa5)).toBe(true)
    expect(host.newProcess().openKvm().createVm()).toBeDefined()
  })

  test('has its 9304 bytes once supervisor bits are kept [PERM-60, PERM-62]', () => {
    const { host, saved } = runWithBoth('proposal:perm-bookkeeping-fixed')
    expect(host.costs.snapshot().vcpus[0].image).toBe(9304)
    expect(host.kernel.overruns).toBe(0)
    expect(saved.component(20).every((byte) => byte === 0xa5)).toBe(true)
  })

  test('cannot come about with one dynamic component: the second request finds it permitted [PERM-60]', () => {
    const host = testHost({ kernel: 'linux-6.6.0' })
    const process = host.newProcess()
    process.archPrctl.reqXcompGuestPerm(18)
    process.archPrctl.reqXcompGuestPerm(18)
    const kvm = process.openKvm()
    const vcpu = kvm.createVm().createVcpu()
    vcpu.setCpuid2(kvm.getSupportedCpuid())
    vcpu.run({ maxInstructions: 1 })
    expect(host.kernel.overruns).toBe(0)
  })
})

describe('guests outside the permission scheme', () => {
  const kernel = 'proposal:guest-perm-ignored'

  test('a VMM that asked for nothing is shown everything [PERM-64, PERM-66]', () => {
    const kvm = testHost({ kernel }).newProcess().openKvm()
    expect(findCpuid(kvm.getSupportedCpuid(), 0xd, 0)).toMatchObject({ eax: 0x602e7, ebx: 11008, ecx: 11008 })
    expect(kvm.checkExtension('KVM_CAP_XSAVE2')).toBe(11008)
    const enforced = testHost({ kernel: 'linux-6.6.0' }).newProcess().openKvm()
    expect(findCpuid(enforced.getSupportedCpuid(), 0xd, 0)).toMatchObject({ eax: 0x2e7, ebx: 2696 })
    expect(enforced.checkExtension('KVM_CAP_XSAVE2')).toBe(4096)
  })

  test('KVM_SET_CPUID2 with tile data needs no permission; requests succeed whenever they are made [PERM-66]', () => {
    const process = testHost({ kernel }).newProcess()
    const kvm = process.openKvm()
    const vcpu = kvm.createVm().createVcpu()
    expect(() => process.archPrctl.reqXcompGuestPerm(18)).not.toThrow()
    vcpu.setCpuid2(kvm.getSupportedCpuid())
    const image = vcpu.getXsave2()
    expect(image.bytes.length).toBe(11008)
    image.xstateBv |= 1n << 18n
    image.component(18).fill(0x5a)
    vcpu.setXsave(image)
    vcpu.run({ maxInstructions: 1 })
    expect(
      vcpu
        .getXsave2()
        .component(18)
        .every((byte) => byte === 0x5a),
    ).toBe(true)
    // The host permission is another matter (PERM-21).
    expect(process.archPrctl.getXcompPerm()).toBe(0x202e7n)
  })

  test('a guest without tile data still has its 4096 bytes, and pays for the room [PERM-63, PERM-64, XSAVE-03]', () => {
    const host = testHost({ kernel })
    const kvm = host.newProcess().openKvm()
    const vcpu = kvm.createVm().createVcpu()
    const cpuid = kvm.getSupportedCpuid()
    findCpuid(cpuid, 0xd, 0)!.eax &= ~0x60000
    vcpu.setCpuid2(cpuid)
    expect(vcpu.getXsave().bytes.length).toBe(4096)
    expect(host.costs.snapshot().vcpus[0].image).toBe(10752)
  })

  test('a host without AMX has nothing to give, and does not refuse either [PERM-66, GFPU-42]', () => {
    const attempt = (profile: string) => {
      const kvm = testHost({ cpu: 'Icelake-Server', kernel: profile }).newProcess().openKvm()
      const vcpu = kvm.createVm().createVcpu()
      const cpuid = kvm.getSupportedCpuid()
      findCpuid(cpuid, 0xd, 0)!.eax |= 0x60000
      vcpu.setCpuid2(cpuid)
      return vcpu
    }
    expect(attempt(kernel).getXsave2().bytes.length).toBe(4096)
    expect(() => attempt('linux-6.6.0')).toThrow(expect.objectContaining({ errno: 'EPERM' } satisfies Partial<KvmError>))
  })
})
