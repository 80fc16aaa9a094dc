import { describe, expect, test } from 'vitest'
import { oopsInTask } from '../../../src/linux/entry/oops.ts'
import {
  allocateGuestFpu,
  copyGuestFpuToUabi,
  copyUabiToGuestFpu,
  enableGuestFeatures,
  ensureRegistersLoaded,
  freeGuestFpu,
  type GuestFpu,
  guestXfd,
  isLoaded,
  loadGuestFpu,
  putGuestFpu,
  readLegacyRegion,
  uabiSize,
  updateGuestXfd,
  userFeatures,
} from '../../../src/linux/fpu/door.ts'
import { kernelFpuBegin, kernelFpuEnd } from '../../../src/linux/fpu/kernel-fpu.ts'
import { newFxsaveFields } from '../../../src/linux/fpu/legacy-fields.ts'
import type { Kernel } from '../../../src/linux/kernel.ts'
import { HostOops } from '../../../src/linux/oops.ts'
import { type PinnedProcessor, pinnedProcessor } from '../../../src/linux/processor.ts'
import { bootHost, CallingProcess, E } from '../host.ts'

const REQ_GUEST_PERM = 0x1025
const HOST_KVM_SET = 0x602e7
const XTILE_DATA = 0x40000

interface Vcpu {
  kernel: Kernel
  process: CallingProcess
  cpu: PinnedProcessor
  fpu: GuestFpu
}

function vcpu(options: { permission?: boolean; profile?: string; cpu?: string } = {}): Vcpu {
  const kernel = bootHost({ profile: options.profile ?? 'linux-6.12', cpu: options.cpu ?? 'SapphireRapids' })
  const process = new CallingProcess(kernel)
  if (options.permission) process.call(158, REQ_GUEST_PERM, 18)
  return { kernel, process, cpu: pinnedProcessor(kernel.cpus[0]), fpu: allocateGuestFpu(process.task)! }
}

function get(v: Vcpu, trim = HOST_KVM_SET, pkru = 0): DataView {
  const bytes = new Uint8Array(uabiSize(v.fpu))
  copyGuestFpuToUabi(v.fpu, bytes, 0, bytes.length, trim | 3, pkru)
  return new DataView(bytes.buffer)
}

/** A standard image with this XSTATE_BV, changed by `edit`. */
function image(v: Vcpu, xstateBv: number, edit: (view: DataView) => void = () => {}): Uint8Array {
  const bytes = new Uint8Array(uabiSize(v.fpu))
  const view = new DataView(bytes.buffer)
  view.setUint16(0, 0x37f, true)
  view.setUint32(24, 0x1f80, true)
  view.setUint32(512, xstateBv, true)
  edit(view)
  return bytes
}

function set(v: Vcpu, xstateBv: number, edit?: (view: DataView) => void) {
  return copyUabiToGuestFpu(v.fpu, image(v, xstateBv, edit), 0, HOST_KVM_SET)
}

describe('a fresh vCPU image', () => {
  test('is default-sized, initial, with XFD 0 [GFPU-01, GFPU-02, GFPU-03]', () => {
    const before = bootHost()
    const heap = before.heap.bytesInUse
    const process = new CallingProcess(before)
    const withTask = before.heap.bytesInUse
    const fpu = allocateGuestFpu(process.task)!
    expect(before.heap.bytesInUse - withTask).toBe(64 + 2560)
    expect(withTask - heap).toBe(64 + 2560)
    expect(uabiSize(fpu)).toBe(4096)
    expect(userFeatures(fpu)).toBe(0x202e7)
    expect(guestXfd(fpu)).toBe(0)
    freeGuestFpu(fpu)
    expect(before.heap.bytesInUse).toBe(withTask)
  })
  test('GET shows init values and the host mask [XSAVE-08, XSAVE-10]', () => {
    const view = get(vcpu())
    expect(view.getUint32(512, true)).toBe(0)
    expect(view.getUint16(0, true)).toBe(0x37f)
    expect(view.getUint32(24, true)).toBe(0x1f80)
    expect(view.getUint32(28, true)).toBe(0xffff)
    expect(view.getUint32(464, true)).toBe(0x602e7)
  })
})

describe('enabling dynamic components [GFPU-39..43]', () => {
  test('without permission: EPERM, nothing changes', () => {
    const v = vcpu()
    expect(enableGuestFeatures(v.process.task, v.fpu, HOST_KVM_SET)).toBe(-E.EPERM)
    expect(v.process.task.refusal?.rule).toBe('GFPU-39')
    expect(uabiSize(v.fpu)).toBe(4096)
  })
  test('with permission: 11008 bytes, one way', () => {
    const v = vcpu({ permission: true })
    const before = v.kernel.heap.bytesInUse
    expect(enableGuestFeatures(v.process.task, v.fpu, HOST_KVM_SET)).toBe(0)
    expect(uabiSize(v.fpu)).toBe(11008)
    expect(userFeatures(v.fpu)).toBe(0x602e7)
    expect(v.kernel.heap.bytesInUse - before).toBe(10752 - 2560)
    expect(enableGuestFeatures(v.process.task, v.fpu, 0x2e7)).toBe(0)
    expect(uabiSize(v.fpu)).toBe(11008)
  })
  test('drops what was loaded before; FCW reads 0 raw and 0x37F by GET [GFPU-40]', () => {
    const v = vcpu({ permission: true })
    expect(set(v, 3, (view) => view.setUint16(0, 0x27f, true)).status).toBe(0)
    enableGuestFeatures(v.process.task, v.fpu, HOST_KVM_SET)
    const fields = newFxsaveFields()
    readLegacyRegion(v.fpu, fields)
    expect(fields.fcw).toBe(0)
    expect(get(v).getUint16(0, true)).toBe(0x37f)
  })
  test('XTILE_DATA on a host without AMX: EPERM, not EINVAL [GFPU-42]', () => {
    const v = vcpu({ cpu: 'Skylake-Server' })
    expect(enableGuestFeatures(v.process.task, v.fpu, XTILE_DATA)).toBe(-E.EPERM)
  })
})

describe('loading a user image', () => {
  test.each([
    ['a component the host KVM lacks', 0x800, undefined, 'XSAVE-17'],
    ['XTILE_DATA without room', XTILE_DATA, undefined, 'XSAVE-18'],
    ['XCOMP_BV bit 63', 3, (view: DataView) => view.setUint32(524, 0x80000000, true), 'XSAVE-19'],
    ['the last reserved header byte', 3, (view: DataView) => view.setUint8(575, 1), 'XSAVE-19'],
    ['MXCSR bit 16 with FP', 1, (view: DataView) => view.setUint32(24, 0x11f80, true), 'XSAVE-20'],
  ])('%s is EINVAL and changes nothing [XSAVE-17..21]', (_what, bv, edit, rule) => {
    const v = vcpu()
    const before = new Uint8Array(get(v).buffer)
    expect(set(v, bv, edit)).toMatchObject({ status: -E.EINVAL, refusal: { rule } })
    expect(new Uint8Array(get(v).buffer)).toEqual(before)
  })
  test('MXCSR is not looked at without FP, SSE, YMM [XSAVE-20]', () => {
    expect(set(vcpu(), 0x200, (view) => view.setUint32(24, 0x11f80, true)).status).toBe(0)
  })
  test('YMM alone brings MXCSR, x87 and XMM become initial [XSAVE-22, XSAVE-23]', () => {
    const v = vcpu()
    const load = set(v, 4, (view) => {
      view.setUint32(24, 0x1fa0, true)
      view.setUint32(160, 0x12345678, true)
      view.setUint32(576, 0x9abcdef0, true)
    })
    expect(load.status).toBe(0)
    const view = get(v)
    expect(view.getUint32(512, true)).toBe(4)
    expect(view.getUint32(24, true)).toBe(0x1fa0)
    expect(view.getUint32(160, true)).toBe(0)
    expect(view.getUint32(576, true)).toBe(0x9abcdef0)
    // Trimmed to a guest without YMM, MXCSR shows its initial value [XSAVE-08].
    expect(get(v, 3).getUint32(24, true)).toBe(0x1f80)
  })
  test('PKRU travels beside the image [XSAVE-11, XSAVE-24]', () => {
    const v = vcpu()
    expect(set(v, 0x200, (view) => view.setUint32(2688, 0x55555550, true)).pkru).toBe(0x55555550)
    expect(get(v, HOST_KVM_SET, 0x1234).getUint32(2688, true)).toBe(0x1234)
    expect(set(v, 0).pkru).toBe(-1)
  })
  test('components that XFD disables are dropped silently on fixed kernels, stored on others [XSAVE-16, GFPU-33]', () => {
    for (const [profile, expected] of [
      ['linux-6.12', 0x20000],
      ['linux-6.12.0', 0x60000],
    ] as const) {
      const v = vcpu({ permission: true, profile })
      enableGuestFeatures(v.process.task, v.fpu, HOST_KVM_SET)
      updateGuestXfd(v.cpu, v.fpu, XTILE_DATA)
      expect(set(v, 0x60000).status).toBe(0)
      expect(get(v).getUint32(512, true)).toBe(expected)
    }
  })
})

describe('swapping', () => {
  test('load and put exchange registers and XFD [GFPU-10, GFPU-11]', () => {
    const v = vcpu({ permission: true })
    enableGuestFeatures(v.process.task, v.fpu, HOST_KVM_SET)
    set(v, 2, (view) => view.setUint32(160, 0xcafe, true))
    const { mem } = v.kernel.machine
    const xmm0 = (v.cpu.processor.registerFile + 0x400) >> 2
    ensureRegistersLoaded(v.cpu)
    mem.i32[xmm0] = 0x1111
    loadGuestFpu(v.cpu, v.fpu)
    expect(isLoaded(v.fpu)).toBe(true)
    expect(mem.i32[xmm0]).toBe(0xcafe)
    expect(v.cpu.processor.xfd).toBe(0)
    mem.i32[xmm0] = 0x2222
    putGuestFpu(v.cpu, v.fpu)
    expect(mem.i32[xmm0]).toBe(0x1111)
    expect(v.cpu.processor.xfd).toBe(XTILE_DATA)
    expect(get(v).getUint32(160, true)).toBe(0x2222)
  })
  test('preemption between load and put saves to the vCPU image and restores it lazily [GFPU-12, GFPU-14]', () => {
    const v = vcpu()
    const { mem } = v.kernel.machine
    const xmm0 = (v.cpu.processor.registerFile + 0x400) >> 2
    loadGuestFpu(v.cpu, v.fpu)
    mem.i32[xmm0] = 0x3333
    v.kernel.scheduler.leave(v.cpu, v.process.task)
    mem.i32[xmm0] = 0
    v.kernel.scheduler.switchTo(v.kernel.cpus[1], v.process.task)
    const other = pinnedProcessor(v.kernel.cpus[1])
    ensureRegistersLoaded(other)
    expect(mem.i32[(other.processor.registerFile + 0x400) >> 2]).toBe(0x3333)
    putGuestFpu(other, v.fpu)
    expect(get(v).getUint32(160, true)).toBe(0x3333)
  })
  test('an image with tile data and XFD set is #NM in the host kernel: an oops [GFPU-53]', () => {
    const v = vcpu({ permission: true })
    enableGuestFeatures(v.process.task, v.fpu, HOST_KVM_SET)
    set(v, 0x60000, (view) => view.setUint8(2752, 1))
    // Outside KVM_RUN the flag that would clear the bit describes the host image [GFPU-32].
    ensureRegistersLoaded(v.cpu)
    updateGuestXfd(v.cpu, v.fpu, XTILE_DATA)
    expect(get(v).getUint32(512, true)).toBe(0x60000)
    let oops: unknown
    try {
      loadGuestFpu(v.cpu, v.fpu)
    } catch (error) {
      oops = error
    }
    expect(oops).toBeInstanceOf(HostOops)
    expect(oops).toMatchObject({
      message: 'unexpected #NM exception',
      site: { function: 'restore_fpregs_from_fpstate', warning: 'exc_device_not_available' },
      callers: ['fpu_swap_kvm_fpstate'],
    })
    oopsInTask(v.cpu, v.process.task, oops as HostOops)
    expect(v.process.task.state).toBe('dead')
    const log = v.kernel.log.lines.join('\n')
    expect(log).toContain('Oops: unexpected #NM exception: 0000 [#1]')
    expect(log).toContain('RIP: 0010:restore_fpregs_from_fpstate')
    // Everything this host restores but PKRU [PERM-41].
    expect(log).toMatch(/RAX: 0000000000060[0-9a-f]{3} RDX: 0000000000000000/)
  })
  test('freeing a loaded image is refused with a warning [GFPU-05]', () => {
    const v = vcpu()
    loadGuestFpu(v.cpu, v.fpu)
    freeGuestFpu(v.fpu)
    expect(v.kernel.log.lines.at(-1)).toContain('GFPU-05')
  })
})

describe('vector registers for the kernel itself [GFPU-13]', () => {
  test('live guest registers go to the vCPU image and come back before the next entry', () => {
    const v = vcpu()
    const { mem } = v.kernel.machine
    const xmm0 = (v.cpu.processor.registerFile + 0x400) >> 2
    loadGuestFpu(v.cpu, v.fpu)
    mem.i32[xmm0] = 0x4444
    kernelFpuBegin(v.cpu, false)
    expect(v.process.task.fpu.needLoad).toBe(true)
    expect(v.cpu.fpuOwner).toBeNull()
    mem.i32[xmm0] = 0
    expect(() => kernelFpuBegin(v.cpu, false)).toThrow('GFPU-13')
    kernelFpuEnd(v.cpu)
    ensureRegistersLoaded(v.cpu)
    expect(mem.i32[xmm0]).toBe(0x4444)
  })
})
