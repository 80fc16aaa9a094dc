import { describe, expect, test } from 'vitest'
import { MSR_IA32_XFD, MSR_IA32_XSS } from '../../src/isa/msr-index.ts'
import { KVM_IOCTL } from '../../src/kvm/abi/ioctl-numbers.ts'
import { type CpuidEntry2, findCpuid } from '../../src/vmm/cpuid-list.ts'
import type { Kvm } from '../../src/vmm/kvm.ts'
import type { Host } from '../../src/vmm/modelled/host.ts'
import type { VcpuFd } from '../../src/vmm/vcpu-fd.ts'
import { testHost } from './hosts.ts'

/** Sapphire Rapids under each kernel; figures of the era tables (XSAVE rules) for that processor. */
const KERNELS = ['linux-5.15', 'linux-5.16', 'linux-5.17', 'linux-6.1', 'linux-6.6', 'linux-6.12', 'linux-6.18'] as const
const AMX_KERNELS = KERNELS.slice(2)

const hosts = new Map<string, Host>()
function hostOf(kernel: string): Host {
  let host = hosts.get(kernel)
  if (host === undefined) hosts.set(kernel, (host = testHost({ kernel })))
  return host
}
function kvmOf(kernel: string, permission = false): Kvm {
  const process = hostOf(kernel).newProcess()
  if (permission) process.archPrctl.reqXcompGuestPerm(18)
  return process.openKvm()
}
const withComponents = (list: readonly CpuidEntry2[], components: number): CpuidEntry2[] =>
  list.map((entry) => (entry.function === 0xd && entry.index === 0 ? { ...entry, eax: components } : entry))

/** A vCPU of a guest with these components, of a process with permission where that is needed. */
function vcpuOf(kernel: string, components: number): VcpuFd {
  const kvm = kvmOf(kernel, (components & 0x40000) !== 0)
  const vcpu = kvm.createVm().createVcpu()
  vcpu.setCpuid2(withComponents(kvm.getSupportedCpuid(), components))
  return vcpu
}

/** KVM_SET_XSAVE of an initial image with this XSTATE_BV, changed by `edit`: `accepted` or the errno. */
function set(vcpu: VcpuFd, xstateBv: number, edit: (view: DataView) => void = () => {}): string {
  const bytes = new Uint8Array(11008)
  const view = new DataView(bytes.buffer)
  view.setUint16(0, 0x37f, true)
  view.setUint32(24, 0x1f80, true)
  view.setBigUint64(512, BigInt(xstateBv), true)
  edit(view)
  try {
    vcpu.setXsave(bytes)
  } catch (error) {
    return (error as { errno?: string }).errno ?? 'thrown'
  }
  return 'accepted'
}

describe('what KVM offers', () => {
  test.each([
    ['linux-5.15', 0, 0x2e7, 2696, 2440],
    ['linux-5.16', 0, 0x2e7, 2696, 2440],
    ['linux-5.17', 4096, 0x202e7, 2816, 2560],
    ['linux-6.1', 4096, 0x202e7, 2816, 2560],
    ['linux-6.6', 4096, 0x2e7, 2696, 2440],
    ['linux-6.12', 4096, 0x2e7, 2696, 2440],
  ])(
    'by %s without permission [XSAVE-01, XSAVE-40, XSAVE-41, XSAVE-42, XSAVE-43]',
    (kernel, cap, components, size, compacted) => {
      const kvm = kvmOf(kernel)
      expect(kvm.checkExtension('KVM_CAP_XSAVE2')).toBe(cap)
      const list = kvm.getSupportedCpuid()
      expect(findCpuid(list, 0xd, 0)).toMatchObject({ eax: components, ebx: size, ecx: size, edx: 0 })
      expect(findCpuid(list, 0xd, 1)).toMatchObject({ ebx: compacted, ecx: 0, edx: 0 })
      const present = list.filter(({ function: leaf, index }) => leaf === 0xd && index >= 2).map(({ index }) => index)
      expect(present).toEqual([2, 5, 6, 7, 9, 17, 18].filter((nr) => (components >>> nr) & 1))
    },
  )

  test.each(AMX_KERNELS)('by %s with permission: tiles, 11008 bytes [XSAVE-01, XSAVE-40, XSAVE-41, XSAVE-43]', (kernel) => {
    const kvm = kvmOf(kernel, true)
    expect(kvm.checkExtension('KVM_CAP_XSAVE2')).toBe(11008)
    const list = kvm.getSupportedCpuid()
    expect(findCpuid(list, 0xd, 0)).toMatchObject({ eax: 0x602e7, ebx: 11008, ecx: 11008 })
    expect(findCpuid(list, 0xd, 1)!.ebx).toBe(10752)
    expect(findCpuid(list, 0xd, 18)).toMatchObject({ eax: 8192, ebx: 2816, ecx: 6, edx: 0 })
  })

  test.each(AMX_KERNELS)('by %s of AMX leaves, whatever the permission [XSAVE-44, XSAVE-45]', (kernel) => {
    const list = kvmOf(kernel).getSupportedCpuid()
    expect((findCpuid(list, 7, 0)!.edx >>> 22) & 0b1101).toBe(0b1101)
    expect(findCpuid(list, 0x1d, 0)).toMatchObject({ eax: 1 })
    expect(findCpuid(list, 0x1d, 1)).toMatchObject({ eax: 0x04002000, ebx: 0x00080040, ecx: 16 })
    expect(findCpuid(list, 0x1e, 0)!.ebx).toBe(16 | (64 << 8))
  })

  test.each(KERNELS)('by %s: PKU, but no bits of run time; XSAVE instructions of KVM only [XSAVE-42, XSAVE-46]', (kernel) => {
    const list = kvmOf(kernel).getSupportedCpuid()
    expect((findCpuid(list, 7, 0)!.ecx >>> 3) & 3).toBe(1)
    expect((findCpuid(list, 1, 0)!.ecx >>> 26) & 3).toBe(1)
    expect(findCpuid(list, 0xd, 1)!.eax & ~0x1f).toBe(0)
  })

  test.each(['linux-6.1', 'linux-6.6', 'linux-6.12'])('by %s: neither SHSTK nor IBT [XSAVE-47]', (kernel) => {
    const list = kvmOf(kernel).getSupportedCpuid()
    expect((findCpuid(list, 7, 0)!.ecx >>> 7) & 1).toBe(0)
    expect((findCpuid(list, 7, 0)!.edx >>> 20) & 1).toBe(0)
  })

  test.each([
    ['SapphireRapids', 0x602e7n],
    ['GraniteRapids', 0x602e7n],
    ['Skylake-Server', 0x2e7n],
    ['EPYC-Genoa', 0x2e7n],
  ])('on %s, as XCR0 [GFPU-07, XSAVE-02]', (cpu, components) => {
    expect(testHost({ cpu }).newProcess().openKvm().supportedXcr0()).toBe(components)
  })

  test('as an attribute: others are ENXIO, a bad address is EFAULT, and 5.16 has none [XSAVE-02]', () => {
    const kvm = kvmOf('linux-6.12')
    expect(kvm.hasDeviceAttr(0, 0n)).toBe(true)
    expect(() => kvm.getDeviceAttr(0, 1n)).toThrow(/ENXIO.*XSAVE-02/)
    expect(() => kvm.getDeviceAttr(1, 0n)).toThrow(/ENXIO.*XSAVE-02/)
    const attr = new Uint8Array(24)
    expect(kvm.process.tryIoctlBytes(kvm.fd, 'KVM_GET_DEVICE_ATTR', attr)).toBe(-14)
    expect(kvmOf('linux-5.16').hasDeviceAttr(0, 0n)).toBe(false)
  })
})

describe('sizes', () => {
  test.each([
    ['linux-5.17', 2816],
    ['linux-6.1', 4096],
    ['linux-6.12', 4096],
    ['linux-6.18', 4096],
  ])('%s moves %i bytes before AMX is enabled, 11008 after [GFPU-03, XSAVE-03, XSAVE-04, XSAVE-05]', (kernel, size) => {
    const plain = vcpuOf(kernel, 0x2e7)
    const { process } = plain.vm.kvm
    const bytes = new Uint8Array(11008).fill(0xee)
    process.ioctlBytes(plain.fd, 'KVM_GET_XSAVE2', bytes)
    expect(bytes.lastIndexOf(0) + 1).toBe(size)
    expect(bytes.subarray(size).every((byte) => byte === 0xee)).toBe(true)
    expect(plain.getXsave().bytes.subarray(0, size)).toEqual(bytes.subarray(0, size))
    const amx = vcpuOf(kernel, 0x602e7)
    bytes.fill(0xee)
    amx.vm.kvm.process.ioctlBytes(amx.fd, 'KVM_GET_XSAVE2', bytes)
    expect(bytes.lastIndexOf(0) + 1).toBe(11008)
    expect(() => amx.getXsave()).toThrow(/EINVAL.*XSAVE-03/)
  })

  test('KVM_SET_XSAVE reads all of it: an unreadable tail is EFAULT and changes nothing, KVM_GET_XSAVE2 likewise [XSAVE-04, XSAVE-15, XSAVE-21]', () => {
    const vcpu = vcpuOf('linux-6.12', 0x602e7)
    const { process } = vcpu.vm.kvm
    const memory = process.allocate(0x4000)
    const image = vcpu.getXsave2()
    image.xstateBv = 3n
    image.fcw = 0x27f
    memory.write(0, image.bytes)
    process.syscall('munmap', 11, memory.address + 0x2000, 0x2000)
    const before = vcpu.getXsave2().bytes
    expect(process.tryIoctl(vcpu.fd, 'KVM_SET_XSAVE', memory.address)).toBe(-14)
    expect(vcpu.getXsave2().bytes).toEqual(before)
    expect(process.tryIoctl(vcpu.fd, 'KVM_GET_XSAVE2', memory.address)).toBe(-14)
  })

  test('KVM_GET_XSAVE2 is unknown before 5.17 [XSAVE-01]', () => {
    for (const kernel of ['linux-5.15', 'linux-5.16']) {
      const vcpu = kvmOf(kernel).createVm().createVcpu()
      expect(() => vcpu.vm.kvm.process.ioctl(vcpu.fd, 'KVM_GET_XSAVE2', 0)).toThrow(/EINVAL/)
    }
    expect(KVM_IOCTL.KVM_GET_XSAVE2 & 0xff).toBe(0xcf)
  })
})

describe('KVM_SET_XSAVE', () => {
  test.each(KERNELS)('under %s: bits, header and MXCSR [XSAVE-17, XSAVE-18, XSAVE-19, XSAVE-20]', (kernel) => {
    const strict = kernel !== 'linux-5.15'
    const vcpu = vcpuOf(kernel, 0x2e7)
    const refusedIf = (refused: boolean) => (refused ? 'EINVAL' : 'accepted')
    for (const bit of [3, 4, 8, 10, 11, 12, 19]) expect(set(vcpu, 1 << bit), `bit ${bit}`).toBe('EINVAL')
    expect(set(vcpu, 2 ** 40)).toBe('EINVAL')
    expect(set(vcpu, 0x40000)).toBe('EINVAL')
    // Without AMX for guests XTILE_CFG is outside KVM's XCR0; 5.17 binds SET to the guest's components.
    expect(set(vcpu, 0x20000)).toBe(refusedIf(['linux-5.15', 'linux-5.16', 'linux-5.17'].includes(kernel)))
    expect(set(vcpu, 3, (view) => view.setUint32(524, 0x80000000, true))).toBe(refusedIf(strict))
    expect(set(vcpu, 3, (view) => view.setUint8(528, 1))).toBe(refusedIf(strict))
    expect(set(vcpu, 3, (view) => view.setUint8(575, 1))).toBe(refusedIf(strict))
    for (const component of [1, 2, 4]) expect(set(vcpu, component, (view) => view.setUint32(24, 0x11f80, true))).toBe('EINVAL')
    expect(set(vcpu, 0x200, (view) => view.setUint32(24, 0x11f80, true))).toBe(refusedIf(!strict))
  })

  test.each([
    ['linux-5.17', 0x60000],
    ['linux-6.1.0', 0x60000],
    ['linux-6.1', 0x20000],
    ['linux-6.6', 0x20000],
    ['linux-6.12.0', 0x60000],
    ['linux-6.12', 0x20000],
    ['linux-6.18.0', 0x60000],
    ['linux-6.18', 0x20000],
  ])('under %s with XFD set: tile data stays or is dropped, tile configuration stays [XSAVE-16, GFPU-33]', (kernel, expected) => {
    const vcpu = vcpuOf(kernel, 0x602e7)
    vcpu.writeMsr(MSR_IA32_XFD, 0x40000n)
    expect(set(vcpu, 0x60000)).toBe('accepted')
    expect(vcpu.getXsave2().xstateBv).toBe(BigInt(expected))
  })

  test('a host write of XFD over loaded tiles hides nothing [XSAVE-13, GFPU-32]', () => {
    for (const kernel of ['linux-5.17', 'linux-6.12', 'linux-6.18']) {
      const vcpu = vcpuOf(kernel, 0x602e7)
      expect(set(vcpu, 0x60000, (view) => view.setUint8(2816, 0x5a))).toBe('accepted')
      vcpu.writeMsr(MSR_IA32_XFD, 0x40000n)
      expect(vcpu.getXsave2().xstateBv).toBe(0x60000n)
      expect(vcpu.getXsave2().component(18)[0]).toBe(0x5a)
      vcpu.writeMsr(MSR_IA32_XFD, 0n)
      expect(vcpu.getXsave2().component(18)[0]).toBe(0x5a)
    }
  })

  test.each(['linux-6.1', 'linux-6.6', 'linux-6.12', 'linux-6.18'])(
    'under %s data of components outside the guest is stored, and neither GET nor XCR0 shows it [XSAVE-06, XSAVE-08, XSAVE-26, XSAVE-27, XSAVE-36]',
    (kernel) => {
      const vcpu = vcpuOf(kernel, 3)
      expect(
        set(vcpu, 4, (view) => {
          view.setUint32(24, 0x1fa0, true)
          view.setUint8(576, 0x5a)
        }),
      ).toBe('accepted')
      const hidden = vcpu.getXsave2()
      expect([hidden.xstateBv, hidden.mxcsr, hidden.component(2)[0]]).toEqual([0n, 0x1f80, 0])
      expect(() => vcpu.setXcr0(7n)).toThrow(/EINVAL/)
      // The data was stored: with another CPUID it is there.
      vcpu.setCpuid2(withComponents(vcpu.vm.kvm.getSupportedCpuid(), 7))
      const shown = vcpu.getXsave2()
      expect([shown.xstateBv, shown.mxcsr, shown.component(2)[0]]).toEqual([4n, 0x1fa0, 0x5a])
    },
  )

  test.each([
    ['linux-5.15', 0],
    ['linux-5.16', 4],
    ['linux-5.17', 4],
    ['linux-6.6', 0],
    ['linux-6.18', 0],
  ])('before any CPUID, GET of %s shows what it trims to [XSAVE-14]', (kernel, expected) => {
    const vcpu = kvmOf(kernel).createVm().createVcpu()
    expect(set(vcpu, 4)).toBe('accepted')
    expect(vcpu.readXsave().xstateBv).toBe(BigInt(expected))
    expect(set(vcpu, 3)).toBe('accepted')
    expect(vcpu.readXsave().xstateBv).toBe(3n)
  })

  test('contents are not looked at [XSAVE-58]', () => {
    const vcpu = vcpuOf('linux-6.12', 0x602e7)
    const edit = (view: DataView) => {
      view.setUint16(0, 0xffff, true)
      view.setUint8(4, 0xff)
      view.setUint32(28, 0x12345678, true)
      view.setUint8(2752, 0x77)
    }
    expect(set(vcpu, 0x20003, edit)).toBe('accepted')
    const back = vcpu.getXsave2()
    expect([back.fcw, back.bytes[4], back.component(17)[0]]).toEqual([0xffff, 0xff, 0x77])
    expect(new DataView(back.bytes.buffer).getUint32(28, true)).toBe(0x12345678)
  })
})

describe('KVM_GET_FPU and KVM_SET_FPU', () => {
  test('move bytes whatever XSTATE_BV says; mxcsr is 0 and is not written [XSAVE-28, XSAVE-29]', () => {
    const vcpu = vcpuOf('linux-6.12', 0x2e7)
    expect(set(vcpu, 2, (view) => view.setUint32(24, 0x1fa0, true))).toBe('accepted')
    const fpu = vcpu.getFpu()
    expect(fpu.mxcsr).toBe(0)
    vcpu.setFpu({ ...fpu, fcw: 0x27f, mxcsr: 0x1234, xmm: new Uint8Array(256).fill(0x5a) })
    expect(vcpu.getFpu().fcw).toBe(0x27f)
    const image = vcpu.getXsave2()
    // x87 is marked initial, SSE is not.
    expect([image.xstateBv, image.fcw, image.mxcsr, image.bytes[160]]).toEqual([2n, 0x37f, 0x1fa0, 0x5a])
    vcpu.run({ maxInstructions: 1 })
    expect(vcpu.getXsave2().fcw).toBe(0x37f)
  })
})

describe('XCR0', () => {
  test('and images may be loaded in either order [XSAVE-32]', () => {
    const [one, other] = [vcpuOf('linux-6.12', 0x2e7), vcpuOf('linux-6.12', 0x2e7)]
    const ymm = (view: DataView) => view.setUint8(576, 0x5a)
    one.setXcr0(7n)
    set(one, 4, ymm)
    set(other, 4, ymm)
    other.setXcr0(7n)
    expect(one.getXsave2().bytes).toEqual(other.getXsave2().bytes)
    expect([one.getXcr0(), other.getXcr0()]).toEqual([7n, 7n])
    // Before CPUID no XCR0 but x87 is valid.
    expect(() => kvmOf('linux-6.12').createVm().createVcpu().setXcr0(7n)).toThrow(/EINVAL.*GFPU-45/)
  })

  test('stored and cleared, it leaves the image alone and its sizes in CPUID follow [GFPU-46, GFPU-47, XSAVE-50, XSAVE-51]', () => {
    for (const kernel of KERNELS.filter((name) => name !== 'linux-5.15' && name !== 'linux-5.16')) {
      const vcpu = vcpuOf(kernel, 0x602e7)
      set(vcpu, 0x40004, (view) => view.setUint8(576, 0x5a))
      const before = vcpu.getXsave2().bytes
      for (const [xcr0, standard, compacted] of [
        [1n, 576, 576],
        [7n, 832, 832],
        [0x207n, 2696, 840],
        [0x2e7n, 2696, 2440],
        [0x602e7n, 11008, 10752],
      ] as const) {
        vcpu.setXcr0(xcr0)
        const list = vcpu.getCpuid2()
        expect([findCpuid(list, 0xd, 0)!.ebx, findCpuid(list, 0xd, 1)!.ebx]).toEqual([standard, compacted])
        expect(findCpuid(list, 0xd, 0)!.ecx).toBe(11008)
        expect(vcpu.getXsave2().bytes).toEqual(before)
      }
    }
  })

  test('OSXSAVE and OSPKE follow CR4 at once [XSAVE-50, XSAVE-51]', () => {
    for (const kernel of KERNELS) {
      const vcpu = vcpuOf(kernel, 0x2e7)
      const bits = () => {
        const list = vcpu.getCpuid2()
        return [(findCpuid(list, 1, 0)!.ecx >>> 27) & 1, (findCpuid(list, 7, 0)!.ecx >>> 4) & 1]
      }
      expect(bits()).toEqual([0, 0])
      vcpu.setSregs({ ...vcpu.getSregs(), cr4: 0x440000n })
      expect(bits()).toEqual([1, 1])
      vcpu.setSregs({ ...vcpu.getSregs(), cr4: 0n })
      expect(bits()).toEqual([0, 0])
    }
  })
})

describe('CPUID after the vCPU has run', () => {
  test.each([
    ['linux-5.15', 'accepted', 'accepted'],
    ['linux-5.16', 'EINVAL', 'EINVAL'],
    ['linux-5.17', 'accepted', 'EINVAL'],
    ['linux-6.12', 'accepted', 'EINVAL'],
    ['linux-6.18', 'accepted', 'EINVAL'],
  ])('under %s the same list is %s, another is %s [XSAVE-49, XSAVE-52]', (kernel, same, another) => {
    const vcpu = vcpuOf(kernel, 0x2e7)
    vcpu.run({ maxInstructions: 1 })
    const list = vcpu.getCpuid2()
    const attempt = (given: CpuidEntry2[]) => {
      try {
        vcpu.setCpuid2(given)
      } catch (error) {
        return (error as { errno?: string }).errno
      }
      return 'accepted'
    }
    expect(attempt(list)).toBe(same)
    expect(attempt(withComponents(list, 7))).toBe(another)
    const small = new Uint8Array(8 + 40)
    small[0] = 1
    expect(vcpu.vm.kvm.process.tryIoctlBytes(vcpu.fd, 'KVM_GET_CPUID2', small)).toBe(-7)
  })

  test('what is loaded already is not checked again [GFPU-41, GFPU-52]', () => {
    const vcpu = vcpuOf('linux-6.12', 0x602e7)
    vcpu.setXcr0(0x602e7n)
    vcpu.writeMsr(MSR_IA32_XFD, 0x40000n)
    vcpu.setCpuid2(withComponents(vcpu.getCpuid2(), 3))
    expect(vcpu.getXcr0()).toBe(0x602e7n)
    expect(vcpu.readMsr(MSR_IA32_XFD)).toBe(0x40000n)
    expect(() => vcpu.setXcr0(7n)).toThrow(/EINVAL/)
    expect(() => vcpu.getXsave()).toThrow(/EINVAL.*XSAVE-03/)
  })
})

describe('MSRs', () => {
  test.each(['linux-5.17', 'linux-6.1', 'linux-6.6', 'linux-6.12'])(
    'of %s: IA32_XSS takes 0 only [XSAVE-55, XSAVE-57]',
    (kernel) => {
      const vcpu = vcpuOf(kernel, 0x2e7)
      expect(vcpu.setMsrs([{ index: MSR_IA32_XSS, data: 0n }])).toBe(1)
      for (const bit of [8n, 11n, 12n]) expect(vcpu.setMsrs([{ index: MSR_IA32_XSS, data: 1n << bit }])).toBe(0)
      expect(vcpu.readMsr(MSR_IA32_XSS)).toBe(0n)
      expect(vcpu.vm.kvm.getMsrIndexList()).not.toContain(MSR_IA32_XSS)
      expect(vcpu.vm.kvm.getMsrIndexList()).toContain(MSR_IA32_XFD)
    },
  )

  test('XFD of a host without it: not listed, 0 for the host, which may write 0 [XSAVE-56, XSAVE-57]', () => {
    const kvm = testHost({ cpu: 'Skylake-Server' }).newProcess().openKvm()
    const vcpu = kvm.createVm().createVcpu()
    expect(kvm.getMsrIndexList()).not.toContain(MSR_IA32_XFD)
    expect(vcpu.readMsr(MSR_IA32_XFD)).toBe(0n)
    expect(vcpu.setMsrs([{ index: MSR_IA32_XFD, data: 0n }])).toBe(1)
    expect(vcpu.setMsrs([{ index: MSR_IA32_XFD, data: 0x40000n }])).toBe(0)
  })
})
