import { readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { X87 } from '../../../src/machine/float/x87.ts'
import {
  ENVIRONMENT_PROTECTED_16,
  ENVIRONMENT_PROTECTED_32,
  ENVIRONMENT_REAL_16,
} from '../../../src/machine/float/x87-environment.ts'
import { FSW_B, FSW_C1, FSW_C2, FSW_ES, X87_FAULT_MF, X87_FAULT_UD, X87_OK } from '../../../src/machine/float/x87-state.ts'
import { X87_FDP, X87_FIP, X87_FOP, X87_REGISTERS } from '../../../src/machine/memory-map.ts'
import { readX87Groups, runX87, type X87Vector } from './x87-vectors.ts'

const vectors = new Uint8Array(readFileSync(new URL('../../fixtures/float/x87-zen4.bin', import.meta.url)))
const groups = readX87Groups(vectors)

/** F2XM1 FYL2X FPTAN FPATAN FYL2XP1 FSINCOS FSIN FCOS: processors are within an ulp, not exact, and so is their C1. */
const transcendental = new Set([0x1f0, 0x1f1, 0x1f2, 0x1f3, 0x1f9, 0x1fb, 0x1fe, 0x1ff])
/** FCOMI FUCOMI FCOMIP FUCOMIP clear C1 (SDM); this processor leaves it. */
const comparesToRflags = new Set([0x3e9, 0x3f1, 0x7e9, 0x7f1])

function isWithinUlp(a: string, b: string): boolean {
  const order = (text: string) => (BigInt(`0x${text.slice(0, 4)}`) << 63n) + (BigInt(`0x${text.slice(4)}`) & 0x7fffffffffffffffn)
  const distance = order(a) - order(b)
  return distance >= -1n && distance <= 1n
}

/** What hardware did, with the parts that are its own affair taken from ours. */
function forgiving(v: X87Vector): X87Vector['expected'] {
  const expected = { ...v.expected }
  if (transcendental.has(v.opcode)) {
    if (isWithinUlp(expected.st0, v.actual.st0)) expected.st0 = v.actual.st0
    if (isWithinUlp(expected.st1, v.actual.st1)) expected.st1 = v.actual.st1
  }
  if (transcendental.has(v.opcode) || comparesToRflags.has(v.opcode)) {
    expected.fsw = (expected.fsw & ~FSW_C1) | (v.actual.fsw & FSW_C1)
  }
  return expected
}

describe('registers, tags, status, flags and memory after an instruction equal those of hardware', () => {
  const families = ['D8', 'D9', 'DA', 'DB', 'DC', 'DD', 'DE', 'DF']
  families.forEach((family, first) => {
    const members = groups.filter((g) => g.opcode >> 8 === first)
    it(`${family}: ${members.reduce((sum, g) => sum + g.count, 0)} vectors`, () => {
      for (const group of members) {
        for (let i = 0; i < group.count; i++) {
          const v = runX87(vectors, group, i)
          expect({ ...v, expected: 0 }).toEqual({ ...v, actual: forgiving(v), expected: 0 })
        }
      }
    })
  })
})

const BASE = 0x1000
const MEM = 64

function machine() {
  const memory = new ArrayBuffer(0x2000)
  const x87 = new X87(memory, BASE)
  x87.fninit()
  const view = new DataView(memory)
  return {
    x87,
    view,
    push(value: number) {
      view.setFloat64(MEM, value, true)
      expect(x87.execute(0x500, MEM, 0, 0)).toBe(X87_OK)
    },
    /** ST(0) as FSTP m64 gives it. */
    pop(): number {
      expect(x87.execute(0x518, MEM, 0, 0)).toBe(X87_OK)
      expect(x87.stored).toBe(8)
      return view.getFloat64(MEM, true)
    },
    register(i: number): string {
      const at = BASE + X87_REGISTERS + 16 * ((x87.top + i) & 7)
      return view.getUint16(at + 8, true).toString(16) + view.getBigUint64(at, true).toString(16).padStart(16, '0')
    },
  }
}

describe('unmasked exceptions', () => {
  it('set ES and B, leave the operands of a pre-computation exception, and are reported by the next waiting instruction', () => {
    const { x87, view, push } = machine()
    push(1)
    push(0)
    view.setUint16(MEM, 0x37b, true)
    expect(x87.fldcw(MEM)).toBe(X87_OK)
    // FDIVP: 1 / 0
    x87.locate(0x6f9, 0x1000, 0, 0x2000, 0)
    expect(x87.execute(0x6f9, MEM, 0, 0)).toBe(X87_OK)
    expect(x87.fsw & (FSW_ES | FSW_B | 0x3f)).toBe(FSW_ES | FSW_B | 4)
    expect(x87.top).toBe(6)
    expect(x87.execute(0x1e8, MEM, 0, 0)).toBe(X87_FAULT_MF)
    expect(x87.fwait()).toBe(X87_FAULT_MF)
    // Non-waiting instructions go on.
    expect(x87.execute(0x7e0, MEM, 0, 0)).toBe(X87_OK)
    expect(view.getUint16(MEM, true)).toBe(x87.fsw)
    expect(x87.fnclex()).toBe(X87_OK)
    expect(x87.fwait()).toBe(X87_OK)
  })

  it('record opcode and operand address, which others do not', () => {
    const { x87, view, push } = machine()
    push(1)
    x87.locate(0x1fa, 0x1234, 1, 0x5678, 2)
    expect(x87.execute(0x1fa, MEM, 0, 0)).toBe(X87_OK)
    expect([view.getUint32(BASE + X87_FIP, true), view.getUint16(BASE + X87_FOP, true)]).toEqual([0x1234, 0])
    push(-1)
    x87.fcw = 0x37e
    x87.locate(0x1fa, 0x1236, 1, 0x5678, 2)
    expect(x87.execute(0x1fa, MEM, 0, 0)).toBe(X87_OK)
    expect(view.getUint16(BASE + X87_FOP, true)).toBe(0x1fa)
    expect([view.getUint32(BASE + X87_FDP, true), view.getUint32(BASE + X87_FDP + 4, true)]).toEqual([0x5678, 2])
  })

  it('that were masked become pending when FLDCW unmasks them', () => {
    const { x87, view, push } = machine()
    push(-1)
    expect(x87.fsqrt()).toBe(X87_OK)
    expect(x87.fsw & FSW_ES).toBe(0)
    view.setUint16(MEM, 0x37e, true)
    expect(x87.fldcw(MEM)).toBe(X87_OK)
    expect(x87.fsw & FSW_ES).toBe(FSW_ES)
    expect(x87.fwait()).toBe(X87_FAULT_MF)
  })

  it('suppress a store: nothing is to be written out and nothing popped', () => {
    const { x87, push } = machine()
    push(1e300)
    x87.fcw = 0x377
    expect(x87.execute(0x118, MEM, 0, 0)).toBe(X87_OK)
    expect(x87.stored).toBe(0)
    expect(x87.top).toBe(7)
  })
})

describe('environment and state images', () => {
  it('FNSTENV masks everything after storing; FLDENV brings it back', () => {
    const { x87, view, push } = machine()
    push(2)
    push(0)
    x87.fcw = 0x300
    x87.fsw |= 1
    expect(x87.fnstenv(MEM, ENVIRONMENT_PROTECTED_32)).toBe(X87_OK)
    expect(x87.stored).toBe(28)
    expect(x87.fcw).toBe(0x33f)
    expect(view.getUint32(MEM, true)).toBe(0xffff0300)
    expect(view.getUint32(MEM + 4, true)).toBe(0xffff3001)
    // R7 valid, R6 zero, the rest empty.
    expect(view.getUint32(MEM + 8, true)).toBe(0xffff1fff)
    expect(view.getUint32(MEM + 24, true)).toBe(0xffff0000)
    x87.fninit()
    expect(x87.fldenv(MEM, ENVIRONMENT_PROTECTED_32)).toBe(X87_OK)
    expect([x87.fcw, x87.fsw, x87.abridgedTags]).toEqual([0x340, 0x3001 | FSW_ES | FSW_B, 0xc0])
  })

  it('FNSAVE stores registers from ST(0) on and initializes; FRSTOR restores', () => {
    const { x87, view, push, pop } = machine()
    push(1.5)
    push(-2.25)
    expect(x87.fnsave(256, ENVIRONMENT_PROTECTED_16)).toBe(X87_OK)
    expect(x87.stored).toBe(94)
    expect([x87.fcw, x87.fsw, x87.tags]).toEqual([0x37f, 0, 0xffff])
    expect(view.getUint16(256 + 14 + 8, true)).toBe(0xc000)
    expect(x87.frstor(256, ENVIRONMENT_PROTECTED_16)).toBe(X87_OK)
    expect([pop(), pop()]).toEqual([-2.25, 1.5])
  })

  it('real-mode environments hold linear addresses and the opcode', () => {
    const { x87, view } = machine()
    x87.fcw = 0x37f
    view.setUint32(BASE + X87_FIP, 0x54321, true)
    view.setUint32(BASE + X87_FDP, 0xa9876, true)
    view.setUint16(BASE + X87_FOP, 0x5aa, true)
    x87.fnstenv(MEM, ENVIRONMENT_REAL_16)
    expect([6, 8, 10, 12].map((at) => view.getUint16(MEM + at, true))).toEqual([0x4321, 0x55aa, 0x9876, 0xa000])
    x87.fninit()
    x87.fldenv(MEM, ENVIRONMENT_REAL_16)
    expect(view.getUint32(BASE + X87_FIP, true)).toBe(0x54321)
    expect(view.getUint32(BASE + X87_FDP, true)).toBe(0xa9876)
  })
})

describe('transcendental instructions', () => {
  it('reduce arguments by a pi of 66 bits', () => {
    // FSIN of the double nearest pi: 1.2246063538223773e-16, where sin is 1.2246467991473532e-16.
    const { x87, push, pop } = machine()
    push(Math.PI)
    expect(x87.fsin()).toBe(X87_OK)
    expect(pop()).toBe(1.2246063538223773e-16)
  })

  it('leave operands of 2^63 and more with C2', () => {
    const { x87, push, pop } = machine()
    for (const opcode of [0x1fe, 0x1ff, 0x1fb, 0x1f2]) {
      push(2 ** 63)
      expect(x87.execute(opcode, MEM, 0, 0)).toBe(X87_OK)
      expect(x87.fsw & FSW_C2).toBe(FSW_C2)
      expect(pop()).toBe(2 ** 63)
    }
  })

  it('agree with the functions they compute', () => {
    const { x87, push, pop } = machine()
    for (const x of [0.001, 0.25, 0.7, 1.1, 2.5, 12.3, 1000.25]) {
      const near = (value: number) => expect(Math.abs(pop() / value - 1)).toBeLessThan(1e-15)
      push(x)
      x87.fcos()
      near(Math.cos(x))
      push(3)
      push(x)
      x87.fyl2x(false)
      near(3 * Math.log2(x))
      push(x)
      push(-0.75)
      x87.fpatan()
      near(Math.atan2(x, -0.75))
      push(1 / x / 1000)
      x87.f2xm1()
      near(Math.expm1((Math.LN2 / x) * 0.001))
      push(x)
      x87.fptan()
      expect(pop()).toBe(1)
      near(Math.tan(x))
    }
  })
})

describe('constants', () => {
  it('are rounded as FCW.RC says', () => {
    const { x87, register } = machine()
    const load = (fcw: number) => {
      x87.fninit()
      x87.fcw = fcw
      x87.execute(0x1eb, MEM, 0, 0)
      return register(0)
    }
    expect(load(0x37f)).toBe('4000c90fdaa22168c235')
    expect(load(0x77f)).toBe('4000c90fdaa22168c234')
    expect(load(0xb7f)).toBe('4000c90fdaa22168c235')
    expect(load(0xf7f)).toBe('4000c90fdaa22168c234')
  })
})

describe('opcodes', () => {
  it('that do not exist are #UD', () => {
    const { x87 } = machine()
    for (const opcode of [0x108, 0x320, 0x330, 0x528, 0x1d1, 0x1e2, 0x1ef, 0x2e0, 0x3e5, 0x3f8, 0x5f0, 0x6d8, 0x7e1, 0x7f8]) {
      expect(x87.execute(opcode, MEM, 0, 0)).toBe(X87_FAULT_UD)
    }
  })

  it('MMX use sets TOP to 0 and all tags; EMMS empties them', () => {
    const { x87, push } = machine()
    push(1)
    expect(x87.enterMmx()).toBe(X87_OK)
    expect([x87.top, x87.abridgedTags]).toEqual([0, 0xff])
    expect(x87.emms()).toBe(X87_OK)
    expect(x87.tags).toBe(0xffff)
  })
})
