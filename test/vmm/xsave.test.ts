import { describe, expect, it } from 'vitest'
import type { VcpuFd } from '../../src/vmm/vcpu-fd.ts'
import { XsaveImage } from '../../src/vmm/xsave-image.ts'
import { amxVcpu, plainVcpu } from './hosts.ts'

const YMM = 2
const XTILE_CFG = 17
const XTILE_DATA = 18
const bit = (nr: number): bigint => 1n << BigInt(nr)

/** Sets `change` on a copy of the vCPU's image, expects a refusal, and that nothing has changed [XSAVE-21]. */
function refusedUnchanged(vcpu: VcpuFd, change: (image: XsaveImage) => void, message: RegExp): void {
  const before = vcpu.getXsave2()
  const bad = before.clone()
  change(bad)
  expect(() => vcpu.setXsave(bad)).toThrow(message)
  expect(vcpu.getXsave2().bytes).toEqual(before.bytes)
}

/** An image whose every component holds a pattern of its own. */
function patterned(vcpu: VcpuFd): XsaveImage {
  const image = vcpu.getXsave2()
  image.bytes.fill(0, 0, 464)
  image.fcw = 0x27f
  image.mxcsr = 0x1fa0
  image.bytes.fill(0x11, 32, 42)
  image.bytes.fill(0x22, 160, 416)
  image.xstateBv = 3n
  for (const { nr } of image.geometry.components) {
    image.component(nr).fill(nr)
    image.xstateBv |= bit(nr)
  }
  return image
}

describe('KVM_GET_XSAVE2 and KVM_SET_XSAVE', () => {
  it('give back every component that was loaded [XSAVE-06, XSAVE-22]', () => {
    const vcpu = amxVcpu()
    const image = patterned(vcpu)
    vcpu.setXsave(image)
    const back = vcpu.getXsave2()
    expect(back.xstateBv).toBe(0x602e7n)
    for (const { nr, name } of image.geometry.components) {
      // PKRU is a field of the vCPU: its first four bytes are kept (XSAVE-11).
      const expected = name === 'PKRU' ? [9, 9, 9, 9, 0, 0, 0, 0] : [...image.component(nr)]
      expect([...back.component(nr)], name).toEqual(expected)
    }
    expect(back.bytes.subarray(0, 416)).toEqual(
      Uint8Array.from(image.bytes.subarray(0, 416), (byte, at) => (at >= 28 && at < 32 ? back.bytes[at] : byte)),
    )
  })

  it('leave out components that the header does not name: they become initial [XSAVE-23]', () => {
    const vcpu = amxVcpu()
    vcpu.setXsave(patterned(vcpu))
    const image = patterned(vcpu)
    image.xstateBv &= ~bit(XTILE_DATA)
    vcpu.setXsave(image)
    const back = vcpu.getXsave2()
    expect(back.has(XTILE_DATA)).toBe(false)
    expect(back.component(XTILE_DATA).every((byte) => byte === 0)).toBe(true)
  })

  it('refuse a component the host does not have, and change nothing [XSAVE-17, XSAVE-21]', () => {
    const vcpu = amxVcpu()
    vcpu.setXsave(patterned(vcpu))
    refusedUnchanged(vcpu, (image) => (image.xstateBv |= bit(19)), /EINVAL: KVM_SET_XSAVE: .*XSAVE-17/)
    refusedUnchanged(vcpu, (image) => (image.xstateBv |= bit(62)), /EINVAL.*XSAVE-17/)
  })

  it('refuse tile data of a vCPU whose CPUID has not enabled it, but not the tile configuration [XSAVE-18]', () => {
    const vcpu = plainVcpu()
    refusedUnchanged(vcpu, (image) => (image.xstateBv |= bit(XTILE_DATA)), /EINVAL.*XSAVE-18/)
    const image = vcpu.getXsave2()
    image.xstateBv |= bit(XTILE_CFG)
    vcpu.setXsave(image)
  })

  it('refuse a compacted image, reserved header bytes and reserved MXCSR bits [XSAVE-19, XSAVE-20, XSAVE-21]', () => {
    const vcpu = amxVcpu()
    vcpu.setXsave(patterned(vcpu))
    refusedUnchanged(vcpu, (image) => (image.xcompBv = bit(63)), /EINVAL.*XSAVE-19/)
    for (const at of [528, 575]) refusedUnchanged(vcpu, (image) => (image.bytes[at] = 1), /EINVAL.*XSAVE-19/)
    refusedUnchanged(vcpu, (image) => (image.mxcsr = 0x10000), /EINVAL.*XSAVE-20/)
  })

  it('do not look at MXCSR when no component needs it [XSAVE-20]', () => {
    const vcpu = amxVcpu()
    const image = vcpu.getXsave2()
    image.xstateBv = bit(XTILE_CFG)
    image.mxcsr = 0xffff0000
    vcpu.setXsave(image)
    expect(vcpu.getXsave2().mxcsr).toBe(0x1f80)
  })

  it('move 4096 bytes until CPUID enables AMX, whatever KVM_CAP_XSAVE2 says [XSAVE-05]', () => {
    const vcpu = plainVcpu({ permission: true })
    expect(vcpu.xsaveSize).toBe(11008)
    const image = vcpu.getXsave2()
    expect(image.bytes.length).toBe(11008)
    expect(image.bytes.subarray(4096).every((byte) => byte === 0)).toBe(true)
    expect(vcpu.getXsave().bytes).toEqual(image.bytes.subarray(0, 4096))
  })

  it('KVM_GET_XSAVE fails once AMX is enabled [XSAVE-03]', () => {
    expect(() => amxVcpu().getXsave()).toThrow(/EINVAL: KVM_GET_XSAVE: .*XSAVE-03/)
  })

  it('name the components of the host in bytes 464..471 [XSAVE-10]', () => {
    expect(plainVcpu().getXsave2().hostComponents).toBe(0x602e7n)
  })
})

describe('XsaveImage', () => {
  it('has at least a legacy region and a header', () => {
    expect(() => new XsaveImage(new Uint8Array(575))).toThrow(RangeError)
  })
  it('says which components are not initial', () => {
    const image = plainVcpu().getXsave2()
    image.xstateBv = 7n | bit(XTILE_DATA)
    expect(image.present).toEqual([0, 1, 2, 18])
    expect(image.presentNames).toBe('FP SSE YMM XTILE_DATA')
  })
  it('gives live bytes of a component where its processor has it', () => {
    const image = amxVcpu().getXsave2()
    image.component(XTILE_DATA)[0] = 0x77
    expect(image.bytes[2816]).toBe(0x77)
    expect(image.component(YMM).byteOffset - image.bytes.byteOffset).toBe(576)
    expect(() => image.component(19)).toThrow(/no component 19/)
    expect(() => new XsaveImage(new Uint8Array(4096), image.geometry).component(XTILE_DATA)).toThrow(
      /XTILE_DATA ends at byte 11008/,
    )
  })
})
