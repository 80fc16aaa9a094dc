import { describe, expect, test } from 'vitest'
import { CTL, REG } from '../../../src/machine/execution-context.ts'
import { BareCet, DONE, type Level, PF, SH_STK_EN, WR_SHSTK_EN } from './cet-machine.ts'

const PAGE = 0x80000
const [P, RW, US, DIRTY] = [1, 2, 4, 0x40]
const LARGE = 0x80

/** A machine whose page at PAGE has the given entry flags, in a page directory entry with others. */
function withPage(cpl: Level, leaf: number, upper = P | RW | US): BareCet {
  const m = new BareCet(cpl)
  // The four tables of the harness are one after the other, from CR3 on: PML4, PDPT, directory, table.
  const root = m.ctx.ctlLo(CTL.CR3)
  m.u32(root + 0x3000 + (PAGE >> 12) * 8, PAGE | leaf)
  m.u32(root + 0x2000, (root + 0x3000) | upper)
  m.host.space.flush()
  m.cet = SH_STK_EN | WR_SHSTK_EN
  m.setReg(REG.RAX, 0x77)
  m.setReg(REG.RBX, PAGE + 8)
  return m
}
const write = (m: BareCet): [number | string, number] => {
  const { vector, errorCode } = m.run('wrss')
  return [vector, vector === PF ? errorCode : 0]
}

/** SDM Vol. 3, 4.6.1: which translation is a shadow-stack page, and of which kind. */
describe('a shadow-stack page', () => {
  test.each([
    ['user', 3, US, 0x47],
    ['supervisor', 0, 0, 0x43],
  ] as const)('%s: present, not writable, dirty, of the access’s own privilege [CET-55]', (_name, cpl, own, code) => {
    const other = own ^ US
    expect(write(withPage(cpl, P | DIRTY | own))).toEqual([DONE, 0])
    expect(write(withPage(cpl, P | own))).toEqual([PF, code])
    expect(write(withPage(cpl, P | RW | DIRTY | own))).toEqual([PF, code])
    expect(write(withPage(cpl, P | DIRTY | other))).toEqual([PF, code])
    expect(write(withPage(cpl, DIRTY | own))).toEqual([PF, code & ~1])
  })

  test('must be writable in every entry above [CET-55]', () => {
    const m = withPage(3, P | DIRTY | US, P | US)
    // Data and stack lie under the same entry: the store to the shadow stack is what is looked at.
    expect(write(m)).toEqual([PF, 0x47])
  })

  test('with U/S clear above it belongs to the supervisor [CET-55]', () => {
    expect(write(withPage(0, P | DIRTY | US, P | RW))).toEqual([DONE, 0])
  })

  test('may be a large page [CET-55]', () => {
    const m = new BareCet(3)
    const root = m.ctx.ctlLo(CTL.CR3)
    m.u32(root + 0x2000 + 8, 0x200000 | P | US | DIRTY | LARGE)
    m.host.space.flush()
    m.cet = SH_STK_EN | WR_SHSTK_EN
    m.setReg(REG.RAX, 0x77)
    m.setReg(REG.RBX, 0x345678)
    expect(write(m)).toEqual([DONE, 0])
    expect(m.word(0x345678)).toBe(0x77n)
    m.u32(root + 0x2000 + 8, 0x200000 | P | RW | US | DIRTY | LARGE)
    m.host.space.flush()
    expect(write(m)).toEqual([PF, 0x47])
  })

  test('a shadow-stack write to compiled code takes effect on the next instruction [CET-55]', () => {
    const m = withPage(3, P | DIRTY | US)
    // The page of the code once more, as a shadow stack.
    m.u32(m.ctx.ctlLo(CTL.CR3) + 0x3000 + (PAGE >> 12) * 8, 0x28000 | P | DIRTY | US)
    m.host.space.flush()
    // wrssq [rbx], rax ; mov ebx, 1 (its last two bytes are written) ; ud2 (written as it is)
    m.host.write(0x28000, [0x48, 0x0f, 0x38, 0xf6, 0x03, 0xbb, 0x01, 0, 0, 0, 0x0f, 0x0b])
    m.setReg(REG.RAX, 0x0b0f0077)
    m.ctx.rip = 0x28000n
    expect(m.go()).toMatchObject({ vector: DONE, rip: 0x2800a })
    expect(m.reg(REG.RBX)).toBe(0x770001)
  })
})
