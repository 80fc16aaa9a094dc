import { describe, expect, test } from 'vitest'
import {
  allocateGuestFpu,
  copyGuestFpuToUabi,
  enableGuestFeatures,
  ensureRegistersLoaded,
  type GuestFpu,
  guestPermission,
  guestXfd,
  isLoaded,
  loadGuestFpu,
  putGuestFpu,
  setConfidential,
  uabiSize,
  updateGuestXfd,
  userFeatures,
} from '../../../src/linux/fpu/door.ts'
import type { FpState } from '../../../src/linux/fpu/fpstate.ts'
import { kernelFpuBegin, kernelFpuEnd } from '../../../src/linux/fpu/kernel-fpu.ts'
import { HostOops } from '../../../src/linux/oops.ts'
import { pinnedProcessor } from '../../../src/linux/processor.ts'
import { MXCSR } from '../../../src/machine/memory-map.ts'
import { bootHost, CallingProcess } from '../host.ts'

/** What is behind the handle: only these tests of linux/fpu itself look there. */
const imageOf = (fpu: GuestFpu): FpState => (fpu as unknown as { fpstate: FpState }).fpstate
const XMM0 = 0x400

function vcpu(profile: string, cpuid = 0, cpu = 'SapphireRapids') {
  const kernel = bootHost({ profile, cpu })
  const process = new CallingProcess(kernel)
  if (cpuid !== 0) process.call(158, 0x1025, 18)
  const fpu = allocateGuestFpu(process.task)!
  if (cpuid !== 0) enableGuestFeatures(process.task, fpu, cpuid)
  return { kernel, process, cpu: pinnedProcessor(kernel.cpus[0]), fpu, image: imageOf(fpu) }
}

describe('the image of a new vCPU on Sapphire Rapids', () => {
  // Components: what PERM-01 gives each kernel; sizes by PERM-06. PASID (bit 10) from 5.18, CET_U (11) from 6.6, CET_S (12) 6.17.
  test.each([
    ['linux-5.15', 0x2e7, 2440, 0x2e7, 4096],
    ['linux-5.16', 0x202e7, 2560, 0x202e7, 4096],
    ['linux-5.17', 0x202e7, 2560, 0x202e7, 2816],
    ['linux-6.1', 0x206e7, 2560, 0x202e7, 4096],
    ['linux-6.6', 0x20ee7, 2560, 0x202e7, 4096],
    ['linux-6.12', 0x20ee7, 2560, 0x202e7, 4096],
    ['linux-6.18', 0x21ee7, 2560, 0x202e7, 4096],
  ])(
    'under %s: components, sizes, XFD and XCOMP_BV [GFPU-01, GFPU-02, GFPU-03, GFPU-06]',
    (profile, features, size, user, uabi) => {
      const { kernel, fpu, image } = vcpu(profile)
      expect(image.xfeatures).toBe(features)
      expect(image.size).toBe(size)
      expect(image.xcompBv).toBe(features)
      expect(kernel.machine.mem.i32[(image.image + 524) >> 2]).toBe(0x80000000 | 0)
      expect(image.xstateBv).toBe(0)
      expect(userFeatures(fpu)).toBe(user)
      expect(uabiSize(fpu)).toBe(uabi)
      expect(guestXfd(fpu)).toBe(0)
      expect(kernel.machine.mem.u16[image.image >> 1]).toBe(0x37f)
      expect(kernel.machine.mem.i32[(image.image + 24) >> 2]).toBe(0x1f80)
    },
  )

  test.each([
    ['linux-5.17', 0x602e7],
    ['linux-6.1', 0x606e7],
    ['linux-6.12', 0x60ee7],
    ['linux-6.18', 0x61ee7],
  ])('under %s once CPUID has AMX [GFPU-02, GFPU-39]', (profile, features) => {
    const { fpu } = vcpu(profile, 0x602e7)
    const image = imageOf(fpu)
    expect(image.xfeatures).toBe(features)
    expect(image.size).toBe(10752)
    expect(image.xcompBv).toBe(features)
    expect(userFeatures(fpu)).toBe(0x602e7)
    expect(uabiSize(fpu)).toBe(11008)
    expect(guestXfd(fpu)).toBe(0)
  })
})

describe('what a process may give its guests and what a vCPU has space for', () => {
  test('are two masks: permission changes no image, and an image that grew changes no other [GFPU-38]', () => {
    const { process } = vcpu('linux-6.12')
    const { kernel } = process
    // The first vCPU has locked this process's permission; another process asks first.
    process.leave()
    const asked = new CallingProcess(kernel)
    asked.call(158, 0x1025, 18)
    const [one, other] = [allocateGuestFpu(asked.task)!, allocateGuestFpu(asked.task)!]
    expect(guestPermission(asked.task) & 0x40000).toBe(0x40000)
    expect([imageOf(one).xfeatures & 0x40000, userFeatures(one) & 0x40000]).toEqual([0, 0])
    expect(enableGuestFeatures(asked.task, one, 0x602e7)).toBe(0)
    expect([imageOf(one).xfeatures & 0x40000, imageOf(other).xfeatures & 0x40000]).toEqual([0x40000, 0])
    expect([uabiSize(one), uabiSize(other)]).toEqual([11008, 4096])
  })
})

describe('a confidential image', () => {
  test('is neither filled from registers nor loaded into them; XFD alone follows it [GFPU-22, GFPU-25]', () => {
    const v = vcpu('linux-6.12', 0x602e7)
    const { mem } = v.kernel.machine
    const xmm0 = (v.cpu.processor.registerFile + XMM0) >> 2
    setConfidential(v.fpu)
    ensureRegistersLoaded(v.cpu)
    mem.i32[xmm0] = 0x1111
    loadGuestFpu(v.cpu, v.fpu)
    // Nothing was loaded: what the thread had is still there, and safe in its own buffer.
    expect(mem.i32[xmm0]).toBe(0x1111)
    expect(v.cpu.processor.xfd).toBe(0)
    mem.i32[xmm0] = 0x2222
    putGuestFpu(v.cpu, v.fpu)
    expect(mem.i32[xmm0]).toBe(0x1111)
    expect(v.cpu.processor.xfd).toBe(0x40000)
    expect(imageOf(v.fpu).xstateBv).toBe(0)
  })

  test('takes what preemption saves, so that nothing needs a special case [GFPU-25]', () => {
    const v = vcpu('linux-6.12')
    setConfidential(v.fpu)
    loadGuestFpu(v.cpu, v.fpu)
    kernelFpuBegin(v.cpu, false)
    kernelFpuEnd(v.cpu)
    v.kernel.scheduler.leave(v.cpu, v.process.task)
    v.kernel.scheduler.switchTo(v.kernel.cpus[1], v.process.task)
    putGuestFpu(pinnedProcessor(v.kernel.cpus[1]), v.fpu)
    expect(isLoaded(v.fpu)).toBe(false)
  })
})

describe('registers that are still there', () => {
  test('are not loaded again on the same processor with the same owner [GFPU-14]', () => {
    const v = vcpu('linux-6.12')
    loadGuestFpu(v.cpu, v.fpu)
    v.kernel.scheduler.leave(v.cpu, v.process.task)
    v.kernel.scheduler.switchTo(v.kernel.cpus[0], v.process.task)
    const before = v.kernel.costs.snapshot()
    ensureRegistersLoaded(v.cpu)
    expect(v.kernel.costs.since(before).xrstor.executed).toBe(0)
    expect(v.process.task.fpu.needLoad).toBe(false)
    // After the kernel's own use nobody owns them.
    kernelFpuBegin(v.cpu, false)
    kernelFpuEnd(v.cpu)
    ensureRegistersLoaded(v.cpu)
    expect(v.kernel.costs.since(before).xrstor.executed).toBe(1)
  })

  test('the kernel starts its own use with MXCSR 0x1F80 [GFPU-13]', () => {
    const v = vcpu('linux-6.12')
    loadGuestFpu(v.cpu, v.fpu)
    v.cpu.processor.setMxcsr(0x1fa0)
    kernelFpuBegin(v.cpu, true)
    expect(v.kernel.machine.mem.i32[(v.cpu.processor.registerFile + MXCSR) >> 2]).toBe(0x1f80)
    kernelFpuEnd(v.cpu)
    ensureRegistersLoaded(v.cpu)
    expect(v.kernel.machine.mem.i32[(v.cpu.processor.registerFile + MXCSR) >> 2]).toBe(0x1fa0)
  })
})

describe('a swap out of turn', () => {
  test("a second load loses the thread's own registers without a word [GFPU-16]", () => {
    const v = vcpu('linux-6.12')
    const lines = v.kernel.log.lines.length
    loadGuestFpu(v.cpu, v.fpu)
    loadGuestFpu(v.cpu, v.fpu)
    putGuestFpu(v.cpu, v.fpu)
    expect(v.process.task.fpu.fpstate === v.image).toBe(true)
    expect(v.kernel.log.lines.length).toBe(lines)
    expect(() => putGuestFpu(v.cpu, v.fpu)).toThrow(HostOops)
  })
})

describe('XFD written while the registers are live', () => {
  test('reaches the processor at once, and the component is initial in the next save [GFPU-27, GFPU-32]', () => {
    const v = vcpu('linux-6.12', 0x602e7)
    const bytes = new Uint8Array(uabiSize(v.fpu))
    imageOf(v.fpu).xstateBv = 0x60000
    v.kernel.machine.mem.u8[imageOf(v.fpu).image + 2560] = 1
    loadGuestFpu(v.cpu, v.fpu)
    updateGuestXfd(v.cpu, v.fpu, 0x40000)
    expect(v.cpu.processor.xfd).toBe(0x40000)
    putGuestFpu(v.cpu, v.fpu)
    copyGuestFpuToUabi(v.fpu, bytes, 0, bytes.length, 0x602e7, 0)
    expect(new DataView(bytes.buffer).getUint32(512, true) & 0x40000).toBe(0)
  })
})
