import { beforeEach, describe, expect, test } from 'vitest'
import { cpuModel } from '../../../src/isa/cpu-grammar.ts'
import { xsaveBehaviour } from '../../../src/machine/xsave/behaviour.ts'
import { XRSTOR, XRSTORS, XSAVE, XSAVEC, XSAVEOPT, XSAVES } from '../../../src/machine/xsave/forms.ts'
import { IMAGE, TestProcessor } from './test-processor.ts'

const GP = 13
const NM = 7
const COMPACTED = 1n << 63n
const TILE_CFG = 2752
const TILE_DATA = 2816

let p: TestProcessor
beforeEach(() => {
  p = new TestProcessor()
  p.clearImage()
})
const restore = (requested = -1): number => p.engine.restore(IMAGE, requested, XRSTOR)
const restoreS = (requested = -1): number => p.engine.restore(IMAGE, requested, XRSTORS)

describe('components in use', () => {
  test('tile data that was loaded is in use even if it is all zeros, until it is initialized [recorded: sigframe.permission_used]', () => {
    p.header(0x40000n, 0n)
    expect(restore(0x40000)).toBe(0)
    expect(p.engine.inUse(-1)).toBe(0x40000)
    p.header(0n, 0n)
    expect(restore(0x40000)).toBe(0)
    expect(p.engine.inUse(-1)).toBe(0)
  })

  test('an emulator that does not track them says in use, but for the MPX bounds [recorded: linux-6.12-qemu-tcg]', () => {
    const tcg = new TestProcessor({ behaviour: xsaveBehaviour(cpuModel('qemu-tcg-max')) })
    expect(tcg.engine.inUse(0x21f)).toBe(0x217)
    expect(tcg.engine.xgetbv1()).toBe(0x602e7)
  })
})

describe('MXCSR', () => {
  const withMxcsr = (model: string, mxcsr: number) => {
    const q = new TestProcessor({ behaviour: xsaveBehaviour(cpuModel(model)) })
    q.clearImage()
    q.memory.view.setUint32(IMAGE + 24, mxcsr, true)
    return { q, fault: q.engine.restore(IMAGE, 2, XRSTOR) }
  }

  test.each([
    ['SapphireRapids', 0xffff],
    ['EPYC-Genoa', 0x2ffff], // misaligned SSE mode
    ['qemu-tcg-max', 0xffff], // AMD without it
  ])('of %s has the bits 0x%s', (model, mask) => {
    const { q } = withMxcsr(model, 0x1f80)
    q.engine.save(IMAGE, 2, XSAVE)
    expect(q.memory.view.getUint32(IMAGE + 28, true)).toBe(mask)
  })

  test('with a reserved bit is #GP, unless the emulator does not look [recorded: sigreturn.*.mxcsr_bad]', () => {
    expect(withMxcsr('SapphireRapids', 0x2ffff).fault).toBe(GP)
    expect(withMxcsr('EPYC-Genoa', 0x4ffff).fault).toBe(GP)
    expect(withMxcsr('qemu-tcg-max', 0xffffffff).fault).toBe(0)
  })
})

describe('saving', () => {
  test('XSAVE writes requested components even in their initial state, and the others bits of XSTATE_BV stay', () => {
    p.clearImage(0xee)
    p.header(0x400e0n, 0x1234n)
    p.engine.save(IMAGE, 0x204 | 2, XSAVE)
    expect(p.xstateBv).toBe(0x400e0n)
    expect(p.xcompBv).toBe(0x1234n)
    expect([p.byte(576), p.byte(831), p.byte(832)]).toEqual([0, 0, 0xee])
    expect([p.byte(0), p.byte(24), p.byte(160), p.byte(415)]).toEqual([0xee, 0x80, 0, 0])
  })

  test.each([
    ['XSAVE', XSAVE],
    ['XSAVEOPT', XSAVEOPT],
    ['XSAVEC', XSAVEC],
    ['XSAVES', XSAVES],
  ] as const)('%s leaves bytes 416..511 and 528..575 alone', (_, form) => {
    p.fillAll()
    p.memory.u8.fill(0xee, IMAGE, IMAGE + 0x3000)
    p.engine.save(IMAGE, -1, form)
    for (let i = 416; i < 512; i++) expect(p.byte(i)).toBe(0xee)
    for (let i = 528; i < 576; i++) expect(p.byte(i)).toBe(0xee)
  })

  test('XSAVEOPT does not write components in their initial state, but MXCSR whenever SSE or AVX is requested', () => {
    p.clearImage(0xee)
    p.header(0x6n, 0n)
    p.engine.save(IMAGE, 4, XSAVEOPT)
    expect(p.xstateBv).toBe(2n)
    expect([p.byte(24), p.byte(576)]).toEqual([0x80, 0xee])
  })

  test('XSAVEC and XSAVES keep the bit of an unused component in XCOMP_BV and write none of its bytes [PERM-09]', () => {
    p.pkru = 5
    p.clearImage(0xee)
    p.engine.save(IMAGE, 0x207, XSAVEC)
    expect(p.xstateBv).toBe(0x200n)
    expect(p.xcompBv).toBe(COMPACTED | 0x207n)
    expect([p.byte(0), p.byte(24), p.byte(576), p.byte(832), p.byte(836)]).toEqual([0xee, 0xee, 0xee, 5, 0])
  })

  test('XSAVEC saves SSE when only MXCSR differs from its initial value; XSAVE does not say that SSE is in use', () => {
    p.mxcsr = 0x1fa0
    p.engine.save(IMAGE, -1, XSAVEC)
    expect(p.xstateBv).toBe(2n)
    expect(p.byte(24)).toBe(0xa0)
    p.clearImage()
    p.engine.save(IMAGE, -1, XSAVE)
    expect(p.xstateBv).toBe(0n)
    expect(p.engine.xgetbv1()).toBe(2)
  })

  test('compacted offsets follow XCOMP_BV alone, with alignment [PERM-06]', () => {
    p.fillAll()
    p.supervisor.bytes.set(11, new Uint8Array(16).fill(0x1b))
    p.engine.save(IMAGE, 0x60a04, XSAVES)
    // YMM 576..831, PKRU 832..839, CET_U 840..855, then 64-byte aligned: TILECFG 896, TILEDATA 960.
    expect(p.xcompBv).toBe(COMPACTED | 0x60a04n)
    expect([576, 832, 840, 856, 896, 960].map((at) => p.byte(at))).toEqual([0x12, 0x19, 0x1b, 0, 1, 0x22])
    expect(p.engine.areaSize(XSAVES, 0x60a04)).toBe(960 + 8192)
    expect(p.engine.areaSize(XSAVEC, 0x60a04)).toBe(896 + 64 + 8192)
  })

  test('supervisor components are saved by XSAVES only [PERM-05]', () => {
    p.supervisor.bytes.set(11, new Uint8Array(16).fill(0x1b))
    p.engine.save(IMAGE, -1, XSAVEC)
    expect(p.xcompBv & 0x800n).toBe(0n)
    p.engine.save(IMAGE, -1, XSAVE)
    expect(p.xstateBv & 0x800n).toBe(0n)
    p.engine.save(IMAGE, -1, XSAVES)
    expect(p.xstateBv & 0x800n).toBe(0x800n)
  })

  test('extents name every written byte', () => {
    p.fillAll()
    p.engine.save(IMAGE, 0x20203, XSAVES)
    const { extents, extentCount } = p.engine
    const pairs = Array.from({ length: extentCount }, (_, i) => [extents[2 * i], extents[2 * i + 1]])
    // biome-ignore format: pairs
    expect(pairs).toEqual([[0, 24], [32, 128], [24, 8], [160, 256], [576, 8], [640, 64], [512, 16]])
  })
})

describe('components that XFD disables [PERM-35]', () => {
  beforeEach(() => {
    p.fillAll()
    p.xfd = 0x40000
    p.clearImage(0xee)
  })
  test('XSAVE reports them unused and writes their initial state', () => {
    p.engine.save(IMAGE, 0x60000, XSAVE)
    expect(p.xstateBv).toBe(0x20000n)
    expect([p.byte(TILE_DATA), p.byte(TILE_DATA + 8191), p.byte(TILE_DATA + 8192)]).toEqual([0, 0, 0xee])
  })
  test('XSAVEOPT reports them unused and writes nothing', () => {
    p.engine.save(IMAGE, 0x60000, XSAVEOPT)
    expect(p.xstateBv).toBe(0x20000n)
    expect(p.byte(TILE_DATA)).toBe(0xee)
  })
  test.each([
    ['XSAVEC', XSAVEC],
    ['XSAVES', XSAVES],
  ] as const)('%s reports them unused and keeps the bit of XCOMP_BV', (_, form) => {
    p.engine.save(IMAGE, 0x60000, form)
    expect(p.xstateBv).toBe(0x20000n)
    expect(p.xcompBv).toBe(COMPACTED | 0x60000n)
    expect(p.byte(640)).toBe(0xee)
  })
  test('the registers keep their contents', () => {
    p.engine.save(IMAGE, -1, XSAVES)
    p.xfd = 0
    p.engine.save(IMAGE, -1, XSAVES)
    expect(p.xstateBv & 0x40000n).toBe(0x40000n)
  })
  test.each([
    ['XRSTOR', 0x40000n, 0n, XRSTOR],
    ['XRSTOR of a compacted area', 0x40000n, COMPACTED | 0x40000n, XRSTOR],
    ['XRSTORS', 0x40000n, COMPACTED | 0x40000n, XRSTORS],
  ] as const)('%s of one raises #NM, IA32_XFD_ERR names it, nothing changes', (_, bv, xcomp, form) => {
    p.clearImage()
    p.header(bv, xcomp)
    const before = p.snapshot()
    expect(p.engine.restore(IMAGE, -1, form)).toBe(NM)
    expect(p.xfdErr).toBe(0x40000)
    expect(p.snapshot()).toBe(before)
  })
  test('one that is absent from XSTATE_BV is initialised without a fault', () => {
    p.clearImage()
    expect(restore(0x40000)).toBe(0)
    p.xfd = 0
    p.engine.save(IMAGE, 0x40000, XSAVE)
    expect(p.xstateBv).toBe(0n)
  })
  test('one that is present but not requested is ignored [PERM-69]', () => {
    p.clearImage()
    p.header(0x40000n, 0n)
    expect(restore(0x20000)).toBe(0)
    expect(p.xfdErr).toBe(0)
  })
})

describe('restoring', () => {
  test('absent components become initial: FCW 0x37F, the rest zero; MXCSR is loaded by the standard form all the same [PERM-10]', () => {
    p.fillAll()
    p.setWord(24, 0x1fbf)
    expect(restore()).toBe(0)
    expect(p.mxcsr).toBe(0x1fbf)
    expect(p.engine.inUse(0x602e7)).toBe(0)
    p.engine.save(IMAGE, 1, XSAVE)
    expect([p.byte(0), p.byte(1)]).toEqual([0x7f, 0x03])
  })
  test('the compacted form initialises MXCSR with SSE, and leaves it alone if only AVX is requested', () => {
    p.mxcsr = 0x1fa0
    p.header(0n, COMPACTED)
    expect(restore(4)).toBe(0)
    expect(p.mxcsr).toBe(0x1fa0)
    expect(restore(6)).toBe(0)
    expect(p.mxcsr).toBe(0x1f80)
  })
  test('components that are not requested keep their contents', () => {
    p.fillAll()
    expect(restore(0x200)).toBe(0)
    expect(p.pkru).toBe(0)
    expect(p.engine.inUse(0x602e7)).toBe(0x600e7)
  })
  test('what was saved comes back, from every format', () => {
    p.fillAll()
    p.supervisor.bytes.set(11, new Uint8Array(16).fill(0x1b))
    const before = p.snapshot()
    for (const form of [XSAVE, XSAVEOPT, XSAVEC, XSAVES] as const) {
      p.clearImage()
      p.engine.save(IMAGE, -1, form)
      const other = new TestProcessor()
      other.memory.u8.set(p.memory.u8.subarray(IMAGE, IMAGE + 0x3000), IMAGE)
      expect(other.engine.restore(IMAGE, -1, form === XSAVES ? XRSTORS : XRSTOR)).toBe(0)
      if (form === XSAVES) expect(other.snapshot()).toBe(before)
      else expect(other.snapshot().split(' ')[0]).toBe(before.split(' ')[0])
    }
  })
  test('PKRU: bytes 4..7 of the slot do not count; absent means 0, not the default of the kernel [PERM-70]', () => {
    p.pkru = 0x55555554
    p.setWord(2688, 0x12)
    p.setWord(2692, 0xffff)
    p.header(0x200n, 0n)
    expect(restore()).toBe(0)
    expect(p.pkru).toBe(0x12)
    p.header(0n, 0n)
    expect(restore()).toBe(0)
    expect(p.pkru).toBe(0)
  })
  test('a tile configuration that LDTILECFG would refuse gives the initial one', () => {
    p.header(0x20000n, 0n)
    p.setByte(TILE_CFG, 1)
    p.setByte(TILE_CFG + 48, 200)
    expect(restore()).toBe(0)
    expect(p.engine.inUse(0x20000)).toBe(0)
  })
  test('restoreExtents names what will be read besides the header', () => {
    p.header(0x206n, COMPACTED | 0x606n)
    p.xss = 0x400
    p.engine.restoreExtents(IMAGE, -1, XRSTORS)
    const pairs = Array.from({ length: p.engine.extentCount }, (_, i) => [p.engine.extents[2 * i], p.engine.extents[2 * i + 1]])
    // biome-ignore format: pairs
    expect(pairs).toEqual([[24, 8], [160, 256], [576, 256], [832, 8]])
  })
})

describe('what XRSTOR and XRSTORS refuse with #GP, changing nothing', () => {
  const refused = (why: string, run: () => number): void => {
    p.fillAll()
    const before = p.snapshot()
    expect(run()).toBe(GP)
    expect(p.engine.reason).toBe(why)
    expect(p.snapshot()).toBe(before)
  }
  const noSuchBit = 'XRSTOR: XSTATE_BV has a bit that XCR0 lacks'
  test.each([8n, 11n, 13n, 62n, 63n])('XSTATE_BV bit %d, requested or not [PERM-52]', (bit) => {
    p.header(1n << bit, 0n)
    refused(noSuchBit, () => restore())
    refused(noSuchBit, () => restore(1))
  })
  test('XSTATE_BV bit of a component that XCR0 does not enable [PERM-52]', () => {
    p.xcr0 = 7
    p.header(0x40000n, 0n)
    refused(noSuchBit, () => restore(1))
  })
  test('XCOMP_BV of a standard area', () => {
    p.header(7n, 7n)
    refused('XRSTOR: XCOMP_BV of a standard area is not 0', () => restore())
    p.header(7n, 1n << 40n)
    refused('XRSTOR: XCOMP_BV of a standard area is not 0', () => restore())
  })
  test('bytes 528..535 of a standard area, but not 536..575 [PERM-68]', () => {
    for (let i = 528; i < 576; i++) {
      p.header(0n, 0n)
      p.setByte(i, 1)
      if (i < 536) refused('XRSTOR: header bytes 16..23 are not 0', () => restore(0))
      else expect(restore(0)).toBe(0)
    }
  })
  test('any of bytes 528..575 of a compacted area', () => {
    for (let i = 528; i < 576; i++) {
      p.header(0n, COMPACTED)
      p.setByte(i, 0x80)
      refused('XRSTOR: header bytes 16..63 are not 0', () => restore(0))
    }
  })
  test('bit 63 alone in XCOMP_BV, with anything in XSTATE_BV [PERM-52]', () => {
    p.header(1n, COMPACTED)
    refused('XRSTOR: XSTATE_BV has a bit that XCOMP_BV lacks', () => restore())
  })
  test('bit 63 in XSTATE_BV of a compacted area', () => {
    p.header(COMPACTED, COMPACTED)
    refused('XRSTOR: XSTATE_BV has a bit that XCOMP_BV lacks', () => restore())
  })
  test('XCOMP_BV bits that are not enabled: XCR0 for XRSTOR, XCR0 | IA32_XSS for XRSTORS', () => {
    p.header(0n, COMPACTED | 0x800n)
    refused('XRSTOR: XCOMP_BV has a bit that is not enabled', () => restore())
    expect(restoreS(1)).toBe(0)
    p.xss = 0
    refused('XRSTOR: XCOMP_BV has a bit that is not enabled', () => restoreS())
    p.header(0n, COMPACTED | (1n << 50n))
    refused('XRSTOR: XCOMP_BV has a bit that is not enabled', () => restoreS())
  })
  test('a standard area, for XRSTORS', () => {
    refused('XRSTORS: XCOMP_BV[63] is clear', () => restoreS())
  })
  test('a compacted area, on a processor without XSAVEC', () => {
    p = new TestProcessor({ xsavec: false })
    p.header(0n, COMPACTED)
    refused('XRSTOR: compacted area, but this processor has no XSAVEC', () => restore())
  })
  test('reserved MXCSR bits: standard form whenever SSE or AVX is requested, compacted form when SSE is loaded [PERM-52]', () => {
    p.setWord(24, 0x11f80)
    for (const requested of [2, 4]) refused('XRSTOR: reserved bit of MXCSR', () => restore(requested))
    p.header(2n, COMPACTED | 7n)
    refused('XRSTOR: reserved bit of MXCSR', () => restore())
    expect(restore(5)).toBe(0)
    p.header(4n, COMPACTED | 7n)
    expect(restore()).toBe(0)
    refused('FXRSTOR: reserved bit of MXCSR', () => p.engine.fxrstor(IMAGE))
  })
  test('a supervisor component that its MSRs refuse', () => {
    p.header(0xa00n, COMPACTED | 0xa00n)
    p.setByte(584, 0xff)
    refused('XRSTORS: a supervisor component holds a value its MSR refuses', () => restoreS())
  })
})

test('XRSTORS loads and initialises supervisor components', () => {
  p.supervisor.bytes.set(12, new Uint8Array(24).fill(1))
  p.header(0x800n, COMPACTED | 0x1800n)
  p.memory.u8.fill(0x1b, IMAGE + 576, IMAGE + 592)
  expect(restoreS(0x1800)).toBe(0)
  expect([...p.supervisor.bytes]).toEqual([[11, new Uint8Array(16).fill(0x1b)]])
})

test('FXSAVE without CR4.OSFXSR leaves XMM registers out', () => {
  p.fillAll()
  p.clearImage(0xee)
  p.engine.fxsave(IMAGE, 3, false)
  expect([p.byte(24), p.byte(159), p.byte(160)]).toEqual([0x80, 0, 0xee])
  expect([p.engine.extents[0], p.engine.extents[1]]).toEqual([0, 160])
})

test('Intel keeps the last x87 opcode and pointers without a pending exception', () => {
  p.setWord(0, 0x37f)
  p.setWord(4, 0x07ff0000)
  p.setWord(8, 0x12345678)
  p.setWord(12, 0x7fff)
  expect(p.engine.fxrstor(IMAGE)).toBe(0)
  p.clearImage(0xee)
  p.engine.fxsave(IMAGE)
  expect([4, 6, 7, 8, 12].map((at) => p.byte(at))).toEqual([0, 0xff, 0x07, 0x78, 0xff])
  p.engine.fxsave(IMAGE, 2)
  expect([8, 12].map((at) => p.byte(at))).toEqual([0x78, 0])
})
