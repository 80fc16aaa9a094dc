import { beforeAll, describe, expect, it } from 'vitest'
import { MSR_IA32_XFD } from '../../src/isa/msr-index.ts'
import type { GuestState } from '../../src/vmm/small-vmm/guest-state.ts'
import { obstacles } from '../../src/vmm/small-vmm/obstacles.ts'
import { restoreVcpu } from '../../src/vmm/small-vmm/restore.ts'
import { saveVcpu } from '../../src/vmm/small-vmm/save.ts'
import { RestoreError, SmallVmm } from '../../src/vmm/small-vmm/small-vmm.ts'
import { XsaveGeometry } from '../../src/vmm/xsave-geometry.ts'
import { XsaveImage } from '../../src/vmm/xsave-image.ts'
import { amxMigrate, MEMORY, Recorder } from './guests.ts'
import { amxVcpu, testHost } from './hosts.ts'

/** The example at its checkpoint: eight tiles in use. */
let state: GuestState
beforeAll(() => {
  const vmm = SmallVmm.boot(testHost().newProcess(), amxMigrate, MEMORY, new Recorder())
  vmm.run()
  state = vmm.save()
})

function restoreError(cpu: string, what = state): RestoreError {
  try {
    SmallVmm.restore(testHost({ cpu }).newProcess(), what, new Recorder())
  } catch (error) {
    if (error instanceof RestoreError) return error
    throw error
  }
  throw new Error('the guest was restored')
}

describe('a saved vCPU', () => {
  it('comes back with every register, on the same model and on Granite Rapids [KAPI-132]', () => {
    for (const cpu of ['SapphireRapids', 'GraniteRapids']) {
      const vmm = SmallVmm.restore(testHost({ cpu }).newProcess(), state, new Recorder())
      const again = vmm.save()
      expect(again.vcpu.regs, cpu).toEqual(state.vcpu.regs)
      expect(again.vcpu.sregs, cpu).toEqual(state.vcpu.sregs)
      expect(again.vcpu.cpuid, cpu).toEqual(state.vcpu.cpuid)
      expect(again.vcpu.events, cpu).toEqual(state.vcpu.events)
      expect(again.vcpu.debugregs, cpu).toEqual(state.vcpu.debugregs)
      expect(again.vcpu.xcr0, cpu).toBe(state.vcpu.xcr0)
      expect(again.memory, cpu).toEqual(state.memory)
      const image = (of: GuestState) => new XsaveImage(of.vcpu.xsave, XsaveGeometry.fromCpuid(of.vcpu.cpuid))
      expect(image(again).xstateBv).toBe(image(state).xstateBv)
      for (const nr of [17, 18]) expect(image(again).component(nr), cpu).toEqual(image(state).component(nr))
    }
  })

  it('has tile data that is not zero, or this would prove nothing', () => {
    const image = new XsaveImage(state.vcpu.xsave, XsaveGeometry.fromCpuid(state.vcpu.cpuid))
    expect(image.has(18)).toBe(true)
    expect(image.component(18).filter((byte) => byte !== 0).length).toBeGreaterThan(4000)
  })

  it('keeps its MSRs but for time, which goes on', () => {
    const vmm = SmallVmm.restore(testHost().newProcess(), state, new Recorder())
    const time = new Set([0x10, 0x3b])
    const settled = (msrs: GuestState['vcpu']['msrs']) => msrs.filter((msr) => !time.has(msr.index))
    expect(settled(vmm.save().vcpu.msrs)).toEqual(settled(state.vcpu.msrs))
  })

  it('needs no VMM: saveVcpu and restoreVcpu move it between any two vCPUs', () => {
    const vcpu = amxVcpu()
    vcpu.setRegs({ ...vcpu.getRegs(), rbx: 0x1234_5678_9abc_def0n })
    const saved = saveVcpu(vcpu)
    const process = testHost({ cpu: 'GraniteRapids' }).newProcess()
    process.archPrctl.reqXcompGuestPerm(18)
    const other = process.openKvm().createVm().createVcpu()
    restoreVcpu(other, saved)
    expect(other.getRegs()).toEqual(vcpu.getRegs())
    expect(other.getXcr0()).toBe(0x602e7n)
  })
})

describe('migration to a host that cannot', () => {
  it('Skylake-Server: the components in use are named, with the rule [XSAVE-17]', () => {
    const error = restoreError('Skylake-Server')
    expect(error.message).toMatch(/cannot restore the guest on modelled Skylake-Server, linux-6\.12: /)
    expect(error.message).toMatch(/XTILE_CFG and XTILE_DATA \(components 17, 18\) are in use: XSTATE_BV = 0x60202/)
    expect(error.message).toMatch(/\(XSAVE-17\)/)
    expect(error.message).not.toMatch(/\n/)
  })

  it('with tiles initial but enabled: XCR0 is what does not fit [GFPU-45]', () => {
    const xsave = state.vcpu.xsave.slice()
    new XsaveImage(xsave).xstateBv &= 3n
    const [first] = restoreError('Skylake-Server', { ...state, vcpu: { ...state.vcpu, xsave } }).obstacles
    expect(first).toMatchObject({ rule: 'GFPU-45' })
    expect(first.because).toMatch(/XCR0 = 0x602e7/)
  })

  it('only promised by CPUID: that is what does not fit [GFPU-08]', () => {
    const xsave = state.vcpu.xsave.slice()
    new XsaveImage(xsave).xstateBv &= 3n
    const [first] = restoreError('Skylake-Server', { ...state, vcpu: { ...state.vcpu, xsave, xcr0: 7n } }).obstacles
    expect(first.because).toMatch(/in the guest's CPUID\.\(0DH,0\)/)
  })

  it('lacks instructions: they are named, as -cpu spells them', () => {
    const error = restoreError('SapphireRapids,-avx512-fp16,-amx-int8')
    expect(error.obstacles).toHaveLength(1)
    expect(error.message).toMatch(/the guest's CPUID has what this host has not: amx-int8 avx512-fp16|avx512-fp16 amx-int8/)
  })

  it('another vendor puts PKRU elsewhere in the image [PERM-04]', () => {
    const { obstacles: found } = restoreError('EPYC-Genoa')
    expect(found.at(-1)).toMatchObject({ rule: 'PERM-04', because: 'PKRU lies at byte 2688 of the saved image and at 2432 here' })
  })

  it('nothing was created before the refusal', () => {
    const host = testHost({ cpu: 'Skylake-Server' })
    const events: string[] = []
    host.watch({ event: ({ name }) => events.push(name) })
    expect(() => SmallVmm.restore(host.newProcess(), state, new Recorder())).toThrow(RestoreError)
    expect(events).not.toContain('kvm_create_vm')
  })

  it('an image that IA32_XFD withholds is refused, not loaded to kill the host [GFPU-51]', () => {
    const msrs = state.vcpu.msrs.map((msr) => (msr.index === MSR_IA32_XFD ? { ...msr, data: 1n << 18n } : msr))
    const process = testHost().newProcess()
    process.archPrctl.reqXcompGuestPerm(18)
    const found = obstacles(process.openKvm(), { ...state.vcpu, msrs })
    expect(found).toHaveLength(1)
    expect(found[0]).toMatchObject({ rule: 'GFPU-51' })
    expect(found[0].because).toBe(
      'XTILE_DATA (component 18) is withheld by IA32_XFD = 0x40000, but in the image: XSTATE_BV = 0x60202',
    )
  })
})
