import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { HOST_EXIT_EXCEPTION } from '../../../../src/machine/exits.ts'
import { BareHost } from '../../bare-host.ts'

const INT3 = 0xcc
const signed = (v: bigint): bigint => BigInt.asIntN(64, v)
const wide = fc.oneof(
  fc.bigInt({ min: 0n, max: (1n << 64n) - 1n }),
  fc.bigInt({ min: 0n, max: 300n }),
  fc.bigInt({ min: 0n, max: 300n }).map((v) => BigInt.asUintN(64, -v)),
  fc.constant(1n << 63n),
  fc.constant((1n << 63n) - 1n),
)

/** Quotient and remainder in RAX and RDX, or null when #DE was raised. */
function runner(code: number[]): (high: bigint, low: bigint, divisor: bigint) => [bigint, bigint] | null {
  const host = BareHost.withCode([...code, INT3])
  return (high, low, divisor) => {
    const { ctx } = host
    ctx.rip = 0x10000n
    ctx.setReg(2, high)
    ctx.setReg(0, low)
    ctx.setReg(3, divisor)
    expect(host.run()).toBe(HOST_EXIT_EXCEPTION)
    const { vector } = host.machine.processors[0].fault
    if (vector === 3) return [ctx.reg(0), ctx.reg(2)]
    expect(vector).toBe(0)
    expect([ctx.rip, ctx.reg(2), ctx.reg(0)]).toEqual([0x10000n, high, low])
    return null
  }
}

describe('division of 128 bits by 64', () => {
  it('DIV is exact, and #DE when the quotient does not fit', () => {
    const divide = runner([0x48, 0xf7, 0xf3])
    fc.assert(
      fc.property(wide, wide, wide, (high, low, divisor) => {
        const dividend = (high << 64n) | low
        const expected: [bigint, bigint] | null =
          divisor === 0n || high >= divisor ? null : [dividend / divisor, dividend % divisor]
        expect(divide(high, low, divisor)).toEqual(expected)
      }),
      { numRuns: 400 },
    )
  })

  it('IDIV is exact, and #DE when the quotient does not fit', () => {
    const divide = runner([0x48, 0xf7, 0xfb])
    const half = 1n << 63n
    fc.assert(
      fc.property(wide, wide, wide, (high, low, divisor) => {
        const dividend = (signed(high) << 64n) | low
        const by = signed(divisor)
        const quotient = by === 0n ? half : dividend / by
        const expected =
          quotient >= half || quotient < -half ? null : [BigInt.asUintN(64, quotient), BigInt.asUintN(64, dividend % by)]
        expect(divide(high, low, divisor)).toEqual(expected)
      }),
      { numRuns: 400 },
    )
  })
})
