import { describe, expect, it } from 'vitest'
import { CTL } from '../../../../src/machine/execution-context.ts'
import { HOST_EXIT_EXCEPTION, HOST_EXIT_SYSCALL } from '../../../../src/machine/exits.ts'
import { X87_FSW } from '../../../../src/machine/memory-map.ts'
import { BareHost } from '../../bare-host.ts'

const CR0 = 0x80050033
const CR0_EM = 4
const CR0_TS = 8
const CR4 = 0x3506f0 | 0x40000
const CR4_OSFXSR = 0x200
const CR4_OSXSAVE = 0x40000

const PADDB_MM = [0x0f, 0xfc, 0xc1]
const PADDB_XMM = [0x66, 0x0f, 0xfc, 0xc1]
const VPADDB_YMM = [0xc5, 0xf5, 0xfc, 0xc2]
const VPADDB_ZMM = [0x62, 0xf1, 0x75, 0x48, 0xfc, 0xc2]
const KMOVQ = [0xc4, 0xe1, 0xf8, 0x90, 0xca] // kmovq k1, k2
const SYSCALL = [0x0f, 0x05]

/** The vector an instruction raises; null when it completes. */
function raised(code: number[], state: { cr0?: number; cr4?: number; xcr0?: number; fsw?: number }): number | null {
  const host = BareHost.withCode([...code, ...SYSCALL])
  const processor = host.machine.processors[0]
  host.ctx.setCtl(CTL.CR0, state.cr0 ?? CR0, 0)
  host.ctx.setCtl(CTL.CR4, state.cr4 ?? CR4, 0)
  if (state.xcr0 !== undefined) processor.setXcr0(state.xcr0)
  if (state.fsw !== undefined) host.machine.mem.u16[(processor.registerFile + X87_FSW) >> 1] = state.fsw
  const reason = host.run()
  if (reason === HOST_EXIT_SYSCALL) return null
  expect(reason).toBe(HOST_EXIT_EXCEPTION)
  return processor.fault.vector
}

const UD = 6
const NM = 7
const MF = 16

describe('vector state that is not enabled', () => {
  const instructions = {
    'MMX PADDB': PADDB_MM,
    'SSE PADDB': PADDB_XMM,
    'VEX VPADDB': VPADDB_YMM,
    'EVEX VPADDB': VPADDB_ZMM,
    KMOVQ,
  }
  /** Columns in the order of `instructions`. */
  it.each<[string, Parameters<typeof raised>[1], (number | null)[]]>([
    ['all enabled', {}, [null, null, null, null, null]],
    ['CR0.TS', { cr0: CR0 | CR0_TS }, [NM, NM, NM, NM, NM]],
    ['CR0.EM', { cr0: CR0 | CR0_EM }, [UD, UD, null, null, null]],
    ['CR0.EM and CR0.TS', { cr0: CR0 | CR0_EM | CR0_TS }, [UD, UD, NM, NM, NM]],
    ['CR4.OSFXSR clear', { cr4: CR4 & ~CR4_OSFXSR }, [null, UD, null, null, null]],
    ['CR4.OSXSAVE clear', { cr4: CR4 & ~CR4_OSXSAVE }, [null, null, UD, UD, UD]],
    ['XCR0 = x87 SSE', { xcr0: 3 }, [null, null, UD, UD, UD]],
    ['XCR0 = x87 SSE AVX', { xcr0: 7 }, [null, null, null, UD, UD]],
    ['XCR0 without the upper registers', { xcr0: 0x27 }, [null, null, null, UD, UD]],
    ['an x87 exception is pending', { fsw: 0x8081 }, [MF, null, null, null, null]],
  ])('%s', (_name, state, expected) => {
    expect(Object.values(instructions).map((code) => raised(code, state))).toEqual(expected)
  })
})
