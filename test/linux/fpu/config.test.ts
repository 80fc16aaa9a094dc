import { describe, expect, test } from 'vitest'
import type { CpuModel } from '../../../src/isa/cpu-model.ts'
import { cpuModelFacts } from '../../../src/isa/cpu-models/index.ts'
import { userSize, xstateConfig } from '../../../src/linux/fpu/config.ts'
import { XCR0, XFD, XSS } from '../../../src/machine/memory-map.ts'
import { XRSTOR, XRSTORS, XSAVE, XSAVEC, XSAVEOPT, XSAVES } from '../../../src/machine/xsave/forms.ts'
import { kernelProfile, kernelProfiles } from '../../../src/profiles/index.ts'
import { bootHost, model } from '../host.ts'

const { heap } = bootHost()
/** What boot decides on this CPU; without a processor, so many can be asked. */
const configOf = (cpu: string | CpuModel, profile = 'linux-6.12', options = {}) =>
  xstateConfig(typeof cpu === 'string' ? model(cpu) : cpu, kernelProfile(profile), heap, options)

describe('feature configurations of Sapphire Rapids [PERM-11, PERM §3, §13]', () => {
  test('6.12: PASID and CET_U in every kernel buffer', () => {
    const { xstate } = bootHost()
    expect(xstate.userMax).toBe(0x602e7)
    expect(xstate.userDefault).toBe(0x202e7)
    expect(xstate.kernelDefault).toBe(0x20ee7)
    expect(xstate.kernelMax).toBe(0x60ee7)
    expect(xstate.guestDefault).toBe(0x20ee7)
    expect(xstate.kernelDefaultSize).toBe(2560)
    expect(xstate.userDefaultSize).toBe(2816)
    expect(xstate.userMaxSize).toBe(11008)
    expect(xstate.initXfd).toBe(0x40000)
  })
  test('6.18: CET_S only in vCPU images', () => {
    const { xstate } = bootHost({ profile: 'linux-6.18' })
    expect(xstate.kernelDefault).toBe(0x20ee7)
    expect(xstate.guestDefault).toBe(0x21ee7)
    expect(xstate.kernelMax).toBe(0x61ee7)
    expect(xstate.guestDefaultSize).toBe(2560)
  })
  test.each([
    ['linux-6.1', 0x602e7, 0x8400],
    ['linux-6.12', 0x602e7, 0x8c00],
    ['linux-6.18', 0x602e7, 0x9c00],
  ])(
    '%s: every processor has the XCR0 (%i) and IA32_XSS (%i) of its kernel, LBR included, and XFD armed [PERM-11, PERM-13, PERM-34]',
    (profile, xcr0, xss) => {
      const kernel = bootHost({ profile })
      const { i32 } = kernel.machine.mem
      for (const { processor } of kernel.cpus) {
        const register = (offset: number) => i32[(processor.registerFile + offset) >> 2]
        expect([register(XCR0), register(XSS), register(XFD)]).toEqual([xcr0, xss, 0x40000])
      }
    },
  )
})

describe('components of a kernel', () => {
  test.each([
    ['linux-5.15', 0x2e7, 0],
    ['linux-5.17', 0x602e7, 0],
    ['linux-6.1', 0x602e7, 0x400],
    ['linux-6.6', 0x602e7, 0xc00],
    ['linux-6.12', 0x602e7, 0xc00],
    ['linux-6.18', 0xe02e7, 0x1c00],
  ])('%s on a chip with everything: user %i, supervisor %i, dynamic XTILE_DATA only [PERM-01]', (profile, user, supervisor) => {
    const config = configOf('GraniteRapids,+apx', profile)
    expect([config.userMax, config.supervisor]).toEqual([user, supervisor])
    expect(config.dynamic).toBe(user & 0x40000)
  })

  test.each([
    ['no XFD: no XTILE_DATA', 'SapphireRapids', 'xfd', 0x202e7, 0xc00],
    ['no AMX: neither tile component', 'SapphireRapids', 'amx-tile', 0x2e7, 0xc00],
    ['no AVX-512', 'SapphireRapids', 'avx512f', 0x60207, 0xc00],
    ['no PKU', 'SapphireRapids', 'pku', 0x600e7, 0xc00],
    ['no shadow stacks: no CET_U', 'SapphireRapids', 'shstk', 0x602e7, 0x400],
    ['no ENQCMD: no PASID', 'SapphireRapids', 'enqcmd', 0x602e7, 0x800],
    ['no XSAVES: no supervisor component', 'SapphireRapids', 'xsaves', 0x602e7, 0],
  ])('%s, although leaf 0DH still lists it [PERM-02]', (_what, cpu, missing, user, supervisor) => {
    const whole = model(cpu)
    const gated = Object.assign(Object.create(whole), { has: (name: string) => name !== missing && whole.has(name as never) })
    expect(gated.xcr0Supported).toBe(0x602e7)
    const config = configOf(gated)
    expect([config.userMax, config.supervisor]).toEqual([user, supervisor])
  })

  test.each([[1], [2], [0x2e5]])('with only components %i in leaf 0DH the kernel uses no XSAVE [PERM-03]', (listed) => {
    const config = configOf(Object.assign(Object.create(model('SapphireRapids')), { xcr0Supported: listed }))
    expect(config).toMatchObject({ xsave: false, userMax: 3, supervisor: 0, dynamicSizing: false, compacted: false })
  })

  test('MPX and APX on one chip: no XSAVE since 6.16, APX unknown before [PERM-01, PERM-03]', () => {
    expect(configOf('GraniteRapids,+apx,+mpx', 'linux-6.18').xsave).toBe(false)
    expect(configOf('GraniteRapids,+apx,+mpx', 'linux-6.12')).toMatchObject({ xsave: true, userMax: 0x602ff })
  })
})

describe('form of the buffers', () => {
  test.each([
    ['SapphireRapids', true, XSAVES, XRSTORS],
    ['SapphireRapids,-xsaves', true, XSAVEC, XRSTOR],
    ['SapphireRapids,-xsaves,-xsavec', false, XSAVEOPT, XRSTOR],
    ['SapphireRapids,-xsaves,-xsavec,-xsaveopt', false, XSAVE, XRSTOR],
  ])('%s: compacted %s, the best pair of instructions [PERM-07, PERM-09]', (cpu, compacted, save, restore) => {
    expect(configOf(cpu)).toMatchObject({ compacted, saveForm: save, restoreForm: restore })
  })

  test.each([['qemu-tcg-max'], ['SapphireRapids,-xsaves,-xsavec']])(
    '%s: kernel and user sizes are equal, XCOMP_BV stays 0, no supervisor component [PERM-07]',
    (cpu) => {
      const kernel = bootHost({ cpu })
      const { xstate } = kernel
      expect(xstate.supervisor).toBe(0)
      expect(xstate.kernelDefaultSize).toBe(xstate.userDefaultSize)
      expect(xstate.guestDefaultSize).toBe(xstate.userDefaultSize)
      const { view } = kernel.machine.mem
      expect(view.getBigUint64(xstate.initImage + 520, true)).toBe(0n)
    },
  )

  test('APX lies below PKRU: its end was the size before 6.16, the greatest end is since [PERM-08]', () => {
    const { xstate } = model('GraniteRapids,+apx')
    expect(userSize(xstate, kernelProfile('linux-6.12'), 0x80207)).toBe(1088)
    expect(userSize(xstate, kernelProfile('linux-6.18'), 0x80207)).toBe(2696)
    expect(userSize(xstate, kernelProfile('linux-6.18'), 0x80007)).toBe(1088)
    expect(configOf('GraniteRapids,+apx', 'linux-6.18').userMaxSize).toBe(11008)
  })

  test('the init image has FCW 37FH, MXCSR 1F80H, zeros, and the default components in XCOMP_BV [PERM-10, PERM-13]', () => {
    const kernel = bootHost()
    const { initImage, kernelDefaultSize } = kernel.xstate
    const image = kernel.machine.mem.u8.slice(initImage, initImage + kernelDefaultSize)
    const view = new DataView(image.buffer)
    expect(view.getUint16(0, true)).toBe(0x37f)
    expect(view.getUint32(24, true)).toBe(0x1f80)
    expect(view.getBigUint64(512, true)).toBe(0n)
    expect(view.getBigUint64(520, true)).toBe((1n << 63n) | 0x20ee7n)
    image.fill(0, 0, 2).fill(0, 24, 32).fill(0, 520, 528)
    expect(image.every((byte) => byte === 0)).toBe(true)
  })
})

describe('a vCPU image', () => {
  test.each(cpuModelFacts.map(({ name }) => [name]))(
    "on %s has the host's user components and size under every kernel [PERM-12]",
    (cpu) => {
      for (const { name, fpu } of kernelProfiles) {
        const config = configOf(cpu, name)
        expect(config.guestDefault & fpu.userSupported, name).toBe(config.userDefault)
        expect(config.kernelDefault & fpu.userSupported, name).toBe(config.userDefault)
        if (!fpu.separateGuestDefaults) expect(config.guestDefault, name).toBe(config.kernelDefault)
      }
    },
  )
})

describe('AT_MINSIGSTKSZ [PERM-27, LUX-05]', () => {
  test.each([
    ['SapphireRapids', 11952],
    ['Skylake-Server', 3632],
    ['EPYC-Genoa', 3376],
    ['EPYC-Turin-virtual', 3376],
    ['Skylake-Server,-pku,-avx512f', 1776],
    ['Skylake-Server,-pku,-avx512f,+mpx', 2032],
  ])('%s: %i', (cpu, size) => {
    expect(bootHost({ cpu }).xstate.maxFrame).toBe(size)
  })
  test.each([
    ['SapphireRapids', 11536],
    ['Skylake-Server', 3232],
  ])('%s without IA32 emulation: %i', (cpu, size) => {
    // round_up(440 + 15 + image + 4 + 63, 16)
    expect(configOf(cpu, 'linux-6.12', { ia32Emulation: false }).maxFrame).toBe(size)
  })
})
