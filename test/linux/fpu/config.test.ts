import { describe, expect, test } from 'vitest'
import { bootHost } from '../host.ts'

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
  test('every processor has XCR0 = user max and XFD armed [PERM-11, PERM-13]', () => {
    const kernel = bootHost()
    for (const cpu of kernel.machine.processors) {
      expect(cpu.xfd).toBe(0x40000)
    }
  })
})

describe('AT_MINSIGSTKSZ [PERM-27, LUX-05]', () => {
  test.each([
    ['SapphireRapids', 11952],
    ['Skylake-Server', 3632],
    ['EPYC-Genoa', 3376],
  ])('%s: %i', (cpu, size) => {
    expect(bootHost({ cpu }).xstate.maxFrame).toBe(size)
  })
})
