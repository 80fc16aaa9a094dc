import { describe, expect, test } from 'vitest'
import { updateRseq } from '../../../src/linux/sched/rseq.ts'
import { bootHost, CallingProcess, E } from '../host.ts'

const rseq = 334
const SIGNATURE = 0x53053053

function registered() {
  const p = new CallingProcess(bootHost())
  const area = p.scratch + 0x100
  expect(p.call(rseq, area, 32, 0, SIGNATURE)).toBe(0)
  updateRseq(p.task)
  return { p, area }
}

describe('registration [LUX-29]', () => {
  test('the same again is EBUSY, another area EINVAL, another signature EPERM', () => {
    const { p, area } = registered()
    expect(p.call(rseq, area, 32, 0, SIGNATURE)).toBe(-E.EBUSY)
    expect(p.call(rseq, area + 32, 32, 0, SIGNATURE)).toBe(-E.EINVAL)
    expect(p.call(rseq, area, 32, 0, 1)).toBe(-E.EPERM)
  })
  test('a short or unaligned area is EINVAL', () => {
    const p = new CallingProcess(bootHost())
    expect(p.call(rseq, p.scratch, 28, 0, SIGNATURE)).toBe(-E.EINVAL)
    expect(p.call(rseq, p.scratch + 8, 32, 0, SIGNATURE)).toBe(-E.EINVAL)
  })
  test('unregistering sets cpu_id to -1 and allows another area', () => {
    const { p, area } = registered()
    expect(p.call(rseq, area, 32, 1, SIGNATURE)).toBe(0)
    expect(p.task.mm.getUser32(area + 4)).toBe(0xffffffff)
    expect(p.call(rseq, area + 32, 32, 0, SIGNATURE)).toBe(0)
  })
})

test('the ids follow a migration [LUX-29]', () => {
  const { p, area } = registered()
  expect(p.task.mm.getUser32(area + 4)).toBe(0)
  p.leave()
  p.kernel.scheduler.switchTo(p.kernel.cpus[1], p.task)
  expect(p.task.rseqStale).toBe(true)
  updateRseq(p.task)
  expect(p.task.mm.getUser32(area)).toBe(1)
  expect(p.task.mm.getUser32(area + 4)).toBe(1)
})

describe('critical sections [LUX-30]', () => {
  function inSection(rip: number, signature = SIGNATURE) {
    const { p, area } = registered()
    const { mm, context } = p.task
    const descriptor = p.scratch + 0x200
    mm.putUser64(descriptor, 0, 0)
    mm.putUserLong(descriptor + 8, 0x400000)
    mm.putUserLong(descriptor + 16, 0x20)
    mm.putUserLong(descriptor + 24, p.scratch + 0x304)
    mm.putUser32(p.scratch + 0x300, signature)
    mm.putUserLong(area + 8, descriptor)
    context.setRip(rip, 0)
    updateRseq(p.task)
    return { p, area }
  }
  test('inside: control goes to the abort address and the pointer is cleared', () => {
    const { p, area } = inSection(0x400010)
    expect(p.task.context.ripHi * 4294967296 + (p.task.context.ripLo >>> 0)).toBe(p.scratch + 0x304)
    expect(p.task.mm.getUserLong(area + 8)).toBe(0)
  })
  test('at its end: only the pointer is cleared', () => {
    const { p, area } = inSection(0x400020)
    expect(p.task.context.ripLo).toBe(0x400020)
    expect(p.task.mm.getUserLong(area + 8)).toBe(0)
  })
  test('a wrong signature before the abort address: SIGSEGV', () => {
    expect(inSection(0x400010, 1).p.task.pending.set.has(11)).toBe(true)
  })
})
