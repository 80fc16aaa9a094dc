import { describe, expect, test } from 'vitest'
import { XFEATURE_YMM } from '../../src/isa/xfeatures.ts'
import { findCpuid } from '../../src/vmm/cpuid-list.ts'
import { KvmError, ProcessDied } from '../../src/vmm/errors.ts'
import type { VcpuFd } from '../../src/vmm/vcpu-fd.ts'
import type { XsaveImage } from '../../src/vmm/xsave-image.ts'
import { testHost } from './hosts.ts'

/** The migration scenarios M1..M10 of XSAVE §5, and tile data under an armed XFD, kernel by kernel. */
const CLIENT = 'SapphireRapids,-avx512f,-amx-tile,-enqcmd,-arch-lbr'
const [E1, E2, E3] = ['linux-5.16', 'linux-5.17', 'linux-6.6.0']
const DROP = 'proposal:set-xsave-silent-drop'
const XFD = 0x1c4

/** A vCPU in real mode before two NOPs, with `xcr0` in its CPUID. */
function vcpuOn(kernel: string, xcr0: number, cpu = CLIENT, options: { cpuid?: boolean; permission?: boolean } = {}): VcpuFd {
  const process = testHost({ kernel, cpu }).newProcess()
  const kvm = process.openKvm()
  if (options.permission) process.archPrctl.reqXcompGuestPerm(18)
  const vm = kvm.createVm()
  const memory = process.allocate(0x10000)
  vm.setUserMemoryRegion({ slot: 0, guestPhysAddr: 0, memory })
  memory.write(0, new Uint8Array(16).fill(0x90))
  const vcpu = vm.createVcpu()
  if (options.cpuid !== false) setCpuid(vcpu, xcr0)
  const sregs = vcpu.getSregs()
  vcpu.setSregs({ ...sregs, cs: { ...sregs.cs, base: 0n, selector: 0 } })
  vcpu.setRegs({ ...vcpu.getRegs(), rip: 0n })
  return vcpu
}
function setCpuid(vcpu: VcpuFd, xcr0: number): void {
  const cpuid = vcpu.vm.kvm.getSupportedCpuid()
  findCpuid(cpuid, 0xd, 0)!.eax = xcr0
  vcpu.setCpuid2(cpuid)
}
/** FP, SSE and YMM data in the vCPU, which then runs an instruction. */
function withData(vcpu: VcpuFd): VcpuFd {
  const image = vcpu.getXsave()
  image.xstateBv |= 7n
  image.bytes.fill(0x11, 160, 416)
  image.component(XFEATURE_YMM).fill(0x22)
  vcpu.setXsave(image)
  vcpu.run({ maxInstructions: 1 })
  return vcpu
}
function set(vcpu: VcpuFd, image: XsaveImage): string {
  try {
    vcpu.setXsave(image)
    return 'done'
  } catch (error) {
    return error instanceof KvmError ? error.errno : 'not a KvmError'
  }
}

describe('F, PKRU, that the guest never had', () => {
  const leaked = (): XsaveImage => withData(vcpuOn(E1, 7)).getXsave()

  test('5.16 leaks it from GET: the PKRU of the host thread was in the registers [XSAVE-34]', () => {
    expect(leaked().xstateBv & 0x200n).toBe(0x200n)
    for (const kernel of ['linux-5.15', E2, E3]) expect(withData(vcpuOn(kernel, 7)).getXsave().xstateBv & 0x200n, kernel).toBe(0n)
  })

  test('M1: an E3 host takes the snapshot, does not show it to the guest, and trims it on the way on [XSAVE-36, XSAVE-37]', () => {
    const target = vcpuOn(E3, 7)
    expect(set(target, leaked())).toBe('done')
    target.run({ maxInstructions: 1 })
    const onward = target.getXsave()
    expect(onward.xstateBv & 0x204n).toBe(4n)
    expect(onward.component(XFEATURE_YMM).every((byte) => byte === 0x22)).toBe(true)
    expect(set(vcpuOn(E3, 7, `${CLIENT},-pku`), onward)).toBe('done')
  })

  test('M2: an E2 host refuses it: the reported bug; before KVM_SET_CPUID2 it does not [XSAVE-33, XSAVE-35]', () => {
    const target = vcpuOn(E2, 7)
    expect(set(target, leaked())).toBe('EINVAL')
    expect(target.getXsave().xstateBv).toBe(0n)
    expect(set(vcpuOn(E2, 7, CLIENT, { cpuid: false }), leaked())).toBe('done')
  })

  test('M3: an E3 host without F refuses it, and only user space can clear the bit [XSAVE-37]', () => {
    const target = vcpuOn(E3, 7, `${CLIENT},-pku`)
    const image = leaked()
    expect(set(target, image)).toBe('EINVAL')
    image.xstateBv &= ~0x200n
    expect(set(target, image)).toBe('done')
  })

  test('M4: what E0, E2 and E3 give is trimmed already [XSAVE-36]', () => {
    for (const kernel of ['linux-5.15', E2, E3])
      expect(set(vcpuOn(E3, 7, `${CLIENT},-pku`), withData(vcpuOn(kernel, 7)).getXsave()), kernel).toBe('done')
  })
})

describe('X, YMM, that the guest has and the target lost', () => {
  const LOST = `${CLIENT},-avx`

  test('M5: KVM_SET_CPUID2 succeeds, KVM_SET_XSAVE and KVM_SET_XCRS refuse [XSAVE-36]', () => {
    const target = vcpuOn(E3, 7, LOST)
    expect(set(target, withData(vcpuOn(E3, 7)).getXsave())).toBe('EINVAL')
    expect(() => target.setXcr0(7n)).toThrow(/EINVAL/)
  })

  test('M6: with the silent drop KVM_SET_XSAVE succeeds, and the guest has lost its YMM registers [XSAVE-36]', () => {
    const image = withData(vcpuOn(E3, 7)).getXsave()
    const target = vcpuOn(DROP, 7, LOST)
    expect(set(target, image)).toBe('done')
    const after = target.getXsave()
    expect(after.xstateBv).toBe(image.xstateBv & ~4n)
    expect(after.bytes.subarray(160, 416)).toEqual(image.bytes.subarray(160, 416))
    expect(after.bytes.subarray(576, 832).every((byte) => byte === 0)).toBe(true)
    expect(() => target.setXcr0(7n)).toThrow(/EINVAL/)
  })

  test('the silent drop is what was asked for: a snapshot of an E1 host loads where F does not exist [XSAVE-36]', () => {
    const leaked = withData(vcpuOn(E1, 7)).getXsave()
    expect(set(vcpuOn(DROP, 7, `${CLIENT},-pku`), leaked)).toBe('done')
  })

  test('M7: in its initial state X does not stand in the way of the data, but of XCR0 [XSAVE-36]', () => {
    const source = vcpuOn(E3, 7)
    const image = source.getXsave()
    image.xstateBv = 3n
    const target = vcpuOn(E3, 7, LOST)
    expect(set(target, image)).toBe('done')
    expect(() => target.setXcr0(7n)).toThrow(/EINVAL/)
  })
})

describe('tile data', () => {
  const AMX = 0x602e7
  const amx = (kernel: string): VcpuFd => vcpuOn(kernel, AMX, 'SapphireRapids', { permission: true })
  const tiles = (vcpu: VcpuFd): XsaveImage => {
    const image = vcpu.getXsave2()
    image.xstateBv |= 0x60000n
    image.component(18).fill(0x5a)
    return image
  }

  test('M8: without permission KVM_SET_CPUID2 refuses, before any data [GFPU-42, GFPU-43]', () => {
    expect(() => vcpuOn(E3, AMX, 'SapphireRapids')).toThrow(/EPERM/)
  })

  test('M9: XSAVE before CPUID is refused with tile data, and lost at KVM_SET_CPUID2 without [GFPU-40]', () => {
    const image = tiles(amx(E3))
    const target = vcpuOn(E3, AMX, 'SapphireRapids', { permission: true, cpuid: false })
    expect(set(target, image)).toBe('EINVAL')
    image.xstateBv = 2n
    image.bytes.fill(0x11, 160, 416)
    expect(set(target, image)).toBe('done')
    setCpuid(target, AMX)
    expect(target.getXsave2().xstateBv).toBe(0n)
    expect(target.getFpu().fcw).toBe(0)
  })

  /** KVM_RUN, or why there is no process any more. */
  const runs = (vcpu: VcpuFd): string => {
    try {
      return vcpu.run({ maxInstructions: 1 }).reason
    } catch (error) {
      return error instanceof ProcessDied ? 'oops' : String(error)
    }
  }

  test.each([
    ['linux-5.17', 'oops'],
    ['linux-6.1.0', 'oops'],
    ['linux-6.1', 'interrupted'],
    ['linux-6.6.0', 'oops'],
    ['linux-6.6', 'interrupted'],
    ['linux-6.12.0', 'oops'],
    ['linux-6.12', 'interrupted'],
    ['linux-6.18.0', 'oops'],
    ['linux-6.18', 'interrupted'],
  ])('M10, XFD first: %s %s [GFPU-33, GFPU-51, GFPU-53]', (kernel, outcome) => {
    const vcpu = amx(kernel)
    const image = tiles(vcpu)
    vcpu.writeMsr(XFD, 0x40000n)
    expect(set(vcpu, image)).toBe('done')
    expect((vcpu.getXsave2().xstateBv & 0x40000n) !== 0n).toBe(outcome === 'oops')
    expect(runs(vcpu)).toBe(outcome)
  })

  test.each(['linux-5.17', 'linux-6.1', 'linux-6.6', 'linux-6.12', 'linux-6.18'])(
    'M10, XSAVE first: %s oopses [GFPU-32, GFPU-51, GFPU-53]',
    (kernel) => {
      const vcpu = amx(kernel)
      vcpu.setXsave(tiles(vcpu))
      vcpu.writeMsr(XFD, 0x40000n)
      expect(vcpu.getXsave2().xstateBv & 0x40000n).toBe(0x40000n)
      expect(runs(vcpu)).toBe('oops')
    },
  )

  test('XFD back to 0 before KVM_RUN: the tiles are usable again [GFPU-32, GFPU-53]', () => {
    const vcpu = amx('linux-6.12')
    vcpu.setXsave(tiles(vcpu))
    vcpu.writeMsr(XFD, 0x40000n)
    vcpu.writeMsr(XFD, 0n)
    expect(runs(vcpu)).toBe('interrupted')
    expect(
      vcpu
        .getXsave2()
        .component(18)
        .every((byte) => byte === 0x5a),
    ).toBe(true)
  })

  test('a kernel that always clears has no oops, and no tiles either [GFPU-32]', () => {
    const vcpu = amx('variant:xfd-write-clears')
    vcpu.setXsave(tiles(vcpu))
    vcpu.writeMsr(XFD, 0x40000n)
    expect(vcpu.getXsave2().xstateBv & 0x60000n).toBe(0x20000n)
    expect(runs(vcpu)).toBe('interrupted')
  })
})
